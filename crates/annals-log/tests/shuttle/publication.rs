//! Parts of the index are set aside, written out and merged while others ask.

use std::sync::Arc;

use annals_core::{EventStore, Position, ReadRequest, Version, block_on};
use annals_log::EventLog;
use shuttle::thread;

use crate::memory_disk::MemoryDisk;
use crate::schedules::{Counters, count, prove};
use crate::{FOLDER, name_of, one, options, read_after, stream};

const EVENTS: u64 = 10;

/// The n-th event is of the stream `odd-1` or `even-1`.
fn stream_of(n: u64) -> &'static str {
    if n % 2 == 1 { "odd-1" } else { "even-1" }
}

fn append_all(log: &EventLog, counters: &Counters) {
    for n in 1..=EVENTS {
        let receipt = log.append_blocking(one(stream_of(n), &n.to_string())).unwrap();
        assert_eq!((receipt.first_position.get(), receipt.duplicate), (n, false));
        assert_eq!(receipt.version_of(stream_of(n)).unwrap().get(), n.div_ceil(2));
        count(&counters.accepted);
        // One of the events before, which may be in memory, being written out, or in a run.
        let known = n / 2 + 1;
        let again = log.append_blocking(one(stream_of(known), &known.to_string())).unwrap();
        assert_eq!((again.first_position.get(), again.duplicate), (known, true));
        count(&counters.duplicates);
    }
}

/// Asks in every way until all events are there; each answer is of one moment, and never older than the one before.
fn ask(log: &EventLog, counters: &Counters) {
    let mut head = 0;
    while head < EVENTS {
        let all = read_after(log, Position::ZERO);
        assert!(all.head.get() >= head);
        head = all.head.get();
        let names: Vec<String> = all.events.iter().map(name_of).collect();
        assert_eq!(names, (1..=head).map(|n| n.to_string()).collect::<Vec<_>>());
        let odd = log.read_blocking(&ReadRequest::stream(stream("odd-1"))).unwrap();
        assert!(odd.head.get() >= head);
        let versions: Vec<u64> = odd.events.iter().map(|event| event.version().get()).collect();
        assert_eq!(versions, (1..=odd.head.get().div_ceil(2)).collect::<Vec<_>>());
        let last = log.read_blocking(&ReadRequest::stream(stream("even-1")).backwards().limit(1)).unwrap();
        let expected = (last.head.get() / 2).checked_sub(1).map(|n| (n + 1) * 2);
        assert_eq!(last.events.first().map(|event| event.position().get()), expected);
        let state = block_on(log.stream_state(&stream("odd-1"))).unwrap();
        assert!(state.version >= Version::new(odd.head.get().div_ceil(2)));
        let streams = block_on(log.streams(None, 10)).unwrap();
        assert!(streams.len() as u64 >= last.head.get().min(2), "{streams:?}");
        count(&counters.batches);
        thread::yield_now();
    }
}

fn body(counters: &Counters) {
    let disk = MemoryDisk::default().with_steps(|_, _| {
        thread::yield_now();
        Ok(())
    });
    let log = EventLog::open(FOLDER, options(&disk, 500)).unwrap();
    let log = &Arc::new(log);
    thread::scope(|scope| {
        scope.spawn(|| append_all(log, counters));
        scope.spawn(|| ask(log, counters));
    });
    log.seal_blocking().unwrap();
    ask(log, counters);
}

#[test]
fn an_answer_is_of_one_moment() {
    prove("index publication", 600, 300, body);
}
