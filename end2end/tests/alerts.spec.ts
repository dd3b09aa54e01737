import { openLive } from "../support/page";
import { expect, test } from "../support/test";

/** The alerts' panel, and the alerts in it. */
const PANEL = "#alerts";
const ALERTS = '[data-list="alerts"] > [data-level]';

test("an acknowledged alert is gone on every page, and comes back when it is worse", async ({ page, home, context }) => {
  const session = home.session("atlas");
  session.response({ cache_read: 100_000 });
  await openLive(page);
  const other = await context.newPage();
  await openLive(other);
  for (const view of [page, other]) {
    await expect(view.locator(ALERTS)).toHaveCount(1);
    await expect(view.locator(ALERTS)).toHaveAttribute("data-level", "warning");
  }
  const kept = page.waitForResponse((response) => response.url().endsWith("/api/v1/alerts/acknowledge"));
  await page.getByRole("button", { name: "Acknowledge: Context filling up" }).click();
  expect((await kept).status()).toBe(204);
  for (const view of [page, other]) await expect(view.locator(ALERTS)).toHaveCount(0);
  await page.reload();
  await openLive(page);
  await expect(page.locator(ALERTS)).toHaveCount(0);

  session.response({ cache_read: 140_000 });
  for (const view of [page, other]) {
    await expect(view.locator(ALERTS)).toHaveCount(1);
    await expect(view.locator(ALERTS)).toHaveAttribute("data-level", "danger");
  }
});

test("a snooze is said on every page and moves nothing", async ({ page, home, dashboard, context }) => {
  home.session("atlas").response({ cache_read: 100_000 });
  await openLive(page);
  const other = await context.newPage();
  await openLive(other);
  await expect(page.locator(ALERTS)).toHaveCount(1);
  const before = await page.locator(PANEL).boundingBox();
  await page.getByRole("button", { name: "Snooze all" }).click();
  for (const view of [page, other]) await expect(view.locator(PANEL)).toContainText(/Snoozed until \d\d:\d\d/);
  expect(await page.locator(PANEL).boundingBox()).toEqual(before);
  await expect(page.locator(ALERTS)).toHaveCount(1);
  expect((await dashboard.json("/api/v1/alerts")).snoozed_until).not.toBeNull();

  await other.getByRole("button", { name: "Resume" }).click();
  await expect(page.getByRole("button", { name: "Snooze all" })).toBeVisible();
  await expect(page.locator(PANEL)).not.toContainText("Snoozed");
});

test("levels are changed on the settings page and hold at once", async ({ page, home, context }) => {
  home.session("atlas").response({ cache_read: 100_000 });
  await openLive(page);
  await expect(page.locator(ALERTS)).toHaveAttribute("data-level", "warning");
  const settings = await context.newPage();
  await settings.goto("/settings");
  const levels = settings.getByLabel("Levels of contexts");
  await expect(levels).toHaveValue("50,80,90");
  await levels.fill("90,80,70");
  await levels.press("Enter");
  await expect(settings.getByText("allowed: three rising percentages")).toBeVisible();
  await levels.fill("10,20,30");
  await levels.press("Enter");
  await expect(settings.getByText("Levels of contexts: kept.")).toBeVisible();
  await expect(page.locator(ALERTS)).toHaveAttribute("data-level", "critical");
});

test("the browser asks for notifications on the user's act only, and shows what is news", async ({ page, home, context }) => {
  await context.addInitScript(() => {
    const shown: string[] = [];
    class Stub {
      static permission = "default";
      static async requestPermission() {
        shown.push("asked");
        Stub.permission = "granted";
        return "granted";
      }
      constructor(title: string, options: NotificationOptions) {
        shown.push(`${title}: ${options.body}`);
      }
    }
    Object.assign(window, { Notification: Stub, shown });
    if (localStorage.getItem("dashboard_notifications") !== null) Stub.permission = "granted";
  });
  const shown = () => page.evaluate(() => (window as unknown as { shown: string[] }).shown);
  const session = home.session("atlas");
  session.response({ cache_read: 100_000 });
  await openLive(page);
  await expect(page.locator(ALERTS)).toHaveCount(1);
  expect(await shown()).toEqual([]);
  await page.goto("/settings");
  await page.getByRole("button", { name: "Switch on" }).click();
  await expect(page.getByRole("button", { name: "Switch off" })).toBeVisible();
  expect(await shown()).toEqual(["asked"]);

  await page.goto("/");
  await openLive(page);
  await expect(page.locator(ALERTS)).toHaveCount(1);
  expect(await shown(), "what was so before is no news").toEqual([]);
  session.response({ cache_read: 140_000 });
  await expect.poll(shown).toEqual([expect.stringMatching(/^Context almost full: atlas at/)]);
});
