//! What tools differ in, as data: where their files are, which shape these have, and how they are understood.
//!
//! Each tool's own file holds one [`ToolSpec`]. Code outside these files asks the spec, and never which tool it is.

use crate::ids::ModelId;
use crate::record::{AgentStatus, CachedUsage, Presence, Statement, StatusLine, Tool};
use crate::time::Timestamp;
use crate::units::Tokens;

/// Everything that has to be known of a tool besides its parser.
#[derive(Debug)]
pub struct ToolSpec {
    /// Its name for people.
    pub title: &'static str,
    /// Where its home directories are.
    pub home: Home,
    /// Which files below a home hold transcripts. The first that matches a file decides its shape.
    pub transcripts: &'static [Transcripts],
    /// The file beside a transcript that says more about it, if there is such a thing.
    pub companion: Option<Companion>,
    /// The files that say which sessions run, if there are such.
    pub presence: Option<PresenceFiles>,
    /// How responses are told apart.
    pub identity: Identity,
    /// How it is known how full a context window is.
    pub context: ContextRule,
    /// Where the tool says for how many days it keeps transcripts, if it deletes them.
    pub retention: Option<RetentionSetting>,
    /// The file in which the tool keeps the vendor's last answer on its limits, if there is one.
    pub usage_file: Option<UsageFile>,
    /// What the tool hands to its status line, if it has one.
    pub status_line: Option<StatusLineFormat>,
    /// Reads the tool's answer to a request for its usage, if it takes such requests.
    pub usage_answer: Option<UsageAnswer>,
}

/// The JSON that a tool hands to the command that draws its status line.
#[derive(Debug)]
pub struct StatusLineFormat {
    /// Reads it; `None` if it is no JSON object.
    pub read: fn(&[u8]) -> Option<StatusLine>,
    /// As much of it as [`Self::read`] needs, as JSON of a few hundred bytes, stamped with the time at which a relay took
    /// it; free text is left out.
    pub keep: fn(&[u8], Timestamp) -> Option<Vec<u8>>,
    /// The subagents in it, if it is about subagents.
    pub agents: fn(&[u8]) -> Option<Vec<AgentStatus>>,
}

/// Reads a tool's answer to a request for its usage, given at this time; `None` if it is no such answer.
pub type UsageAnswer = fn(&[u8], Timestamp) -> Option<Statement>;

/// A file of settings that also holds the vendor's last answer on the account's limits.
#[derive(Debug)]
pub struct UsageFile {
    /// Its name: in the home or, of a usual home, in the user's home directory.
    pub name: &'static str,
    /// Reads one; `None` if it is not JSON.
    pub read: fn(&[u8]) -> Option<CachedUsage>,
}

/// Where a tool's homes are: what the first variable that is set says, else the usual places.
#[derive(Debug)]
pub struct Home {
    /// Environment variables, the first that is set and not empty decides.
    pub variables: &'static [HomeVariable],
    /// The places to look at if no variable is set; all of them.
    pub usual: &'static [Place],
}

/// An environment variable that says where a tool's home is.
#[derive(Debug)]
pub struct HomeVariable {
    /// Its name.
    pub name: &'static str,
    /// Whether it may list several directories, with commas between.
    pub is_list: bool,
    /// The home's path below the directory named; empty if that is the home.
    pub below: &'static str,
}

