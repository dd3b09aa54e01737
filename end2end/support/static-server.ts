/** Serves a directory under a sub-path, as a project page on a plain web host does: no rewriting, no headers. */
import { createReadStream, statSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { once } from "node:events";
import { extname, join, normalize } from "node:path";

const TYPES: Record<string, string> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".wasm": "application/wasm",
  ".svg": "image/svg+xml",
  ".json": "application/json",
};

export class StaticServer {
  /** Files sent, relative to the directory. */
  readonly sent = new Set<string>();
  private server!: Server;
  private port = 0;

  private constructor(
    private readonly dir: string,
    private readonly base: string,
  ) {}

  static async start(dir: string, base: string): Promise<StaticServer> {
    const site = new StaticServer(dir, base);
    site.server = createServer((request, response) => {
      const file = site.find(decodeURIComponent((request.url ?? "/").replace(/\?.*/, "")));
      if (file === undefined) {
        response.writeHead(404).end();
        return;
      }
      site.sent.add(file);
      response.writeHead(200, { "content-type": TYPES[extname(file)] ?? "application/octet-stream" });
      createReadStream(join(dir, file)).pipe(response);
    }).listen(0, "127.0.0.1");
    await once(site.server, "listening");
    const address = site.server.address();
    if (address === null || typeof address === "string") throw new Error("no port");
    site.port = address.port;
    return site;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}${this.base}`;
  }

  private find(path: string): string | undefined {
    if (!path.startsWith(this.base)) return undefined;
    const file = normalize(path.slice(this.base.length));
    if (file.startsWith("..")) return undefined;
    for (const candidate of [file, join(file, "index.html")]) {
      if (statSync(join(this.dir, candidate), { throwIfNoEntry: false })?.isFile()) return candidate;
    }
    return undefined;
  }

  stop(): void {
    this.server.closeAllConnections();
    this.server.close();
  }
}
