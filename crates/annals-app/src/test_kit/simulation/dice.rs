//! What a seed stands for.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Decides by a seed. Each occasion has dice of its own, so that one more throw here changes none there: what happens to
/// the third append to a stream does not hang on how often another stream was read meanwhile.
pub(super) struct Dice {
    seed: u64,
    thrown: Mutex<HashMap<String, u64>>,
}

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, thrown: Mutex::default() }
    }

    /// The next number for an occasion, from 0 up to, but not including, `below`.
    pub(super) fn throw(&self, occasion: &str, below: u64) -> u64 {
        let count = {
            let mut thrown = self.thrown.lock().unwrap_or_else(PoisonError::into_inner);
            let count = thrown.entry(occasion.to_owned()).or_default();
            *count += 1;
            *count
        };
        let hash = blake3::hash(format!("{} {count} {occasion}", self.seed).as_bytes());
        let [a, b, c, d, e, f, g, h, ..] = *hash.as_bytes();
        u64::from_le_bytes([a, b, c, d, e, f, g, h]) % below.max(1)
    }
}
