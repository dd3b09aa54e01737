//! One transcript that is a table of an SQLite database which its tool writes while we read.
//!
//! Rows are read as lines, one JSON object each, in the order in which they are found: new rows, and rows that were
//! written again. To the rest of the program the database is a file that only grows, by these lines; a place in it is a
//! place in what was read of it. What a row said stays when the row is deleted, as with files. When another database
//! takes its place, everything is withdrawn and read anew.
//!
//! The tool is never in our way, nor we in its: nothing is written, a connection lives for one look, and a transaction
//! for some rows. A database in WAL mode can be read while it is written. One that nobody has open, or whose mode would
//! make the writer wait for readers, is read without any lock, and what was read counts only if it did not change
//! meanwhile.

use crate::observation::{FileState, Marks, RecordSink, SinkClosed, SourceMessage, Stamp, TranscriptFile};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dashboard_core::record::{Lineage, Record};
use dashboard_core::transcript::{Checkpoint, Cursor, MAX_LINE, Reading, Table, TranscriptReader};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row};
use xxhash_rust::xxh3::xxh3_64;

use super::budget::Budget;
use super::reader::{self, FileReader, PollError, Polling, retract, unless_gone};
use crate::platform::FileIdentity;

/// Rows read in one transaction.
const PAGE: usize = 1000;
/// So many of the newest rows are looked at each time, since a tool goes on writing to those.
const WINDOW: i64 = 256;
/// File times are no finer than this: a change this soon after a look may leave the time as it is.
const COARSE: Duration = Duration::from_millis(50);

/// See the [module's description](self).
#[derive(Debug)]
pub(super) struct Database {
    found: Arc<TranscriptFile>,
    table: &'static Table,
    activity: bool,
    reader: TranscriptReader,
    /// What the files looked like when all that was new had been read.
    last: Option<Files>,
    /// Hashes of the lines that were made of the newest rows, by their numbers.
    recent: BTreeMap<i64, u64>,
    /// Whether rows that changed while no process of ours was there have been read.
    caught_up: bool,
    /// Whether the receiver holds anything of it.
    reported: bool,
    /// Whether the next message replaces what was reported.
    replaces: bool,
    /// The name under which the file was reported before it was renamed: the next message retracts that.
    supersedes: Option<Arc<TranscriptFile>>,
    /// What the files looked like when reading them panicked.
    panicked: Option<Files>,
    /// Why it is left out, and what the files looked like then.
    foreign: Option<(Files, String)>,
}

/// The database and, if there is one, the log through which it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Files {
    main: Stamp,
    wal: Option<Stamp>,
}

/// Why rows could not be read.
#[derive(Debug)]
enum Failed {
    Sqlite(rusqlite::Error),
    /// It is another program's.
    Foreign(String),
    Poll(PollError),
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<SinkClosed> for Failed {
    fn from(closed: SinkClosed) -> Self {
        Self::Poll(closed.into())
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Poll(error.into())
    }
}

/// The path with something added to its end.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

impl Files {
    fn of(path: &Path) -> io::Result<Option<Self>> {
        let main = fs::symlink_metadata(path)?;
        let wal = fs::symlink_metadata(beside(path, "-wal")).ok();
        Ok(main.is_file().then(|| Self { main: Stamp::of(&main), wal: wal.as_ref().map(Stamp::of) }))
    }

    /// When either of them was modified last.
    fn modified(&self) -> Option<SystemTime> {
        [Some(self.main), self.wal].into_iter().flatten().filter_map(|stamp| stamp.modified).max()
    }

    /// Whether equal stamps will mean that nothing has changed.
    fn is_conclusive(&self) -> bool {
        self.modified().and_then(|modified| modified.elapsed().ok()).is_some_and(|age| age > COARSE)
    }

    /// Whether somebody writes, or may be about to, through a log that lets others read.
    fn has_log(&self) -> bool {
        self.wal.is_some_and(|wal| wal.size > 0)
    }
}

impl Database {
    /// Nothing of it has been read yet. If the receiver holds what a file of this key said before (`reported`), the first
    /// message replaces that.
    pub(super) fn new(found: Arc<TranscriptFile>, table: &'static Table, reported: bool, activity: bool) -> Self {
        let reader = TranscriptReader::resume(&found.name, Checkpoint::start(found.tool));
        Self {
            reader: if activity { reader.with_activity() } else { reader },
            found,
            table,
            activity,
            last: None,
            recent: BTreeMap::new(),
            caught_up: false,
            reported,
            replaces: reported,
            supersedes: None,
            panicked: None,
            foreign: None,
        }
    }

