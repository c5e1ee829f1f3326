//! Event sourcing and CQRS for Rust.
//!
//! A team writes its domain in plain Rust (a state, its commands, its events, two pure functions) and gets a running
//! system: commands over REST, a durable event log, read models, queries, replay, time travel.
//!
//! This crate is a face: it re-exports what an application needs from the crates behind it, and features choose which
//! stores and doors come along (`log`, `sqlite`, `http`, `cli`, by default, and `search`). The feature `simulation` is
//! for tests.
//!
//! `examples/shortest.rs` is the smallest application; the example `bank` is a whole one.

#[cfg(feature = "sqlite")]
mod drivers;
#[cfg(feature = "sqlite")]
mod read_models;
#[cfg(feature = "sqlite")]
mod test_kit;

pub use annals_app::{
    Action, Aggregate, Answer, AnswerEvent, App, Ask, At, Begin, ChangingEvent, Command, CommandOptions,
    CommandOutcome, CommandRequest, CommandService, Context, DeadLetter, Decided, Decision, DecodeExt,
    Decoded, DecodedEvents, DeriveExt, Derived, DerivedError, DomainError, Edit, Error, Event, Executed,
    FailedEvent, FieldChange, Freshness, GapProof, GapVerdict, Given, GivenDecision, GivenProcess,
    GivenProjection, Happened, Invalid, InvalidField, KeyedProjection, Limits, MOST_EXCEPTIONS,
    MOST_FRESH_EVENTS, MOST_TRACED_EVENTS, Named, OpenCommand, OpenProcess, OpenProcesses, OpenTimer,
    OutcomeEvent, ParkedKey, Permission, Principal, ProcessError, ProcessManager, Projection,
    ProjectionError, ProjectionState, ProjectionStatus, Query, QueryContext, QueryError, Reaction,
    ReactionContext, ReactionError, ReactionState, ReactionStatus, RebuildProgress, Rebuilt, ReissueError,
    ReissuedCommand, Reissues, Rejection, RetryPolicy, RunningApp, Scope, SeenDifference, SkippedEvent,
    StartError, State, StateDifference, StateView, Steps, StoredForm, Trace, TracedEvent, Unknown,
    UnreadableEvent, Upcaster, VerifiedAgainst, WhatIfError, Window, Work, codec, decode_event,
    decode_events, derive_from, derive_from_history, event_lock, given, given_decision, given_process,
    given_stored, merge_derived, merge_derived_in_order, state, trace, what_if,
};
pub use annals_core::{
    AppendCondition, AppendError, AppendReceipt, AppendRequest, BoxError, BoxFuture, Category, CausationId,
    ChainHash, Checkpoint, Clock, CloudEventError, Conflict, ConsumerName, ContentType, CorrelationId,
    Damage, DeleteMode, Direction, Durability, EventBatch, EventId, EventIdError, EventStore, EventType,
    ExpectedVersion, FailedCheck, Filter, FilterItem, FromValue, Imported, InvalidRequest, KnownEvent,
    MemoryStore, ModelKind, NameError, NewEvent, OpenedStore, Position, ReadFrom, ReadModel, ReadModelError,
    ReadModelStore, ReadModelTx, ReadRequest, Reader, RecordedEvent, Row, StoreDriver, StoreDrivers,
    StoreError, StreamName, StreamState, StreamSummary, Subscription, SubscriptionMessage, SystemClock,
    SystemEvent, Tag, Timestamp, TimestampError, TransactionalStore, TxWork, Value, VerifyReport, Version,
    append_missing, cloud_event, conflicting_ids, params, parse_cloud_event, subscribe,
};

#[cfg(feature = "simulation")]
pub use annals_app::{Happening, Simulated, Simulation, SimulationReport, Unsettled};
#[cfg(feature = "cli")]
pub use annals_cli as cli;
#[cfg(feature = "http")]
pub use annals_http as http;
#[cfg(feature = "log")]
pub use annals_log as log;
pub use annals_memory as memory;
#[cfg(feature = "search")]
pub use annals_search as search;
#[cfg(feature = "sqlite")]
pub use annals_sqlite as sqlite;
#[cfg(feature = "sqlite")]
pub use drivers::{drivers, open_store};
#[cfg(feature = "sqlite")]
pub use read_models::ReadModels;
#[cfg(feature = "sqlite")]
pub use test_kit::given_projection;
#[cfg(feature = "simulation")]
pub use test_kit::simulate;

/// Turns an application into a command-line program: `serve`, `execute`, `query`, `state`, `events`, `projections`,
/// `rebuild`, `replay`, `verify` and others. Returns its exit code.
#[cfg(feature = "cli")]
pub fn run(app: App) -> std::process::ExitCode {
    program(app).run()
}

/// The command-line program of an application, to which commands of its own can be added.
#[cfg(feature = "cli")]
pub fn program(app: App) -> cli::Program {
    cli::Program::new(app, drivers())
}

/// Starts an application on the store at an address, within a program or a test.
///
/// # Errors
/// What opening the store or starting reports.
#[cfg(feature = "sqlite")]
pub async fn start(app: App, url: &str) -> Result<RunningApp, BoxError> {
    let OpenedStore { events, read_models } = open_store(url).await?;
    Ok(app.start(events, read_models).await?)
}
