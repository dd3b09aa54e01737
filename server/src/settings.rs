//! What the user decides, and where each value comes from: flag, environment, `settings.json` in the data directory,
//! `config.toml`, default, in this order.
//!
//! Every setting has one text form, whatever it comes from. The core's are described there
//! ([`dashboard_core::settings`]); those of delivery are added here, since they never leave the server: a webhook's
//! address is a secret.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use clap::builder::BoolishValueParser;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args};
use dashboard_core::event::HealthStatus;
use dashboard_core::settings::{SettingKey, Settings};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::watch;
use utoipa::ToSchema;

use crate::notify::{Delivery, Webhook, Webhooks};
use crate::platform;

/// The file's name in the data directory.
const FILE: &str = "settings.json";
/// Largest file that is read, in bytes.
const MAX_BYTES: u64 = 64 << 10;

/// Names a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// One of the core's.
    Core(SettingKey),
    /// [`Delivery::desktop`].
    Desktop,
    /// [`Delivery::bell`].
    Bell,
    /// [`Delivery::webhooks`].
    Webhook,
}

impl Key {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        SettingKey::ALL.into_iter().map(Self::Core).chain([Self::Desktop, Self::Bell, Self::Webhook])
    }

    /// Its name in files and over HTTP, and the id of its option.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Core(key) => key.as_str(),
            Self::Desktop => "desktop",
            Self::Bell => "bell",
            Self::Webhook => "webhook",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::all().find(|key| key.as_str() == name)
    }
}

/// Where a value comes from. A later one yields to an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// An option of the command.
    Flag,
    /// A variable `DASHBOARD_…`.
    Environment,
    /// `settings.json`, which `PUT /api/v1/settings` writes.
    Settings,
    /// `config.toml`.
    Config,
    /// Nobody said anything.
    Default,
}

/// Options that are settings: each also over HTTP, where the flag and the environment win.
#[derive(Args, Clone, Debug, Default)]
pub struct SettingsArgs {
    /// Percentages of a limit at which warning, danger and critical begin [default: 80,90,95]
    #[arg(long, env = "DASHBOARD_QUOTA_LEVELS", value_name = "W,D,C", value_parser = checked(SettingKey::QuotaLevels))]
    quota_levels: Option<String>,
    /// Percentages of the context up to auto-compaction, likewise [default: 50,80,90]
    #[arg(long, env = "DASHBOARD_CONTEXT_LEVELS", value_name = "W,D,C", value_parser = checked(SettingKey::ContextLevels))]
    context_levels: Option<String>,
    /// Minutes before a limit is reset at which to warn, or off [default: 60,30,5]
    #[arg(long, env = "DASHBOARD_WARN_MINUTES", value_name = "N,…", value_parser = checked(SettingKey::WarnMinutes))]
    warn_minutes: Option<String>,
    /// Warn when a session uses so many times its usual for 5 minutes, or off [default: 2]
    #[arg(long, env = "DASHBOARD_SPIKE_FACTOR", value_name = "X", value_parser = checked(SettingKey::SpikeFactor))]
    spike_factor: Option<String>,
    /// Warn when a session uses more tokens per minute for 5 minutes, or off [default: off]
    #[arg(long, env = "DASHBOARD_SPIKE_RATE", value_name = "N", value_parser = checked(SettingKey::SpikeRate))]
    spike_rate: Option<String>,
    /// US dollars for use paid by the token, such as day=20,week=100,month=300 [default: off]
    #[arg(long, env = "DASHBOARD_BUDGET", value_name = "PERIOD=USD,…", value_parser = checked(SettingKey::Budget))]
    budget: Option<String>,
    /// The same for use that a plan covers, at list prices [default: off]
    #[arg(long, env = "DASHBOARD_PLAN_BUDGET", value_name = "PERIOD=USD,…", value_parser = checked(SettingKey::PlanBudget))]
    plan_budget: Option<String>,
    /// How tools are paid, such as claude-code=plan,codex=metered; by default, by a plan where the vendor states limits
    #[arg(long, env = "DASHBOARD_BILLING", value_name = "TOOL=KIND,…", value_parser = checked(SettingKey::Billing))]
    billing: Option<String>,
    /// When nothing is delivered, such as 22:00-07:00 [default: off]
    #[arg(long, env = "DASHBOARD_QUIET_HOURS", value_name = "FROM-UNTIL", value_parser = checked(SettingKey::QuietHours))]
    quiet_hours: Option<String>,
    /// Show alerts as notifications of the desktop
    #[arg(long, env = "DASHBOARD_DESKTOP", value_name = "on|off", num_args = 0..=1, require_equals = true,
          default_missing_value = "on", value_parser = BoolishValueParser::new())]
    desktop: Option<bool>,
    /// Ring the bell of the terminal for alerts
    #[arg(long, env = "DASHBOARD_BELL", value_name = "on|off", num_args = 0..=1, require_equals = true,
          default_missing_value = "on", value_parser = BoolishValueParser::new())]
    bell: Option<bool>,
    /// Send alerts to this address; KIND is json, slack, discord or ntfy; may be repeated
    #[arg(long, env = "DASHBOARD_WEBHOOK", value_name = "KIND=URL", value_delimiter = ' ', hide_env_values = true)]
    webhook: Vec<Webhook>,
    /// What was given, and how; set by [`Self::note`].
    #[arg(skip)]
    given: Vec<Given>,
}

