//! Peers, plainly or behind a thread that gathers the appends of many threads into one transaction.

use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use annals_core::StreamName;

use super::contender::{Contender, ReadyAppend, Store, Totals};
use super::workload::{Append, Query};
use crate::failure::{Failure, Result};

/// The most appends in one transaction.
const LARGEST_GROUP: usize = 1_024;

/// A store that can make several appends durable at once.
pub(crate) trait Peer: Store + 'static {
    /// An append as the store takes it.
    type Ready: Send + 'static;

    /// Lays out an append.
    fn lay_out(&self, append: Append) -> Self::Ready;

    /// Makes appends durable in one transaction. One that fails does not keep the others from being made.
    fn append_group(&self, group: Vec<Self::Ready>) -> Vec<Result<()>>;
}

struct Waiting<P: Peer> {
    append: P::Ready,
    reply: SyncSender<Result<()>>,
}

/// A peer that takes part.
pub(crate) struct Hosted<P: Peer> {
    peer: Arc<P>,
    batching: Option<Batching<P>>,
}

struct Batching<P: Peer> {
    queue: Mutex<Option<Sender<Waiting<P>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl<P: Peer> Hosted<P> {
    /// Lets a peer take part, behind a batching thread if `batched`.
    pub(crate) fn begin(peer: P, batched: bool) -> Result<Arc<dyn Contender>> {
        let peer = Arc::new(peer);
        let batching = match batched {
            true => Some(Batching::begin(Arc::clone(&peer))?),
            false => None,
        };
        Ok(Arc::new(Self { peer, batching }))
    }
}

impl<P: Peer> Batching<P> {
    fn begin(peer: Arc<P>) -> Result<Self> {
        let (queue, arriving) = channel::<Waiting<P>>();
        let thread = std::thread::Builder::new().name("batching".to_owned());
        let thread = thread.spawn(move || serve(&*peer, &arriving))?;
        Ok(Self { queue: Mutex::new(Some(queue)), thread: Mutex::new(Some(thread)) })
    }

    fn queue(&self) -> Option<Sender<Waiting<P>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Makes what waits durable together, for as long as someone can append.
fn serve<P: Peer>(peer: &P, arriving: &Receiver<Waiting<P>>) {
    while let Ok(first) = arriving.recv() {
        let mut group = vec![first];
        gather(arriving, &mut group);
        let (appends, replies): (Vec<_>, Vec<_>) =
            group.into_iter().map(|waiting| (waiting.append, waiting.reply)).unzip();
        for (result, reply) in peer.append_group(appends).into_iter().zip(replies) {
            // Nobody waits any more when the run was broken off.
            let _ = reply.send(result);
        }
    }
}

/// Takes what has arrived. Threads that were just answered get a turn to ask again before a barrier is spent on few.
fn gather<P: Peer>(arriving: &Receiver<Waiting<P>>, group: &mut Vec<Waiting<P>>) {
    loop {
        let before = group.len();
        group.extend(arriving.try_iter().take(LARGEST_GROUP.saturating_sub(before)));
        if group.len() == before || group.len() >= LARGEST_GROUP {
            return;
        }
        std::thread::yield_now();
    }
}

impl<P: Peer> Contender for Hosted<P> {
    fn prepare(self: Arc<Self>, append: Append) -> ReadyAppend {
        let append = self.peer.lay_out(append);
        let Some(queue) = self.batching.as_ref().and_then(Batching::queue) else {
            return Box::new(move || {
                self.peer.append_group(vec![append]).pop().unwrap_or(Ok(()))?;
                Ok(0)
            });
        };
        let (reply, answer) = sync_channel(1);
        Box::new(move || {
            let gone = |_| Failure::from("the batching thread has ended: see what it said before");
            queue.send(Waiting { append, reply }).map_err(|_| gone(()))?;
            answer.recv().map_err(|_| gone(()))??;
            Ok(0)
        })
    }
}

impl<P: Peer> Store for Hosted<P> {
    fn read_all(&self) -> Result<Totals> {
        self.peer.read_all()
    }

    fn read_stream(&self, stream: &StreamName) -> Result<Totals> {
        self.peer.read_stream(stream)
    }

    fn check(&self, query: &Query) -> Result<()> {
        self.peer.check(query)
    }

    fn settle(&self) -> Result<()> {
        self.peer.settle()
    }

    fn wait_until_idle(&self) {
        self.peer.wait_until_idle();
    }
}

impl<P: Peer> Drop for Batching<P> {
    fn drop(&mut self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}
