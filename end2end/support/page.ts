/** What a test may read on the page: the hooks of docs/PROTOCOL.md, nothing of its looks. */
import { expect, type Locator, type Page } from "@playwright/test";
import { type Home, type Session, total } from "./transcripts";

/** The element that shows a number; there is exactly one. */
export const metric = (page: Page, name: string): Locator => page.locator(`[data-metric="${name}"]`);

/** The number an element shows. */
export async function value(page: Page, name: string): Promise<number> {
  return Number(await metric(page, name).getAttribute("data-value"));
}

/** Waits until each hook has its value. */
export async function expectMetrics(page: Page, values: Record<string, number | string>): Promise<void> {
  for (const [name, expected] of Object.entries(values)) {
    await expect(metric(page, name), name).toHaveAttribute("data-value", String(expected));
  }
}

/** Waits until the page shows a session's sums as the session shown. */
export async function expectSession(page: Page, session: Session): Promise<void> {
  const { sum } = session;
  await expectMetrics(page, {
    "session.id": session.id,
    "session.tokens.total": total(sum),
    "session.tokens.input": sum.input,
    "session.tokens.output": sum.output,
    "session.tokens.cache_creation": sum.cache_creation,
    "session.tokens.cache_read": sum.cache_read,
  });
}

/** Waits until the page shows the sums over everything written to `home` (all of it today). */
export async function expectTotals(page: Page, home: Home): Promise<void> {
  await expectMetrics(page, {
    "today.tokens": total(home.sum),
    "ingest.responses": home.sum.responses,
    "ingest.lines": home.lines,
  });
}

/** Opens a page of a live dashboard and waits until it is mounted and connected. */
export async function openLive(page: Page, path = "/"): Promise<void> {
  await page.goto(path);
  await expectMetrics(page, { connection: "live" });
}

/** Waits until the demo plays. */
export async function expectDemo(page: Page): Promise<void> {
  await expectMetrics(page, { mode: "demo", connection: "none" });
  await expect.poll(() => value(page, "session.tokens.total")).toBeGreaterThan(0);
}

/** How far the page can be scrolled sideways, in pixels. */
export function sidewaysOverflow(page: Page): Promise<number> {
  return page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
}
