//! How history is given again: the commands that events become.

use std::collections::BTreeMap;
use std::sync::Arc;

use annals_core::{CausationId, NameError, RecordedEvent};
use bytes::Bytes;

use crate::{Event, Named, UnreadableEvent, codec, decode_event};

/// A command that an event became, as it goes to another service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReissuedCommand {
    /// The category of the aggregate.
    pub category: String,
    /// The entity.
    pub id: String,
    /// The name of the command.
    pub name: &'static str,
    /// Its fields, JSON.
    pub json: Bytes,
    /// Always the same for one event, so that a service that was given it before does not do it twice.
    pub command_id: CausationId,
}

/// Why an event does not become a command.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReissueError {
    /// The event cannot be read.
    #[error(transparent)]
    Unreadable(#[from] UnreadableEvent),
    /// The command cannot be written as JSON.
    #[error("the command {name}, made of the event at position {position}, cannot be written: {source}")]
    Unwritable {
        /// The command.
        name: &'static str,
        /// Where the event is.
        position: annals_core::Position,
        /// What its `Serialize` said.
        source: serde_json::Error,
    },
    /// The id of the command is none.
    #[error("the id of a command: {0}")]
    CommandId(#[from] NameError),
}

/// The commands that an event becomes, the first of which is the n-th of that event.
type CommandsOf = dyn Fn(&RecordedEvent, usize) -> Result<Vec<ReissuedCommand>, ReissueError> + Send + Sync;

/// Which commands the events of an application become when history is given again: see
/// [`App::reissue`](crate::App::reissue).
#[derive(Clone, Default)]
pub struct Reissues {
    /// By category, then by the type that decides the commands.
    by_category: BTreeMap<&'static str, BTreeMap<&'static str, Arc<CommandsOf>>>,
}

impl Reissues {
    /// Adds the word of a type that decides commands of a category; the last one counts.
    pub(crate) fn add<E: Event, C: Named>(
        &mut self,
        category: &'static str,
        decided_by: &'static str,
        command: impl Fn(&E, &RecordedEvent) -> Option<C> + Send + Sync + 'static,
    ) {
        let commands_of = move |recorded: &RecordedEvent, first: usize| {
            let events = decode_event::<E>(recorded)?;
            let commands = events.filter_map(|event| command(&event, recorded));
            commands.zip(first..).map(|(command, index)| reissued(recorded, index, &command)).collect()
        };
        self.by_category.entry(category).or_default().insert(decided_by, Arc::new(commands_of));
    }

    /// The categories whose events become commands.
    pub fn categories(&self) -> impl Iterator<Item = &'static str> {
        self.by_category.keys().copied()
    }

    /// The commands that an event becomes: one as a rule, none where the application names none, several where an
    /// [`Upcaster`](crate::Upcaster) makes several events of it.
    ///
    /// # Errors
    /// [`ReissueError`].
    pub fn commands_of(&self, event: &RecordedEvent) -> Result<Vec<ReissuedCommand>, ReissueError> {
        let mut commands = Vec::new();
        for commands_of in self.by_category.get(event.category()).into_iter().flat_map(BTreeMap::values) {
            commands.extend(commands_of(event, commands.len())?);
        }
        Ok(commands)
    }
}

fn reissued<C: Named>(
    recorded: &RecordedEvent,
    index: usize,
    command: &C,
) -> Result<ReissuedCommand, ReissueError> {
    let name = command.name();
    let json = codec::encode(command).map_err(|source| ReissueError::Unwritable {
        name,
        position: recorded.position(),
        source,
    })?;
    Ok(ReissuedCommand {
        category: recorded.category().to_owned(),
        id: recorded.entity_id().to_owned(),
        name,
        json: json.into(),
        command_id: CausationId::new(format!("replay-{}-{index}", recorded.id()))?,
    })
}
