import { expectMetrics, expectSession, metric, openLive } from "../support/page";
import { expect, test } from "../support/test";
import { total } from "../support/transcripts";

test("pause stops the page, counts what waits, and catches up", async ({ page, home }) => {
  const session = home.session();
  session.response();
  await openLive(page);
  await expectSession(page, session);
  const before = total(session.sum);

  await page.getByRole("button", { name: "Pause", exact: true }).click();
  await expectMetrics(page, { connection: "paused" });
  session.response({ output: 5_000 });
  await expect(metric(page, "connection")).toContainText(/[1-9]\d* waiting/);
  await expectMetrics(page, { "session.tokens.total": before });

  await page.getByRole("button", { name: "Resume", exact: true }).click();
  await expectMetrics(page, { connection: "live" });
  await expectSession(page, session);
});

test("a page loaded again is not paused", async ({ page, home }) => {
  const session = home.session();
  await openLive(page);
  await page.getByRole("button", { name: "Pause", exact: true }).click();
  await expectMetrics(page, { connection: "paused" });
  session.response();
  await page.reload();
  await expectMetrics(page, { connection: "live" });
  await expectSession(page, session);
});
