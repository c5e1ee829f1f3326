//! Read models in memory: a projection keeps a Rust value, and queries read it, with nothing in between.
//!
//! The fastest read models there are, for what fits into memory: a batch of events is applied to a clone of the state,
//! which takes the place of the state in one step, together with the checkpoint. Work that fails or panics leaves nothing.
//! Who reads has the state of one moment, and waits for nobody.
//!
//! ```
//! use annals_core::{Position, ReadModelStore};
//! use annals_memory::{MemoryModels, imbl, state, view};
//!
//! /// States are made of maps that share structure: cloning one takes no time, and a batch costs what it changes.
//! #[derive(Clone, Default, serde::Serialize, serde::Deserialize)]
//! struct Balances {
//!     by_account: imbl::HashMap<String, i64>,
//! }
//!
//! # annals_core::block_on(async {
//! let models = MemoryModels::new();
//! let balances = models.open("balances", 1).await?;
//! balances.write(Position::ZERO, Position::new(7), Box::new(|tx| Box::pin(async move {
//!     // Once for all events of a batch.
//!     let state: &mut Balances = state(tx)?;
//!     *state.by_account.entry("42".to_owned()).or_default() += 12;
//!     Ok(())
//! }))).await?;
//! let mut tx = balances.read().await?;
//! assert_eq!(view::<Balances>(&mut *tx)?.by_account["42"], 12);
//! assert_eq!(balances.checkpoint().await?, Position::new(7));
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! # Images
//!
//! [`MemoryModels::new`] keeps nothing: after each start, the read models are made anew from the events.
//! [`MemoryModels::in_folder`] writes an image of each to disk now and then ([`ImageOptions`]), at the end, and at each
//! swap; the next start begins with it. An image is derived data. One that is torn or damaged is set aside as
//! `….damaged-<microseconds>`; one of another type or of another form is discarded. Then the read model begins at position 0.
//!
//! The form of a state is the name of its type, an empty state as it is written (so the names of the fields of `S`, but not
//! of types that are only in its collections), and [`ImageOptions::form`]. What changes besides, so the meaning of a field
//! or how events are applied, is told by raising the projection's `VERSION`, as with every read model. The type is known
//! when it is first asked for, so an image of another form shows at the first write, as
//! [`Superseded`](annals_core::ReadModelError::Superseded) at position 0; until the state is there again,
//! [`view`] answers with [`StateError::Image`].
//!
//! # Several processes
//!
//! Memory is not shared. The process that leads ([`try_lead`](annals_core::ReadModel::try_lead)) writes the images; where
//! nobody leads, whoever has something to write does so for the moment. Others see the images, so they lag by as long as
//! one is old, and go on from the last one when they take the lead. A rebuild elsewhere is refused while one leads.

mod disk;
mod image;
mod inner;
mod published;
mod read_model;
mod read_models;
mod state;
mod tx;

pub use imbl;
pub use read_models::{ImageOptions, MemoryModels};
pub use state::MemoryState;
pub use tx::{StateError, state, view};
