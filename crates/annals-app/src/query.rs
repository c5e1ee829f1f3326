//! Questions, answered from read models.

use std::any::Any;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use annals_core::{BoxError, BoxFuture, Position, ReadModelError, ReadModelTx, Row, Value};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Projection, ProjectionError, Unknown};

/// A question, typed in and typed out; `derive(Query)` writes it.
///
/// Asked over HTTP or the command line, its fields come as `name=value`: add `#[serde(deny_unknown_fields)]`, so that a
/// misspelt name is an error.
pub trait Query: Serialize + DeserializeOwned + Send + 'static {
    /// The name under which it is asked.
    const NAME: &'static str;
    /// The answer.
    type Output: Serialize + Send + 'static;
    /// The projection whose read model it is answered from.
    type Source: Projection;
}

/// Why a question was not answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// What was asked for is not there.
    #[error("there is no {what}")]
    NotFound {
        /// What was asked for, such as `account "42"`.
        what: String,
    },
    /// The question does not fit.
    #[error("the query {query} does not fit: {reason}")]
    Malformed {
        /// The question.
        query: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no such question.
    #[error("{}", .0)]
    Unknown(Unknown),
    /// Whoever asks may not.
    #[error("{principal} may not {action}: {reason}")]
    Denied {
        /// Who asked.
        principal: String,
        /// What for.
        action: String,
        /// Why not.
        reason: String,
    },
    /// The read model is not there yet, or stopped.
    #[error(transparent)]
    Projection(#[from] ProjectionError),
    /// The read model failed.
    #[error(transparent)]
    ReadModel(#[from] ReadModelError),
    /// The answer could not be given.
    #[error("the query {query} failed: {source}")]
    Failed {
        /// The question.
        query: &'static str,
        /// What went wrong.
        source: BoxError,
    },
}

impl QueryError {
    /// What was asked for is not there.
    pub fn not_found(what: impl Into<String>) -> Self {
        Self::NotFound { what: what.into() }
    }
}

/// What a question is answered from: one consistent state of its read model.
pub struct QueryContext {
    pub(crate) tx: Box<dyn ReadModelTx>,
    pub(crate) position: Position,
    pub(crate) version: u32,
}

impl QueryContext {
    /// The rows that a query in portable SQL finds.
    ///
    /// # Errors
    /// [`ReadModelError`] when the statement fails.
    pub async fn rows(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Row>, ReadModelError> {
        self.tx.query(sql, params).await
    }

    /// The first row that a query finds, if any.
    ///
    /// # Errors
    /// [`ReadModelError`] when the statement fails.
    pub async fn row(&mut self, sql: &str, params: &[Value]) -> Result<Option<Row>, ReadModelError> {
        Ok(self.rows(sql, params).await?.into_iter().next())
    }

    /// The driver's own transaction.
    pub fn tx(&mut self) -> &mut dyn ReadModelTx {
        &mut *self.tx
    }

    /// The read model has every event up to here.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The version of the projection whose read model this is, for handlers that answer from several.
    pub fn version(&self) -> u32 {
        self.version
    }
}

/// How new an answer must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// The read model must have every event up to here, which is waited for.
    AtLeast(Position),
    /// The answer must count every event stored by now. What the read model has not got yet is taken in for this answer alone,
    /// so a read model that is behind is not waited for.
    Fresh,
}

impl From<Position> for Freshness {
    fn from(position: Position) -> Self {
        Self::AtLeast(position)
    }
}

/// The answer to a question that came without its type, as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// JSON.
    pub json: Bytes,
    /// The read model had every event up to here.
    pub position: Position,
}

/// A question on its way to its handler.
pub(crate) enum QueryInput {
    /// `name=value` pairs, percent-encoded.
    Form(String),
    /// A value of the question's type.
    Typed(Box<dyn Any + Send>),
}

pub(crate) enum QueryOutput {
    Json(Bytes),
    Typed(Box<dyn Any + Send>),
}

impl QueryOutput {
    /// The answer as its question's own type.
    pub(crate) fn typed<Q: Query>(self) -> Result<Q::Output, QueryError> {
        match self {
            Self::Typed(answer) => {
                answer.downcast().map(|answer| *answer).map_err(|_| of_another_type(Q::NAME))
            }
            Self::Json(_) => Err(of_another_type(Q::NAME)),
        }
    }

    /// The answer to a question that came without its type.
    pub(crate) fn json(self, query: &'static str) -> Result<Bytes, QueryError> {
        match self {
            Self::Json(json) => Ok(json),
            Self::Typed(_) => Err(of_another_type(query)),
        }
    }
}

fn of_another_type(query: &'static str) -> QueryError {
    QueryError::Malformed { query, reason: "another type is registered under its name".to_owned() }
}

/// A handler for one question, its type forgotten.
pub(crate) trait QueryHandler: Send + Sync {
    fn name(&self) -> &'static str;
    fn source(&self) -> &'static str;
    /// Whether a question in this form can be asked at all, before anything is made ready for it.
    fn check(&self, form: &str) -> Result<(), QueryError>;
    fn answer(
        &self,
        input: QueryInput,
        context: QueryContext,
    ) -> BoxFuture<'_, Result<QueryOutput, QueryError>>;
}

pub(crate) struct FnHandler<Q, F> {
    handler: Arc<F>,
    query: PhantomData<fn(Q)>,
}

impl<Q, F> FnHandler<Q, F> {
    pub(crate) fn new(handler: F) -> Self {
        Self { handler: Arc::new(handler), query: PhantomData }
    }
}

fn parse<Q: Query>(form: &str) -> Result<Q, QueryError> {
    let malformed = |reason: String| QueryError::Malformed { query: Q::NAME, reason };
    serde_urlencoded::from_str(form).map_err(|error| malformed(error.to_string()))
}

impl<Q, F, Fut> QueryHandler for FnHandler<Q, F>
where
    Q: Query,
    F: Fn(Q, QueryContext) -> Fut + Send + Sync,
    Fut: Future<Output = Result<Q::Output, QueryError>> + Send,
{
    fn name(&self) -> &'static str {
        Q::NAME
    }

    fn source(&self) -> &'static str {
        Q::Source::NAME
    }

    fn check(&self, form: &str) -> Result<(), QueryError> {
        parse::<Q>(form).map(drop)
    }

    fn answer(
        &self,
        input: QueryInput,
        context: QueryContext,
    ) -> BoxFuture<'_, Result<QueryOutput, QueryError>> {
        let query = Q::NAME;
        Box::pin(async move {
            match input {
                QueryInput::Typed(question) => {
                    let question = question.downcast::<Q>().map_err(|_| QueryError::Malformed {
                        query,
                        reason: "it is of another type than the one registered under its name".to_owned(),
                    })?;
                    let answer = (self.handler)(*question, context).await?;
                    Ok(QueryOutput::Typed(Box::new(answer)))
                }
                QueryInput::Form(form) => {
                    let answer = (self.handler)(parse(&form)?, context).await?;
                    let json = serde_json::to_vec(&answer)
                        .map_err(|error| QueryError::Failed { query, source: error.into() })?;
                    Ok(QueryOutput::Json(json.into()))
                }
            }
        })
    }
}
