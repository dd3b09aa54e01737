//! What a start takes from the store: not the history, only what the present depends on.
//!
//! Reads all rows of `files`, the sums of the days that are shown, and what files with lines of the last days say. All of
//! it is of one moment of the database.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use dashboard_core::forecast::HABIT_DAYS;
use dashboard_core::history::Sessions;
use dashboard_core::ids::{ModelId, SessionId};
use dashboard_core::price::PriceTable;
use dashboard_core::record::{Record, Rejection, Tool, UsageRecord};
use dashboard_core::report;
use dashboard_core::time::{DAY_MS, FUTURE_TOLERANCE_MS, Timestamp, ZoneOffsets};
use dashboard_core::tracker::{self, Block};
use dashboard_core::units::Tokens;

use super::queries::{
    APPEARANCE, HistoryReader, Names, OneFile, ReadError, StoredUsage, UnreadableRows, appearance, code, each, time,
};
use super::sums::{self, ClaimRow, Figures, Key, Progress, UNDATED};
use crate::observation::{FileState, ModelTotal, Recalled, RecalledFile, Root};

/// Limits are shown for as long again as their window, of which a month is the longest.
const LIMITS_MS: i64 = 62 * DAY_MS;
/// The month and the fortnight that are shown begin at most this long ago.
const DAYS_MS: i64 = 45 * DAY_MS;

/// Responses since then are recalled one by one. A whole quarter hour, so that the sums before it are complete.
fn recent_since(now: Timestamp) -> Timestamp {
    now.plus_ms(-tracker::LIMITS_REACH_BACK_MS).floor_to(report::QUARTER_MS)
}

impl HistoryReader {
    /// What a dashboard that starts at `now` has to know, and the rows of it that were not understood.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn recall(
        &self,
        prices: &PriceTable,
        zone: &ZoneOffsets,
        now: Timestamp,
    ) -> Result<(Recalled, UnreadableRows), ReadError> {
        let transaction = self.moment()?;
        let roots = self.root_ids()?;
        let names = Names::on_demand(&transaction);
        let mut recalling = Recalling {
            reader: self,
            names: &names,
            place_of: HashMap::new(),
            tools: Vec::new(),
            recalled: Recalled::default(),
            unreadable: UnreadableRows::default(),
            misread: BTreeSet::new(),
        };
        recalling.files(&roots)?;
        let progress = Progress::read(&transaction, prices.classes_fingerprint().cast_signed())?;
        let all_roots: u64 = transaction.query_row("SELECT count(*) FROM roots", [], |row| row.get(0))?;
        let is_whole = roots.len() as u64 == all_roots || !sums::is_shared(&transaction)?;
        if progress.is_some_and(Progress::is_complete) && is_whole {
            recalling.sums(&roots, prices, zone, now)?;
        } else {
            recalling.totals_of_claims(prices, zone, now)?;
        }
        recalling.recent(now)?;
        recalling.limits(now)?;
        recalling.sessions(zone, now)?;
        recalling.rejections()?;
        Ok(recalling.finish())
    }

    /// The newest five-hour block of a tool's responses before `before`, the beginning of a minute. Costs the sums of
    /// the time back to the last silence of five hours.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn block_before(&self, tool: Tool, before: Timestamp) -> Result<Option<Block>, ReadError> {
        let transaction = self.moment()?;
        let roots: HashSet<i64> =
            self.root_ids()?.into_iter().filter(|(_, root)| root.tool == tool).map(|(id, _)| id).collect();
        let sql = format!(
            "SELECT quarter, at_start, root, session, agent, model, class, {} FROM sums
             WHERE quarter < ?1 AND quarter > ?2 ORDER BY quarter DESC",
            Figures::COLUMNS
        );
        let mut statement = transaction.prepare_cached(&sql)?;
        let mut rows = statement.query([before.unix_ms(), UNDATED])?;
        let mut times: Vec<Timestamp> = Vec::new();
        let mut earliest: Option<Timestamp> = None;
        while let Some(row) = rows.next()? {
            let key = Key::read(row)?;
            let Some((first, last)) = Figures::read(row, 7)?.span.filter(|_| roots.contains(&key.root)) else {
                continue;
            };
            let of_row = if last < before {
                vec![first, last]
            } else {
                // Of a quarter hour that goes on after it.
                let claims = sums::claims_of(&transaction, &key)?;
                claims.iter().filter_map(|claim| claim.at).filter(|&at| at < before).collect()
            };
            let Some((first, last)) = of_row.iter().min().zip(of_row.iter().max()) else { continue };
            if earliest.is_some_and(|earliest| tracker::is_gap(*last, earliest)) {
                break;
            }
            earliest = Some(earliest.map_or(*first, |earliest| earliest.min(*first)));
            times.extend(of_row);
        }
        times.sort_unstable();
        Ok(tracker::blocks(times).into_iter().rfind(|block| block.span.is_some()))
    }
}

