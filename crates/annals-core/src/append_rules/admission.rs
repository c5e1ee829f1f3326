//! The rules of an append, for every store: an id is stored once, all checks that fail are reported together, and
//! events get their places.

use std::collections::HashMap;

use super::{PreparedAppend, PreparedEvent};
use crate::{
    AppendCondition, AppendError, AppendReceipt, Checkpoint, Conflict, EventId, FailedCheck, KnownEvent,
    Position, RecordedEvent, StreamName, StreamState, Timestamp, Version,
};

/// What is stored, as the next append must see it: with all that was accepted before, be it durable yet or not.
pub trait AppendState {
    /// Why an append is not taken.
    type Error: From<AppendError>;

    /// What is known of a stream.
    ///
    /// # Errors
    /// What keeps the store from telling.
    fn stream_state(&self, stream: &StreamName) -> Result<StreamState, Self::Error>;

    /// The event with this id, hidden or not.
    ///
    /// # Errors
    /// What keeps the store from telling.
    fn known(&self, id: &EventId) -> Result<Option<Known>, Self::Error>;

    /// The first visible event that breaks a condition.
    ///
    /// # Errors
    /// What keeps the store from telling.
    fn first_breaking(&self, condition: &AppendCondition) -> Result<Option<Position>, Self::Error>;
}

/// What is known of an event whose id is appended again.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// Where it is.
    pub position: Position,
    /// The digest of its content.
    pub digest: [u8; 32],
    /// The first position of the append that it came with.
    pub append_first: Position,
}

/// An append that was accepted and is to be stored.
#[derive(Debug)]
pub struct StagedAppend {
    /// Its events, placed.
    pub events: Vec<RecordedEvent>,
    /// The digest of each event's content.
    pub digests: Vec<[u8; 32]>,
    /// The streams that it writes, in order of first mention.
    pub streams: Vec<WrittenStream>,
    /// The checkpoint to store with it.
    pub checkpoint: Option<Checkpoint>,
    /// What to tell the appender once it is stored.
    pub receipt: AppendReceipt,
}

/// A stream that an append writes.
#[derive(Debug)]
pub struct WrittenStream {
    /// Its name.
    pub name: StreamName,
    /// Its state before the append.
    pub before: StreamState,
    /// Its state after the append.
    pub after: StreamState,
    /// The position of its last event.
    pub last_position: Position,
}

impl WrittenStream {
    /// Whether it is written in a way that hides events of it.
    pub fn hides(&self) -> bool {
        // Of a stream that is new, visible_from is 0 before and 1 after, and there is nothing to hide.
        self.after.visible_from > self.before.visible_from.max(Version::new(1))
    }
}

/// Where the former append begins whose events these are; `None` when all of them are new.
///
/// # Errors
/// [`AppendError`] when only some are known, or with other content, or from several appends.
pub fn find_known<S: AppendState>(state: &S, events: &[PreparedEvent]) -> Result<Option<Position>, S::Error> {
    let mut known = Vec::new();
    let mut appends = Vec::new();
    for event in events {
        let Some(Known { position, digest, append_first }) = state.known(&event.id)? else { continue };
        if digest != event.digest {
            return Err(AppendError::IdReused { id: event.id, position }.into());
        }
        known.push(KnownEvent { id: event.id, position });
        appends.push(append_first);
    }
    let Some(first) = appends.first().copied() else { return Ok(None) };
    if known.len() < events.len() {
        return Err(AppendError::PartialDuplicate { known, total: events.len() }.into());
    }
    if appends.iter().any(|append| *append != first) {
        return Err(AppendError::KnownFromSeveralAppends { known }.into());
    }
    Ok(Some(first))
}

/// What a receipt tells of an event, whether its content is still there or not.
#[derive(Debug, Clone)]
pub struct FormerEvent {
    /// Where it is.
    pub position: Position,
    /// Its stream.
    pub stream: StreamName,
    /// Its version.
    pub version: Version,
    /// When it was recorded.
    pub recorded_at: Timestamp,
}

impl From<&RecordedEvent> for FormerEvent {
    fn from(event: &RecordedEvent) -> Self {
        let (position, version) = (event.position(), event.version());
        Self { position, stream: event.stream_name(), version, recorded_at: event.recorded_at() }
    }
}

/// The receipt that a former append was given, without proof, made from its events in order, of which there is at least
/// one.
///
/// # Errors
/// What keeps the store from reading them.
pub fn receipt_of<E>(
    first_position: Position,
    events: impl Iterator<Item = Result<FormerEvent, E>>,
) -> Result<AppendReceipt, E> {
    let mut receipt = AppendReceipt {
        first_position,
        last_position: first_position,
        recorded_at: Timestamp::default(),
        streams: Vec::new(),
        duplicate: true,
        proof: None,
    };
    let mut places = HashMap::new();
    for event in events {
        let FormerEvent { position, stream, version, recorded_at } = event?;
        receipt.last_position = position;
        receipt.recorded_at = recorded_at;
        let place = *places.entry(stream.clone()).or_insert(receipt.streams.len());
        match receipt.streams.get_mut(place) {
            Some((_, last)) => *last = version,
            None => receipt.streams.push((stream, version)),
        }
    }
    Ok(receipt)
}

