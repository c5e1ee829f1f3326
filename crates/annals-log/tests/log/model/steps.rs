//! What is done to the log and the model, drawn at random.

use annals_core::{
    AppendRequest, Category, ConsumerName, CorrelationId, DeleteMode, Direction, EventId, EventType,
    ExpectedVersion, Filter, FilterItem, NewEvent, ReadFrom, ReadRequest, StreamName, SystemEvent, Tag,
    Version,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::naive::Model;
use super::near;
use crate::simulation::workload::moment;

pub(crate) const STREAMS: [&str; 5] = ["a-1", "a-2", "b-1", "b-2", "c-1"];
const TYPES: [&str; 3] = ["Opened", "Changed", "Closed"];

#[derive(Debug, Clone)]
pub(crate) enum Step {
    Append(AppendDraft),
    Read(ReadDraft),
    Reopen,
    SealAndCompact,
    /// The power fails while this is appended.
    Crash {
        draft: AppendDraft,
        way: u64,
    },
}

/// An append, before the ids and positions that depend on what is there.
#[derive(Debug, Clone)]
pub(crate) struct AppendDraft {
    events: Vec<EventDraft>,
    expected: Option<(usize, u64)>,
    condition: Option<(Vec<ItemDraft>, u64)>,
    checkpoint: Option<u64>,
    /// An event that is there already, counted from the end, and whether it comes with other content.
    again: Option<(u64, bool)>,
}

#[derive(Debug, Clone)]
struct EventDraft {
    stream: usize,
    /// One of the types, or what the store records of a stream.
    kind: usize,
    tags: u8,
    correlation: Option<u8>,
    bytes: usize,
}

#[derive(Debug, Clone)]
struct ItemDraft {
    stream: Option<usize>,
    category: Option<bool>,
    types: u8,
    tags: u8,
    correlation: Option<u8>,
    event: Option<u64>,
}

#[derive(Debug, Clone)]
pub(crate) struct ReadDraft {
    items: Vec<ItemDraft>,
    backwards: bool,
    from: (u8, u64),
    limit: Option<u64>,
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => append().prop_map(Step::Append),
        10 => read().prop_map(Step::Read),
        1 => Just(Step::Reopen),
        1 => Just(Step::SealAndCompact),
        2 => (append(), any::<u64>()).prop_map(|(draft, way)| Step::Crash { draft, way }),
    ];
    vec(step, 1..60)
}

fn append() -> impl Strategy<Value = AppendDraft> {
    let event = (0..STREAMS.len(), 0..20_usize, 0..8_u8, option::of(0..3_u8), 0..400_usize).prop_map(
        |(stream, kind, tags, correlation, bytes)| EventDraft { stream, kind, tags, correlation, bytes },
    );
    let parts = (
        vec(event, 1..5),
        option::weighted(0.3, (0..STREAMS.len(), 0..10_u64)),
        option::weighted(0.2, (vec(item(), 0..3), 0..8_u64)),
        option::weighted(0.2, 0..8_u64),
        option::weighted(0.2, (0..8_u64, any::<bool>())),
    );
    parts.prop_map(|(events, expected, condition, checkpoint, again)| AppendDraft {
        events,
        expected,
        condition,
        checkpoint,
        again,
    })
}

fn item() -> impl Strategy<Value = ItemDraft> {
    let parts = (
        option::weighted(0.3, 0..STREAMS.len()),
        option::weighted(0.3, any::<bool>()),
        prop_oneof![2 => Just(0), 1 => 0..8_u8],
        prop_oneof![2 => Just(0), 1 => 0..8_u8],
        option::weighted(0.1, 0..3_u8),
        option::weighted(0.1, 0..10_u64),
    );
    parts.prop_map(|(stream, category, types, tags, correlation, event)| ItemDraft {
        stream,
        category,
        types,
        tags,
        correlation,
        event,
    })
}

fn read() -> impl Strategy<Value = ReadDraft> {
    (vec(item(), 0..3), any::<bool>(), (0..6_u8, 0..12_u64), option::of(0..6_u64))
        .prop_map(|(items, backwards, from, limit)| ReadDraft { items, backwards, from, limit })
}

