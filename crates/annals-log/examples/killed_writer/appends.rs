//! What the writers append: each append follows from its number alone, so that who keeps the receipts can make it again.

use annals_core::{AppendRequest, ConsumerName, EventId, EventType, NewEvent, Position, StreamName, Tag};
use annals_log::LogOptions;

pub(crate) const WRITERS: u64 = 8;

/// The number of an append: the process, the writer in it, and how many it appended before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct AppendNumber {
    pub(crate) round: u64,
    pub(crate) writer: u64,
    pub(crate) n: u64,
}

/// Options under which segments end, runs are written and merged all the time.
pub(crate) fn options() -> LogOptions {
    LogOptions {
        segment_bytes: 48 << 10,
        prewrite_bytes: 16 << 10,
        index_memory_bytes: 24 << 10,
        mark_after: std::time::Duration::from_millis(3),
        ..LogOptions::default()
    }
}

/// Spreads a number over 64 bits (SplitMix64).
pub(crate) fn spread(number: u64) -> u64 {
    let mut x = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl AppendNumber {
    fn dice(self) -> u64 {
        spread(self.round << 40 | self.writer << 32 | self.n)
    }

    /// The stream that only this writer writes.
    pub(crate) fn own_stream(writer: u64) -> String {
        format!("own-{writer}")
    }

    pub(crate) fn consumer(writer: u64) -> String {
        format!("consumer-{writer}")
    }

    /// The checkpoint that comes with it, if one does; it only grows.
    pub(crate) fn checkpoint(self) -> Option<u64> {
        self.n.is_multiple_of(7).then_some(self.round * 1_000_000 + self.n)
    }

    /// How many of its events go to the writer's own stream; those come first.
    pub(crate) fn own_events(self) -> u64 {
        match self.dice() % 8 {
            0..=2 => 1,
            3 | 4 => 1,
            5 => 0,
            6 => self.dice() % 20,
            // A checkpoint alone.
            _ => u64::from(self.checkpoint().is_none()),
        }
    }

    /// The streams of its events: single events, pairs over two streams, batches, and now and then none at all.
    pub(crate) fn streams(self) -> Vec<String> {
        let mut streams = vec![Self::own_stream(self.writer); self.own_events() as usize];
        match self.dice() % 8 {
            3 | 4 => streams.push(format!("shared-{}", self.dice() / 8 % 3)),
            5 => streams.push("shared-0".to_owned()),
            6 => streams.extend((0..3).map(|k| format!("batch-{}", (self.dice() / 8 + k) % 50))),
            _ => {}
        }
        streams
    }

    pub(crate) fn event_id(self, seed: u64, index: usize) -> EventId {
        EventId::derived(
            &format!("kills-{seed}"),
            &format!("{}-{}-{}-{index}", self.round, self.writer, self.n),
        )
    }

    /// The append itself, without conditions.
    pub(crate) fn request(self, seed: u64) -> Result<AppendRequest, Box<dyn std::error::Error>> {
        let Self { round, writer, n } = self;
        let streams = self.streams();
        let mut events = Vec::with_capacity(streams.len());
        for (index, stream) in streams.iter().enumerate() {
            let filling = "x".repeat((spread(self.dice() + index as u64) % 300) as usize);
            let payload = format!(
                r#"{{"append":[{round},{writer},{n}],"index":{index},"of":{},"filling":"{filling}"}}"#,
                streams.len()
            );
            let event = NewEvent::new(StreamName::new(stream)?, EventType::new("Written")?);
            events.push(
                event.id(self.event_id(seed, index)).json(payload).tag(Tag::new(format!("w:{writer}"))?),
            );
        }
        let request = AppendRequest::new(events);
        Ok(match self.checkpoint() {
            Some(position) => {
                request.checkpoint(ConsumerName::new(Self::consumer(writer))?, Position::new(position))
            }
            None => request,
        })
    }
}
