use super::*;
use crate::ids::{ModelId, RequestId};
use crate::record::{Place, ResponseId};
use crate::time::Timestamp;
use crate::units::{TokenUsage, Tokens};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn record(message: Option<&str>, request: Option<&str>, sidechain: bool, output: u64, offset: u64) -> UsageRecord {
    UsageRecord {
        tool: Tool::ClaudeCode,
        session: SessionId::new("s"),
        agent: None,
        sidechain,
        id: ResponseId::of(message.map(MessageId::from), request.map(RequestId::from)),
        model: ModelId::new("m"),
        at: Some(Timestamp::from_unix_ms(1_000)),
        usage: TokenUsage { output: Tokens(output), ..TokenUsage::default() },
        place: Place { byte_offset: offset, index: 0 },
        bad_counts: 0,
    }
}

/// What the changes reported so far add up to: must always equal the sum over the responses.
#[derive(Default)]
struct Sum(i128, i64);

impl Sum {
    fn take(&mut self, change: Change<'_>) {
        let (sign, record) = match change {
            Change::Added(record) => (1, record),
            Change::Removed(record) => (-1, record),
        };
        self.0 += sign * i128::from(record.usage.total().0);
        self.1 += i64::try_from(sign).unwrap();
    }

    fn check(&self, ledger: &Ledger) {
        let total: u64 = ledger.responses(Scope::All).map(|r| r.usage.total().0).sum();
        assert_eq!(self.0, i128::from(total));
        assert_eq!(self.1, ledger.responses(Scope::All).count() as i64);
    }
}

#[test]
fn the_final_line_replaces_the_placeholder() {
    let (mut ledger, mut sum) = (Ledger::default(), Sum::default());
    let file = ledger.file(Tool::ClaudeCode, "a.jsonl");
    for (output, offset) in [(3, 0), (3, 10), (228, 20), (3, 30)] {
        ledger.claim(file, &record(Some("msg"), Some("req"), false, output, offset), &mut |c| sum.take(c));
        sum.check(&ledger);
    }
    assert_eq!(sum.0, 228);
    assert_eq!(ledger.responses(Scope::All).count(), 1);
}

#[test]
fn a_main_chain_line_voids_sidechain_lines_of_any_request() {
    let (mut ledger, mut sum) = (Ledger::default(), Sum::default());
    let (main, side) = (ledger.file(Tool::ClaudeCode, "a.jsonl"), ledger.file(Tool::ClaudeCode, "b.jsonl"));
    ledger.claim(side, &record(Some("msg"), Some("other"), true, 900, 0), &mut |c| sum.take(c));
    ledger.claim(side, &record(Some("msg"), None, true, 800, 1), &mut |c| sum.take(c));
    assert_eq!((sum.0, sum.1), (1_700, 2));
    ledger.claim(main, &record(Some("msg"), Some("req"), false, 5, 0), &mut |c| sum.take(c));
    assert_eq!((sum.0, sum.1), (5, 1));
    ledger.retract(main, &mut |c| sum.take(c));
    assert_eq!((sum.0, sum.1), (1_700, 2), "withdrawn, the sidechain counts again");
    sum.check(&ledger);
}

#[test]
fn records_without_an_id_count_by_themselves() {
    let (mut ledger, mut sum) = (Ledger::default(), Sum::default());
    let file = ledger.file(Tool::ClaudeCode, "a.jsonl");
    ledger.claim(file, &record(None, Some("req"), false, 5, 0), &mut |c| sum.take(c));
    ledger.claim(file, &record(None, Some("req"), false, 5, 1), &mut |c| sum.take(c));
    assert_eq!((sum.0, sum.1), (10, 2));
    ledger.retract(file, &mut |c| sum.take(c));
    assert_eq!((sum.0, sum.1), (0, 0));
}

#[test]
fn a_deleted_file_counts_except_on_disk() {
    let (mut ledger, mut sum) = (Ledger::default(), Sum::default());
    let file = ledger.file(Tool::ClaudeCode, "a.jsonl");
    ledger.claim(file, &record(Some("msg"), None, false, 5, 0), &mut |c| sum.take(c));
    ledger.archive(file);
    assert_eq!(ledger.responses(Scope::All).count(), 1);
    assert_eq!(ledger.responses(Scope::OnDisk).count(), 0);
}

/// Row `row` of a rollout whose rows up to it are those of every file with the same `row`.
fn row(session: &str, row: &str, at: i64) -> UsageRecord {
    UsageRecord {
        tool: Tool::Codex,
        id: ResponseId::Row(row.into()),
        session: session.into(),
        at: Some(Timestamp::from_unix_ms(at)),
        ..record(Some(row), None, false, 10, u64::try_from(at).unwrap())
    }
}

