//! The events that all contenders store: what they look like, and who appends which.

use std::sync::Arc;

use annals_core::{EventType, StreamName, Tag};
use bytes::Bytes;

use crate::failure::Result;
use crate::random::Random;

/// The types of the events, each of 20 bytes.
const TYPES: [&str; 6] = [
    "CustomerOrderWasMade",
    "CustomerOrderWasPaid",
    "CustomerOrderWasSent",
    "CustomerOrderWasHeld",
    "CustomerOrderWasKept",
    "CustomerOrderWasLate",
];
/// A type that no event has.
const ABSENT_TYPE: &str = "CustomerOrderWasVoid";
/// Every payload is JSON of this many bytes.
const PAYLOAD_BYTES: usize = 200;
/// This many payloads are made before, and taken in turn.
const POOLED_PAYLOADS: usize = 4_096;
/// Names of more streams than this are made when they are needed, so that they take no memory.
const POOLED_STREAMS: u32 = 20_000;

/// How the events of a store are spread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    /// Over how many streams.
    pub(crate) streams: u32,
    /// Over how many tags; an event carries one.
    pub(crate) regions: u32,
}

/// What events are made of, made before anything is measured.
pub(crate) struct Pool {
    spread: Spread,
    streams: Vec<StreamName>,
    types: Vec<EventType>,
    tags: Vec<Tag>,
    payloads: Vec<Bytes>,
}

/// An event that is to be stored.
#[derive(Clone)]
pub(crate) struct Draft {
    pub(crate) id: [u8; 16],
    pub(crate) event_type: EventType,
    pub(crate) tag: Tag,
    pub(crate) payload: Bytes,
}

/// The events for one stream in an append.
#[derive(Clone)]
pub(crate) struct Part {
    /// The number in the stream's name.
    pub(crate) number: u32,
    pub(crate) stream: StreamName,
    /// How many events the stream must have before.
    pub(crate) expected: u64,
    pub(crate) events: Vec<Draft>,
}

/// Events to be stored all or none, each stream at exactly the expected version.
#[derive(Clone)]
pub(crate) struct Append {
    pub(crate) parts: Vec<Part>,
}

/// Events that must not be there.
#[derive(Clone)]
pub(crate) enum Query {
    /// Events of this type.
    Type(EventType),
    /// Events that carry both tags.
    BothTags(Tag, Tag),
}

impl Pool {
    /// Makes what events are made of.
    pub(crate) fn new(spread: Spread) -> Result<Self> {
        let mut random = Random::seeded()?;
        let pooled = if spread.streams <= POOLED_STREAMS { spread.streams } else { 0 };
        Ok(Self {
            spread,
            streams: (0..pooled).map(named).collect::<Result<_>>()?,
            types: TYPES.iter().map(EventType::new).collect::<Result<_, _>>()?,
            tags: (0..spread.regions)
                .map(|region| Tag::new(format!("region:{region}")))
                .collect::<Result<_, _>>()?,
            payloads: (0..POOLED_PAYLOADS).map(|_| payload(&mut random)).collect(),
        })
    }

    /// How many streams there are.
    pub(crate) fn stream_count(&self) -> u32 {
        self.spread.streams
    }

    /// The name of a stream.
    pub(crate) fn stream(&self, number: u32) -> Result<StreamName> {
        self.streams.get(number as usize).map_or_else(|| named(number), |name| Ok(name.clone()))
    }

    /// Events of a type that there is not.
    pub(crate) fn absent_type(&self) -> Result<Query> {
        Ok(Query::Type(EventType::new(ABSENT_TYPE)?))
    }

    /// Events of a type that many have.
    pub(crate) fn common_type(&self) -> Query {
        Query::Type(self.types[0].clone())
    }

    /// Events that carry two tags of which each event has but one.
    pub(crate) fn tags_that_never_meet(&self) -> Result<Query> {
        Ok(Query::BothTags(Tag::new("region:0")?, Tag::new("region:1")?))
    }
}

fn named(number: u32) -> Result<StreamName> {
    Ok(StreamName::new(format!("order-{number}"))?)
}

/// Makes appends for one store, and remembers the versions that its streams then have.
pub(crate) struct Source {
    pool: Arc<Pool>,
    versions: Vec<u32>,
    random: Random,
    /// Whether each payload is made anew, so that no two are the same.
    varied: bool,
    made: u64,
}

