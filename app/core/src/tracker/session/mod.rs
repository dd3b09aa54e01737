//! `SessionMonitor`: what each session is doing, and what it used.
//!
//! A session is *reported* while it is active, and until the day after it ended: `session:start` with everything known of
//! it, then what changes, then `session:complete`. What a session does follows from its process file where there is one,
//! and from its silence where there is none.
//!
//! What files say of a session is kept as one [contribution](tracked::Contribution) for each file and merged, so that a
//! file can be retracted. What a session used comes from the ledger, as changes. The monitor holds the sessions that were
//! read since the start until [`SessionMonitor::forget_before`] lets go of those that are over; a session forgotten has
//! to be [recalled](SessionMonitor::recall) before anything more is said of it. Bounded by these sessions: some hundred
//! bytes each, each of their subagents and each of their files, and [`MINUTES_KEPT`] minutes.

mod tracked;

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;

use self::tracked::Tracked;
use super::PricedChange;
use super::context::ContextTracker;
use super::outcome::RequestOutcome;
use crate::event::{Event, SessionComplete, SessionPhase, SessionRemove, SessionStart};
use crate::ids::SessionId;
use crate::ledger::FileId;
use crate::record::{AgentMeta, ApiErrorKind, Presence, RateLimitReport, SessionMeta, UsageRecord};
use crate::session::SessionFacts;
use crate::state::MINUTES_KEPT;
use crate::time::{DAY_MS, MINUTE_MS, Minute, Timestamp, ZoneOffsets};
use crate::units::Tokens;

/// The directory of a session that is not held is kept this long after its last line: weekly limits are attributed by it.
pub const DIRECTORIES_KEPT_MS: i64 = 8 * DAY_MS;

/// See the [module's description](self).
#[derive(Debug, Default)]
pub(super) struct SessionMonitor {
    sessions: BTreeMap<SessionId, Tracked>,
    /// The sessions each file says something of.
    of_file: FxHashMap<FileId, BTreeSet<SessionId>>,
    /// When sessions of the last eight days that were forgotten had their last line, and their directory.
    directories: BTreeMap<SessionId, (Timestamp, String)>,
    changed: BTreeSet<SessionId>,
    /// Reported sessions that have not ended: time alone may change them.
    active: BTreeSet<SessionId>,
}

/// An error that may have to be reported.
pub(super) struct SeenError<'a> {
    pub(super) session: &'a SessionId,
    pub(super) at: Timestamp,
    pub(super) kind: ApiErrorKind,
}

impl SessionMonitor {
    /// Whether the session is held: one that was forgotten has to be recalled first.
    pub(super) fn is_held(&self, id: &SessionId) -> bool {
        self.sessions.contains_key(id)
    }

    /// Sessions held.
    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// The files that say something of sessions held.
    pub(super) fn is_of_held(&self, file: FileId) -> bool {
        self.of_file.contains_key(&file)
    }

    fn touch(&mut self, id: &SessionId) -> &mut Tracked {
        if !self.changed.contains(id) {
            self.changed.insert(id.clone());
        }
        if !self.sessions.contains_key(id) {
            self.sessions.insert(id.clone(), Tracked::default());
        }
        self.sessions.entry(id.clone()).or_default()
    }

    /// The session, about to change by what `file` says.
    fn contribution(&mut self, file: FileId, id: &SessionId) -> &mut Tracked {
        let sessions = self.of_file.entry(file).or_default();
        if !sessions.contains(id) {
            sessions.insert(id.clone());
        }
        self.touch(id)
    }

    /// A response came into, or went out of, the count. Of a session that is not held, nobody wants to know.
    pub(super) fn change(&mut self, change: PricedChange<'_>) {
        if self.sessions.contains_key(&change.record.session) {
            self.touch(&change.record.session).change(change);
        }
    }

    /// A line with usage was read, whether it counts or not: the session is alive.
    pub(super) fn usage_seen(&mut self, file: FileId, record: &UsageRecord) {
        let session = self.contribution(file, &record.session);
        session.update(file, |facts| facts.usage(record));
        if let Some(agent) = &record.agent {
            session.agent_changed(agent);
        }
        if let Some(at) = record.at {
            session.outcome(file, RequestOutcome::success(at));
        }
    }

    pub(super) fn meta(&mut self, file: FileId, meta: &SessionMeta) {
        let session = self.contribution(file, &meta.session);
        session.update(file, |facts| facts.meta(meta));
        if let Some(agent) = &meta.agent {
            session.agent_changed(agent);
        }
    }