    /// Goes on where another process stopped; the receiver holds what that one read.
    pub(super) fn resume(found: Arc<TranscriptFile>, table: &'static Table, state: FileState, activity: bool) -> Self {
        let reader = TranscriptReader::resume(&found.name, state.checkpoint);
        Self {
            reader: if activity { reader.with_activity() } else { reader },
            replaces: false,
            ..Self::new(found, table, true, activity)
        }
    }

    fn poll_unguarded(&mut self, sink: &dyn RecordSink, budget: &Budget<'_>) -> Result<Polling, PollError> {
        let Some(files) = Files::of(&self.found.path)? else { return Ok(Polling::Gone) };
        if self.last == Some(files) && files.is_conclusive() {
            return Ok(Polling::Complete);
        }
        if let Some((known, why)) = &self.foreign
            && *known == files
        {
            return Err(io::Error::new(io::ErrorKind::InvalidData, why.clone()).into());
        }
        self.foreign = None;
        if self.panicked == Some(files) {
            return Err(PollError::Panicked);
        }
        let is_another = self.last.is_some_and(|last| last.main.identity != files.main.identity);
        if self.panicked.take().is_some() || is_another {
            self.start_over();
        }
        match self.read(files, sink, budget) {
            Ok(Read::Everything) => {
                self.last = Some(files);
                Ok(Polling::Complete)
            }
            Ok(Read::Paused) => Ok(Polling::Paused),
            // What could be taken was, and the rest is taken at the next poll, which an unknown state makes sure of.
            Ok(Read::Changed) => Ok(Polling::Complete),
            Err(Failed::Poll(error)) => Err(error),
            Err(Failed::Foreign(why)) => {
                self.foreign = Some((files, why.clone()));
                Err(io::Error::new(io::ErrorKind::InvalidData, why).into())
            }
            Err(Failed::Sqlite(error)) => Err(self.explained(&error).into()),
        }
    }

    fn explained(&self, error: &rusqlite::Error) -> io::Error {
        let title = self.found.tool.title();
        let is = |code| error.sqlite_error_code() == Some(code);
        if is(ErrorCode::DatabaseBusy) || is(ErrorCode::DatabaseLocked) {
            let text = format!("locked by {title}; it is tried again every few seconds");
            return io::Error::new(io::ErrorKind::WouldBlock, text);
        }
        if is(ErrorCode::NotADatabase) {
            return io::Error::new(io::ErrorKind::InvalidData, format!("not a database of {title}, and left out"));
        }
        io::Error::other(format!("{error}; it is tried again, and if this goes on, check it with {title}"))
    }

    /// Forgets what was read: the database is read from its beginning, and the next message replaces what was reported.
    fn start_over(&mut self) {
        let supersedes = self.supersedes.take();
        let (found, reported) = (Arc::clone(&self.found), self.reported);
        *self = Self { supersedes, ..Self::new(found, self.table, reported, self.activity) };
    }

    /// Reads what is new.
    fn read(&mut self, files: Files, sink: &dyn RecordSink, budget: &Budget<'_>) -> Result<Read, Failed> {
        let path = self.found.path.clone();
        let without_locks = !files.has_log();
        if without_locks && fs::symlink_metadata(beside(&path, "-journal")).is_ok_and(|journal| journal.len() > 0) {
            // In the middle of a transaction, or left there by a crash.
            return Ok(Read::Changed);
        }
        let connection = open(&path, without_locks)?;
        let query = Query::of(self.table, &connection, self.found.tool.title())?;
        let cursor = self.reader.checkpoint().cursor().cloned().unwrap_or_default();
        let is_anchored = cursor.row == 0 || query.id_of(&connection, cursor.row)? == Some(cursor.id);
        let mut known = Known { row: cursor.row, changed: query.knows_changes.then_some(cursor.changed) };
        let mut which = Which { after: cursor.row.saturating_sub(WINDOW), changed: None };
        if !(is_anchored && self.caught_up) {
            // Numbers were given out anew, or rows may have changed while we were not there.
            which.changed = known.changed;
        }
        if !is_anchored && known.changed.is_none() {
            // Rows do not change, so this is another database.
            self.start_over();
            known = Known { row: 0, changed: None };
            which.after = i64::MIN;
        }
        let mut after_page = i64::MIN;
        loop {
            let page = query.page(&connection, which, after_page)?;
            if without_locks && Files::of(&path)? != Some(files) {
                return Ok(Read::Changed);
            }
            let is_last = page.len() < PAGE;
            after_page = page.last().map_or(after_page, |line| line.row);
            self.take(page, known, sink)?;
            if is_last {
                break;
            }
            if budget.is_spent_by_chunk(sink) {
                return Ok(Read::Paused);
            }
        }
        if self.replaces || self.supersedes.is_some() {
            // It is empty.
            self.report(Vec::new(), sink)?;
        }
        self.caught_up = true;
        Ok(Read::Everything)
    }

