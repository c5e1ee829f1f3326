//! The parts of an append and of a read, each alone: `cargo bench --manifest-path bench/Cargo.toml`.
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot be set up has nothing to measure")]

use std::convert::Infallible;
use std::hint::black_box;

use annals_core::append_rules::PreparedAppend;
use annals_core::index::{EventTerms, RecentIndex, Search, TermSource};
use annals_core::{
    AppendRequest, Direction, EventId, EventType, ExpectedVersion, Filter, NewEvent, Position, RecordedEvent,
    StreamName, StreamState, Tag, Timestamp, Version,
};
use annals_log::{EventLog, LogOptions, internals};
use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const STORE: [u8; 16] = [7; 16];
const EVENTS: u64 = 100;
const INDEXED: u64 = 100_000;

/// An event as in the other benchmarks: 200 bytes of payload, a type of 20 bytes, one tag, 10,000 streams.
fn event(number: u64) -> NewEvent {
    let stream = StreamName::new(format!("order-{}", number % 10_000)).unwrap();
    let payload = format!("{{\"number\":{number:012},\"filling\":\"{}\"}}", "x".repeat(163));
    NewEvent::new(stream, EventType::new(format!("OrderLineWasAdded{:03}", number % 4)).unwrap())
        .id(EventId::derived("parts", &number.to_string()))
        .tag(Tag::new(format!("region:{}", number % 10)).unwrap())
        .json(payload)
}

fn bodies(numbers: impl Iterator<Item = u64>) -> Vec<Bytes> {
    let prepared = PreparedAppend::new(AppendRequest::new(numbers.map(event))).unwrap();
    prepared.events.into_iter().map(|event| event.body).collect()
}

fn recorded() -> Vec<RecordedEvent> {
    let bodies = (1..=INDEXED).step_by(1_000).flat_map(|first| bodies(first..first + 1_000));
    let placed = bodies.zip(1..).map(|(body, number)| {
        let (position, version) = (Position::new(number), Version::new(number / 10_000 + 1));
        RecordedEvent::view(position, version, Timestamp::from_micros(number as i64), body).unwrap()
    });
    placed.collect()
}

fn fill(index: &mut RecentIndex, events: &[RecordedEvent]) {
    for event in events {
        let before = || Ok::<_, Infallible>(StreamState::default());
        index.insert(&EventTerms::of(event), None, before).unwrap();
    }
}

fn frames(criterion: &mut Criterion) {
    let bodies = bodies(1..=EVENTS);
    let frame = Bytes::from(internals::build_frame(&bodies, STORE));
    let mut group = criterion.benchmark_group("frame of 100 events");
    group.throughput(Throughput::Elements(EVENTS));
    group.bench_function("encode", |bencher| {
        bencher.iter(|| internals::build_frame(black_box(&bodies), STORE))
    });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| assert_eq!(internals::read_frame(black_box(&frame), STORE), EVENTS as usize));
    });
    let request = || AppendRequest::new((1..=EVENTS).map(event));
    group.bench_function("lay out and hash", |bencher| {
        bencher.iter_batched(request, |request| PreparedAppend::new(request).unwrap(), BatchSize::SmallInput);
    });
    group.finish();
}

fn index(criterion: &mut Criterion) {
    let events = recorded();
    let mut index = RecentIndex::after(Position::ZERO, 7);
    fill(&mut index, &events);
    let mut group = criterion.benchmark_group("index of 100,000 events");
    group.throughput(Throughput::Elements(INDEXED));
    group.sample_size(20);
    group.bench_function("insert all", |bencher| {
        bencher.iter_batched_ref(
            || RecentIndex::after(Position::ZERO, 7),
            |fresh| fill(fresh, &events),
            BatchSize::LargeInput,
        );
    });
    group.throughput(Throughput::Elements(1));
    let mut number = 0;
    group.bench_function("look up an id", |bencher| {
        bencher.iter(|| {
            number = (number + 7_919) % INDEXED;
            index.position_of(&events[number as usize].id()).unwrap()
        });
    });
    group.bench_function("look up a stream", |bencher| {
        bencher.iter(|| {
            number = (number + 7_919) % INDEXED;
            index.stream_state(events[number as usize].stream(), Position::MAX)
        });
    });
    let tags = ["region:3", "region:4"].map(|tag| Tag::new(tag).unwrap());
    let never = Filter::tags(tags);
    group.bench_function("two tags that never meet", |bencher| {
        bencher.iter(|| Search::new(&index, black_box(&never)).unwrap().seek(1, Direction::Forwards));
    });
    group.finish();
}

fn conditions(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let log = EventLog::open(folder.path().join("log"), LogOptions::default()).unwrap();
    for first in (1..=INDEXED).step_by(1_000) {
        log.append_blocking(AppendRequest::new((first..first + 1_000).map(event))).unwrap();
    }
    log.seal_blocking().unwrap();
    let stream = StreamName::new("order-0").unwrap();
    let filter = Filter::types([EventType::new("OrderWasCancelled001").unwrap()]);
    // It expects a wrong version, so that it is checked and refused, and waits for no barrier.
    let request = || {
        AppendRequest::new([event(INDEXED + 1)])
            .expect(stream.clone(), ExpectedVersion::Exact(Version::new(u64::from(u32::MAX))))
            .condition(filter.clone(), Position::ZERO)
    };
    criterion.bench_function("condition on a type, 100,000 events on disk", |bencher| {
        bencher.iter_batched(
            request,
            |request| log.append_blocking(request).unwrap_err(),
            BatchSize::SmallInput,
        );
    });
}

criterion_group!(parts, frames, index, conditions);
criterion_main!(parts);
