//! What the recent index knows of a stream besides its positions.

use crate::{StreamState, SystemEvent, Version};

/// The states of a stream since the index began.
#[derive(Debug, Clone)]
pub(super) struct RecentStream {
    /// Its state before the first event in the index.
    before: StreamState,
    /// Its state after each of the store's own events; rare.
    after_system: Vec<StreamState>,
}

impl RecentStream {
    pub(super) fn new(before: StreamState) -> Self {
        Self { before, after_system: Vec::new() }
    }

    pub(super) fn before(&self) -> &StreamState {
        &self.before
    }

    /// Its state after the first `count` of its events in the index.
    pub(super) fn after(&self, count: usize) -> StreamState {
        let version = Version::new(self.before.version.get() + count as u64);
        let index = self.after_system.partition_point(|state| state.version <= version);
        let known =
            index.checked_sub(1).and_then(|index| self.after_system.get(index)).unwrap_or(&self.before);
        if known.version == version {
            return *known;
        }
        // Ordinary events since: the last of them tells it all.
        StreamState { version: version.previous(), ..*known }.after_event(None)
    }

    /// Notes one of the store's own events, the stream's next.
    pub(super) fn add_system(&mut self, count_before: usize, event: SystemEvent) {
        let after = self.after(count_before).after_event(Some(event));
        self.after_system.push(after);
    }

    /// Forgets what came after the first `count` of its events in the index.
    pub(super) fn truncate(&mut self, count: usize) {
        let version = self.before.version.get() + count as u64;
        self.after_system.retain(|state| state.version.get() <= version);
    }
}
