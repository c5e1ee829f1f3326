//! `export` and `import`: all events as lines of CloudEvents in JSON.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::PathBuf;

use annals_core::{
    Category, EventStore, Filter, MAX_PAYLOAD_BYTES, NewEvent, ReadRequest, append_missing, cloud_event,
    parse_cloud_event,
};
use clap::Args;
use serde_json::json;

use crate::{Failure, Session};

/// How many events are stored by one append.
const IMPORT_BATCH: usize = 1_000;
/// A longer line is no event: a payload in base64 takes a third more than its bytes.
const LONGEST_LINE_BYTES: usize = 2 * MAX_PAYLOAD_BYTES;

/// Writes all events.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The file to write; stdout when it is left out
    file: Option<PathBuf>,
    /// Only events of streams of this category
    #[arg(long, value_name = "NAME")]
    category: Option<Category>,
}

impl Export {
    pub(crate) async fn run(self, session: Session) -> Result<(), Failure> {
        let store = session.open_existing_store().await?.events;
        let mut out: Box<dyn Write + Send> = match &self.file {
            None => Box::new(BufWriter::new(std::io::stdout())),
            Some(path) => {
                let file = File::create_new(path);
                let failed = |error| {
                    Failure::new(format!(
                        "cannot create {}: {error}; name a file that is not there yet",
                        path.display()
                    ))
                };
                Box::new(BufWriter::new(file.map_err(failed)?))
            }
        };
        let filter = self.category.map_or_else(Filter::all, Filter::category);
        let head = store.head().await?;
        let progress = session.progress("exporting", "positions");
        let mut reader = store.reader(ReadRequest::new(filter));
        let mut count = 0_u64;
        while let Some(events) = reader.next_batch().await? {
            for event in &events {
                writeln!(out, "{}", cloud_event(event).map_err(Failure::new)?)?;
            }
            count += events.len() as u64;
            progress.set(events.last().map_or(0, |event| event.position().get()), head.get());
        }
        out.flush()?;
        progress.finish();
        session.say(format!("{count} events written"));
        Ok(())
    }
}

/// Stores exported events.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The file to read; - is stdin
    file: PathBuf,
}

/// So many broken lines are shown one by one; the rest is counted.
const SHOWN_BROKEN_LINES: u64 = 20;

#[derive(Default)]
struct Counts {
    appended: u64,
    already_present: u64,
    broken_lines: u64,
}

impl Counts {
    fn broken(&mut self, line: u64, reason: String) {
        self.broken_lines += 1;
        match self.broken_lines {
            count if count <= SHOWN_BROKEN_LINES => eprintln!("line {line}: {reason}"),
            count if count == SHOWN_BROKEN_LINES + 1 => eprintln!("and more, which are counted only"),
            _ => {}
        }
    }
}

impl Import {
    pub(crate) async fn run(self, session: Session) -> Result<(), Failure> {
        let open = || -> std::io::Result<(Box<dyn BufRead + Send>, u64)> {
            if self.file.as_os_str() == "-" {
                return Ok((Box::new(BufReader::new(std::io::stdin())), 0));
            }
            let file = File::open(&self.file)?;
            let bytes = file.metadata()?.len();
            Ok((Box::new(BufReader::new(file)), bytes))
        };
        let (mut input, total) =
            open().map_err(|error| Failure::new(format!("cannot read {}: {error}", self.file.display())))?;
        let store = session.open_store().await?.events;
        let progress = session.progress("importing", "bytes");
        let mut counts = Counts::default();
        let mut batch: Vec<(u64, NewEvent)> = Vec::new();
        let (mut done, mut number) = (0, 0);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read =
                std::io::Read::take(&mut input, LONGEST_LINE_BYTES as u64).read_until(b'\n', &mut line)?;
            if read == 0 {
                break;
            }
            if read == LONGEST_LINE_BYTES && line.last() != Some(&b'\n') {
                // The rest of a line this long is passed by, so that the next one begins where it does.
                done += input.skip_until(b'\n')? as u64;
            }
            done += read as u64;
            number += 1;
            match parse_line(&line) {
                Ok(None) => {}
                Ok(Some(event)) => {
                    // Within one append an id stands once; the same line again waits for the next.
                    if batch.iter().any(|(_, earlier)| earlier.event_id() == event.event_id()) {
                        flush(&*store, &mut batch, &mut counts).await?;
                    }
                    batch.push((number, event));
                }
                Err(reason) => counts.broken(number, reason),
            }
            if batch.len() >= IMPORT_BATCH {
                flush(&*store, &mut batch, &mut counts).await?;
                progress.set(done, total.max(done));
            }
        }
        flush(&*store, &mut batch, &mut counts).await?;
        progress.finish();
        session.output().print(&json!({
            "appended": counts.appended,
            "already_present": counts.already_present,
            "broken_lines": counts.broken_lines,
        }))
    }
}

fn parse_line(line: &[u8]) -> Result<Option<NewEvent>, String> {
    let text = std::str::from_utf8(line).map_err(|error| format!("not UTF-8: {error}"))?.trim();
    if text.is_empty() {
        return Ok(None);
    }
    parse_cloud_event(text).map(Some).map_err(|error| error.to_string())
}

async fn flush(
    store: &dyn EventStore,
    batch: &mut Vec<(u64, NewEvent)>,
    counts: &mut Counts,
) -> Result<(), Failure> {
    let events = batch.iter().map(|(_, event)| event.clone()).collect();
    let imported = append_missing(store, events).await?;
    counts.appended += imported.appended;
    counts.already_present += imported.already_present;
    for id in imported.conflicting {
        let line = batch.iter().find(|(_, event)| event.event_id() == id).map_or(0, |(number, _)| *number);
        counts.broken(line, format!("the event id {id} is stored already with other content"));
    }
    batch.clear();
    Ok(())
}
