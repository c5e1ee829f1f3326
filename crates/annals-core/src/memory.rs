//! A store in memory, for tests and for trying things out.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use crate::append_rules::{
    Admitted, AppendState, Known, PreparedAppend, admit, check_filter, find_known, receipt_of,
};
use crate::index::{RecentIndex, Search, TermKind, TermSource, infallible};
use crate::{
    AppendCondition, AppendError, AppendReceipt, AppendRequest, BoxFuture, Clock, ConsumerName, Direction,
    Durability, EventBatch, EventId, EventStore, Head, InvalidRequest, MAX_BATCH_BYTES, MAX_BATCH_EVENTS,
    Position, ReadFrom, ReadRequest, RecordedEvent, StoreError, StreamName, StreamState, StreamSummary,
    SystemClock, VerifyProgress, VerifyReport,
};

/// A store in memory: the whole contract, except that nothing survives the process.
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    state: RwLock<State>,
    head: Head,
    id: EventId,
}

struct State {
    index: RecentIndex,
    events: Vec<RecordedEvent>,
    /// The first position of the append of each event.
    append_first: Vec<Position>,
    hidden: BTreeSet<u64>,
    checkpoints: HashMap<ConsumerName, Position>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            index: RecentIndex::after(Position::ZERO, 0),
            events: Vec::new(),
            append_first: Vec::new(),
            hidden: BTreeSet::new(),
            checkpoints: HashMap::new(),
        }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::with_clock(Arc::new(SystemClock))
    }
}

impl MemoryStore {
    /// An empty store that takes the time from `clock`.
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: RwLock::default(), head: Head::default(), id: EventId::fresh() }
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn append_now(&self, request: AppendRequest) -> Result<AppendReceipt, AppendError> {
        let prepared = PreparedAppend::new(request)?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(first) = find_known(&*state, &prepared.events)? {
            return receipt_of(first, state.append_from(first).iter().map(|event| Ok(event.into())));
        }
        let now = self.clock.now();
        let recorded_at = state.events.last().map_or(now, |last| last.recorded_at().max(now));
        let admitted = admit(&*state, &prepared, state.index.last(), recorded_at)?;
        let receipt = state.store(prepared, admitted);
        self.head.advance(receipt.last_position);
        Ok(receipt)
    }
}

impl State {
    fn event_at(&self, position: u64) -> Option<&RecordedEvent> {
        self.events.get(usize::try_from(position).ok()?.checked_sub(1)?)
    }

    /// The events of the append that begins at `first`.
    fn append_from(&self, first: Position) -> &[RecordedEvent] {
        let end = self.append_first.partition_point(|start| *start <= first);
        self.events.get(first.get() as usize - 1..end).unwrap_or_default()
    }

    fn store(&mut self, append: PreparedAppend, admitted: Admitted) -> AppendReceipt {
        let Admitted { streams, versions, receipt } = admitted;
        let mut position = receipt.first_position;
        for (event, version) in append.events.into_iter().zip(versions) {
            infallible(self.index.insert(&event.terms(), event.system, || Ok(StreamState::default())));
            self.append_first.push(receipt.first_position);
            self.events.push(event.at(position, version, receipt.recorded_at));
            position = position.next();
        }
        for stream in streams.iter().filter(|stream| stream.hides()) {
            let (before, after) = (stream.before.visible_from.get(), stream.after.visible_from.get());
            if let Some((positions, _)) = self.index.stream(stream.name.as_str()) {
                let hidden = positions.get(before.max(1) as usize - 1..after as usize - 1);
                self.hidden.extend(hidden.unwrap_or_default().iter().map(|position| u64::from(*position)));
            }
        }
        if let Some(checkpoint) = append.checkpoint {
            self.checkpoints.insert(checkpoint.consumer, checkpoint.position);
        }
        receipt
    }

    fn state_of(&self, stream: &str) -> StreamState {
        self.index.stream_state(stream, self.index.last()).unwrap_or_default()
    }

    /// The visible positions that match, in the given direction, lazily.
    fn matching(
        &self,
        filter: &crate::Filter,
        from: Option<u64>,
        direction: Direction,
    ) -> impl Iterator<Item = u64> {
        let mut search = infallible(Search::new(&self.index, filter));
        let last = self.index.last().get();
        let mut next = from.filter(|from| *from > 0);
        std::iter::from_fn(move || {
            loop {
                let found =
                    infallible(search.seek(next?, direction)).filter(|found| (1..=last).contains(found));
                next = match direction {
                    Direction::Forwards => found.map(|found| found + 1),
                    Direction::Backwards => found.map(|found| found - 1).filter(|next| *next > 0),
                };
                if !self.hidden.contains(&found?) {
                    return found;
                }
            }
        })
    }

    /// The position at which a read begins; `None` when it begins beyond the end.
    fn start_of(&self, request: &ReadRequest) -> Result<Option<u64>, InvalidRequest> {
        let head = self.index.last().get();
        let forwards = request.direction == Direction::Forwards;
        let position_at = |index: usize| self.events.get(index).map(|event| event.position().get());
        Ok(match request.from {
            ReadFrom::Start => Some(if forwards { 1 } else { head }),
            ReadFrom::Position(position) if forwards => Some(position.get().max(1)),
            ReadFrom::Position(position) => Some(position.get().min(head)),
            ReadFrom::Version(version) => {
                let stream = request.filter.as_stream().ok_or(InvalidRequest::VersionNeedsStream)?;
                let positions =
                    self.index.stream(stream.as_str()).map_or(&[][..], |(positions, _)| positions);
                let index = (version.get().max(1) - 1).min(usize::MAX as u64) as usize;
                let found = match forwards {
                    true => positions.get(index),
                    false if version.get() == 0 => None,
                    false => positions.get(index).or(positions.last()),
                };
                found.map(|position| u64::from(*position))
            }
            ReadFrom::RecordedAt(moment) if forwards => {
                position_at(self.events.partition_point(|event| event.recorded_at() < moment))
            }
            ReadFrom::RecordedAt(moment) => {
                let later = self.events.partition_point(|event| event.recorded_at() <= moment);
                Some(later as u64)
            }
        })
    }

