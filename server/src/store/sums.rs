//! Which claims count, and sums of those that do, kept up to date in the claims' own transaction.
//!
//! Each transaction collects the messages whose claims changed. Before it commits, the claims on each of them are looked
//! up, whatever file they are of, and the core's rules decide which win ([`rules`]). What that changes is added to and
//! subtracted from the rows of `sums`.
//!
//! Sums depend on the price table's prompt classes. With another table, after a migration, and when asked for
//! (`dashboard doctor --repair`), they are rebuilt in slices, each a transaction, while writing goes on: claims up to a
//! position, kept in `meta`, are in the sums, claims beyond it not yet.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use dashboard_core::ids::{MessageId, ModelId, RequestId, SessionId};
use dashboard_core::ledger::rules::{self, Candidate};
use dashboard_core::price::{PriceTable, PromptClass};
use dashboard_core::record::{Lineage, Place, ResponseId};
use dashboard_core::report::{QUARTER_MS, Slot, clamped};
use dashboard_core::time::Timestamp;
use dashboard_core::units::{TokenUsage, Tokens};
use rusqlite::{Connection, OptionalExtension, Row, params};

/// `quarter` of responses of unknown time.
pub(super) const UNDATED: i64 = i64::MIN;
/// Claims of one slice of a rebuild, about.
const SLICE_CLAIMS: i64 = 20_000;
/// Files of one slice of a rebuild.
const SLICE_FILES: i64 = 200;
/// Facts about files kept between transactions.
const MAX_FACTS: usize = 10_000;

/// Key in `meta`: fingerprint of the classes that the sums are made for.
const CLASSES: &str = "sums_classes";
/// Key in `meta`: claims without a message of files up to this one are in the sums.
const FILES_DONE: &str = "sums_files_done";
/// Key in `meta`: claims on messages up to this hash are in the sums.
const MESSAGES_DONE: &str = "sums_messages_done";
/// Key in `meta`: 1 once a message had claims in two roots. Then sums of some of the roots are not what these roots alone
/// would come to.
const SHARED: &str = "messages_shared";

/// A message id as the database holds it.
pub(super) fn halves(id: MessageId) -> (i64, i64) {
    let number = id.number();
    #[expect(clippy::cast_possible_truncation, reason = "its two halves")]
    let (high, low) = ((number >> 64) as u64, number as u64);
    (high.cast_signed(), low.cast_signed())
}

/// The message id of these halves.
pub(super) fn message_of(high: i64, low: i64) -> MessageId {
    MessageId::from_number(u128::from(high.cast_unsigned()) << 64 | u128::from(low.cast_unsigned()))
}

/// Marks the sums as missing: they will be rebuilt.
pub(super) fn forget_all(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("DELETE FROM main.meta; DELETE FROM main.sums;")
}

/// How far the sums go. Part of `meta`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    files_done: i64,
    messages_done: i64,
}

impl Progress {
    const COMPLETE: Self = Self { files_done: i64::MAX, messages_done: i64::MAX };
    const NONE: Self = Self { files_done: i64::MIN, messages_done: i64::MIN };

    /// As the database has it, for the classes of a table; none if its sums are of other classes.
    pub(super) fn read(connection: &Connection, classes: i64) -> rusqlite::Result<Option<Self>> {
        let value = |key: &str| -> rusqlite::Result<Option<i64>> {
            let mut statement = connection.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
            statement.query_row([key], |row| row.get(0)).optional()
        };
        if value(CLASSES)? != Some(classes) {
            return Ok(None);
        }
        let done = value(FILES_DONE)?.zip(value(MESSAGES_DONE)?);
        Ok(done.map(|(files_done, messages_done)| Self { files_done, messages_done }))
    }

    pub(super) fn is_complete(self) -> bool {
        self == Self::COMPLETE
    }