impl Source {
    /// Begins for an empty store.
    pub(crate) fn new(pool: Arc<Pool>) -> Result<Self> {
        let versions = vec![0; pool.spread.streams as usize];
        Ok(Self { pool, versions, random: Random::seeded()?, varied: false, made: 0 })
    }

    /// Begins for a store whose streams have this many events each.
    pub(crate) fn going_on(pool: Arc<Pool>, version: u32) -> Result<Self> {
        let mut source = Self::new(pool)?;
        source.versions.fill(version);
        Ok(source)
    }

    /// Makes every payload anew from here on.
    pub(crate) fn varied(mut self) -> Self {
        self.varied = true;
        self
    }

    /// An append of `count` events to a random stream, of those that belong to `lane` of `lanes`: appends of
    /// different lanes never meet in a stream, so they can be made before they run.
    pub(crate) fn append_to_one(&mut self, count: u32, lane: u32, lanes: u32) -> Result<Append> {
        let streams = u64::from(self.pool.spread.streams / lanes);
        let number = self.random.below(streams) as u32 * lanes + lane;
        Ok(Append { parts: vec![self.part(number, count)?] })
    }

    /// An append of `count` events to each of these streams.
    pub(crate) fn append_to_each(&mut self, streams: &[u32], count: u32) -> Result<Append> {
        Ok(Append { parts: streams.iter().map(|number| self.part(*number, count)).collect::<Result<_>>()? })
    }

    /// All streams in a random order.
    pub(crate) fn shuffled_streams(&mut self) -> Vec<u32> {
        let mut numbers: Vec<u32> = (0..self.pool.spread.streams).collect();
        self.random.shuffle(&mut numbers);
        numbers
    }

    fn part(&mut self, number: u32, count: u32) -> Result<Part> {
        let expected = u64::from(self.versions[number as usize]);
        self.versions[number as usize] += count;
        let events = (0..count).map(|_| self.draft()).collect();
        Ok(Part { number, stream: self.pool.stream(number)?, expected, events })
    }

    fn draft(&mut self) -> Draft {
        let place = self.made as usize;
        self.made += 1;
        let pool = &self.pool;
        Draft {
            id: self.random.id(),
            event_type: pool.types[place % pool.types.len()].clone(),
            tag: pool.tags[place % pool.tags.len()].clone(),
            payload: match self.varied {
                true => payload(&mut self.random),
                false => pool.payloads[place % POOLED_PAYLOADS].clone(),
            },
        }
    }
}

/// JSON as an order system would write it, of exactly [`PAYLOAD_BYTES`] bytes.
fn payload(random: &mut Random) -> Bytes {
    const NAMES: [&str; 12] =
        ["Ann", "Ben", "Chiara", "Dmitri", "Elif", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Kim", "Lena"];
    const CITIES: [&str; 10] =
        ["Lisbon", "Oslo", "Graz", "Turin", "Gdansk", "Ghent", "Malmo", "Porto", "Brno", "Split"];
    const WORDS: [&str; 16] = [
        "leave",
        "at",
        "the",
        "door",
        "ring",
        "twice",
        "gift",
        "fragile",
        "call",
        "before",
        "second",
        "floor",
        "neighbour",
        "after",
        "noon",
        "please",
    ];
    let mut text = format!(
        r#"{{"order":{},"customer":{{"id":{},"name":"{}","city":"{}"}},"amount":"{}.{:02}","currency":"EUR","items":{},"at":"2025-{:02}-{:02}T{:02}:{:02}:{:02}Z","note":""#,
        10_000_000 + random.below(90_000_000),
        100_000 + random.below(900_000),
        random.choose(&NAMES),
        random.choose(&CITIES),
        1 + random.below(5_000),
        random.below(100),
        1 + random.below(12),
        1 + random.below(12),
        1 + random.below(28),
        random.below(24),
        random.below(60),
        random.below(60),
    );
    while text.len() < PAYLOAD_BYTES - 2 {
        text.push_str(random.choose(&WORDS));
        text.push(' ');
    }
    text.truncate(PAYLOAD_BYTES - 2);
    text.push_str("\"}");
    Bytes::from(text)
}
