//! The events that a reaction has given up, kept as events of a stream.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use annals_core::{
    AppendError, AppendRequest, CausationId, CorrelationId, EventId, EventStore, EventType, Filter,
    NameError, NewEvent, Position, ReadFrom, ReadRequest, Reader, RecordedEvent, StreamName, Timestamp,
    Version,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, MutexGuard};

use super::ReactionError;
use crate::FailedEvent;
use crate::ledger::short;

/// The category of the streams, one for each reaction.
const CATEGORY: &str = "annals.dead_letters";
const FAILED: &str = "ReactionFailed";
const RETRIED: &str = "DeadLetterRetried";
const DROPPED: &str = "DeadLetterDropped";
/// So many are listed at once.
const MOST_LISTED: usize = 1_000;

/// An event that a reaction has given up, until somebody retries or drops it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeadLetter {
    /// The event.
    #[serde(flatten)]
    pub event: FailedEvent,
    /// What the last attempt said.
    pub error: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was given up.
    pub at: Timestamp,
}

/// What is stored of one that is given up.
#[derive(Serialize, Deserialize)]
struct Failed {
    #[serde(flatten)]
    event: FailedEvent,
    error: String,
    attempts: u32,
}

/// What is stored of one that is settled.
#[derive(Serialize, Deserialize)]
struct Settled {
    position: Position,
}

/// Whether an event is a note on a dead letter.
pub(super) fn is_note(event: &RecordedEvent) -> bool {
    event.category() == CATEGORY
}

/// The dead letters of one reaction.
pub(crate) struct DeadLetters {
    store: Arc<dyn EventStore>,
    reaction: &'static str,
    stream: StreamName,
    /// The types of the events: given up, retried, dropped.
    types: [EventType; 3],
    known: Mutex<Known>,
    /// Held while one is being settled: two at once would retry it twice.
    settling: Mutex<()>,
}

/// What was read of the stream: others may write to it as well.
#[derive(Default)]
struct Known {
    upto: Version,
    /// The dead letters, and the versions of the notes on them.
    open: BTreeMap<Position, Version>,
}

impl DeadLetters {
    pub(super) fn new(store: Arc<dyn EventStore>, reaction: &'static str) -> Result<Self, NameError> {
        let stream = StreamName::new(format!("{CATEGORY}-{reaction}"))?;
        let types = [EventType::new(FAILED)?, EventType::new(RETRIED)?, EventType::new(DROPPED)?];
        Ok(Self { store, reaction, stream, types, known: Mutex::default(), settling: Mutex::default() })
    }

    fn read<T: for<'de> Deserialize<'de>>(&self, note: &RecordedEvent) -> Result<T, ReactionError> {
        let read = serde_json::from_slice(note.payload());
        let (name, position) = (self.reaction, note.position());
        read.map_err(|error| ReactionError::Unreadable { name, position, reason: error.to_string() })
    }

    /// Reads what was written to the stream since it was last read.
    async fn refresh(&self, known: &mut Known) -> Result<(), ReactionError> {
        let request = ReadRequest::stream(self.stream.clone()).from(ReadFrom::Version(known.upto.next()));
        let mut reader = Reader::new(&*self.store, request);
        while let Some(notes) = reader.next_batch().await? {
            for note in &notes {
                match note.event_type() {
                    FAILED => {
                        known.open.insert(self.read::<Failed>(note)?.event.position, note.version());
                    }
                    RETRIED | DROPPED => {
                        known.open.remove(&self.read::<Settled>(note)?.position);
                    }
                    // The store's own: the stream was deleted or truncated.
                    _ => known.open.retain(|_, version| {
                        note.system_event()
                            .is_none_or(|system| *version >= system.visible_from(note.version()))
                    }),
                }
                known.upto = note.version();
            }
        }
        Ok(())
    }

    /// How many there are.
    pub(super) async fn count(&self) -> Result<usize, ReactionError> {
        let mut known = self.known.lock().await;
        self.refresh(&mut known).await?;
        Ok(known.open.len())
    }