    fn write(self, connection: &Connection) -> rusqlite::Result<()> {
        set_meta(connection, FILES_DONE, self.files_done)?;
        set_meta(connection, MESSAGES_DONE, self.messages_done)
    }

    /// Whether a claim is in the sums, if it wins.
    fn counts(self, file: i64, id: ResponseId) -> bool {
        match id.message() {
            Some(message) => halves(message).0 <= self.messages_done,
            None => file <= self.files_done,
        }
    }
}

fn set_meta(connection: &Connection, key: &str, value: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?
        .execute(params![key, value])?;
    Ok(())
}

/// Whether some message had claims in two roots.
pub(super) fn is_shared(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT EXISTS (SELECT 1 FROM meta WHERE key = ?1)", [SHARED], |row| row.get(0))
}

/// A claim as the database has it.
#[derive(Clone, Debug)]
pub(super) struct ClaimRow {
    pub(super) file: i64,
    pub(super) place: Place,
    pub(super) session: i64,
    /// 0: none.
    pub(super) agent: i64,
    pub(super) sidechain: bool,
    pub(super) id: ResponseId,
    pub(super) model: i64,
    pub(super) at: Option<Timestamp>,
    pub(super) usage: TokenUsage,
    pub(super) bad_counts: u32,
    pub(super) wins: bool,
}

impl ClaimRow {
    /// The columns that [`Self::read`] reads.
    pub(super) const COLUMNS: &str =
        "file, byte_offset, line_index, session, coalesce(agent, 0), sidechain, message_high,
         message_low, in_lineage, request, model, at, input, output, cache_creation, cache_creation_1h, cache_read,
         reasoning, bad_counts, wins";

    /// Reads a row of [`Self::COLUMNS`].
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let tokens = |column: usize| row.get::<_, u64>(column).map(Tokens);
        let request = row.get::<_, Option<i64>>(9)?.map(|hash| RequestId::from_number(hash.cast_unsigned()));
        let message = row.get::<_, Option<i64>>(6)?.zip(row.get::<_, Option<i64>>(7)?);
        let message = message.map(|(high, low)| message_of(high, low));
        let id = match message {
            Some(row_id) if row.get(8)? => ResponseId::Row(row_id),
            message => ResponseId::of(message, request),
        };
        Ok(Self {
            file: row.get(0)?,
            place: Place { byte_offset: row.get(1)?, index: row.get(2)? },
            session: row.get(3)?,
            agent: row.get(4)?,
            sidechain: row.get(5)?,
            id,
            model: row.get(10)?,
            at: row.get::<_, Option<i64>>(11)?.map(Timestamp::from_unix_ms),
            usage: TokenUsage {
                input: tokens(12)?,
                output: tokens(13)?,
                cache_creation: tokens(14)?,
                cache_creation_1h: tokens(15)?,
                cache_read: tokens(16)?,
                reasoning: tokens(17)?,
            },
            bad_counts: row.get(18)?,
            wins: row.get(19)?,
        })
    }
}

/// What the rules ask of a file.
#[derive(Clone, Debug)]
pub(super) struct FileFacts {
    pub(super) root: i64,
    /// The root's directory and the name below it.
    pub(super) path: String,
    pub(super) lineage: Option<Lineage>,
    pub(super) generation: u32,
}

impl FileFacts {
    /// Reads them; none if there is no such file.
    pub(super) fn read(connection: &Connection, file: i64) -> rusqlite::Result<Option<Self>> {
        let mut statement = connection.prepare_cached(
            "SELECT root, dir || '/' || name, session.text, parent.text, started_at, generation
             FROM files JOIN roots ON roots.id = files.root
             LEFT JOIN names session ON session.id = files.session LEFT JOIN names parent ON parent.id = files.parent
             WHERE files.id = ?1",
        )?;
        let facts = statement.query_row([file], |row| {
            let session: Option<String> = row.get(2)?;
            let parent: Option<String> = row.get(3)?;
            let started_at: Option<i64> = row.get(4)?;
            let lineage = session.map(|session| Lineage {
                session: SessionId::new(session),
                parent: parent.map(SessionId::new),
                started_at: started_at.map(Timestamp::from_unix_ms),
            });
            Ok(Self { root: row.get(0)?, path: row.get(1)?, lineage, generation: row.get(5)? })
        });
        facts.optional()
    }
}