/// A usual place of a tool's home.
#[derive(Debug)]
pub enum Place {
    /// Below the user's home directory.
    Home(&'static str),
    /// Below `XDG_CONFIG_HOME`, or `~/.config`.
    Config(&'static str),
    /// Below `XDG_DATA_HOME`, or `~/.local/share`.
    Data(&'static str),
}

/// Files below a home that hold transcripts, and their shape.
#[derive(Debug)]
pub struct Transcripts {
    /// Their paths below the home, `/` between the parts: `*` stands for any characters of a part, and a part `**` for
    /// any number of parts.
    pub pattern: &'static str,
    /// How they are written.
    pub shape: Shape,
}

/// How a transcript is written, and so how it is followed.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// Lines with JSON objects, appended.
    Lines,
    /// One JSON object, rewritten as a whole.
    Document,
    /// A table of an SQLite database. Its rows, new and changed ones, are read as lines.
    Database(&'static Table),
}

/// A table that holds responses. A row is read as a JSON object with the fields named here, and with `row`, its number,
/// and `changed`, the value of the column for that.
#[derive(Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// The columns without which the database is another program's.
    pub required: &'static [&'static str],
    /// The column whose value rises whenever a row is written; without it, rows are never changed nor deleted.
    pub changed: Option<&'static str>,
    /// The fields of the object.
    pub fields: &'static [Column],
}

/// A field of the object that a row is read as.
#[derive(Debug)]
pub struct Column {
    /// The field's name.
    pub field: &'static str,
    /// An SQL expression for its value; the table is called `it`.
    pub sql: &'static str,
    /// The table and column it depends on: where they are missing, the field is left out.
    pub needs: (&'static str, &'static str),
    /// Whether the value is the text of a JSON object.
    pub is_json: bool,
}

/// A file beside a transcript that says more about it.
#[derive(Debug)]
pub struct Companion {
    /// Its path below the home, from the transcript's; one part of it may be `*`. `None` if this one has none.
    pub of: fn(transcript: &str) -> Option<String>,
    /// The transcript, or the directory of transcripts, to look at when the file at this path changes.
    pub transcript: fn(companion: &str) -> Option<String>,
}

/// Whether the process of this id lives, and may be the one that wrote this time as its start.
pub type IsAlive = fn(u32, Option<Timestamp>) -> bool;

/// The files `<pid>.json` of running sessions.
#[derive(Debug)]
pub struct PresenceFiles {
    /// Their directory below the home.
    pub dir: &'static str,
    /// Reads one.
    pub read: fn(&[u8], IsAlive) -> Option<Presence>,
}

/// How a tool's responses are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// By ids, wherever they stand: [`ResponseId::Message`](crate::record::ResponseId::Message).
    Message,
    /// By all rows of a file up to the response: [`ResponseId::Row`](crate::record::ResponseId::Row).
    Row,
}

/// How it is known how full a session's context window is.
#[derive(Clone, Copy, Debug)]
pub enum ContextRule {
    /// From the newest main-chain response: input, cache writes and cache reads.
    FromUsage {
        /// Size of a model's window; the second argument is the largest fill that was seen with it.
        window: fn(&ModelId, Tokens) -> Tokens,
        /// The fill at which the tool compacts a window of this size by itself.
        compacts_at: fn(Tokens) -> Tokens,
    },
    /// The parser says both fill and window, with [`Record::Context`](crate::record::Record::Context), where it knows them.
    Stated {
        /// The fill at which the tool compacts a window of this size by itself.
        compacts_at: fn(Tokens) -> Tokens,
    },
}

impl ContextRule {
    /// Size of a model's window where no record says it; `seen` is the largest fill that was seen with it.
    pub fn window(&self, model: &ModelId, seen: Tokens) -> Tokens {
        match self {
            Self::FromUsage { window, .. } => window(model, seen),
            Self::Stated { .. } => super::window_tokens(model, seen),
        }
    }

    /// The fill at which the tool compacts a window of this size by itself.
    pub fn compacts_at(&self, window: Tokens) -> Tokens {
        match self {
            Self::FromUsage { compacts_at, .. } | Self::Stated { compacts_at } => compacts_at(window),
        }
    }
}

/// Where a tool says for how many days it keeps transcripts.
#[derive(Debug)]
pub struct RetentionSetting {
    /// The file with its settings, below the home: a JSON object.
    pub file: &'static str,
    /// The key in it.
    pub key: &'static str,
    /// The number of days if it is not set.
    pub default_days: u32,
}

impl Tool {
    /// Its name for people.
    pub fn title(self) -> &'static str {
        self.spec().title
    }
}

impl ToolSpec {
    /// The transcripts that the file called `name` below a home is one of.
    pub fn transcripts_named(&self, name: &str) -> Option<&'static Transcripts> {
        self.transcripts.iter().find(|transcripts| transcripts.matches(name))
    }

    /// The shape of the transcript called `name` below a home; lines, if no pattern matches it.
    pub fn shape_of(&self, name: &str) -> Shape {
        self.transcripts_named(name).map_or(Shape::Lines, |transcripts| transcripts.shape)
    }
}

impl Transcripts {
    /// The directory below the home in which all of them lie; empty for the home itself.
    pub fn dir(&self) -> &'static str {
        let literal = self.pattern.find('*').unwrap_or(self.pattern.len());
        self.pattern[..literal].rfind('/').map_or("", |end| &self.pattern[..end])
    }

    /// How many parts their paths have below [`Self::dir`]; `None` if any number.
    pub fn depth(&self) -> Option<usize> {
        let below = self.pattern[self.dir().len()..].trim_start_matches('/');
        (!below.split('/').any(|part| part == "**")).then(|| below.split('/').count())
    }

    /// Whether the file called `name` below the home is one of them.
    pub fn matches(&self, name: &str) -> bool {
        let pattern: Vec<&str> = self.pattern.split('/').collect();
        let name: Vec<&str> = name.split('/').collect();
        parts_match(&pattern, &name)
    }
}

