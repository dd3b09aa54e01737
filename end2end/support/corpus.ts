/** Many sessions at once, for measuring. */
import type { Home } from "./transcripts";

const DAY_MS = 86_400_000;

/** Past sessions of the last month; what is measured is a session of today. */
export function makeCorpus(home: Home, megabytes: number): string {
  let bytes = 0;
  let sessions = 0;
  for (; bytes < megabytes * 1e6; sessions += 1) {
    const session = home.session(`project-${sessions % 20}`);
    const text = session.responses(300, { lines: 3, at: new Date(Date.now() - (1 + (sessions % 30)) * DAY_MS) });
    session.raw(text);
    bytes += text.length;
  }
  return `${(bytes / 1e6).toFixed(0)} MB in ${sessions} sessions`;
}
