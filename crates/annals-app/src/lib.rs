//! The framework of Annals: a domain in plain Rust becomes a running application.
//!
//! An [`Aggregate`] decides commands into events and folds events into its state. A [`Projection`] keeps a read model
//! from events; a [`Query`] is answered from it. An [`App`] holds them together and is started on any store of events.
//! Nothing here knows a driver, HTTP or a terminal.

mod aggregate;
mod app;
pub mod codec;
mod command;
mod event;
mod handler;
mod mediator;
mod named;
mod projection;
mod projector;
mod query;
mod repository;
mod running;
mod test_kit;

pub use aggregate::{Aggregate, At, Context, DomainError};
pub use annals_core::{NameError, Tag};
pub use annals_macros::{Command, DomainError, Event, Query};
pub use app::{App, StartError};
pub use command::{
    Command, CommandOptions, CommandOutcome, CommandRequest, Error, Executed, OutcomeEvent, Principal,
    Rejection, Unknown,
};
pub use event::{Event, UnreadableEvent, decode_event};
pub use mediator::{Action, CommandService, Permission};
pub use named::Named;
pub use projection::Projection;
pub use projector::{ProjectionError, ProjectionState, ProjectionStatus, RebuildProgress};
pub use query::{Answer, Query, QueryContext, QueryError};
pub use repository::StateView;
pub use running::{Ask, RunningApp};
pub use test_kit::{Decided, Given, given};
