import { expectMetrics, openLive } from "../support/page";
import { expect, test } from "../support/test";

test("P pauses and resumes", async ({ page }) => {
  await openLive(page);
  await page.keyboard.press("p");
  await expectMetrics(page, { connection: "paused" });
  await page.keyboard.press("p");
  await expectMetrics(page, { connection: "live" });
});

test("T changes the theme, and the choice is kept", async ({ page }) => {
  await page.emulateMedia({ colorScheme: "dark" });
  await openLive(page);
  const background = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  const dark = await background();
  await page.keyboard.press("t");
  await expect(page.locator("html")).toHaveAttribute("data-theme", "light");
  await expect.poll(background).not.toBe(dark);
  await page.reload();
  await expect(page.locator("html")).toHaveAttribute("data-theme", "light");
});

test("the page follows the system's theme until told otherwise", async ({ page }) => {
  const background = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  await page.emulateMedia({ colorScheme: "light" });
  await openLive(page);
  const light = await background();
  await page.emulateMedia({ colorScheme: "dark" });
  await expect.poll(background).not.toBe(light);
});

test("the first stop of Tab skips to the content", async ({ page }) => {
  await openLive(page);
  await page.keyboard.press("Tab");
  await expect(page.getByRole("link", { name: "Skip to content" })).toBeFocused();
  await page.keyboard.press("Enter");
  await expect(page.getByRole("main")).toBeFocused();
});

test("shortcuts leave text fields alone", async ({ page, home }) => {
  home.session().response();
  await page.goto("/?demo");
  await expectMetrics(page, { mode: "demo" });
  const theme = await page.locator("html").getAttribute("data-theme");
  await page.getByRole("textbox", { name: "Seed" }).press("t");
  expect(await page.locator("html").getAttribute("data-theme")).toBe(theme);
});