    /// The first of them.
    pub(super) async fn list(&self) -> Result<Vec<DeadLetter>, ReactionError> {
        let mut known = self.known.lock().await;
        self.refresh(&mut known).await?;
        let Some(first) = known.open.values().min() else { return Ok(Vec::new()) };
        let request = ReadRequest::stream(self.stream.clone()).from(ReadFrom::Version(*first));
        let mut reader = Reader::new(&*self.store, request);
        let mut letters = Vec::new();
        while let Some(notes) = reader.next_batch().await? {
            for note in notes.iter().filter(|note| note.event_type() == FAILED) {
                let Failed { event, error, attempts } = self.read(note)?;
                if known.open.get(&event.position) == Some(&note.version()) {
                    letters.push(DeadLetter { event, error, attempts, at: note.recorded_at() });
                }
            }
            if letters.len() >= known.open.len().min(MOST_LISTED) {
                break;
            }
        }
        letters.truncate(MOST_LISTED);
        letters.sort_by_key(|letter| letter.event.position);
        Ok(letters)
    }

    /// The events behind a position that were given up, whatever became of them then.
    pub(super) async fn given_up_after(&self, place: Position) -> Result<BTreeSet<Position>, ReactionError> {
        let request = ReadRequest::new(Filter::stream(self.stream.clone())).after(place);
        let mut reader = Reader::new(&*self.store, request);
        let mut found = BTreeSet::new();
        while let Some(notes) = reader.next_batch().await? {
            for note in notes.iter().filter(|note| note.event_type() == FAILED) {
                found.insert(self.read::<Failed>(note)?.event.position);
            }
        }
        Ok(found)
    }

    /// Gives an event up.
    pub(super) async fn add(
        &self,
        event: &RecordedEvent,
        error: &str,
        attempts: u32,
    ) -> Result<(), AppendError> {
        let facts = FailedEvent::of(event);
        let id = facts.id.clone();
        let failed = Failed { event: facts, error: short(error), attempts };
        let note = self.note(Note::GivenUp, &id, &failed);
        let correlation = event.correlation_id().and_then(|id| CorrelationId::new(id).ok());
        let note = match correlation {
            Some(id) => note.correlation_id(id),
            None => note,
        };
        self.append(note).await
    }

    /// Begins to settle one: nobody else does so until what is returned is dropped.
    pub(super) async fn begin_to_settle(&self, position: Position) -> Result<Settling<'_>, ReactionError> {
        let alone = self.settling.lock().await;
        let mut known = self.known.lock().await;
        self.refresh(&mut known).await?;
        let missing = ReactionError::NoSuchLetter { name: self.reaction, position };
        let Some(version) = known.open.get(&position) else { return Err(missing) };
        let request = ReadRequest::stream(self.stream.clone()).from(ReadFrom::Version(*version)).limit(1);
        let Some(note) = self.store.read(request).await?.events.into_iter().next() else {
            return Err(missing);
        };
        let event = self.read::<Failed>(&note)?.event;
        Ok(Settling { letters: self, event, _alone: alone })
    }

    /// A note whose id is made of what it says, so that it is stored once however often it is written.
    fn note(&self, note: Note, event_id: &str, content: &impl Serialize) -> NewEvent {
        let event_type = self.types[note as usize].clone();
        let scope = format!("annals dead letter {}", self.reaction);
        let id = EventId::derived(&scope, &format!("{event_type}:{event_id}"));
        // A structure of strings and numbers can always be written.
        let payload = serde_json::to_vec(content).unwrap_or_default();
        let note = NewEvent::new(self.stream.clone(), event_type).id(id).json(payload);
        match CausationId::new(event_id) {
            Ok(cause) => note.causation_id(cause),
            Err(_) => note,
        }
    }

    async fn append(&self, note: NewEvent) -> Result<(), AppendError> {
        match self.store.append(AppendRequest::new([note])).await {
            // It was given up before, with other words.
            Ok(_) | Err(AppendError::IdReused { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// What is noted about a dead letter, in the order of their types.
#[derive(Clone, Copy)]
pub(super) enum Note {
    GivenUp,
    Retried,
    Dropped,
}

/// A dead letter that is being settled.
pub(super) struct Settling<'a> {
    letters: &'a DeadLetters,
    pub(super) event: FailedEvent,
    _alone: MutexGuard<'a, ()>,
}

impl Settling<'_> {
    /// Settles it.
    pub(super) async fn settle(self, note: Note) -> Result<(), AppendError> {
        let settled = Settled { position: self.event.position };
        self.letters.append(self.letters.note(note, &self.event.id, &settled)).await
    }
}
