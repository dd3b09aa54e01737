//! `dashboard prices`: what the costs are computed from.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use dashboard_core::price::{ListedPrice, PriceTable};
use serde::Serialize;

use crate::prices::Prices;
use crate::text::{Kind, Screen, TextTable};

const EXAMPLES: &str = "\
Examples:
  dashboard prices --model opus                  what Opus models cost
  dashboard prices --json                        everything, for a script
  dashboard prices --prices my-prices.json       with a file of your own over the table inside

A file has the shape of LiteLLM's model_prices_and_context_window.json:
  {\"my-model\": {\"input_cost_per_token\": 3e-6, \"output_cost_per_token\": 15e-6}}
As prices.json in the configuration directory it is always used. Nothing is fetched.";

/// Options of `prices`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct PricesArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Only models whose id contains this
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Prices of LiteLLM's shape that win over those inside; prices.json in the configuration directory by default
    #[arg(long, env = "DASHBOARD_PRICES", value_name = "FILE")]
    pub prices: Option<PathBuf>,
}

#[derive(Serialize)]
struct Listing<'a> {
    /// What the table inside the program is.
    source: &'static str,
    /// The user's file.
    file: Option<String>,
    /// Why it is not used.
    problem: Option<&'a str>,
    /// US dollars per million tokens.
    models: Vec<ListedPrice>,
}

/// Runs the command.
///
/// # Errors
/// If the output cannot be written.
pub fn run(args: &PricesArgs) -> anyhow::Result<ExitCode> {
    let prices = Prices::load_aloud(args.prices.as_deref());
    let wanted = args.model.as_ref().map(|model| model.to_ascii_lowercase()).unwrap_or_default();
    let mut models = prices.table.listed();
    models.retain(|price| price.model.as_str().to_ascii_lowercase().contains(&wanted));
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written = if args.json {
        let file = prices.file.as_ref().map(|file| file.display().to_string());
        let problem = prices.problem.as_deref();
        let listing = Listing { source: PriceTable::EMBEDDED_SOURCE, file, problem, models };
        serde_json::to_writer_pretty(&mut out, &listing).map_err(io::Error::from).and_then(|()| writeln!(out))
    } else {
        out.write_all(text(&prices, &models, &Screen::of_stdout()).as_bytes())
    };
    written.and_then(|()| out.flush()).or_else(super::unless_nobody_reads).context("cannot write the prices")?;
    Ok(ExitCode::SUCCESS)
}

fn text(prices: &Prices, models: &[ListedPrice], screen: &Screen) -> String {
    let number = |name| (name, Kind::Number);
    let mut table = TextTable::new(&[
        ("Model", Kind::Text),
        number("Input"),
        number("Output"),
        number("Write 5 min"),
        number("Write 1 h"),
        number("Read"),
        ("", Kind::Extra),
    ]);
    let usd = |amount: f64| {
        // As many decimals as the price has, two at least.
        let text = format!("{amount:.6}");
        let text = text.trim_end_matches('0');
        let decimals = text.len() - text.find('.').map_or(text.len(), |dot| dot + 1);
        format!("{amount:.*}", decimals.max(2))
    };
    for price in models {
        let rates = [&price.input, &price.output, &price.write_5m, &price.write_1h, &price.read];
        let own = if price.own { "your file" } else { "" };
        let mut row = vec![price.model.to_string()];
        row.extend(rates.map(|rate| usd(rate.base)));
        row.push(own.to_owned());
        table.row(row);
        let mut steps: Vec<u64> = rates.iter().flat_map(|rate| rate.above.iter().map(|step| step.tokens)).collect();
        steps.sort_unstable();
        steps.dedup();
        for step in steps {
            let mut row = vec![format!("  prompts above {}k tokens", step / 1_000)];
            row.extend(rates.map(|rate| {
                rate.above.iter().find(|above| above.tokens == step).map_or_else(String::new, |above| usd(above.usd))
            }));
            row.push(String::new());
            table.row(row);
        }
    }
    let file = match (&prices.file, &prices.problem) {
        (Some(_), Some(problem)) => format!("{problem}.\n"),
        (Some(file), None) => format!("{} of them from {}, which wins.\n", prices.overridden, file.display()),
        (None, _) => String::new(),
    };
    format!(
        "US dollars per million tokens: {}.\n{file}\n{}\n{} models\n",
        PriceTable::EMBEDDED_SOURCE,
        table.render(screen),
        models.len()
    )
}