    /// Reads the lines that are not known.
    fn take(&mut self, page: Vec<Line>, known: Known, sink: &dyn RecordSink) -> Result<(), SinkClosed> {
        let mut records = Vec::new();
        let before = self.reader.counts();
        for line in page {
            let hash = xxh3_64(line.text.as_bytes());
            let is_known = match self.recent.insert(line.row, hash) {
                Some(before) => before == hash,
                None => known.holds(&line),
            };
            if !is_known {
                // Lines are whole, so nothing that was said before can become wrong.
                let (Reading::Valid | Reading::Stale) =
                    self.reader.read(line.text.as_bytes(), &mut |record| records.push(record));
            }
        }
        if let Some((&newest, _)) = self.recent.last_key_value() {
            self.recent = self.recent.split_off(&newest.saturating_sub(WINDOW));
        }
        if self.reader.counts() == before { Ok(()) } else { self.report(records, sink) }
    }

    fn report(&mut self, records: Vec<Record>, sink: &dyn RecordSink) -> Result<(), SinkClosed> {
        if let Some(former) = self.supersedes.take() {
            retract(sink, former)?;
        }
        self.reported = true;
        let replaces = std::mem::take(&mut self.replaces);
        let (rejections, counts) = (self.reader.take_rejections(), self.reader.counts());
        // No stamp is kept: the first poll of a process costs as much as one after a change.
        let (polled, marks, content) = (None, Marks::default(), None);
        let state = Box::new(FileState { polled, marks, content, checkpoint: self.reader.checkpoint(), counts });
        sink.send(SourceMessage::Read { file: Arc::clone(&self.found), records, rejections, state, replaces })
    }
}

fn open(path: &Path, without_locks: bool) -> rusqlite::Result<Connection> {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => uri.push(char::from(*byte)),
            // Writing to a string cannot fail.
            _ => _ = write!(uri, "%{byte:02X}"),
        }
    }
    uri.push_str(if without_locks { "?mode=ro&immutable=1" } else { "?mode=ro" });
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(uri, flags)?;
    // Whoever holds a lock is not waited for: there will be another look.
    connection.busy_timeout(Duration::ZERO)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

/// How far reading came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    /// There is no more.
    Everything,
    /// The budget was spent.
    Paused,
    /// The files changed meanwhile, or are about to.
    Changed,
}

/// A row.
#[derive(Debug)]
struct Line {
    /// Its number.
    row: i64,
    /// The value of the column that tells of changes; 0 if there is none.
    changed: i64,
    /// What it holds, as a line.
    text: String,
}

/// What was read before this look.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// The largest number of a row.
    row: i64,
    /// The largest value of the column that tells of changes, if there is one.
    changed: Option<i64>,
}

impl Known {
    fn holds(self, line: &Line) -> bool {
        line.row <= self.row && self.changed.is_none_or(|changed| line.changed < changed)
    }
}

/// Which rows to read.
#[derive(Clone, Copy, Debug)]
struct Which {
    /// Those with larger numbers.
    after: i64,
    /// And those whose column for that says that they changed then or later.
    changed: Option<i64>,
}

