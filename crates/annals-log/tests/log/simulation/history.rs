//! What was asked of the log and what it answered, and what it must hold because of that.

use std::collections::BTreeMap;

use annals_core::{
    AppendReceipt, AppendRequest, EventId, Position, StreamState, SystemEvent, Timestamp, Version,
    encode_body,
};
use bytes::Bytes;

/// What the log said to an append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Nothing yet, or that it does not know.
    Open,
    Kept(AppendReceipt),
    /// That nothing was written.
    Refused,
}

/// An append that the log was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Submitted {
    pub(crate) request: AppendRequest,
    /// What the clock said.
    pub(crate) at: Timestamp,
    pub(crate) answer: Answer,
    /// How many changes of the disk there had been when it was asked, and when it answered.
    pub(crate) asked_after: usize,
    pub(crate) answered_after: usize,
}

/// An event as it must be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) position: Position,
    pub(crate) version: Version,
    pub(crate) at: Timestamp,
    pub(crate) id: EventId,
    pub(crate) stream: String,
    pub(crate) body: Bytes,
}

/// What a log holds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Content {
    pub(crate) events: Vec<Stored>,
    pub(crate) streams: BTreeMap<String, StreamState>,
    pub(crate) checkpoints: BTreeMap<String, Position>,
}

impl Content {
    pub(crate) fn head(&self) -> Position {
        Position::new(self.events.len() as u64)
    }

    /// Adds what an append stores.
    pub(crate) fn add(&mut self, request: &AppendRequest, at: Timestamp) {
        for event in &request.events {
            let stream = event.stream().as_str();
            let system = SystemEvent::parse(event.event_type().as_str(), event.payload_bytes());
            let state = self.streams.get(stream).copied().unwrap_or_default().after_event(system);
            self.streams.insert(stream.to_owned(), state);
            self.events.push(Stored {
                position: self.head().next(),
                version: state.version,
                at,
                id: event.event_id(),
                stream: stream.to_owned(),
                body: encode_body(event),
            });
        }
        if let Some(checkpoint) = &request.checkpoint {
            self.checkpoints.insert(checkpoint.consumer.to_string(), checkpoint.position);
        }
    }

    /// The events that reads show.
    pub(crate) fn visible(&self) -> impl Iterator<Item = &Stored> {
        self.events.iter().filter(|event| {
            self.streams.get(&event.stream).is_some_and(|state| event.version >= state.visible_from)
        })
    }
}

/// What must be found after a crash.
#[derive(Debug, Clone, Default)]
pub(crate) struct Expectation {
    /// The appends that were acknowledged, in order, with their receipts.
    pub(crate) kept: Vec<(AppendRequest, AppendReceipt)>,
    pub(crate) certain: Content,
    /// The append that had not been answered, when it was asked for, and the content with it.
    pub(crate) open: Option<(AppendRequest, Timestamp, Content)>,
    /// The appends that were refused.
    pub(crate) refused: Vec<AppendRequest>,
    /// Tells expectations apart.
    pub(crate) fingerprint: u64,
}

impl Expectation {
    /// What must be found when the crash comes after so many changes of the disk.
    pub(crate) fn after(history: &[Submitted], changes: usize) -> Self {
        let mut expected = Self::default();
        let mut hasher = blake3::Hasher::new();
        for submitted in history.iter().filter(|submitted| submitted.asked_after <= changes) {
            let Submitted { request, at, answer, .. } = submitted;
            let answered = submitted.answered_after <= changes;
            match answer {
                Answer::Kept(receipt) if answered => {
                    expected.certain.add(request, *at);
                    expected.kept.push((request.clone(), receipt.clone()));
                    hasher.update(b"kept");
                }
                Answer::Refused if answered => {
                    expected.refused.push(request.clone());
                    hasher.update(b"refused");
                }
                _ => {
                    let mut content = expected.certain.clone();
                    content.add(request, *at);
                    expected.open = Some((request.clone(), *at, content));
                    hasher.update(b"open");
                }
            }
            hasher.update(&at.as_micros().to_le_bytes());
            request.events.iter().for_each(|event| {
                hasher.update(&encode_body(event));
            });
            hasher.update(&request.checkpoint.as_ref().map_or(0, |known| known.position.get()).to_le_bytes());
        }
        let mut short = [0; 8];
        short.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        expected.fingerprint = u64::from_le_bytes(short);
        expected
    }

    /// The same, as the history of a run that goes on from here.
    pub(crate) fn as_history(&self) -> Vec<Submitted> {
        let kept = self.kept.iter().map(|(request, receipt)| Submitted {
            request: request.clone(),
            at: receipt.recorded_at,
            answer: Answer::Kept(receipt.clone()),
            asked_after: 0,
            answered_after: 0,
        });
        let open = self.open.iter().map(|(request, at, _)| Submitted {
            request: request.clone(),
            at: *at,
            answer: Answer::Open,
            asked_after: 0,
            answered_after: usize::MAX,
        });
        kept.chain(open).collect()
    }
}
