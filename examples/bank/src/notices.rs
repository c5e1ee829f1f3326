//! Notices of large withdrawals: a line in a file for each, for whoever watches over such things.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use annals::{
    BoxError, EventType, Filter, Reaction, ReactionContext, RecordedEvent, Timestamp, decode_event,
};
use serde::Serialize;

use crate::account::{AccountEvent, WithdrawalMethod};
use crate::money::Amount;

/// The environment variable that names the file. Without it, the bank tells nobody.
pub const FILE_VARIABLE: &str = "BANK_NOTICES";

/// A withdrawal of this much is told.
const LARGE: Amount = Amount::from_hundredths(1_000_000);

/// Appends a line of JSON to a file for every large withdrawal from now on: on disk before the bank goes on to the next.
///
/// After a crash, a line may come again; its `event` is the same then.
pub struct Notices {
    file: PathBuf,
}

#[derive(Serialize)]
struct Notice<'a> {
    /// What a reader knows a repeat by.
    event: String,
    account: &'a str,
    amount: Amount,
    method: WithdrawalMethod,
    at: Timestamp,
}

impl Notices {
    /// Writes them to this file, which is made when there is none.
    pub fn to(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into() }
    }
}

impl Reaction for Notices {
    const NAME: &'static str = "large-withdrawals";
    /// One file has one end.
    const CONCURRENCY: usize = 1;

    fn filter(&self) -> Filter {
        Filter::types(EventType::new("MoneyWithdrawn"))
    }

    async fn react(&self, event: &RecordedEvent, context: &ReactionContext) -> Result<(), BoxError> {
        for withdrawn in decode_event::<AccountEvent>(event)? {
            let AccountEvent::MoneyWithdrawn { amount, method } = withdrawn else { continue };
            if amount < LARGE {
                continue;
            }
            let (account, at) = (event.entity_id(), event.occurred_at());
            let line = serde_json::to_string(&Notice {
                event: context.idempotency_key(),
                account,
                amount,
                method,
                at,
            })?;
            let file = self.file.clone();
            tokio::task::spawn_blocking(move || append(&file, &line)).await?.map_err(|error| {
                format!("the notice cannot be written to {}: {error}", self.file.display())
            })?;
        }
        Ok(())
    }
}

/// Appends a line and waits until it is on disk.
fn append(path: &Path, line: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    let is_new = file.metadata()?.len() == 0;
    let mut last = *b"\n";
    if !is_new {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    // A line that was broken off by a crash stays by itself.
    let begin = if last == *b"\n" { "" } else { "\n" };
    file.write_all(format!("{begin}{line}\n").as_bytes())?;
    file.sync_all()?;
    match path.parent() {
        Some(folder) if is_new && !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_broken_off_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notices");
        append(&path, "1").unwrap();
        std::fs::write(&path, "1\n{\"hal").unwrap();
        append(&path, "2").unwrap();
        append(&path, "3").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n{\"hal\n2\n3\n");
        assert!(append(folder.path(), "4").is_err());
    }
}
