//! Claims in little memory: 72 bytes each, found by message id.
//!
//! Texts (sessions, subagents, models) are interned: what a claim says besides its numbers is one number, its *source*:
//! the combination of file, session, subagent, chain and model, which few claims do not share with the one before.
//! Claims on one message form a list. Slots of removed claims are used again. Bounded by the claims held: the owner
//! decides which.

use hashbrown::HashTable;
use rustc_hash::FxHashMap;

use super::FileId;
use crate::ids::{AgentId, MessageId, ModelId, RequestId, SessionId};
use crate::record::{Place, ResponseId, Tool, UsageRecord};
use crate::time::Timestamp;
use crate::units::{TokenUsage, Tokens};

/// Number of a claim.
pub(super) type ClaimIndex = u32;

/// No further claim.
pub(super) const NONE: ClaimIndex = u32::MAX;
/// A source of no claim: the slot is free.
const FREE: u32 = u32::MAX;
/// In place of a number of tokens: the numbers are in [`Claims::large`].
const LARGE: u32 = u32::MAX;
/// In place of a time: none.
const NO_TIME: i64 = i64::MIN;
/// Bits of a place that hold the index of the object on its line.
const INDEX_BITS: u32 = 16;

/// One file's claim on one response.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    /// Message id in two halves, high first: a `u128` would be aligned to 16 bytes.
    message: [u64; 2],
    /// Request id; 0 if none.
    request: u64,
    /// Milliseconds, or [`NO_TIME`].
    at: i64,
    /// Byte offset, and in the low bits the index on the line.
    place: u64,
    /// Tokens by kind: input, output, cache writes, those for an hour, cache reads, reasoning.
    tokens: [u32; 6],
    /// Index into [`Claims::sources`].
    source: u32,
    /// Next claim on the same message.
    next: ClaimIndex,
}

/// What many claims have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Source {
    file: FileId,
    session: u32,
    /// 0: the main chain, or not said; else index + 1.
    agent: u32,
    model: u32,
    sidechain: bool,
    kind: IdKind,
}

/// The variant of a [`ResponseId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum IdKind {
    Message,
    Row,
    Alone,
}

/// Texts and their numbers.
#[derive(Debug)]
struct Interner<T> {
    texts: Vec<T>,
    numbers: FxHashMap<T, u32>,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self { texts: Vec::new(), numbers: FxHashMap::default() }
    }
}

impl<T: Clone + Eq + std::hash::Hash> Interner<T> {
    fn number(&mut self, text: &T) -> u32 {
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        let number = index(self.texts.len());
        self.texts.push(text.clone());
        self.numbers.insert(text.clone(), number);
        number
    }

    fn text(&self, number: u32) -> &T {
        &self.texts[number as usize]
    }
}

/// 2^32 claims, files or texts do not fit into memory.
fn index(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX - 1)
}

/// See the [module's description](self).
#[derive(Debug, Default)]
pub(super) struct Claims {
    slots: Vec<Claim>,
    /// Free slots.
    free: Vec<ClaimIndex>,
    /// First claim on each message.
    by_message: HashTable<ClaimIndex>,
    sources: Vec<Source>,
    source_numbers: FxHashMap<Source, u32>,
    sessions: Interner<SessionId>,
    agents: Interner<AgentId>,
    models: Interner<ModelId>,
    /// Numbers of tokens that do not fit into 32 bits.
    large: Vec<TokenUsage>,
    /// The newest source, and the texts it was made from: most claims have the same as the one before.
    latest: Option<(SessionId, Option<AgentId>, ModelId, u32)>,
}

fn halves(message: MessageId) -> [u64; 2] {
    let number = message.number();
    #[expect(clippy::cast_possible_truncation, reason = "the halves")]
    [(number >> 64) as u64, number as u64]
}

impl Claim {
    fn message(&self) -> MessageId {
        MessageId::from_number(u128::from(self.message[0]) << 64 | u128::from(self.message[1]))
    }

    fn request(&self) -> Option<RequestId> {
        (self.request != 0).then(|| RequestId::from_number(self.request))
    }

    pub(super) fn at(&self) -> Option<Timestamp> {
        (self.at != NO_TIME).then(|| Timestamp::from_unix_ms(self.at))
    }

    pub(super) fn place(&self) -> Place {
        let index = (self.place & ((1 << INDEX_BITS) - 1)) as u32;
        Place { byte_offset: self.place >> INDEX_BITS, index }
    }