    fn read(&self, request: &ReadRequest) -> Result<EventBatch, StoreError> {
        check_filter(&request.filter)?;
        let from = self.start_of(request)?;
        let mut batch = EventBatch { head: self.index.last(), ..EventBatch::default() };
        let mut bytes = 0;
        let limit = request.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        for position in self.matching(&request.filter, from, request.direction).take(limit) {
            if batch.events.len() >= MAX_BATCH_EVENTS || bytes >= MAX_BATCH_BYTES {
                batch.next = Some(Position::new(position));
                break;
            }
            let event = self.event_at(position).ok_or(StoreError::Closed)?;
            bytes += event.body().len();
            batch.events.push(event.clone());
        }
        Ok(batch)
    }

    fn streams(&self, after: Option<&StreamName>, limit: usize) -> Vec<StreamSummary> {
        let listed = self.index.terms().filter(|term| term.term.kind == TermKind::Stream);
        let mut names: Vec<&str> = listed.map(|term| term.term.name).collect();
        names.retain(|name| after.is_none_or(|after| *name > after.as_str()));
        if limit < names.len() {
            names.select_nth_unstable(limit);
            names.truncate(limit);
        }
        names.sort_unstable();
        let summary = |name: &str| StreamSummary {
            stream: StreamName::trusted(name),
            state: self.state_of(name),
            last_position: Position::new(
                self.index
                    .stream(name)
                    .and_then(|(positions, _)| positions.last())
                    .map_or(0, |p| u64::from(*p)),
            ),
        };
        names.into_iter().map(summary).collect()
    }

    fn inconsistencies(&self) -> Vec<String> {
        let versions: HashMap<&str, u64> =
            self.events.iter().map(|event| (event.stream(), event.version().get())).collect();
        let streams = self.index.terms().filter(|term| term.term.kind == TermKind::Stream);
        let wrong = streams.filter_map(|stream| {
            let (name, indexed) = (stream.term.name, stream.distances.len() as u64);
            let version = versions.get(name).copied().unwrap_or(0);
            let text =
                format!("stream {name:?} is at version {version} but {indexed} of its events are indexed");
            (version != indexed).then_some(text)
        });
        wrong.collect()
    }
}

impl AppendState for State {
    type Error = AppendError;

    fn stream_state(&self, stream: &StreamName) -> Result<StreamState, AppendError> {
        Ok(self.state_of(stream.as_str()))
    }

    fn known(&self, id: &EventId) -> Result<Option<Known>, AppendError> {
        let position = infallible(self.index.position_of(id));
        Ok(position.and_then(|position| {
            let digest = self.event_at(position)?.content_digest();
            let append_first = *self.append_first.get(position as usize - 1)?;
            Some(Known { position: Position::new(position), digest, append_first })
        }))
    }

    fn first_breaking(&self, condition: &AppendCondition) -> Result<Option<Position>, AppendError> {
        let from = Some(condition.after.next().get());
        Ok(self.matching(&condition.query, from, Direction::Forwards).next().map(Position::new))
    }
}

impl EventStore for MemoryStore {
    fn append(&self, request: AppendRequest) -> BoxFuture<'_, Result<AppendReceipt, AppendError>> {
        Box::pin(async move { self.append_now(request) })
    }

    fn read(&self, request: ReadRequest) -> BoxFuture<'_, Result<EventBatch, StoreError>> {
        Box::pin(async move { self.state().read(&request) })
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(async { Ok(self.head.get()) })
    }

    fn wait_past(&self, after: Position) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(self.head.wait_past(after))
    }

    fn stream_state(&self, stream: &StreamName) -> BoxFuture<'_, Result<StreamState, StoreError>> {
        let state = self.state().state_of(stream.as_str());
        Box::pin(async move { Ok(state) })
    }

    fn streams(
        &self,
        after: Option<StreamName>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StreamSummary>, StoreError>> {
        Box::pin(async move { Ok(self.state().streams(after.as_ref(), limit)) })
    }

    fn checkpoint(&self, consumer: &ConsumerName) -> BoxFuture<'_, Result<Option<Position>, StoreError>> {
        let position = self.state().checkpoints.get(consumer).copied();
        Box::pin(async move { Ok(position) })
    }

    fn verify(&self, progress: VerifyProgress) -> BoxFuture<'_, Result<VerifyReport, StoreError>> {
        Box::pin(async move {
            let state = self.state();
            let events = state.events.len() as u64;
            progress(events, events);
            Ok(VerifyReport {
                events,
                checked: vec![("index entries".to_owned(), events)],
                problems: state.inconsistencies(),
                readable_to: state.index.last(),
                chain: None,
            })
        })
    }

    fn durability(&self) -> Durability {
        Durability::Memory
    }

    fn store_id(&self) -> String {
        self.id.to_string()
    }

    fn description(&self) -> String {
        "events in memory, gone when the program ends".to_owned()
    }
}