/// The statement that reads a table in the form in which this database has it.
struct Query {
    select: String,
    names: Vec<(&'static str, bool)>,
    /// The expression for a row's id.
    id: Option<&'static str>,
    table: &'static Table,
    /// Whether the column that tells of changes is there.
    knows_changes: bool,
}

impl Query {
    fn of(table: &'static Table, connection: &Connection, title: &str) -> Result<Self, Failed> {
        let mut statement = connection.prepare("SELECT count(*) FROM pragma_table_info(?1) WHERE name = ?2")?;
        let mut is_there = |table: &str, column: &str| -> rusqlite::Result<bool> {
            statement.query_row([table, column], |row| row.get::<_, i64>(0)).map(|count| count > 0)
        };
        let mut missing = Vec::new();
        for column in table.required {
            if !is_there(table.name, column)? {
                missing.push(*column);
            }
        }
        if !missing.is_empty() {
            let (name, missing) = (table.name, missing.join(", "));
            let why = format!(
                "not a database of {title} (a table {name} with {missing} is missing), and left out; \
                 if it is one of a newer version, update the dashboard"
            );
            return Err(Failed::Foreign(why));
        }
        let changed = match table.changed {
            Some(column) if is_there(table.name, column)? => Some(column),
            _ => None,
        };
        let mut select = format!("SELECT it.rowid, {}", changed.map_or("0".to_owned(), |it| format!("it.{it}")));
        let mut names = Vec::new();
        let mut id = None;
        for field in table.fields {
            if is_there(field.needs.0, field.needs.1)? {
                select.push_str(", ");
                select.push_str(field.sql);
                names.push((field.field, field.is_json));
                id = id.or((field.field == "id").then_some(field.sql));
            }
        }
        let _ = write!(select, " FROM {} AS it", table.name);
        Ok(Self { select, names, id, table, knows_changes: changed.is_some() })
    }

    /// The hash of the id of the row with this number, if there is one.
    fn id_of(&self, connection: &Connection, row: i64) -> rusqlite::Result<Option<u64>> {
        let Some(id) = self.id else { return Ok(None) };
        let sql = format!("SELECT CAST({id} AS TEXT) FROM {} AS it WHERE it.rowid = ?1", self.table.name);
        let id: Option<Option<String>> = connection.query_row(&sql, [row], |row| row.get(0)).optional()?;
        Ok(id.flatten().map(|id| Cursor::hash_of(&id)))
    }

    /// The next rows after this one, as lines.
    fn page(&self, connection: &Connection, which: Which, after: i64) -> rusqlite::Result<Vec<Line>> {
        let changed = match (which.changed, self.table.changed) {
            (Some(since), Some(column)) if self.knows_changes => format!(" OR it.{column} >= {since}"),
            _ => String::new(),
        };
        let sql =
            format!("{} WHERE it.rowid > ?1 AND (it.rowid > ?2{changed}) ORDER BY it.rowid LIMIT {PAGE}", self.select);
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query([after, which.after])?;
        let mut page = Vec::new();
        while let Some(row) = rows.next()? {
            page.push(Line { row: row.get(0)?, changed: row.get(1).unwrap_or(0), text: self.text(row)? });
        }
        Ok(page)
    }

    fn text(&self, row: &Row<'_>) -> rusqlite::Result<String> {
        let mut line = String::from("{\"row\":");
        push(&mut line, row.get_ref(0)?, false);
        line.push_str(",\"changed\":");
        push(&mut line, row.get_ref(1)?, false);
        for (index, (name, is_json)) in self.names.iter().enumerate() {
            let _ = write!(line, ",\"{name}\":");
            push(&mut line, row.get_ref(index + 2)?, *is_json);
        }
        line.push_str("}\n");
        Ok(line)
    }
}

/// Writes a value as JSON. What is too long for a line, and no text or number, is null.
fn push(line: &mut String, value: ValueRef<'_>, is_json: bool) {
    match value {
        ValueRef::Integer(number) => _ = write!(line, "{number}"),
        ValueRef::Real(number) if number.is_finite() => _ = write!(line, "{number}"),
        ValueRef::Text(text) if text.len() < MAX_LINE / 2 => {
            let text = String::from_utf8_lossy(text);
            if is_json {
                // Between the parts of a JSON text, a line may end; within strings it cannot.
                line.push_str(&text.replace(['\n', '\r'], " "));
            } else {
                line.push_str(&serde_json::Value::from(&*text).to_string());
            }
        }
        _ => line.push_str("null"),
    }
}

impl FileReader for Database {
    fn file(&self) -> &Arc<TranscriptFile> {
        &self.found
    }

    fn poll(
        &mut self,
        sink: &dyn RecordSink,
        _buffer: &mut Vec<u8>,
        budget: &Budget<'_>,
    ) -> Result<Polling, PollError> {
        let polled = reader::guarded(|| self.poll_unguarded(sink, budget));
        if let Err(PollError::Panicked) = polled {
            self.panicked = Files::of(&self.found.path).ok().flatten();
        }
        unless_gone(polled)
    }

