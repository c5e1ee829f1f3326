//! `bank import FILE`: history from a bank-transaction file.
//!
//! It happened, so the bank's rules do not apply: every good row becomes an event. The id of each event is derived
//! from the transaction's number, so that the store itself keeps a row from counting twice, however often the file is
//! imported and wherever an import was cut off.

mod row;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use annals::cli::{AppCommand, Failure, Progress, Session};
use annals::{
    BoxError, EventId, EventStore, NewEvent, ReadRequest, append_missing, conflicting_ids, decode_event,
};
use clap::Args;
use serde::Serialize;

use crate::account::AccountEvent;
use row::{FILE_CURRENCY, TransactionRow, expected_header, is_header};

/// How many rows are stored by one append.
const BATCH_ROWS: usize = 1_000;
/// A longer line is no row.
const LONGEST_LINE_BYTES: u64 = 64 << 10;
/// So many broken lines are shown one by one; the rest is counted.
const SHOWN_BROKEN_LINES: u64 = 20;
/// How long the read models may take to catch up with what was imported.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Import a bank-transaction file; rows that were imported before are passed by
#[derive(Args)]
pub struct Import {
    /// The file: `;`-separated, one transaction a line, the first line names the columns; - is stdin
    file: PathBuf,
}

/// What an import did.
#[derive(Serialize, Default, Debug)]
struct Summary {
    accounts: u64,
    transactions: u64,
    imported: u64,
    already_present: u64,
    broken_lines: u64,
    events: u64,
    seconds: f64,
}

impl AppCommand for Import {
    const NAME: &'static str = "import";

    async fn run(self, mut session: Session) -> Result<(), Failure> {
        let begun = Instant::now();
        let lines = Lines::open(&self.file)?;
        let total = count_lines(&self.file)?;
        let app = session.start().await?;
        let progress = session.progress("importing", "rows");
        let mut importing = Importing::new(&**app.store());
        let interrupted = importing.take_all(lines, &progress, total).await?;
        progress.finish();
        if interrupted {
            return Err(Failure::new(format!(
                "interrupted after {} rows; import the same file again to go on: nothing is counted twice",
                importing.summary.transactions
            )));
        }
        let mut summary = importing.finish();
        tokio::select! {
            caught_up = app.catch_up(PATIENCE) => caught_up?,
            () = annals::cli::stop_signal() => session.say("interrupted; all rows are kept, read models follow later"),
        }
        summary.seconds = (begun.elapsed().as_secs_f64() * 1e3).round() / 1e3;
        session.output().print(&summary)
    }
}

fn cannot_read(path: &Path) -> impl Fn(std::io::Error) -> Failure + '_ {
    move |error| Failure::new(format!("cannot read {}: {error}", path.display()))
}

/// The lines of a transaction file after the one that names the columns, with their numbers.
struct Lines {
    path: PathBuf,
    input: Box<dyn BufRead + Send>,
    number: u64,
}

impl Lines {
    fn open(path: &Path) -> Result<Self, Failure> {
        let input: Box<dyn BufRead + Send> = match path.as_os_str() == "-" {
            true => Box::new(BufReader::new(std::io::stdin())),
            false => {
                Box::new(BufReader::with_capacity(1 << 16, File::open(path).map_err(cannot_read(path))?))
            }
        };
        let mut lines = Self { path: path.to_owned(), input, number: 0 };
        let header = lines.next()?.map(|(_, line)| line).unwrap_or_default();
        if is_header(&header) {
            return Ok(lines);
        }
        let found: String = String::from_utf8_lossy(&header).chars().take(80).collect();
        Err(Failure::usage(format!(
            "{} is no bank-transaction file: its first line is {:?}, expected {}",
            path.display(),
            found.trim_end(),
            expected_header()
        )))
    }

    fn next(&mut self) -> Result<Option<(u64, Vec<u8>)>, Failure> {
        let mut line = Vec::with_capacity(128);
        let failed = cannot_read(&self.path);
        let read =
            (&mut self.input).take(LONGEST_LINE_BYTES).read_until(b'\n', &mut line).map_err(&failed)?;
        if read == 0 {
            return Ok(None);
        }
        if read as u64 == LONGEST_LINE_BYTES && line.last() != Some(&b'\n') {
            // The rest of a line this long is passed by, so that the next one begins where it does.
            self.input.skip_until(b'\n').map_err(&failed)?;
        }
        self.number += 1;
        Ok(Some((self.number, line)))
    }
}

/// How many rows a file has, for the progress; 0 where looking would use up what is to be read.
fn count_lines(path: &Path) -> Result<u64, Failure> {
    if !path.is_file() {
        return Ok(0);
    }
    let mut input = File::open(path).map_err(cannot_read(path))?;
    let mut buffer = vec![0; 1 << 16];
    let mut count = 0_u64;
    loop {
        let read = input.read(&mut buffer).map_err(cannot_read(path))?;
        if read == 0 {
            return Ok(count.saturating_sub(1));
        }
        count += buffer[..read].iter().filter(|byte| **byte == b'\n').count() as u64;
    }
}