impl EventDraft {
    fn event(&self, id: EventId) -> NewEvent {
        let stream = StreamName::new(STREAMS[self.stream]).unwrap();
        let before = Version::new(self.bytes as u64 % 6);
        match self.kind {
            17 => NewEvent::system(stream, SystemEvent::StreamTruncated { before }).id(id),
            18 => NewEvent::system(stream, DeleteMode::Soft.into()).id(id),
            // Rarely for good: a stream that has ended takes nothing more.
            19 if self.bytes < 80 => NewEvent::system(stream, DeleteMode::Tombstone.into()).id(id),
            kind => {
                let event = NewEvent::new(stream, EventType::new(TYPES[kind % TYPES.len()]).unwrap());
                let event = event.id(id).json(format!("\"{}\"", "x".repeat(self.bytes)));
                let event = event.tags(tags(self.tags));
                match self.correlation {
                    Some(number) => event.correlation_id(correlation(number)),
                    None => event,
                }
            }
        }
    }
}

impl AppendDraft {
    pub(crate) fn request(&self, model: &Model) -> AppendRequest {
        let scope = format!("{}-{}", model.head(), self.events.len());
        let mut events: Vec<NewEvent> = self
            .events
            .iter()
            .zip(0..)
            .map(|(draft, index)| draft.event(EventId::derived(&scope, &format!("{index}-{draft:?}"))))
            .collect();
        if let Some((back, other_content)) = self.again.filter(|(back, _)| *back < model.head()) {
            let known = model.event(model.head() - back).clone();
            let changed = known.clone().tag(Tag::new("other:1").unwrap());
            let system = known.event_type().as_str().starts_with('$');
            events.truncate(events.len() - 1);
            events.push(if other_content && !system { changed } else { known });
        }
        let mut request = AppendRequest::new(events);
        if let Some((stream, number)) = self.expected {
            let expected = match number {
                0 => ExpectedVersion::Any,
                1 => ExpectedVersion::NoStream,
                2 => ExpectedVersion::Exists,
                number => ExpectedVersion::Exact(Version::new(number - 3)),
            };
            request = request.expect(StreamName::new(STREAMS[stream]).unwrap(), expected);
        }
        if let Some((items, back)) = &self.condition {
            request = request.condition(filter(items, model), near(model, *back));
        }
        if let Some(back) = self.checkpoint {
            request = request.checkpoint(ConsumerName::new("mailer").unwrap(), near(model, back));
        }
        request
    }
}

impl ReadDraft {
    pub(crate) fn request(&self, model: &Model) -> ReadRequest {
        let filter = filter(&self.items, model);
        let (kind, number) = self.from;
        let from = match kind {
            0 | 1 => ReadFrom::Start,
            2 if filter.as_stream().is_some() => ReadFrom::Version(Version::new(number)),
            3 => ReadFrom::RecordedAt(moment((model.head() + 2).saturating_sub(number))),
            _ => ReadFrom::Position(near(model, number)),
        };
        let direction = if self.backwards { Direction::Backwards } else { Direction::Forwards };
        ReadRequest { filter, direction, from, limit: self.limit }
    }
}

fn filter(items: &[ItemDraft], model: &Model) -> Filter {
    let item = |draft: &ItemDraft| FilterItem {
        stream: draft.stream.map(|index| StreamName::new(STREAMS[index]).unwrap()),
        category: draft.category.map(|first| Category::new(if first { "a" } else { "b" }).unwrap()),
        types: (0..TYPES.len())
            .filter(|index| draft.types >> index & 1 == 1)
            .map(|index| EventType::new(TYPES[index]).unwrap())
            .collect(),
        tags: tags(draft.tags),
        correlation_id: draft.correlation.map(correlation),
        event_id: draft
            .event
            .filter(|back| *back < model.head())
            .map(|back| model.event(model.head() - back).event_id()),
    };
    items.iter().map(item).collect()
}

fn tags(bits: u8) -> Vec<Tag> {
    let chosen = (0..3).filter(|index| bits >> index & 1 == 1);
    chosen.map(|index| Tag::new(format!("t:{index}")).unwrap()).collect()
}

fn correlation(number: u8) -> CorrelationId {
    CorrelationId::new(format!("request-{number}")).unwrap()
}