    fn supersede(&mut self, former: Arc<TranscriptFile>) {
        self.supersedes = Some(former);
    }

    fn modified(&self) -> Option<SystemTime> {
        // One that could not be read to its end is polled again soon.
        self.last?.modified()
    }

    fn changed_at(&self, metadata: &Metadata) -> Option<SystemTime> {
        let files = Files::of(&self.found.path).ok().flatten();
        files.map_or_else(|| metadata.modified().ok(), |files| files.modified())
    }

    fn is_reported(&self) -> bool {
        self.reported
    }

    fn is_unchanged(&self, _metadata: &Metadata) -> bool {
        let files = Files::of(&self.found.path).ok().flatten();
        self.last.is_some() && self.last == files && files.is_some_and(|files| files.is_conclusive())
    }

    /// Under another name it is another file; its ids say which responses are the same.
    fn fingerprint(&self) -> Option<(FileIdentity, Marks)> {
        None
    }

    fn is_same(&self, _identity: FileIdentity, _marks: &Marks) -> bool {
        false
    }

    fn position(&self) -> u64 {
        self.reader.counts().bytes
    }

    fn lineage(&self) -> Option<Lineage> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::Root;
    use dashboard_core::record::{FileCounts, Tool, UsageRecord};
    use dashboard_core::transcript::Shape;
    use rusqlite::params;
    use std::sync::Mutex;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Instant;

    #[derive(Default)]
    struct Sink(Mutex<Vec<SourceMessage>>);

    impl RecordSink for Sink {
        fn send(&self, message: SourceMessage) -> Result<(), SinkClosed> {
            self.0.lock().unwrap().push(message);
            Ok(())
        }
    }

    /// OpenCode's tables, as far as they matter.
    const SCHEMA: &str = "
        CREATE TABLE session (id TEXT PRIMARY KEY, parent_id TEXT, directory TEXT NOT NULL, version TEXT NOT NULL);
        CREATE TABLE message (id TEXT PRIMARY KEY, session_id TEXT NOT NULL, time_created INTEGER NOT NULL,
                              time_updated INTEGER NOT NULL, data TEXT NOT NULL);
        INSERT INTO session VALUES ('ses_1', NULL, '/home/ada/engine', '1.2.3'), ('ses_2', 'ses_1', '/home/ada/engine', '1.2.3'),
                                   ('ses_3', 'ses_2', '/home/ada/engine', '1.2.3');";

    struct Followed {
        dir: tempfile::TempDir,
        database: Database,
        sink: Sink,
    }

    fn file(dir: &Path, tool: Tool, name: &str) -> (Arc<TranscriptFile>, &'static Table) {
        let root = Root { tool, dir: dir.to_owned(), label: String::new() };
        let Shape::Database(table) = tool.spec().shape_of(name) else { panic!("no database") };
        (Arc::new(TranscriptFile::new(&root, name.to_owned())), table)
    }

    impl Followed {
        fn new(tool: Tool, name: &str) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let (found, table) = file(dir.path(), tool, name);
            Self { database: Database::new(found, table, false, false), dir, sink: Sink::default() }
        }

        fn path(&self) -> PathBuf {
            self.database.found.path.clone()
        }

        /// The tool's own connection.
        fn tool(&self, mode: &str) -> Connection {
            let connection = Connection::open(self.path()).unwrap();
            connection.pragma_update(None, "journal_mode", mode).unwrap();
            connection
        }

        /// Makes the files as old as most are, so that a stamp is conclusive.
        fn age(&self) {
            thread::sleep(2 * COARSE);
        }

        fn look(&mut self) -> io::Result<(bool, Vec<UsageRecord>)> {
            match self.database.poll(&self.sink, &mut Vec::new(), &Budget::unlimited()) {
                Ok(Polling::Complete) => {}
                Err(PollError::Unreadable(error)) => return Err(error),
                other => panic!("{other:?}"),
            }
            let (mut withdrawn, mut found) = (false, Vec::new());
            for message in self.sink.0.lock().unwrap().drain(..) {
                match message {
                    SourceMessage::Read { records, replaces, .. } => {
                        withdrawn |= replaces;
                        let usage = |it| if let Record::Usage(usage) = it { Some(usage) } else { None };
                        found.extend(records.into_iter().filter_map(usage));
                    }
                    other => panic!("{other:?}"),
                }
            }
            Ok((withdrawn, found))
        }

