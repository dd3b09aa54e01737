//! The words that stand for the core's enums in the database. Written once and never changed: old databases have them.

use dashboard_core::record::{CompactionTrigger, LimitWindow, RejectReason, Tool};

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
    LimitWindow { FiveHour = "five_hour", SevenDay = "seven_day", SevenDayOpus = "seven_day_opus", }
    RejectReason {
        NotJson = "not_json",
        NotAnObject = "not_an_object",
        OnlyNul = "only_nul",
        NulInside = "nul_inside",
        TooLong = "too_long",
        TooDeep = "too_deep",
    }
}
