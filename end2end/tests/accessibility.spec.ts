import AxeBuilder from "@axe-core/playwright";
import type { Page } from "@playwright/test";
import { expectDemo, metric, openLive } from "../support/page";
import { expect, test } from "../support/test";

async function expectNoViolations(page: Page): Promise<void> {
  const { violations } = await new AxeBuilder({ page }).analyze();
  const readable = violations.map((violation) => ({
    rule: violation.id,
    help: violation.help,
    nodes: violation.nodes.map((node) => `${node.target.join(" ")}: ${node.any[0]?.message ?? node.html}`),
  }));
  expect(readable).toEqual([]);
}

for (const colorScheme of ["light", "dark"] as const) {
  test.describe(colorScheme, () => {
    test.beforeEach(({ page }) => page.emulateMedia({ colorScheme }));

    test("live", async ({ page, home }) => {
      // Something of everything: levels, subagents, a second session, a damaged line.
      const session = home.session("payments-api");
      session.response({ cache_read: 140_000 });
      session.subagent().response();
      session.raw("{damaged\n");
      home.session("atlas-web").response();
      await openLive(page);
      await expectNoViolations(page);
      await page.setViewportSize({ width: 390, height: 844 });
      await expectNoViolations(page);
    });

    test("live, nothing there yet", async ({ page }) => {
      await openLive(page);
      await expectNoViolations(page);
    });

    test("demo", async ({ page }) => {
      await page.goto("/?demo&scenario=agent-swarm&seed=5");
      await expectDemo(page);
      await expectNoViolations(page);
    });

    test("the other pages", async ({ page, home }) => {
      home.session().response();
      for (const path of ["/sessions", "/history", "/health-report", "/settings"]) {
        await page.goto(path);
        await expect(metric(page, "mode")).toHaveAttribute("data-value", "live");
        await expectNoViolations(page);
      }
    });
  });
}
