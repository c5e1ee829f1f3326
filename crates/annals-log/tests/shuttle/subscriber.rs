//! Somebody who follows the log: sees each event once, in order, and only when it is durable.

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Waker};

use annals_core::{EventStore, Position};
use annals_log::EventLog;
use shuttle::sync::Mutex;

use crate::memory_disk::MemoryDisk;
use crate::{FOLDER, name_of, read_after};

/// Tells a follower that nothing more will come.
#[derive(Default)]
pub(crate) struct End(Mutex<(bool, Option<Waker>)>);

impl End {
    pub(crate) fn tell(&self) {
        let mut state = self.0.lock().unwrap();
        state.0 = true;
        let waker = state.1.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    fn is_told(&self, waker: &Waker) -> bool {
        let mut state = self.0.lock().unwrap();
        state.1 = Some(waker.clone());
        state.0
    }
}

/// Follows the log to the end; returns the names of the events, and in how many batches they came.
pub(crate) async fn follow(log: Arc<EventLog>, disk: MemoryDisk, end: Arc<End>) -> (Vec<String>, u64) {
    let mut seen = Vec::new();
    let mut batches = 0;
    loop {
        let after = Position::new(seen.len() as u64);
        let mut moved = pin!(log.wait_past(after));
        let goes_on = std::future::poll_fn(|context| {
            if let Poll::Ready(head) = moved.as_mut().poll(context) {
                assert!(head.unwrap() > after);
                return Poll::Ready(true);
            }
            if end.is_told(context.waker()) { Poll::Ready(false) } else { Poll::Pending }
        });
        if !goes_on.await && read_after(&log, after).events.is_empty() {
            return (seen, batches);
        }
        let batch = read_after(&log, after);
        assert!(!batch.events.is_empty(), "the head moved, so there is something to read");
        batches += 1;
        let durable = durable_bytes(&disk);
        for event in &batch.events {
            assert_eq!(event.position().get(), seen.len() as u64 + 1, "nothing is skipped or repeated");
            let marker = event.payload();
            assert!(durable.windows(marker.len()).any(|bytes| bytes == marker), "what is shown is durable");
            seen.push(name_of(event));
        }
        assert_eq!(batch.head.get(), seen.len() as u64);
    }
}

/// What barriers have covered of all segments.
pub(crate) fn durable_bytes(disk: &MemoryDisk) -> Vec<u8> {
    let segments = Path::new(FOLDER).join("segments");
    let files = disk.files(&segments);
    files.iter().filter_map(|(path, _)| disk.durable(path)).flatten().collect()
}
