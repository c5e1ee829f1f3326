//! Decides commands on one type of aggregate.

use std::sync::Arc;
use std::time::Duration;

use annals_core::{AppendError, BoxFuture, Category, Clock, Conflict, StoreError, StreamName, Version};

use super::answers::{FirstAnswer, first_answer};
use super::given::{EventTypes, Given};
use super::group::Group;
use super::line::{Entered, Lead, Line, Waiting};
use super::lines::Lines;
use super::metadata::LastMetadata;
use super::repository::{Folded, Repository, StateView};
use super::{ATTEMPTS, Answered, CommandHandler, Ground, StateHandler, given_up};
use crate::{
    Aggregate, At, CommandOutcome, CommandRequest, Error, Executed, Named, Rejection, StateDifference,
};

pub(crate) struct AggregateHandler<A: Aggregate> {
    repository: Repository<A>,
    category: Category,
    types: EventTypes,
    last_metadata: LastMetadata,
    lines: Lines<A>,
    clock: Arc<dyn Clock>,
}

/// What becomes of a command.
pub(super) type Answer<A> = Result<Answered<A, <A as Aggregate>::Event>, Error<Rejection>>;

impl<A: Aggregate> AggregateHandler<A> {
    pub(crate) fn new(ground: &Ground, category: Category) -> Self {
        let repository = Repository::new(Arc::clone(&ground.store), Arc::clone(&ground.models));
        let (types, clock) = (EventTypes::of_events::<A::Event>(), Arc::clone(&ground.clock));
        let last_metadata = LastMetadata::of_commands::<A::Command>();
        let lines = Lines::new(category.clone());
        Self { repository, category, types, last_metadata, lines, clock }
    }

    /// Opens a command and takes it to the line of its entity.
    fn enter(self: &Arc<Self>, request: CommandRequest) -> Result<Entered<A>, Error<Rejection>> {
        let line = self.lines.of(&request.id)?;
        let given = Given::open(request, line.stream.clone(), &self.last_metadata)?;
        Ok(Line::enter(line, self, given))
    }

    /// Decides a command whose giver leads.
    async fn answer_one(&self, lead: &mut Lead<A>, given: &Given<A::Command>) -> Answer<A> {
        let mut answers = [None];
        self.answer_all(&mut lead.newest, &[given], &mut answers).await;
        let [answer] = answers;
        answer.unwrap_or_else(|| Err(given_up().into()))
    }

    /// Decides the commands that waited while another one led.
    pub(super) async fn answer_group(self: Arc<Self>, mut lead: Lead<A>, group: Vec<Waiting<A>>) {
        let commands: Vec<_> = group.iter().map(|waiting| &waiting.given).collect();
        let mut answers: Vec<_> = group.iter().map(|_| None).collect();
        self.answer_all(&mut lead.newest, &commands, &mut answers).await;
        for (waiting, answer) in group.into_iter().zip(answers) {
            waiting.answer(answer.unwrap_or_else(|| Err(given_up().into())));
        }
    }

    /// Answers commands on one entity, in their order, from its newest state. There is as much room for answers as there are
    /// commands, and all of it is filled.
    async fn answer_all(
        &self,
        newest: &mut Option<Folded<A>>,
        commands: &[&Given<A::Command>],
        answers: &mut [Option<Answer<A>>],
    ) {
        let (mut attempts, mut last, mut alone) = (0, None, false);
        while attempts < ATTEMPTS {
            self.recall(commands, answers).await;
            let Some((_, given)) = open(commands, answers).next() else { break };
            let folded = match newest.take() {
                Some(folded) => folded,
                // Beside the way of most commands, so that their future is small.
                None => match Box::pin(self.repository.load(&given.stream)).await {
                    Ok(folded) => folded,
                    Err(error) => {
                        unanswered(commands, answers).for_each(|(answer, _)| {
                            *answer = Some(Err(error.clone().try_map_domain(|never| match never {})));
                        });
                        break;
                    }
                },
            };
            let mut group = self.decide(folded, commands, answers, alone);
            if let Some((place, error)) = group.broken_by.take() {
                answers[place] = Some(Err(error));
                continue;
            }
            match self.store(given, &mut group).await {
                Ok(receipt) => {
                    let mut folded = group.answer(commands, receipt.as_ref(), answers);
                    self.repository.save_when_due(&given.stream, &mut folded, Duration::ZERO);
                    *newest = Some(folded);
                }
                Err(Refused::Outdated(conflict)) => {
                    attempts += 1;
                    last = conflict;
                }
                Err(Refused::Known) => attempts += 1,
                Err(Refused::Invalid(_)) if group.len() > 1 => alone = true,
                Err(Refused::Invalid(error)) => {
                    let what = "what the command gives rise to";
                    group.fail(answers, || Error::malformed(what, &error));
                }
                Err(Refused::Store(error)) => group.fail(answers, || error.clone().into()),
            }
        }
        let tired = |given: &Given<_>| match (&last, &given.options.command_id) {
            (None, Some(id)) => Error::CommandIdReused { command_id: id.to_string() },
            (conflict, _) => Error::Conflict {
                attempts: ATTEMPTS,
                conflict: conflict.clone().unwrap_or(Conflict { failed: Vec::new() }),
            },
        };
        unanswered(commands, answers).for_each(|(answer, given)| *answer = Some(Err(tired(given))));
    }

    /// Decides the commands that are not answered yet, in turn, each on what those before it leave behind.
    fn decide(
        &self,
        folded: Folded<A>,
        commands: &[&Given<A::Command>],
        answers: &[Option<Answer<A>>],
        alone: bool,
    ) -> Group<A> {
        let mut group = Group::on(folded, commands.len());
        for (place, given) in open(commands, answers) {
            // The same command twice at once: the second finds the answer of the first.
            let id = given.options.command_id.as_ref();
            if id.is_some_and(|id| group.has(id, commands)) {
                continue;
            }
            group.decide(place, given, &self.types, &*self.clock);
            if alone || group.is_full() {
                break;
            }
        }
        group
    }

