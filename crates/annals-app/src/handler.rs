//! Decides commands on one type of aggregate.

use std::any::Any;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use annals_core::{
    AppendError, AppendReceipt, AppendRequest, BoxFuture, Category, CausationId, Conflict, EventId,
    EventStore, EventType, ExpectedVersion, Filter, NewEvent, ReadFrom, ReadModelStore, ReadRequest,
    RecordedEvent, StoreError, StreamName, Timestamp, Version,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::command::CommandPayload;
use crate::repository::{Folded, Repository, StateView};
use crate::{
    Aggregate, At, CommandOptions, CommandOutcome, CommandRequest, Context, Error, Event, Executed, Named,
    OutcomeEvent, Rejection, StateDifference, Unknown, codec, decode_event,
};

/// How often a command is decided again when others were faster.
const ATTEMPTS: u32 = 16;
/// Commands on one entity take turns; entities share this many turns.
const TURNS: usize = 4096;

/// A handler for one type of aggregate, its type forgotten.
pub(crate) trait CommandHandler: Send + Sync {
    fn command_names(&self) -> &'static [&'static str];
    fn event_names(&self) -> &'static [&'static str];
    fn handle(&self, request: CommandRequest) -> BoxFuture<'_, Result<CommandOutcome, Error<Rejection>>>;
    fn state<'a>(&'a self, id: &'a str, at: At) -> BoxFuture<'a, Result<StateView, Error<Rejection>>>;
    fn difference<'a>(
        &'a self,
        id: &'a str,
        from: Version,
        to: Version,
    ) -> BoxFuture<'a, Result<StateDifference, Error<Rejection>>>;
}

pub(crate) struct AggregateHandler<A> {
    repository: Repository<A>,
    category: Category,
    turns: Vec<Mutex<()>>,
    hasher: RandomState,
}

/// What is recorded with the events of a command, for the audit trail and to recognise the command again.
#[derive(Serialize, Deserialize)]
struct CommandMetadata {
    command: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    command_digest: Option<String>,
    principal: String,
}

/// A command on its way through its decision.
struct Decision<'a, A: Aggregate> {
    stream: StreamName,
    id: &'a str,
    command: A::Command,
    options: CommandOptions,
    metadata: Bytes,
    digest: String,
}

impl<A: Aggregate> AggregateHandler<A> {
    pub(crate) fn new(
        store: Arc<dyn EventStore>,
        models: Arc<dyn ReadModelStore>,
        category: Category,
    ) -> Self {
        let turns = (0..TURNS).map(|_| Mutex::new(())).collect();
        Self { repository: Repository::new(store, models), category, turns, hasher: RandomState::new() }
    }

    fn command(request: &mut CommandRequest) -> Result<A::Command, Error<Rejection>> {
        let unknown = |name: &str| {
            let known = A::Command::NAMES.iter().map(|name| (*name).to_owned()).collect();
            Error::Unknown(Unknown { kind: "command", name: name.to_owned(), known })
        };
        match std::mem::replace(&mut request.payload, CommandPayload::Json(Bytes::new())) {
            CommandPayload::Typed(command) => {
                command.downcast::<A::Command>().map(|command| *command).map_err(|_| unknown(&request.name))
            }
            CommandPayload::Json(json) => {
                let decoded = codec::decode::<A::Command>(&request.name, &json);
                let decoded =
                    decoded.map_err(|error| Error::malformed(format!("the body of {}", request.name), error));
                decoded?.ok_or_else(|| unknown(&request.name))
            }
        }
    }

    async fn execute(&self, mut request: CommandRequest) -> Result<Executed<A>, Error<Rejection>> {
        let command = Self::command(&mut request)?;
        let stream = StreamName::from_parts(&self.category, &request.id)?;
        let digest = digest_of(&command)?;
        let metadata = CommandMetadata {
            command: command.name().to_owned(),
            command_digest: request.options.command_id.as_ref().map(|_| digest.clone()),
            principal: request.options.principal.name.clone(),
        };
        let metadata =
            serde_json::to_vec(&metadata).map_err(|error| Error::malformed("the metadata", error))?;
        let (id, options) = (&request.id, request.options.clone());
        let decision = Decision { stream, id, command, options, metadata: metadata.into(), digest };

        let turn = self.hasher.hash_one(decision.stream.as_str()) as usize % TURNS;
        let _turn = match self.turns.get(turn) {
            Some(turn) => Some(turn.lock().await),
            None => None,
        };
        if let Some(command_id) = &decision.options.command_id
            && let Some(answer) = self.first_answer(&decision, command_id).await?
        {
            return Ok(answer);
        }
        self.decide(&decision).await
    }

