//! Names of things, each its own type, so that a session can never be passed where a message is meant.
//!
//! The text is shared (`Arc<str>`): a session's id appears on every one of its records.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

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
    /// The vendor's id of one API message (`msg_…`).
    MessageId;
    /// The vendor's id of one API request (`req_…`).
    RequestId;
    /// A model as the transcript names it, e.g. `claude-opus-4-5-20251101`.
    ModelId;
    /// Identifies one numbering of events: changes whenever numbering cannot be continued.
    Epoch;
}