    /// Appends what a group gives rise to; where that is nothing, makes sure that it was decided on the newest state.
    async fn store(
        &self,
        given: &Given<A::Command>,
        group: &mut Group<A>,
    ) -> Result<Option<annals_core::AppendReceipt>, Refused> {
        let store = self.repository.store();
        if group.request.events.is_empty() {
            // Whether another process has written to the entity: an append would notice, a refusal would not.
            let state = store.stream_state(&given.stream).await.map_err(Refused::Store)?;
            return if state.version == group.base { Ok(None) } else { Err(Refused::Outdated(None)) };
        }
        match store.append(group.take_request(given)).await {
            Ok(receipt) if receipt.duplicate => Err(Refused::Known),
            Ok(receipt) => Ok(Some(receipt)),
            Err(AppendError::Conflict(conflict)) => Err(Refused::Outdated(Some(conflict))),
            Err(AppendError::Store(error)) => Err(Refused::Store(error)),
            Err(AppendError::Invalid(error)) => Err(Refused::Invalid(error)),
            // One of the commands was answered by another process meanwhile.
            Err(_) => Err(Refused::Known),
        }
    }

    /// Answers the commands that were answered before.
    async fn recall(&self, commands: &[&Given<A::Command>], answers: &mut [Option<Answer<A>>]) {
        for (answer, given) in unanswered(commands, answers) {
            if given.options.command_id.is_some() {
                *answer = Box::pin(self.first_answer(given)).await.transpose();
            }
        }
    }

    async fn first_answer(
        &self,
        given: &Given<A::Command>,
    ) -> Result<Option<Answered<A, A::Event>>, Error<Rejection>> {
        let Some(command_id) = &given.options.command_id else { return Ok(None) };
        let found = first_answer::<_, A::Event>(&**self.repository.store(), given, command_id).await?;
        let (events, payloads, at) = match found {
            None => return Ok(None),
            Some(FirstAnswer::Events(events, payloads, last)) => {
                (events, payloads, At::Position(last.position()))
            }
            Some(FirstAnswer::Settled(settled)) if settled.refusal.is_some() => {
                let then = self.repository.fold(&given.stream, At::Version(settled.on.version));
                let again = |then: &Folded<A>| {
                    let context = settled.context(given.context(settled.on.version, &*self.clock));
                    then.state.handle(&given.command, &context).err()
                };
                return Err(Error::Domain(given.recognise(settled.rejection(), then, again).await?));
            }
            Some(FirstAnswer::Settled(settled)) => (Vec::new(), Vec::new(), At::Version(settled.on.version)),
        };
        let Folded { state, version, position, .. } = self.repository.fold(&given.stream, at).await?;
        let stream = given.stream.clone();
        let executed = Executed { stream, version, position, events, state, duplicate: true };
        Ok(Some(Answered { executed, payloads }))
    }
}

/// Why a group was not stored.
enum Refused {
    /// The entity is not what it was decided on.
    Outdated(Option<Conflict>),
    /// Some of it is stored already.
    Known,
    Invalid(annals_core::InvalidRequest),
    Store(StoreError),
}

/// The commands that have no answer yet.
fn open<'a, 'g, A: Aggregate>(
    commands: &'a [&'g Given<A::Command>],
    answers: &'a [Option<Answer<A>>],
) -> impl Iterator<Item = (usize, &'g Given<A::Command>)> + use<'a, 'g, A> {
    let all = commands.iter().zip(answers).enumerate();
    all.filter(|(_, (_, answer))| answer.is_none()).map(|(place, (given, _))| (place, *given))
}

/// Where the answers go that are still to be found.
fn unanswered<'a, 'g, A: Aggregate>(
    commands: &'a [&'g Given<A::Command>],
    answers: &'a mut [Option<Answer<A>>],
) -> impl Iterator<Item = (&'a mut Option<Answer<A>>, &'g Given<A::Command>)> + use<'a, 'g, A> {
    answers
        .iter_mut()
        .zip(commands)
        .filter(|(answer, _)| answer.is_none())
        .map(|(answer, given)| (answer, *given))
}

impl<A: Aggregate> CommandHandler for AggregateHandler<A> {
    fn command_names(&self) -> &'static [&'static str] {
        A::Command::NAMES
    }

    fn event_names(&self) -> &'static [&'static str] {
        A::Event::NAMES
    }

    fn handle(
        self: Arc<Self>,
        request: CommandRequest,
    ) -> BoxFuture<'static, Result<CommandOutcome, Error<Rejection>>> {
        // Done at once, and each way has a future of its own: so these are small.
        match self.enter(request) {
            Ok(Ok((mut lead, given))) => {
                Box::pin(async move { Ok(self.answer_one(&mut lead, &given).await?.into()) })
            }
            Ok(Err(answered)) => Box::pin(async move {
                let answer = answered.await.unwrap_or_else(|_| Err(given_up().into()));
                Ok(answer?.into())
            }),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }
}

impl<A: Aggregate> StateHandler for AggregateHandler<A> {
    fn state<'a>(&'a self, id: &'a str, at: At) -> BoxFuture<'a, Result<StateView, Error<Rejection>>> {
        Box::pin(async move {
            let stream = StreamName::from_parts(&self.category, id)?;
            let folded = self.repository.fold(&stream, at).await?;
            StateView::new(stream, &folded).map_err(|error| Error::malformed("the state", error))
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
