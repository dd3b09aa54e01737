import { expectMetrics, expectSession, expectTotals, openLive, value } from "../support/page";
import { expect, test } from "../support/test";
import { total } from "../support/transcripts";

test("the server renders the numbers before any script runs", async ({ home, dashboard }) => {
  const session = home.session();
  session.response({ input: 12, output: 345 });
  await expect.poll(async () => (await dashboard.json("/api/v1/snapshot")).state.ingest.responses).toBe(1);
  const html = await (await fetch(dashboard.url)).text();
  expect(html).toContain(`data-metric="session.tokens.total" data-value="${total(session.sum)}"`);
});

test("appended lines reach the page with exact sums", async ({ page, home, dashboard }) => {
  const session = home.session("payments-api");
  session.prompt();
  session.response({ lines: 3, output: 412 });
  await openLive(page);
  await expectSession(page, session);

  // One message on four lines: only the last line's output counts.
  session.response({ lines: 4, output: 1_500, cache_creation: 0 });
  await expectSession(page, session);
  await expectTotals(page, home);

  // Subagents count into their session.
  const reviewer = session.subagent("code-reviewer");
  reviewer.response({ input: 7, output: 77, lines: 2 });
  reviewer.response({ input: 8, output: 88 });
  await expectSession(page, session);
  await expectTotals(page, home);
  await expect(page.getByText("code-reviewer")).toBeVisible();

  // Fill of the window is the last main-chain response's prompt, not the subagent's.
  await expectMetrics(page, {
    mode: "live",
    "context.used": 10 + 0 + 20_000,
    "context.limit": 200_000,
    "sessions.active": 1,
    "ingest.rejected_lines": 0,
    clients: 1,
  });
  // List prices of the model, per million: 3 in, 15 out, 3.75 written to the cache, 0.30 read from it.
  const { sum } = session;
  const usd = (sum.input * 3 + sum.output * 15 + sum.cache_creation * 3.75 + sum.cache_read * 0.3) / 1e6;
  await expect.poll(() => value(page, "session.cost_usd")).toBeCloseTo(usd, 9);
  await expect.poll(() => value(page, "today.cost_usd")).toBeCloseTo(usd, 9);

  const { state } = await dashboard.json("/api/v1/snapshot");
  const { responses, lines } = state.ingest;
  expect({ responses, lines }).toEqual({ responses: home.sum.responses, lines: home.lines });
});

test("a session that begins later appears, and the newest line is the one shown", async ({ page, home }) => {
  const first = home.session("atlas");
  first.response();
  await openLive(page);
  await expectSession(page, first);

  const second = home.session("borealis");
  second.response({ output: 999 });
  await expectSession(page, second);
  await expectMetrics(page, { "sessions.active": 2 });
  const rows = page.locator('[data-list="sessions"] > [data-session-id]');
  await expect(rows).toHaveCount(2);

  // What the user picks stays, whatever is written elsewhere.
  await page.getByRole("combobox", { name: "Session" }).selectOption(first.id);
  await expectSession(page, first);
  second.response();
  await expectTotals(page, home);
  await expectSession(page, first);
});

test("the event log names what happened, newest first", async ({ page, home }) => {
  const session = home.session();
  session.response();
  await openLive(page);
  session.response();
  await expect(page.locator('[data-list="events"] > [data-event-type="session:tokens"]').first()).toBeVisible();
});

test("without a plan the limit is unknown, and unknown is not zero", async ({ page, home }) => {
  home.session().response();
  await openLive(page);
  await expectMetrics(page, {
    "quota.five_hour.used": 210,
    "quota.five_hour.limit": "",
    "quota.five_hour.percent": "",
    "quota.five_hour.provenance": "estimated",
  });
});

test.describe("with a plan", () => {
  test.use({ startArgs: { args: ["--plan", "pro"] } });

  test("the five-hour window fills, and its level raises an alert", async ({ page, home }) => {
    const session = home.session();
    session.response({ input: 0, output: 9_500 });
    await openLive(page);
    await expectMetrics(page, { "quota.five_hour.limit": 19_000, "quota.five_hour.percent": 50 });
    session.response({ input: 0, output: 8_740 });
    await expectMetrics(page, { "quota.five_hour.percent": 96 });
    await expect(page.locator('[data-list="alerts"] > [data-level="critical"]')).toBeVisible();
    await expect(page.locator('[data-list="events"] > [data-event-type="quota:warning"]').first()).toBeVisible();
  });
});

test("an empty config directory says what to do", async ({ page }) => {
  await openLive(page);
  await expectMetrics(page, { "sessions.active": 0, "ingest.lines": 0 });
  await expect(page.getByRole("heading", { name: "No session yet" })).toBeVisible();
  await expectMetrics(page, { "session.id": "", "session.tokens.total": "" });
});
