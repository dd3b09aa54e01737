//! What is known of a session besides its responses: where and when it ran, and who worked for it.
//!
//! Every file contributes what its lines say; a session is the merge of its contributions. What holds is decided by the
//! times of the lines, never by the order of reading, so that several threads reading files, a live tail and a store
//! agree, and so that a contribution can be dropped when its file is rewritten. Live view and reports both use
//! [`SessionFacts`], for one file's contribution and for the merge.

use std::collections::BTreeMap;

use crate::accounts::Accounts;
use crate::format;
use crate::ids::{AgentId, ModelId, SessionId};
use crate::record::{AgentMeta, Record, SessionMeta, Tool, UsageRecord};
use crate::time::Timestamp;

/// Where, when and with whom a session ran.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionFacts {
    /// The tool whose session it is.
    pub tool: Tool,
    /// When its first line was written, as far as known.
    pub first: Option<Timestamp>,
    /// When its last line was written.
    pub last: Option<Timestamp>,
    cwd: Option<Statement<String>>,
    branch: Option<Statement<String>>,
    version: Option<Statement<String>>,
    model: Option<Statement<ModelId>>,
    agents: BTreeMap<AgentId, AgentFacts>,
}

/// What is known of a subagent besides its responses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentFacts {
    /// Its kind, e.g. `code-reviewer`, where a file says so.
    pub agent_type: Option<String>,
    /// When its last line was written.
    pub last: Option<Timestamp>,
    model: Option<Statement<ModelId>>,
}

/// A value that a line states, and what decides between it and others.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Statement<T> {
    /// Stated by a subagent's line. Counts only where the main chain states nothing.
    by_agent: bool,
    /// When the line was written. A line without a time yields to all that have one.
    at: Option<Timestamp>,
    value: T,
}

/// Which of the values stated at different times holds.
#[derive(Clone, Copy)]
enum Prefer {
    Earliest,
    Latest,
}

impl SessionFacts {
    /// The directory the session began in. A later change of directory does not move it to another project.
    pub fn cwd(&self) -> Option<&str> {
        self.cwd.as_ref().map(|statement| statement.value.as_str())
    }

    /// The last branch it worked on.
    pub fn branch(&self) -> Option<&str> {
        self.branch.as_ref().map(|statement| statement.value.as_str())
    }

    /// The last version of the tool that ran it.
    pub fn version(&self) -> Option<&str> {
        self.version.as_ref().map(|statement| statement.value.as_str())
    }

    /// The last part of its directory.
    pub fn project(&self) -> Option<&str> {
        self.cwd().map(format::project_of)
    }

    /// Model of its newest main-chain response.
    pub fn model(&self) -> Option<&ModelId> {
        self.model.as_ref().map(|statement| &statement.value)
    }

    /// Its subagents, by id.
    pub fn agents(&self) -> &BTreeMap<AgentId, AgentFacts> {
        &self.agents
    }

    /// Takes what a line says of the session.
    pub fn meta(&mut self, meta: &SessionMeta) {
        self.tool = meta.tool;
        self.seen(meta.at);
        if let Some(agent) = &meta.agent {
            let agent = self.agent(agent);
            agent.last = agent.last.max(meta.at);
        }
        for (known, text, prefer) in [
            (&mut self.cwd, &meta.cwd, Prefer::Earliest),
            (&mut self.branch, &meta.branch, Prefer::Latest),
            (&mut self.version, &meta.version, Prefer::Latest),
        ] {
            if let Some(text) = text {
                state(known, meta.agent.is_some(), meta.at, text, prefer);
            }
        }
    }

    /// Takes what a claim says of the session, whether it counts or not.
    pub fn usage(&mut self, usage: &UsageRecord) {
        self.tool = usage.tool;
        self.seen(usage.at);
        if let Some(agent) = &usage.agent {
            let agent = self.agent(agent);
            agent.last = agent.last.max(usage.at);
            state(&mut agent.model, false, usage.at, &usage.model, Prefer::Latest);
        } else if !usage.sidechain {
            state(&mut self.model, false, usage.at, &usage.model, Prefer::Latest);
        }
    }

    /// Takes what is said of a subagent.
    pub fn agent_meta(&mut self, meta: &AgentMeta) {
        let agent = self.agent(&meta.agent);
        agent.agent_type = agent.agent_type.take().max(meta.agent_type.clone());
    }

    fn agent(&mut self, id: &AgentId) -> &mut AgentFacts {
        if !self.agents.contains_key(id) {
            self.agents.insert(id.clone(), AgentFacts::default());
        }
        self.agents.entry(id.clone()).or_default()
    }

    fn seen(&mut self, at: Option<Timestamp>) {
        let Some(at) = at else { return };
        self.first = Some(self.first.map_or(at, |first| first.min(at)));
        self.last = self.last.max(Some(at));
    }

    /// Takes over what another file says of the same session.
    pub fn merge(&mut self, other: &Self) {
        self.tool = other.tool;
        self.seen(other.first);
        self.seen(other.last);
        for (known, other, prefer) in [
            (&mut self.cwd, &other.cwd, Prefer::Earliest),
            (&mut self.branch, &other.branch, Prefer::Latest),
            (&mut self.version, &other.version, Prefer::Latest),
        ] {
            merge(known, other, prefer);
        }
        merge(&mut self.model, &other.model, Prefer::Latest);
        for (id, facts) in &other.agents {
            let agent = self.agent(id);
            agent.agent_type = agent.agent_type.take().max(facts.agent_type.clone());
            agent.last = agent.last.max(facts.last);
            merge(&mut agent.model, &facts.model, Prefer::Latest);
        }
    }
}

