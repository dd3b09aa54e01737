//! Reads a type whose fields stand in one JSON object with others.
//!
//! Written by hand, because what serde derives for `flatten` holds all fields in memory before it reads them, and its
//! code for that would be a tenth of the page's WASM.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{MapAccessDeserializer, StringDeserializer};
use serde::de::{Deserialize, DeserializeSeed, IntoDeserializer, MapAccess};

/// Reads a `T` from the fields of `map` that `other` does not take. `other` gets each field's name and the map; it reads
/// the value and says `true`, or leaves it and says `false`.
///
/// # Errors
/// If `T` or `other` cannot be read.
pub(crate) fn beside<'de, T, A, F>(map: A, other: F) -> Result<T, A::Error>
where
    T: Deserialize<'de>,
    A: MapAccess<'de>,
    F: FnMut(&str, &mut A) -> Result<bool, A::Error>,
{
    T::deserialize(MapAccessDeserializer::new(Rest { map, other, error: PhantomData }))
}

/// What `other` leaves of a map.
struct Rest<A, F, E> {
    map: A,
    other: F,
    error: PhantomData<E>,
}

impl<'de, A, F> MapAccess<'de> for Rest<A, F, A::Error>
where
    A: MapAccess<'de>,
    F: FnMut(&str, &mut A) -> Result<bool, A::Error>,
{
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        while let Some(name) = self.map.next_key::<String>()? {
            if !(self.other)(&name, &mut self.map)? {
                let name: StringDeserializer<A::Error> = name.into_deserializer();
                return seed.deserialize(name).map(Some);
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

impl<A, F, E> fmt::Debug for Rest<A, F, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rest")
    }
}
