//! What waits to be given: in order for each stream, side by side for several.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Instant;

use annals_app::ReissuedCommand;
use annals_core::{Position, Timestamp};

/// A command, and the event that it was made of.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) position: Position,
    pub(crate) stream: String,
    pub(crate) occurred_at: Timestamp,
    pub(crate) correlation_id: Option<String>,
    pub(crate) command: ReissuedCommand,
    /// When it was to be given.
    pub(crate) due: Option<Instant>,
}

/// What waits. A stream of which one command is under way keeps its later ones back.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    /// The streams with a command that may be given or is under way, and what waits behind it.
    behind: HashMap<String, VecDeque<(u64, Job)>>,
    /// What may be given, by its place among all that was added: the oldest goes first.
    ready: BTreeMap<u64, Job>,
    added: u64,
    waiting: usize,
}

impl Lanes {
    pub(crate) fn add(&mut self, job: Job) {
        self.waiting += 1;
        self.added += 1;
        if let Some(behind) = self.behind.get_mut(&job.stream) {
            behind.push_back((self.added, job));
            return;
        }
        self.behind.insert(job.stream.clone(), VecDeque::new());
        self.ready.insert(self.added, job);
    }

    /// The next one to be given; its stream is under way until [`answered`](Self::answered).
    pub(crate) fn next(&mut self) -> Option<Job> {
        let (_, job) = self.ready.pop_first()?;
        self.waiting -= 1;
        Some(job)
    }

    /// The command of a stream that was under way is so no more.
    pub(crate) fn answered(&mut self, stream: &str) {
        match self.behind.get_mut(stream).map(VecDeque::pop_front) {
            Some(Some((place, job))) => drop(self.ready.insert(place, job)),
            Some(None) => drop(self.behind.remove(stream)),
            None => {}
        }
    }

    /// Gives up what waits.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(stream: &str, position: u64) -> Job {
        let command = ReissuedCommand {
            category: "a".to_owned(),
            id: "1".to_owned(),
            name: "B",
            json: Vec::new().into(),
            command_id: annals_core::CausationId::new("c").unwrap(),
        };
        let (position, occurred_at) = (Position::new(position), Timestamp::default());
        Job { position, stream: stream.to_owned(), occurred_at, correlation_id: None, command, due: None }
    }

    #[test]
    fn a_stream_keeps_its_order_and_others_go_on() {
        let mut lanes = Lanes::default();
        for (stream, position) in [("x", 1), ("x", 2), ("y", 3), ("x", 4)] {
            lanes.add(job(stream, position));
        }
        let next = |lanes: &mut Lanes| lanes.next().map(|job| job.position.get());
        assert_eq!((next(&mut lanes), next(&mut lanes), next(&mut lanes)), (Some(1), Some(3), None));
        lanes.answered("y");
        assert_eq!(next(&mut lanes), None);
        lanes.answered("x");
        assert_eq!((next(&mut lanes), next(&mut lanes), lanes.waiting()), (Some(2), None, 1));
        lanes.add(job("y", 5));
        lanes.answered("x");
        assert_eq!((next(&mut lanes), next(&mut lanes), lanes.waiting()), (Some(4), Some(5), 0));
        lanes.answered("x");
        lanes.answered("y");
        assert!(lanes.behind.is_empty(), "nothing is kept of streams that are done");
    }
}
