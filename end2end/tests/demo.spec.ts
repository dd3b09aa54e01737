import type { Page } from "@playwright/test";
import { expectDemo, metric, openLive, value } from "../support/page";
import { expect, test } from "../support/test";

/** Records every row the event log ever shows of one type, from the first one on. */
async function recordEvents(page: Page, type: string): Promise<() => Promise<string[]>> {
  await page.addInitScript((type) => {
    const rows = new Set<string>();
    Object.assign(window, { recordedEvents: rows });
    new MutationObserver(() => {
      for (const row of document.querySelectorAll(`[data-event-type="${type}"]`)) {
        const at = row.querySelector("time")?.getAttribute("datetime");
        const text = row.textContent;
        if (at && text) rows.add(`${at} ${text}`);
      }
    }).observe(document, { subtree: true, childList: true });
  }, type);
  return () => page.evaluate(() => [...(window as unknown as { recordedEvents: Set<string> }).recordedEvents].sort());
}

test("the demo says what it is and opens no connection", async ({ page, home }) => {
  const session = home.session("real-project");
  session.response();
  const sockets: string[] = [];
  page.on("websocket", (socket) => sockets.push(socket.url()));
  await page.goto("/?demo");
  await expectDemo(page);

  const banner = page.getByRole("region", { name: "Simulated data" });
  await expect(banner).toContainText("simulated");
  const before = await value(page, "session.tokens.total");
  await expect.poll(() => value(page, "session.tokens.total")).not.toBe(before);
  for (const name of ["quota.five_hour.provenance", "quota.seven_day.provenance"]) {
    await expect(metric(page, name)).toHaveAttribute("data-value", "simulated");
  }
  // Nothing of the real sessions, and nothing that reads as live.
  await expect(page.getByText("real-project")).toHaveCount(0);
  await expect(metric(page, "connection")).not.toContainText("Live");
  expect(sockets).toEqual([]);

  await banner.getByRole("link", { name: "Leave demo" }).click();
  await expect(metric(page, "mode")).toHaveAttribute("data-value", "live");
  await expect(metric(page, "session.id")).toHaveAttribute("data-value", session.id);
});

test("the simulation runs in a worker, which the live page does not load", async ({ page }) => {
  const requests: string[] = [];
  page.on("request", (request) => requests.push(new URL(request.url()).pathname));
  await openLive(page);
  expect(requests.filter((path) => path.includes("worker"))).toEqual([]);
  expect(page.workers()).toEqual([]);
  await page.goto("/?demo");
  await expectDemo(page);
  expect(page.workers().map((worker) => new URL(worker.url()).pathname)).toEqual(["/worker.js"]);
  const clock = page.locator(".player .clock");
  const before = await clock.textContent();
  await expect(clock).not.toHaveText(before ?? "");
});

test("the worker's script brings its own policy", async ({ request, dashboard }) => {
  const answer = await request.get(`${dashboard.url}/worker.js`);
  const policy = answer.headers()["content-security-policy"] ?? "";
  expect(policy).toContain("default-src 'none'");
  expect(policy).toContain("connect-src 'self'");
  expect(policy).not.toContain("unsafe-inline");
});

test("the same seed gives the same events, another seed others", async ({ context }) => {
  const play = async (seed: number) => {
    const page = await context.newPage();
    const events = await recordEvents(page, "session:tokens");
    await page.goto(`/?demo&scenario=quota-crunch&seed=${seed}&speed=10`);
    await expectDemo(page);
    // What came first is complete once much later events are there.
    await expect.poll(async () => (await events()).length).toBeGreaterThanOrEqual(20);
    const first = (await events()).slice(0, 10);
    await page.close();
    return first;
  };
  const once = await play(4217);
  expect(await play(4217)).toEqual(once);
  expect(await play(4218)).not.toEqual(once);
});

test("scenario, seed and speed are controls", async ({ page }) => {
  await page.goto("/?demo&scenario=calm-day&seed=1");
  await expectDemo(page);
  const banner = page.getByRole("region", { name: "Simulated data" });
  await page.getByRole("radio", { name: /swarm/i }).check();
  await expect(banner).toContainText(/swarm/i);
  await page.getByRole("textbox", { name: "Seed" }).fill("99");
  await page.getByRole("textbox", { name: "Seed" }).press("Enter");
  await expect(banner).toContainText("seed 99");

  const speed = page.getByRole("group", { name: "Speed" });
  await speed.getByRole("button", { name: "×600" }).click();
  await expect(speed.getByRole("button", { name: "×600" })).toHaveAttribute("aria-pressed", "true");
  // At ×600 a virtual hour passes in six seconds: the swarm's tokens grow by millions while the test looks.
  const before = await value(page, "today.tokens");
  await expect.poll(() => value(page, "today.tokens")).toBeGreaterThan(before + 1_000_000);

  await page.getByRole("button", { name: "Pause the simulation" }).click();
  await expect(page.getByRole("button", { name: "Resume the simulation" })).toBeVisible();
});

test("every scenario plays at full speed without an error", async ({ page }) => {
  for (const scenario of ["calm-day", "quota-crunch", "context-overflow", "agent-swarm"]) {
    await page.goto(`/?demo&scenario=${scenario}&seed=3&speed=600`);
    await expectDemo(page);
    const before = await value(page, "session.tokens.total");
    await expect.poll(() => value(page, "session.tokens.total")).not.toBe(before);
  }
});

test.describe("simulation in the server", () => {
  test.use({ startArgs: { args: ["--simulation", "--scenario", "quota-crunch", "--seed", "7", "--speed", "60"] } });

  test("is labelled as such", async ({ page, home }) => {
    home.session("real-project").response();
    await page.goto("/");
    await expect(metric(page, "mode")).toHaveAttribute("data-value", "simulation");
    await expect(metric(page, "connection")).toHaveAttribute("data-value", "live");
    const before = await value(page, "session.tokens.total");
    await expect.poll(() => value(page, "session.tokens.total")).not.toBe(before);
    await expect(page.getByText("real-project")).toHaveCount(0);
  });
});
