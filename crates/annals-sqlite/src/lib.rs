//! An Annals event store and read models on SQLite.
//!
//! [`SqliteStore`] keeps events in one file that people can read with any SQLite tool. [`SqliteReadModels`] keeps the
//! read models of projections, a file each. Neither needs a runtime: both have threads of their own and hand out
//! futures that any executor can poll.

mod append;
mod connection;
mod event_row;
mod failure;
mod model_files;
mod model_writer;
mod place;
mod pool;
mod read;
mod read_model;
mod read_models;
mod readers;
mod schema;
mod selection;
mod snapshot;
mod statement;
mod store;
mod tx;
mod verify;
mod writer;

pub use read_models::SqliteReadModels;
pub use store::SqliteStore;
pub use tx::connection;
