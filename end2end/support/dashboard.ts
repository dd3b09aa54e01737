/** The real binary, started and stopped like a user would. */
import { type ChildProcess, spawn, spawnSync, type SpawnSyncReturns } from "node:child_process";
import { once } from "node:events";
import { chmodSync, chownSync, copyFileSync, mkdirSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const WORKSPACE = resolve(__dirname, "../..");

/** The binary under test: DASHBOARD_BINARY, relative to the workspace, or what `make start` runs. */
export const BINARY = resolve(WORKSPACE, process.env.DASHBOARD_BINARY ?? "target/quick/dashboard");

const READY_WITHIN_MS = 30_000;
const NOBODY = 65_534;

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
  /** Without the rights of root, where the tests have them. */
  asNobody?: boolean;
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

  /** The running process. */
  get pid(): number | undefined {
    return this.child.pid;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Starts it (again) on its port and waits until it answers. */
  async start(): Promise<void> {
    const { configDirs, dataDir, args = [], cwd } = this.options;
    const asNobody = this.options.asNobody === true && process.getuid?.() === 0;
    const user = asNobody ? { uid: NOBODY, gid: NOBODY } : {};
    const binary = asNobody ? this.openTo(NOBODY) : (this.options.binary ?? BINARY);
    const directories = configDirs.flatMap((dir) => ["--config-dir", dir]);
    const fixed = ["start", "--no-browser", "--timezone", "UTC", "--port", String(this.port), "--data-dir", dataDir];
    this.child = spawn(binary, [...fixed, ...directories, ...args], { env: environment(dataDir), cwd, ...user });
    const collect = (chunk: Buffer) => (this.output += chunk.toString());
    this.child.stdout?.on("data", collect);
    this.child.stderr?.on("data", collect);
    await this.answers();
  }

  /** Lets another user start the binary and reach the directories; where the binary then is. */
  private openTo(uid: number): string {
    const { configDirs, dataDir } = this.options;
    for (const dir of [...configDirs, dataDir]) chownSync(dir, uid, uid);
    const binary = join(dataDir, "bin", "dashboard");
    mkdirSync(dirname(binary), { recursive: true });
    copyFileSync(this.options.binary ?? BINARY, binary);
    chmodSync(binary, 0o755);
    return binary;
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
