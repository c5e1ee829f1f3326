//! Where projections keep their data: a small contract that SQL databases meet.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::row::{Row, Value};
use crate::{AppendError, AppendReceipt, AppendRequest, BoxFuture, Position};

/// Any error that may move between threads.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a read model cannot do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadModelError {
    /// A statement failed.
    #[error("the statement {statement:?} failed: {source}")]
    Statement {
        /// The statement.
        statement: String,
        /// What the database said.
        source: BoxError,
    },
    /// A column is not as expected.
    #[error("column {column:?}: expected {expected}, found {found}")]
    Column {
        /// The column.
        column: String,
        /// What was expected.
        expected: &'static str,
        /// What was found.
        found: String,
    },
    /// The database failed.
    #[error("cannot {operation} the read model {name:?}: {source}")]
    Database {
        /// What was tried.
        operation: &'static str,
        /// The read model.
        name: String,
        /// What the database said.
        source: BoxError,
    },
    /// Another process has written to the read model meanwhile; nothing was written.
    #[error("another process has moved the read model to position {found} meanwhile")]
    Superseded {
        /// Where its checkpoint is now.
        found: Position,
    },
    /// The work that was to be done in the transaction failed; the transaction was rolled back.
    #[error(transparent)]
    Work(BoxError),
    /// Another process has taken over as the one that keeps the read model; nothing was written.
    #[error(
        "another process keeps the read model {name:?} now, so this one wrote nothing: it stands by until that one ends"
    )]
    Fenced {
        /// The read model.
        name: String,
    },
    /// This kind of read model cannot do it.
    #[error("the read model {name:?} cannot {operation}: {advice}")]
    Unsupported {
        /// The read model.
        name: String,
        /// What was asked for.
        operation: &'static str,
        /// What to do instead.
        advice: &'static str,
    },
}

/// A transaction on a read model: reads and writes rows by portable SQL, with parameters `$1`, `$2`, …. One that is not made of
/// rows refuses that, and is reached by the functions of the crate that keeps it.
pub trait ReadModelTx: Send {
    /// Runs a statement and returns how many rows it changed.
    fn execute<'a>(
        &'a mut self,
        sql: &'a str,
        _params: &'a [Value],
    ) -> BoxFuture<'a, Result<u64, ReadModelError>> {
        no_sql(sql)
    }

    /// Runs a statement for each of many rows of parameters and returns how many rows it changed in all. Databases do this
    /// faster than one by one.
    fn execute_many<'a>(
        &'a mut self,
        sql: &'a str,
        rows: &'a [Vec<Value>],
    ) -> BoxFuture<'a, Result<u64, ReadModelError>> {
        Box::pin(async move {
            let mut changed = 0;
            for row in rows {
                changed += self.execute(sql, row).await?;
            }
            Ok(changed)
        })
    }

    /// Runs a query and returns its rows.
    fn query<'a>(
        &'a mut self,
        sql: &'a str,
        _params: &'a [Value],
    ) -> BoxFuture<'a, Result<Vec<Row>, ReadModelError>> {
        no_sql(sql)
    }

    /// Up to where the events are in what is read here, where the driver knows without asking: so that a read model which was
    /// removed and is being made anew is not taken for the one that was whole.
    fn checkpoint(&self) -> Option<Position> {
        None
    }

    /// The driver's own transaction, for what portable SQL cannot say.
    fn as_any(&mut self) -> &mut dyn Any;
}

fn no_sql<T: Send + 'static>(sql: &str) -> BoxFuture<'_, Result<T, ReadModelError>> {
    let advice = "the read model is not made of rows and knows no SQL: use the functions of the crate that keeps it, such as \
                  `annals_memory::state` and `annals_memory::view`, or `annals_search::index` and `annals_search::searcher`";
    let failed = ReadModelError::Statement { statement: sql.to_owned(), source: advice.into() };
    Box::pin(std::future::ready(Err(failed)))
}

/// Work to be done in a transaction.
pub type TxWork =
    Box<dyn for<'t> FnOnce(&'t mut dyn ReadModelTx) -> BoxFuture<'t, Result<(), BoxError>> + Send>;

/// Up to where a read model has its events, and what is remembered about them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bookmark {
    /// The position up to which events were applied; 0 for an empty read model.
    pub position: Position,
    /// What [`write_with_notes`](ReadModel::write_with_notes) was given last; empty when it never was.
    pub notes: Vec<u8>,
}

/// A transaction that may be written and is never kept, with where it stands.
pub type Fork = (Bookmark, Box<dyn ReadModelTx>);

/// Whoever has this is the one that keeps a read model; dropping it lets another one do so.
pub struct Lead(#[allow(dead_code)] Box<dyn Any + Send + Sync>);

impl Lead {
    /// A lead that lasts as long as `held` is not dropped.
    pub fn new(held: impl Any + Send + Sync) -> Self {
        Self(Box::new(held))
    }
}

impl fmt::Debug for Lead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lead")
    }
}

