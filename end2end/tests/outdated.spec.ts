import type { Page } from "@playwright/test";
import { expectMetrics, expectSession, openLive } from "../support/page";
import { expect, test } from "../support/test";

/** Lets `change` alter each frame of the server on its way to the page. */
async function altered(page: Page, change: (frame: any) => void): Promise<void> {
  await page.routeWebSocket(/\/ws/, (socket) => {
    socket.connectToServer().onMessage((message) => {
      const frame = JSON.parse(String(message));
      change(frame);
      socket.send(JSON.stringify(frame));
    });
  });
}

test("a page older than its server says so and is up to date after a reload", async ({ page, home }) => {
  const session = home.session();
  session.response();
  let replaced = true;
  await altered(page, (frame) => {
    if (replaced && frame.frame === "hello") frame.build = "of-another-build";
  });
  await page.goto("/");
  await expectMetrics(page, { connection: "outdated" });
  await expect(page.getByText("The dashboard was updated")).toBeVisible();
  // What it can read it goes on showing.
  session.response({ output: 640 });
  await expectSession(page, session);

  replaced = false;
  await page.getByRole("button", { name: "Reload", exact: true }).click();
  await expectMetrics(page, { connection: "live" });
  await expect(page.getByText("The dashboard was updated")).toHaveCount(0);
});

test("a server that cannot be read is not shown as live", async ({ page, home }) => {
  home.session().response();
  await altered(page, (frame) => {
    if (frame.frame === "hello") frame.mode = "a-mode-of-the-future";
  });
  await page.goto("/");
  await expectMetrics(page, { connection: "outdated" });
});

test("an event of unknown type is passed over, counted and shown", async ({ page, home }) => {
  const session = home.session();
  session.response();
  let changed = 0;
  await altered(page, (frame) => {
    for (const event of frame.events ?? []) {
      if (event.type === "ingest:update") {
        event.type = "galaxy:born";
        changed += 1;
      }
    }
  });
  await openLive(page);
  session.response({ output: 640 });
  await expectSession(page, session);
  session.response({ output: 641 });
  await expectSession(page, session);
  expect(changed).toBeGreaterThan(0);
  await expect(page.locator('[data-list="events"]').getByText("galaxy:born").first()).toBeVisible();
  await expectMetrics(page, { connection: "live" });
});
