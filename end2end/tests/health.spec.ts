import { chmodSync } from "node:fs";
import { expectMetrics, expectSession, openLive } from "../support/page";
import { expect, test } from "../support/test";

test("a malformed line is counted with file and offset, and the rest of the file counts", async ({ page, home }) => {
  const session = home.session();
  session.response();
  await openLive(page);
  session.raw('{"type":"assistant","message":{"usage":\n');
  session.response({ output: 321 });
  await expectSession(page, session);
  await expectMetrics(page, { "ingest.rejected_lines": 1, "ingest.lines": 3 });

  await page.goto("/health-report");
  await expect(page.getByText(`${session.id}.jsonl`).first()).toBeVisible();
});

test("a half-written last line waits for its end", async ({ page, home }) => {
  const session = home.session();
  session.response();
  await openLive(page);
  const line = session.responses(1, { output: 4_000 });
  // It counts as a line, but as nothing else: neither a response nor refused.
  session.raw(line.slice(0, 100));
  await expectMetrics(page, { "ingest.lines": 2, "ingest.responses": 1, "ingest.rejected_lines": 0 });
  session.raw(line.slice(100));
  await expectSession(page, session);
  await expectMetrics(page, { "ingest.lines": 2, "ingest.responses": 2, "ingest.rejected_lines": 0 });
});

test.describe("what cannot be read", () => {
  // Permissions stop everybody but root.
  test.use({ startArgs: { args: [], asNobody: true } });

  test("appears in health, and the rest goes on", async ({ page, home, dashboard }) => {
    const session = home.session();
    session.response();
    const closed = home.session("closed");
    // Closed before there is anything in it: otherwise it may be read in between. Root may write all the same.
    closed.raw("");
    chmodSync(closed.file, 0o000);
    closed.response();

    await openLive(page);
    await expectSession(page, session);
    await expect.poll(async () => (await dashboard.json("/health")).status).toBe("degraded");
    await page.goto("/health-report");
    await expect(page.getByText(`${closed.id}.jsonl`).first()).toBeVisible();
    session.response({ output: 55 });
    await openLive(page);
    await expectSession(page, session);
  });
});
