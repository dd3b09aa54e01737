//! Names of things, each its own type, so that a session can never be passed where a message is meant.
//!
//! The text is shared (`Arc<str>`): a session's id appears on every one of its records.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

macro_rules! text_id {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes the text as it is; an id has no further structure that we rely on.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }
    )*};
}

text_id! {
    /// A session of an assistant: `sessionId` of the transcript's lines.
    SessionId;
    /// A subagent within a session: `agentId` of its lines, or the stem of its file.
    AgentId;
    /// A model as the transcript names it, e.g. `claude-opus-4-5-20251101`.
    ModelId;
    /// A tool that an assistant calls, e.g. `Bash` or `mcp__github__search`.
    ToolName;
    /// Identifies one numbering of events: changes whenever numbering cannot be continued.
    Epoch;
    /// Identifies one build of the page: a hash of its files. A server names the build it serves; set when it starts.
    BuildId;
}

/// The vendor's id of one API message (`msg_…`), as a 128-bit hash of its text.
///
/// Hashed, because ids are compared and stored by the million and never shown: 16 bytes instead of some 30 and an
/// allocation. Two of ten million different ids collide with a probability of 10⁻²⁵. XXH3 is fixed for ever: databases
/// hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(u128);

/// The vendor's id of one API request (`req_…`), as a 64-bit hash of its text.
///
/// Requests are only told apart within one message, or looked up among those of a few days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(u64);

/// An account with a vendor, as a 64-bit hash of the id that the tool's own files name it by.
///
/// Only a hash, so that neither an address nor an organisation's name can be stored or shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(u64);

macro_rules! hashed_id {
    ($name:ident, $number:ty, $hash:path) => {
        impl $name {
            /// The id with this text.
            pub fn of(text: &str) -> Self {
                Self($hash(text.as_bytes()))
            }

            /// The id with this number, as [`Self::number`] gave it.
            pub fn from_number(number: $number) -> Self {
                Self(number)
            }

            /// Its number: the hash.
            pub fn number(self) -> $number {
                self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::of(text)
            }
        }
    };
}

hashed_id!(MessageId, u128, xxhash_rust::xxh3::xxh3_128);
hashed_id!(RequestId, u64, xxhash_rust::xxh3::xxh3_64);
hashed_id!(AccountId, u64, xxhash_rust::xxh3::xxh3_64);

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl std::str::FromStr for AccountId {
    type Err = String;

    /// Reads 16 hexadecimal digits in lower case, as they are displayed.
    fn from_str(text: &str) -> Result<Self, String> {
        let number = u64::from_str_radix(text, 16).map(Self).ok();
        number.filter(|id| id.to_string() == text).ok_or_else(|| format!("{text:?} is no account"))
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Serialize for MessageId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MessageId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map(Self).map_err(de::Error::custom)
    }
}

/// A call of a tool: a hash of the id by which a transcript pairs the call with its result.
///
/// It serves only to pair the two, so eight bytes do instead of thirty, and nothing of the id's text can be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(u64);

impl CallId {
    /// The call of this id. FNV-1a, so that it never changes: databases have it.
    pub fn of(id: impl IntoIterator<Item = u8>) -> Self {
        Self(
            id.into_iter()
                .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)),
        )
    }

    /// The call of this number.
    pub fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for CallId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CallId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map(Self).map_err(de::Error::custom)
    }
}