/// The claims among these, on one message, that win by the rules. `facts` has the facts of each one's file.
pub(super) fn winners(claims: &[ClaimRow], facts: &HashMap<i64, FileFacts>) -> Vec<bool> {
    let mut wins = vec![false; claims.len()];
    let known: Vec<(usize, &ClaimRow, &FileFacts)> = claims
        .iter()
        .enumerate()
        .filter_map(|(index, claim)| facts.get(&claim.file).map(|facts| (index, claim, facts)))
        .collect();
    let candidates: Vec<Candidate<'_>> = known
        .iter()
        .map(|(_, claim, facts)| Candidate {
            id: claim.id,
            sidechain: claim.sidechain,
            total: claim.usage.total(),
            at: claim.at,
            path: &facts.path,
            place: claim.place,
            lineage: facts.lineage.as_ref(),
            generation: facts.generation,
        })
        .collect();
    for winner in rules::winners(&candidates) {
        wins[known[winner].0] = true;
    }
    wins
}

/// Key of a row of `sums`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) slot: Option<Slot>,
    pub(super) root: i64,
    pub(super) session: i64,
    pub(super) agent: i64,
    pub(super) model: i64,
    pub(super) class: PromptClass,
}

impl Key {
    fn quarter(&self) -> i64 {
        self.slot.map_or(UNDATED, |slot| slot.quarter.unix_ms())
    }

    fn at_start(&self) -> bool {
        self.slot.is_some_and(|slot| !slot.is_rest)
    }

    /// Reads it from the first seven columns of `sums`.
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let (quarter, at_start): (i64, bool) = (row.get(0)?, row.get(1)?);
        let slot = Slot { quarter: Timestamp::from_unix_ms(quarter), is_rest: !at_start };
        Ok(Self {
            slot: (quarter != UNDATED).then_some(slot),
            root: row.get(2)?,
            session: row.get(3)?,
            agent: row.get(4)?,
            model: row.get(5)?,
            class: PromptClass(row.get(6)?),
        })
    }
}

/// What a row of `sums` adds up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) usage: TokenUsage,
    pub(super) responses: u64,
    pub(super) with_tokens: u64,
    pub(super) span: Option<(Timestamp, Timestamp)>,
}

