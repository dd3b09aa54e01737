//! What a file has said of its session, and when that was last given out.

use serde::{Deserialize, Serialize};

use super::json::Value;
use crate::ids::{AgentId, SessionId};
use crate::record::{SessionMeta, Tool};
use crate::time::{SECOND_MS, Timestamp};

/// See the [module's description](self).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Described {
    /// The working directory.
    pub(super) cwd: Option<String>,
    /// The git branch.
    pub(super) branch: Option<String>,
    /// The tool's version.
    pub(super) version: Option<String>,
    /// When a line was written that was given out; the newest such.
    pub(super) at: Option<Timestamp>,
}

impl Described {
    /// The session as described so far, if something is `news` or a second has passed since it was given out.
    pub(super) fn meta(
        &mut self,
        news: bool,
        at: Option<Timestamp>,
        tool: Tool,
        session: &SessionId,
        agent: Option<&AgentId>,
    ) -> Option<SessionMeta> {
        let due = at.is_some_and(|at| self.at.is_none_or(|last| at.ms_since(last) >= SECOND_MS));
        if due {
            self.at = at;
        }
        (news || due).then(|| SessionMeta {
            tool,
            session: session.clone(),
            agent: agent.cloned(),
            cwd: self.cwd.clone(),
            branch: self.branch.clone(),
            version: self.version.clone(),
            at: self.at,
        })
    }
}

/// Takes a text that is there and not empty; whether it is another one.
pub(super) fn learn(known: &mut Option<String>, value: Value<'_>) -> bool {
    let Some(text) = value.id().filter(|text| known.as_deref() != Some(&**text)) else { return false };
    *known = Some(text.into_owned());
    true
}
