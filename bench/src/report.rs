//! The figures: kept as rows, printed as a table, written as JSON.

use std::path::Path;

use serde::Serialize;

use crate::failure::{Failure, Result};
use crate::machine::Machine;
use crate::statistics::Latencies;

/// One figure: what one contender did in one work.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) work: String,
    pub(crate) contender: String,
    pub(crate) value: f64,
    pub(crate) unit: String,
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
}

/// All the figures of a run.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) rows: Vec<Row>,
    /// What a reader of the figures should know.
    #[serde(skip)]
    pub(crate) notes: Vec<String>,
}

impl Report {
    /// A report without figures.
    pub(crate) fn new(machine: Machine) -> Self {
        Self { machine, rows: Vec::new(), notes: Vec::new() }
    }

    /// Adds a figure, and says so on stderr.
    pub(crate) fn add(
        &mut self,
        work: &str,
        contender: &str,
        value: f64,
        unit: &str,
        times: Option<&Latencies>,
    ) {
        let percentile = |share| times.and_then(|times| times.percentile_us(share));
        let row = Row {
            work: work.to_owned(),
            contender: contender.to_owned(),
            value,
            unit: unit.to_owned(),
            p50_us: percentile(0.5),
            p99_us: percentile(0.99),
        };
        eprintln!("  {work:<24} {contender:<16} {:>14} {unit}", number(value));
        self.rows.push(row);
    }

    /// Adds something that a reader should know.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        let text = text.into();
        eprintln!("  note: {text}");
        self.notes.push(text);
    }

    /// The figure of a contender in a work.
    pub(crate) fn value(&self, work: &str, contender: &str) -> Option<f64> {
        self.row(work, contender).map(|row| row.value)
    }

    /// The row of a contender in a work.
    pub(crate) fn row(&self, work: &str, contender: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.work == work && row.contender == contender)
    }

    /// The figures of a work, of the contenders that `wanted` picks.
    pub(crate) fn values<'a>(
        &'a self,
        work: &'a str,
        wanted: impl Fn(&str) -> bool + 'a,
    ) -> impl Iterator<Item = f64> + 'a {
        self.rows.iter().filter(move |row| row.work == work && wanted(&row.contender)).map(|row| row.value)
    }

    /// Prints all figures as a table, each beside that of Annals.
    pub(crate) fn print_table(&self) {
        println!("\n{}\n", self.machine);
        println!(
            "{:<24} {:<16} {:>14} {:<10} {:>11} {:>11}  annals is",
            "work", "contender", "value", "unit", "p50 us", "p99 us"
        );
        let mut work = "";
        for row in &self.rows {
            if row.work != work {
                println!();
                work = &row.work;
            }
            let percentile = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), number);
            let ratio =
                self.value(&row.work, "annals").filter(|_| row.contender != "annals" && row.value != 0.0);
            println!(
                "{:<24} {:<16} {:>14} {:<10} {:>11} {:>11}  {}",
                row.work,
                row.contender,
                number(row.value),
                row.unit,
                percentile(row.p50_us),
                percentile(row.p99_us),
                ratio.map_or_else(String::new, |annals| format!("{:.2} x", annals / row.value))
            );
        }
        if !self.notes.is_empty() {
            println!("\nnotes");
            self.notes.iter().for_each(|note| println!("- {note}"));
        }
    }

    /// Writes all figures as JSON.
    pub(crate) fn write_json(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        std::fs::write(path, text)
            .map_err(|error| Failure::from(format!("cannot write {}: {error}", path.display())))
    }
}

/// A number with three digits that matter and, where it is long, with commas.
pub(crate) fn number(value: f64) -> String {
    if value.abs() < 100.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{:.0}", value.abs());
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    if value < 0.0 { format!("-{out}") } else { out }
}
