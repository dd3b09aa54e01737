import { defineConfig } from "@playwright/test";
import { chromium } from "./support/browser";

export default defineConfig({
  testMatch: ["ingest.ts", "latency.ts", "pages.ts"],
  outputDir: "test-results",
  workers: 1,
  timeout: 600_000,
  reporter: "line",
  use: chromium,
});
