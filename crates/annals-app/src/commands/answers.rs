//! What a command with an id was answered, so that it is answered the same when it comes again.
//!
//! The events of a command have ids that follow from its own, so its first event tells that it was done. A command without
//! events leaves an event of the framework instead, in the stream `annals.answers-<category>` and with the id that its first
//! event would have had: that it was refused, or that there was nothing to do.

use annals_core::{
    AppendRequest, CausationId, EventStore, EventType, Filter, Position, ReadFrom, ReadRequest,
    RecordedEvent, StreamName, Timestamp, Version,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::given::{CommandMetadata, Given};
use crate::{Command, Context, Error, Event, Rejection, decode_event};

/// The category of the streams that tell of commands without events.
const ANSWERS: &str = "annals.answers";
/// The domain refused a command.
const REFUSED: &str = "CommandRefused";
/// There was nothing to do for a command.
const NOTHING_TO_DO: &str = "CommandHadNothingToDo";

/// What a command was decided on.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct DecidedOn {
    /// The version of the entity.
    #[serde(default)]
    pub(super) version: Version,
    /// The position up to which events were looked for, where it depended on more than its entity.
    #[serde(default, skip_serializing_if = "is_none")]
    pub(super) position: Position,
    /// When it was taken to happen.
    pub(super) occurred_at: Timestamp,
}

/// What is recorded of a command without events.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Settled {
    /// The stream of its entity.
    stream: StreamName,
    #[serde(flatten)]
    pub(super) on: DecidedOn,
    /// Why it was refused, if it was.
    #[serde(flatten)]
    pub(super) refusal: Option<Refusal>,
}

/// The domain's reason.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Refusal {
    code: String,
    message: String,
}

impl Settled {
    /// The refusal as it is told again.
    pub(super) fn rejection(&self) -> Rejection {
        let Refusal { code, message } = self.refusal.clone().unwrap_or_default();
        Rejection::restored(code, message)
    }

    /// What it was decided on then, besides the state.
    pub(super) fn context(&self, now: Context) -> Context {
        Context { occurred_at: self.on.occurred_at, ..now }
    }
}

fn is_none(position: &Position) -> bool {
    *position == Position::ZERO
}

/// Adds the record of a command without events to an append, where the command has an id.
pub(super) fn record<C: Command>(
    given: &Given<C>,
    refused: Option<&Rejection>,
    on: DecidedOn,
    request: &mut AppendRequest,
) -> Result<(), Error<Rejection>> {
    if given.options.command_id.is_none() || given.is_own {
        return Ok(());
    }
    let refusal = refused.map(|why| Refusal { code: why.code.to_string(), message: why.message.clone() });
    let event_type = EventType::new(if refusal.is_some() { REFUSED } else { NOTHING_TO_DO })?;
    let settled = Settled { stream: given.stream.clone(), on, refusal };
    let payload = serde_json::to_vec(&settled).map_err(|error| Error::malformed("the answer", error))?;
    let stream = StreamName::new(format!("{ANSWERS}-{}", given.stream.category()))?;
    request.events.push(given.event_in(stream, 0, event_type, payload.into()));
    Ok(())
}

/// What a command was answered the first time.
pub(super) enum FirstAnswer<E> {
    /// Its events, their payloads, and the record of the last one.
    Events(Vec<E>, Vec<Bytes>, RecordedEvent),
    /// There was nothing to record but that.
    Settled(Settled),
}

/// The answer that a command with this id got before, if it got one.
///
/// # Errors
/// [`Error::CommandIdReused`] when it was another command, and what keeps the store from telling.
pub(super) async fn first_answer<C: Command, E: Event>(
    store: &dyn EventStore,
    given: &Given<C>,
    command_id: &CausationId,
) -> Result<Option<FirstAnswer<E>>, Error<Rejection>> {
    let first_id = given.event_id(command_id, 0);
    let found = store.read(ReadRequest::new(Filter::event_id(first_id)).limit(1)).await?;
    let Some(first) = found.events.into_iter().next() else { return Ok(None) };
    if CommandMetadata::of(&first).and_then(|metadata| metadata.command_digest) != given.digest {
        return Err(Error::CommandIdReused { command_id: command_id.to_string() });
    }
    if first.category() == ANSWERS {
        let settled = serde_json::from_slice(first.payload());
        let settled = settled.map_err(|error| Error::malformed("the record of an answer", error))?;
        return Ok(Some(FirstAnswer::Settled(settled)));
    }
    let request = ReadRequest::stream(given.stream.clone()).from(ReadFrom::Version(first.version()));
    let (mut events, mut payloads) = (Vec::new(), Vec::new());
    let mut last: RecordedEvent = first;
    let mut reader = annals_core::Reader::new(store, request);
    'read: while let Some(batch) = reader.next_batch().await? {
        for event in batch {
            if event.id() != given.event_id(command_id, payloads.len()) {
                break 'read;
            }
            events.extend(decode_event::<E>(&event)?);
            payloads.push(Bytes::copy_from_slice(event.payload()));
            last = event;
        }
    }
    Ok(Some(FirstAnswer::Events(events, payloads, last)))
}
