import type { Page } from "@playwright/test";
import { metric, openLive } from "../support/page";
import { expect, test } from "../support/test";

/** What can be seen of a document: names, classes, texts and figures of its elements, in order. */
interface Outline {
  title: string;
  headTags: number;
  elements: string[];
}

interface Recorded {
  outline: () => Outline;
  /** As it was when the page had just taken its place, before anything was drawn. */
  swapped?: Outline;
  shifts: number[];
}

declare global {
  interface Window {
    recorded: Recorded;
  }
}

/** Holds the page's WASM back, so that the served document can be used before the page takes its place. */
async function holdWasm(page: Page): Promise<() => void> {
  let letGo = () => {};
  const held = new Promise<void>((resolve) => (letGo = resolve));
  await page.route("**/pkg/dashboard.wasm", async (route) => {
    await held;
    await route.continue();
  });
  return letGo;
}

async function record(page: Page): Promise<void> {
  await page.addInitScript(() => {
    const outline = (): Outline => ({
      title: document.title,
      headTags: document.head.querySelectorAll("*").length,
      // The pill may have connected by then.
      elements: [...document.body.querySelectorAll("*:not(script, noscript, .pill, .pill *)")].map((element) => {
        const texts = [...element.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE);
        // Server and browser write a style, or nothing, in ways of their own.
        const value = ({ name, value }: Attr) => (name === "style" ? (element as HTMLElement).style.cssText : value.trim());
        const attributes = [...element.attributes].filter((attribute) => attribute.value !== "");
        const named = attributes.map((attribute) => `${attribute.name}=${value(attribute)}`).sort().join(" ");
        return `${element.tagName} ${named} ${texts.map((text) => text.textContent).join("").trim()}`;
      }),
    });
    window.recorded = { outline, shifts: [] };
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) window.recorded.shifts.push((entry as unknown as { value: number }).value);
    }).observe({ type: "layout-shift", buffered: true });
    let served: Element | undefined;
    new MutationObserver(() => {
      served ??= document.querySelector("main") ?? undefined;
      if (served !== undefined && !served.isConnected) window.recorded.swapped ??= outline();
    }).observe(document, { subtree: true, childList: true });
  });
}

test("the page takes the place of the served document unseen", async ({ page, home }) => {
  const session = home.session();
  session.response({ cache_read: 100_000 });
  await openLive(page);
  await expect(metric(page, "session.id")).toHaveAttribute("data-value", session.id);
  await record(page);
  const letGo = await holdWasm(page);
  await page.reload({ waitUntil: "domcontentloaded" });
  const served = await page.evaluate(() => window.recorded.outline());
  await expect(page.locator("#boot")).toHaveCount(1);
  letGo();
  await expect.poll(() => page.evaluate(() => window.recorded.swapped)).toEqual(served);
  expect(served.title).toBe("Live – Dashboard");
  await expect(page.locator("#boot")).toHaveCount(0);
  await expect(page.getByRole("main")).toHaveCount(1);
  await expect(metric(page, "connection")).toHaveAttribute("data-value", "live");
  const shifts = await page.evaluate(() => window.recorded.shifts);
  expect(shifts.reduce((sum, shift) => sum + shift, 0)).toBeLessThanOrEqual(0.02);
});

test("focus, scroll position, selection, details and choices are kept", async ({ page, home }) => {
  for (let i = 0; i < 8; i += 1) home.session(`project-${i}`).response();
  await page.setViewportSize({ width: 800, height: 500 });
  await openLive(page);
  await expect(metric(page, "sessions.active")).toHaveAttribute("data-value", "8");
  const letGo = await holdWasm(page);
  await page.reload({ waitUntil: "domcontentloaded" });
  await expect(page.locator("#boot")).toHaveCount(1);
  const other = page.locator('input[name="window"]').nth(1);
  await other.check({ force: true });
  const table = page.locator("details.as-table").first();
  await table.locator("summary").click();
  await other.focus();
  const before = await page.evaluate(() => {
    scrollTo(0, 300);
    const title = document.querySelector("#h-quota")?.firstChild;
    if (title) document.getSelection()?.setBaseAndExtent(title, 1, title, 4);
    return { scroll: scrollY, selected: String(document.getSelection()) };
  });
  expect(before).toEqual({ scroll: 300, selected: "uot" });
  letGo();
  await expect(metric(page, "connection")).toHaveAttribute("data-value", "live");
  expect(await page.evaluate(() => ({ scroll: scrollY, selected: String(document.getSelection()) }))).toEqual(before);
  await expect(other).toBeFocused();
  await expect(other).toBeChecked();
  await expect(table).toHaveAttribute("open");
  // The page has heard of what was opened, and fills it.
  await expect(table.getByRole("table")).toBeVisible();
});

test("what was typed is kept, and counts", async ({ page }) => {
  const letGo = await holdWasm(page);
  await page.goto("/?demo&seed=1", { waitUntil: "domcontentloaded" });
  const seed = page.getByRole("textbox", { name: "Seed" });
  await seed.fill("99");
  await seed.press("ArrowLeft");
  letGo();
  await expect(page.getByRole("region", { name: "Simulated data" })).toContainText("seed 99");
  await expect(seed).toHaveValue("99");
  await expect(seed).toBeFocused();
  expect(await seed.evaluate((field: HTMLInputElement) => field.selectionStart)).toBe(1);
});
