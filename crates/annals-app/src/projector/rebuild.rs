//! Builds read models anew beside those that answer, several in one pass; and takes them back.

use std::sync::Arc;
use std::time::Instant;

use annals_core::{Position, ReadModel, RecordedEvent};
use futures_util::future::{join_all, try_join};

use super::{
    Progress, ProjectionError, ProjectionState, Projector, RebuildProgress, Rebuilt, VerifiedAgainst,
    Written, is_of_another_store,
};
use crate::feed::{Cursor, Feed, FeedMessage};
use crate::ledger::Ledger;
use crate::pace::Pace;

/// Whether an event is taken into a read model of the past.
type Takes<'a> = &'a (dyn Fn(&RecordedEvent) -> bool + Send + Sync);

/// The events that a read model is built from.
#[derive(Clone, Copy)]
struct Part<'a> {
    upto: Position,
    takes: Takes<'a>,
}

impl Part<'_> {
    fn all(upto: Position) -> Self {
        Self { upto, takes: &|_| true }
    }
}

/// Told how far a rebuild has come.
pub(crate) type Report<'a> = &'a (dyn Fn(RebuildProgress) + Send + Sync);

/// Builds read models anew from one pass over all events, and swaps each in when it is whole. One that fails keeps the
/// others from nothing.
pub(crate) async fn rebuild(
    projectors: &[Arc<Projector>],
    report: Report<'_>,
) -> Result<Vec<Result<Rebuilt, ProjectionError>>, ProjectionError> {
    let Some(store) = projectors.first().map(|projector| Arc::clone(&projector.store)) else {
        return Ok(Vec::new());
    };
    let filters = projectors.iter().map(|projector| projector.projection.filter());
    let head = store.head().await?;
    let feed = Feed::new(store, filters, Some(head));
    // All have their places before the first one moves on.
    let join = |projector: &Arc<Projector>| feed.join(projector.projection.filter(), Position::ZERO);
    let cursors: Vec<Cursor> = projectors.iter().map(join).collect();
    let rebuilds = projectors.iter().zip(cursors);
    Ok(join_all(rebuilds.map(|(projector, cursor)| projector.rebuild(cursor, head, report))).await)
}

impl Projector {
    async fn rebuild(
        &self,
        cursor: Cursor,
        head: Position,
        report: Report<'_>,
    ) -> Result<Rebuilt, ProjectionError> {
        let begun = Instant::now();
        self.need_lead().await?;
        let built = async {
            let fresh = self.model.begin_rebuild().await?;
            fresh.bind(&self.store.store_id()).await?;
            let forgiven = self.live(&*self.written.lock().await).ledger;
            self.build_and_swap(fresh, cursor, head, &forgiven, report).await
        };
        let built = built.await;
        self.progress.send_modify(|progress| progress.rebuild = None);
        let (written, verified_against) = built.map_err(|error| match error {
            told @ ProjectionError::NotVerified { .. } => told,
            source => ProjectionError::NotRebuilt { name: self.name(), source: Box::new(source) },
        })?;
        self.mended.notify_one();
        Ok(Rebuilt {
            projection: self.name(),
            position: written.position,
            events: written.ledger.seen.as_ref().map(crate::seen::Seen::events).unwrap_or_default(),
            verified_against,
            seconds: begun.elapsed().as_secs_f64(),
        })
    }

    async fn build_and_swap(
        &self,
        fresh: Arc<dyn ReadModel>,
        cursor: Cursor,
        head: Position,
        forgiven: &Ledger,
        report: Report<'_>,
    ) -> Result<(Written, VerifiedAgainst), ProjectionError> {
        let mut built = Written::default();
        let shown = |now: RebuildProgress| {
            self.progress.send_modify(|progress| progress.rebuild = Some(now));
            report(now);
        };
        self.build(&*fresh, &mut built, cursor, Part::all(head), forgiven, &shown).await?;
        // The few events that came meanwhile are taken in while the live one waits.
        let mut written = self.written.lock().await;
        let live = self.live(&written);
        let head = self.store.head().await?.max(live.position);
        let rest = Feed::new(Arc::clone(&self.store), [self.projection.filter()], Some(head));
        let rest = rest.join(self.projection.filter(), built.position);
        // Up to where the live one is, so that the two can be compared.
        let upto = if live.position > built.position { live.position } else { head };
        self.build(&*fresh, &mut built, rest, Part::all(upto), forgiven, &shown).await?;
        let verified = self.verify(&*fresh, &built, &live).await?;
        self.model.swap_in(fresh).await?;
        *written = built.clone();
        self.progress.send_modify(|progress| {
            let went_on = progress.position.max(built.position);
            // Where it was live, it is live as before.
            if !matches!(progress.state, ProjectionState::Live) {
                progress.state = ProjectionState::CatchingUp;
            }
            *progress =
                Progress { position: went_on, ledger: Arc::new(built.ledger.clone()), ..progress.clone() };
        });
        Ok((built, verified))
    }

    /// What the live one holds: nothing, when it is of another store.
    fn live(&self, written: &Written) -> Written {
        let is_of_another_store = is_of_another_store(&self.progress.borrow().state);
        if is_of_another_store { Written::default() } else { written.clone() }
    }

