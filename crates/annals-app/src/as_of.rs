//! Questions to a read model as it was.

use annals_core::{Direction, Filter, Position, ReadFrom, ReadRequest};

use crate::query::QueryInput;
use crate::{Answer, At, Principal, ProjectionError, QueryContext, QueryError, RebuildProgress, RunningApp};

impl RunningApp {
    /// Answers a question from its read model as it was at a position, or when everything up to a time was recorded.
    ///
    /// The read model is built from the events up to there, apart from the live one, which goes on meanwhile; that takes as
    /// long as a rebuild. The code is that of today.
    ///
    /// # Errors
    /// [`QueryError`]; [`QueryError::Malformed`] for a version or a time of occurrence, which say nothing of a read model.
    pub async fn answer_as_of(
        &self,
        name: &str,
        form: String,
        at: At,
        principal: &Principal,
        report: &(dyn Fn(RebuildProgress) + Send + Sync),
    ) -> Result<Answer, QueryError> {
        let (handler, projector) = self.allowed(name, principal)?;
        let head = self.store().head().await.map_err(ProjectionError::from)?;
        let position = match at {
            At::Now => head,
            At::Position(position) => position.min(head),
            At::RecordedAt(moment) => {
                let last = ReadRequest::new(Filter::all()).from(ReadFrom::RecordedAt(moment));
                let last = ReadRequest { direction: Direction::Backwards, ..last.limit(1) };
                let found = self.store().read(last).await.map_err(ProjectionError::from)?;
                found.events.first().map_or(Position::ZERO, annals_core::RecordedEvent::position)
            }
            At::Version(_) | At::OccurredAt(_) => {
                let reason = "a read model is asked for as of a position or a time of recording".to_owned();
                return Err(QueryError::Malformed { query: handler.name(), reason });
            }
        };
        let model = projector.as_of(position, report).await?;
        let context = QueryContext { tx: model.read().await?, position, version: projector.version() };
        let output = handler.answer(QueryInput::Form(form), context).await?;
        Ok(Answer { json: output.json(handler.name())?, position })
    }
}