impl Figures {
    pub(super) fn of(claim: &ClaimRow) -> Self {
        let usage = clamped(claim.usage);
        let with_tokens = u64::from(usage.total() > Tokens::ZERO);
        Self { usage, responses: 1, with_tokens, span: claim.at.map(|at| (at, at)) }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.usage += other.usage;
        self.responses += other.responses;
        self.with_tokens += other.with_tokens;
        self.span = match (self.span, other.span) {
            (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
            (a, b) => a.or(b),
        };
    }

    /// Takes away what [`Self::add`] added; the span stays.
    pub(super) fn subtract(&mut self, other: &Self) {
        self.usage -= other.usage;
        self.responses = self.responses.saturating_sub(other.responses);
        self.with_tokens = self.with_tokens.saturating_sub(other.with_tokens);
    }

    /// Whether the span may be smaller without `other`.
    pub(super) fn is_bounded_by(&self, other: &Self) -> bool {
        self.span.zip(other.span).is_some_and(|(a, b)| b.0 <= a.0 || b.1 >= a.1)
    }

    /// The columns that [`Self::read`] reads.
    pub(super) const COLUMNS: &str =
        "input, output, cache_creation, cache_creation_1h, cache_read, reasoning, responses,
         with_tokens, first_at, last_at";

    /// Reads them from the columns from `from` on.
    pub(super) fn read(row: &Row<'_>, from: usize) -> rusqlite::Result<Self> {
        let count = |column: usize| row.get::<_, u64>(from + column);
        let time = |column: usize| row.get::<_, Option<i64>>(from + column);
        let span = time(8)?.zip(time(9)?);
        Ok(Self {
            usage: TokenUsage {
                input: Tokens(count(0)?),
                output: Tokens(count(1)?),
                cache_creation: Tokens(count(2)?),
                cache_creation_1h: Tokens(count(3)?),
                cache_read: Tokens(count(4)?),
                reasoning: Tokens(count(5)?),
            },
            responses: count(6)?,
            with_tokens: count(7)?,
            span: span.map(|(first, last)| (Timestamp::from_unix_ms(first), Timestamp::from_unix_ms(last))),
        })
    }
}

/// A change of a row of `sums`, gathered over a transaction.
#[derive(Debug, Default)]
struct Delta {
    added: Figures,
    removed: Figures,
}

/// What the writer knows about sums between transactions: caches, and how far the sums go.
#[derive(Debug)]
pub(super) struct SumsState {
    prices: Arc<PriceTable>,
    progress: Progress,
    facts: HashMap<i64, FileFacts>,
    models: HashMap<i64, ModelId>,
    shared: bool,
}

impl SumsState {
    /// As the database has it. Sums of other classes are dropped, to be rebuilt.
    pub(super) fn open(connection: &Connection, prices: Arc<PriceTable>) -> rusqlite::Result<Self> {
        let classes = prices.classes_fingerprint().cast_signed();
        let progress = match Progress::read(connection, classes)? {
            Some(progress) => progress,
            None => {
                let transaction = connection.unchecked_transaction()?;
                let progress = begin_rebuild(&transaction, classes)?;
                transaction.commit()?;
                progress
            }
        };
        let shared = is_shared(connection)?;
        Ok(Self { prices, progress, facts: HashMap::new(), models: HashMap::new(), shared })
    }

    /// Whether a rebuild has not reached its end.
    pub(super) fn is_rebuilding(&self) -> bool {
        !self.progress.is_complete()
    }

    /// Forgets what may not be in the database, because a transaction failed.
    pub(super) fn clear(&mut self) {
        self.facts.clear();
        self.models.clear();
        self.shared = false;
    }
}

/// Drops the sums; where there are no claims, that is all there is to do.
fn begin_rebuild(connection: &Connection, classes: i64) -> rusqlite::Result<Progress> {
    connection.execute("DELETE FROM sums", [])?;
    let is_empty: bool = connection.query_row("SELECT NOT EXISTS (SELECT 1 FROM claims)", [], |row| row.get(0))?;
    let progress = if is_empty { Progress::COMPLETE } else { Progress::NONE };
    set_meta(connection, CLASSES, classes)?;
    progress.write(connection)?;
    Ok(progress)
}

/// The sums within one transaction. What it gathers must be settled before the transaction commits.
#[derive(Debug)]
pub(super) struct Sums<'a> {
    connection: &'a Connection,
    state: &'a mut SumsState,
    /// Messages whose claims changed.
    touched: rustc_hash::FxHashSet<MessageId>,
    deltas: rustc_hash::FxHashMap<Key, Delta>,
}

impl<'a> Sums<'a> {
    pub(super) fn new(connection: &'a Connection, state: &'a mut SumsState) -> Self {
        Self { connection, state, touched: Default::default(), deltas: Default::default() }
    }

    /// Claims on this message came or went.
    pub(super) fn touch(&mut self, message: MessageId) {
        self.touched.insert(message);
    }

    /// A claim has come to win: it is marked already, or about to be.
    pub(super) fn add(&mut self, claim: &ClaimRow) -> rusqlite::Result<()> {
        if self.state.progress.counts(claim.file, claim.id) {
            self.count(claim)?;
        }
        Ok(())
    }

