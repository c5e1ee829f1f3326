//! Decides commands that depend on more than one entity.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::marker::PhantomData;
use std::sync::Arc;

use annals_core::{
    AppendError, AppendRequest, BoxFuture, Category, Clock, Conflict, EventStore, ExpectedVersion, Filter,
    Position, ReadFrom, ReadRequest, Reader, RecordedEvent, StreamName, Version,
};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::answers::{self, DecidedOn, FirstAnswer, first_answer};
use super::given::{EventTypes, Given};
use super::metadata::LastMetadata;
use super::{ATTEMPTS, Answered, CommandHandler, Ground};
use crate::panics::catch_panic;
use crate::{
    CommandOutcome, CommandRequest, Decision, Error, Executed, Named, Rejection, Scope, decode_event,
};

/// Decisions that depend on the same events take turns; they share this many turns.
const TURNS: usize = 1_024;

/// The turns of all decisions of an application: who waits for one's turn is not in the way of who has it.
pub(crate) struct Turns {
    turns: Vec<Arc<Mutex<()>>>,
    /// The same in every process, so that a simulation goes the same way each time.
    hasher: BuildHasherDefault<DefaultHasher>,
}

impl Default for Turns {
    fn default() -> Self {
        Self { turns: (0..TURNS).map(|_| Arc::default()).collect(), hasher: BuildHasherDefault::default() }
    }
}

impl Turns {
    /// The turns of everything in a scope, taken in one order by all, so that nobody waits for somebody who waits.
    async fn take(&self, scope: &Scope) -> Vec<OwnedMutexGuard<()>> {
        let items = scope.all.iter().chain(&scope.last);
        let mut places: Vec<_> =
            items.map(|item| self.hasher.hash_one(format!("{item:?}")) as usize % TURNS).collect();
        places.sort_unstable();
        places.dedup();
        let mut taken = Vec::with_capacity(places.len());
        for turn in places.into_iter().filter_map(|place| self.turns.get(place)) {
            taken.push(Arc::clone(turn).lock_owned().await);
        }
        taken
    }
}

/// The commands of one type of decision.
pub(crate) struct DecisionHandler<D> {
    store: Arc<dyn EventStore>,
    category: Category,
    types: EventTypes,
    last_metadata: LastMetadata,
    turns: Arc<Turns>,
    clock: Arc<dyn Clock>,
    of: PhantomData<fn() -> D>,
}

/// What a decision is made on.
struct Known<D> {
    decision: D,
    /// How many events it took in.
    events: u64,
    /// Up to where they were looked for.
    upto: Position,
}

type Answer<D> = Result<Answered<D, <D as Decision>::Event>, Error<Rejection>>;

impl<D: Decision> DecisionHandler<D> {
    pub(crate) fn new(ground: &Ground, category: Category) -> Self {
        let Ground { store, turns, clock, .. } = ground.clone();
        let types = EventTypes::of_events::<D::Event>();
        let last_metadata = LastMetadata::of_commands::<D::Command>();
        Self { store, category, types, last_metadata, turns, clock, of: PhantomData }
    }

    async fn execute(&self, request: CommandRequest) -> Answer<D> {
        let stream = StreamName::from_parts(&self.category, &request.id)?;
        let given = Given::open(request, stream, &self.last_metadata)?;
        let begun = catch_panic(|| D::begin(&given.id, &given.command))
            .map_err(|message| Error::panicked(given.name(), message))?;
        let scope = begun.scope()?;
        let _turns = self.turns.take(&scope).await;
        let mut last = Conflict { failed: Vec::new() };
        for _ in 0..ATTEMPTS {
            if let Some(answer) = self.first_answer(&given, &begun, &scope).await? {
                return Ok(answer);
            }
            self.check_version(&given).await?;
            let known = self.fold(&begun, &scope, self.store.head().await?).await?;
            match self.decide(&given, &scope, known).await {
                Ok(answer) => return answer,
                Err(Some(conflict)) => last = conflict,
                // Another process answered it meanwhile.
                Err(None) => {}
            }
        }
        Err(Error::Conflict { attempts: ATTEMPTS, conflict: last })
    }

    /// Decides, and appends what comes of it; an error when something of the scope has happened meanwhile.
    async fn decide(
        &self,
        given: &Given<D::Command>,
        scope: &Scope,
        known: Known<D>,
    ) -> Result<Answer<D>, Option<Conflict>> {
        let Known { mut decision, events: taken, upto } = known;
        let context = given.context(Version::new(taken), &*self.clock);
        let decided = catch_panic(|| {
            decision.handle(&given.command, &context).inspect(|events| {
                events.iter().for_each(|event| decision.apply(event));
            })
        });
        let decided = match decided {
            Ok(decided) => decided.map_err(Rejection::new),
            Err(message) => return Ok(Err(Error::panicked(given.name(), message))),
        };
        let mut request = AppendRequest::default().condition(scope.filter(), upto);
        if let Some(expected) = given.options.expected_version {
            request = request.expect(given.stream.clone(), ExpectedVersion::Exact(expected));
        }
        let recorded = match &decided {
            Ok(events) if !events.is_empty() => given.record(events, &self.types, &mut request),
            settled => {
                let on =
                    DecidedOn { version: Version::ZERO, position: upto, occurred_at: context.occurred_at };
                answers::record(given, settled.as_ref().err(), on, &mut request).map(|()| Vec::new())
            }
        };
        let payloads = match recorded {
            Ok(payloads) => payloads,
            Err(error) => return Ok(Err(error)),
        };
        let (mut position, mut version) = (upto, None);
        if !request.events.is_empty() {
            match self.store.append(request).await {
                Ok(receipt) if receipt.duplicate => return Err(None),
                Ok(receipt) => {
                    version = receipt.version_of(given.stream.as_str());
                    position = receipt.last_position;
                }
                Err(AppendError::Conflict(conflict)) => return Err(Some(conflict)),
                Err(AppendError::Store(error)) => return Ok(Err(error.into())),
                Err(AppendError::Invalid(error)) => {
                    return Ok(Err(Error::malformed("what the command gives rise to", error)));
                }
                Err(_) => return Err(None),
            }
        }
        let events = match decided {
            Ok(events) => events,
            Err(rejection) => return Ok(Err(Error::Domain(rejection))),
        };
        let version = match version {
            Some(version) => version,
            None => match self.version(&given.stream).await {
                Ok(version) => version,
                Err(error) => return Ok(Err(error)),
            },
        };
        let (stream, state) = (given.stream.clone(), Arc::new(decision));
        let executed = Executed { stream, version, position, events, state, duplicate: false };
        Ok(Ok(Answered { executed, payloads }))
    }