    async fn decide(&self, decision: &Decision<'_, A>) -> Result<Executed<A>, Error<Rejection>> {
        let mut last = Conflict { failed: Vec::new() };
        let mut current = self.repository.newest(&decision.stream).await?;
        if decision.options.expected_version.is_some_and(|expected| expected != current.version) {
            current = self.repository.reload(&decision.stream).await?;
        }
        for _ in 0..ATTEMPTS {
            if let Some(expected) =
                decision.options.expected_version.filter(|version| *version != current.version)
            {
                let (stream, actual) = (decision.stream.clone(), current.version);
                return Err(Error::VersionMismatch { stream, expected, actual });
            }
            let occurred_at = decision.options.occurred_at.unwrap_or_else(Timestamp::now);
            let context = Context {
                id: decision.id.to_owned(),
                version: current.version,
                occurred_at,
                principal: decision.options.principal.clone(),
            };
            let decided = current.state.handle(&decision.command, &context);
            let writes = decided.as_ref().is_ok_and(|events| !events.is_empty());
            if !writes && self.is_outdated(decision, &current).await? {
                current = self.repository.reload(&decision.stream).await?;
                continue;
            }
            let events = decided.map_err(|error| Error::Domain(Rejection::new(error)))?;
            if events.is_empty() {
                return Ok(executed(decision, events, &current, false));
            }
            // Applied before they are stored: events that the state cannot take must not lie in its way for ever.
            let mut after = Folded::clone(&current);
            events.iter().for_each(|event| after.state.apply(event));
            let request = decision.request(&events, current.version)?;
            match self.repository.store().append(request).await {
                Ok(receipt) => return Ok(self.accepted(decision, events, after, &receipt)),
                Err(AppendError::Conflict(conflict)) => {
                    last = conflict;
                    current = self.repository.reload(&decision.stream).await?;
                }
                Err(error) => {
                    self.repository.forget(&decision.stream);
                    return Err(decision.refused(error));
                }
            }
        }
        Err(Error::Conflict { attempts: ATTEMPTS, conflict: last })
    }

    /// Whether another process has written to the entity: an append would notice, a refusal would not.
    async fn is_outdated(&self, decision: &Decision<'_, A>, current: &Folded<A>) -> Result<bool, StoreError> {
        let state = self.repository.store().stream_state(&decision.stream).await?;
        Ok(state.version != current.version)
    }

    fn accepted(
        &self,
        decision: &Decision<'_, A>,
        events: Vec<A::Event>,
        mut after: Folded<A>,
        receipt: &AppendReceipt,
    ) -> Executed<A> {
        after.version = receipt.version_of(decision.stream.as_str()).unwrap_or(after.version);
        after.position = receipt.last_position;
        after.recorded_at = receipt.recorded_at;
        let after = self.repository.keep(decision.stream.clone(), after, Duration::ZERO);
        executed(decision, events, &after, receipt.duplicate)
    }

    /// The answer that a command with this id got before, if it got one.
    async fn first_answer(
        &self,
        decision: &Decision<'_, A>,
        command_id: &CausationId,
    ) -> Result<Option<Executed<A>>, Error<Rejection>> {
        let store = self.repository.store();
        let first_id = decision.event_id(command_id, 0);
        let found = store.read(ReadRequest::new(Filter::event_id(first_id)).limit(1)).await?;
        let Some(first) = found.events.into_iter().next() else { return Ok(None) };
        let metadata = first.metadata().and_then(|json| serde_json::from_slice::<CommandMetadata>(json).ok());
        if metadata.and_then(|metadata| metadata.command_digest).as_ref() != Some(&decision.digest) {
            return Err(Error::CommandIdReused { command_id: command_id.to_string() });
        }
        let request = ReadRequest::stream(decision.stream.clone()).from(ReadFrom::Version(first.version()));
        let mut events = Vec::new();
        let mut last: RecordedEvent = first;
        let mut reader = store.reader(request);
        'read: while let Some(batch) = reader.next_batch().await? {
            for event in batch {
                if event.id() != decision.event_id(command_id, events.len()) {
                    break 'read;
                }
                events.extend(decode_event::<A::Event>(&event)?);
                last = event;
            }
        }
        let after = self.repository.fold(&decision.stream, At::Position(last.position())).await?;
        Ok(Some(executed(decision, events, &after, true)))
    }
}

