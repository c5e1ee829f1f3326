//! Who decides which command, and who knows the states of which category.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{CommandHandler, StateHandler};
use crate::{Error, StartError, Unknown};

/// The handlers of an application, by category.
#[derive(Default)]
pub(crate) struct Handlers(BTreeMap<&'static str, OfCategory>);

#[derive(Default)]
struct OfCategory {
    commands: Vec<Arc<dyn CommandHandler>>,
    states: Option<Arc<dyn StateHandler>>,
}

impl Handlers {
    /// Adds what decides some of the commands of a category.
    pub(crate) fn add(
        &mut self,
        category: &'static str,
        handler: Arc<dyn CommandHandler>,
    ) -> Result<(), StartError> {
        let known = &mut self.0.entry(category).or_default().commands;
        let mut names = known.iter().flat_map(|handler| handler.command_names());
        if let Some(name) = names.find(|name| handler.command_names().contains(name)) {
            return Err(StartError::DuplicateName { kind: "commands", name: format!("{category} {name}") });
        }
        known.push(handler);
        Ok(())
    }

    /// Adds what knows the states of a category.
    pub(crate) fn add_states(
        &mut self,
        category: &'static str,
        states: Arc<dyn StateHandler>,
    ) -> Result<(), StartError> {
        let of_category = self.0.entry(category).or_default();
        if of_category.states.replace(states).is_some() {
            return Err(StartError::DuplicateName { kind: "aggregates", name: category.to_owned() });
        }
        Ok(())
    }

    fn of<E>(&self, category: &str) -> Result<&OfCategory, Error<E>> {
        self.0.get(category).ok_or_else(|| {
            let known = self.0.keys().map(|name| (*name).to_owned()).collect();
            Error::Unknown(Unknown { kind: "category", name: category.to_owned(), known })
        })
    }

    /// What decides a command.
    pub(crate) fn of_command<E>(
        &self,
        category: &str,
        command: &str,
    ) -> Result<&Arc<dyn CommandHandler>, Error<E>> {
        let of_category = self.of(category)?;
        let mut handlers = of_category.commands.iter();
        handlers.find(|handler| handler.command_names().contains(&command)).ok_or_else(|| {
            let known = of_category.commands.iter().flat_map(|handler| handler.command_names());
            let known = known.map(|name| (*name).to_owned()).collect();
            Error::Unknown(Unknown { kind: "command", name: command.to_owned(), known })
        })
    }

    /// What knows the states of a category.
    pub(crate) fn states_of<E>(&self, category: &str) -> Result<&Arc<dyn StateHandler>, Error<E>> {
        self.of(category)?.states.as_ref().ok_or_else(|| {
            let known = self.aggregates().into_iter().map(str::to_owned).collect();
            Error::Unknown(Unknown { kind: "aggregate", name: category.to_owned(), known })
        })
    }

    /// The categories that have states.
    pub(crate) fn aggregates(&self) -> Vec<&'static str> {
        let with_states = self.0.iter().filter(|(_, handlers)| handlers.states.is_some());
        with_states.map(|(name, _)| *name).collect()
    }

    /// The categories, each with its commands and events.
    pub(crate) fn catalogue(&self) -> Vec<(&'static str, Vec<&'static str>, Vec<&'static str>)> {
        let entries = self.0.iter().map(|(category, handlers)| {
            let commands = handlers.commands.iter().flat_map(|handler| handler.command_names());
            let mut events: Vec<_> = Vec::new();
            for name in handlers.commands.iter().flat_map(|handler| handler.event_names()) {
                if !events.contains(name) {
                    events.push(*name);
                }
            }
            (*category, commands.copied().collect(), events)
        });
        entries.collect()
    }
}