    /// Refuses a command whose giver has seen another version of the entity.
    async fn check_version(&self, given: &Given<D::Command>) -> Result<(), Error<Rejection>> {
        let Some(expected) = given.options.expected_version else { return Ok(()) };
        let actual = self.version(&given.stream).await?;
        if actual == expected {
            return Ok(());
        }
        Err(Error::VersionMismatch { stream: given.stream.clone(), expected, actual })
    }

    /// The version of the entity that a command was given to.
    async fn version(&self, stream: &StreamName) -> Result<Version, Error<Rejection>> {
        Ok(self.store.stream_state(stream).await?.version)
    }

    async fn first_answer(
        &self,
        given: &Given<D::Command>,
        begun: &D,
        scope: &Scope,
    ) -> Result<Option<Answered<D, D::Event>>, Error<Rejection>> {
        let Some(command_id) = &given.options.command_id else { return Ok(None) };
        let found = first_answer::<_, D::Event>(&*self.store, given, command_id).await?;
        let (events, payloads, version, position) = match found {
            None => return Ok(None),
            Some(FirstAnswer::Events(events, payloads, last)) => {
                (events, payloads, last.version(), last.position())
            }
            Some(FirstAnswer::Settled(settled)) if settled.refusal.is_some() => {
                let then = self.fold(begun, scope, settled.on.position);
                let again = |then: &Known<D>| {
                    let context = settled.context(given.context(Version::new(then.events), &*self.clock));
                    then.decision.handle(&given.command, &context).err()
                };
                return Err(Error::Domain(given.recognise(settled.rejection(), then, again).await?));
            }
            Some(FirstAnswer::Settled(settled)) => {
                (Vec::new(), Vec::new(), self.version(&given.stream).await?, settled.on.position)
            }
        };
        let state = Arc::new(self.fold(begun, scope, position).await?.decision);
        let stream = given.stream.clone();
        let executed = Executed { stream, version, position, events, state, duplicate: true };
        Ok(Some(Answered { executed, payloads }))
    }

    /// Takes the events of a scope in, up to a position.
    async fn fold(&self, begun: &D, scope: &Scope, upto: Position) -> Result<Known<D>, Error<Rejection>> {
        let mut known = Known { decision: begun.clone(), events: 0, upto };
        let mut lasts = Vec::new();
        for item in &scope.last {
            let request = ReadRequest::last(Filter::from(item.clone())).from(ReadFrom::Position(upto));
            lasts.extend(self.store.read(request).await?.events);
        }
        lasts.sort_by_key(RecordedEvent::position);
        lasts.dedup_by_key(|event| event.position());
        let mut lasts = lasts.into_iter().peekable();
        if !scope.all.is_empty() {
            let mut reader = Reader::new(&*self.store, ReadRequest::new(scope.all.iter().cloned().collect()));
            'read: while let Some(batch) = reader.next_batch().await? {
                for event in batch {
                    if event.position() > upto {
                        break 'read;
                    }
                    while let Some(earlier) = lasts.next_if(|last| last.position() < event.position()) {
                        known.take(&earlier)?;
                    }
                    lasts.next_if(|last| last.position() == event.position());
                    known.take(&event)?;
                }
            }
        }
        lasts.try_for_each(|event| known.take(&event))?;
        Ok(known)
    }
}

impl<D: Decision> Known<D> {
    fn take(&mut self, event: &RecordedEvent) -> Result<(), Error<Rejection>> {
        let events = decode_event::<D::Event>(event)?;
        catch_panic(|| events.for_each(|event| self.decision.apply(&event)))
            .map_err(|message| Error::panicked(event.event_type(), message))?;
        self.events += 1;
        Ok(())
    }
}

impl<D: Decision> CommandHandler for DecisionHandler<D> {
    fn command_names(&self) -> &'static [&'static str] {
        D::Command::NAMES
    }

    fn event_names(&self) -> &'static [&'static str] {
        D::Event::NAMES
    }

    fn handle(
        self: Arc<Self>,
        request: CommandRequest,
    ) -> BoxFuture<'static, Result<CommandOutcome, Error<Rejection>>> {
        Box::pin(async move { Ok(self.execute(request).await?.into()) })
    }
}