impl<A: Aggregate> Decision<'_, A> {
    /// The id of the n-th event of a command with an id: always the same, so that the store knows it again.
    fn event_id(&self, command_id: &CausationId, index: usize) -> EventId {
        EventId::derived(self.stream.as_str(), &format!("{command_id}#{index}"))
    }

    fn request(&self, events: &[A::Event], version: Version) -> Result<AppendRequest, Error<Rejection>> {
        let mut request =
            AppendRequest::default().expect(self.stream.clone(), ExpectedVersion::Exact(version));
        for (index, event) in events.iter().enumerate() {
            let payload = codec::encode(event).map_err(|error| Error::malformed(event.name(), error))?;
            let mut new = NewEvent::new(self.stream.clone(), EventType::new(event.name())?)
                .json(payload)
                .metadata(self.metadata.clone())
                .tags(event.tags()?);
            if let Some(command_id) = &self.options.command_id {
                new = new.id(self.event_id(command_id, index)).causation_id(command_id.clone());
            }
            if let Some(id) = &self.options.correlation_id {
                new = new.correlation_id(id.clone());
            }
            if let Some(moment) = self.options.occurred_at {
                new = new.occurred_at(moment);
            }
            request.events.push(new);
        }
        Ok(request)
    }

    fn refused(&self, error: AppendError) -> Error<Rejection> {
        match (error, &self.options.command_id) {
            (AppendError::Store(error), _) => Error::Store(error),
            (AppendError::Invalid(error), _) => Error::malformed("what the command gives rise to", error),
            // The same id at the same time elsewhere, with another outcome.
            (_, Some(command_id)) => Error::CommandIdReused { command_id: command_id.to_string() },
            (error, None) => Error::Store(StoreError::backend("cannot append", error)),
        }
    }
}

fn executed<A: Aggregate>(
    decision: &Decision<'_, A>,
    events: Vec<A::Event>,
    after: &Folded<A>,
    duplicate: bool,
) -> Executed<A> {
    Executed {
        stream: decision.stream.clone(),
        version: after.version,
        position: after.position,
        events,
        state: after.state.clone(),
        duplicate,
    }
}

fn digest_of<C: Named>(command: &C) -> Result<String, Error<Rejection>> {
    let json = codec::encode(command).map_err(|error| Error::malformed(command.name(), error))?;
    let mut hasher = blake3::Hasher::new_derive_key("annals 2026 digest of a command");
    hasher.update(command.name().as_bytes()).update(&[0]).update(&json);
    Ok(hasher.finalize().to_hex()[..32].to_owned())
}

impl<A: Aggregate> CommandHandler for AggregateHandler<A> {
    fn command_names(&self) -> &'static [&'static str] {
        A::Command::NAMES
    }

    fn event_names(&self) -> &'static [&'static str] {
        A::Event::NAMES
    }

    fn handle(&self, request: CommandRequest) -> BoxFuture<'_, Result<CommandOutcome, Error<Rejection>>> {
        Box::pin(async move {
            let executed = self.execute(request).await?;
            let first = executed.version.get() + 1 - executed.events.len() as u64;
            let events = executed.events.iter().zip(first..).map(|(event, version)| {
                let payload = codec::encode(event).map_err(|error| Error::malformed(event.name(), error))?;
                let event_type = event.name().to_owned();
                Ok(OutcomeEvent { event_type, version: Version::new(version), payload: payload.into() })
            });
            Ok(CommandOutcome {
                stream: executed.stream.clone(),
                version: executed.version,
                position: executed.position,
                events: events.collect::<Result<_, Error<Rejection>>>()?,
                duplicate: executed.duplicate,
                typed: Box::new(executed) as Box<dyn Any + Send>,
            })
        })
    }

    fn state<'a>(&'a self, id: &'a str, at: At) -> BoxFuture<'a, Result<StateView, Error<Rejection>>> {
        Box::pin(async move {
            let stream = StreamName::from_parts(&self.category, id)?;
            let folded = self.repository.fold(&stream, at).await?;
            StateView::new(stream, folded).map_err(|error| Error::malformed("the state", error))
        })
    }

    fn difference<'a>(
        &'a self,
        id: &'a str,
        from: Version,
        to: Version,
    ) -> BoxFuture<'a, Result<StateDifference, Error<Rejection>>> {
        Box::pin(async move {
            let stream = StreamName::from_parts(&self.category, id)?;
            self.repository.difference(&stream, from, to).await
        })
    }
}
