//! Every file of a log, changed in every way: opening and reading answer or report, and nothing is lost in silence.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annals_core::conformance::block_on;
use annals_core::{
    AppendRequest, ConsumerName, DeleteMode, EventId, EventStore, ExpectedVersion, Filter, NewEvent,
    Position, ReadRequest, RecordedEvent, StoreError, StreamName, Tag,
};
use annals_log::{EventLog, EventLogReader, LogOptions, Maintenance};

use crate::killed_appends::spread;
use crate::memory_disk::MemoryDisk;
use crate::{event, read_all, without_marks};

const FOLDER: &str = "/store";
/// So many ways to change each file, besides those that are tried for all.
const CHANGES_PER_FILE: u64 = 80;
/// Opening as a reader waits for a writer that may be at work, so it is tried now and then only.
const BETWEEN_READERS: u64 = 97;

fn options(disk: &MemoryDisk) -> LogOptions {
    LogOptions {
        storage: Arc::new(disk.clone()),
        segment_bytes: 5_000,
        prewrite_bytes: 512,
        index_memory_bytes: 3_000,
        maintenance: Maintenance::Inline,
        compress_sealed: true,
        ..without_marks()
    }
}

fn numbered(n: u64) -> NewEvent {
    event(&format!("s-{}", n % 5), &format!("{{\"n\":{n},\"text\":\"{}\"}}", "ab".repeat(n as usize % 40)))
        .id(EventId::derived("bad bytes", &n.to_string()))
        .tag(Tag::new(format!("t:{}", n % 3)).unwrap())
}

/// A closed log of every kind of file: segments, some compressed, runs, mark, watermark.
fn sample() -> (MemoryDisk, Vec<RecordedEvent>) {
    let disk = MemoryDisk::default();
    let log = EventLog::open(FOLDER, options(&disk)).unwrap();
    let mut n = 0;
    let mut fill = |events: u64| {
        for _ in 0..events / 2 {
            let consumer = ConsumerName::new("mailer").unwrap();
            let request = AppendRequest::new([numbered(n), numbered(n + 1)]);
            log.append_blocking(request.checkpoint(consumer, Position::new(n))).unwrap();
            n += 2;
        }
    };
    fill(100);
    block_on(log.delete(StreamName::new("s-1").unwrap(), ExpectedVersion::Exists, DeleteMode::Soft)).unwrap();
    log.seal_blocking().unwrap();
    log.compact_blocking(&(Box::new(|_, _| {}) as _)).unwrap();
    fill(60);
    let events = read_all(&log);
    drop(log);
    (disk, events)
}

/// One way to change the bytes of a file; `other` are those of another.
fn changed(bytes: &[u8], other: &[u8], dice: u64) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    let draw = |n: u64, below: usize| (spread(dice ^ n) % below.max(1) as u64) as usize;
    // Where something stands: most of a file that is filled up with zeros is not interesting.
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let (from, length) = (draw(1, end), draw(2, 200) + 1);
    let to = (from + length).min(bytes.len());
    match draw(0, 9) {
        0 | 1 => {
            if let Some(byte) = changed.get_mut(from) {
                *byte ^= 1 << draw(3, 8);
            }
        }
        2 => changed.truncate(from),
        3 => changed[from..to].fill(0),
        4 => changed[from..to].fill(0xff),
        5 => (from..to).for_each(|at| changed[at] = spread(dice ^ at as u64) as u8),
        6 => drop(changed.drain(from..to)),
        7 => {
            let start = draw(3, other.len());
            let piece = &other[start..(start + length).min(other.len())];
            changed.splice(from..(from + piece.len()).min(bytes.len()), piece.iter().copied());
        }
        _ => {
            let piece = changed[from..to].to_vec();
            let target = draw(4, end);
            changed.splice(target..target, piece);
        }
    }
    changed
}

/// What using a log that may be damaged came to.
#[derive(Debug, PartialEq)]
enum Found {
    Everything,
    /// Something was reported: by opening, a read, or the damage.
    Reported,
    /// Less than there was, and nobody said so.
    Silence,
}

