//! Who used a window's tokens: projects, their subagents, and models, weighed by what the window counts.

use std::collections::BTreeMap;

use super::usage::Who;
use crate::event::{ModelShare, QuotaShare, SessionShare};
use crate::format;
use crate::ids::{ModelId, SessionId};
use crate::order;
use crate::units::Tokens;

/// Projects named in the attribution; the others are summed.
const PROJECTS_NAMED: usize = 6;
/// Models named; the others are left out.
const MODELS_NAMED: usize = 8;

/// Sessions named; the others are left out.
const SESSIONS_NAMED: usize = 8;

/// What tells projects apart: the directory, or the session where that is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Project<'a> {
    Directory(&'a str),
    Session(&'a SessionId),
}

/// Tokens used on the main chain and by subagents.
#[derive(Clone, Copy, Debug, Default)]
struct Use {
    own: Tokens,
    agents: Tokens,
}

impl Use {
    fn all(&self) -> Tokens {
        self.own + self.agents
    }
}

/// Who used a window: shares by project, by model and by session, largest first.
#[derive(Debug, Default)]
pub(super) struct Attribution {
    pub(super) used_by: Vec<QuotaShare>,
    pub(super) models: Vec<ModelShare>,
    pub(super) sessions: Vec<SessionShare>,
}

/// Shares by project, by model and by session, largest first. `directory` knows where a session began.
pub(super) fn attribution<'a, 'd: 'a>(
    users: impl Iterator<Item = (&'a Who, Tokens)>,
    directory: &dyn Fn(&SessionId) -> Option<&'d str>,
) -> Attribution {
    let mut projects: BTreeMap<Project<'a>, Use> = BTreeMap::new();
    let mut models: BTreeMap<&ModelId, Tokens> = BTreeMap::new();
    let mut sessions: BTreeMap<&SessionId, Tokens> = BTreeMap::new();
    let mut whole = Tokens::ZERO;
    for (who, tokens) in users {
        let project = directory(&who.session).map_or(Project::Session(&who.session), Project::Directory);
        let used = projects.entry(project).or_default();
        *(if who.agent { &mut used.agents } else { &mut used.own }) += tokens;
        *models.entry(&who.model).or_default() += tokens;
        *sessions.entry(&who.session).or_default() += tokens;
        whole += tokens;
    }
    let percent = |tokens: Tokens| tokens.percent_of(whole).unwrap_or_default();

    let mut ranked: Vec<(Project<'_>, Use)> = projects.into_iter().filter(|(_, used)| !used.all().is_zero()).collect();
    order::sort(&mut ranked, &|a, b| b.1.all().cmp(&a.1.all()).then_with(|| a.0.cmp(&b.0)));
    let directories = ranked.iter().filter_map(|(project, _)| match project {
        Project::Directory(directory) => Some(*directory),
        Project::Session(_) => None,
    });
    let labels = format::project_labels(directories);
    let others = ranked.split_off(ranked.len().min(PROJECTS_NAMED));
    let share = |project: String, directory: Option<String>, used: Use| QuotaShare {
        project,
        directory,
        own_percent: percent(used.own),
        agents_percent: percent(used.agents),
    };
    let mut shares: Vec<QuotaShare> = ranked
        .iter()
        .map(|&(project, used)| match project {
            Project::Directory(path) => {
                let label = labels.get(path).cloned().unwrap_or_else(|| path.to_owned());
                share(label, Some(path.to_owned()), used)
            }
            Project::Session(id) => share(format::short_id(id.as_str()).to_owned(), None, used),
        })
        .collect();
    if !others.is_empty() {
        let sum = |part: fn(&Use) -> Tokens| others.iter().map(|(_, used)| part(used)).sum();
        shares.push(share(
            "others".to_owned(),
            None,
            Use { own: sum(|used| used.own), agents: sum(|used| used.agents) },
        ));
    }

    let models = most(models, MODELS_NAMED);
    let sessions = most(sessions, SESSIONS_NAMED);
    let model = |(model, tokens): (&ModelId, Tokens)| ModelShare { model: model.clone(), percent: percent(tokens) };
    let session = |(session, tokens): (&SessionId, Tokens)| {
        let session = session.clone();
        SessionShare { session, percent: percent(tokens) }
    };
    Attribution {
        used_by: shares,
        models: models.into_iter().map(model).collect(),
        sessions: sessions.into_iter().map(session).collect(),
    }
}

/// The first `count` that used anything, most first.
fn most<K: Ord>(used: BTreeMap<K, Tokens>, count: usize) -> Vec<(K, Tokens)> {
    let mut used: Vec<(K, Tokens)> = used.into_iter().filter(|(_, tokens)| !tokens.is_zero()).collect();
    order::sort(&mut used, &|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    used.truncate(count);
    used
}
