import { copyFileSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BINARY, Dashboard, runDashboard } from "../support/dashboard";
import { expectMetrics } from "../support/page";
import { expect, guarded, test } from "../support/test";

test("a bad option says what is allowed", () => {
  const unknown = runDashboard("start", "--no-such-option");
  expect(unknown.status).toBe(2);
  expect(unknown.stderr).toContain("--help");

  const scenario = runDashboard("start", "--simulation", "--scenario", "chaos");
  expect(scenario.status).toBe(2);
  for (const allowed of ["calm-day", "quota-crunch", "context-overflow", "agent-swarm"]) {
    expect(scenario.stderr).toContain(allowed);
  }

  const plan = runDashboard("start", "--plan", "gold");
  expect(plan.status).toBe(2);
  expect(plan.stderr).toContain("max20");
});

test("a port in use names the option that helps", async () => {
  const other = createServer().listen(0, "127.0.0.1");
  await once(other, "listening");
  const address = other.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  const result = runDashboard("start", "--no-browser", "--port", String(address.port));
  other.close();
  expect(result.status).toBe(1);
  expect(result.stderr).toContain("--port");
});

test("serving others needs a token", () => {
  const result = runDashboard("start", "--no-browser", "--host", "0.0.0.0");
  expect(result.status).not.toBe(0);
  expect(result.stderr).toContain("--token");
});

test("a token has at least 16 characters", () => {
  const result = runDashboard("start", "--no-browser", "--host", "0.0.0.0", "--token", "fifteen-letters");
  expect(result.status).toBe(2);
  expect(result.stderr).toContain("16");
});

test.describe("--token auto", () => {
  test.use({ startArgs: { args: ["--token", "auto"] } });

  test("makes a token for this user and uses it again", async ({ home, dashboard }) => {
    const file = join(home.dataDir, "token");
    const token = readFileSync(file, "utf8");
    expect(token.length).toBeGreaterThanOrEqual(16);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    await expect.poll(() => dashboard.output).toContain(`/?token=${token}`);

    // Behind a proxy is not this user.
    const ask = (headers: Record<string, string>) =>
      fetch(`${dashboard.url}/health`, { headers: { "X-Forwarded-For": "192.0.2.1", ...headers } });
    expect((await ask({})).status).toBe(401);
    expect((await ask({ Authorization: `Bearer ${token}` })).status).toBe(200);
    const signedIn = await fetch(`${dashboard.url}/?token=${token}`, { redirect: "manual" });
    expect(signedIn.status).toBe(303);
    const cookie = signedIn.headers.get("set-cookie") ?? "";
    expect(cookie).not.toContain(token);
    expect(cookie).toContain("HttpOnly");
    const Cookie = cookie.split(";")[0] ?? "";
    expect((await ask({ Cookie })).status).toBe(200);

    await dashboard.stop();
    await dashboard.start();
    expect(readFileSync(file, "utf8")).toBe(token);
    expect((await ask({ Cookie })).status, "a cookie of another run").toBe(401);
  });
});

guarded("the binary alone in an empty directory serves everything", async ({ page }) => {
  const dir = mkdtempSync(join(tmpdir(), "dashboard-alone-"));
  const dataDir = mkdtempSync(join(tmpdir(), "dashboard-data-"));
  const binary = join(dir, "dashboard");
  copyFileSync(BINARY, binary);
  const dashboard = await Dashboard.start({ configDirs: [dir], dataDir, binary, cwd: dir });
  const failed: string[] = [];
  page.on("response", (response) => {
    if (!response.ok()) failed.push(`${response.status()} ${response.url()}`);
  });
  await page.goto(dashboard.url);
  await expectMetrics(page, { connection: "live" });
  expect(failed).toEqual([]);
  expect(await dashboard.stop()).toBe(0);
  for (const made of [dir, dataDir]) rmSync(made, { recursive: true });
});
