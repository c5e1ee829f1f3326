//! UmaDB's engine, called as its own writer thread calls it.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use annals_core::StreamName;
use umadb_core::db::{UmaDb, process_append_request};
use umadb_core::mvcc::{Mvcc, StorageOptions, Writer};
use umadb_core::pager::ReadMethod;
use umadb_dcb::{DcbAppendCondition, DcbEvent, DcbEventStoreSync, DcbQuery, DcbQueryItem};
use uuid::Uuid;

use super::batching::Peer;
use super::contender::{Store, Totals};
use super::workload::{Append, Part, Query};
use crate::failure::{Failure, Result, failed};

/// How many events are read at once.
const READ_EVENTS: u32 = 4_096;

/// A store in one UmaDB file.
pub(crate) struct Umadb {
    database: UmaDb,
    writer: Mutex<Writer>,
    /// The last known position of each stream, which is what a condition names as seen; 0 where none is known.
    seen: Vec<AtomicU64>,
}

/// An append as UmaDB takes it.
pub(crate) struct Ready {
    events: Vec<DcbEvent>,
    condition: DcbAppendCondition,
    /// The streams, how many events each gets, and whether it was written before.
    streams: Vec<(u32, u64, bool)>,
}

impl Umadb {
    /// Opens the store in `folder`, for streams of numbers below `streams`.
    pub(crate) fn open(folder: &Path, streams: u32) -> Result<Self> {
        // Reading through a map is faster here than its default; its page cache, which made most works slower, is off.
        // It tells its settings on stdout, where they would stand among the figures.
        let mvcc = quietly(|| {
            Ok(Mvcc::new(false, StorageOptions::default().read_method(ReadMethod::Mmap).db_path(folder))?)
        })?;
        let writer = Mutex::new(mvcc.writer()?);
        let database = UmaDb::from_arc(Arc::new(mvcc));
        Ok(Self { database, writer, seen: (0..streams).map(|_| AtomicU64::new(0)).collect() })
    }

    /// The position after which a condition must find nothing: the last one known of the append's streams.
    fn seen(&self, streams: &[(u32, u64, bool)]) -> Result<Option<u64>> {
        let mut last = None;
        for (number, _, _) in streams.iter().filter(|(_, _, written)| *written) {
            let known = self.seen[*number as usize].load(Ordering::Relaxed);
            last = last.max(Some(if known == 0 { self.look_up(*number)? } else { known }));
        }
        Ok(last)
    }

    /// The position of a stream's last event, when another process wrote it.
    fn look_up(&self, number: u32) -> Result<u64> {
        let query = tagged([format!("stream:order-{number}")]);
        let last = self.database.read(Some(query), None, true, Some(1))?.next().transpose()?;
        last.map(|event| event.position).ok_or_else(|| Failure::from(format!("stream {number} is not there")))
    }

    fn read_to_end(&self, query: Option<DcbQuery>, limit: Option<u32>) -> Result<Totals> {
        let mut totals = Totals::default();
        let mut from = 1;
        loop {
            let batch = self.database.read(query.clone(), Some(from), false, limit)?.next_batch()?;
            for found in &batch {
                let tag = found.event.tags.iter().find_map(|tag| tag.strip_prefix("stream:"));
                let stream = tag.unwrap_or_default();
                totals.count(found.position, stream, &found.event.event_type, &found.event.data);
            }
            match batch.last() {
                Some(last) if limit.is_some() => from = last.position + 1,
                _ => return Ok(totals),
            }
        }
    }
}

/// Events that carry all of these tags.
fn tagged(tags: impl IntoIterator<Item = String>) -> DcbQuery {
    DcbQuery::new().item(DcbQueryItem::new().tags(tags))
}

fn lay_out_part(part: Part, ready: &mut Ready) {
    let tag = format!("stream:{}", part.stream);
    ready.condition.fail_if_events_match.items.push(DcbQueryItem::new().tags([tag.clone()]));
    ready.streams.push((part.number, part.events.len() as u64, part.expected > 0));
    ready.events.extend(part.events.into_iter().map(|event| DcbEvent {
        event_type: event.event_type.as_str().to_owned(),
        tags: vec![tag.clone(), event.tag.as_str().to_owned()],
        data: event.payload.to_vec(),
        uuid: Some(Uuid::from_bytes(event.id)),
        metadata: Vec::new(),
    }));
}

impl Peer for Umadb {
    type Ready = Ready;

    fn lay_out(&self, append: Append) -> Ready {
        let mut ready =
            Ready { events: Vec::new(), condition: DcbAppendCondition::default(), streams: Vec::new() };
        append.parts.into_iter().for_each(|part| lay_out_part(part, &mut ready));
        ready
    }

    fn append_group(&self, group: Vec<Ready>) -> Vec<Result<()>> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let count = group.len();
        let made = self.append_with(&mut writer, group);
        made.unwrap_or_else(|error| {
            let text = error.to_string();
            (0..count).map(|_| failed(text.clone())).collect()
        })
    }
}

impl Umadb {
    /// Puts each append in the writer, which checks its condition, and commits once.
    fn append_with(&self, writer: &mut Writer, group: Vec<Ready>) -> Result<Vec<Result<()>>> {
        let mvcc = &*self.database.mvcc;
        writer.reset(mvcc)?;
        let mut results = Vec::with_capacity(group.len());
        for Ready { events, mut condition, streams } in group {
            condition.after = self.seen(&streams)?;
            match process_append_request(events, Some(condition), None, mvcc, writer, None) {
                Ok(last) => {
                    self.note_seen(last, &streams);
                    results.push(Ok(()));
                }
                Err(error) => results.push(Err(Failure::from(error))),
            }
        }
        if let Err(error) = mvcc.commit(writer) {
            // What was noted is not stored: it is looked up again when it is needed.
            self.seen.iter().for_each(|seen| seen.store(0, Ordering::Relaxed));
            return Err(error.into());
        }
        Ok(results)
    }
}

impl Umadb {
    /// Remembers where the streams of an append end, of which `last` is the last position.
    fn note_seen(&self, last: u64, streams: &[(u32, u64, bool)]) {
        let mut end = last;
        for (number, count, _) in streams.iter().rev() {
            self.seen[*number as usize].store(end, Ordering::Relaxed);
            end -= count;
        }
    }
}

impl Store for Umadb {
    fn read_all(&self) -> Result<Totals> {
        self.read_to_end(None, Some(READ_EVENTS))
    }

    fn read_stream(&self, stream: &StreamName) -> Result<Totals> {
        self.read_to_end(Some(tagged([format!("stream:{stream}")])), None)
    }

    /// The read that an append makes to check its condition.
    fn check(&self, query: &Query) -> Result<()> {
        let query = match query {
            Query::Type(event_type) => DcbQuery::new().item(DcbQueryItem::new().types([event_type.as_str()])),
            Query::BothTags(one, other) => tagged([one.to_string(), other.to_string()]),
        };
        match self.database.read(Some(query), Some(1), false, Some(1))?.next() {
            Some(found) => {
                failed(format!("expected the condition to hold, found position {}", found?.position))
            }
            None => Ok(()),
        }
    }

    fn settle(&self) -> Result<()> {
        Ok(())
    }
}

/// Does something while what it prints goes nowhere.
fn quietly<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    use std::os::fd::AsFd;
    let kept = std::io::stdout().as_fd().try_clone_to_owned()?;
    let nowhere = std::fs::OpenOptions::new().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&nowhere)?;
    let done = work();
    rustix::stdio::dup2_stdout(&kept)?;
    done
}
