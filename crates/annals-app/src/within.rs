//! Commands that are answered in time, whatever the code of an application does.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;
use tokio::time::timeout;

use crate::commands::given_up;
use crate::{CommandOutcome, CommandRequest, Error, Rejection, RunningApp};

impl RunningApp {
    /// As [`dispatch`](Self::dispatch), but answers in time even if code of the application never returns. The command is done in
    /// a task of its own, which goes on when the caller goes away. When the time is over, what waits for the entity or the store is
    /// let go; whether the command is done nevertheless is not known then.
    ///
    /// On a runtime of several threads, code that never returns keeps a thread and the entity that it was called for, and nothing
    /// else. On one of a single thread it keeps everything: nobody is left to tell that the time is over.
    ///
    /// # Errors
    /// As [`dispatch`](Self::dispatch), and [`Error::TimedOut`].
    pub async fn dispatch_within(
        &self,
        mut request: CommandRequest,
        limit: Duration,
    ) -> Result<CommandOutcome, Error<Rejection>> {
        request.is_apart = true;
        let (app, command) = (self.clone(), request.name.clone());
        // Who waits in line is let go by the inner limit; code that does not return is left behind by the outer one.
        let giving = async move { timeout(limit, app.dispatch(request)).await };
        match timeout(limit, tokio::spawn(apart(giving))).await {
            Ok(Ok(Ok(answer))) => answer,
            Ok(Err(_)) => Err(given_up().into()),
            Ok(Ok(Err(_))) | Err(_) => Err(Error::TimedOut { command: command.into_owned(), limit }),
        }
    }
}

/// How many threads run code of an application right now that could keep them for ever.
static AT_RISK: AtomicUsize = AtomicUsize::new(0);

/// Runs a future so that code in it that never returns does not keep the whole runtime: one of its threads is always left. Only
/// the last one has to be replaced beforehand, which takes some 20 µs; so most commands cost nothing.
pub(crate) async fn apart<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let runtime = Handle::current();
    let others = match runtime.runtime_flavor() {
        RuntimeFlavor::MultiThread => Some(runtime.metrics().num_workers() - 1),
        _ => None,
    };
    poll_fn(|context| {
        let at_risk = AtRisk::count();
        match others {
            Some(others) if at_risk.before >= others => {
                drop(at_risk);
                block_in_place(|| future.as_mut().poll(context))
            }
            _ => future.as_mut().poll(context),
        }
    })
    .await
}

/// A thread that is counted until this is dropped.
struct AtRisk {
    /// How many there were before.
    before: usize,
}

impl AtRisk {
    fn count() -> Self {
        Self { before: AT_RISK.fetch_add(1, Ordering::AcqRel) }
    }
}

impl Drop for AtRisk {
    fn drop(&mut self) {
        AT_RISK.fetch_sub(1, Ordering::AcqRel);
    }
}
