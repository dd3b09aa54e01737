//! The words that stand for the core's enums in the database. Written once and never changed: old databases have them.

use dashboard_core::record::{ApiErrorKind, CompactionTrigger, LimitWindow, RejectReason, Tool};

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

codes! {
    Tool { ClaudeCode = "claude-code", Codex = "codex", }
    CompactionTrigger { Auto = "auto", Manual = "manual", Unknown = "unknown", }
    LimitWindow { FiveHour = "five_hour", SevenDay = "seven_day", SevenDayOpus = "seven_day_opus", }
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
