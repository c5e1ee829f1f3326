//! Commands on one entity that are decided in turn, each on what those before it leave behind, and appended at once.

use std::sync::Arc;

use annals_core::{AppendReceipt, AppendRequest, CausationId, Clock, ExpectedVersion, Position, Version};
use bytes::Bytes;

use super::Answered;
use super::aggregate_handler::Answer;
use super::answers::{self, DecidedOn};
use super::given::{EventTypes, Given};
use super::repository::Folded;
use crate::panics::catch_panic;
use crate::{Aggregate, Error, Executed, Rejection};

/// A group takes no more commands once so many events are to be appended for it.
const ENOUGH_EVENTS: usize = 1_000;

/// What was decided on some commands, and what is to be appended for it.
pub(super) struct Group<A: Aggregate> {
    /// The state as it will be.
    pub(super) pending: Folded<A>,
    /// The version that all of it is decided on.
    pub(super) base: Version,
    pub(super) request: AppendRequest,
    decided: Vec<Decided<A>>,
    /// Whether the state was left half changed, so that nothing of this can be used.
    pub(super) broken_by: Option<(usize, Error<Rejection>)>,
    /// Where the last event of the entity is among those that are to be appended.
    last: Option<usize>,
}

/// The events of a command, and their payloads as they are stored.
type Made<A> = (Vec<<A as Aggregate>::Event>, Vec<Bytes>);

/// What was decided on one command.
struct Decided<A: Aggregate> {
    /// Which command.
    place: usize,
    outcome: Result<Made<A>, Error<Rejection>>,
    state: Arc<A>,
    version: Version,
    /// As `last` of the group.
    last: Option<usize>,
}

impl<A: Aggregate> Group<A> {
    /// Nothing is decided yet; this is the state to decide on, and how many commands there are at most.
    pub(super) fn on(newest: Folded<A>, commands: usize) -> Self {
        let base = newest.version;
        // Most commands give rise to one event.
        let request = AppendRequest { events: Vec::with_capacity(commands), ..AppendRequest::default() };
        let decided = Vec::with_capacity(commands);
        Self { pending: newest, base, request, decided, broken_by: None, last: None }
    }

    /// Whether more commands should wait for the next group.
    pub(super) fn is_full(&self) -> bool {
        self.broken_by.is_some() || self.request.events.len() >= ENOUGH_EVENTS
    }

    /// Whether it has a command with this id.
    pub(super) fn has(&self, id: &CausationId, commands: &[&Given<A::Command>]) -> bool {
        let of = |decided: &Decided<A>| commands.get(decided.place)?.options.command_id.as_ref();
        self.decided.iter().any(|decided| of(decided) == Some(id))
    }

    /// Decides the next command.
    pub(super) fn decide(
        &mut self,
        place: usize,
        given: &Given<A::Command>,
        types: &EventTypes,
        clock: &dyn Clock,
    ) {
        let outcome = self.decide_on(place, given, types, clock);
        let (state, version, last) = (Arc::clone(&self.pending.state), self.pending.version, self.last);
        self.decided.push(Decided { place, outcome, state, version, last });
    }

    fn decide_on(
        &mut self,
        place: usize,
        given: &Given<A::Command>,
        types: &EventTypes,
        clock: &dyn Clock,
    ) -> Result<Made<A>, Error<Rejection>> {
        let actual = self.pending.version;
        if let Some(expected) = given.options.expected_version.filter(|expected| *expected != actual) {
            return Err(Error::VersionMismatch { stream: given.stream.clone(), expected, actual });
        }
        let context = given.context(actual, clock);
        let on = DecidedOn { version: actual, position: Position::ZERO, occurred_at: context.occurred_at };
        let panicked = |message| Error::panicked(given.name(), message);
        let decided =
            catch_panic(|| self.pending.state.handle(&given.command, &context)).map_err(panicked)?;
        let events = match decided {
            Ok(events) => events,
            Err(error) => {
                let rejection = Rejection::new(error);
                answers::record(given, Some(&rejection), on, &mut self.request)?;
                return Err(Error::Domain(rejection));
            }
        };
        if events.is_empty() {
            answers::record(given, None, on, &mut self.request)?;
            return Ok((events, Vec::new()));
        }
        let before = self.request.events.len();
        let recorded = given.record(&events, types, &mut self.request);
        let payloads = recorded.inspect_err(|_| self.request.events.truncate(before))?;
        // Applied before they are stored: events that the state cannot take must not lie in its way for ever.
        let state = Arc::make_mut(&mut self.pending.state);
        if let Err(message) = catch_panic(|| events.iter().for_each(|event| state.apply(event))) {
            self.broken_by = Some((place, panicked(message)));
        }
        self.pending.version = Version::new(actual.get() + events.len() as u64);
        self.last = self.request.events.len().checked_sub(1);
        Ok((events, payloads))
    }

    /// The append for all of it, which fails unless the entity is what it was decided on.
    pub(super) fn take_request(&mut self, given: &Given<A::Command>) -> AppendRequest {
        std::mem::take(&mut self.request).expect(given.stream.clone(), ExpectedVersion::Exact(self.base))
    }

    /// Answers its commands, after the append where there was something to append; returns the newest state.
    pub(super) fn answer(
        mut self,
        commands: &[&Given<A::Command>],
        receipt: Option<&AppendReceipt>,
        answers: &mut [Option<Answer<A>>],
    ) -> Folded<A> {
        let first = receipt.map_or(0, |receipt| receipt.first_position.get());
        let before = self.pending.position;
        let position = |last: Option<usize>| last.map_or(before, |last| Position::new(first + last as u64));
        for Decided { place, outcome, state, version, last } in self.decided {
            let (Some(given), Some(answer)) = (commands.get(place), answers.get_mut(place)) else { continue };
            *answer = Some(outcome.map(|(events, payloads)| {
                let (stream, position) = (given.stream.clone(), position(last));
                let executed = Executed { stream, version, position, events, state, duplicate: false };
                Answered { executed, payloads }
            }));
        }
        self.pending.position = position(self.last);
        if let Some(receipt) = receipt.filter(|_| self.last.is_some()) {
            self.pending.recorded_at = receipt.recorded_at;
        }
        self.pending
    }

    /// Answers the commands that it has with an error.
    pub(super) fn fail(self, answers: &mut [Option<Answer<A>>], error: impl Fn() -> Error<Rejection>) {
        for decided in self.decided {
            if let Some(answer) = answers.get_mut(decided.place) {
                *answer = Some(Err(error()));
            }
        }
    }

    /// How many commands it has.
    pub(super) fn len(&self) -> usize {
        self.decided.len()
    }
}
