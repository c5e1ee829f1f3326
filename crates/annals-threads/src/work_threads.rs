//! A few threads for blocking reads, so that no executor is blocked by them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::reply::{self, Reply};
use crate::worker::join;

type Job = Box<dyn FnOnce() + Send>;

/// Threads that share one queue. Dropping them waits until the queue is empty and they have ended.
#[derive(Debug)]
pub struct WorkThreads {
    jobs: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl WorkThreads {
    /// Starts this many threads of this name.
    ///
    /// # Errors
    /// When the system starts no more threads.
    pub fn spawn(name: &str, count: usize) -> std::io::Result<Self> {
        let (jobs, queue) = channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        let mut work = Self { jobs: Some(jobs), threads: Vec::with_capacity(count) };
        for _ in 0..count {
            let queue = Arc::clone(&queue);
            let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || serve(&queue))?;
            work.threads.push(thread);
        }
        Ok(work)
    }

    /// Runs `job` on one of the threads; the reply is `None` when it could not be finished.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Reply<T> {
        let (answer, reply) = reply::pair();
        if let Some(jobs) = &self.jobs {
            // When no thread is left, the job and its answer are dropped with the error, which ends the waiting.
            let _ = jobs.send(Box::new(move || answer.give(job())));
        }
        reply
    }
}

fn serve(queue: &Mutex<Receiver<Job>>) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // A panic belongs to the job, whose answer says so by being dropped; the thread serves the next one.
        let _ = catch_unwind(AssertUnwindSafe(job));
    }
}

impl Drop for WorkThreads {
    fn drop(&mut self) {
        self.jobs = None;
        self.threads.drain(..).for_each(join);
    }
}
