//! What tools themselves say their sessions used: the newest account of each session.

use std::collections::BTreeMap;

use crate::ids::SessionId;
use crate::record::ToolCost;
use crate::time::Timestamp;

/// The newest account of each session, in whatever order accounts come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts(BTreeMap<SessionId, ToolCost>);

impl Accounts {
    /// Takes an account. They are cumulative: of two of the same time the larger is the newer.
    pub fn take(&mut self, said: &ToolCost) {
        fn weight(said: &ToolCost) -> impl Ord {
            let models = said.models.iter().map(|it| (it.model.clone(), it.usage.total(), it.cost));
            let tokens = said.models.iter().map(|it| it.usage.total()).sum::<crate::units::Tokens>();
            (said.at, said.cost, tokens, models.collect::<Vec<_>>())
        }
        if self.0.get(&said.session).is_none_or(|known| weight(known) < weight(said)) {
            self.0.insert(said.session.clone(), said.clone());
        }
    }

    /// Takes over everything `other` knows.
    pub fn merge(&mut self, other: Self) {
        other.0.values().for_each(|said| self.take(said));
    }

    /// The account of a session, if it has one.
    pub fn get(&self, session: &SessionId) -> Option<(&SessionId, &ToolCost)> {
        self.0.get_key_value(session)
    }

    /// When the account of a session was made, if it has one with a time.
    pub fn time_of(&self, session: &SessionId) -> Option<Timestamp> {
        self.0.get(session).and_then(|said| said.at)
    }

    /// All accounts, by session.
    pub fn iter(&self) -> impl Iterator<Item = &ToolCost> {
        self.0.values()
    }
}
