//! How much an application takes on at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::Error;

/// How much an application takes on at once, and for how long.
///
/// ```
/// # use annals_app::{App, Limits};
/// # use std::time::Duration;
/// let app = App::new("shop").limits(Limits { time: Duration::from_secs(5), ..Limits::default() });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// So many commands at most are being done at the same time; one more is answered with
    /// [`Error::Overloaded`](crate::Error::Overloaded) at once. Those of reactions, which wait for each other, are not counted.
    /// 10,000 unless told otherwise.
    pub commands_in_flight: usize,
    /// The largest body of a request over HTTP, in bytes. 1 MiB unless told otherwise.
    pub body_bytes: usize,
    /// How long the giver of a command over HTTP waits for its answer before it is told
    /// [`Error::TimedOut`](crate::Error::TimedOut). 30 seconds unless told otherwise.
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { commands_in_flight: 10_000, body_bytes: 1 << 20, time: Duration::from_secs(30) }
    }
}

/// Counts the commands that are being done.
pub(crate) struct InFlight {
    limit: usize,
    count: AtomicUsize,
}

/// A command that is being done, until it is dropped.
pub(crate) struct Turn<'a>(&'a AtomicUsize);

impl InFlight {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, count: AtomicUsize::new(0) }
    }

    /// Takes a command on, if there is room.
    pub(crate) fn enter<E>(&self) -> Result<Turn<'_>, Error<E>> {
        let turn = Turn(&self.count);
        let before = self.count.fetch_add(1, Ordering::Relaxed);
        if before < self.limit { Ok(turn) } else { Err(Error::Overloaded { limit: self.limit }) }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_not_taken_on_takes_no_room() {
        let in_flight = InFlight::new(2);
        let one = in_flight.enter::<()>().ok().unwrap();
        let _two = in_flight.enter::<()>().ok().unwrap();
        for _ in 0..3 {
            assert!(matches!(in_flight.enter::<()>(), Err(Error::Overloaded { limit: 2 })));
        }
        drop(one);
        assert!(in_flight.enter::<()>().is_ok());
    }
}
