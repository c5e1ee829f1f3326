//! Questions to a read model as it was.

use annals_core::{Direction, Filter, Position, ReadFrom, ReadRequest, RecordedEvent};

use crate::query::QueryInput;
use crate::{Answer, At, Principal, ProjectionError, QueryContext, QueryError, RebuildProgress, RunningApp};

impl RunningApp {
    /// Answers a question from its read model as it was at a position, or when everything up to a time was recorded; or as it
    /// would be of what had happened until a time, whenever it was recorded: what was true then, as far as is known now.
    ///
    /// Events are taken in the order of the log in every case; of those up to a time of occurrence some may be left out that
    /// others follow upon, which a projection must bear. The read model is built from the events up to there, apart from the
    /// live one, which goes on meanwhile; that takes as long as a rebuild. A question that does not fit is refused before. The
    /// code is that of today.
    ///
    /// # Errors
    /// [`QueryError`]; [`QueryError::Malformed`] for a version, which says nothing of a read model.
    pub async fn answer_as_of(
        &self,
        name: &str,
        form: String,
        at: At,
        principal: &Principal,
        report: &(dyn Fn(RebuildProgress) + Send + Sync),
    ) -> Result<Answer, QueryError> {
        let (handler, projector) = self.allowed(name, principal)?;
        handler.check(&form)?;
        let head = self.store().head().await.map_err(ProjectionError::from)?;
        let position = match at {
            At::Now | At::OccurredAt(_) => head,
            At::Position(position) => position.min(head),
            At::RecordedAt(moment) => {
                let last = ReadRequest::new(Filter::all()).from(ReadFrom::RecordedAt(moment));
                let last = ReadRequest { direction: Direction::Backwards, ..last.limit(1) };
                let found = self.store().read(last).await.map_err(ProjectionError::from)?;
                found.events.first().map_or(Position::ZERO, RecordedEvent::position)
            }
            At::Version(_) => {
                let reason = "a read model has no versions: expected a position or a time".to_owned();
                return Err(QueryError::Malformed { query: handler.name(), reason });
            }
        };
        let takes = move |event: &RecordedEvent| match at {
            At::OccurredAt(moment) => event.occurred_at() <= moment,
            _ => true,
        };
        let model = projector.as_of(position, &takes, report).await?;
        let context = QueryContext { tx: model.read().await?, position, version: projector.version() };
        let output = handler.answer(QueryInput::Form(form), context).await?;
        Ok(Answer { json: output.json(handler.name())?, position })
    }
}