/// Opens a log and asks it everything; whatever it answers must be as it was.
fn used(disk: &MemoryDisk, expected: &[RecordedEvent]) -> Found {
    let log = match EventLog::open(FOLDER, options(disk)) {
        Ok(log) => log,
        Err(StoreError::IndexDamaged { path, reason }) => panic!("{}: {reason}", path.display()),
        Err(_) => return Found::Reported,
    };
    let store: &dyn EventStore = &log;
    let mut reported = log.damage().is_some();
    let known: BTreeMap<Position, &RecordedEvent> =
        expected.iter().map(|event| (event.position(), event)).collect();
    let requests = [
        ReadRequest::new(Filter::all()),
        ReadRequest::new(Filter::all()).backwards(),
        ReadRequest::stream(StreamName::new("s-2").unwrap()),
        ReadRequest::stream(StreamName::new("s-1").unwrap()),
        ReadRequest::new(Filter::tags([Tag::new("t:1").unwrap()])).backwards(),
        ReadRequest::new(Filter::event_id(EventId::derived("bad bytes", "7"))),
    ];
    let mut found = Vec::new();
    for request in requests {
        match block_on(store.reader(request).collect()) {
            Ok(events) => {
                let same = |event: &RecordedEvent| known.get(&event.position()) == Some(&event);
                assert!(events.iter().all(same), "an event is not as it was");
                found.push(events.len());
            }
            Err(_) => reported = true,
        }
    }
    reported |= block_on(store.streams(None, 100)).is_err();
    reported |= block_on(store.stream_state(&StreamName::new("s-3").unwrap())).is_err();
    let verified = block_on(store.verify(Box::new(|_, _| {})));
    reported |= !verified.is_ok_and(|report| report.is_sound());
    // An event that is there is not stored again, and one that is not is told of.
    if let Ok(receipt) = log.append_blocking(AppendRequest::new([numbered(150), numbered(151)]))
        && !reported
    {
        assert!(receipt.duplicate || found.first() != Some(&expected.len()), "an event was stored twice");
    }
    match reported {
        true => Found::Reported,
        false if found[..2] == [expected.len(); 2] => Found::Everything,
        false => Found::Silence,
    }
}

fn name_in_store(path: &Path) -> String {
    path.strip_prefix(FOLDER).unwrap().display().to_string()
}

#[test]
fn no_change_of_a_file_goes_unnoticed_or_panics() {
    let seed: u64 = std::env::var("ANNALS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    let (source, expected) = sample();
    let files: Vec<(PathBuf, Vec<u8>)> = source.files(Path::new(FOLDER));
    assert_eq!(used(&source.copy(), &expected), Found::Everything);
    let mut outcomes: BTreeMap<&str, [u64; 2]> = BTreeMap::new();
    let mut cases = 0;
    for (number, (path, bytes)) in files.iter().enumerate() {
        let name = name_in_store(path);
        for case in 0..CHANGES_PER_FILE {
            let dice = spread(seed ^ (number as u64) << 40 ^ case);
            let (_, other) = &files[dice as usize % files.len()];
            let replaced = changed(bytes, other, dice);
            let differs = replaced != *bytes;
            let disk = source.copy();
            disk.put(path, replaced.clone());
            if case % BETWEEN_READERS == 0 {
                drop(EventLogReader::open(FOLDER, options(&disk.copy())));
            }
            let found = used(&disk, &expected);
            let what = format!("{name}, case {case}, seed {seed}: {found:?}");
            match name.split(['/', '.']).next().unwrap_or_default() {
                // The index is derived: at worst it is built again.
                "index" => assert!(found != Found::Silence, "{what}"),
                "mark" | "watermark" | "lock" => assert_eq!(found, Found::Everything, "{what}"),
                _ => assert!(found != Found::Silence, "{what}"),
            }
            if differs {
                let folder = name.split('/').next().unwrap_or_default();
                let kind = ["segments", "index", "mark", "watermark", "format", "lock"];
                let kind = kind.into_iter().find(|kind| *kind == folder).unwrap();
                outcomes.entry(kind).or_default()[usize::from(found == Found::Reported)] += 1;
                cases += 1;
            }
        }
        // Gone altogether.
        let disk = source.copy();
        annals_log::Storage::remove(&disk, path).unwrap();
        let found = used(&disk, &expected);
        assert!(found != Found::Silence, "{name} is gone, and nobody says so");
    }
    let told: Vec<String> = outcomes
        .iter()
        .map(|(kind, [whole, reported])| {
            format!("\"{kind}\":{{\"nothing lost\":{whole},\"reported\":{reported}}}")
        })
        .collect();
    println!(
        "evidence: {{\"test\":\"bad bytes\",\"files\":{},\"changes\":{cases},{},\"panics\":0,\"silent\":0,\"seed\":{seed}}}",
        files.len(),
        told.join(",")
    );
}
