//! What holds of any history: however responses are grouped, they add up to the same.

use proptest::prelude::*;

use super::*;
use crate::history::{Ingest, Response, Sessions};
use crate::ids::{ModelId, SessionId};
use crate::record::{Record, SessionMeta, Tool};
use crate::units::{TokenUsage, Tokens};

type Made = (bool, u8, u8, Option<i64>, [u64; 5]);

fn made() -> impl Strategy<Value = Vec<Made>> {
    // Two years and a bit. Sums stay below nine million dollars, where money saturates and order would matter.
    let apart = 1_700_000_000_000_i64..1_770_000_000_000;
    // A few hours around now, some exactly on quarter hours, some ahead of now.
    let near = -40_i64..8;
    let near = (near, 0_i64..3).prop_map(|(quarter, part)| 1_770_000_300_000 + quarter * QUARTER_MS + part * 333_333);
    let at = prop::option::weighted(0.9, prop_oneof![apart, near]);
    let count = prop_oneof![9 => 0_u64..2_000_000, 1 => 0_u64..100_000_000];
    prop::collection::vec((any::<bool>(), 0_u8..6, 0_u8..4, at, prop::array::uniform5(count)), 0..60)
}

fn filters() -> impl Strategy<Value = Filter> {
    let day = (0_u32..900)
        .prop_map(|days| DaySpec::Ago(days).on(ZoneOffsets::utc().day(Timestamp::from_unix_ms(1_770_000_000_000))));
    let tool = prop::option::weighted(0.2, prop::sample::select(Tool::ALL.to_vec()));
    let model = prop::option::weighted(0.2, Just("opus".to_owned()));
    let project = prop::option::weighted(0.2, prop::sample::select(vec!["p1".to_owned(), String::new()]));
    let days = prop::option::weighted(0.3, (day.clone(), day));
    (days, tool, model, project).prop_map(|(days, tool, model, project)| {
        let days = days.map(|(a, b)| (a.min(b), a.max(b)));
        Filter { since: days.map(|(since, _)| since), until: days.map(|(_, until)| until), project, model, tool }
    })
}

fn sums(report: &Report) -> (Figures, Figures, Figures) {
    fn of<R>(table: &Table<R>, figures: fn(&R) -> &Figures) -> (Figures, Figures, Figures) {
        let mut sum = Figures::default();
        table.rows.iter().for_each(|row| sum += figures(row));
        (sum, table.undated.clone(), table.totals.clone())
    }
    match report {
        Report::Periods(table) => of(table, |row| &row.figures),
        Report::Sessions(table) => of(table, |row| &row.figures),
        Report::Blocks(table) => of(table, |row| &row.figures),
        Report::Models(table) => of(table, |row| &row.figures),
        Report::Projects(table) => of(table, |row| &row.figures),
        Report::Totals(_) | Report::Audit(_) => unreachable!("has no rows"),
    }
}

