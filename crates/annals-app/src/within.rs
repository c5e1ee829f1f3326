//! Commands that are answered in time, whatever the code of an application does.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;
use tokio::time::timeout;

use crate::commands::given_up;
use crate::{CommandOutcome, CommandRequest, Error, Rejection, RunningApp};

impl RunningApp {
    /// As [`dispatch`](Self::dispatch), but answers in time even if code of the application never returns. The command is done in
    /// a task of its own, so it is finished although nobody waits for its answer any more; only one that still waits when the
    /// time is over, because the entity is busy with another one, is let go.
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

/// Runs a future so that what it calls may take as long as it likes: another thread takes over the other tasks of the runtime
/// meanwhile.
pub(crate) async fn apart<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let has_others = Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread;
    poll_fn(|context| {
        if has_others {
            block_in_place(|| future.as_mut().poll(context))
        } else {
            future.as_mut().poll(context)
        }
    })
    .await
}