fn lineage(session: &str, parent: Option<&str>, began: i64) -> Lineage {
    let started_at = Some(Timestamp::from_unix_ms(began));
    Lineage { session: session.into(), parent: parent.map(SessionId::from), started_at }
}

#[test]
fn a_fork_repeats_its_parents_rows_whichever_is_read_first() {
    let (mut ledger, mut sum) = (Ledger::default(), Sum::default());
    let (fork, parent) = (ledger.file(Tool::Codex, "a"), ledger.file(Tool::Codex, "b"));
    ledger.lineage(fork, &lineage("fork", Some("parent"), 1), &mut |c| sum.take(c));
    for (name, at) in [("r1", 1), ("r2", 2), ("f3", 3)] {
        ledger.claim(fork, &row("fork", name, at), &mut |c| sum.take(c));
    }
    assert_eq!(sum.1, 3);
    // Late, and only after its first row, the file says which session it is.
    ledger.claim(parent, &row("stem", "r1", 9), &mut |c| sum.take(c));
    assert_eq!(sum.1, 4, "nothing is known of it: equal by chance");
    ledger.lineage(parent, &lineage("parent", None, 9), &mut |c| sum.take(c));
    sum.check(&ledger);
    assert_eq!(sum.1, 3);
    for (name, at) in [("r2", 10), ("p3", 11)] {
        ledger.claim(parent, &row("parent", name, at), &mut |c| sum.take(c));
        sum.check(&ledger);
    }
    let sessions = |ledger: &Ledger| {
        let mut all: Vec<_> =
            ledger.responses(Scope::All).map(|r| (r.session.to_string(), r.place.byte_offset)).collect();
        all.sort();
        all
    };
    let expected = [("fork", 3), ("parent", 9), ("parent", 10), ("parent", 11)];
    assert_eq!(sessions(&ledger), expected.map(|(session, at)| (session.to_owned(), at)));
    ledger.retract(parent, &mut |c| sum.take(c));
    sum.check(&ledger);
    assert_eq!(sum.1, 3);
}

#[test]
fn equal_rows_of_unrelated_sessions_are_different_responses() {
    let (mut ledger, mut sum) = (Ledger::default(), Sum::default());
    for (path, session) in [("a", "s1"), ("b", "s2"), ("c", "s3")] {
        let file = ledger.file(Tool::Codex, path);
        ledger.lineage(file, &lineage(session, None, 0), &mut |c| sum.take(c));
        ledger.claim(file, &row(session, "r1", 1), &mut |c| sum.take(c));
        ledger.claim(file, &row(session, "r1", 1), &mut |c| sum.take(c));
    }
    sum.check(&ledger);
    assert_eq!(sum.1, 3);
    assert_eq!(ledger.counts_of(Tool::Codex, Scope::All).0, 3);
}

#[cfg(not(target_arch = "wasm32"))]
mod properties {
    use super::*;
    use proptest::prelude::*;

    type Claimed = (u8, Option<u8>, Option<u8>, bool, u64);

    fn claims() -> impl Strategy<Value = Vec<Claimed>> {
        let id = || proptest::option::of(0u8..3);
        proptest::collection::vec((0u8..3, id(), id(), any::<bool>(), 0u64..5), 0..40)
    }

    fn build(claims: &[(usize, Claimed)], files: &[&str]) -> (Ledger, Sum) {
        let (mut ledger, mut sum) = (Ledger::default(), Sum::default());
        for &(offset, (file, message, request, side, output)) in claims {
            let message = message.map(|id| format!("m{id}"));
            let request = request.map(|id| format!("r{id}"));
            let record = record(message.as_deref(), request.as_deref(), side, output, offset as u64);
            let file = ledger.file(Tool::ClaudeCode, files[file as usize]);
            ledger.claim(file, &record, &mut |c| sum.take(c));
            sum.check(&ledger);
        }
        (ledger, sum)
    }

    fn outcome(ledger: &Ledger) -> Vec<String> {
        let mut all: Vec<_> = ledger.responses(Scope::All).map(|r| format!("{r:?}")).collect();
        all.sort();
        all
    }

    /// A rollout: session, parent, when it began, and its rows, by which they can be told from others.
    type Rollout = (u8, Option<u8>, i64, Vec<u8>);

    fn rollouts() -> impl Strategy<Value = Vec<Rollout>> {
        let rows = proptest::collection::vec(0u8..2, 0..4);
        let session = || 0u8..5;
        proptest::collection::vec((session(), proptest::option::of(session()), 0i64..3, rows), 1..6)
    }

