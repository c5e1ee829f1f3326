//! What a test of many images has tried and found, collected by several threads.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// What was tried, and what was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) workloads: AtomicU64,
    pub(crate) crash_points: AtomicU64,
    pub(crate) kills: AtomicU64,
    pub(crate) violated: AtomicU64,
    /// The first few violations, told in full.
    pub(crate) violations: Mutex<Vec<String>>,
    pub(crate) images: Seen,
    pub(crate) checks: Seen,
    pub(crate) again: Seen,
}

/// Hashes that were seen, in parts so that threads do not wait for each other.
#[derive(Debug)]
pub(crate) struct Seen([Mutex<HashSet<u64>>; 16]);

impl Default for Seen {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }
}

impl Seen {
    pub(crate) fn insert(&self, hash: u64) -> bool {
        self.0[(hash % 16) as usize].lock().unwrap_or_else(PoisonError::into_inner).insert(hash)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(|part| part.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }
}

impl Found {
    pub(crate) fn violations(&self) -> Vec<String> {
        self.violations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn report(&self, violation: String) {
        self.violated.fetch_add(1, Ordering::Relaxed);
        let mut violations = self.violations.lock().unwrap_or_else(PoisonError::into_inner);
        if violations.len() < 5 {
            violations.push(violation);
        }
    }
}
