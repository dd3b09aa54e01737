/** The real release binary, started and stopped like a user would. */
import { type ChildProcess, spawn, spawnSync, type SpawnSyncReturns } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

export const BINARY = resolve(__dirname, "../../target/release/dashboard");

const READY_WITHIN_MS = 30_000;

export interface StartOptions {
  /** Config directories with the transcripts to watch. */
  configDirs: string[];
  /** Where the dashboard may keep its own files. */
  dataDir: string;
  /** Further options of `dashboard start`. */
  args?: string[];
  /** Another copy of the binary. */
  binary?: string;
  cwd?: string;
}

/** A port nobody listens on. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

/** No setting of the machine reaches the binary: no config directory, no home, no proxy. */
function environment(home: string): NodeJS.ProcessEnv {
  return { PATH: process.env.PATH, HOME: home, XDG_CONFIG_HOME: home, XDG_DATA_HOME: home, NO_COLOR: "1" };
}

/** Runs a command of the binary to its end. */
export function runDashboard(...args: string[]): SpawnSyncReturns<string> {
  return spawnSync(BINARY, args, { encoding: "utf8", env: environment(tmpdir()), timeout: 60_000 });
}

export class Dashboard {
  /** Everything it printed so far. */
  output = "";
  private child!: ChildProcess;

  private constructor(
    readonly port: number,
    private readonly options: StartOptions,
  ) {}

  static async start(options: StartOptions): Promise<Dashboard> {
    const dashboard = new Dashboard(await freePort(), options);
    await dashboard.start();
    return dashboard;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Starts it (again) on its port and waits until it answers. */
  async start(): Promise<void> {
    const { configDirs, dataDir, args = [], binary = BINARY, cwd } = this.options;
    const directories = configDirs.flatMap((dir) => ["--config-dir", dir]);
    const fixed = ["start", "--no-browser", "--timezone", "UTC", "--port", String(this.port), "--data-dir", dataDir];
    this.child = spawn(binary, [...fixed, ...directories, ...args], { env: environment(dataDir), cwd });
    const collect = (chunk: Buffer) => (this.output += chunk.toString());
    this.child.stdout?.on("data", collect);
    this.child.stderr?.on("data", collect);
    await this.answers();
  }

  private async answers(): Promise<void> {
    const deadline = Date.now() + READY_WITHIN_MS;
    while (Date.now() < deadline) {
      if (this.child.exitCode !== null) throw new Error(`dashboard exited with ${this.child.exitCode}:\n${this.output}`);
      const response = await fetch(`${this.url}/health`).catch(() => undefined);
      if (response?.ok) return;
      await sleep(50);
    }
    throw new Error(`dashboard did not get ready:\n${this.output}`);
  }

  /** `GET path` as JSON. */
  async json(path: string): Promise<any> {
    const response = await fetch(this.url + path);
    if (!response.ok) throw new Error(`${path}: ${response.status}`);
    return response.json();
  }

  /** Ends it politely; the exit code. */
  stop(): Promise<number | null> {
    return this.end("SIGTERM");
  }

  /** Ends it like a crash does. */
  async kill(): Promise<void> {
    await this.end("SIGKILL");
  }

  private async end(signal: NodeJS.Signals): Promise<number | null> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      const exited = once(this.child, "exit");
      this.child.kill(signal);
      await exited;
    }
    return this.child.exitCode;
  }
}
