//! Annals. All that the benchmark asks of the log is asked here.

use std::path::Path;
use std::sync::Arc;

use annals_core::{
    AppendError, AppendRequest, EventId, ExpectedVersion, FailedCheck, Filter, NewEvent, Position,
    ReadRequest, StreamName, Version,
};
use annals_log::{EventLog, LogOptions};

use super::contender::{Contender, ReadyAppend, Store, Totals};
use super::workload::{Append, Part, Query};
use crate::event_log::read_to_end;
use crate::failure::{Failure, Result, failed};

/// An event log of Annals.
pub(crate) struct Annals {
    log: EventLog,
}

impl Annals {
    /// Opens the log in `folder`.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        Ok(Self { log: EventLog::open(folder, LogOptions::default())? })
    }

    fn read_to_end(&self, request: ReadRequest) -> Result<Totals> {
        let mut totals = Totals::default();
        read_to_end(&self.log, request, |batch| {
            for event in &batch.events {
                totals.count(event.position().get(), event.stream(), event.event_type(), event.payload());
            }
            Ok(())
        })?;
        Ok(totals)
    }

    /// Ends the active segment and writes all indexes.
    fn seal(&self) -> Result<()> {
        Ok(self.log.seal_blocking()?)
    }
}

/// Seals and compresses the log in `folder`.
pub(crate) fn compress(folder: &Path) -> Result<()> {
    let options = LogOptions { compress_sealed: true, ..LogOptions::default() };
    let log = EventLog::open(folder, options)?;
    log.seal_blocking()?;
    let progress: annals_core::VerifyProgress = Box::new(|_, _| {});
    log.compact_blocking(&progress)?;
    Ok(())
}

fn request_of(append: Append) -> AppendRequest {
    let count = append.parts.iter().map(|part| part.events.len()).sum();
    let mut request = AppendRequest { events: Vec::with_capacity(count), ..AppendRequest::default() };
    for Part { stream, expected, events, .. } in append.parts {
        for event in events {
            let new = NewEvent::new(stream.clone(), event.event_type).id(EventId::from_bytes(event.id));
            request.events.push(new.json(event.payload).tag(event.tag));
        }
        request.expected.push((stream, ExpectedVersion::Exact(Version::new(expected))));
    }
    request
}

fn filter_of(query: &Query) -> Filter {
    match query {
        Query::Type(event_type) => Filter::types([event_type.clone()]),
        Query::BothTags(one, other) => Filter::tags([one.clone(), other.clone()]),
    }
}

impl Contender for Annals {
    fn prepare(self: Arc<Self>, append: Append) -> ReadyAppend {
        let request = request_of(append);
        Box::new(move || {
            let receipt = self.log.append_blocking(request)?;
            // The chain's hash is that of the frame, which is what shares a barrier.
            Ok(receipt.proof.map_or(0, |proof| proof.position.get()))
        })
    }
}

impl Store for Annals {
    fn read_all(&self) -> Result<Totals> {
        self.read_to_end(ReadRequest::new(Filter::all()))
    }

    fn read_stream(&self, stream: &StreamName) -> Result<Totals> {
        self.read_to_end(ReadRequest::stream(stream.clone()))
    }

    /// An append reports all checks that fail, so one that expects a wrong version has its condition checked, but
    /// waits for no barrier.
    fn check(&self, query: &Query) -> Result<()> {
        let stream = StreamName::new("order-0")?;
        let event = NewEvent::new(stream.clone(), annals_core::EventType::new("CustomerOrderWasMade")?);
        let request = AppendRequest::new([event.json("{}")])
            .expect(stream, ExpectedVersion::Exact(Version::new(u64::from(u32::MAX))))
            .condition(filter_of(query), Position::ZERO);
        match self.log.append_blocking(request) {
            Err(AppendError::Conflict(conflict)) => {
                match conflict.failed.iter().find(|check| !matches!(check, FailedCheck::Version { .. })) {
                    Some(check) => failed(format!("expected the condition to hold: {check}")),
                    None => Ok(()),
                }
            }
            Err(error) => Err(Failure::from(error)),
            Ok(_) => failed("expected an append at a wrong version to be refused, it was taken"),
        }
    }

    fn settle(&self) -> Result<()> {
        self.seal()
    }
}
