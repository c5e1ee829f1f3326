//! Read models for full-text search, on [tantivy].
//!
//! A projection puts documents into an index, and queries search them. The documents and the checkpoint are one commit, so an
//! event is applied once however often the process ends in between; and putting a document takes the place of the one with
//! the same key, so that doing it again changes nothing.
//!
//! ```
//! use annals_core::{Position, ReadModelStore};
//! use annals_search::tantivy::schema::{STORED, STRING, Schema, TEXT, Value};
//! use annals_search::tantivy::{Term, doc};
//! use annals_search::{SearchModels, index, searcher};
//!
//! # annals_core::block_on(async {
//! let models = SearchModels::temporary()?;
//! let letters = models.open("letters", 1).await?;
//! letters.write(Position::ZERO, Position::new(7), Box::new(|tx| Box::pin(async move {
//!     // A projection does this in `prepare`.
//!     let mut fields = Schema::builder();
//!     let id = fields.add_text_field("id", STRING | STORED);
//!     let text = fields.add_text_field("text", TEXT);
//!     let index = index(tx)?;
//!     index.schema(fields.build())?;
//!     // And this in `apply`.
//!     index.put(Term::from_field_text(id, "a"), doc!(id => "a", text => "the bank has closed"))?;
//!     index.put(Term::from_field_text(id, "b"), doc!(id => "b", text => "down by the river"))?;
//!     Ok(())
//! }))).await?;
//!
//! let mut tx = letters.read().await?;
//! let search = searcher(&mut *tx)?;
//! let found = search.search("river OR lake", &["text"], 10, 0)?;
//! let (_score, document) = &found[0];
//! assert_eq!(document.get_first(search.field("id")?).and_then(|id| id.as_str()), Some("b"));
//! assert_eq!(letters.checkpoint().await?, Position::new(7));
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! # What it costs
//!
//! A commit makes files and syncs them, tens of milliseconds: with few events at a time, a search read model lags by that
//! much. What writes takes up to 32 MiB, one thread for documents and one for merging segments, and is open in the process
//! that leads. Where none does, it is opened for each batch, which is slow. Indexes are mapped: their pages belong to the
//! system.
//!
//! tantivy comes without its optional parts (stemming, stop words, compression). An application that adds those features to
//! a dependency on tantivy of its own gives the tokenizers it wants by [`SearchModels::tokenizers`].

mod error;
mod index_files;
mod payload;
mod read_model;
mod read_models;
mod reader;
mod search;
mod tx;
mod writer;

pub use error::SearchError;
pub use read_models::SearchModels;
pub use search::{Search, index, searcher};
pub use tantivy;
pub use tx::SearchTx;
