//! A thread with a queue of jobs, which ends when its owner is dropped.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// One thread that works through the jobs sent to it. Dropping it lets the thread finish what is queued and waits for
/// that, so that whatever the thread holds open is closed afterwards.
#[derive(Debug)]
pub struct Worker<J> {
    jobs: Option<Sender<J>>,
    thread: Option<JoinHandle<()>>,
}

/// The thread has ended.
#[derive(Debug)]
pub struct Ended;

impl<J: Send + 'static> Worker<J> {
    /// Starts a thread of this name, which has `body` take the jobs from the queue until the queue is closed.
    ///
    /// # Errors
    /// When the system starts no more threads.
    pub fn spawn(name: &str, body: impl FnOnce(Receiver<J>) + Send + 'static) -> std::io::Result<Self> {
        let (jobs, queue) = channel();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || body(queue))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Puts a job at the end of the queue.
    ///
    /// # Errors
    /// [`Ended`] when the thread has ended, so that nobody would do it.
    pub fn send(&self, job: J) -> Result<(), Ended> {
        self.jobs.as_ref().ok_or(Ended)?.send(job).map_err(|_| Ended)
    }
}

impl<J> Drop for Worker<J> {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            join(thread);
        }
    }
}

/// Waits for a thread to end, unless that is the calling one: work may hold the last handle of its own store.
pub(crate) fn join(thread: JoinHandle<()>) {
    if thread.thread().id() != std::thread::current().id() {
        let _ = thread.join();
    }
}
