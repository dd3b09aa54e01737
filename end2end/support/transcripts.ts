/**
 * A temporary config directory and the transcripts in it, written the way the tool writes them: one API message becomes
 * several lines with the same ids, early ones with a small output count. Every writer adds up what a correct reader
 * must find, so that tests compare with sums and not with guesses.
 */
import { randomUUID } from "node:crypto";
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

/** Marks every conversation text in here; it must show up nowhere. */
export const CANARY = "CANARY-SECRET";

export interface Usage {
  input: number;
  output: number;
  cache_creation: number;
  cache_read: number;
}

export interface Sum extends Usage {
  responses: number;
}

export interface ResponseOptions extends Partial<Usage> {
  /** Lines the message is written on; all but the last repeat the usage with an early output count. */
  lines?: number;
  model?: string;
  at?: Date;
}

export const total = (usage: Usage): number => usage.input + usage.output + usage.cache_creation + usage.cache_read;

const NOTHING: Sum = { input: 0, output: 0, cache_creation: 0, cache_read: 0, responses: 0 };
const MODEL = "claude-sonnet-4-5-20250929";

/** A config directory with its sums over all sessions. */
export class Home {
  readonly dir = mkdtempSync(join(tmpdir(), "dashboard-home-"));
  readonly dataDir = mkdtempSync(join(tmpdir(), "dashboard-data-"));
  readonly sum: Sum = { ...NOTHING };
  lines = 0;

  constructor() {
    mkdirSync(join(this.dir, "projects"));
  }

  session(project = "atlas"): Session {
    return new Session(this, project);
  }

  remove(): void {
    for (const dir of [this.dir, this.dataDir]) rmSync(dir, { recursive: true, force: true });
  }
}

/** Something with a transcript file: a session, or a subagent of one. */
class Writer {
  private parent: string | null = null;

  constructor(
    protected readonly home: Home,
    readonly file: string,
    /** Sums this writer's responses count into. */
    private readonly sums: Sum[],
    private readonly envelope: Record<string, unknown>,
  ) {
    mkdirSync(dirname(file), { recursive: true });
  }

  /** Appends text as it is. */
  raw(text: string): void {
    appendFileSync(this.file, text);
    this.home.lines += text.split("\n").filter((line) => line !== "").length;
  }

  /** Appends one line in the tool's envelope. */
  line(record: Record<string, unknown>, at = new Date()): void {
    this.raw(`${JSON.stringify(this.record(record, at))}\n`);
  }

  /** Appends what the user typed. */
  prompt(text = `${CANARY}-prompt`): void {
    this.line({ type: "user", message: { role: "user", content: text } });
  }

  /** Appends one response and counts it. */
  response(options: ResponseOptions = {}): void {
    this.raw(this.responses(1, options));
  }

  /** The lines of `count` responses, counted but not yet written. */
  responses(count: number, options: ResponseOptions = {}): string {
    const { lines = 1, model = MODEL, at = new Date() } = options;
    const usage: Usage = {
      input: options.input ?? 10,
      output: options.output ?? 200,
      cache_creation: options.cache_creation ?? 300,
      cache_read: options.cache_read ?? 20_000,
    };
    let text = "";
    for (let response = 0; response < count; response += 1) {
      const ids = { message: `msg_${randomUUID()}`, request: `req_${randomUUID()}` };
      for (let line = 1; line <= lines; line += 1) {
        const output = line === lines ? usage.output : Math.min(usage.output, 2);
        text += `${JSON.stringify(this.record(assistant(ids, model, { ...usage, output }, line === lines), at))}\n`;
      }
      for (const sum of this.sums) add(sum, usage);
    }
    return text;
  }

  private record(record: Record<string, unknown>, at: Date): Record<string, unknown> {
    const uuid = randomUUID();
    const line = { parentUuid: this.parent, ...this.envelope, ...record, uuid, timestamp: at.toISOString() };
    this.parent = uuid;
    return line;
  }
}

export class Session extends Writer {
  readonly sum: Sum;
  readonly id: string;

  constructor(
    home: Home,
    readonly project: string,
  ) {
    const id = randomUUID();
    const sum = { ...NOTHING };
    const cwd = `/home/dev/${project}`;
    super(home, join(home.dir, "projects", cwd.replaceAll("/", "-"), `${id}.jsonl`), [home.sum, sum], {
      isSidechain: false,
      userType: "external",
      cwd,
      sessionId: id,
      version: "2.1.270",
      gitBranch: "main",
    });
    this.id = id;
    this.sum = sum;
  }

  /** A subagent: its own file beside the session's, counted into the session. */
  subagent(agentType = "code-reviewer"): Writer {
    const agentId = randomUUID().slice(0, 8);
    const file = join(this.file.replace(/\.jsonl$/, ""), "subagents", `agent-${agentId}.jsonl`);
    const envelope = { isSidechain: true, agentId, cwd: `/home/dev/${this.project}`, sessionId: this.id };
    const agent = new Writer(this.home, file, [this.home.sum, this.sum], envelope);
    const meta = { agentType, description: `${CANARY}-description`, spawnDepth: 1 };
    writeFileSync(file.replace(/\.jsonl$/, ".meta.json"), JSON.stringify(meta));
    return agent;
  }
}

function assistant(ids: { message: string; request: string }, model: string, usage: Usage, last: boolean): Record<string, unknown> {
  return {
    type: "assistant",
    requestId: ids.request,
    message: {
      id: ids.message,
      type: "message",
      role: "assistant",
      model,
      content: [{ type: "text", text: `${CANARY}-answer` }],
      stop_reason: last ? "end_turn" : null,
      usage: {
        input_tokens: usage.input,
        output_tokens: usage.output,
        cache_creation_input_tokens: usage.cache_creation,
        cache_read_input_tokens: usage.cache_read,
      },
    },
  };
}

function add(sum: Sum, usage: Usage): void {
  sum.input += usage.input;
  sum.output += usage.output;
  sum.cache_creation += usage.cache_creation;
  sum.cache_read += usage.cache_read;
  sum.responses += 1;
}