    pub(super) fn next(&self) -> ClaimIndex {
        self.next
    }

    /// Whether it says the same as `other`, wherever it is in its list.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let Self { message, request, at, place, tokens, source, next: _ } = self;
        (message, request, at, place, tokens, source)
            == (&other.message, &other.request, &other.at, &other.place, &other.tokens, &other.source)
    }
}

/// A place in 64 bits: the offset of any file below 256 TiB; objects of a line beyond 65,535 share their number.
fn packed(place: Place) -> u64 {
    let index = u64::from(place.index).min((1 << INDEX_BITS) - 1);
    place.byte_offset << INDEX_BITS | index
}

impl Claims {
    pub(super) fn get(&self, claim: ClaimIndex) -> &Claim {
        &self.slots[claim as usize]
    }

    /// The first claim on a message.
    pub(super) fn first(&self, message: MessageId) -> Option<ClaimIndex> {
        let halves = halves(message);
        self.by_message.find(halves[1], |&claim| self.slots[claim as usize].message == halves).copied()
    }

    /// The claims on a message, to `out`, which is emptied.
    pub(super) fn list(&self, message: MessageId, out: &mut Vec<ClaimIndex>) {
        out.clear();
        let mut next = self.first(message).unwrap_or(NONE);
        while next != NONE {
            out.push(next);
            next = self.get(next).next;
        }
    }

    /// Makes a claim of a record; it is on no list yet.
    pub(super) fn make(&mut self, file: FileId, record: &UsageRecord) -> Claim {
        let kind = match record.id {
            ResponseId::Message { .. } => IdKind::Message,
            ResponseId::Row(_) => IdKind::Row,
            ResponseId::Alone { .. } => IdKind::Alone,
        };
        let source = self.source(file, record, kind);
        let TokenUsage { input, output, cache_creation, cache_creation_1h, cache_read, reasoning } = record.usage;
        let kinds = [input, output, cache_creation, cache_creation_1h, cache_read, reasoning];
        let mut tokens = [0; 6];
        for (small, Tokens(large)) in tokens.iter_mut().zip(kinds) {
            *small = u32::try_from(large).unwrap_or(LARGE);
        }
        if tokens.contains(&LARGE) {
            tokens = [LARGE, index(self.large.len()), 0, 0, 0, 0];
            self.large.push(record.usage);
        }
        Claim {
            message: record.id.message().map_or([0; 2], halves),
            request: record.id.request().map_or(0, RequestId::number),
            at: record.at.map_or(NO_TIME, Timestamp::unix_ms),
            place: packed(record.place),
            tokens,
            source,
            next: NONE,
        }
    }

    fn source(&mut self, file: FileId, record: &UsageRecord, kind: IdKind) -> u32 {
        if let Some((session, agent, model, number)) = &self.latest {
            let known = &self.sources[*number as usize];
            if known.file == file
                && known.sidechain == record.sidechain
                && known.kind == kind
                && *session == record.session
                && *agent == record.agent
                && *model == record.model
            {
                return *number;
            }
        }
        let source = Source {
            file,
            session: self.sessions.number(&record.session),
            agent: record.agent.as_ref().map_or(0, |agent| self.agents.number(agent) + 1),
            model: self.models.number(&record.model),
            sidechain: record.sidechain,
            kind,
        };
        let number = self.number_of(source);
        self.latest = Some((record.session.clone(), record.agent.clone(), record.model.clone(), number));
        number
    }

    fn number_of(&mut self, source: Source) -> u32 {
        let (sources, numbers) = (&mut self.sources, &mut self.source_numbers);
        *numbers.entry(source).or_insert_with(|| {
            sources.push(source);
            index(sources.len() - 1)
        })
    }

    /// Puts a claim first on the list of its message, or on none if it is a response by itself.
    pub(super) fn insert(&mut self, mut claim: Claim) -> ClaimIndex {
        let number = self.free.pop().unwrap_or_else(|| index(self.slots.len()));
        if self.kind(&claim) == IdKind::Alone {
            claim.next = NONE;
        } else {
            let slots = &self.slots;
            let entry = self.by_message.entry(
                claim.message[1],
                |&first| slots[first as usize].message == claim.message,
                |&first| slots[first as usize].message[1],
            );
            claim.next = match entry {
                hashbrown::hash_table::Entry::Occupied(mut first) => std::mem::replace(first.get_mut(), number),
                hashbrown::hash_table::Entry::Vacant(none) => {
                    none.insert(number);
                    NONE
                }
            };
        }
        if number as usize == self.slots.len() {
            self.slots.push(claim);
        } else {
            self.slots[number as usize] = claim;
        }
        number
    }