    fn count(&mut self, claim: &ClaimRow) -> rusqlite::Result<()> {
        let key = self.key(claim)?;
        self.deltas.entry(key).or_default().added.add(&Figures::of(claim));
        Ok(())
    }

    /// A winning claim was deleted, or no longer wins.
    pub(super) fn remove(&mut self, claim: &ClaimRow) -> rusqlite::Result<()> {
        if self.state.progress.counts(claim.file, claim.id) {
            let key = self.key(claim)?;
            self.deltas.entry(key).or_default().removed.add(&Figures::of(claim));
        }
        Ok(())
    }

    /// Takes claims out of the sums that are about to be deleted: those of a file, narrowed by `condition`.
    pub(super) fn release(&mut self, file: i64, condition: &str) -> rusqlite::Result<()> {
        let sql = format!("SELECT {} FROM claims WHERE file = ?1 AND {condition}", ClaimRow::COLUMNS);
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query([file])?;
        while let Some(row) = rows.next()? {
            // A row that cannot be read has never been counted.
            let Ok(claim) = ClaimRow::read(row) else { continue };
            if claim.wins {
                self.remove(&claim)?;
            }
            if let Some(message) = claim.id.message() {
                self.touch(message);
            }
        }
        Ok(())
    }

    /// Something about the file that the rules ask for has changed, or the file has gone.
    pub(super) fn forget_file(&mut self, file: i64) {
        self.state.facts.remove(&file);
    }

