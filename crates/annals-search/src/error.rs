//! What can go wrong on the way to an index.

use tantivy::TantivyError;
use tantivy::query::QueryParserError;

/// Why a transaction does not lead to an index, or the index does not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SearchError {
    /// The transaction is of another kind of read models.
    #[error(
        "the transaction is not of a read model for search: keep this projection's read model in `SearchModels`, or use \
         what its own store offers"
    )]
    NotSearch,
    /// A transaction that only reads was asked for the index to write.
    #[error(
        "the transaction only reads: use `searcher` instead of `index`, and leave changes to the projection"
    )]
    ReadOnly,
    /// The index on disk has another schema than the projection.
    #[error(
        "the index on disk has another schema: {difference}; raise the projection's VERSION, so that an index of the new \
         schema is made from the events"
    )]
    OtherSchema {
        /// What is different.
        difference: String,
    },
    /// The schema has no such field.
    #[error(
        "the index has no field {name:?}, expected one of {known}; an index has those of the schema given in `prepare`"
    )]
    UnknownField {
        /// The field.
        name: String,
        /// Those that it has.
        known: String,
    },
    /// Documents cannot be found by this field, so that none could be replaced.
    #[error("the field {name:?} cannot tell documents apart: {reason}")]
    Key {
        /// The field.
        name: String,
        /// Why, and what to do.
        reason: &'static str,
    },
    /// The text of a query is not one.
    #[error("the query {query:?} cannot be understood: {problem}")]
    BadQuery {
        /// The text.
        query: String,
        /// What is wrong with it.
        #[source]
        problem: QueryParserError,
    },
    /// The index failed.
    #[error("the index failed: {0}")]
    Index(#[from] TantivyError),
}
