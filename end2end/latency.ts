/**
 * How long from a line being written to the number changing in the page. Run by `make bench`; prints, never gates.
 *
 *   CORPUS=DIR       config directory to load first (copied); without it, CORPUS_MB=100 are made up
 *   APPENDS=150      lines to append, at RATE=5 per second
 *   APPENDER=COMMAND appends instead, to the file named in the place of `{file}`; prints one JSON line per append with
 *                    `t_wall_ms` (just before the write) and `sum.total` (tokens added so far, duplicates folded)
 */
import { spawn } from "node:child_process";
import { cpSync } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import type { Page } from "@playwright/test";
import { makeCorpus } from "./support/corpus";
import { expectMetrics, openLive, value } from "./support/page";
import { expect, test } from "./support/test";
import { type Home, type Session, total } from "./support/transcripts";

const { CORPUS, CORPUS_MB = "100", APPENDS = "150", RATE = "5", APPENDER } = process.env;

/** One append: when it was about to be written, and the tokens all appends so far add to the session. */
interface Append {
  wall_ms: number;
  tokens: number;
}

test("latency", async ({ home, dashboard, page }) => {
  const loaded = CORPUS === undefined ? makeCorpus(home, Number(CORPUS_MB)) : copyCorpus(home, CORPUS);
  const session = home.session("latency");
  session.response();
  const start = total(session.sum);
  await dashboard.stop();
  await dashboard.start();

  await openLive(page);
  await expectMetrics(page, { "session.id": session.id, "session.tokens.total": start });
  const changes = await recordChanges(page);

  const appends = APPENDER === undefined ? await append(session) : await appendBy(APPENDER, session);
  const last = appends.at(-1);
  if (last === undefined) throw new Error("nothing was appended");
  await expect.poll(() => value(page, "session.tokens.total")).toBe(start + last.tokens);

  const seen = await changes();
  const latencies = appends
    // A line that repeats its message changes no number.
    .filter(({ tokens }, i) => tokens !== (appends[i - 1]?.tokens ?? 0))
    .map(({ wall_ms, tokens }) => (seen.find((change) => change.tokens >= start + tokens)?.wall_ms ?? NaN) - wall_ms)
    .sort((a, b) => a - b);
  const at = (share: number) => latencies[Math.ceil(latencies.length * share) - 1]?.toFixed(1);
  console.log(`\nwrite to changed DOM, ${loaded} loaded, ${latencies.length} appends at ${RATE}/s: ` +
    `p50 ${at(0.5)} ms, p95 ${at(0.95)} ms, max ${at(1)} ms`);
});

function copyCorpus(home: Home, dir: string): string {
  cpSync(dir, home.dir, { recursive: true });
  return dir;
}

/** Records when the session's total changes, on the wall clock. */
async function recordChanges(page: Page): Promise<() => Promise<Append[]>> {
  await page.evaluate(() => {
    const changes: Append[] = [];
    Object.assign(window, { recordedChanges: changes });
    const element = document.querySelector('[data-metric="session.tokens.total"]');
    if (element === null) throw new Error("the page shows no session");
    new MutationObserver(() => {
      const wall_ms = performance.timeOrigin + performance.now();
      changes.push({ wall_ms, tokens: Number(element.getAttribute("data-value")) });
    }).observe(element, { attributeFilter: ["data-value"] });
  });
  return () => page.evaluate(() => (window as unknown as { recordedChanges: Append[] }).recordedChanges);
}

async function append(session: Session): Promise<Append[]> {
  const appends: Append[] = [];
  const start = total(session.sum);
  const began = performance.now();
  for (let i = 0; i < Number(APPENDS); i += 1) {
    await sleep(Math.max(0, began + (i * 1_000) / Number(RATE) - performance.now()));
    const line = session.responses(1, { output: 100 + i });
    const wall_ms = performance.timeOrigin + performance.now();
    session.raw(line);
    appends.push({ wall_ms, tokens: total(session.sum) - start });
  }
  return appends;
}

async function appendBy(command: string, session: Session): Promise<Append[]> {
  const appender = spawn(command.replaceAll("{file}", session.file), { shell: true, stdio: ["ignore", "pipe", "inherit"] });
  const appends: Append[] = [];
  for await (const line of createInterface({ input: appender.stdout })) {
    const { t_wall_ms, sum } = JSON.parse(line);
    if (t_wall_ms !== undefined) appends.push({ wall_ms: t_wall_ms, tokens: sum.total });
  }
  return appends;
}