proptest! {
    #[test]
    fn every_grouping_adds_up_to_the_totals(
        made in made(), filter in filters(), offset_h in -12_i32..14, rotate in 0_usize..60,
    ) {
        let names = ["claude-opus-4-5", "claude-sonnet-4-5", "claude-haiku-5-5", "from-the-future"];
        let models = names.map(ModelId::from);
        let ids: Vec<SessionId> = (0..6).map(|i| SessionId::from(format!("s{i}").as_str())).collect();
        let mut sessions = Sessions::default();
        for (i, id) in ids.iter().enumerate().take(5) {
            sessions.record(&Record::Session(SessionMeta {
                tool: Tool::ClaudeCode, session: id.clone(), agent: None, cwd: Some(format!("/p{}", i % 3)),
                branch: None, version: None, at: None,
            }));
        }
        let mut responses: Vec<Response<'_>> = made.iter().map(|&(codex, session, model, at, count)| Response {
            tool: if codex { Tool::Codex } else { Tool::ClaudeCode },
            session: &ids[usize::from(session)],
            model: &models[usize::from(model)],
            at: at.map(Timestamp::from_unix_ms),
            usage: TokenUsage {
                input: Tokens(count[0]), output: Tokens(count[1]), cache_creation: Tokens(count[2]),
                cache_creation_1h: Tokens(count[3].min(count[2])), cache_read: Tokens(count[4]),
                reasoning: Tokens(count[1] / 2),
            },
        }).collect();
        let (ingest, prices, retention) = (Ingest::default(), PriceTable::embedded(), Retention::default());
        let zone = ZoneOffsets::new(vec![(Timestamp::default(), offset_h * 3600)]);
        let now = Timestamp::from_unix_ms(1_770_000_000_000);
        let basis = ReportContext {
            sessions: &sessions, ingest: &ingest, prices: &prices, zone: &zone, now, filter: &filter,
            retention: &retention,
        };
        let report = |kind, responses: &[Response<'_>]| {
            Report::new(kind, basis, responses.iter().map(|response| UsageRow::of(response, &prices)))
        };
        let Report::Totals(totals) = report(ReportKind::Totals, &responses) else { unreachable!() };
        prop_assert_eq!(totals.figures.tools.values().map(|sum| sum.responses).sum::<u64>(), totals.figures.all.responses);
        for kind in [ReportKind::Sessions, ReportKind::Models, ReportKind::Projects] {
            let (sum, _, all) = sums(&report(kind, &responses));
            prop_assert_eq!(&sum, &totals.figures, "{}", kind);
            prop_assert_eq!(&all, &totals.figures, "{}", kind);
        }
        for kind in [ReportKind::Daily, ReportKind::Weekly, ReportKind::Monthly] {
            let (mut sum, undated, all) = sums(&report(kind, &responses));
            prop_assert_eq!(undated.all.responses, totals.undated);
            sum += &undated;
            prop_assert_eq!(&sum, &totals.figures, "{}", kind);
            prop_assert_eq!(&all, &totals.figures, "{}", kind);
        }
        let (mut sum, undated, all) = sums(&report(ReportKind::Blocks, &responses));
        sum += &undated;
        prop_assert_eq!(&sum, &all);
        if !filter.names_days() {
            prop_assert_eq!(&all, &totals.figures, "blocks");
        }
        // The order of responses changes nothing, to the byte.
        let before = ReportKind::ALL.map(|kind| serde_json::to_string(&report(kind, &responses)).unwrap());
        let middle = rotate.min(responses.len());
        responses.rotate_left(middle);
        responses.reverse();
        let after = ReportKind::ALL.map(|kind| serde_json::to_string(&report(kind, &responses)).unwrap());
        prop_assert_eq!(&before, &after);
        // Neither does it matter whether they are summed up, as the store does.
        let summed = |kind| serde_json::to_string(&Report::new(kind, basis, summed(&responses, &prices, now).into_iter()));
        prop_assert_eq!(before, ReportKind::ALL.map(|kind| summed(kind).unwrap()));
    }
}

/// Rows of sums, those on both sides of a cut apart.
fn summed<'a>(responses: &[Response<'a>], prices: &PriceTable, now: Timestamp) -> Vec<UsageRow<'a>> {
    let mut rows: std::collections::HashMap<_, UsageRow<'a>> = std::collections::HashMap::new();
    for (index, response) in responses.iter().enumerate() {
        let row = UsageRow::of(response, prices);
        let slot = row.slot();
        let is_cut = slot.is_some_and(|slot| {
            cuts(now, None).any(|cut| slot.quarter <= cut && cut < slot.quarter.plus_ms(QUARTER_MS))
        });
        let key = (slot, row.tool, row.session, row.model, row.class, is_cut.then_some(index));
        match rows.entry(key) {
            std::collections::hash_map::Entry::Vacant(none) => drop(none.insert(row)),
            std::collections::hash_map::Entry::Occupied(mut known) => {
                let known = known.get_mut();
                known.usage += row.usage;
                known.responses += 1;
                known.with_tokens += row.with_tokens;
                known.span = usage::joined(known.span, row.span);
            }
        }
    }
    rows.into_values().collect()
}
