//! How an event is read from the wire: by its `type`, without a copy of its `data` in between.
//!
//! Written by hand, because what serde derives fails at a `type` it does not know, and holds `data` in memory until it
//! has seen the `type`. A page outlives its server: an event of a newer one is [`Event::Unknown`], keeps its number, and
//! the events after it are read. `type` has to come before `data`, as the server writes it.

use std::fmt;

use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::{Event, SequencedEvent};
use crate::state::{ContextWindow, LimitState};

/// Longest `type` of an unknown event that is kept, in characters.
const KIND_CHARS: usize = 64;

/// An event of a type this build does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnknownEvent {
    /// Its `type`, cut to 64 characters. Its `data` is not kept.
    pub kind: String,
}

macro_rules! wire_types {
    (read $data:ident as $variant:ident) => { Deserialize::deserialize($data).map(Event::$variant) };
    // What the state holds beside a curve is read as the state reads it, so that there is one reader of both.
    (read $data:ident as $variant:ident, a part of $whole:ident) => {
        $whole::deserialize($data).map(|whole| Event::$variant(whole.now))
    };
    ($($name:literal => $variant:ident $(in $whole:ident)?,)*) => {
        impl<'de> DeserializeSeed<'de> for DataOf<'_> {
            type Value = Event;

            fn deserialize<D: Deserializer<'de>>(self, data: D) -> Result<Event, D::Error> {
                match self.0 {
                    $($name => wire_types!(read data as $variant $(, a part of $whole)?),)*
                    unknown => {
                        IgnoredAny::deserialize(data)?;
                        Ok(Event::Unknown(UnknownEvent { kind: unknown.chars().take(KIND_CHARS).collect() }))
                    }
                }
            }
        }

        /// Does not compile while a variant of [`Event`] is missing in the list below.
        #[allow(dead_code)]
        fn every_type_is_listed(event: &Event) {
            match event {
                $(Event::$variant(_) => {})*
                Event::Unknown(_) => {}
            }
        }
    };
}

wire_types! {
    "session:start" => SessionStart,
    "session:update" => SessionUpdate,
    "session:tokens" => SessionTokens,
    "session:error" => SessionError,
    "session:complete" => SessionComplete,
    "session:remove" => SessionRemove,
    "quota:update" => QuotaUpdate in LimitState,
    "quota:warning" => QuotaWarning,
    "context:update" => ContextUpdate in ContextWindow,
    "context:warning" => ContextWarning,
    "cost:update" => CostUpdate,
    "ingest:update" => IngestUpdate,
    "health:check" => HealthCheck,
    "health:error" => HealthError,
    "usage:warning" => UsageWarning,
    "settings:update" => SettingsUpdate,
    "alerts:silence" => AlertsSilence,
}

/// Reads `data` as that of the `type`.
struct DataOf<'a>(&'a str);

impl<'de> Deserialize<'de> for SequencedEvent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Envelope)
    }
}

/// Reads `{"seq":…,"type":…,"data":…,"timestamp":…}`.
struct Envelope;

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Field {
    Seq,
    Type,
    Data,
    Timestamp,
    #[serde(other)]
    Other,
}

impl<'de> Visitor<'de> for Envelope {
    type Value = SequencedEvent;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SequencedEvent, A::Error> {
        let (mut seq, mut kind, mut event, mut timestamp) = (None, None::<String>, None, None);
        while let Some(field) = map.next_key()? {
            match field {
                Field::Seq => seq = Some(map.next_value()?),
                Field::Type => kind = Some(map.next_value()?),
                Field::Data => {
                    let kind = kind.as_deref().ok_or_else(|| A::Error::custom("`type` has to come before `data`"))?;
                    event = Some(map.next_value_seed(DataOf(kind))?);
                }
                Field::Timestamp => timestamp = Some(map.next_value()?),
                Field::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(SequencedEvent {
            seq: seq.ok_or_else(|| A::Error::missing_field("seq"))?,
            event: event.ok_or_else(|| A::Error::missing_field("data"))?,
            timestamp: timestamp.ok_or_else(|| A::Error::missing_field("timestamp"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::*;
    use crate::alert::{Alert, Condition};
    use crate::event::{IngestUpdate, Seq};
    use crate::level::Level;
    use crate::price::PriceTable;
    use crate::simulator::{Scenario, Simulation};
    use crate::state::Mode;
    use crate::time::{HOUR_MS, Timestamp, ZoneOffsets};
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn at() -> Timestamp {
        Timestamp::parse("2026-09-20T12:00:00Z").unwrap()
    }

    #[test]
    fn reads_what_it_writes() {
        let condition = Condition::PartFailing { component: "store".to_owned() };
        let error = Alert { condition, level: Level::Danger };
        let ingest = IngestUpdate { lines: 7, ..IngestUpdate::default() };
        for event in [Event::HealthError(error), Event::IngestUpdate(ingest)] {
            let event = SequencedEvent { seq: Seq(3), event, timestamp: at() };
            let text = serde_json::to_string(&event).unwrap();
            assert!(text.contains(&format!(r#""type":"{}""#, event.event.kind())), "{text}");
            assert_eq!(serde_json::from_str::<SequencedEvent>(&text).unwrap(), event);
        }
    }

    #[test]
    fn no_event_of_ours_is_unknown() {
        let start = Timestamp::parse("2026-09-23T12:00:00Z").unwrap();
        let mut kinds = BTreeSet::new();
        for scenario in Scenario::ALL {
            let prices = Arc::new(PriceTable::embedded());
            let mut simulation = Simulation::new(scenario, 7, start, Mode::Demo, ZoneOffsets::utc(), prices);
            for event in simulation.advance_to(start.plus_ms(2 * HOUR_MS)) {
                let text = serde_json::to_string(&event).unwrap();
                assert_eq!(serde_json::from_str::<SequencedEvent>(&text).unwrap(), event);
                kinds.insert(event.event.kind());
            }
        }
        assert!(kinds.len() >= 7, "{kinds:?}");
    }

    #[test]
    fn an_unknown_type_is_read_with_its_number_and_without_its_data() {
        let text = r#"{"seq":4,"type":"galaxy:born","data":{"deep":[1,{"x":null}]},"later":1,"timestamp":"2026-09-20T12:00:00Z"}"#;
        let event: SequencedEvent = serde_json::from_str(text).unwrap();
        let unknown = Event::Unknown(UnknownEvent { kind: "galaxy:born".to_owned() });
        assert_eq!(event, SequencedEvent { seq: Seq(4), event: unknown, timestamp: at() });

        let long = text.replace("galaxy:born", &"ü".repeat(1_000));
        let event: SequencedEvent = serde_json::from_str(&long).unwrap();
        let Event::Unknown(UnknownEvent { kind }) = event.event else { panic!("{event:?}") };
        assert_eq!(kind.chars().count(), KIND_CHARS);
    }

    #[test]
    fn what_is_missing_is_said() {
        for (text, expected) in [
            (r#"{"type":"x","data":1,"timestamp":"2026-09-20T12:00:00Z"}"#, "seq"),
            (r#"{"seq":1,"data":1,"type":"x","timestamp":"2026-09-20T12:00:00Z"}"#, "before"),
            (r#"{"seq":1,"type":"x","timestamp":"2026-09-20T12:00:00Z"}"#, "data"),
            (r#"{"seq":1,"type":"health:error","data":1,"timestamp":"2026-09-20T12:00:00Z"}"#, "Alert"),
        ] {
            let error = serde_json::from_str::<SequencedEvent>(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
