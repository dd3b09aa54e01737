//! How the parts of a state that stand in one object with an event's fields are read.
//!
//! Their curves are left out of an update on the wire, so an update is read as a part of the state without a curve, and
//! both have one reader.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{ContextWindow, LimitState};
use crate::flat::beside;

impl<'de> Deserialize<'de> for ContextWindow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = ContextWindow;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a context window")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ContextWindow, A::Error> {
                let mut points = Vec::new();
                let now = beside(map, |name, map| {
                    let is_ours = name == "points";
                    if is_ours {
                        points = map.next_value()?;
                    }
                    Ok(is_ours)
                })?;
                Ok(ContextWindow { now, points })
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

impl<'de> Deserialize<'de> for LimitState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = LimitState;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a limit")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<LimitState, A::Error> {
                let (mut points, mut reopened_at) = (Vec::new(), None);
                let now = beside(map, |name, map| {
                    match name {
                        "points" => points = map.next_value()?,
                        "reopened_at" => reopened_at = map.next_value()?,
                        _ => return Ok(false),
                    }
                    Ok(true)
                })?;
                Ok(LimitState { now, points, reopened_at })
            }
        }
        deserializer.deserialize_map(Fields)
    }
}
