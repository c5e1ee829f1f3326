//! Group commit: the first who waits leads the group and makes the barrier; those who arrive meanwhile follow in the
//! next group.
//!
//! Two leaders work at a time, one behind the other: while one waits for its barrier, the next checks appends, enters them
//! into the index and lays its frame out. What is entered but not durable is shown to nobody, and is taken back when it
//! cannot be written.
//!
//! A thread that appends leads on its own thread. A task cannot, so the log's one own thread leads for tasks; it also
//! writes the durable mark when no append has come for a while.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use annals_core::{AppendError, ChainHash, Clock, StoreError, Timestamp};

use crate::maintenance::Upkeep;
use crate::planted::Planted;
use crate::recent::Recent;
use crate::run::SegmentStamp;
use crate::stage::{LogAppend, Pending, PendingAppend, Stage, Staged};
use crate::sync::{AtomicU64, Condvar, Mutex, MutexGuard, RwLockWriteGuard, yield_now};
use crate::ticket::{Outcome, Ticket, Turn, lock};
use crate::view::{LogIndex, Older};
use crate::writer::Writer;

/// A group takes no more appends once their events have this many bytes; one append may be larger.
const GROUP_BYTES: usize = 8 << 20;
/// A leader waits awake for at most so long after the last append came …
const LONGEST_WAIT_AWAKE: Duration = Duration::from_micros(300);
/// … or, where nothing may depend on the time, for so many turns.
const TURNS_AWAKE: u32 = 3;
/// How often it is looked whether others are still busy, at most.
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);
/// A log that is closed leaves no more than this to be read again.
const LONG_TAIL_BYTES: u64 = 512 << 10;

/// The writing side of a log, shared by all who append.
pub(crate) struct Commits {
    pub(crate) index: Arc<LogIndex>,
    pub(crate) upkeep: Arc<Upkeep>,
    clock: Arc<dyn Clock>,
    mark_after: Duration,
    /// Who holds this leads. When the last event was recorded.
    staging: Mutex<Timestamp>,
    /// Memory of a frame that was written, for the next.
    spare: Arc<Mutex<Vec<u8>>>,
    pub(crate) writer: Mutex<Writer>,
    /// Counts how often what was staged was taken back.
    taken_back: AtomicU64,
    queue: Mutex<Queue>,
    /// Wakes the log's own thread.
    work: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// Whether somebody takes groups just now.
    leading: bool,
    /// How many groups are on their way.
    committing: usize,
    closed: bool,
    /// When the last group was committed, while that is not marked yet.
    unmarked_since: Option<Instant>,
}

struct Waiting {
    append: LogAppend,
    ticket: Arc<Ticket>,
    /// Whether a thread waits, which can lead, or a task, which cannot.
    can_lead: bool,
}

/// A frame in the making, and who is to be told what once it is durable.
struct Group {
    pending: Pending,
    /// Who waits for the n-th append, and whether it is a repetition of it.
    accepted: Vec<(Arc<Ticket>, usize, bool)>,
    /// How often anything had been taken back when the first of it was staged.
    begun: u64,
    /// Those to be told when the frame before this one is durable: what they are told may rest on it.
    answered: Vec<(Arc<Ticket>, Outcome)>,
    undecided: Vec<(Arc<Ticket>, LogAppend)>,
}

impl Commits {
    pub(crate) fn new(
        index: Arc<LogIndex>,
        writer: Writer,
        upkeep: Arc<Upkeep>,
        clock: Arc<dyn Clock>,
        mark_after: Duration,
        last_recorded_at: Timestamp,
        spare: Arc<Mutex<Vec<u8>>>,
    ) -> Self {
        let unmarked_since = writer.needs_mark().then(Instant::now);
        let queue = Queue { unmarked_since, ..Queue::default() };
        Self {
            index,
            upkeep,
            clock,
            mark_after,
            staging: Mutex::new(last_recorded_at),
            spare,
            writer: Mutex::new(writer),
            taken_back: AtomicU64::new(0),
            queue: Mutex::new(queue),
            work: Condvar::new(),
        }
    }

    /// Appends from a thread, which may make the barrier for others too.
    pub(crate) fn append_blocking(&self, append: LogAppend) -> Outcome {
        let (ticket, lead) = self.enqueue(append, true)?;
        if lead {
            self.lead();
        }
        loop {
            match ticket.wait() {
                Turn::Done(outcome) => return outcome,
                Turn::Lead | Turn::Wait => self.lead(),
            }
        }
    }

    /// Appends from a task.
    pub(crate) async fn append(&self, append: LogAppend) -> Outcome {
        let (ticket, _) = self.enqueue(append, false)?;
        ticket.done().await
    }

