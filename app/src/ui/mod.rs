//! Primitives of the page: shapes, words and geometry.
//!
//! Nothing in here knows of sessions, quotas or the store. A primitive takes signals of values
//! that are ready to be shown and touches the DOM only where one changed.

pub(crate) mod chart;
mod chip;
mod control;
mod figure;
mod icon;
mod meter;
mod table;

pub(crate) use chip::{LevelChip, ProvenanceChip, Verdict};
pub(crate) use control::{Filters, Segments};
pub(crate) use figure::{Derived, Figure, calc, dynamic, metric};
pub(crate) use icon::{Icon, LevelIcon, Sprite};
pub(crate) use meter::Meter;
pub(crate) use table::{AsTable, Rows};