/// A value that the command line, the environment or `config.toml` gives.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Given {
    key: Key,
    text: String,
    origin: Origin,
}

fn checked(key: SettingKey) -> impl Fn(&str) -> Result<String, String> + Clone + Send + Sync + 'static {
    move |text| Settings::default().set(key, text).map(|()| text.to_owned()).map_err(|error| error.to_string())
}

impl SettingsArgs {
    /// Notes which of the values in `matches` were given, and how. `matches` are those of the command.
    pub fn note(&mut self, matches: &ArgMatches) {
        let origin = |key: Key| match matches.value_source(key.as_str())? {
            ValueSource::CommandLine => Some(Origin::Flag),
            ValueSource::EnvVariable => Some(Origin::Environment),
            // None of them has a default of its own: it is from the file.
            _ => Some(Origin::Config),
        };
        let given = Key::all().filter_map(|key| Some(Given { key, text: self.text(key)?, origin: origin(key)? }));
        self.given = given.collect();
    }

    fn text(&self, key: Key) -> Option<String> {
        let on_off = |value: Option<bool>| value.map(|on| if on { "on" } else { "off" }.to_owned());
        match key {
            Key::Core(SettingKey::QuotaLevels) => self.quota_levels.clone(),
            Key::Core(SettingKey::ContextLevels) => self.context_levels.clone(),
            Key::Core(SettingKey::WarnMinutes) => self.warn_minutes.clone(),
            Key::Core(SettingKey::SpikeFactor) => self.spike_factor.clone(),
            Key::Core(SettingKey::SpikeRate) => self.spike_rate.clone(),
            Key::Core(SettingKey::Budget) => self.budget.clone(),
            Key::Core(SettingKey::PlanBudget) => self.plan_budget.clone(),
            Key::Core(SettingKey::Billing) => self.billing.clone(),
            Key::Core(SettingKey::QuietHours) => self.quiet_hours.clone(),
            Key::Desktop => on_off(self.desktop),
            Key::Bell => on_off(self.bell),
            Key::Webhook => (!self.webhook.is_empty()).then(|| Webhooks(self.webhook.clone()).to_string()),
        }
    }
}

/// The values in force.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UserSettings {
    /// Of levels, warnings and budgets.
    pub core: Settings,
    /// Of delivery.
    pub delivery: Delivery,
}

impl UserSettings {
    /// Sets one from its text form.
    fn set(&mut self, key: Key, text: &str) -> Result<(), String> {
        match key {
            Key::Core(key) => self.core.set(key, text).map_err(|error| error.to_string())?,
            Key::Desktop => self.delivery.desktop = switch(text)?,
            Key::Bell => self.delivery.bell = switch(text)?,
            Key::Webhook => self.delivery.webhooks = text.parse().map_err(|error| format!("{error}"))?,
        }
        Ok(())
    }

