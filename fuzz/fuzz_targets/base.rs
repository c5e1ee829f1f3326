//! A small log that is whole, and what a fuzz target does to one of its files.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use annals_core::{
    AppendRequest, ConsumerName, DeleteMode, EventId, EventStore, EventType, ExpectedVersion, Filter,
    NewEvent, Position, ReadRequest, StreamName, Tag, block_on,
};
use annals_log::{EventLog, LogOptions, Maintenance, OpenMode, Storage};

use crate::memory_disk::MemoryDisk;

pub const FOLDER: &str = "/store";
pub const STORE: [u8; 16] = [7; 16];
/// How many events are in the log.
pub const EVENTS: u64 = 43;

pub fn options(disk: &MemoryDisk) -> LogOptions {
    LogOptions {
        storage: Arc::new(disk.clone()),
        segment_bytes: 1 << 20,
        prewrite_bytes: 512,
        mark_after: Duration::from_secs(3600),
        index_memory_bytes: 2_000,
        maintenance: Maintenance::Inline,
        ..LogOptions::default()
    }
}

fn stream(name: &str) -> StreamName {
    StreamName::new(name).expect("a name")
}

/// One segment, indexed in runs but for its end; closed, so that the mark proves all of it.
pub fn log() -> &'static MemoryDisk {
    static LOG: OnceLock<MemoryDisk> = OnceLock::new();
    LOG.get_or_init(|| {
        let disk = MemoryDisk::default();
        disk.put(&Path::new(FOLDER).join("format"), annals_log::internals::format_file(STORE).into_bytes());
        disk.create_dir_all(&Path::new(FOLDER).join("segments")).expect("a folder");
        let log = EventLog::open(FOLDER, options(&disk)).expect("a new log");
        for n in 0..21 {
            let events = [n * 2, n * 2 + 1].map(|n| {
                NewEvent::new(stream(&format!("s-{}", n % 4)), EventType::new("Happened").expect("a name"))
                    .id(EventId::derived("fuzz", &n.to_string()))
                    .tag(Tag::new(format!("t:{}", n % 3)).expect("a name"))
                    .json(format!("{{\"n\":{n}}}"))
            });
            let consumer = ConsumerName::new("mailer").expect("a name");
            let request = AppendRequest::new(events).checkpoint(consumer, Position::new(n));
            log.append_blocking(request).expect("an append");
        }
        block_on(log.delete(stream("s-1"), ExpectedVersion::Any, DeleteMode::Soft)).expect("a deletion");
        assert_eq!(block_on(log.head()).expect("a head").get(), EVENTS);
        drop(log);
        disk
    })
}

/// The file of the log whose name ends like that; of several the longest.
pub fn file(ending: &str) -> (PathBuf, Vec<u8>) {
    let files = log().files(Path::new(FOLDER));
    let fitting = files.into_iter().filter(|(path, _)| path.to_string_lossy().ends_with(ending));
    fitting.max_by_key(|(_, bytes)| bytes.len()).expect("such a file")
}

/// Changes bytes as a script says: six bytes for each change.
pub fn changed(mut bytes: Vec<u8>, script: &[u8]) -> Vec<u8> {
    for change in script.chunks_exact(6).take(64) {
        let offset = usize::from(change[1]) << 8 | usize::from(change[2]);
        let value = u16::from_le_bytes([change[4], change[5]]);
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1).max(1);
        let at = (offset * 4 + usize::from(change[3] & 3)) % end;
        match change[0] % 8 {
            0 => bytes[at] ^= 1 << (value % 8),
            1 => bytes[at] = value as u8,
            2 if at + 4 <= bytes.len() => bytes[at..at + 4].copy_from_slice(&u32::from(value).to_le_bytes()),
            3 if at + 8 <= bytes.len() => bytes[at..at + 8].fill(value as u8),
            4 => bytes.truncate(at + usize::from(value)),
            5 => {
                bytes.drain(at..(at + usize::from(value % 300)).min(bytes.len()));
            }
            6 => {
                let piece = bytes[at..(at + usize::from(value % 300)).min(bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => bytes.insert(at, value as u8),
        }
        if bytes.is_empty() {
            bytes.push(0);
        }
    }
    bytes
}

/// A file of the log as an input has it: changed by a script or made up, and as `mode` says with checksums that are right.
pub fn harmed(
    ending: &str,
    mode: u8,
    script: &[u8],
    repair: fn(&mut Vec<u8>, [u8; 16]),
) -> (PathBuf, Vec<u8>) {
    let (path, bytes) = file(ending);
    let mut bytes = if mode & 1 == 0 { changed(bytes, script) } else { script.to_vec() };
    if mode & 2 == 0 {
        repair(&mut bytes, STORE);
    }
    (path, bytes)
}

/// The log with another file in the place of one.
pub fn with(path: &Path, bytes: Vec<u8>) -> MemoryDisk {
    let disk = log().copy();
    disk.put(path, bytes);
    disk
}

/// Asks an open log everything.
pub fn ask_everything(log: &EventLog) {
    let store: &dyn EventStore = log;
    let requests = [
        ReadRequest::new(Filter::all()),
        ReadRequest::new(Filter::all()).backwards(),
        ReadRequest::stream(stream("s-2")),
        ReadRequest::stream(stream("s-1")).backwards(),
        ReadRequest::new(Filter::tags([Tag::new("t:1").expect("a name")])),
        ReadRequest::new(Filter::event_id(EventId::derived("fuzz", "5"))),
        ReadRequest::new(Filter::all())
            .from(annals_core::ReadFrom::RecordedAt(annals_core::Timestamp::from_micros(5))),
    ];
    for request in requests {
        let mut batches = 0;
        let mut request = Some(request);
        while let Some(next) = request.take() {
            batches += 1;
            assert!(batches < 1_000, "a read comes to an end");
            if let Ok(batch) = log.read_blocking(&next) {
                request = batch.next.map(|next_from| next.from(annals_core::ReadFrom::Position(next_from)));
            }
        }
    }
    let _ = block_on(store.streams(None, 100));
    let _ = block_on(store.stream_state(&stream("s-3")));
}

/// Appends to an open log, verifies it and rewrites it.
pub fn change_everything(log: &EventLog) {
    let store: &dyn EventStore = log;
    let _ = block_on(store.verify(Box::new(|_, _| {})));
    let event = NewEvent::new(stream("s-2"), EventType::new("Happened").expect("a name"));
    let _ =
        log.append_blocking(AppendRequest::new([event.id(EventId::derived("fuzz", "6")).json("{\"n\":6}")]));
    let event = NewEvent::new(stream("s-3"), EventType::new("Happened").expect("a name"));
    let _ = log.append_blocking(AppendRequest::new([event]));
    let _ = log.seal_blocking();
    let _ = log.compact_blocking(&(Box::new(|_, _| {}) as annals_core::VerifyProgress));
}

/// Opens a file of a disk, to see that it is there.
pub fn is_there(disk: &MemoryDisk, path: &Path) -> bool {
    disk.open(path, OpenMode::Read).is_ok()
}
