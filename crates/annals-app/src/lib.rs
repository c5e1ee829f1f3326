//! The framework of Annals: a domain in plain Rust becomes a running application.
//!
//! An [`Aggregate`] decides commands into events and folds events into its state. A [`Projection`] keeps a read model
//! from events; a [`Query`] is answered from it. A [`Reaction`] does something about events outside of the store. An [`App`] holds
//! them together and is started on any store of events.
//! Nothing here knows a driver, HTTP or a terminal.

mod aggregate;
mod app;
mod as_of;
mod changes;
pub mod codec;
mod command;
mod commands;
mod consumer;
mod decision;
mod derived;
mod derived_merge;
mod dispatch;
mod error;
mod event;
#[doc(hidden)]
pub mod event_lock;
mod feed;
mod invalid;
mod keeping;
mod keyed;
mod ledger;
mod limits;
mod live;
mod mediator;
mod named;
mod opening;
mod pace;
mod panics;
mod principal;
mod process;
mod projection;
mod projector;
mod query;
mod reaction;
mod reissue;
mod running;
mod seen;
mod snapshots;
pub mod state;
mod test_kit;
mod trace;
mod typed;
mod upcast;
mod versions;
mod what_if;
mod within;

pub use aggregate::{Aggregate, At, Context, DomainError};
pub use annals_core::{NameError, Tag};
pub use annals_macros::{Command, DomainError, Event, Query, State};
pub use app::App;
pub use changes::{ChangingEvent, FieldChange, MAX_COMPARED_EVENTS, StateDifference};
pub use command::{
    Command, CommandOptions, CommandOutcome, CommandRequest, Executed, OutcomeEvent, Rejection,
};
pub use commands::StateView;
pub use consumer::Begin;
pub use decision::{Decision, Scope};
pub use derived::{
    DecodeExt, DeriveExt, Derived, DerivedError, MAX_WINDOW_ITEMS, Window, derive_from, derive_from_history,
};
pub use derived_merge::{merge_derived, merge_derived_in_order};
pub use error::{Error, Unknown};
pub use event::{Event, UnreadableEvent};
pub use invalid::{Invalid, InvalidField};
pub use keyed::KeyedProjection;
pub use ledger::{FailedEvent, MOST_EXCEPTIONS, ParkedKey, SkippedEvent};
pub use limits::Limits;
pub use mediator::{Action, CommandService, Permission};
pub use named::Named;
pub use opening::StartError;
pub use principal::Principal;
pub use process::{
    AnswerEvent, Happened, OpenCommand, OpenProcess, OpenProcesses, OpenTimer, ProcessError, ProcessManager,
    Steps, Work,
};
pub use projection::Projection;
pub use projector::{
    GapProof, GapVerdict, MOST_FRESH_EVENTS, ProjectionError, ProjectionState, ProjectionStatus,
    RebuildProgress, Rebuilt, VerifiedAgainst,
};
pub use query::{Answer, Freshness, Query, QueryContext, QueryError};
pub use reaction::{
    DeadLetter, Reaction, ReactionContext, ReactionError, ReactionState, ReactionStatus, RetryPolicy,
};
pub use reissue::{ReissueError, ReissuedCommand, Reissues};
pub use running::{Ask, RunningApp};
pub use seen::SeenDifference;
pub use state::State;
pub use test_kit::{
    Decided, Given, GivenDecision, GivenProcess, GivenProjection, given, given_decision, given_process,
    given_projection, given_stored,
};
#[cfg(feature = "simulation")]
pub use test_kit::{Happening, Simulated, Simulation, SimulationReport, Unsettled, simulate};
pub use trace::{MOST_TRACED_EVENTS, Trace, TracedEvent, trace};
pub use upcast::{Decoded, DecodedEvents, StoredForm, Upcaster, decode_event, decode_events};
pub use what_if::{Edit, WhatIfError, what_if};
