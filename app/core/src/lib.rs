//! The shared core: what the numbers mean.
//!
//! The same code runs natively in the server and as WebAssembly in the page, so a figure is
//! computed by one rule wherever it is shown. The chain is
//!
//! ```text
//! bytes ──transcript──▶ records ──ledger, tracker──▶ events ──state──▶ what a view shows
//! ```
//!
//! Nothing in here performs I/O, reads a clock, spawns a thread or knows of Leptos: time is an
//! argument, and every collection that reaches an output is ordered, so that native and WASM
//! agree to the byte.

pub mod accounts;
pub mod alert;
pub mod connection;
pub mod drift;
pub mod event;
mod flat;
pub mod forecast;
pub mod format;
pub mod history;
pub mod ids;
pub mod ledger;
pub mod level;
pub mod order;
pub mod price;
pub mod protocol;
pub mod record;
pub mod replay;
pub mod report;
pub mod session;
pub mod settings;
pub mod simulator;
pub mod state;
pub mod time;
mod tools;
pub mod tracker;
pub mod transcript;
pub mod units;
pub mod until;
pub mod worker;
