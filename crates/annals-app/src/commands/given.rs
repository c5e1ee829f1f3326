//! A command on its way through its decision, and its events as they are to be stored.

use annals_core::{
    AppendRequest, CausationId, Clock, EventId, EventType, MAX_APPEND_EVENTS, NewEvent, RecordedEvent,
    StreamName, Version,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::metadata::LastMetadata;
use crate::command::CommandPayload;
use crate::panics::catch_panic;
use crate::{
    Command, CommandOptions, CommandRequest, Context, DomainError, Error, Event, Named, Rejection, Unknown,
    codec,
};

/// A command that was given to an entity.
pub(super) struct Given<C> {
    pub(super) stream: StreamName,
    pub(super) id: String,
    pub(super) command: C,
    pub(super) options: CommandOptions,
    /// Whether the caller knows the types of the domain.
    is_typed: bool,
    /// Whether it is one of the framework's own: its id alone tells what it is, however its content is read by then, and nothing is
    /// recorded of it when it makes no events.
    pub(super) is_own: bool,
    /// Whether code for it must not hold up the runtime.
    pub(super) is_apart: bool,
    /// Recorded with its events.
    pub(super) metadata: Bytes,
    /// Tells it from other commands with the same id; one without an id, and one of the framework's own, has none.
    pub(super) digest: Option<String>,
}

/// What is recorded with the events of a command, for the audit trail and to recognise the command again.
#[derive(Deserialize)]
pub(crate) struct CommandMetadata {
    pub(crate) command: String,
    /// Only a command with an id has one.
    #[serde(default)]
    pub(crate) command_digest: Option<String>,
    pub(crate) principal: String,
    /// What caused the command, where it has an id.
    #[serde(default)]
    pub(crate) caused_by: Option<String>,
}

impl CommandMetadata {
    /// What is recorded with an event, if a command gave rise to it.
    pub(crate) fn of(event: &RecordedEvent) -> Option<Self> {
        serde_json::from_slice(event.metadata()?).ok()
    }
}

#[derive(Serialize)]
struct MetadataToWrite<'a> {
    command: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    command_digest: Option<&'a str>,
    principal: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    caused_by: Option<&'a str>,
}

impl<C: Command> Given<C> {
    /// Opens a request that is for one of these commands.
    pub(super) fn open(
        request: CommandRequest,
        stream: StreamName,
        last_metadata: &LastMetadata,
    ) -> Result<Self, Error<Rejection>> {
        let CommandRequest { id, name, options, payload, is_own, is_apart, .. } = request;
        let (command, is_typed) = match payload {
            CommandPayload::Typed(command) => (command.downcast::<C>().ok().map(|command| *command), true),
            CommandPayload::Json(json) => {
                let decoded = codec::decode::<C>(&name, &json);
                let fits = decoded.map_err(|error| Error::malformed(format!("the body of {name}"), error))?;
                (fits, false)
            }
        };
        let Some(command) = command else {
            let known = C::NAMES.iter().map(|name| (*name).to_owned()).collect();
            return Err(Error::Unknown(Unknown { kind: "command", name: name.into_owned(), known }));
        };
        validate(&command)?;
        let needs_digest = options.command_id.is_some() && !is_own;
        let digest = needs_digest.then(|| digest_of(&command)).transpose()?;
        let make = || {
            let metadata = MetadataToWrite {
                command: command.name(),
                command_digest: digest.as_deref(),
                principal: &options.principal.name,
                caused_by: options
                    .command_id
                    .as_ref()
                    .and(options.causation_id.as_ref())
                    .map(CausationId::as_str),
            };
            let json = serde_json::to_vec(&metadata).map_err(|error| Error::malformed("the metadata", error));
            json.map(Bytes::from)
        };
        let metadata = match &options.command_id {
            None => last_metadata.of(&command, &options.principal.name, make)?,
            Some(_) => make()?,
        };
        Ok(Self { stream, id, command, options, is_typed, is_own, is_apart, metadata, digest })
    }