    /// What is to be done with each rollout, in order: its lineage, and its rows by the names of all up to them.
    fn steps(rollouts: &[Rollout]) -> Vec<(usize, Option<(String, i64)>)> {
        let rows = |(file, rollout): (usize, &Rollout)| {
            let names = (1..=rollout.3.len()).map(|length| format!("{:?}", &rollout.3[..length]));
            let rows = names.enumerate().map(move |(at, name)| (file, Some((name, i64::try_from(at).unwrap()))));
            std::iter::once((file, None)).chain(rows.collect::<Vec<_>>())
        };
        rollouts.iter().enumerate().flat_map(rows).collect()
    }

    fn play(rollouts: &[Rollout], steps: &[(usize, Option<(String, i64)>)]) -> (Ledger, Sum) {
        let (mut ledger, mut sum) = (Ledger::default(), Sum::default());
        let name = |session: u8| format!("s{session}");
        for (at, step) in steps {
            let (session, parent, began, _) = &rollouts[*at];
            let file = ledger.file(Tool::Codex, &format!("f{at}"));
            match step {
                None => {
                    let lineage = lineage(&name(*session), parent.map(name).as_deref(), *began);
                    ledger.lineage(file, &lineage, &mut |c| sum.take(c));
                }
                Some((row_name, at)) => {
                    ledger.claim(file, &row(&name(*session), row_name, *at), &mut |c| sum.take(c));
                }
            }
            sum.check(&ledger);
        }
        (ledger, sum)
    }

    /// By the rule in words: files in order, each without the longest run it begins with that an earlier kin has.
    fn expected(rollouts: &[Rollout]) -> Vec<(String, usize)> {
        fn generation(rollouts: &[Rollout], at: usize, seen: &[u8]) -> usize {
            let Some(parent) = rollouts[at].1.filter(|parent| !seen.contains(parent)) else { return 0 };
            let Some(next) = rollouts.iter().position(|other| other.0 == parent) else { return 0 };
            1 + generation(rollouts, next, &[seen, &[parent]].concat())
        }
        let mut order: Vec<usize> = (0..rollouts.len()).collect();
        order.sort_by_key(|&at| (generation(rollouts, at, &[]), rollouts[at].2, at));
        let mut kept = Vec::new();
        for (place, &at) in order.iter().enumerate() {
            let (session, parent, _, rows) = &rollouts[at];
            let kin = order[..place].iter().map(|&other| &rollouts[other]).filter(|other| {
                other.0 == *session || parent.is_some_and(|parent| other.0 == parent || other.1 == Some(parent))
            });
            let run = |other: &Rollout| rows.iter().zip(&other.3).take_while(|(a, b)| a == b).count();
            let replayed = kin.map(run).max().unwrap_or(0);
            kept.extend((replayed..rows.len()).map(|row| (format!("s{session}"), row)));
        }
        kept.sort();
        kept
    }

    fn found(ledger: &Ledger, scope: Scope) -> Vec<(String, usize)> {
        let row = |r: UsageRecord| (r.session.to_string(), usize::try_from(r.place.byte_offset).unwrap());
        let mut all: Vec<_> = ledger.responses(scope).map(row).collect();
        all.sort();
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn forks_fold_by_the_rule_in_any_order(list in rollouts(), seed in any::<u64>(), gone in any::<prop::sample::Index>()) {
            let mut steps = steps(&list);
            steps.sort_by_key(|(file, step)| {
                let at = *file as u64 * 100 + step.as_ref().map_or(0, |(_, at)| at.unsigned_abs() + 1);
                at.wrapping_mul(seed | 1).rotate_left(23)
            });
            let (mut whole, mut sum) = play(&list, &steps);
            prop_assert_eq!(found(&whole, Scope::All), expected(&list));

            let (left, right): (Vec<_>, Vec<_>) = steps.iter().cloned().partition(|(file, _)| file % 2 == 1);
            let (mut merged, _) = play(&list, &left);
            merged.merge(play(&list, &right).0);
            prop_assert_eq!(found(&merged, Scope::All), expected(&list));
            let merged_gone = merged.file(Tool::Codex, &format!("f{}", gone.index(list.len())));
            merged.archive(merged_gone);

            let gone = gone.index(list.len());
            let file = whole.file(Tool::Codex, &format!("f{gone}"));
            // Not there, it is as if it had neither rows nor kin.
            let mut rest = list.clone();
            rest.remove(gone);
            for archived in [true, false, true] {
                if archived {
                    whole.archive(file);
                } else {
                    whole.file(Tool::Codex, &format!("f{gone}"));
                }
                prop_assert_eq!(found(&whole, Scope::OnDisk), expected(if archived { &rest } else { &list }));
                prop_assert_eq!(found(&whole, Scope::All), expected(&list));
            }
            prop_assert_eq!(found(&merged, Scope::OnDisk), expected(&rest));
            whole.retract(file, &mut |c| sum.take(c));
            sum.check(&whole);
            prop_assert_eq!(found(&whole, Scope::All), expected(&rest));
        }
    }

