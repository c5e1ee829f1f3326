//! A store of events to which bad things happen.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use annals_core::{
    AppendError, AppendReceipt, AppendRequest, BoxFuture, Conflict, ConsumerName, Durability, EventBatch,
    EventStore, ExpectedVersion, FailedCheck, Position, ReadRequest, StoreError, StreamName, StreamState,
    StreamSummary, VerifyProgress, VerifyReport,
};

use super::fault::Fault;
use super::world::World;

/// The store as one running application sees it; when that is ended, it answers nothing any more.
pub(super) struct FaultyStore {
    world: Arc<World>,
    generation: u64,
}

/// What an append is called in the list of what happened.
fn title(request: &AppendRequest) -> String {
    if let Some(checkpoint) = request.checkpoint.as_ref().filter(|_| request.events.is_empty()) {
        return format!("append of the place of {}", checkpoint.consumer);
    }
    let stream = request.events.first().map_or("no stream", |event| event.stream().as_str());
    let types: Vec<_> = request.events.iter().map(|event| event.event_type().as_str()).collect();
    format!("append of {} to {stream}", types.join(", "))
}

impl FaultyStore {
    pub(super) fn new(world: Arc<World>, generation: u64) -> Self {
        Self { world, generation }
    }

    async fn must_run(&self) {
        self.world.must_run(self.generation).await;
    }

    async fn append_or_fail(&self, request: AppendRequest) -> Result<AppendReceipt, AppendError> {
        self.must_run().await;
        let title = title(&request);
        let stream = request.events.first().map_or_else(|| title.clone(), |event| event.stream().to_string());
        self.world.delay(&format!("delay of an append to {stream}"), 30, Duration::from_millis(20)).await;
        self.must_run().await;
        let expected = request.expected.first().cloned();
        let after = request.condition.as_ref().map(|condition| condition.after);
        let mut fault = self.world.fault_of(&stream);
        if fault == Some(Fault::Conflict) && expected.is_none() && after.is_none() {
            // Only what expects something can find something else.
            fault = None;
        }
        if let Some(fault) = fault {
            self.world.note(true, format!("{title}: {}", fault.text()));
        }
        match fault {
            Some(Fault::Conflict) => Err(self.conflict(expected, after).await?),
            Some(Fault::OutcomeUnknown) => {
                self.world.store.append(request).await?;
                Err(StoreError::OutcomeUnknown { reason: "the simulation has it so".to_owned() }.into())
            }
            Some(Fault::NotStored) => {
                Err(StoreError::backend("cannot append", "the simulation has it so").into())
            }
            Some(Fault::CrashBefore) => self.crash().await,
            Some(Fault::CrashAfter) => {
                self.world.store.append(request).await?;
                self.crash().await
            }
            None => {
                let appended = self.world.store.append(request).await;
                let answer = match &appended {
                    Ok(receipt) => format!("position {}", receipt.last_position),
                    Err(error) => error.to_string(),
                };
                self.world.note(false, format!("{title}: {answer}"));
                appended
            }
        }
    }

    /// As if somebody had been faster.
    async fn conflict(
        &self,
        expected: Option<(StreamName, ExpectedVersion)>,
        after: Option<Position>,
    ) -> Result<AppendError, StoreError> {
        let mut failed = Vec::new();
        if let Some((stream, expected)) = expected {
            let actual = self.world.store.stream_state(&stream).await?;
            failed.push(FailedCheck::Version { stream, expected, actual });
        }
        failed.extend(after.map(|after| FailedCheck::Condition { found: after.next(), after }));
        Ok(AppendError::Conflict(Conflict { failed }))
    }

    async fn crash(&self) -> Result<AppendReceipt, AppendError> {
        self.world.crash(self.generation);
        pending().await
    }
}

impl EventStore for FaultyStore {
    fn append(&self, request: AppendRequest) -> BoxFuture<'_, Result<AppendReceipt, AppendError>> {
        Box::pin(self.append_or_fail(request))
    }

    fn read(&self, request: ReadRequest) -> BoxFuture<'_, Result<EventBatch, StoreError>> {
        Box::pin(async move {
            self.must_run().await;
            // What looks for one event is quick.
            if request.limit.is_none() {
                let stream = request.filter.as_stream().map_or("many streams", StreamName::as_str);
                self.world.delay(&format!("delay of a read of {stream}"), 20, Duration::from_millis(5)).await;
                self.must_run().await;
            }
            self.world.store.read(request).await
        })
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(async {
            self.must_run().await;
            self.world.store.head().await
        })
    }

    fn wait_past(&self, after: Position) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(async move {
            let head = self.world.store.wait_past(after).await?;
            self.must_run().await;
            Ok(head)
        })
    }

    fn stream_state(&self, stream: &StreamName) -> BoxFuture<'_, Result<StreamState, StoreError>> {
        let stream = stream.clone();
        Box::pin(async move {
            self.must_run().await;
            self.world.store.stream_state(&stream).await
        })
    }

    fn streams(
        &self,
        after: Option<StreamName>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StreamSummary>, StoreError>> {
        self.world.store.streams(after, limit)
    }

    fn checkpoint(&self, consumer: &ConsumerName) -> BoxFuture<'_, Result<Option<Position>, StoreError>> {
        self.world.store.checkpoint(consumer)
    }

    fn verify(&self, progress: VerifyProgress) -> BoxFuture<'_, Result<VerifyReport, StoreError>> {
        self.world.store.verify(progress)
    }

    fn durability(&self) -> Durability {
        self.world.store.durability()
    }

    fn store_id(&self) -> String {
        self.world.store.store_id()
    }

    fn description(&self) -> String {
        "events in memory, in a simulation".to_owned()
    }
}