    /// Lines an append up; the second answer is whether the caller is to lead.
    fn enqueue(&self, append: LogAppend, can_lead: bool) -> Result<(Arc<Ticket>, bool), AppendError> {
        let ticket = Ticket::new();
        let mut queue = lock(&self.queue);
        if queue.closed {
            return Err(StoreError::Closed.into());
        }
        let free = !queue.leading;
        if free && can_lead {
            queue.leading = true;
        } else if free && queue.waiting.is_empty() {
            // Who came before, if anybody waits, has woken it already.
            self.work.notify_one();
        }
        queue.waiting.push_back(Waiting { append, ticket: Arc::clone(&ticket), can_lead });
        Ok((ticket, free && can_lead))
    }

    /// Commits one group; hands the lead over before the barrier.
    fn lead(&self) {
        let mut staging = lock(&self.staging);
        lock(&self.queue).committing += 1;
        let mut writer = None;
        if self.recent().is_full(self.upkeep.memory_bytes) {
            // A part can be set aside only when all of it is durable, so nothing is staged ahead of it.
            let idle = lock(&self.writer);
            self.freeze(&idle);
            writer = Some(idle);
        }
        let mut group = self.begin_group(*staging);
        self.stage(&mut group, self.take_waiting(0));
        let mut writer = writer.unwrap_or_else(|| self.stage_until_durable(&mut group));
        if self.taken_back.load(Ordering::Acquire) != group.begun {
            self.stage_again(&mut group, *staging, &writer);
        }
        let undecided = std::mem::take(&mut group.undecided);
        self.stage(&mut group, undecided);
        // The last ones who came while the frame before this one was made durable.
        let more = self.take_waiting(group.pending.frame.length());
        self.stage(&mut group, more);
        if !group.pending.is_empty() {
            *staging = group.pending.recorded_at;
        }
        self.hand_over();
        drop(staging);
        let answered = self.commit(&mut writer, group);
        // The next frame is written while those of this one are woken.
        drop(writer);
        for (ticket, outcome) in answered {
            ticket.set(Turn::Done(outcome));
        }
        let mut queue = lock(&self.queue);
        queue.committing -= 1;
        if queue.unmarked_since.replace(Instant::now()).is_none() || queue.closed {
            self.work.notify_one();
        }
    }

