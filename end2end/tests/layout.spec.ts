import { expectDemo, openLive, sidewaysOverflow } from "../support/page";
import { expect, test } from "../support/test";

const PAGES = ["/", "/?demo", "/sessions", "/history", "/health-report", "/settings"];

for (const width of [320, 390, 768, 1024, 1440]) {
  test(`nothing scrolls sideways at ${width} px`, async ({ page, home }) => {
    const session = home.session("a-project-with-quite-a-long-name-that-does-not-fit");
    session.response({ cache_read: 150_000 });
    session.subagent().response();
    await page.setViewportSize({ width, height: 844 });
    for (const path of PAGES) {
      if (path === "/?demo") {
        await page.goto(path);
        await expectDemo(page);
      } else {
        await openLive(page, path);
      }
      expect(await sidewaysOverflow(page), path).toBe(0);
    }
  });
}

test("every page is reached by its link, and says where one is", async ({ page }) => {
  await openLive(page);
  const main = page.getByRole("navigation", { name: "Main" });
  for (const name of ["Sessions", "History", "Health", "Live"]) {
    const link = main.getByRole("link", { name: new RegExp(`^${name}`) });
    await link.click();
    await expect(link).toHaveAttribute("aria-current", "page");
    await expect(page.getByRole("heading", { level: 1 })).toContainText(name);
  }
});
