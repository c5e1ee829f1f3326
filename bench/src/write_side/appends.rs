//! Appends straight to the store: the same events as those of the commands, made before, and nothing decided.

use std::sync::Arc;
use std::time::{Duration, Instant};

use annals_app::Aggregate;
use annals_core::{
    AppendRequest, CausationId, CorrelationId, EventStore, EventType, ExpectedVersion, Filter, NewEvent,
    ReadRequest, StreamName, Version,
};
use annals_log::EventLog;
use bytes::Bytes;

use super::bank::Account;
use super::callers::{CALLERS, Caller, done_by};
use crate::failure::{Failure, Result, failed};
use crate::random::Random;
use crate::statistics::Latencies;
use crate::turns::Done;

/// An event as the framework made it of a deposit.
#[derive(Clone)]
pub(super) struct Sample {
    event_type: EventType,
    payload: Bytes,
    metadata: Bytes,
    correlation_id: Option<CorrelationId>,
    causation_id: Option<CausationId>,
}

impl Sample {
    /// The last deposit of a store.
    pub(super) async fn of(store: &dyn EventStore) -> Result<Self> {
        let event_type = EventType::new("MoneyDeposited")?;
        let found = store.read(ReadRequest::last(Filter::types([event_type.clone()]))).await?;
        let missing = || Failure::from("the store has no deposit, expected some after the warm-up");
        let event = found.events.into_iter().next().ok_or_else(missing)?;
        Ok(Self {
            event_type,
            payload: event.payload_bytes(),
            metadata: Bytes::copy_from_slice(event.metadata().unwrap_or_default()),
            correlation_id: event.correlation_id().map(CorrelationId::new).transpose()?,
            causation_id: event.causation_id().map(CausationId::new).transpose()?,
        })
    }

    /// The same event, to be stored in another stream.
    fn event_for(&self, stream: StreamName) -> NewEvent {
        let mut event = NewEvent::new(stream, self.event_type.clone()).json(self.payload.clone());
        event = event.metadata(self.metadata.clone());
        if let Some(id) = &self.correlation_id {
            event = event.correlation_id(id.clone());
        }
        if let Some(id) = &self.causation_id {
            event = event.causation_id(id.clone());
        }
        event
    }
}

/// A caller who appends to streams of its own.
pub(super) struct Appender {
    store: Arc<EventLog>,
    sample: Sample,
    /// The streams, and how many events each has.
    streams: Vec<(StreamName, u64)>,
    random: Random,
}

/// All callers, who share the streams of so many accounts.
pub(super) fn appenders(store: &Arc<EventLog>, sample: &Sample, accounts: u64) -> Result<Vec<Appender>> {
    let appender = |caller: usize| {
        let own = (caller as u64..accounts).step_by(CALLERS);
        let stream = |number: u64| Ok((StreamName::new(format!("{}-{number}", Account::CATEGORY))?, 0));
        Ok(Appender {
            store: Arc::clone(store),
            sample: sample.clone(),
            streams: own.map(stream).collect::<Result<_>>()?,
            random: Random::seeded()?,
        })
    };
    (0..CALLERS).map(appender).collect()
}

/// Checks that a store has the events that were appended, and no others.
pub(super) async fn check(store: &EventLog, appenders: &[Appender]) -> Result<()> {
    let streams = appenders.iter().flat_map(|appender| &appender.streams);
    let expected: u64 = streams.map(|(_, version)| *version).sum();
    match store.head().await?.get() {
        found if found == expected => Ok(()),
        found => failed(format!("the log has {found} events, expected the {expected} that were appended")),
    }
}

impl Appender {
    fn request(&mut self, place: usize) -> AppendRequest {
        let (stream, version) = &mut self.streams[place];
        let expected = ExpectedVersion::Exact(Version::new(*version));
        *version += 1;
        AppendRequest::new([self.sample.event_for(stream.clone())]).expect(stream.clone(), expected)
    }

    fn next_request(&mut self) -> AppendRequest {
        let place = self.random.below(self.streams.len() as u64) as usize;
        self.request(place)
    }
}

impl Caller for Appender {
    async fn begin(&mut self) -> Result<()> {
        for place in 0..self.streams.len() {
            let request = self.request(place);
            self.store.append(request).await?;
        }
        Ok(())
    }

    async fn call(&mut self) -> Result<()> {
        let request = self.next_request();
        self.store.append(request).await?;
        Ok(())
    }
}

/// Has all append, each on a thread of its own, until the time is over.
pub(super) fn append_on_threads(appenders: &mut [Appender], slice: Duration) -> Result<Done> {
    let begun = Instant::now();
    let append = |appender: &mut Appender| {
        let mut times = Latencies::default();
        let mut at = Instant::now();
        while at < begun + slice {
            let request = appender.next_request();
            appender.store.append_blocking(request)?;
            let answered = Instant::now();
            times.push(answered - at);
            at = answered;
        }
        Ok::<_, Failure>(times)
    };
    let lanes = std::thread::scope(|scope| {
        let threads: Vec<_> =
            appenders.iter_mut().map(|appender| scope.spawn(move || append(appender))).collect();
        let joined = threads.into_iter().map(|thread| match thread.join() {
            Ok(times) => times,
            Err(_) => failed("a thread that appends panicked: see above"),
        });
        joined.collect::<Result<Vec<_>>>()
    })?;
    Ok(done_by(lanes, begun.elapsed()))
}
