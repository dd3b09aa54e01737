/** The test objects: every test watches the console, and those of the live page have a dashboard of their own. */
import { test as base, expect } from "@playwright/test";
import { Dashboard, type StartOptions } from "./dashboard";
import { Home } from "./transcripts";

interface Guard {
  /** Console errors the test provokes; anything else in the console fails it. */
  expectedErrors: RegExp;
}

interface Live {
  home: Home;
  /** Further options for `dashboard start`. */
  startArgs: Pick<StartOptions, "args" | "asNobody">;
  dashboard: Dashboard;
}

/** Fails on any console error, uncaught exception or CSP violation, in any page of the context. */
export const guarded = base.extend<Guard>({
  expectedErrors: [/^$/, { option: true }],
  context: async ({ context, expectedErrors }, use) => {
    const problems: string[] = [];
    context.on("console", (message) => {
      if (message.type() === "error" && !expectedErrors.test(message.text())) problems.push(message.text());
    });
    context.on("weberror", (error) => problems.push(String(error.error())));
    await context.addInitScript(() => {
      document.addEventListener("securitypolicyviolation", (event) => {
        console.error(`CSP violation: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
      });
    });
    await use(context);
    expect(problems, "the browser's console").toEqual([]);
  },
});

/** A dashboard on a free port over an own config directory; `page.goto("/")` opens it. */
export const test = guarded.extend<Live>({
  startArgs: [{ args: [] }, { option: true }],
  home: async ({}, use) => {
    const home = new Home();
    await use(home);
    home.remove();
  },
  dashboard: async ({ home, startArgs }, use, info) => {
    const dashboard = await Dashboard.start({ configDirs: [home.dir], dataDir: home.dataDir, ...startArgs });
    await use(dashboard);
    const exitCode = await dashboard.stop();
    if (info.status !== info.expectedStatus) await info.attach("dashboard", { body: dashboard.output });
    expect(exitCode, "exit code after SIGTERM").toBe(0);
  },
  baseURL: async ({ dashboard }, use) => use(dashboard.url),
});

export { expect };
