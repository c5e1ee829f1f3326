//! Random appends, deletions, truncations, reads and reopenings against a naive model.

use std::collections::HashMap;

use super::*;
use crate::{
    AppendError, Category, DeleteMode, Direction, EventId, ExpectedVersion, FilterItem, Position, ReadFrom,
    StreamState, SystemEvent, Version,
};

/// A small generator of pseudo-random numbers (xorshift64*, Marsaglia 2003): the same seed, the same test.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit
    }
}

#[derive(Default)]
struct Model {
    events: Vec<(NewEvent, Version)>,
    streams: HashMap<String, StreamState>,
}

impl Model {
    fn state(&self, name: &str) -> StreamState {
        self.streams.get(name).copied().unwrap_or_default()
    }

    fn append(&mut self, request: &AppendRequest) -> bool {
        let tombstoned = request.events.iter().any(|event| self.state(event.stream().as_str()).tombstoned);
        let unmet =
            request.expected.iter().any(|(name, expected)| !expected.is_met_by(&self.state(name.as_str())));
        let broken = request.condition.as_ref().is_some_and(|condition| {
            let from = condition.after.get() + 1;
            !self.select(&condition.query, from, Direction::Forwards).is_empty()
        });
        if tombstoned || unmet || broken {
            return false;
        }
        for event in &request.events {
            let system = SystemEvent::parse(event.event_type().as_str(), event.payload_bytes());
            let state = self.state(event.stream().as_str()).after_event(system);
            self.streams.insert(event.stream().to_string(), state);
            self.events.push((event.clone(), state.version));
        }
        true
    }

    fn select(&self, filter: &Filter, from: u64, direction: Direction) -> Vec<u64> {
        let matches = |item: &FilterItem, event: &NewEvent| {
            item.stream.as_ref().is_none_or(|name| name == event.stream())
                && item.category.as_ref().is_none_or(|name| name.as_str() == event.stream().category())
                && (item.types.is_empty() || item.types.contains(event.event_type()))
                && item.tags.iter().all(|tag| event.tag_list().contains(tag))
        };
        let mut found: Vec<u64> = (1..)
            .zip(&self.events)
            .filter_map(|(position, (event, version))| {
                let visible = *version >= self.state(event.stream().as_str()).visible_from;
                let wanted = filter.matches_all() || filter.items().iter().any(|item| matches(item, event));
                let reached =
                    if direction == Direction::Forwards { position >= from } else { position <= from };
                (visible && wanted && reached).then_some(position)
            })
            .collect();
        if direction == Direction::Backwards {
            found.reverse();
        }
        found
    }
}

fn random_stream(random: &mut Random) -> String {
    format!("{}-{}", ["a", "b"][random.below(2) as usize], random.below(4))
}

fn random_filter(random: &mut Random) -> Filter {
    (0..random.below(3))
        .map(|_| {
            let mut item = FilterItem::default();
            match random.below(4) {
                0 => item.stream = Some(stream(&random_stream(random))),
                1 => item.category = Some(Category::new("a").unwrap()),
                _ => {}
            }
            for _ in 0..random.below(3) {
                item.types.push(EventType::new(["X", "Y", "Z"][random.below(3) as usize]).unwrap());
            }
            for _ in 0..random.below(3) {
                item.tags.push(tag(&format!("t:{}", random.below(3))));
            }
            item
        })
        .collect()
}

fn random_append(random: &mut Random, head: u64) -> AppendRequest {
    let events = (0..1 + random.below(4)).map(|_| {
        let tags: Vec<_> = (0..random.below(3)).map(|_| tag(&format!("t:{}", random.below(3)))).collect();
        event(&random_stream(random), ["X", "Y", "Z"][random.below(3) as usize])
            .id(EventId::derived("model", &random.below(u64::MAX).to_string()))
            .tags(tags)
    });
    let mut request = AppendRequest::new(events.collect::<Vec<_>>());
    if random.below(3) == 0 {
        let expected = match random.below(4) {
            0 => ExpectedVersion::Any,
            1 => ExpectedVersion::NoStream,
            2 => ExpectedVersion::Exists,
            _ => ExpectedVersion::Exact(Version::new(random.below(12))),
        };
        request = request.expect(stream(&random_stream(random)), expected);
    }
    if random.below(4) == 0 {
        request =
            request.condition(random_filter(random), Position::new(head.saturating_sub(random.below(9))));
    }
    request
}

pub async fn random_work_agrees_with_the_model(fixture: &dyn Fixture) {
    let seed = std::env::var("ANNALS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x5EED_u64);
    println!("model: seed {seed} (choose another with ANNALS_SEED)");
    let mut random = Random(seed | 1);
    let mut model = Model::default();
    let mut store = open(fixture).await;
    for step in 0..400 {
        let head = model.events.len() as u64;
        match random.below(40) {
            0 if fixture.keeps_events() => {
                drop(store);
                store = open(fixture).await;
            }
            1 | 2 => {
                let mode = if random.below(6) == 0 { DeleteMode::Tombstone } else { DeleteMode::Soft };
                let system = NewEvent::system(stream(&random_stream(&mut random)), mode.into());
                check_append(&*store, &mut model, AppendRequest::new([system]), step).await;
            }
            3 | 4 => {
                let before = Version::new(random.below(9));
                let system = SystemEvent::StreamTruncated { before };
                let system = NewEvent::system(stream(&random_stream(&mut random)), system);
                check_append(&*store, &mut model, AppendRequest::new([system]), step).await;
            }
            5..=24 => check_append(&*store, &mut model, random_append(&mut random, head), step).await,
            _ => {
                let filter = random_filter(&mut random);
                let direction = if random.below(2) == 0 { Direction::Forwards } else { Direction::Backwards };
                let from = random.below(head + 2);
                let limit = 1 + random.below(20);
                let request = ReadRequest {
                    filter,
                    direction,
                    from: ReadFrom::Position(Position::new(from)),
                    limit: Some(limit),
                };
                let mut expected = model.select(&request.filter, from, direction);
                expected.truncate(limit as usize);
                assert_eq!(
                    positions(&read(&*store, request.clone()).await),
                    expected,
                    "step {step}, seed {seed}: {request:?}"
                );
            }
        }
    }
    for (name, state) in &model.streams {
        assert_eq!(store.stream_state(&stream(name)).await.unwrap(), *state, "{name}, seed {seed}");
    }
    let everything = read_all(&*store).await;
    assert_eq!(positions(&everything), model.select(&Filter::all(), 1, Direction::Forwards), "seed {seed}");
    for stored in &everything {
        let (event, version) = &model.events[stored.position().get() as usize - 1];
        assert_eq!((stored.id(), stored.version()), (event.event_id(), *version), "seed {seed}");
    }
}

async fn check_append(store: &dyn EventStore, model: &mut Model, request: AppendRequest, step: u32) {
    let accepted = model.append(&request);
    match store.append(request.clone()).await {
        Ok(receipt) => {
            assert!(accepted, "step {step}: took {request:?}");
            assert_eq!(receipt.last_position.get(), model.events.len() as u64, "step {step}");
        }
        Err(AppendError::Conflict(conflict)) => {
            assert!(!accepted, "step {step}: refused {request:?}: {conflict}")
        }
        Err(other) => panic!("step {step}: {other}"),
    }
}
