import { chmodSync, mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
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
  session.raw(line.slice(0, 100));
  home.lines -= 1; // not a line yet
  await expectMetrics(page, { "ingest.lines": 1, "ingest.rejected_lines": 0 });
  session.raw(line.slice(100));
  await expectSession(page, session);
  await expectMetrics(page, { "ingest.lines": 2, "ingest.rejected_lines": 0 });
});

test("what cannot be read appears in health, and the rest goes on", async ({ page, home, dashboard }) => {
  const session = home.session();
  session.response();
  // Refused to root too, unlike a file without permissions.
  const dir = join(home.dir, "projects", "-home-dev-broken");
  mkdirSync(dir);
  symlinkSync("loop.jsonl", join(dir, "loop.jsonl"));
  const closed = home.session("closed");
  closed.raw("");
  chmodSync(closed.file, 0o000);

  await openLive(page);
  await expectSession(page, session);
  await expect.poll(async () => (await dashboard.json("/health")).status).toBe("degraded");
  await page.goto("/health-report");
  await expect(page.getByText("loop.jsonl").first()).toBeVisible();
});
