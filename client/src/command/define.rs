//! `downlink signals define`: tells the log what its signals mean.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use downlink_client::definition::from_csv;
use downlink_client::iss::catalogue;
use downlink_client::v1::Signal;
use serde_json::json;

use super::definition_json::from_json;
use super::output::{Printer, grouped};
use super::{Context, Format};

/// Definitions in one call, each of which is kept whole or not at all.
const DEFINITIONS_MAX: usize = 500;

/// Tells the log what signals mean: unit, description, states, limits, how often values come.
///
/// A definition replaces the one before; the same again changes nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
A CSV file names its columns in the first row, 'name' and any of: display_name, description, unit (in UCUM),
value_type (double, int, bool, string, bytes), states (0=Off|1=On), expected_period_seconds,
limits (watch 739..|critical 500..800). Any other file has a JSON object a line, as 'signals --output json' prints.

Examples:
  downlink signals define --iss --prefix iss/
  downlink signals define --file lab.csv
  downlink signals --output json | downlink --url http://other:50051 signals define --file -")]
pub(super) struct Define {
    /// The 337 items of the International Space Station's public feed. Needed unless --file is given.
    #[arg(long, required_unless_present = "file", conflicts_with = "file")]
    iss: bool,
    /// What the names of the station's items begin with.
    #[arg(long, value_name = "TEXT", default_value = "iss/", conflicts_with = "file")]
    prefix: String,
    /// A table (.csv) or JSON lines; '-' for JSON lines from standard input.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Define {
    pub(super) async fn run(&self, context: &Context) -> anyhow::Result<()> {
        let definitions = match &self.file {
            None => catalogue::definitions(&self.prefix),
            Some(file) => read(file).with_context(|| format!("cannot read {}", file.display()))?,
        };
        if let (true, Some(file)) = (definitions.is_empty(), &self.file) {
            bail!(
                "{} has no definitions; 'downlink signals define --help' says how they are written",
                file.display()
            );
        }
        let client = context.connect().await?;
        let (mut first, mut last) = (u64::MAX, 0);
        for call in definitions.chunks(DEFINITIONS_MAX) {
            let kept = client.define_signals(call.to_vec()).await?;
            (first, last) = (first.min(kept.first_offset), last.max(kept.last_offset));
        }
        let mut printer = Printer::new(context.format);
        match context.format {
            Format::Human => {
                let count = grouped(definitions.len() as u64);
                printer.text(&format!("{count} definitions, at offsets {first} to {last}\n"))?;
            }
            Format::Json => {
                let count = definitions.len();
                printer.json(&json!({"definitions": count, "first_offset": first, "last_offset": last}))?;
            }
        }
        Ok(printer.flush()?)
    }
}

fn read(file: &PathBuf) -> anyhow::Result<Vec<Signal>> {
    if file.as_os_str() == "-" {
        return lines(io::stdin().lock());
    }
    let open = File::open(file)?;
    if file.extension().is_some_and(|extension| extension == "csv") {
        return Ok(from_csv(open)?);
    }
    lines(BufReader::new(open))
}

fn lines(input: impl BufRead) -> anyhow::Result<Vec<Signal>> {
    let mut definitions = Vec::new();
    for (number, line) in (1..).zip(input.lines()) {
        let line = line?;
        if !line.trim().is_empty() {
            definitions.push(from_json(&line).with_context(|| format!("line {number}"))?);
        }
    }
    Ok(definitions)
}
