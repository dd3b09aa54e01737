//! What Claude Code says of its limits outside transcripts: to its status line, in its settings, and when asked.
//!
//! The formats change between versions: every field is optional, anything may be of any type, and what is not understood
//! is left out. Of the settings only two keys are looked at, and of those no name and no address.

use std::borrow::Cow;

use super::limit_named;

use crate::ids::{AccountId, ModelId, SessionId};
use crate::record::{
    AgentStatus, CachedUsage, LimitKey, LimitName, LimitScope, ReadingSource, StatedLimit, Statement, StatusLine, Tool,
};
use crate::time::Timestamp;
use crate::transcript::StatusLineFormat;
use crate::transcript::json::{self, Count, Value};
use crate::units::{Money, Tokens};

/// Most limits read of one statement.
const MAX_LIMITS: usize = 32;
/// Numbers beyond are times in milliseconds, not seconds, since 1970.
const SECONDS_MOST: f64 = 1e11;

/// What Claude Code hands to its status lines.
pub(super) const STATUS_LINE: StatusLineFormat =
    StatusLineFormat { read: status_line, keep: keep_status_line, agents: agent_status };

/// Most bytes kept of one field of a status line's JSON: what is longer is none of those numbers that are wanted.
const MAX_KEPT: usize = 4 << 10;
/// Most subagents of one status line.
const MAX_AGENTS: usize = 256;

