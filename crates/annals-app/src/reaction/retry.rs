//! How often, and after how long, a failed event is tried again.

use std::time::Duration;

/// How often an event is tried, and how long it waits in between: first so long, then twice as long each time.
///
/// The attempts are counted from the start of the process: after a restart, an event has all of them again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How often it is tried in all, at least once. After the last attempt it is a dead letter.
    pub attempts: u32,
    /// How long it waits after the first attempt.
    pub first: Duration,
    /// How long it waits at most.
    pub longest: Duration,
}

impl Default for RetryPolicy {
    /// Eight attempts within two minutes: after 1, 2, 4, … seconds, and never more than five minutes apart.
    fn default() -> Self {
        Self { attempts: 8, first: Duration::from_secs(1), longest: Duration::from_secs(300) }
    }
}

impl RetryPolicy {
    /// How long an event waits that failed in its `attempt`-th attempt; nothing when that was the last one.
    pub fn delay_after(&self, attempt: u32) -> Option<Duration> {
        let doubled = 1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
        (attempt < self.attempts).then(|| self.first.saturating_mul(doubled).min(self.longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest_and_end() {
        let policy = RetryPolicy { attempts: 12, ..RetryPolicy::default() };
        let seconds: Vec<_> = (1..=12).map(|n| policy.delay_after(n).map(|delay| delay.as_secs())).collect();
        let expected = [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300].map(Some);
        assert_eq!(seconds, expected.into_iter().chain([None]).collect::<Vec<_>>());
        assert_eq!(RetryPolicy { attempts: u32::MAX, ..policy }.delay_after(40), Some(policy.longest));
        assert_eq!(RetryPolicy { attempts: 0, ..policy }.delay_after(1), None);
    }
}