    /// Sees to it that a new build has seen every event, and asks the projection what it thinks of it.
    async fn verify(
        &self,
        fresh: &dyn ReadModel,
        built: &Written,
        live: &Written,
    ) -> Result<VerifiedAgainst, ProjectionError> {
        let not_verified = |reason: String| ProjectionError::NotVerified { name: self.name(), reason };
        let same = built.position == live.position && live.ledger.seen.is_some();
        let verified = if same && built.ledger.seen == live.ledger.seen {
            VerifiedAgainst::TheOneBefore
        } else {
            let stored = self.stored(built.position).await?;
            let seen = built.ledger.seen.clone().unwrap_or_default();
            if let Some(first) = seen.differences(&stored).first() {
                return Err(not_verified(format!(
                    "of the positions {} to {} it has seen {} events, and the store has {}: verify the store, and report \
                     this",
                    first.first, first.last, first.seen, first.stored
                )));
            }
            VerifiedAgainst::TheStore
        };
        if built.position == live.position && live.position > Position::ZERO {
            let (mut before, mut after) = (self.model.read().await?, fresh.read().await?);
            let checked = self.projection.check(&mut *before, &mut *after).await;
            checked.map_err(|reason| not_verified(reason.to_string()))?;
        }
        Ok(verified)
    }

    /// Asks the projection what it thinks of this version beside an earlier one.
    pub(crate) async fn check_against(&self, before: &Self) -> Result<(), ProjectionError> {
        let ((mut before, _), (mut built, _)) = (before.read().await?, self.read().await?);
        let checked = self.projection.check(&mut *before, &mut *built).await;
        checked
            .map_err(|reason| ProjectionError::NotVerified { name: self.name(), reason: reason.to_string() })
    }

    /// Puts the build that was replaced last back in its place; it then takes in what it has missed.
    pub(crate) async fn roll_back(&self) -> Result<Position, ProjectionError> {
        self.need_lead().await?;
        let mut written = self.written.lock().await;
        if !self.model.swap_back().await? {
            return Err(ProjectionError::NothingBefore { name: self.name() });
        }
        let bookmark = self.model.bookmark().await?;
        *written = Written { position: bookmark.position, ledger: Ledger::of(self.name(), &bookmark)? };
        self.show(&written, Some(ProjectionState::CatchingUp));
        drop(written);
        self.moved.notify_one();
        self.mended.notify_one();
        Ok(bookmark.position)
    }

    /// The read model as it was at a position, or would be of some of the events up to there, built apart from the live one,
    /// to be read. It is gone when it is dropped.
    pub(crate) async fn as_of(
        &self,
        position: Position,
        takes: Takes<'_>,
        report: Report<'_>,
    ) -> Result<Arc<dyn ReadModel>, ProjectionError> {
        let scratch = self.models.scratch(self.name()).await?;
        let feed = Feed::new(Arc::clone(&self.store), [self.projection.filter()], Some(position));
        let cursor = feed.join(self.projection.filter(), Position::ZERO);
        let forgiven = self.progress.borrow().ledger.clone();
        let mut built = Written::default();
        let part = Part { upto: position, takes };
        self.build(&*scratch, &mut built, cursor, part, &forgiven, report).await?;
        Ok(scratch)
    }

    /// Takes the events of a cursor, up to a position, into a read model.
    async fn build(
        &self,
        model: &dyn ReadModel,
        written: &mut Written,
        mut cursor: Cursor,
        Part { upto, takes }: Part<'_>,
        forgiven: &Ledger,
        report: Report<'_>,
    ) -> Result<(), ProjectionError> {
        let target = self.target(model, forgiven);
        if written.position == Position::ZERO {
            target.prepare(Position::ZERO).await?;
        }
        let mut pace = Pace::begin(written.position.get());
        let mut show = |done: Position| {
            let (done, total) = (done.get().min(upto.get()), upto.get());
            pace.update(done);
            let (per_second, left) = (pace.per_second(done) as u64, pace.left(done, total));
            report(RebuildProgress { projection: self.name(), done, total, per_second, left });
        };
        let mut next = gather(&mut cursor, upto, takes).await?;
        while let Some(Gathered { events, upto: gathered_upto, is_last }) = next {
            if is_last {
                target.write(written, &events, gathered_upto).await?;
                break;
            }
            let write = target.write(written, &events, gathered_upto);
            // While these are written, the next ones are read.
            next = try_join(write, gather(&mut cursor, upto, takes)).await?.1;
            show(written.position);
        }
        target.note(written, upto).await?;
        show(upto);
        Ok(())
    }
}

/// A read model is built with so many events in a transaction, so that a row that many of them are about is written once …
const MOST_GATHERED_EVENTS: usize = 65_536;
/// … as long as they have no more bytes. Two such heaps are in memory: one that is written, and the next.
const MOST_GATHERED_BYTES: usize = 32 << 20;

/// Events of several batches.
struct Gathered {
    events: Arc<[RecordedEvent]>,
    upto: Position,
    is_last: bool,
}

/// Reads on until there is much to write, or the end; nothing when there is no event left.
async fn gather(
    cursor: &mut Cursor,
    upto: Position,
    takes: Takes<'_>,
) -> Result<Option<Gathered>, ProjectionError> {
    let mut gathered: Vec<RecordedEvent> = Vec::new();
    let (mut bytes, mut reached) = (0, None);
    while gathered.len() < MOST_GATHERED_EVENTS && bytes < MOST_GATHERED_BYTES {
        let FeedMessage::Events { upto: batch_upto, events, at_end, .. } = cursor.next().await? else {
            let end = |reached| Gathered { events: gathered.into(), upto: reached, is_last: true };
            return Ok(reached.map(end));
        };
        let batch_upto = batch_upto.min(upto);
        let taken = events.iter().filter(|event| event.position() <= upto && takes(event));
        gathered.extend(taken.inspect(|event| bytes += event.body().len()).cloned());
        reached = Some(batch_upto);
        if at_end || batch_upto >= upto {
            return Ok(Some(Gathered { events: gathered.into(), upto: batch_upto, is_last: true }));
        }
    }
    Ok(reached.map(|reached| Gathered { events: gathered.into(), upto: reached, is_last: false }))
}