/// An append that passed all checks, with the places of its events.
#[derive(Debug)]
pub struct Admitted {
    /// The streams that it writes, in order of first mention.
    pub streams: Vec<WrittenStream>,
    /// For each event, the version it gets.
    pub versions: Vec<Version>,
    /// What to tell the appender once it is stored.
    pub receipt: AppendReceipt,
}

/// Appends to more streams than this find them by hashing.
const FEW_STREAMS: usize = 8;

/// Makes all the checks on an append of new events and, if it passes them, gives its events their places behind `head`.
///
/// # Errors
/// [`AppendError::Conflict`] with every check that failed.
pub fn admit<S: AppendState>(
    state: &S,
    append: &PreparedAppend,
    head: Position,
    recorded_at: Timestamp,
) -> Result<Admitted, S::Error> {
    let mut streams: Vec<WrittenStream> = Vec::with_capacity(1);
    let mut versions = Vec::with_capacity(append.events.len());
    let mut many = HashMap::new();
    let (mut last, mut last_position, mut ended) = (0, head, None);
    for PreparedEvent { stream, system, .. } in &append.events {
        let known = match streams.get(last) {
            Some(written) if written.name == *stream => Some(last),
            _ if streams.len() <= FEW_STREAMS => streams.iter().position(|written| written.name == *stream),
            _ => many.get(stream).copied(),
        };
        last = known.unwrap_or(streams.len());
        if known.is_none() {
            let before = state.stream_state(stream)?;
            streams.push(WrittenStream { name: stream.clone(), before, after: before, last_position: head });
            if !many.is_empty() {
                many.insert(stream.clone(), last);
            } else if streams.len() > FEW_STREAMS {
                many.extend(streams.iter().enumerate().map(|(place, written)| (written.name.clone(), place)));
            }
        }
        last_position = last_position.next();
        let written = &mut streams[last];
        if written.after.tombstoned {
            ended.get_or_insert_with(|| tombstoned(&written.name, &written.after));
        }
        written.after = written.after.after_event(*system);
        written.last_position = last_position;
        versions.push(written.after.version);
    }
    check(state, append, &streams)?;
    if let Some(ended) = ended {
        // Ended by an earlier event of this same append.
        return Err(conflict(vec![ended]).into());
    }
    let receipt = AppendReceipt {
        first_position: head.next(),
        last_position,
        recorded_at,
        streams: streams.iter().map(|stream| (stream.name.clone(), stream.after.version)).collect(),
        duplicate: false,
        proof: None,
    };
    Ok(Admitted { streams, versions, receipt })
}

/// [`admit`], with the events as they are to be stored.
///
/// # Errors
/// As [`admit`].
pub fn stage_append<S: AppendState>(
    state: &S,
    append: &PreparedAppend,
    head: Position,
    recorded_at: Timestamp,
) -> Result<StagedAppend, S::Error> {
    let Admitted { streams, versions, receipt } = admit(state, append, head, recorded_at)?;
    let first = receipt.first_position.get();
    let placed = append.events.iter().zip(versions).zip(first..);
    let events = placed
        .map(|((event, version), position)| event.clone().at(Position::new(position), version, recorded_at));
    let events = events.collect();
    let digests = append.events.iter().map(|event| event.digest).collect();
    Ok(StagedAppend { events, digests, streams, checkpoint: append.checkpoint.clone(), receipt })
}

fn check<S: AppendState>(
    state: &S,
    append: &PreparedAppend,
    streams: &[WrittenStream],
) -> Result<(), S::Error> {
    let mut failed = Vec::new();
    for (stream, expected) in &append.expected {
        let written = streams.iter().take(FEW_STREAMS).find(|written| written.name == *stream);
        let actual = written.map_or_else(|| state.stream_state(stream), |written| Ok(written.before))?;
        if !expected.is_met_by(&actual) {
            failed.push(FailedCheck::Version { stream: stream.clone(), expected: *expected, actual });
        }
    }
    let ended = streams.iter().filter(|stream| stream.before.tombstoned);
    failed.extend(ended.map(|stream| tombstoned(&stream.name, &stream.before)));
    if let Some(condition) = &append.condition
        && let Some(found) = state.first_breaking(condition)?
    {
        failed.push(FailedCheck::Condition { found, after: condition.after });
    }
    if failed.is_empty() { Ok(()) } else { Err(conflict(failed).into()) }
}

fn tombstoned(stream: &StreamName, state: &StreamState) -> FailedCheck {
    FailedCheck::Tombstoned { stream: stream.clone(), version: state.version }
}

fn conflict(failed: Vec<FailedCheck>) -> AppendError {
    AppendError::Conflict(Conflict { failed })
}
