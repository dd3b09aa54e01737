//! The words that stand for the core's enums in the database. Written once and never changed: old databases have them.

use std::borrow::Cow;

use dashboard_core::record::{ApiErrorKind, CompactionTrigger, LimitKey, RejectReason, Tool};

macro_rules! codes {
    ($($type:ident { $($variant:ident = $code:literal,)* })*) => {$(
        impl Code for $type {
            fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            fn of(code: &str) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }
        }
    )*};
}

/// An enum with a word for each value.
pub(super) trait Code: Sized {
    /// The word for this value.
    fn code(self) -> &'static str;
    /// The value a word stands for; none if a later dashboard wrote it.
    fn of(code: &str) -> Option<Self>;
}

impl Code for Tool {
    fn code(self) -> &'static str {
        self.as_str()
    }

    fn of(code: &str) -> Option<Self> {
        code.parse().ok()
    }
}

codes! {
    CompactionTrigger { Auto = "auto", Manual = "manual", Unknown = "unknown", }
    ApiErrorKind {
        RateLimit = "rate_limit",
        AuthenticationFailed = "authentication_failed",
        BillingError = "billing_error",
        Overloaded = "overloaded",
        ServerError = "server_error",
        InvalidRequest = "invalid_request",
        Other = "other",
    }
    RejectReason {
        NotJson = "not_json",
        NotAnObject = "not_an_object",
        OnlyNul = "only_nul",
        NulInside = "nul_inside",
        TooLong = "too_long",
        TooDeep = "too_deep",
    }
}

/// Words of the first version for limits, without the tool, which the file says.
const LIMITS_V1: [(&str, &str); 3] = [("five_hour", "300"), ("seven_day", "10080"), ("seven_day_opus", "10080/opus")];

/// The word for a limit of a file's tool: that of the first version where it had one, else `[@<account>/]<window>[/<scope>]`.
pub(super) fn limit_code(limit: &LimitKey) -> Cow<'static, str> {
    let window = limit.window_text();
    if let Some(account) = limit.account {
        return format!("@{account}/{window}").into();
    }
    let known = LIMITS_V1.iter().find(|(_, text)| *text == window);
    known.map_or_else(|| window.into(), |(code, _)| Cow::Borrowed(*code))
}

/// The limit that a word stands for; `None` if a later dashboard wrote it.
pub(super) fn limit_of(tool: Tool, code: &str) -> Option<LimitKey> {
    let code = LIMITS_V1.iter().find(|(word, _)| *word == code).map_or(code, |(_, text)| *text);
    match code.strip_prefix('@').map(|rest| rest.split_once('/')) {
        Some(Some((account, window))) => LimitKey::from_window_text(tool, Some(account.parse().ok()?), window),
        Some(None) => None,
        None => LimitKey::from_window_text(tool, None, code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dashboard_core::ids::AccountId;

    #[test]
    fn limits_keep_their_first_words_and_new_ones_are_written_out() {
        let weekly = LimitKey::weekly(Tool::ClaudeCode);
        let with_account = LimitKey { account: Some(AccountId::of("a")), ..weekly.clone() };
        for (limit, code) in [
            (LimitKey::five_hour(Tool::Codex), Some("five_hour")),
            (weekly.clone(), Some("seven_day")),
            (weekly.clone().of_family("opus"), Some("seven_day_opus")),
            (weekly.of_family("sonnet"), Some("10080/sonnet")),
            (with_account, None),
        ] {
            let written = limit_code(&limit);
            assert!(code.is_none_or(|code| code == written), "{written}");
            assert_eq!(limit_of(limit.tool, &written), Some(limit));
        }
        assert_eq!(limit_of(Tool::ClaudeCode, "fortnight"), None);
        assert_eq!(limit_of(Tool::ClaudeCode, "@x"), None);
    }
}
