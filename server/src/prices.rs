//! Which prices are in force: the table inside the program, and over it a file of the user's.
//!
//! Nothing is fetched. A file of `LiteLLM`'s shape named `prices.json` in the configuration directory, or named with
//! `--prices`, wins model by model. One that cannot be used is said to be so, and the table inside is used alone.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dashboard_core::event::HealthStatus;
use dashboard_core::price::PriceTable;

use crate::cli;

/// The prices in force, and where they come from.
#[derive(Clone, Debug)]
pub struct Prices {
    /// The table.
    pub table: Arc<PriceTable>,
    /// The user's file, if one is there or was named.
    pub file: Option<PathBuf>,
    /// Models whose prices are the file's.
    pub overridden: usize,
    /// Why the file is not used, if it is not.
    pub problem: Option<String>,
}

impl Prices {
    /// The table inside the program alone.
    pub fn embedded() -> Self {
        Self { table: Arc::new(PriceTable::embedded()), file: None, overridden: 0, problem: None }
    }

    /// With the file `given`, or else the one in the configuration directory if it is there.
    pub fn load(given: Option<&Path>) -> Self {
        let usual = || cli::config_file().and_then(|file| file.parent().map(|dir| dir.join("prices.json")));
        let Some(file) = given.map(Path::to_owned).or_else(usual) else { return Self::embedded() };
        let embedded = PriceTable::embedded();
        let own = match std::fs::read_to_string(&file) {
            Ok(text) => PriceTable::parse(&text).map_err(|error| match std::error::Error::source(&error) {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            }),
            Err(error) if error.kind() == ErrorKind::NotFound && given.is_none() => return Self::embedded(),
            Err(error) => Err(error.to_string()),
        };
        match own {
            Ok(own) => {
                let overridden = own.len();
                Self { table: Arc::new(embedded.overridden_by(own)), file: Some(file), overridden, problem: None }
            }
            Err(error) => {
                let problem = format!(
                    "{} cannot be used ({error}); the prices inside the program are used alone",
                    file.display()
                );
                Self { table: Arc::new(embedded), file: Some(file), overridden: 0, problem: Some(problem) }
            }
        }
    }

    /// The same, and says on stderr if the file cannot be used.
    pub fn load_aloud(given: Option<&Path>) -> Self {
        let prices = Self::load(given);
        if let Some(problem) = &prices.problem {
            eprintln!("dashboard: {problem}");
        }
        prices
    }

    /// For the health report.
    pub fn health(&self) -> (HealthStatus, String) {
        match (&self.problem, &self.file) {
            (Some(problem), _) => (HealthStatus::Degraded, problem.clone()),
            (None, Some(file)) => {
                (HealthStatus::Healthy, format!("{}, and {} of {}", self.about(), self.overridden, file.display()))
            }
            (None, None) => (HealthStatus::Healthy, self.about()),
        }
    }

    fn about(&self) -> String {
        format!("{} models of {}", PriceTable::embedded().len(), PriceTable::EMBEDDED_SOURCE)
    }
}

#[cfg(test)]
mod tests {
    use dashboard_core::ids::ModelId;
    use dashboard_core::units::{TokenUsage, Tokens};

    use super::*;

    fn million(prices: &Prices, model: &str) -> Option<f64> {
        let usage = TokenUsage { input: Tokens(1_000_000), ..TokenUsage::default() };
        prices.table.cost(&ModelId::new(model), &usage).map(|priced| priced.cost.usd())
    }

    #[test]
    fn a_file_wins_by_model_and_a_broken_one_is_said_to_be_so() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("prices.json");
        std::fs::write(
            &file,
            r#"{"claude-opus-4-5": {"input_cost_per_token": 1e-6}, "own": {"input_cost_per_token": 2e-6}}"#,
        )
        .unwrap();
        let prices = Prices::load(Some(&file));
        assert_eq!((million(&prices, "claude-opus-4-5"), million(&prices, "own")), (Some(1.0), Some(2.0)));
        assert_eq!(million(&prices, "claude-opus-4-5-20251101"), Some(5.0), "another model keeps its price");
        assert_eq!((prices.overridden, prices.health().0), (2, HealthStatus::Healthy));

        for broken in ["[]", "{", r#"{"m": {"input_cost_per_token": 7}}"#] {
            std::fs::write(&file, broken).unwrap();
            let prices = Prices::load(Some(&file));
            assert_eq!(million(&prices, "claude-opus-4-5"), Some(5.0));
            let (status, message) = prices.health();
            assert!(status == HealthStatus::Degraded && message.contains("prices.json cannot be used"), "{message}");
        }
        assert!(
            Prices::load(Some(&dir.path().join("none.json"))).problem.is_some(),
            "a file that was named must be there"
        );
    }
}