/// What is gathered so far.
struct Recalling<'a> {
    reader: &'a HistoryReader,
    names: &'a Names<'a>,
    /// Places in `recalled.files` by row.
    place_of: HashMap<i64, usize>,
    tools: Vec<Tool>,
    recalled: Recalled,
    unreadable: UnreadableRows,
    /// Files with rows that were not understood.
    misread: BTreeSet<usize>,
}

impl Recalling<'_> {
    fn files(&mut self, roots: &[(i64, &Root)]) -> Result<(), ReadError> {
        for &root in roots {
            for row in self.reader.file_rows(root, "true", [])? {
                let summary = row.summary;
                // What was read of a last line without its end is read again, and may say something else then.
                let is_whole = |state: &FileState| summary.archived || state.counts == state.checkpoint.counts;
                if summary.state.is_none() {
                    let error = ReadError::Content("it is of another version".to_owned());
                    self.unreadable.add(&summary.found.name, "state", &error);
                }
                let is_archived_without = summary.archived && summary.state.is_none();
                let state = summary.state.filter(is_whole);
                self.place_of.insert(row.id, self.recalled.files.len());
                self.tools.push(summary.found.tool);
                self.recalled.files.push(RecalledFile {
                    state: state.or_else(|| is_archived_without.then(|| FileState::start(summary.found.tool))),
                    file: Arc::new(summary.found),
                    archived: summary.archived,
                    counts: summary.counts,
                    lineage: summary.lineage,
                });
            }
        }
        Ok(())
    }

    fn finish(mut self) -> (Recalled, UnreadableRows) {
        for &place in &self.misread {
            let file = &mut self.recalled.files[place];
            if !file.archived {
                file.state = None;
            }
        }
        (self.recalled, self.unreadable)
    }

    fn sums(
        &mut self,
        roots: &[(i64, &Root)],
        prices: &PriceTable,
        zone: &ZoneOffsets,
        now: Timestamp,
    ) -> Result<(), ReadError> {
        let connection = &self.reader.connection;
        let mut totals: HashMap<i64, (u64, u64)> = HashMap::new();
        let mut statement = connection
            .prepare_cached("SELECT root, model, sum(responses), sum(with_tokens) FROM sums GROUP BY root, model")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let root: i64 = row.get(0)?;
            if roots.iter().any(|(id, _)| *id == root) {
                let sum = totals.entry(row.get(1)?).or_default();
                sum.0 += row.get::<_, u64>(2)?;
                sum.1 += row.get::<_, u64>(3)?;
            }
        }
        for (model, (responses, with_tokens)) in totals {
            // Of a model without a name: left out, as its claims are when they are read.
            let Ok(model) = self.names.get(model) else { continue };
            self.recalled.totals.push(ModelTotal { model: ModelId::new(model), responses, with_tokens });
        }
        let usage = self.reader.usage_between(prices, now.plus_ms(-DAYS_MS), now.plus_ms(FUTURE_TOLERANCE_MS))?;
        self.recalled.days = report::days_of(usage.rows(), prices, zone, now);
        self.past_use(&usage, now);
        Ok(())
    }

    /// The same, while the sums are being made.
    fn totals_of_claims(&mut self, prices: &PriceTable, zone: &ZoneOffsets, now: Timestamp) -> Result<(), ReadError> {
        let usage = self.reader.usage(prices, |_| [now.plus_ms(FUTURE_TOLERANCE_MS)].into_iter())?;
        let mut totals: HashMap<&ModelId, (u64, u64)> = HashMap::new();
        for row in usage.rows() {
            let sum = totals.entry(row.model).or_default();
            sum.0 += row.responses;
            sum.1 += row.with_tokens;
        }
        for (model, (responses, with_tokens)) in totals {
            self.recalled.totals.push(ModelTotal { model: model.clone(), responses, with_tokens });
        }
        self.recalled.days = report::days_of(usage.rows(), prices, zone, now);
        self.past_use(&usage, now);
        Ok(())
    }

    /// What forecasts go by, before the responses that limits count.
    fn past_use(&mut self, usage: &StoredUsage, now: Timestamp) {
        let (from, to) = (now.plus_ms(-HABIT_DAYS * DAY_MS), recent_since(now));
        let mut sums: BTreeMap<(Tool, &ModelId, Timestamp), Tokens> = BTreeMap::new();
        for row in usage.rows() {
            if let Some(slot) = row.slot().filter(|slot| slot.quarter >= from && slot.quarter < to) {
                *sums.entry((row.tool, row.model, slot.quarter)).or_default() += row.usage.quota();
            }
        }
        let owned = |((tool, model, quarter), tokens): ((Tool, &ModelId, _), _)| (tool, model.clone(), quarter, tokens);
        self.recalled.past_use = sums.into_iter().map(owned).collect();
    }

    fn usage_record(&self, claim: &ClaimRow) -> Option<(usize, UsageRecord)> {
        let &place = self.place_of.get(&claim.file)?;
        self.names.usage_record(self.tools[place], claim).ok().map(|record| (place, record))
    }

    /// Responses that limits count, and those that are still to come.
    fn recent(&mut self, now: Timestamp) -> Result<(), ReadError> {
        let since = recent_since(now);
        let sql = format!(
            "SELECT {} FROM claims WHERE file IN (SELECT id FROM files WHERE last_at >= ?1) AND at >= ?1 AND wins",
            ClaimRow::COLUMNS
        );
        let connection = &self.reader.connection;
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query([since.unix_ms()])?;
        while let Some(row) = rows.next()? {
            let Ok(claim) = ClaimRow::read(row) else { continue };
            self.recalled.recent.extend(self.usage_record(&claim).map(|(_, record)| record));
        }
        Ok(())
    }

    fn limits(&mut self, now: Timestamp) -> Result<(), ReadError> {
        let since = now.plus_ms(-LIMITS_MS).unix_ms();
        let places: Vec<(i64, usize)> = self.place_of.iter().map(|(&id, &place)| (id, place)).collect();
        let connection = &self.reader.connection;
        let mut statement = connection.prepare_cached("SELECT DISTINCT file FROM limit_reports WHERE at >= ?1")?;
        let files: HashSet<i64> = statement.query_map([since], |row| row.get(0))?.collect::<Result<_, _>>()?;
        for (id, place) in places.into_iter().filter(|(id, _)| files.contains(id)) {
            let mut records = Vec::new();
            self.of_file(id, place, |file, unreadable| file.limit_reports(&mut records, unreadable))?;
            for record in records {
                if let Record::RateLimit(report) = record
                    && report.at.unix_ms() >= since
                {
                    self.recalled.limits.push((place, report));
                }
            }
        }
        Ok(())
    }

    /// Reads something of one file; if rows of it are not understood, all of it is read again.
    fn of_file(
        &mut self,
        id: i64,
        place: usize,
        read: impl FnOnce(OneFile<'_>, &mut UnreadableRows) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let found = Arc::clone(&self.recalled.files[place].file);
        let file =
            OneFile { connection: &self.reader.connection, id, tool: found.tool, name: &found.name, names: self.names };
        let mut unreadable = UnreadableRows::default();
        read(file, &mut unreadable)?;
        if unreadable.count > 0 {
            self.misread.insert(place);
        }
        self.unreadable.merge(unreadable);
        Ok(())
    }

    fn sessions(&mut self, zone: &ZoneOffsets, now: Timestamp) -> Result<(), ReadError> {
        let connection = &self.reader.connection;
        let today = zone.day_start(zone.day(now));
        let present = tracker::held_since(today, now).unix_ms();
        let week = now.plus_ms(-tracker::DIRECTORIES_KEPT_MS).unix_ms();
        let mut statement = connection
            .prepare_cached("SELECT session, max(last_at) FROM appearances WHERE last_at >= ?1 GROUP BY session")?;
        let mut rows = statement.query([week])?;
        let (mut present_ids, mut others) = (Vec::new(), Vec::new());
        while let Some(row) = rows.next()? {
            let (session, last): (i64, i64) = (row.get(0)?, row.get(1)?);
            if last >= present {
                present_ids.push(session);
            } else {
                others.push((session, last));
            }
        }
        let mut files: BTreeSet<i64> = BTreeSet::new();
        let mut files_of = connection.prepare_cached("SELECT DISTINCT file FROM appearances WHERE session = ?1")?;
        for session in present_ids {
            let Ok(name) = self.names.get(session) else { continue };
            self.recalled.sessions.insert(SessionId::new(name));
            for file in files_of.query_map([session], |row| row.get::<_, i64>(0))? {
                files.insert(file?);
            }
        }
        let mut claims = connection.prepare_cached(&format!(
            "SELECT {} FROM claims WHERE message_high IN
                 (SELECT message_high FROM claims WHERE file = ?1 AND message_high IS NOT NULL)",
            ClaimRow::COLUMNS
        ))?;
        for id in files {
            let Some(&place) = self.place_of.get(&id) else { continue };
            let mut records = Vec::new();
            self.of_file(id, place, |file, unreadable| file.records(i64::MAX, &mut records, unreadable))?;
            self.recalled.records.push((place, records));
            let mut rows = claims.query([id])?;
            while let Some(row) = rows.next()? {
                let Ok(claim) = ClaimRow::read(row) else { continue };
                self.recalled.claims.extend(self.usage_record(&claim));
            }
        }
        let sql = format!("SELECT {APPEARANCE} FROM appearances WHERE session = ?1");
        for (session, last) in others {
            let mut sessions = Sessions::default();
            each(connection, &sql, [session], ("", "appearances"), &mut self.unreadable, |row| {
                // Whose session it is does not matter for its directory.
                appearance(row, Tool::default(), self.names, &mut |record| sessions.record(&record))
            })?;
            let Ok(name) = self.names.get(session) else { continue };
            let id = SessionId::new(name);
            let directory = sessions.get(&id).and_then(|facts| facts.cwd()).map(ToOwned::to_owned);
            let last = time(Some(last)).zip(directory);
            self.recalled.directories.extend(last.map(|(last, directory)| (id, last, directory)));
        }
        Ok(())
    }

    fn rejections(&mut self) -> Result<(), ReadError> {
        let connection = &self.reader.connection;
        let sql = "SELECT file, byte_offset, reason FROM audit JOIN files ON files.id = audit.file
                   ORDER BY last_at DESC, name, byte_offset LIMIT ?1";
        let mut found = Vec::new();
        let most = i64::try_from(tracker::RECENT_REJECTIONS).unwrap_or(i64::MAX);
        each(connection, sql, [most], ("", "audit"), &mut self.unreadable, |row| {
            found.push((row.get::<_, i64>(0)?, row.get(1)?, code(row.get_ref(2)?.as_str()?)?));
            Ok(())
        })?;
        for (id, byte_offset, reason) in found.into_iter().rev() {
            let Some(&place) = self.place_of.get(&id) else { continue };
            let file = self.recalled.files[place].file.name.clone();
            self.recalled.rejections.push((place, Rejection { file, byte_offset, reason }));
        }
        Ok(())
    }
}