        /// Inputs claimed, when nothing was withdrawn.
        fn inputs(&mut self) -> Vec<u64> {
            let (withdrawn, found) = self.look().unwrap();
            assert!(!withdrawn);
            found.iter().map(|usage| usage.usage.input.0).collect()
        }

        fn counts(&self) -> FileCounts {
            self.database.reader.counts()
        }
    }

    fn data(input: u64) -> String {
        format!(
            "{{\"role\":\"assistant\",\n\"modelID\":\"claude-sonnet-4-5\",\"time\":{{\"created\":1}},\"tokens\":{{\"input\":{input},\"output\":1}}}}"
        )
    }

    fn write(tool: &Connection, id: &str, session: &str, updated: i64, input: u64) {
        tool.execute(
            "INSERT INTO message VALUES (?1, ?2, 1, ?3, ?4)
             ON CONFLICT (id) DO UPDATE SET time_updated = ?3, data = ?4",
            params![id, session, updated, data(input)],
        )
        .unwrap();
    }

    #[test]
    fn rows_are_followed_while_the_tool_writes_them() {
        let mut followed = Followed::new(Tool::OpenCode, "opencode.db");
        let tool = followed.tool("WAL");
        tool.execute_batch(SCHEMA).unwrap();
        write(&tool, "msg_1", "ses_1", 1, 10);
        write(&tool, "msg_2", "ses_3", 2, 20);
        let (_, found) = followed.look().unwrap();
        let whose = |usage: &UsageRecord| (usage.session.to_string(), usage.agent.as_ref().map(ToString::to_string));
        assert_eq!(
            found.iter().map(whose).collect::<Vec<_>>(),
            [("ses_1".to_owned(), None), ("ses_1".to_owned(), Some("ses_3".to_owned()))],
            "a subtask of a subtask is the root's"
        );
        assert_eq!(followed.inputs(), [0_u64; 0], "nothing changed");
        write(&tool, "msg_3", "ses_1", 3, 30);
        assert_eq!(followed.inputs(), [30]);
        write(&tool, "msg_2", "ses_2", 4, 21);
        assert_eq!(followed.inputs(), [21], "a row that went on");
        tool.execute("DELETE FROM message WHERE id = 'msg_1'", []).unwrap();
        assert_eq!(followed.inputs(), [0_u64; 0], "what it said stays");
        assert_eq!((followed.counts().usage_records, followed.counts().rejected_lines), (4, 0));
        // Checkpointed, and then closed: the log goes.
        tool.pragma_update(None, "wal_checkpoint", "TRUNCATE").unwrap();
        write(&tool, "msg_4", "ses_1", 5, 40);
        drop(tool);
        assert!(!beside(&followed.path(), "-wal").exists());
        assert_eq!(followed.inputs(), [40]);
        assert!(!beside(&followed.path(), "-shm").exists(), "reading leaves nothing behind");
    }

    #[test]
    fn a_reader_never_makes_the_writer_wait() {
        for mode in ["WAL", "DELETE"] {
            let mut followed = Followed::new(Tool::OpenCode, "opencode.db");
            let tool = followed.tool(mode);
            tool.execute_batch(SCHEMA).unwrap();
            // Any lock of ours would fail it.
            tool.busy_timeout(Duration::ZERO).unwrap();
            tool.pragma_update(None, "synchronous", "OFF").unwrap();
            let (done, is_done) = mpsc::channel();
            let writer = thread::spawn(move || {
                for number in 0..1_000_u32 {
                    write(&tool, &format!("msg_{number:06}"), "ses_1", i64::from(number), 1);
                }
                done.send(()).unwrap();
            });
            let (mut looks, mut claimed) = (0, 0);
            let begun = Instant::now();
            while is_done.try_recv().is_err() {
                assert!(begun.elapsed() < Duration::from_mins(2), "{mode}");
                if let Ok((withdrawn, found)) = followed.look() {
                    assert!(!withdrawn);
                    claimed += found.len();
                    looks += 1;
                }
            }
            writer.join().unwrap();
            followed.age();
            while let Ok((_, found)) = followed.look()
                && !found.is_empty()
            {
                claimed += found.len();
            }
            assert_eq!((claimed, followed.counts().usage_records), (1_000, 1_000), "{mode}");
            assert!(looks > 3, "{mode}: {looks} looks");
        }
    }

