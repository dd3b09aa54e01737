//! Alerts: what the user can act on, and which of it is news.
//!
//! A [`Condition`] is typed: what is so, with its numbers and ids. It is derived from the state by one table of
//! [rules](rules), so it is gone when its cause is. [`Arming`] says which conditions are news: each level once per
//! window of a limit, or per fill of a context; [`Silences`] what the user wants to hear no more of. No sentence
//! travels in an event or a snapshot; [`words`] has them.

mod arming;
mod condition;
mod rules;
mod silence;
#[cfg(test)]
mod tests;
pub mod words;

pub use arming::{AlertMemory, Arming, News};
pub use condition::{Alert, AlertSubject, BudgetPeriod, Condition, Occasion, Urgency};
pub use rules::{RESET_SHOWN_MS, alerts, is_held, open, warning};
pub use silence::Silences;