    /// Its name.
    pub(super) fn name(&self) -> &'static str {
        self.command.name()
    }

    /// What it is decided on besides the state.
    pub(super) fn context(&self, version: Version, clock: &dyn Clock) -> Context {
        Context {
            id: self.id.clone(),
            version,
            occurred_at: self.options.occurred_at.unwrap_or_else(|| clock.now()),
            principal: self.options.principal.clone(),
        }
    }

    /// The refusal that it was answered with before. Its typed form is not stored, and only who knows the types asks for it: the
    /// same decision on the same state gives it again, unless the domain has changed.
    pub(super) async fn recognise<R: DomainError, S>(
        &self,
        mut rejection: Rejection,
        state: impl Future<Output = Result<S, Error<Rejection>>>,
        decide_again: impl FnOnce(&S) -> Option<R>,
    ) -> Result<Rejection, Error<Rejection>> {
        if self.is_typed {
            let state = state.await?;
            if let Ok(Some(error)) = catch_panic(|| decide_again(&state)) {
                rejection.recognise(error);
            }
        }
        Ok(rejection)
    }

    /// The id of its n-th event, where it has an id itself: always the same, so that the store knows the event again.
    pub(super) fn event_id(&self, command_id: &CausationId, index: usize) -> EventId {
        EventId::derived(self.stream.as_str(), &format!("{command_id}#{index}"))
    }

    /// Adds its events to an append. The payloads are returned as they are stored.
    pub(super) fn record<E: Event>(
        &self,
        events: &[E],
        types: &EventTypes,
        request: &mut AppendRequest,
    ) -> Result<Vec<Bytes>, Error<Rejection>> {
        if events.len() > MAX_APPEND_EVENTS {
            let reason = format!(
                "{} events, expected at most {MAX_APPEND_EVENTS}: give several commands",
                events.len()
            );
            return Err(Error::malformed("what the command gives rise to", reason));
        }
        let mut payloads = Vec::with_capacity(events.len());
        request.events.reserve(events.len());
        for (index, event) in events.iter().enumerate() {
            let payload = codec::encode(event).map_err(|error| Error::malformed(event.name(), error))?;
            let payload = Bytes::from(payload);
            payloads.push(payload.clone());
            let tags = event.tags()?;
            let recorded = self.event_in(self.stream.clone(), index, types.of(event)?, payload);
            request.events.push(recorded.tags(tags));
        }
        Ok(payloads)
    }

    /// The n-th event that it gives rise to.
    pub(super) fn event_in(
        &self,
        stream: StreamName,
        index: usize,
        event_type: EventType,
        payload: Bytes,
    ) -> NewEvent {
        let mut event = NewEvent::new(stream, event_type).json(payload).metadata(self.metadata.clone());
        if let Some(command_id) = &self.options.command_id {
            event = event.id(self.event_id(command_id, index));
        }
        if let Some(cause) = self.options.command_id.as_ref().or(self.options.causation_id.as_ref()) {
            event = event.causation_id(cause.clone());
        }
        if let Some(id) = &self.options.correlation_id {
            event = event.correlation_id(id.clone());
        }
        if let Some(moment) = self.options.occurred_at {
            event = event.occurred_at(moment);
        }
        event
    }
}

/// Lets a command look at itself.
fn validate<C: Command>(command: &C) -> Result<(), Error<Rejection>> {
    catch_panic(|| command.validate())
        .map_err(|message| Error::panicked(&format!("the validation of {}", command.name()), message))?
        .map_err(|invalid| Error::Invalid { command: command.name().to_owned(), invalid })
}

fn digest_of<C: Named>(command: &C) -> Result<String, Error<Rejection>> {
    let json = codec::encode(command).map_err(|error| Error::malformed(command.name(), error))?;
    let mut hasher = blake3::Hasher::new_derive_key("annals 2026 digest of a command");
    hasher.update(command.name().as_bytes()).update(&[0]).update(&json);
    Ok(hasher.finalize().to_hex()[..32].to_owned())
}

/// The names of a type's events, checked once.
pub(super) struct EventTypes(Vec<Option<EventType>>);

impl EventTypes {
    pub(super) fn of_events<E: Event>() -> Self {
        Self(E::NAMES.iter().map(|name| EventType::new(*name).ok()).collect())
    }

    fn of<E: Event>(&self, event: &E) -> Result<EventType, Error<Rejection>> {
        match self.0.get(event.name_index()).cloned().flatten() {
            Some(event_type) => Ok(event_type),
            None => Ok(EventType::new(event.name())?),
        }
    }
}