    #[test]
    fn a_locked_database_is_reported_and_tried_again() {
        let mut followed = Followed::new(Tool::OpenCode, "opencode.db");
        let tool = followed.tool("WAL");
        tool.execute_batch(SCHEMA).unwrap();
        write(&tool, "msg_1", "ses_1", 1, 10);
        tool.pragma_update(None, "locking_mode", "EXCLUSIVE").unwrap();
        write(&tool, "msg_2", "ses_1", 1, 20);
        let error = followed.look().unwrap_err();
        assert!(error.to_string().contains("locked by OpenCode"), "{error}");
        assert!(followed.database.is_active(), "it is looked at again soon");
        tool.pragma_update(None, "locking_mode", "NORMAL").unwrap();
        write(&tool, "msg_3", "ses_1", 1, 30);
        assert_eq!(followed.inputs(), [10, 20, 30]);
    }

    #[test]
    fn a_foreign_database_is_named_and_left_out_until_it_changes() {
        let mut followed = Followed::new(Tool::OpenCode, "opencode.db");
        let tool = followed.tool("DELETE");
        tool.execute_batch("CREATE TABLE message (id TEXT, text TEXT)").unwrap();
        followed.age();
        for _ in 0..2 {
            let error = followed.look().unwrap_err().to_string();
            assert!(error.contains("not a database of OpenCode") && error.contains("session_id, data"), "{error}");
        }
        tool.execute_batch("DROP TABLE message").unwrap();
        tool.execute_batch(SCHEMA).unwrap();
        write(&tool, "msg_1", "ses_1", 1, 10);
        assert_eq!(followed.inputs(), [10]);

        let mut garbage = Followed::new(Tool::OpenCode, "opencode.db");
        fs::write(garbage.path(), "this is no database, whatever its name says".repeat(100)).unwrap();
        let error = garbage.look().unwrap_err().to_string();
        assert!(error.contains("not a database of OpenCode"), "{error}");
    }

    #[test]
    fn another_process_goes_on_where_this_one_stopped() {
        let mut followed = Followed::new(Tool::OpenCode, "opencode.db");
        let tool = followed.tool("WAL");
        tool.execute_batch(SCHEMA).unwrap();
        for number in 1..=600_u32 {
            write(&tool, &format!("msg_{number:04}"), "ses_1", number.into(), 1);
        }
        assert_eq!(followed.inputs().len(), 600);
        let resume = |followed: &mut Followed| {
            let checkpoint = followed.database.reader.checkpoint();
            let kept = serde_json::to_string(&checkpoint).unwrap();
            let state =
                FileState { checkpoint: serde_json::from_str(&kept).unwrap(), ..FileState::start(Tool::OpenCode) };
            let (found, table) = file(followed.dir.path(), Tool::OpenCode, "opencode.db");
            followed.database = Database::resume(found, table, state, false);
        };
        resume(&mut followed);
        // One of the oldest, and a new one, while nobody looked.
        write(&tool, "msg_0002", "ses_1", 700, 2);
        write(&tool, "msg_0700", "ses_1", 701, 7);
        assert_eq!(
            followed.inputs(),
            [2, 1, 7],
            "and the newest of before, which may have changed again in its moment"
        );
        assert_eq!(followed.inputs(), [0_u64; 0]);

        // Numbers are given out anew: the newest messages are deleted, and others take their numbers.
        tool.execute("DELETE FROM message WHERE id > 'msg_0500'", []).unwrap();
        write(&tool, "msg_0800", "ses_1", 800, 8);
        assert_eq!(followed.inputs(), [8]);
        tool.execute_batch("VACUUM").unwrap();
        write(&tool, "msg_0900", "ses_1", 900, 9);
        assert_eq!(followed.inputs(), [9]);
    }