    /// Takes the writer once the frame before is durable, and stages those who come until then.
    ///
    /// A barrier takes about as long as it takes to put a thread to sleep and wake it again, so this thread stays awake
    /// for that time after the last one who came, and lets others run.
    fn stage_until_durable(&self, group: &mut Group) -> MutexGuard<'_, Writer> {
        let (mut idle_since, mut turns) = (Instant::now(), 0);
        while if cfg!(shuttle) { turns < TURNS_AWAKE } else { idle_since.elapsed() < LONGEST_WAIT_AWAKE } {
            turns += 1;
            match self.writer.try_lock() {
                Ok(writer) => return writer,
                Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {}
            }
            let more = self.take_waiting(group.pending.frame.length());
            if more.is_empty() {
                yield_now();
            } else {
                self.stage(group, more);
                idle_since = Instant::now();
            }
        }
        lock(&self.writer)
    }

    /// Gives the lead to who waits first, if anybody does.
    fn hand_over(&self) {
        let mut queue = lock(&self.queue);
        match queue.waiting.front() {
            Some(next) if next.can_lead => next.ticket.set(Turn::Lead),
            next => {
                if next.is_some() {
                    self.work.notify_one();
                }
                queue.leading = false;
            }
        }
    }

    fn recent(&self) -> RwLockWriteGuard<'_, Recent> {
        self.index.recent.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes those who wait, as many as fit into a frame that has `bytes` already.
    fn take_waiting(&self, mut bytes: usize) -> Vec<(Arc<Ticket>, LogAppend)> {
        let mut queue = lock(&self.queue);
        let fits = queue.waiting.iter().take_while(|waiting| {
            let first = bytes == 0;
            bytes += waiting.append.body_bytes() + 1;
            first || bytes <= GROUP_BYTES
        });
        let count = fits.count();
        queue.waiting.drain(..count).map(|waiting| (waiting.ticket, waiting.append)).collect()
    }

    fn begin_group(&self, last_recorded_at: Timestamp) -> Group {
        let recent = self.recent();
        let (base, begun) = (recent.index.last(), self.taken_back.load(Ordering::Acquire));
        drop(recent);
        let recorded_at = self.clock.now().max(last_recorded_at);
        let pending = Pending::new(base, recorded_at, std::mem::take(&mut *lock(&self.spare)));
        Group { pending, accepted: Vec::new(), begun, answered: Vec::new(), undecided: Vec::new() }
    }

    fn stage(&self, group: &mut Group, appends: Vec<(Arc<Ticket>, LogAppend)>) {
        if appends.is_empty() {
            return;
        }
        let mut recent = self.recent();
        if self.taken_back.load(Ordering::Acquire) != group.begun {
            // What this group rests on is gone, and with it what was staged of this group: nothing more is built on that.
            group.undecided.extend(appends);
            return;
        }
        let mut stage = Stage::new(&self.index, &mut recent);
        for (ticket, append) in appends {
            match stage.stage(append, &mut group.pending) {
                Ok(Staged::Accepted(place)) => group.accepted.push((ticket, place, false)),
                Ok(Staged::DuplicateOf(place)) => group.accepted.push((ticket, place, true)),
                Ok(Staged::Duplicate(receipt)) => group.answered.push((ticket, Ok(receipt))),
                Ok(Staged::Undecided(append)) => group.undecided.push((ticket, append)),
                Err(error) => group.answered.push((ticket, Err(error))),
            }
        }
    }

    /// Stages a group anew after what it rested on was taken back.
    fn stage_again(&self, group: &mut Group, staging: Timestamp, writer: &Writer) {
        self.recent().index.undo_after(writer.head());
        let Group { pending, accepted, answered, undecided, .. } =
            std::mem::replace(group, self.begin_group(staging));
        let mut tickets: Vec<Vec<Arc<Ticket>>> = pending.appends.iter().map(|_| Vec::new()).collect();
        for (ticket, place, _) in accepted {
            tickets[place].push(ticket);
        }
        group.answered = answered;
        for (PendingAppend { append, .. }, mut tickets) in pending.appends.into_iter().zip(tickets) {
            if tickets.is_empty() {
                continue;
            }
            let first = tickets.remove(0);
            let place = group.pending.appends.len();
            self.stage(group, vec![(first, append)]);
            let accepted = group.pending.appends.len() > place;
            for ticket in tickets {
                match accepted {
                    true => group.accepted.push((ticket, place, true)),
                    // Its first sending was refused now; who sent it again is to do so once more.
                    false => group.answered.push((ticket, Err(refused_with_the_first().into()))),
                }
            }
        }
        group.undecided.extend(undecided);
    }

    /// Writes a group and shows it; returns who is to be told what.
    fn commit(&self, writer: &mut MutexGuard<'_, Writer>, group: Group) -> Vec<(Arc<Ticket>, Outcome)> {
        let Group { pending, accepted, mut answered, .. } = group;
        let mut outcomes = Vec::with_capacity(accepted.len());
        if !pending.is_empty() {
            let base = pending.base;
            let Pending { frame, recorded_at, appends, hidden, .. } = pending;
            let written = writer.commit(frame, recorded_at, base, |written| {
                self.show(written, &appends, &hidden);
            });
            if written.is_err() && !self.upkeep.mistakes.make(Planted::KeepUnwrittenInIndex) {
                let mut recent = self.recent();
                recent.index.undo_after(writer.head());
                // While nobody can stage: who stages next is to know.
                self.taken_back.fetch_add(1, Ordering::AcqRel);
            }
            if let Err(error) = &written {
                // What these were refused for may have been in the frame that is not there now.
                let refused = answered.iter_mut().filter(|(_, outcome)| is_refusal(outcome));
                refused.for_each(|(_, outcome)| *outcome = Err(error.clone().into()));
            }
            if self.upkeep.mistakes.make(Planted::IndexAheadOfLog) {
                self.freeze(writer);
                writer.late_barrier();
            }
            for (ticket, place, duplicate) in accepted {
                let outcome = outcome(&written, appends.get(place), duplicate);
                outcomes.push((ticket, outcome));
            }
        }
        answered.append(&mut outcomes);
        answered
    }

    /// Shows a frame that is durable.
    fn show(&self, written: crate::writer::Written<'_>, appends: &[PendingAppend], hidden: &[u64]) {
        let mut recent = self.recent();
        recent.add_frame(written.place, written.event_offsets, written.frame_bytes);
        if written.begins_segment {
            let stamp = SegmentStamp { first_position: written.place.first_position, generation: 0 };
            recent.segments.push(stamp);
        }
        recent.hidden.extend(hidden);
        for checkpoint in appends.iter().filter_map(|append| append.append.checkpoint()) {
            recent.checkpoints.insert(checkpoint.consumer.clone(), checkpoint.position);
            self.index.set_checkpoints([(checkpoint.consumer.clone(), checkpoint.position)]);
        }
        drop(recent);
        self.index.hide(hidden);
        self.index.head.advance(written.head);
    }

    /// Sets the latest events aside, to be written out as a run. All of them are durable.
    pub(crate) fn freeze(&self, writer: &Writer) {
        let mut recent = self.recent();
        let Some(resume) = writer.resume().filter(|_| recent.log_bytes > 0) else { return };
        if self.index.older().frozen.is_some() {
            // The part before is not written yet: the disk is slow or full. This one grows meanwhile.
            drop(recent);
            self.upkeep.write_frozen_now(&self.index);
            recent = self.recent();
            if self.index.older().frozen.is_some() {
                return;
            }
        }
        let mut fresh = Recent::after(recent.index.last(), self.index.seed);
        // The next part will be about as large; growing step by step would hash each id several times.
        fresh.index.reserve_events(recent.index.len());
        let mut frozen = std::mem::replace(&mut *recent, fresh);
        recent.begin_at(resume.segment, resume.offset, frozen.ends_in());
        frozen.resume = Some(resume);
        let frozen = Some(Arc::new(frozen));
        self.index.change_older(|older| Older { frozen, runs: older.runs.clone() });
        drop(recent);
        self.upkeep.frozen(&self.index);
    }

    /// Before the log is closed: writes the index of the latest events out where reading them again would take long.
    pub(crate) fn rest(&self, writer: &Writer) {
        let recent = self.recent();
        let worth_it = recent.log_bytes >= LONG_TAIL_BYTES;
        drop(recent);
        self.upkeep.write_frozen_now(&self.index);
        if worth_it {
            self.freeze(writer);
            self.upkeep.write_frozen_now(&self.index);
            self.upkeep.merge_now(&self.index);
        }
    }

    /// What the log's own thread does until the log is closed.
    pub(crate) fn serve_tasks(&self) {
        let mut queue = lock(&self.queue);
        loop {
            let free = !queue.leading;
            if free && !queue.waiting.is_empty() {
                queue.leading = true;
                drop(queue);
                self.lead();
                queue = lock(&self.queue);
                continue;
            }
            let idle = free && queue.committing == 0;
            let due = queue.unmarked_since.map(|since| self.mark_after.saturating_sub(since.elapsed()));
            if idle && (due == Some(Duration::ZERO) || queue.closed) {
                if queue.unmarked_since.take().is_some() {
                    drop(queue);
                    self.mark();
                    queue = lock(&self.queue);
                    continue;
                }
                if queue.closed {
                    return;
                }
            }
            // While others are busy this thread looks again by itself, so that they need not wake it after each group.
            let due = if idle { due } else { due.map(|due| due.max(BETWEEN_LOOKS)) };
            queue = match due {
                Some(due) => self.work.wait_timeout(queue, due).unwrap_or_else(PoisonError::into_inner).0,
                None => self.work.wait(queue).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn mark(&self) {
        let mut writer = lock(&self.writer);
        if writer.needs_mark() {
            // Without a mark the events are as durable as before; only a loss of the last ones could not be proven.
            let _ = writer.write_mark();
        }
    }

    /// Runs something while nobody stages or writes.
    pub(crate) fn while_idle<T>(&self, work: impl FnOnce(&mut Writer) -> T) -> T {
        let _staging = lock(&self.staging);
        let mut writer = lock(&self.writer);
        work(&mut writer)
    }

    /// Takes no more appends; what is lined up is still committed.
    pub(crate) fn close(&self) {
        lock(&self.queue).closed = true;
        self.work.notify_one();
        self.index.head.close();
    }
}

fn outcome(
    written: &Result<ChainHash, StoreError>,
    append: Option<&PendingAppend>,
    duplicate: bool,
) -> Outcome {
    match (written, append) {
        (Ok(proof), Some(append)) => {
            let proof = Some(*proof).filter(|_| append.append.has_events());
            Ok(annals_core::AppendReceipt { duplicate, proof, ..append.receipt.clone() })
        }
        (Err(error), _) => Err(error.clone().into()),
        (Ok(_), None) => Err(StoreError::Closed.into()),
    }
}

/// Whether an append was refused for what is stored.
fn is_refusal(outcome: &Outcome) -> bool {
    matches!(outcome, Err(error) if !matches!(error, AppendError::Store(_)))
}

fn refused_with_the_first() -> StoreError {
    let reason = std::io::Error::other("the same events were refused a moment ago: append them again");
    StoreError::backend("cannot commit", reason)
}
