//! The commands that wait for one entity, and who decides them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use annals_core::StreamName;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::aggregate_handler::{AggregateHandler, Answer};
use super::given::Given;
use super::repository::Folded;
use crate::Aggregate;
use crate::within::apart;

/// So many commands at most are decided together.
const LARGEST_GROUP: usize = 1_024;

/// A command, and where its answer goes.
pub(super) struct Waiting<A: Aggregate> {
    pub(super) given: Given<A::Command>,
    answer: oneshot::Sender<Answer<A>>,
}

impl<A: Aggregate> Waiting<A> {
    /// Answers it; who does not wait any more is not told.
    pub(super) fn answer(self, answer: Answer<A>) {
        let _ = self.answer.send(answer);
    }
}

/// An entity whose commands are decided here: one of them leads, the others wait in line and are decided together next.
pub(super) struct Line<A: Aggregate> {
    pub(super) stream: StreamName,
    state: Mutex<LineState<A>>,
}

struct LineState<A: Aggregate> {
    is_led: bool,
    waiting: Vec<Waiting<A>>,
    newest: Option<Folded<A>>,
}

/// The right to decide the commands of an entity. Whatever becomes of its holder, those who wait go on when it is dropped.
pub(super) struct Lead<A: Aggregate> {
    handler: Arc<AggregateHandler<A>>,
    line: Arc<Line<A>>,
    /// The newest state known here; nothing when it must be loaded.
    pub(super) newest: Option<Folded<A>>,
}

/// The lead, and the command that it was given for.
type Led<A> = (Lead<A>, Given<<A as Aggregate>::Command>);

/// What becomes of a command that is taken to a line: its giver leads, or waits for the answer.
pub(super) type Entered<A> = Result<Led<A>, oneshot::Receiver<Answer<A>>>;

impl<A: Aggregate> Line<A> {
    pub(super) fn new(stream: StreamName) -> Self {
        Self { stream, state: Mutex::new(LineState { is_led: false, waiting: Vec::new(), newest: None }) }
    }

    fn state(&self) -> MutexGuard<'_, LineState<A>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a command in: where nobody leads, its giver does, and is given it back; else it waits to be decided by the next.
    pub(super) fn enter(
        self: Arc<Self>,
        handler: &Arc<AggregateHandler<A>>,
        given: Given<A::Command>,
    ) -> Entered<A> {
        let mut state = self.state();
        if state.is_led {
            let (answer, answered) = oneshot::channel();
            // An entity that never gets on must not keep all who gave up waiting for it.
            if state.waiting.len() == state.waiting.capacity() {
                state.waiting.retain(|waiting| !waiting.answer.is_closed());
            }
            state.waiting.push(Waiting { given, answer });
            return Err(answered);
        }
        state.is_led = true;
        let newest = state.newest.take();
        drop(state);
        Ok((Lead { handler: Arc::clone(handler), line: self, newest }, given))
    }
}

impl<A: Aggregate> Drop for Lead<A> {
    fn drop(&mut self) {
        let mut state = self.line.state();
        let newest = self.newest.take();
        let runtime = if state.waiting.is_empty() { None } else { Handle::try_current().ok() };
        let Some(runtime) = runtime else {
            // Without a runtime nobody waits for an answer any more.
            state.waiting.clear();
            state.newest = newest;
            state.is_led = false;
            return;
        };
        let count = state.waiting.len().min(LARGEST_GROUP);
        let group: Vec<_> = state.waiting.drain(..count).collect();
        drop(state);
        let lead = Self { handler: Arc::clone(&self.handler), line: Arc::clone(&self.line), newest };
        let is_apart = group.iter().any(|waiting| waiting.given.is_apart);
        let answering = async move { Arc::clone(&lead.handler).answer_group(lead, group).await };
        if is_apart {
            runtime.spawn(apart(answering));
        } else {
            runtime.spawn(answering);
        }
    }
}