    /// The text form of one, without what is secret in it.
    pub fn get(&self, key: Key) -> String {
        let on_off = |on: bool| if on { "on" } else { "off" }.to_owned();
        match key {
            Key::Core(key) => self.core.get(key),
            Key::Desktop => on_off(self.delivery.desktop),
            Key::Bell => on_off(self.delivery.bell),
            Key::Webhook => self.delivery.webhooks.shown(),
        }
    }
}

fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" | "true" => Ok(true),
        "off" | "false" => Ok(false),
        _ => Err("allowed: on or off".to_owned()),
    }
}

/// What was given, and where the rest is kept.
#[derive(Clone, Debug, Default)]
pub struct SettingsSource {
    given: Vec<Given>,
    /// `settings.json`; none where nothing is written.
    file: Option<Arc<Path>>,
}

/// The values in force, where each comes from, and what could not be used.
#[derive(Clone, Debug, Default)]
pub struct Resolved {
    /// The values.
    pub values: UserSettings,
    /// Where each comes from.
    pub origins: BTreeMap<Key, Origin>,
    /// What of `settings.json` could not be used, and what to do; the other values are.
    pub problems: Vec<String>,
}

impl Resolved {
    /// For the health of the dashboard.
    pub fn health(&self) -> (HealthStatus, String) {
        match self.problems.as_slice() {
            [] => {
                let set = self.origins.values().filter(|origin| **origin != Origin::Default).count();
                (HealthStatus::Healthy, format!("{set} set, the others by default"))
            }
            problems => (HealthStatus::Degraded, problems.join("; ")),
        }
    }
}

/// The values in force while the dashboard runs. Clones share them.
#[derive(Clone, Debug)]
pub struct LiveSettings {
    source: Arc<Mutex<SettingsSource>>,
    resolved: watch::Sender<Arc<Resolved>>,
}

impl LiveSettings {
    /// As they are now.
    pub fn new(source: SettingsSource) -> Self {
        let resolved = watch::Sender::new(Arc::new(source.resolve()));
        Self { source: Arc::new(Mutex::new(source)), resolved }
    }

    /// The values in force.
    pub fn current(&self) -> Arc<Resolved> {
        Arc::clone(&self.resolved.borrow())
    }

    /// The values in force, and each change of them.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Resolved>> {
        self.resolved.subscribe()
    }

    /// See [`SettingsSource::change`]. Waits for the disk.
    ///
    /// # Errors
    /// Those of [`SettingsSource::change`].
    pub fn change(&self, changes: &Map<String, Value>) -> Result<Arc<Resolved>, SettingsError> {
        let source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        let resolved = Arc::new(source.change(changes)?);
        self.resolved.send_replace(Arc::clone(&resolved));
        Ok(resolved)
    }
}

/// Settings that cannot be changed. Nothing was written then.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// There is no such setting.
    #[error("there is no setting {0:?}; allowed: {1}")]
    Unknown(String, String),
    /// It cannot have that value.
    #[error("{0}: {1}")]
    BadValue(&'static str, String),
    /// There is no data directory: a simulation writes no file.
    #[error("this dashboard keeps no settings: it has no data directory, or simulates")]
    NotKept,
    /// The file is there and cannot be understood.
    #[error("{0}: {1}; correct the file or remove it")]
    Damaged(PathBuf, String),
    /// The file cannot be read or written.
    #[error("{0}: {1}; allow this user to write it")]
    Io(PathBuf, io::Error),
}

impl SettingsSource {
    /// From the options of a command, and `settings.json` in `data_dir`, if there is one.
    pub fn new(args: &SettingsArgs, data_dir: Option<&Path>) -> Self {
        Self { given: args.given.clone(), file: data_dir.map(|dir| dir.join(FILE).into()) }
    }

