/**
 * How fast everything is read, beside tools everybody knows on the same files. Run by `make bench`; prints, never gates.
 *
 *   CORPUS=DIR       config directory to read; without it, CORPUS_MB=100 are made up
 *   ROUNDS=5         counted rounds after one that is not; in each, every command runs once, in turn
 *   ALSO='NAME=…'    another command for comparison, with `{dir}` for the directory; several are separated by `;;`
 */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { test } from "@playwright/test";
import { makeCorpus } from "./support/corpus";
import { BINARY, freePort } from "./support/dashboard";
import { Home } from "./support/transcripts";

const { CORPUS, CORPUS_MB = "100", ROUNDS = "5", ALSO = "" } = process.env;
const OURS = "dashboard report";
const TIME = "/usr/bin/time";

/** What one run took; `cpu_s` and `peak_mb` where GNU time is at hand. */
interface Run {
  wall_s: number;
  cpu_s: number;
  peak_mb: number;
}

test("ingest", async () => {
  const home = new Home();
  const dir = CORPUS ?? home.dir;
  console.log(CORPUS ?? makeCorpus(home, Number(CORPUS_MB)));
  const files = `find ${dir}/projects -name '*.jsonl' -print0`;
  const commands: Record<string, string> = {
    [OURS]: `${BINARY} report totals --json --config-dir ${dir} --data-dir ${join(home.dataDir, "none")}`,
    "wc -l": `${files} | xargs -0 cat | wc -l`,
    "rg -c": `rg -uu -c '"usage"' ${dir}/projects`,
    "duckdb read_json": `duckdb -c "SELECT count(*) FROM read_ndjson_objects('${dir}/projects/**/*.jsonl', ignore_errors = true)"`,
    ...Object.fromEntries(ALSO.split(";;").filter(Boolean).map((also) => also.replaceAll("{dir}", dir).split(/=(.*)/s, 2))),
  };
  const present = Object.entries(commands).filter(([name]) => name === OURS || ALSO.includes(name) || has(name));

  const runs = new Map<string, Run[]>(present.map(([name]) => [name, []]));
  for (let round = 0; round <= Number(ROUNDS); round += 1) {
    for (const [name, command] of present) {
      const taken = run(command);
      if (round > 0) runs.get(name)?.push(taken);
    }
  }
  const ours = runs.get(OURS) ?? [];
  console.log("command              wall s   cpu s  peak MB   wall × ours   memory × ours");
  for (const [name, theirs] of runs) {
    const ratio = (of: (run: Run) => number) => median(theirs.map((run, i) => of(run) / of(ours[i] ?? run)));
    const columns = [median(theirs.map((r) => r.wall_s)), median(theirs.map((r) => r.cpu_s)), median(theirs.map((r) => r.peak_mb))];
    const [wall, cpu, peak] = columns.map((value) => value.toFixed(2));
    console.log(`${name.padEnd(18)} ${wall?.padStart(8)} ${cpu?.padStart(7)} ${peak?.padStart(8)}`
      + ` ${ratio((r) => r.wall_s).toFixed(2).padStart(13)} ${ratio((r) => r.peak_mb).toFixed(2).padStart(15)}`);
  }

  for (const state of ["from nothing", "with its history"]) {
    console.log(`dashboard start, ${state}: first snapshot of everything after ${(await untilComplete(dir, home.dataDir)).toFixed(0)} ms`);
  }
  home.remove();
});

function has(name: string): boolean {
  return spawnSync("which", [name.split(" ")[0] ?? name]).status === 0;
}

function run(command: string): Run {
  const scratch = mkdtempSync(join(tmpdir(), "dashboard-bench-"));
  const log = join(scratch, "time");
  const timed = existsSync(TIME) ? [TIME, "-o", log, "-f", "%U %S %M"] : [];
  const [program = "sh", ...args] = [...timed, "sh", "-c", command];
  const began = performance.now();
  const { status, stderr } = spawnSync(program, args, { maxBuffer: 1 << 30, encoding: "utf8" });
  const wall_s = (performance.now() - began) / 1_000;
  // Grep's tools say 1 when nothing matched.
  if (status === null || status > 1) throw new Error(`${command}: ${stderr}`);
  const figures = timed.length > 0 ? spawnSync("tail", ["-n1", log], { encoding: "utf8" }).stdout : "";
  rmSync(scratch, { recursive: true });
  const [user = NaN, system = NaN, peak_kb = NaN] = figures.trim().split(" ").map(Number);
  return { wall_s, cpu_s: user + system, peak_mb: peak_kb / 1_024 };
}

/** How long a dashboard takes from its start until it has answered what the page would show of all there is. */
async function untilComplete(dir: string, dataDir: string): Promise<number> {
  const port = await freePort();
  const args = ["start", "--no-browser", "--port", String(port), "--config-dir", dir, "--data-dir", dataDir];
  const began = performance.now();
  const dashboard = spawn(BINARY, args, { stdio: "ignore" });
  const url = `http://127.0.0.1:${port}/api/v1/snapshot`;
  // The answer waits until history has been read; before it listens, there is none.
  while (!(await fetch(url).then((answer) => answer.ok, () => false))) await sleep(2);
  const taken = performance.now() - began;
  dashboard.kill("SIGTERM");
  await new Promise((resolve) => dashboard.once("exit", resolve));
  return taken;
}

function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? NaN;
}
