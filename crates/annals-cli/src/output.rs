//! Results on stdout: tables for people, JSON for programs.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;
use serde_json::Value;

use crate::Failure;
use crate::table;

/// How results are printed. Talk goes to stderr and never gets in their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Tables.
    Table,
    /// JSON: an object on one line, an array with one line an element.
    Json,
}

impl Output {
    /// As asked for; when nothing is, tables on a terminal and JSON elsewhere.
    pub(crate) fn choose(json: bool, table: bool) -> Self {
        if json || (!table && !io::stdout().is_terminal()) { Self::Json } else { Self::Table }
    }

    /// Prints a result.
    ///
    /// # Errors
    /// When it is no JSON, or stdout cannot be written.
    pub fn print<T: Serialize>(self, result: &T) -> Result<(), Failure> {
        self.print_json(&serde_json::to_vec(result)?)
    }

    /// Prints a result that is JSON already, keeping the order of its fields.
    pub(crate) fn print_json(self, json: &[u8]) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        match self {
            Self::Json => write_json(&mut out, json)?,
            Self::Table => out.write_all(table::render(&serde_json::from_slice(json)?).as_bytes())?,
        }
        Ok(out.flush()?)
    }
}

fn write_json(out: &mut impl Write, json: &[u8]) -> Result<(), Failure> {
    let Ok(elements) = serde_json::from_slice::<Vec<Box<serde_json::value::RawValue>>>(json) else {
        let value: Value = serde_json::from_slice(json)?;
        return Ok(writeln!(out, "{value}")?);
    };
    write!(out, "[")?;
    for (index, element) in elements.iter().enumerate() {
        write!(out, "{}{}", if index == 0 { "\n" } else { ",\n" }, element.get())?;
    }
    Ok(writeln!(out, "{}]", if elements.is_empty() { "" } else { "\n" })?)
}

/// Prints one line on stdout at once, for streams of results.
pub(crate) fn print_line(line: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