/// Of what the tool hands to its status line, what [`status_line`] reads.
fn keep_status_line(text: &[u8], at: Timestamp) -> Option<Vec<u8>> {
    const NAMES: [&str; 7] =
        ["session_id", "transcript_path", "version", "context_window", "cost", "rate_limits", "prompt_cache"];
    let document = json::document(text)?;
    let [model] = document.fields(&["model"]);
    let [model] = model.fields(&["id"]);
    let mut kept = format!(r#"{{"relayed_at_ms":{}"#, at.unix_ms()).into_bytes();
    let mut keep = |before: &str, value: Value<'_>, after: &str| {
        if !value.is_null() && value.bytes().len() <= MAX_KEPT {
            kept.extend_from_slice(before.as_bytes());
            kept.extend_from_slice(value.bytes());
            kept.extend_from_slice(after.as_bytes());
        }
    };
    for (name, value) in NAMES.into_iter().zip(document.fields(&NAMES)) {
        keep(&format!(r#","{name}":"#), value, "");
    }
    keep(r#","model":{"id":"#, model, "}");
    kept.push(b'}');
    Some(kept)
}

/// The subagents of which the tool wants a line each.
fn agent_status(text: &[u8]) -> Option<Vec<AgentStatus>> {
    let [tasks] = json::document(text)?.fields(&["tasks"]);
    let mut agents = Vec::new();
    tasks.each_object(&["id", "tokenCount", "contextWindowSize", "model"], |[id, tokens, window, model]| {
        if let Some(id) = id.id().filter(|_| agents.len() < MAX_AGENTS) {
            let model = model.id().map(|id| ModelId::new(&*id));
            let (tokens, window) = (positive(tokens).map(Tokens), positive(window).map(Tokens));
            agents.push(AgentStatus { id: id.into_owned(), tokens, window, model });
        }
    });
    tasks.is_array().then_some(agents)
}

/// Reads what the tool hands to its status line, or what a relay has kept of it.
fn status_line(text: &[u8]) -> Option<StatusLine> {
    const NAMES: [&str; 7] =
        ["session_id", "transcript_path", "model", "context_window", "cost", "rate_limits", "relayed_at_ms"];
    let [session, transcript_path, model, context, cost, limits, relayed_at] = json::document(text)?.fields(&NAMES);
    let [model] = model.fields(&["id"]);
    let [window, percent, usage] = context.fields(&["context_window_size", "used_percentage", "current_usage"]);
    // The totals beside it are of the whole session in older versions.
    let parts = usage.fields(&["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"]);
    let parts = parts.map(Value::count);
    let is_known = parts.iter().any(|part| matches!(part, Count::Is(_)));
    let sum = parts.iter().map(|part| if let Count::Is(tokens) = part { Tokens(*tokens) } else { Tokens::ZERO }).sum();
    let [usd, api_ms] = cost.fields(&["total_cost_usd", "total_api_duration_ms"]);
    Some(StatusLine {
        session: session.id().map(|id| SessionId::new(&*id)),
        transcript_path: transcript_path.id().map(Cow::into_owned),
        model: model.id().map(|id| ModelId::new(&*id)),
        context_used: is_known.then_some(sum),
        context_window: positive(window).map(Tokens),
        context_percent: percent.number().filter(|percent| (0.0..=100.0).contains(percent)),
        cost: usd.number().and_then(Money::from_usd),
        api_ms: api_ms.number().filter(|ms| *ms >= 0.0).map(whole),
        limits: windows(limits, &["used_percentage", "utilization"]),
        relayed_at: positive(relayed_at).map(|ms| Timestamp::from_unix_ms(ms.cast_signed())),
    })
}

/// Reads `cachedUsageUtilization` in the tool's settings, and whose it is.
pub(super) fn cached_usage(text: &[u8]) -> Option<CachedUsage> {
    let [cached, account] = json::document(text)?.fields(&["cachedUsageUtilization", "oauthAccount"]);
    let [fetched_at, utilization, own] = cached.fields(&["fetchedAtMs", "utilization", "accountUuid"]);
    let [person, organization] = account.fields(&["accountUuid", "organizationUuid"]);
    // One person can belong to organisations with limits of their own.
    let named = [own, person, organization].map(|id| id.id().map(Cow::into_owned).unwrap_or_default());
    let [own, person, organization] = named;
    let person = if own.is_empty() { person } else { own };
    let account = (!person.is_empty() || !organization.is_empty())
        .then(|| AccountId::of(&format!("{}/{person}/{organization}", Tool::ClaudeCode.as_str())));
    let fetched_at = positive(fetched_at).map(|ms| Timestamp::from_unix_ms(ms.cast_signed()));
    Some(CachedUsage { account, fetched_at, limits: usage_limits(utilization) })
}

/// Reads the answer to a `get_usage` request: none if it is no such answer, or says that there are no limits.
pub(super) fn usage_answer(answer: &[u8], at: Timestamp) -> Option<Statement> {
    let [limits, available] = json::document(answer)?.fields(&["rate_limits", "rate_limits_available"]);
    let limits = if available.is_false() { Vec::new() } else { usage_limits(limits) };
    Some(Statement { tool: Tool::ClaudeCode, source: ReadingSource::UsageRequest, account: None, at, limits })
}

/// Limits as the vendor's answer on usage has them: windows by name, beside them lists of scoped ones.
fn usage_limits(answer: Value<'_>) -> Vec<StatedLimit> {
    let mut limits = windows(answer, &["utilization", "used_percentage"]);
    let [listed, scoped] = answer.fields(&["limits", "model_scoped"]);
    listed.each_object(&["kind", "percent", "resets_at", "scope"], |[kind, percent, resets_at, scope]| {
        let [model] = scope.fields(&["model"]);
        let [name] = model.fields(&["display_name"]);
        let limit = match kind.text().as_deref() {
            Some("session") => Some(LimitKey::five_hour(Tool::ClaudeCode)),
            Some("weekly_all") => Some(LimitKey::weekly(Tool::ClaudeCode)),
            Some("weekly_scoped") => name.id().and_then(|name| weekly_of(&name)),
            _ => None,
        };
        add(&mut limits, limit, percent, resets_at);
    });
    scoped.each_object(&["display_name", "utilization", "resets_at"], |[name, percent, resets_at]| {
        add(&mut limits, name.id().and_then(|name| weekly_of(&name)), percent, resets_at);
    });
    limits
}

/// The weekly limit on a model by its name for people, such as `Opus` or `Claude Opus 4.5`.
fn weekly_of(name: &str) -> Option<LimitKey> {
    let words = || name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let family = words().find_map(|word| {
        let limit = limit_named(&format!("seven_day_{}", word.to_ascii_lowercase()))?;
        matches!(limit.scope, LimitScope::Family(_)).then_some(limit)
    });
    let other =
        || Some(LimitKey { scope: LimitScope::Other(LimitName::new(name)?), ..LimitKey::weekly(Tool::ClaudeCode) });
    family.or_else(other)
}

/// The members named like a limit's window, with the share under the first of these names that is there.
fn windows(limits: Value<'_>, percents: &[&str; 2]) -> Vec<StatedLimit> {
    let mut found = Vec::new();
    for (name, window) in limits.members(MAX_LIMITS) {
        let [percent, other, resets_at] = window.fields(&[percents[0], percents[1], "resets_at"]);
        let percent = if percent.is_null() { other } else { percent };
        add(&mut found, limit_named(&name), percent, resets_at);
    }
    found
}

/// Adds a limit, unless it is there already or nothing is said of it.
fn add(limits: &mut Vec<StatedLimit>, limit: Option<LimitKey>, percent: Value<'_>, resets_at: Value<'_>) {
    let Some(limit) = limit.filter(|limit| limits.len() < MAX_LIMITS && limits.iter().all(|it| it.limit != *limit))
    else {
        return;
    };
    let (used_percent, resets_at) = (percent.number(), instant(resets_at));
    if used_percent.is_some() || resets_at.is_some() {
        limits.push(StatedLimit { limit, used_percent, resets_at, rejected: false });
    }
}

/// An instant, however it is written: seconds or milliseconds since 1970, or as text.
fn instant(value: Value<'_>) -> Option<Timestamp> {
    let seconds = |seconds: f64| if seconds > SECONDS_MOST { seconds / 1000.0 } else { seconds };
    #[expect(clippy::cast_possible_truncation, reason = "saturates, and a timestamp is kept within its years")]
    let number = value.number().map(|number| Timestamp::from_unix_ms((seconds(number) * 1000.0) as i64));
    number.or_else(|| value.timestamp())
}

fn positive(value: Value<'_>) -> Option<u64> {
    match value.count() {
        Count::Is(0) | Count::Absent | Count::Bad => None,
        Count::Is(number) => Some(number),
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn whole(number: f64) -> u64 {
    number as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn brief(limits: &[StatedLimit]) -> Vec<(String, Option<f64>, Option<String>)> {
        let brief = |it: &StatedLimit| (it.limit.window_text(), it.used_percent, it.resets_at.map(|at| at.to_string()));
        limits.iter().map(brief).collect()
    }

    fn limit(text: &str, percent: f64, reset: &str) -> (String, Option<f64>, Option<String>) {
        (text.to_owned(), Some(percent), Some(reset.to_owned()))
    }

    #[test]
    fn a_status_line_of_today() {
        let text = br#"{"hook_event_name":"Status","session_id":"s1","session_name":"a secret","transcript_path":"/c/projects/p/s1.jsonl",
            "cwd":"/home/ada","model":{"id":"claude-opus-4-7[1m]","display_name":"Opus"},"version":"2.1.260",
            "cost":{"total_cost_usd":1.25,"total_duration_ms":45000,"total_api_duration_ms":2300},
            "context_window":{"total_input_tokens":9,"context_window_size":1000000,"used_percentage":8,"current_usage":{"input_tokens":8500,"output_tokens":1200,"cache_creation_input_tokens":5000,"cache_read_input_tokens":66500}},
            "rate_limits":{"five_hour":{"used_percentage":23.5,"resets_at":1789927200},"seven_day":{"used_percentage":41,"resets_at":"2026-09-25T00:00:00Z"},"spend_limit":{"used_usd":3}}}"#;
        let line = status_line(text).unwrap();
        assert_eq!(
            brief(&line.limits),
            [limit("300", 23.5, "2026-09-20T18:00:00.000Z"), limit("10080", 41.0, "2026-09-25T00:00:00.000Z")]
        );
        assert_eq!((line.context_used, line.context_window), (Some(Tokens(80_000)), Some(Tokens(1_000_000))));
        assert_eq!((line.context_percent, line.api_ms), (Some(8.0), Some(2300)));
        assert_eq!(line.session.unwrap().as_str(), "s1");
        assert_eq!(line.model.unwrap().as_str(), "claude-opus-4-7[1m]");
        assert_eq!(line.cost, Money::from_usd(1.25));
    }

    #[test]
    fn what_a_relay_keeps_says_the_same_and_no_word_of_the_session() {
        let text = br#"{"session_id":"s1","session_name":"a secret","cwd":"/home/a secret","model":{"id":"m[1m]","display_name":"a secret"},
            "workspace":{"current_dir":"a secret"},"cost":{"total_api_duration_ms":7},"rate_limits":{"five_hour":{"used_percentage":1,"resets_at":1789927200}},
            "context_window":{"context_window_size":200000},"version":"2.1.260","transcript_path":"/p"}"#;
        let at = Timestamp::from_unix_ms(1_789_912_800_000);
        let kept = keep_status_line(text, at).unwrap();
        assert!(!String::from_utf8_lossy(&kept).contains("secret"));
        let (read, before) = (status_line(&kept).unwrap(), status_line(text).unwrap());
        assert_eq!(read, StatusLine { relayed_at: Some(at), ..before });
        let wild =
            format!(r#"{{"session_id":"{}","cost":[{{"a":1}}],"model":7,"rate_limits":null}}"#, "x".repeat(MAX_KEPT));
        assert_eq!(
            keep_status_line(wild.as_bytes(), at).unwrap(),
            br#"{"relayed_at_ms":1789912800000,"cost":[{"a":1}]}"#
        );
        assert_eq!(keep_status_line(b"[]", at), None);
    }

    #[test]
    fn subagents_are_named_as_the_answer_has_to_name_them() {
        let text = br#"{"tasks":[{"id":"a1","name":"x","tokenCount":1200,"contextWindowSize":200000,"model":"m"},{"id":7},{"id":"a2","tokenCount":"x"},3]}"#;
        let found = agent_status(text).unwrap();
        let brief: Vec<_> = found.iter().map(|it| (it.id.as_str(), it.tokens, it.window)).collect();
        assert_eq!(brief, [("a1", Some(Tokens(1200)), Some(Tokens(200_000))), ("a2", None, None)]);
        assert_eq!(agent_status(b"{}"), None);
    }

    #[test]
    fn what_is_missing_or_of_another_type_is_left_out() {
        assert_eq!(status_line(b"{}"), Some(StatusLine::default()));
        for wrong in ["", "[]", "7", "{", "nonsense"] {
            assert_eq!(status_line(wrong.as_bytes()), None, "{wrong}");
        }
        let wild = br#"{"session_id":7,"model":"m","context_window":[],"cost":"x","rate_limits":{"five_hour":7,"seven_day":{"used_percentage":"12","resets_at":[]},"seven_day_opus":null}}"#;
        assert_eq!(status_line(wild), Some(StatusLine::default()));
        let half = br#"{"rate_limits":{"seven_day":{"used_percentage":12}},"context_window":{"used_percentage":null,"current_usage":null}}"#;
        let half = status_line(half).unwrap();
        assert_eq!(brief(&half.limits), [("10080".to_owned(), Some(12.0), None)]);
        assert_eq!((half.context_used, half.context_percent), (None, None));
    }

    #[test]
    fn the_cached_answer_with_its_age_and_account() {
        let text = |account: &str| {
            format!(
                r#"{{"projects":{{"/home/ada":{{"history":["a secret"]}}}},"oauthAccount":{account},
                "cachedUsageUtilization":{{"fetchedAtMs":1789912800000,"utilization":{{
                    "five_hour":{{"utilization":46,"resets_at":"2026-09-20T18:00:00.512+00:00"}},"seven_day":{{"utilization":9.5,"resets_at":null}},
                    "seven_day_opus":null,"extra_usage":{{"is_enabled":false}},
                    "limits":[{{"kind":"session","percent":99,"resets_at":null}},
                              {{"kind":"weekly_scoped","percent":95,"resets_at":"2026-09-25T00:00:00Z","scope":{{"model":{{"display_name":"Claude Opus 4.5"}}}}}},
                              {{"kind":"weekly_scoped","percent":5,"scope":{{"model":{{"display_name":"Cowork"}}}}}},{{"kind":"other","percent":1}},7]}}}}}}"#
            )
        };
        let cached =
            cached_usage(text(r#"{"accountUuid":"a","organizationUuid":"o","emailAddress":"x@y"}"#).as_bytes())
                .unwrap();
        assert_eq!(cached.fetched_at.unwrap().to_string(), "2026-09-20T14:00:00.000Z");
        assert_eq!(
            brief(&cached.limits),
            [
                limit("300", 46.0, "2026-09-20T18:00:00.512Z"),
                ("10080".to_owned(), Some(9.5), None),
                limit("10080/opus", 95.0, "2026-09-25T00:00:00.000Z"),
                ("10080/other:cowork".to_owned(), Some(5.0), None),
            ]
        );
        let other = cached_usage(text(r#"{"accountUuid":"a","organizationUuid":"p"}"#).as_bytes()).unwrap();
        assert!(cached.account.is_some() && cached.account != other.account, "two organisations of one person");
        assert_eq!(cached_usage(text("null").as_bytes()).unwrap().account, None);
        assert_eq!(cached_usage(b"{}"), Some(CachedUsage::default()));
    }

    #[test]
    fn the_answer_to_a_request() {
        let at = Timestamp::from_unix_ms(1);
        let answer = br#"{"subscription_type":"max","rate_limits_available":true,"rate_limits":{"five_hour":{"utilization":12,"resets_at":"2026-09-20T18:00:00Z"},
            "model_scoped":[{"display_name":"Sonnet","utilization":3,"resets_at":null}]}}"#;
        let found = usage_answer(answer, at).unwrap();
        assert_eq!(
            brief(&found.limits),
            [limit("300", 12.0, "2026-09-20T18:00:00.000Z"), ("10080/sonnet".to_owned(), Some(3.0), None)]
        );
        let none = br#"{"rate_limits_available":false,"rate_limits":{"five_hour":{"utilization":0}}}"#;
        assert_eq!(usage_answer(none, at).unwrap().limits, []);
        assert_eq!(usage_answer(b"[]", at), None);
    }
}