fn parts_match(pattern: &[&str], name: &[&str]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((&"**", rest)), _) => (0..=name.len()).any(|skipped| parts_match(rest, &name[skipped..])),
        (Some((part, rest)), Some((first, others))) => part_matches(part, first) && parts_match(rest, others),
        _ => false,
    }
}

/// Of a part with several `*`, each stands for as little as possible.
fn part_matches(pattern: &str, part: &str) -> bool {
    let Some((head, mut pattern)) = pattern.split_once('*') else { return pattern == part };
    let Some(mut part) = part.strip_prefix(head) else { return false };
    while let Some((piece, rest)) = pattern.split_once('*') {
        let Some(at) = part.find(piece) else { return false };
        (part, pattern) = (&part[at + piece.len()..], rest);
    }
    part.ends_with(pattern)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn pattern(pattern: &'static str) -> Transcripts {
        Transcripts { pattern, shape: Shape::Lines }
    }

    #[test]
    fn patterns() {
        for (wanted, name, matches) in [
            ("projects/**/*.jsonl", "projects/a.jsonl", true),
            ("projects/**/*.jsonl", "projects/p/s/subagents/a.jsonl", true),
            ("projects/**/*.jsonl", "projects/a.json", false),
            ("projects/**/*.jsonl", "others/a.jsonl", false),
            ("tmp/*/chats/**/*.json", "tmp/h/chats/a.json", true),
            ("tmp/*/chats/**/*.json", "tmp/h/logs.json", false),
            ("tmp/*/chats/**/*.json", "tmp/h/x/chats/a.json", false),
            ("tmp/*/chats/**/*.json", "tmp/h/chats/parent/a.json", true),
            ("opencode*.db", "opencode.db", true),
            ("opencode*.db", "opencode-dev.db", true),
            ("opencode*.db", "opencode.db-wal", false),
            ("opencode*.db", "x/opencode.db", false),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "aXc", false),
            ("session-store.db", "session-store.db", true),
        ] {
            assert_eq!(pattern(wanted).matches(name), matches, "{wanted} {name}");
        }
    }

    #[test]
    fn where_to_look() {
        for (wanted, dir, depth) in [
            ("projects/**/*.jsonl", "projects", None),
            ("storage/message/*/*.json", "storage/message", Some(2)),
            ("opencode*.db", "", Some(1)),
            ("session-store.db", "", Some(1)),
            ("tmp/*/chats/**/*.json", "tmp", None),
        ] {
            assert_eq!((pattern(wanted).dir(), pattern(wanted).depth()), (dir, depth), "{wanted}");
        }
    }

    #[test]
    fn every_place_derives_from_the_list() {
        for tool in Tool::ALL {
            let json = format!("\"{}\"", tool.as_str());
            assert_eq!(serde_json::to_string(&tool).unwrap(), json);
            assert_eq!(serde_json::from_str::<Tool>(&json).unwrap(), tool);
            assert_eq!(tool.as_str().parse(), Ok(tool));
            assert!(!tool.title().is_empty() && !tool.spec().transcripts.is_empty());

            let checkpoint = crate::transcript::Checkpoint::start(tool);
            assert_eq!(checkpoint.tool(), tool);
            let kept = serde_json::to_value(&checkpoint).unwrap();
            assert_eq!(kept["parser"]["tool"], tool.as_str());
            assert_eq!(serde_json::from_value::<crate::transcript::Checkpoint>(kept).unwrap(), checkpoint);
        }
    }

    #[test]
    fn checkpoints_of_the_first_version_are_understood() {
        let counts = r#""counts":{"bytes":7,"lines":1,"records":1,"unknown_records":0,"usage_records":1,"bad_counts":0,"rejected_lines":0,"pending_lines":0}"#;
        for (tool, parser) in [
            ("claude-code", r#""newest":"2026-09-14T15:07:11.965Z""#),
            (
                "codex",
                r#""lineage":null,"cwd":"/a","branch":null,"version":null,"described":null,"model":"gpt-5","last":{"id":"00","total":[1,0,1,0]},"primary":{"at":"2026-09-14T15:07:11.965Z","used":2550,"resets_at":null},"secondary":null,"in_turn":false"#,
            ),
        ] {
            let kept = format!(r#"{{{counts},"parser":{{"tool":"{tool}",{parser}}}}}"#);
            let checkpoint: crate::transcript::Checkpoint = serde_json::from_str(&kept).unwrap();
            assert_eq!((checkpoint.tool().as_str(), checkpoint.counts.bytes), (tool, 7));
        }
    }
}