impl AgentFacts {
    /// Model of its newest response.
    pub fn model(&self) -> Option<&ModelId> {
        self.model.as_ref().map(|statement| &statement.value)
    }
}

fn merge<T: Ord + Clone>(known: &mut Option<Statement<T>>, other: &Option<Statement<T>>, prefer: Prefer) {
    if let Some(other) = other {
        state(known, other.by_agent, other.at, &other.value, prefer);
    }
}

/// Takes a statement if it goes before the one known.
fn state<T: Ord + Clone>(
    known: &mut Option<Statement<T>>,
    by_agent: bool,
    at: Option<Timestamp>,
    value: &T,
    prefer: Prefer,
) {
    let rank = |by_agent: bool, at: Option<Timestamp>| {
        let rank = match (prefer, at) {
            (_, None) => i64::MAX,
            (Prefer::Earliest, Some(at)) => at.unix_ms(),
            (Prefer::Latest, Some(at)) => -at.unix_ms(),
        };
        (by_agent, rank)
    };
    match known {
        None => *known = Some(Statement { by_agent, at, value: value.clone() }),
        Some(known) => {
            // Of the same moment, the smaller text: any rule will do that does not depend on the order.
            if (rank(by_agent, at), value) < (rank(known.by_agent, known.at), &known.value) {
                (known.by_agent, known.at) = (by_agent, at);
                // Lines come by the thousand and mostly repeat themselves.
                if known.value != *value {
                    known.value.clone_from(value);
                }
            }
        }
    }
}

/// The sessions there are, each the merge of all its contributions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sessions {
    facts: BTreeMap<SessionId, SessionFacts>,
    /// What the tool itself says of them.
    pub accounts: Accounts,
}

impl Sessions {
    /// Takes what a record says of a session.
    pub fn record(&mut self, record: &Record) {
        match record {
            Record::Session(meta) => self.of(&meta.session).meta(meta),
            Record::Usage(usage) => self.of(&usage.session).usage(usage),
            Record::ToolCost(said) => self.accounts.take(said),
            _ => {}
        }
    }

    fn of(&mut self, id: &SessionId) -> &mut SessionFacts {
        if !self.facts.contains_key(id) {
            self.facts.insert(id.clone(), SessionFacts::default());
        }
        self.facts.entry(id.clone()).or_default()
    }

    /// Takes over what is known of a session.
    pub fn insert(&mut self, id: &SessionId, facts: &SessionFacts) {
        self.of(id).merge(facts);
    }

    /// Takes over everything `other` knows.
    pub fn merge(&mut self, other: Self) {
        self.accounts.merge(other.accounts);
        for (id, facts) in other.facts {
            match self.facts.get_mut(&id) {
                Some(known) => known.merge(&facts),
                None => drop(self.facts.insert(id, facts)),
            }
        }
    }

    /// What is known of a session.
    pub fn get(&self, id: &SessionId) -> Option<&SessionFacts> {
        self.facts.get(id)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.facts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn meta(at: i64, agent: Option<&str>, cwd: &str, branch: Option<&str>) -> Record {
        Record::Session(SessionMeta {
            tool: Tool::ClaudeCode,
            session: "s".into(),
            agent: agent.map(Into::into),
            cwd: Some(cwd.to_owned()),
            branch: branch.map(ToOwned::to_owned),
            version: None,
            at: (at > 0).then(|| Timestamp::from_unix_ms(at)),
        })
    }

    #[test]
    fn facts_do_not_depend_on_the_order_of_lines() {
        let metas = [
            meta(1, Some("a"), "/elsewhere", None),
            meta(5, None, "/home/ada/engine", Some("main")),
            meta(7, None, "/home/ada/engine/src", Some("topic")),
            meta(9, Some("a"), "/other", Some("z")),
            meta(0, None, "/undated", Some("undated")),
        ];
        let mut orders: Vec<Vec<usize>> = Vec::new();
        for start in 0..metas.len() {
            let order: Vec<usize> = (0..metas.len()).map(|i| (i + start) % metas.len()).collect();
            orders.push(order.iter().rev().copied().collect());
            orders.push(order);
        }
        for order in orders {
            let mut whole = Sessions::default();
            order.iter().for_each(|&i| whole.record(&metas[i]));
            let mut merged = Sessions::default();
            for &i in &order {
                let mut part = Sessions::default();
                part.record(&metas[i]);
                merged.merge(part);
            }
            assert_eq!(whole, merged, "{order:?}");
            let facts = whole.get(&"s".into()).unwrap();
            assert_eq!(facts.cwd(), Some("/home/ada/engine"), "{order:?}");
            assert_eq!((facts.project(), facts.branch()), (Some("engine"), Some("topic")));
            assert_eq!(facts.first, Some(Timestamp::from_unix_ms(1)));
            assert_eq!(facts.last, Some(Timestamp::from_unix_ms(9)));
            assert_eq!(facts.agents().get(&"a".into()).unwrap().last, Some(Timestamp::from_unix_ms(9)));
        }
    }
}