    /// Puts another claim of the same file on the same message in the place of one.
    pub(super) fn replace(&mut self, number: ClaimIndex, claim: Claim) {
        let slot = &mut self.slots[number as usize];
        *slot = Claim { next: slot.next, ..claim };
    }

    /// Takes a claim off its list and frees its slot.
    pub(super) fn remove(&mut self, number: ClaimIndex) {
        let claim = self.slots[number as usize];
        if self.kind(&claim) != IdKind::Alone {
            let first = self.first(claim.message()).unwrap_or(NONE);
            if first == number {
                let slots = &self.slots;
                let found = self
                    .by_message
                    .find_entry(claim.message[1], |&first| slots[first as usize].message == claim.message);
                if let Ok(mut entry) = found {
                    if claim.next == NONE {
                        entry.remove();
                    } else {
                        *entry.get_mut() = claim.next;
                    }
                }
            } else {
                let mut before = first;
                while before != NONE && self.get(before).next != number {
                    before = self.get(before).next;
                }
                if before != NONE {
                    self.slots[before as usize].next = claim.next;
                }
            }
        }
        self.slots[number as usize].source = FREE;
        self.free.push(number);
    }

    /// The same claim, said of another session.
    pub(super) fn set_session(&mut self, number: ClaimIndex, session: &SessionId) {
        let session = self.sessions.number(session);
        let source = self.sources[self.get(number).source as usize];
        let source = self.number_of(Source { session, ..source });
        self.slots[number as usize].source = source;
        self.latest = None;
    }

    /// The claims first on the list of a message, and those of responses by themselves, in no particular order.
    pub(super) fn heads(&self) -> impl Iterator<Item = ClaimIndex> {
        let alone = (0..index(self.slots.len())).filter(|&number| {
            let claim = self.get(number);
            claim.source != FREE && self.kind(claim) == IdKind::Alone
        });
        self.by_message.iter().copied().chain(alone)
    }

    fn kind(&self, claim: &Claim) -> IdKind {
        self.sources[claim.source as usize].kind
    }

    pub(super) fn file(&self, claim: &Claim) -> FileId {
        self.sources[claim.source as usize].file
    }

    /// Session, subagent and model.
    pub(super) fn names(&self, claim: &Claim) -> (&SessionId, Option<&AgentId>, &ModelId) {
        let source = &self.sources[claim.source as usize];
        let agent = source.agent.checked_sub(1).map(|agent| self.agents.text(agent));
        (self.sessions.text(source.session), agent, self.models.text(source.model))
    }

    pub(super) fn is_sidechain(&self, claim: &Claim) -> bool {
        self.sources[claim.source as usize].sidechain
    }

    pub(super) fn is_row(&self, claim: &Claim) -> bool {
        self.kind(claim) == IdKind::Row
    }

    pub(super) fn id(&self, claim: &Claim) -> ResponseId {
        match self.kind(claim) {
            IdKind::Message => ResponseId::Message { message: claim.message(), request: claim.request() },
            IdKind::Row => ResponseId::Row(claim.message()),
            IdKind::Alone => ResponseId::Alone { request: claim.request() },
        }
    }

    pub(super) fn usage(&self, claim: &Claim) -> TokenUsage {
        if claim.tokens[0] == LARGE {
            return self.large[claim.tokens[1] as usize];
        }
        let [input, output, cache_creation, cache_creation_1h, cache_read, reasoning] =
            claim.tokens.map(|tokens| Tokens(u64::from(tokens)));
        TokenUsage { input, output, cache_creation, cache_creation_1h, cache_read, reasoning }
    }

    /// The record a claim was made from, but for its tool and its bad counts, which the file's counts have.
    pub(super) fn record(&self, claim: &Claim) -> UsageRecord {
        let source = &self.sources[claim.source as usize];
        UsageRecord {
            tool: Tool::default(),
            session: self.sessions.text(source.session).clone(),
            agent: source.agent.checked_sub(1).map(|agent| self.agents.text(agent).clone()),
            sidechain: source.sidechain,
            id: self.id(claim),
            model: self.models.text(source.model).clone(),
            at: claim.at(),
            usage: self.usage(claim),
            place: claim.place(),
            bad_counts: 0,
        }
    }

    /// Claims held.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}