    /// The values in force now. What of the file cannot be used is left out and said.
    pub fn resolve(&self) -> Resolved {
        let mut problems = Vec::new();
        let kept = self.read().unwrap_or_else(|error| {
            problems.push(error.to_string());
            Map::new()
        });
        for name in kept.keys().filter(|name| Key::named(name).is_none()) {
            problems.push(format!("{FILE}: there is no setting {name:?}; allowed: {}", names()));
        }
        let mut resolved = Resolved { problems, ..Resolved::default() };
        for key in Key::all() {
            let given = self.given.iter().find(|given| given.key == key);
            let kept = kept.get(key.as_str()).map(|value| (text(key, value), Origin::Settings));
            let mut candidates: Vec<(Option<String>, Origin)> =
                given.map(|given| (Some(given.text.clone()), given.origin)).into_iter().chain(kept).collect();
            candidates.sort_by_key(|(_, origin)| *origin);
            let mut found = Origin::Default;
            for (value, origin) in candidates {
                let result = value.ok_or_else(|| "allowed: a text, a number, true or false, or a list".to_owned());
                match result.and_then(|value| resolved.values.set(key, &value)) {
                    Ok(()) => {
                        found = origin;
                        break;
                    }
                    Err(error) => resolved.problems.push(format!("{FILE}: {}: {error}", key.as_str())),
                }
            }
            resolved.origins.insert(key, found);
        }
        resolved
    }

    /// Changes what `settings.json` says: a value sets, null takes back. All of it or nothing is written.
    ///
    /// # Errors
    /// If a setting or its value is not known, or the file cannot be used.
    pub fn change(&self, changes: &Map<String, Value>) -> Result<Resolved, SettingsError> {
        let mut kept = self.read()?;
        let mut tried = UserSettings::default();
        for (name, value) in changes {
            let key = Key::named(name).ok_or_else(|| SettingsError::Unknown(name.clone(), names()))?;
            if value.is_null() {
                kept.remove(name);
                continue;
            }
            let text = text(key, value).ok_or_else(|| "allowed: a text, a number, true or false".to_owned());
            text.and_then(|text| tried.set(key, &text)).map_err(|e| SettingsError::BadValue(key.as_str(), e))?;
            kept.insert(name.clone(), value.clone());
        }
        let file = self.file.as_deref().ok_or(SettingsError::NotKept)?;
        let mut text = serde_json::to_string_pretty(&kept).unwrap_or_default();
        text.push('\n');
        write_whole(file, text.as_bytes()).map_err(|error| SettingsError::Io(file.to_owned(), error))?;
        Ok(self.resolve())
    }

    /// What the file says; nothing if there is none.
    fn read(&self) -> Result<Map<String, Value>, SettingsError> {
        let Some(file) = self.file.as_deref() else { return Ok(Map::new()) };
        let damaged = |reason: String| SettingsError::Damaged(file.to_owned(), reason);
        match std::fs::metadata(file) {
            Ok(metadata) if metadata.len() > MAX_BYTES => return Err(damaged("is too large".to_owned())),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Map::new()),
            _ => {}
        }
        let bytes = std::fs::read(file).map_err(|error| SettingsError::Io(file.to_owned(), error))?;
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(map)) => Ok(map),
            Ok(_) => Err(damaged("is no JSON object".to_owned())),
            Err(error) => Err(damaged(format!("is no JSON: {error}"))),
        }
    }
}

fn names() -> String {
    Key::all().map(Key::as_str).collect::<Vec<_>>().join(", ")
}

/// A value of the file in its text form.
fn text(key: Key, value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(on) => Some(if *on { "on" } else { "off" }.to_owned()),
        Value::Array(values) => {
            let parts: Option<Vec<String>> = values.iter().map(|value| text(key, value)).collect();
            Some(parts?.join(if key == Key::Webhook { " " } else { "," }))
        }
        Value::Null | Value::Object(_) => None,
    }
}