    #[test]
    fn another_database_in_its_place_is_read_anew() {
        let mut followed = Followed::new(Tool::OpenCode, "opencode.db");
        let tool = followed.tool("DELETE");
        tool.execute_batch(SCHEMA).unwrap();
        write(&tool, "msg_1", "ses_1", 1, 10);
        drop(tool);
        assert_eq!(followed.inputs(), [10]);
        fs::rename(followed.path(), followed.dir.path().join("old")).unwrap();
        let tool = followed.tool("DELETE");
        tool.execute_batch(SCHEMA).unwrap();
        write(&tool, "msg_1", "ses_1", 1, 11);
        drop(tool);
        let (withdrawn, found) = followed.look().unwrap();
        assert!(withdrawn);
        assert_eq!(found.iter().map(|usage| usage.usage.input.0).collect::<Vec<_>>(), [11]);
        fs::remove_file(followed.path()).unwrap();
        let polled = followed.database.poll(&followed.sink, &mut Vec::new(), &Budget::unlimited());
        assert_eq!(polled.unwrap(), Polling::Gone);
    }

    #[test]
    fn odd_rows_cost_a_line_of_the_audit_each() {
        let mut followed = Followed::new(Tool::OpenCode, "opencode.db");
        let tool = followed.tool("DELETE");
        tool.execute_batch(SCHEMA).unwrap();
        for (id, value) in [("a", "{\"role\":"), ("b", "x"), ("c", "{}")] {
            tool.execute("INSERT INTO message VALUES (?1, 'ses_1', 1, 1, ?2)", [id, value]).unwrap();
        }
        tool.execute("INSERT INTO message VALUES ('d', 'ses_1', 1, 1, x'00')", []).unwrap();
        write(&tool, "e", "ses_1", 1, 5);
        drop(tool);
        assert_eq!(followed.inputs(), [5]);
        let counts = followed.counts();
        assert_eq!((counts.lines, counts.rejected_lines, counts.unknown_records), (5, 2, 2));
    }

    #[test]
    fn a_table_whose_rows_never_change() {
        let mut followed = Followed::new(Tool::Copilot, "session-store.db");
        let tool = followed.tool("WAL");
        tool.execute_batch(
            "CREATE TABLE sessions (id TEXT PRIMARY KEY, cwd TEXT, branch TEXT);
             CREATE TABLE assistant_usage_events (
                 id INTEGER PRIMARY KEY AUTOINCREMENT, session_id TEXT NOT NULL, agent_id TEXT, model TEXT NOT NULL,
                 input_tokens INTEGER, output_tokens INTEGER, cache_read_tokens INTEGER, cache_write_tokens INTEGER,
                 created_at TEXT);
             INSERT INTO sessions VALUES ('s1', '/home/ada/engine', 'main');",
        )
        .unwrap();
        let call = |input: u32, at: &str| {
            tool.execute(
                "INSERT INTO assistant_usage_events VALUES (NULL, 's1', NULL, 'claude-sonnet-4.5', ?1, 5, 3, 2, ?2)",
                params![input, at],
            )
            .unwrap();
        };
        call(10, "2026-10-06 10:00:10");
        call(20, "2026-10-06T10:00:11.500Z");
        let (_, found) = followed.look().unwrap();
        let said = |usage: &UsageRecord| (usage.usage.input.0, usage.at.map(|at| at.to_string()).unwrap());
        assert_eq!(
            found.iter().map(said).collect::<Vec<_>>(),
            [(5, "2026-10-06T10:00:10.000Z".to_owned()), (15, "2026-10-06T10:00:11.500Z".to_owned())]
        );
        call(30, "2026-10-06 10:00:12");
        assert_eq!(followed.inputs(), [25]);
        // A store that was begun anew has other rows under these numbers.
        tool.execute_batch("DELETE FROM assistant_usage_events; DELETE FROM sqlite_sequence").unwrap();
        call(40, "2026-10-06 10:00:13");
        let (withdrawn, found) = followed.look().unwrap();
        assert!(withdrawn && found.len() == 1);
    }

    #[test]
    fn what_did_not_change_is_not_opened() {
        let mut followed = Followed::new(Tool::OpenCode, "opencode.db");
        let tool = followed.tool("DELETE");
        tool.execute_batch(SCHEMA).unwrap();
        drop(tool);
        followed.age();
        assert_eq!(followed.inputs(), [0_u64; 0]);
        let modified = fs::metadata(followed.path()).unwrap().modified().unwrap();
        let accessed = SystemTime::UNIX_EPOCH;
        let times = fs::FileTimes::new().set_accessed(accessed).set_modified(modified);
        fs::File::options().append(true).open(followed.path()).unwrap().set_times(times).unwrap();
        assert_eq!(followed.inputs(), [0_u64; 0]);
        assert_eq!(fs::metadata(followed.path()).unwrap().accessed().unwrap(), accessed);
    }
}
