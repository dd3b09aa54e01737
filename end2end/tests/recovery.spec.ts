import type { Page } from "@playwright/test";
import { expectMetrics, expectSession, expectTotals, metric, openLive } from "../support/page";
import { expect, test } from "../support/test";
import { total } from "../support/transcripts";

// While the server is away, Chromium itself reports each refused connection.
test.use({ expectedErrors: /WebSocket connection to .* failed/ });

/** Fails the test if the page is loaded again. */
async function markLoad(page: Page): Promise<void> {
  await page.evaluate(() => document.documentElement.setAttribute("data-loaded-once", ""));
}

async function expectSameLoad(page: Page): Promise<void> {
  await expect(page.locator("html")).toHaveAttribute("data-loaded-once", "");
}

test("the page recovers by itself when the server was killed", async ({ page, home, dashboard }) => {
  const session = home.session();
  session.response();
  await openLive(page);
  await expectSession(page, session);
  await markLoad(page);

  await dashboard.kill();
  await expect(metric(page, "connection")).toHaveAttribute("data-value", /^(reconnecting|offline)$/);
  // The last values stay on screen.
  await expectMetrics(page, { "session.tokens.total": total(session.sum) });

  session.response({ lines: 2, output: 777 });
  await dashboard.start();
  await expectMetrics(page, { connection: "live" });
  await expectSession(page, session);
  session.response();
  await expectSession(page, session);
  await expectTotals(page, home);
  await expectSameLoad(page);
});

test("a burst of 2,000 lines with a crash in the middle ends in the same totals everywhere", async ({ page, home, dashboard }) => {
  const session = home.session();
  session.response();
  await openLive(page);
  await markLoad(page);

  const burst = [...Array(10)].map(() => session.responses(100, { lines: 2 }));
  for (const text of burst.slice(0, 5)) session.raw(text);
  await dashboard.kill();
  for (const text of burst.slice(5)) session.raw(text);
  await dashboard.start();

  await expectMetrics(page, { connection: "live" });
  await expectSession(page, session);
  await expectTotals(page, home);
  const { state } = await dashboard.json("/api/v1/snapshot");
  expect(state.sessions[session.id].usage).toMatchObject({ input: session.sum.input, output: session.sum.output });
  expect(state.ingest).toMatchObject({ lines: home.lines, responses: home.sum.responses, duplicate_lines: 1_000 });
  await expectSameLoad(page);
});

test("offline and back online catches up without a reload", async ({ page, context, home }) => {
  test.setTimeout(180_000);
  const session = home.session();
  session.response();
  await openLive(page);
  await markLoad(page);
  // The socket stays open and falls silent. A local server is reachable without a network, so the page believes only
  // the silence: stale after ten seconds, given up after twenty-five.
  await context.setOffline(true);
  await expect(metric(page, "connection")).toHaveAttribute("data-value", "stale", { timeout: 60_000 });
  await expect(metric(page, "connection")).toHaveAttribute("data-value", "offline", { timeout: 60_000 });
  session.response();
  await context.setOffline(false);
  await expectMetrics(page, { connection: "live" });
  await expectSession(page, session);
  await expectSameLoad(page);
});