    proptest! {
        #[test]
        fn order_does_not_matter_and_merging_equals_reading(list in claims(), seed in any::<u64>()) {
            let files = ["a", "b", "c"];
            let list: Vec<_> = list.into_iter().enumerate().collect();
            let (whole, _) = build(&list, &files);
            let mut shuffled = list.clone();
            shuffled.sort_by_key(|(at, _)| (*at as u64).wrapping_mul(seed | 1).rotate_left(17));
            prop_assert_eq!(outcome(&whole), outcome(&build(&shuffled, &files).0));

            let (left, right): (Vec<_>, Vec<_>) = list.into_iter().partition(|(_, claim)| claim.0 == 1);
            let (mut merged, _) = build(&left, &files);
            merged.merge(build(&right, &files).0);
            prop_assert_eq!(outcome(&whole), outcome(&merged));
        }

        #[test]
        fn retracting_a_file_equals_never_having_read_it(list in claims(), gone in 0u8..3) {
            let files = ["a", "b", "c"];
            let list: Vec<_> = list.into_iter().enumerate().collect();
            let (mut ledger, mut sum) = build(&list, &files);
            let file = ledger.file(Tool::ClaudeCode, files[gone as usize]);
            ledger.retract(file, &mut |c| sum.take(c));
            sum.check(&ledger);
            let rest: Vec<_> = list.into_iter().filter(|(_, claim)| claim.0 != gone).collect();
            prop_assert_eq!(outcome(&ledger), outcome(&build(&rest, &files).0));
        }
    }

    /// What a store holds: every claim of every file, by file.
    type Stored = Vec<Vec<UsageRecord>>;

    /// Recalls all claims on a message, as whoever owns a ledger does before it takes a record.
    fn recall(ledger: &mut Ledger, stored: &Stored, files: &[FileId], message: MessageId) {
        if ledger.is_held(message) {
            return;
        }
        for (claims, &file) in stored.iter().zip(files) {
            claims.iter().filter(|it| it.id.message() == Some(message)).for_each(|it| ledger.recall(file, it));
        }
    }

    proptest! {
        #[test]
        fn releasing_what_is_stored_changes_nothing(
            list in claims(), released in proptest::collection::vec((0usize..40, 0u8..8), 0..4), gone in 0u8..3,
        ) {
            let names = ["a", "b", "c"];
            let (mut whole, mut part) = (Ledger::default(), Ledger::default());
            let (mut expected, mut sum) = (Sum::default(), Sum::default());
            let ids: Vec<FileId> = names.iter().map(|name| whole.file(Tool::ClaudeCode, name)).collect();
            names.iter().for_each(|name| assert!(part.file(Tool::ClaudeCode, name).0 < 3));
            let mut stored: Stored = vec![Vec::new(); names.len()];
            for (offset, (file, message, request, side, output)) in list.into_iter().enumerate() {
                let message = message.map(|id| format!("m{id}"));
                let request = request.map(|id| format!("r{id}"));
                let record = record(message.as_deref(), request.as_deref(), side, output, offset as u64);
                for (_, kept) in released.iter().filter(|(at, _)| *at == offset) {
                    part.release(|file| kept & (1 << file.0) != 0);
                }
                let at = usize::from(file);
                if let Some(message) = record.id.message() {
                    recall(&mut part, &stored, &ids, message);
                }
                whole.claim(ids[at], &record, &mut |c| expected.take(c));
                part.claim(ids[at], &record, &mut |c| sum.take(c));
                stored[at].push(record);
                prop_assert_eq!((sum.0, sum.1), (expected.0, expected.1));
            }
            let file = ids[usize::from(gone)];
            if !part.is_loaded(file) {
                for record in stored[usize::from(gone)].clone() {
                    if let Some(message) = record.id.message() { recall(&mut part, &stored, &ids, message) }
                }
                for record in stored[usize::from(gone)].clone().iter().filter(|it| it.id.message().is_none()) {
                    part.recall(file, record);
                }
            }
            whole.retract(file, &mut |c| expected.take(c));
            part.retract(file, &mut |c| sum.take(c));
            prop_assert_eq!((sum.0, sum.1), (expected.0, expected.1));
        }
    }
}