    /// The file says something of the session that others keep.
    pub(super) fn mentioned(&mut self, file: FileId, id: &SessionId) {
        self.contribution(file, id).update(file, |_| {});
    }

    /// A line of the session is dated in the future: it is held until then.
    pub(super) fn expect(&mut self, id: &SessionId, at: Timestamp) {
        let session = self.touch(id);
        session.expected_at = session.expected_at.max(Some(at));
    }

    pub(super) fn agent(&mut self, file: FileId, meta: &AgentMeta) {
        let session = self.contribution(file, &meta.session);
        session.update(file, |facts| facts.agent_meta(meta));
        session.agent_changed(&meta.agent);
    }

    /// A vendor's statement on a limit, which may have refused a request of a session.
    pub(super) fn refused(&mut self, file: FileId, report: &RateLimitReport) {
        if let Some(id) = &report.session {
            let session = self.contribution(file, id);
            session.update(file, |_| {});
            RequestOutcome::refusal(report).into_iter().for_each(|outcome| session.outcome(file, outcome));
        }
    }

    /// A request failed. The error, if it is newer than all errors of the session that were reported before: one that
    /// is read once more makes no event.
    pub(super) fn error<'a>(
        &mut self,
        file: FileId,
        id: &'a SessionId,
        at: Option<Timestamp>,
        kind: ApiErrorKind,
    ) -> Option<SeenError<'a>> {
        let session = self.contribution(file, id);
        session.error(file, at, kind);
        let at = at.filter(|&at| session.errors_reported_until.is_none_or(|until| at > until))?;
        session.errors_reported_until = Some(at);
        Some(SeenError { session: id, at, kind })
    }

    /// What the file said is withdrawn, but for its claims, which the ledger reports.
    pub(super) fn retract(&mut self, file: FileId) {
        for id in self.of_file.remove(&file).unwrap_or_default() {
            if self.sessions.contains_key(&id) {
                self.touch(&id).retract(file);
            }
        }
    }

    pub(super) fn presence(&mut self, running: &[Presence]) {
        let running: BTreeMap<&SessionId, &Presence> = running.iter().map(|p| (&p.session, p)).collect();
        for (id, session) in &mut self.sessions {
            if session.presence.is_some() && !running.contains_key(id) {
                session.presence = None;
                session.ended_after = Some(session.last_activity());
                self.changed.insert(id.clone());
            }
        }
        for (id, presence) in running {
            let session = self.touch(id);
            if session.presence.as_ref() != Some(presence) {
                session.ended_after = None;
                session.presence = Some(presence.clone());
            }
        }
    }

    /// Brings merged facts up to date.
    pub(super) fn refresh(&mut self) {
        self.sessions.values_mut().for_each(Tracked::refresh);
    }

    /// What is known of the sessions held, as of the last refresh or flush.
    pub(super) fn facts(&self) -> impl Iterator<Item = (&SessionId, &SessionFacts)> {
        self.sessions.iter().map(|(id, session)| (id, session.facts()))
    }

    /// Ends the reading of history: sessions that were over before today are not reported, and errors read so far make
    /// no events.
    pub(super) fn begin(&mut self, zone: &ZoneOffsets, now: Timestamp) {
        let today = zone.day_start(zone.day(now));
        let oldest = oldest_minute(now);
        for (id, session) in &mut self.sessions {
            session.prune(oldest);
            session.errors_reported_until = Some(now);
            if session.phase(now) == SessionPhase::Ended && session.last_activity() < today {
                self.changed.remove(id);
            }
        }
    }

    /// Lets go of sessions that are over, are reported no more, were silent since `horizon`, and are known from committed
    /// files alone. Which these were.
    pub(super) fn forget_before(
        &mut self,
        horizon: Timestamp,
        is_committed: impl Fn(FileId) -> bool,
        now: Timestamp,
    ) -> BTreeSet<SessionId> {
        let is_over = |id: &SessionId, session: &Tracked| {
            !self.active.contains(id)
                && !self.changed.contains(id)
                && session.presence.is_none()
                && session.held_until() < horizon
                && session.phase(now) == SessionPhase::Ended
                && session.files().all(&is_committed)
        };
        let over: BTreeSet<SessionId> =
            self.sessions.iter().filter(|(id, session)| is_over(id, session)).map(|(id, _)| id.clone()).collect();
        let week_ago = now.plus_ms(-DIRECTORIES_KEPT_MS);
        self.directories.retain(|_, (last, _)| *last >= week_ago);
        for id in &over {
            let directory =
                self.sessions.get(id).and_then(|it| Some((it.last_activity(), it.facts().cwd()?.to_owned())));
            self.directories.extend(directory.filter(|(last, _)| *last >= week_ago).map(|it| (id.clone(), it)));
            for file in self.sessions.remove(id).iter().flat_map(Tracked::files) {
                if let Some(sessions) = self.of_file.get_mut(&file) {
                    sessions.remove(id);
                    if sessions.is_empty() {
                        self.of_file.remove(&file);
                    }
                }
            }
        }
        over
    }

    /// A session that is not held had its last line then, and this directory.
    pub(super) fn recall_directory(&mut self, id: SessionId, last: Timestamp, directory: String) {
        self.directories.insert(id, (last, directory));
    }

    /// What was read of a session that was forgotten makes no events of its own.
    pub(super) fn recalled(&mut self, id: &SessionId) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.errors_reported_until = session.last_error().map(|(at, _)| at).max(session.errors_reported_until);
        }
    }

    /// The directory of a session, if known; of one that was forgotten, too, for as long as a weekly limit counts it.
    pub(super) fn directory(&self, id: &SessionId) -> Option<&str> {
        match self.sessions.get(id) {
            Some(session) => session.facts().cwd(),
            None => self.directories.get(id).map(|(_, directory)| directory.as_str()),
        }
    }

    /// Reports what changed, session by session, context included.
    pub(super) fn flush(
        &mut self,
        now: Timestamp,
        limit: Option<Tokens>,
        zone: &ZoneOffsets,
        context: &mut ContextTracker,
        events: &mut Vec<Event>,
    ) {
        let today = zone.day_start(zone.day(now));
        let mut due = std::mem::take(&mut self.changed);
        for id in &self.active {
            due.insert(id.clone());
        }
        for id in &due {
            let Some(session) = self.sessions.get_mut(id) else { continue };
            session.refresh();
            if session.is_empty() {
                // Everything said of it was withdrawn. Held on to for a while: should the same be read again, it must
                // not be reported as new.
                if session.reported.take().is_some() {
                    events.push(Event::SessionRemove(SessionRemove { id: id.clone() }));
                }
                session.emptied_at = session.emptied_at.or(Some(now));
                self.active.remove(id);
                continue;
            }
            session.emptied_at = None;
            let phase = session.phase(now);
            let was_active = self.active.contains(id);
            let ended = phase == SessionPhase::Ended;
            // Today's ended sessions are shown too, whenever they are read; those of days past are not.
            let is_todays = session.last_activity() >= today;
            let announce = !was_active && (!ended || (session.reported.is_none() && is_todays));
            if !announce && !was_active {
                // Minutes are for sessions that are shown: of history, read by the thousand, none are kept.
                session.prune(oldest_minute(now));
                // Over, but still shown: what it used, or what is known of it, may change.
                if session.reported.is_some() && is_todays {
                    session.report_update(id, phase, events);
                    if session.tokens_changed {
                        session.report_tokens(id, now, limit, false, events);
                    }
                    context.flush(id, now, (false, true), events);
                } else if session.reported.take().is_some() {
                    // What it did today was withdrawn, or the day has passed.
                    events.push(Event::SessionRemove(SessionRemove { id: id.clone() }));
                }
                continue;
            }
            if announce {
                let project = session.project(id).to_owned();
                let start_time = session.started_at();
                events.push(Event::SessionStart(SessionStart { id: id.clone(), project, start_time }));
                session.reported = None;
            }
            session.report_update(id, phase, events);
            if session.tokens_changed || announce {
                session.report_tokens(id, now, limit, announce, events);
            }
            context.flush(id, now, (announce, ended), events);
            if !ended {
                self.active.insert(id.clone());
            } else if self.active.remove(id) {
                events.push(Event::SessionComplete(SessionComplete {
                    id: id.clone(),
                    duration: session.last_activity().ms_since(session.started_at()),
                    tokens: session.usage.total(),
                }));
            }
        }
    }
}

fn oldest_minute(now: Timestamp) -> Minute {
    now.plus_ms(-MINUTES_KEPT * MINUTE_MS).minute()
}