    /// The file says which session it is and where it comes from; `None` if it no longer says.
    pub(super) fn set_lineage(
        &mut self,
        file: i64,
        lineage: Option<&Lineage>,
        name: &mut dyn FnMut(&str) -> rusqlite::Result<i64>,
    ) -> rusqlite::Result<()> {
        let session = lineage.map(|lineage| name(lineage.session.as_str())).transpose()?;
        let parent = lineage.and_then(|lineage| lineage.parent.as_ref());
        let parent = parent.map(|parent| name(parent.as_str())).transpose()?;
        let started_at = lineage.and_then(|lineage| lineage.started_at).map(Timestamp::unix_ms);
        let mut select =
            self.connection.prepare_cached("SELECT session, parent, started_at FROM files WHERE id = ?1")?;
        let before: (Option<i64>, Option<i64>, Option<i64>) =
            select.query_row([file], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        if before == (session, parent, started_at) {
            return Ok(());
        }
        // What the file claims is settled anew, by its session and in its place among its kin.
        self.release(file, "in_lineage")?;
        self.connection
            .prepare_cached(
                "UPDATE claims SET session = coalesce(?2, session), wins = 0 WHERE file = ?1 AND in_lineage",
            )?
            .execute(params![file, session])?;
        self.connection
            .prepare_cached("UPDATE files SET session = ?2, parent = ?3, started_at = ?4 WHERE id = ?1")?
            .execute(params![file, session, parent, started_at])?;
        self.forget_file(file);
        let mut concerned = vec![file];
        for session in before.0.into_iter().chain(session) {
            self.descendants(session, &mut concerned)?;
        }
        concerned.into_iter().try_for_each(|file| self.count_generation(file))
    }

    /// Adds the files forked from this session, from their sessions, and so on.
    fn descendants(&self, session: i64, found: &mut Vec<i64>) -> rusqlite::Result<()> {
        let mut sessions = vec![session];
        let mut children = self.connection.prepare_cached("SELECT id, session FROM files WHERE parent = ?1")?;
        while let Some(session) = sessions.pop() {
            let mut rows = children.query([session])?;
            while let Some(row) = rows.next()? {
                let child: i64 = row.get(0)?;
                if !found.contains(&child) {
                    found.push(child);
                    sessions.extend(row.get::<_, Option<i64>>(1)?);
                }
            }
        }
        Ok(())
    }

    /// Counts the known ancestors of the file's session, one that is its own ancestor once. If their number changed, what
    /// the file claims is settled anew.
    fn count_generation(&mut self, file: i64) -> rusqlite::Result<()> {
        let mut generations = self.connection.prepare_cached("SELECT parent, generation FROM files WHERE id = ?1")?;
        let (mut parent, before): (Option<i64>, i64) =
            generations.query_row([file], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut of_session = self.connection.prepare_cached(
            "SELECT parent FROM files JOIN roots ON roots.id = files.root WHERE session = ?1 ORDER BY dir || '/' || name
             LIMIT 1",
        )?;
        let mut seen = Vec::new();
        while let Some(session) = parent.filter(|session| !seen.contains(session)) {
            let Some(next) = of_session.query_row([session], |row| row.get(0)).optional()? else { break };
            seen.push(session);
            parent = next;
        }
        let generation = i64::try_from(seen.len()).unwrap_or(i64::MAX);
        if generation != before {
            self.connection
                .prepare_cached("UPDATE files SET generation = ?2 WHERE id = ?1")?
                .execute([file, generation])?;
            self.forget_file(file);
            let mut claims = self.connection.prepare_cached(
                "SELECT message_high, message_low FROM claims WHERE file = ?1 AND in_lineage AND message_high IS NOT NULL",
            )?;
            let mut rows = claims.query([file])?;
            while let Some(row) = rows.next()? {
                self.touched.insert(message_of(row.get(0)?, row.get(1)?));
            }
        }
        Ok(())
    }

    /// Decides which claims on the messages touched win, and brings the sums up to date.
    pub(super) fn settle(mut self) -> rusqlite::Result<()> {
        let sql = format!("SELECT {} FROM claims WHERE message_high = ?1", ClaimRow::COLUMNS);
        let mut select = self.connection.prepare_cached(&sql)?;
        let mut claims = Vec::new();
        for message in std::mem::take(&mut self.touched) {
            claims.clear();
            let mut rows = select.query([halves(message).0])?;
            while let Some(row) = rows.next()? {
                claims.extend(ClaimRow::read(row).ok().filter(|claim| claim.id.message() == Some(message)));
            }
            self.decide(&mut claims, false)?;
        }
        self.apply()
    }

    /// Decides which of the claims on one message win. In a rebuild all winners are counted, else those that changed.
    fn decide(&mut self, claims: &mut [ClaimRow], rebuild: bool) -> rusqlite::Result<()> {
        let wins = if let [_] = claims { vec![true] } else { self.winners(claims)? };
        for (claim, wins) in claims.iter_mut().zip(wins) {
            if claim.wins != wins {
                self.connection
                    .prepare_cached(
                        "UPDATE claims SET wins = ?4 WHERE file = ?1 AND byte_offset = ?2 AND line_index = ?3",
                    )?
                    .execute(params![claim.file, claim.place.byte_offset.cast_signed(), claim.place.index, wins])?;
            }
            match (rebuild, claim.wins, wins) {
                (true, _, true) => self.count(claim)?,
                (false, false, true) => self.add(claim)?,
                (false, true, false) => self.remove(claim)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn winners(&mut self, claims: &[ClaimRow]) -> rusqlite::Result<Vec<bool>> {
        let mut roots = None;
        for claim in claims {
            let root = self.facts(claim.file)?.map(|facts| facts.root);
            if root.is_some() && roots.replace(root).is_some_and(|other| other != root) && !self.state.shared {
                set_meta(self.connection, SHARED, 1)?;
                self.state.shared = true;
            }
        }
        Ok(winners(claims, &self.state.facts))
    }

    fn facts(&mut self, file: i64) -> rusqlite::Result<Option<&FileFacts>> {
        match self.state.facts.entry(file) {
            Entry::Occupied(known) => Ok(Some(known.into_mut())),
            Entry::Vacant(unknown) => Ok(FileFacts::read(self.connection, file)?.map(|facts| &*unknown.insert(facts))),
        }
    }

    fn key(&mut self, claim: &ClaimRow) -> rusqlite::Result<Key> {
        let root = self.facts(claim.file)?.map_or(0, |facts| facts.root);
        let model = match self.state.models.entry(claim.model) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let mut statement = self.connection.prepare_cached("SELECT text FROM names WHERE id = ?1")?;
                let text: Option<String> = statement.query_row([claim.model], |row| row.get(0)).optional()?;
                unknown.insert(ModelId::new(text.unwrap_or_default()))
            }
        };
        let class = self.state.prices.class(model, &claim.usage);
        let slot = claim.at.map(Slot::of);
        Ok(Key { slot, root, session: claim.session, agent: claim.agent, model: claim.model, class })
    }

    /// Writes the rows that changed.
    fn apply(mut self) -> rusqlite::Result<()> {
        for (key, delta) in std::mem::take(&mut self.deltas) {
            let columns = Figures::COLUMNS;
            let of_key = "quarter = ?1 AND at_start = ?2 AND root = ?3 AND session = ?4 AND agent = ?5 AND model = ?6
                          AND class = ?7";
            let params =
                params![key.quarter(), key.at_start(), key.root, key.session, key.agent, key.model, key.class.0];
            let mut figures = self
                .connection
                .prepare_cached(&format!("SELECT {columns} FROM sums WHERE {of_key}"))?
                .query_row(params, |row| Figures::read(row, 0))
                .optional()?
                .unwrap_or_default();
            figures.add(&delta.added);
            figures.subtract(&delta.removed);
            if figures.responses == 0 {
                self.connection.prepare_cached(&format!("DELETE FROM sums WHERE {of_key}"))?.execute(params)?;
                continue;
            }
            if figures.is_bounded_by(&delta.removed) {
                figures.span = self.span(&key)?.or(figures.span);
            }
            // Absurd counts must not make a row that the database refuses.
            let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
            let Figures { usage, responses, with_tokens, span } = figures;
            self.connection
                .prepare_cached(&format!(
                    "INSERT OR REPLACE INTO sums (quarter, at_start, root, session, agent, model, class, {columns})
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)"
                ))?
                .execute(params![
                    key.quarter(),
                    key.at_start(),
                    key.root,
                    key.session,
                    key.agent,
                    key.model,
                    key.class.0,
                    count(usage.input.0),
                    count(usage.output.0),
                    count(usage.cache_creation.0),
                    count(usage.cache_creation_1h.0),
                    count(usage.cache_read.0),
                    count(usage.reasoning.0),
                    count(responses),
                    count(with_tokens),
                    span.map(|(first, _)| first.unix_ms()),
                    span.map(|(_, last)| last.unix_ms()),
                ])?;
        }
        if self.state.facts.len() > MAX_FACTS {
            self.state.facts.clear();
        }
        Ok(())
    }

    /// First and last of the winning claims of a row.
    fn span(&mut self, key: &Key) -> rusqlite::Result<Option<(Timestamp, Timestamp)>> {
        let mut figures = Figures::default();
        for claim in claims_of(self.connection, key)? {
            if self.key(&claim)? == *key {
                figures.add(&Figures::of(&claim));
            }
        }
        Ok(figures.span)
    }

    /// Does the next slice of a rebuild.
    pub(super) fn rebuild_slice(mut self) -> rusqlite::Result<()> {
        let mut progress = self.state.progress;
        if progress == Progress::NONE {
            let forks: Vec<i64> = self
                .connection
                .prepare_cached("SELECT id FROM files WHERE parent IS NOT NULL OR generation != 0")?
                .query_map([], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            forks.into_iter().try_for_each(|file| self.count_generation(file))?;
            // All messages will be settled.
            self.touched.clear();
        }
        let claims = ClaimRow::COLUMNS;
        if progress.files_done != i64::MAX {
            let from = progress.files_done;
            let to: Option<i64> = self
                .connection
                .prepare_cached("SELECT id FROM files WHERE id > ?1 ORDER BY id LIMIT 1 OFFSET ?2")?
                .query_row([from, SLICE_FILES], |row| row.get(0))
                .optional()?;
            let to = to.unwrap_or(i64::MAX);
            let sql = format!("SELECT {claims} FROM claims WHERE file > ?1 AND file <= ?2 AND message_high IS NULL");
            let mut statement = self.connection.prepare_cached(&sql)?;
            let mut rows = statement.query([from, to])?;
            let mut alone = Vec::new();
            while let Some(row) = rows.next()? {
                alone.extend(ClaimRow::read(row));
            }
            alone.iter_mut().try_for_each(|claim| self.decide(std::slice::from_mut(claim), true))?;
            progress.files_done = to;
        } else {
            let from = progress.messages_done;
            let to: Option<i64> = self
                .connection
                .prepare_cached(
                    "SELECT message_high FROM claims WHERE message_high > ?1 ORDER BY message_high LIMIT 1 OFFSET ?2",
                )?
                .query_row([from, SLICE_CLAIMS], |row| row.get(0))
                .optional()?;
            let to = to.unwrap_or(i64::MAX);
            let mut slice = Vec::new();
            each_message(self.connection, from, to, |message| {
                slice.push(std::mem::take(message));
                Ok(())
            })?;
            slice.iter_mut().try_for_each(|message| self.decide(message, true))?;
            progress.messages_done = to;
        }
        progress.write(self.connection)?;
        self.state.progress = progress;
        self.apply()
    }
}

/// Hands out the claims on each message with `from` < hash ≤ `to`, message by message.
pub(super) fn each_message(
    connection: &Connection,
    from: i64,
    to: i64,
    mut take: impl FnMut(&mut Vec<ClaimRow>) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let sql = format!(
        "SELECT {} FROM claims WHERE message_high > ?1 AND message_high <= ?2 ORDER BY message_high",
        ClaimRow::COLUMNS
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([from, to])?;
    // Nearly always one message; two if their hashes begin alike.
    let mut alike: Vec<Vec<ClaimRow>> = Vec::new();
    let mut high = None;
    while let Some(row) = rows.next()? {
        let Ok(claim) = ClaimRow::read(row) else { continue };
        let Some(message) = claim.id.message() else { continue };
        if high.replace(halves(message).0) != Some(halves(message).0) {
            alike.iter_mut().try_for_each(&mut take)?;
            alike.clear();
        }
        match alike.iter_mut().find(|claims| claims.first().is_some_and(|first| first.id.message() == Some(message))) {
            Some(claims) => claims.push(claim),
            None => alike.push(vec![claim]),
        }
    }
    alike.iter_mut().try_for_each(take)
}

/// The winning claims that may be in a row of dated responses: of its session, model, agent and slot.
pub(super) fn claims_of(connection: &Connection, key: &Key) -> rusqlite::Result<Vec<ClaimRow>> {
    let sql = format!(
        "SELECT {} FROM claims
         WHERE file IN (SELECT file FROM appearances WHERE session = ?1) AND session = ?1 AND coalesce(agent, 0) = ?2
             AND model = ?3 AND at >= ?4 AND at < ?5 AND wins",
        ClaimRow::COLUMNS
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let to = key.quarter().saturating_add(QUARTER_MS);
    let mut rows = statement.query([key.session, key.agent, key.model, key.quarter(), to])?;
    let mut claims = Vec::new();
    while let Some(row) = rows.next()? {
        claims.extend(ClaimRow::read(row));
    }
    Ok(claims)
}

/// The root of a file.
pub(super) fn root_of(connection: &Connection, file: i64) -> rusqlite::Result<Option<i64>> {
    connection.prepare_cached("SELECT root FROM files WHERE id = ?1")?.query_row([file], |row| row.get(0)).optional()
}