/// The data of one version of one projection, with the position up to which it has applied events.
pub trait ReadModel: Send + Sync {
    /// Where it stands, and what is remembered about it.
    fn bookmark(&self) -> BoxFuture<'_, Result<Bookmark, ReadModelError>>;

    /// The position up to which events were applied; 0 for an empty read model.
    fn checkpoint(&self) -> BoxFuture<'_, Result<Position, ReadModelError>> {
        Box::pin(async move { Ok(self.bookmark().await?.position) })
    }

    /// Does `work`, moves the checkpoint from `from` to `to` and, if given, replaces the notes: in one transaction.
    ///
    /// When the checkpoint is not at `from`, because another process has moved it, nothing is done:
    /// [`ReadModelError::Superseded`]. When this process was the one that keeps the read model and another one has taken over,
    /// nothing is done either: [`ReadModelError::Fenced`].
    fn write_with_notes(
        &self,
        from: Position,
        to: Position,
        notes: Option<Vec<u8>>,
        work: TxWork,
    ) -> BoxFuture<'_, Result<(), ReadModelError>>;

    /// As [`write_with_notes`](Self::write_with_notes), leaving the notes as they are.
    fn write(&self, from: Position, to: Position, work: TxWork) -> BoxFuture<'_, Result<(), ReadModelError>> {
        self.write_with_notes(from, to, None, work)
    }

    /// Becomes the one that keeps the read model, until what is returned is dropped or the process ends; `None` while
    /// another one does, in this process or in another.
    fn try_lead(&self) -> BoxFuture<'_, Result<Option<Lead>, ReadModelError>>;

    /// Remembers, the first time, which store the read model is made from; later, whether it is this one.
    fn bind(&self, store_id: &str) -> BoxFuture<'_, Result<bool, ReadModelError>>;

    /// Begins to read: all queries of the returned transaction see the same state. It must not be used to write.
    fn read(&self) -> BoxFuture<'_, Result<Box<dyn ReadModelTx>, ReadModelError>>;

    /// As [`read`](Self::read), and it may be written, for its owner's eyes only: nothing of that is kept. Where it stands comes
    /// with it. Other writers may have to wait until it is dropped.
    fn fork(&self) -> BoxFuture<'_, Result<Fork, ReadModelError>>;

    /// A fresh and empty read model beside this one, to be built and then swapped in. Dropped before that, it leaves nothing.
    fn begin_rebuild(&self) -> BoxFuture<'_, Result<Arc<dyn ReadModel>, ReadModelError>>;

    /// Puts the one that [`begin_rebuild`](Self::begin_rebuild) made in the place of this one, which is kept, for
    /// [`swap_back`](Self::swap_back), until the next one is swapped in.
    fn swap_in(&self, built: Arc<dyn ReadModel>) -> BoxFuture<'_, Result<(), ReadModelError>>;

    /// Puts the one that was replaced last back in its place, and keeps this one in its stead; says whether there was one.
    fn swap_back(&self) -> BoxFuture<'_, Result<bool, ReadModelError>>;
}

/// What a read model is made of, and so how a projection writes it and a query reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ModelKind {
    /// Rows, by portable SQL.
    Rows,
    /// A value in memory.
    Memory,
    /// Documents for full-text search.
    Documents,
}

impl fmt::Display for ModelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rows => "rows",
            Self::Memory => "memory",
            Self::Documents => "documents",
        })
    }
}

/// Keeps read models.
pub trait ReadModelStore: Send + Sync {
    /// Opens the read model of a projection's version, empty when it is new.
    fn open(&self, name: &str, version: u32) -> BoxFuture<'_, Result<Arc<dyn ReadModel>, ReadModelError>>;

    /// Keeps read models of another kind in the same place; nothing when there is no such store.
    fn of_kind(&self, _kind: ModelKind) -> Option<Arc<dyn ReadModelStore>> {
        None
    }

    /// An empty read model of this name apart from all others, which is gone when it is dropped: to see what it was in the
    /// past, or what it might have been.
    fn scratch(&self, name: &str) -> BoxFuture<'_, Result<Arc<dyn ReadModel>, ReadModelError>>;
}

/// A store of events in a SQL database: it can write read-model rows in the append's own transaction.
pub trait TransactionalStore: Send + Sync {
    /// Appends, then does `work` in the same transaction: both are kept or neither. A duplicate append does no work.
    fn append_with(
        &self,
        request: AppendRequest,
        work: TxWork,
    ) -> BoxFuture<'_, Result<AppendReceipt, AppendError>>;

    /// Runs a query beside the events.
    fn query(&self, sql: String, params: Vec<Value>) -> BoxFuture<'_, Result<Vec<Row>, ReadModelError>>;
}

impl fmt::Debug for dyn ReadModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReadModel")
    }
}
