/**
 * What connected pages cost the server. Run by `make bench`; prints, never gates. Linux only: memory is read from /proc.
 *
 *   PAGES=1000       sockets to open
 *   SPEED=20         of the simulation, which decides how often frames come
 *   SECONDS=15       how long they are kept open
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "@playwright/test";
import { Dashboard } from "./support/dashboard";

const { PAGES = "1000", SPEED = "20", SECONDS = "15" } = process.env;

test("pages", async () => {
  test.skip(process.platform !== "linux", "memory is read from /proc");
  const dir = mkdtempSync(join(tmpdir(), "dashboard-pages-"));
  const args = ["--simulation", "--scenario", "agent-swarm", "--speed", SPEED];
  const dashboard = await Dashboard.start({ configDirs: [dir], dataDir: dir, args });
  const rss = () => Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${dashboard.pid}/status`, "utf8"))?.[1]);
  // A first page, so that what is made once for all is there already.
  const sockets = [await open(dashboard.port)];
  await sleep(5_000);
  const before = { kb: rss(), frames: await frames(dashboard) };
  const began = performance.now();
  for (let i = 0; i < Number(PAGES); i += 1) sockets.push(await open(dashboard.port));
  let most = 0;
  for (let i = 0; i < Number(SECONDS); i += 1) {
    await sleep(1_000);
    most = Math.max(most, rss());
  }
  const seconds = (performance.now() - began) / 1_000;
  const rate = ((await frames(dashboard)) - before.frames) / seconds;
  expect(sockets.filter((socket) => !socket.closed).length, "pages still connected").toBe(sockets.length);
  const received = sockets.reduce((sum, socket) => sum + socket.bytesRead, 0);
  const perPage = (most - before.kb) / Number(PAGES);
  console.log(`\n${PAGES} pages at ${rate.toFixed(1)} frames/s, ${(received / 1e6 / seconds).toFixed(1)} MB/s in all: ` +
    `${perPage.toFixed(1)} kB of the server's memory per page (${before.kb} kB with one page, ${most} kB at most)`);
  for (const socket of sockets) socket.destroy();
  await dashboard.stop();
  rmSync(dir, { recursive: true });
});

/** A page's socket that reads and forgets what it gets. */
async function open(port: number): Promise<Socket> {
  const socket = connect(port, "127.0.0.1");
  socket.write(`GET /ws HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: dashboard.v1\r\n\r\n");
  const [head] = await once(socket, "data");
  expect(String(head)).toContain("101");
  socket.resume();
  return socket;
}

/** Frames of events made so far. */
async function frames(dashboard: Dashboard): Promise<number> {
  const text = await (await fetch(`${dashboard.url}/metrics`)).text();
  return Number(/^dashboard_hub_frames_total (\d+)$/m.exec(text)?.[1]);
}
