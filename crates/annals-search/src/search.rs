//! An index as queries see it.

use std::any::Any;

use annals_core::ReadModelTx;
use tantivy::collector::TopDocs;
use tantivy::query::QueryParser;
use tantivy::schema::{Field, Schema};
use tantivy::{Score, Searcher, TantivyDocument};

use crate::error::SearchError;
use crate::tx::SearchTx;

/// The documents of an index at one moment.
///
/// A search is done on the calling thread: it takes as long as its postings are long, which is well below a millisecond
/// for some 100,000 documents.
#[derive(Clone)]
pub struct Search {
    searcher: Searcher,
}

impl Search {
    pub(crate) fn new(searcher: Searcher) -> Self {
        Self { searcher }
    }

    /// tantivy's searcher, for queries and collectors of any kind.
    pub fn searcher(&self) -> &Searcher {
        &self.searcher
    }

    /// The schema of the documents; without fields, as long as the projection has given none.
    pub fn schema(&self) -> &Schema {
        self.searcher.schema()
    }

    /// The field of this name.
    ///
    /// # Errors
    /// [`SearchError::UnknownField`] when there is none.
    pub fn field(&self, name: &str) -> Result<Field, SearchError> {
        self.schema().get_field(name).map_err(|_| unknown_field(name, self.schema()))
    }

    /// The documents that match a text in tantivy's query language, the best first, each with its score.
    ///
    /// Words are looked for in `fields`, unless the text names another one (`title:bank`). There may be `AND`, `OR`, `NOT`,
    /// `"phrases in quotes"`, ranges and parentheses. After `offset` documents that are passed by, up to `limit` are
    /// returned.
    ///
    /// # Errors
    /// [`SearchError::BadQuery`] when the text cannot be understood, [`SearchError::UnknownField`] for another name in
    /// `fields`, [`SearchError::Index`] when a document cannot be read.
    pub fn search(
        &self,
        text: &str,
        fields: &[&str],
        limit: usize,
        offset: usize,
    ) -> Result<Vec<(Score, TantivyDocument)>, SearchError> {
        let fields = fields.iter().map(|name| self.field(name)).collect::<Result<Vec<_>, _>>()?;
        let query = QueryParser::for_index(self.searcher.index(), fields)
            .parse_query(text)
            .map_err(|problem| SearchError::BadQuery { query: text.to_owned(), problem })?;
        // tantivy makes room for as many as are asked for.
        let all = usize::try_from(self.searcher.num_docs()).unwrap_or(usize::MAX);
        let limit = limit.min(all.saturating_sub(offset));
        if limit == 0 {
            return Ok(Vec::new());
        }
        let best = TopDocs::with_limit(limit).and_offset(offset).order_by_score();
        let found = self.searcher.search(&query, &best)?;
        found.into_iter().map(|(score, address)| Ok((score, self.searcher.doc(address)?))).collect()
    }
}

impl std::fmt::Debug for Search {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Search").field("documents", &self.searcher.num_docs()).finish_non_exhaustive()
    }
}

pub(crate) fn unknown_field(name: &str, schema: &Schema) -> SearchError {
    SearchError::UnknownField { name: name.to_owned(), known: names(schema) }
}

/// The names of the fields, for messages.
pub(crate) fn names(schema: &Schema) -> String {
    let names: Vec<_> = schema.fields().map(|(_, entry)| format!("{:?}", entry.name())).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// A transaction that reads.
pub(crate) struct ReadTx(pub(crate) Search);

impl ReadModelTx for ReadTx {
    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

/// The index of a projection, to be read: what its queries use. In a transaction that writes, it is as the last one left
/// it: what this one puts shows when it is done.
///
/// # Errors
/// [`SearchError::NotSearch`] when `tx` is of another store.
pub fn searcher(tx: &mut dyn ReadModelTx) -> Result<&Search, SearchError> {
    let tx = tx.as_any();
    if tx.is::<SearchTx>() {
        return tx.downcast_mut::<SearchTx>().ok_or(SearchError::NotSearch)?.committed();
    }
    tx.downcast_ref::<ReadTx>().map(|tx| &tx.0).ok_or(SearchError::NotSearch)
}

/// The index of a projection, to be written: what its `prepare` and `apply` use.
///
/// # Errors
/// [`SearchError::NotSearch`] when `tx` is of another store, [`SearchError::ReadOnly`] when it only reads.
pub fn index(tx: &mut dyn ReadModelTx) -> Result<&mut SearchTx, SearchError> {
    let tx = tx.as_any();
    if tx.is::<ReadTx>() {
        return Err(SearchError::ReadOnly);
    }
    tx.downcast_mut().ok_or(SearchError::NotSearch)
}