/// Replaces a file of this user's by another in one step: whoever reads it finds the old or the new one. Makes the
/// directory if need be.
///
/// # Errors
/// Those of the system; the old file stands then.
pub(crate) fn write_whole(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = file.parent().ok_or(ErrorKind::InvalidInput)?;
    platform::create_private_dir(dir)?;
    let beside = file.with_extension("new");
    // A rest of an interrupted attempt may have other rights.
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    platform::make_private(&beside, true)?;
    let mut open = std::fs::OpenOptions::new().write(true).truncate(true).open(&beside)?;
    open.write_all(bytes)?;
    open.sync_all()?;
    std::fs::rename(&beside, file)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn source(dir: &Path, given: &[(Key, &str, Origin)]) -> SettingsSource {
        let given = given.iter().map(|&(key, text, origin)| Given { key, text: text.to_owned(), origin }).collect();
        SettingsSource { given, file: Some(dir.join(FILE).into()) }
    }

    fn changes(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    const LEVELS: Key = Key::Core(SettingKey::QuotaLevels);

    #[test]
    fn the_first_that_says_something_counts() {
        let dir = tempfile::tempdir().unwrap();
        let order = [Origin::Flag, Origin::Environment, Origin::Settings, Origin::Config];
        source(dir.path(), &[]).change(&changes(json!({"quota_levels": "30,40,50"}))).unwrap();
        for origin in order {
            let given = [(LEVELS, "10,20,30", origin)];
            let given = if origin == Origin::Settings { &given[..0] } else { &given[..] };
            let resolved = source(dir.path(), given).resolve();
            let expected = origin.min(Origin::Settings);
            assert_eq!(resolved.origins[&LEVELS], expected, "{origin:?}");
            let text = if expected == Origin::Settings { "30,40,50" } else { "10,20,30" };
            assert_eq!(resolved.values.get(LEVELS), text, "{origin:?}");
        }
        let empty = tempfile::tempdir().unwrap();
        let resolved = source(empty.path(), &[(LEVELS, "10,20,30", Origin::Config)]).resolve();
        assert_eq!((resolved.origins[&LEVELS], resolved.values.get(LEVELS).as_str()), (Origin::Config, "10,20,30"));
        assert_eq!(resolved.origins[&Key::Bell], Origin::Default);
    }

    #[test]
    fn a_change_is_kept_and_null_takes_it_back() {
        let dir = tempfile::tempdir().unwrap();
        let source = source(&dir.path().join("made"), &[]);
        let all =
            json!({"warn_minutes": [30, 5], "bell": true, "webhook": ["ntfy=https://ntfy.sh/topic"], "spike_rate": 9});
        let resolved = source.change(&changes(all)).unwrap();
        assert_eq!(resolved.problems, [""; 0]);
        assert_eq!(resolved.values.get(Key::Core(SettingKey::WarnMinutes)), "30,5");
        assert!(resolved.values.delivery.bell && resolved.values.delivery.webhooks.0.len() == 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(source.file.as_deref().unwrap()).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "a webhook's address is a secret");
        }
        let resolved = source.change(&changes(json!({"bell": null}))).unwrap();
        assert!(!resolved.values.delivery.bell && resolved.values.delivery.webhooks.0.len() == 1);
    }

    #[test]
    fn a_wrong_change_writes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let source = source(dir.path(), &[]);
        for (wrong, expected) in [
            (json!({"colour": "red"}), "there is no setting \"colour\""),
            (json!({"bell": true, "quiet_hours": "late"}), "quiet_hours: allowed"),
            (json!({"budget": {"day": 1}}), "budget: allowed"),
            (json!({"webhook": "file:///etc/passwd"}), "webhook: "),
            (json!({"webhook": "json=file:///etc/passwd"}), "http"),
            (json!({"webhook": "json=nonsense"}), "http"),
        ] {
            let error = source.change(&changes(wrong)).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!dir.path().join(FILE).exists());
        }
        let none = SettingsSource::default().change(&changes(json!({"bell": true})));
        assert!(matches!(none, Err(SettingsError::NotKept)));
    }

    #[test]
    fn a_damaged_file_is_said_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let source = source(dir.path(), &[]);
        for text in ["{", "[]", "{\"bell\": tru", "\u{0}"] {
            std::fs::write(dir.path().join(FILE), text).unwrap();
            let resolved = source.resolve();
            assert_eq!((resolved.problems.len(), &resolved.values), (1, &UserSettings::default()), "{text}");
            assert!(matches!(source.change(&changes(json!({"bell": true}))), Err(SettingsError::Damaged(..))));
            assert_eq!(std::fs::read_to_string(dir.path().join(FILE)).unwrap(), text);
        }
        std::fs::write(dir.path().join(FILE), r#"{"bell": "loud", "old": 1, "quota_levels": "1,2,3"}"#).unwrap();
        let resolved = source.resolve();
        assert_eq!((resolved.problems.len(), resolved.values.get(LEVELS).as_str()), (2, "1,2,3"), "{resolved:?}");
    }
}