/// An import on its way.
struct Importing<'a> {
    store: &'a dyn EventStore,
    /// The accounts seen so far; those that the rows cannot be booked on, with the reason.
    accounts: HashMap<String, Option<String>>,
    batch: Vec<(u64, TransactionRow)>,
    ids: HashSet<EventId>,
    summary: Summary,
}

impl<'a> Importing<'a> {
    fn new(store: &'a dyn EventStore) -> Self {
        Self {
            store,
            accounts: HashMap::new(),
            batch: Vec::new(),
            ids: HashSet::new(),
            summary: Summary::default(),
        }
    }

    /// Takes every line in; true when Ctrl-C came first. What was taken in then is stored.
    async fn take_all(&mut self, mut lines: Lines, progress: &Progress, total: u64) -> Result<bool, Failure> {
        let stop = annals::cli::stop_signal();
        tokio::pin!(stop);
        while let Some((number, line)) = lines.next()? {
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            match TransactionRow::parse(&line) {
                Ok(row) => self.take(number, row).await?,
                Err(reason) => self.broken(number, reason),
            }
            if self.batch.len() >= BATCH_ROWS {
                self.store_batch().await?;
                progress.set(number - 1, total.max(number - 1));
                // A pipe may keep the import waiting where it could not hear a signal. There the signal ends it at
                // once, which loses nothing either.
                if total > 0 && tokio::time::timeout(Duration::ZERO, &mut stop).await.is_ok() {
                    return Ok(true);
                }
            }
        }
        self.store_batch().await?;
        Ok(false)
    }

    async fn take(&mut self, number: u64, row: TransactionRow) -> Result<(), Failure> {
        // A transaction that stands twice in the file is known by the time its second row is offered.
        if !self.ids.insert(row.event_id()) {
            self.store_batch().await?;
            self.ids.insert(row.event_id());
        }
        self.batch.push((number, row));
        Ok(())
    }

    fn broken(&mut self, number: u64, reason: impl std::fmt::Display) {
        self.summary.broken_lines += 1;
        if self.summary.broken_lines <= SHOWN_BROKEN_LINES {
            eprintln!("line {number}: {reason}");
        }
    }

    async fn store_batch(&mut self) -> Result<(), Failure> {
        self.ids.clear();
        let batch = std::mem::take(&mut self.batch);
        let batch = self.without_broken(batch).await?;
        let mut openings = Vec::new();
        for (_, row) in &batch {
            if !self.accounts.contains_key(&row.account) {
                self.accounts.insert(row.account.clone(), None);
                openings.push(row.opening()?);
            }
        }
        self.summary.events += append_missing(self.store, openings).await?.appended;
        let stored = append_missing(self.store, transactions(&batch)?).await?;
        self.summary.events += stored.appended;
        self.summary.imported += stored.appended;
        self.summary.already_present += stored.already_present;
        self.summary.transactions += stored.appended + stored.already_present;
        Ok(())
    }

    /// Leaves out the rows that contradict what is stored, before anything of the batch is.
    async fn without_broken(
        &mut self,
        batch: Vec<(u64, TransactionRow)>,
    ) -> Result<Vec<(u64, TransactionRow)>, Failure> {
        let conflicting = conflicting_ids(self.store, &transactions(&batch)?).await?;
        let mut good = Vec::with_capacity(batch.len());
        for (number, row) in batch {
            if conflicting.contains(&row.event_id()) {
                let transaction = &row.transaction;
                self.broken(
                    number,
                    format!("transaction {transaction} was imported before and says something else now"),
                );
            } else if let Some(reason) = self.objection(&row).await? {
                self.broken(number, reason);
            } else {
                good.push((number, row));
            }
        }
        Ok(good)
    }

    /// Why a row cannot be booked on its account: one that was opened here in another currency.
    async fn objection(&mut self, row: &TransactionRow) -> Result<Option<String>, Failure> {
        if let Some(known) = self.accounts.get(&row.account) {
            return Ok(known.clone());
        }
        let first = self.store.read(ReadRequest::stream(row.stream()?).limit(1)).await?;
        let Some(first) = first.events.first() else { return Ok(None) };
        let objection = match decode_event::<AccountEvent>(first).map_err(Failure::new)?.next() {
            Some(AccountEvent::AccountOpened { currency, .. }) if currency != FILE_CURRENCY => {
                let account = &row.account;
                Some(format!("account {account} is kept in {currency}, the file is in {FILE_CURRENCY}"))
            }
            _ => return Ok(None),
        };
        self.accounts.insert(row.account.clone(), objection.clone());
        Ok(objection)
    }

    fn finish(mut self) -> Summary {
        if let Some(more) = self.summary.broken_lines.checked_sub(SHOWN_BROKEN_LINES).filter(|more| *more > 0)
        {
            eprintln!("and {more} more broken lines");
        }
        self.summary.accounts = self.accounts.values().filter(|objection| objection.is_none()).count() as u64;
        self.summary
    }
}

fn transactions(batch: &[(u64, TransactionRow)]) -> Result<Vec<NewEvent>, BoxError> {
    batch.iter().map(|(_, row)| row.transaction()).collect()
}
