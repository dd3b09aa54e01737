import { expectMetrics, expectTotals, openLive } from "../support/page";
import { expect, test } from "../support/test";
import { CANARY } from "../support/transcripts";

test("no conversation text reaches page, API, frames, files or log", async ({ page, home, dashboard }) => {
  const seen: string[] = [];
  page.on("websocket", (socket) => socket.on("framereceived", ({ payload }) => seen.push(String(payload))));
  const session = home.session();
  session.prompt();
  session.response();
  await openLive(page);

  session.line({ type: "ai-title", aiTitle: `${CANARY}-title` });
  session.line({ type: "custom-title", customTitle: `${CANARY}-custom` });
  session.line({ type: "last-prompt", lastPrompt: `${CANARY}-last` });
  session.line({ type: "queue-operation", content: `${CANARY}-queued` });
  session.line({ type: "something-new", text: `${CANARY}-unknown` });
  session.line({
    type: "assistant",
    isApiErrorMessage: true,
    error: "rate_limit",
    apiErrorStatus: 429,
    message: { model: "<synthetic>", content: [{ type: "text", text: `${CANARY}-error` }] },
  });
  session.raw(`{"type":"user","message":"${CANARY}-damaged\n`);
  session.subagent().response();
  await expectTotals(page, home);
  await expectMetrics(page, { "ingest.rejected_lines": 1 });

  seen.push(await page.content());
  for (const path of ["/", "/api/v1/snapshot", "/health", "/health-report", "/sessions", `/sessions/${session.id}`]) {
    seen.push(await (await fetch(dashboard.url + path)).text());
  }
  await page.goto("/health-report");
  await expect(page.getByRole("heading", { level: 1 })).toBeVisible();
  seen.push(await page.content(), dashboard.output);
  expect(seen.filter((text) => text.includes(CANARY))).toEqual([]);
});
