//! What must hold of a log that is opened on what a crash left.

use std::panic::{AssertUnwindSafe, catch_unwind};

use annals_core::conformance::{TestClock, block_on};
use annals_core::{
    AppendReceipt, AppendRequest, ConsumerName, EventStore, Filter, Position, ReadFrom, ReadRequest,
    RecordedEvent, StreamName,
};
use annals_log::EventLog;

use super::disk::SimDisk;
use super::engine::{self, FOLDER, Setup};
use super::history::{Content, Expectation};
use super::images::CASUAL_FILES;
use super::tree::{Entry, Tree, parent};
use super::workload::{CONSUMERS, OPENED_AT, moment};

/// How the last append, not answered before the crash, turned out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Checked {
    /// Whether opening changed what was on the disk.
    pub(crate) recovered: bool,
}

/// Opens the log on `image` and compares it with what must be there.
///
/// With `thorough`, the log is also opened once more after all the appends of the check.
pub(crate) fn check(
    image: &Tree,
    expected: &Expectation,
    thorough: bool,
    setup: Setup,
) -> Result<Checked, String> {
    let checked = catch_unwind(AssertUnwindSafe(|| check_image(image, expected, thorough, setup)));
    checked.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("the log panicked: {}", text.unwrap_or_default()))
    })
}

fn check_image(
    image: &Tree,
    expected: &Expectation,
    thorough: bool,
    setup: Setup,
) -> Result<Checked, String> {
    let disk = SimDisk::holding(image.clone());
    let clock = TestClock::at(OPENED_AT.as_micros());
    let log = open_sound(&disk, &clock, setup)?;
    let open_was_kept = compare_either(&log, expected)?;
    let once = disk.tree();
    // Most images need no repair; comparing contents costs more than asking whether anything was written.
    let recovered = disk.take_changed() && differ(&once, image);
    if recovered {
        quarantine_holds_what_was_cut(image, &once)?;
        verify(&log)?;
        recover_twice(&once, expected, setup)?;
    }
    let after = ask_again(&log, expected, open_was_kept, &clock)?;
    compare(&log, &after)?;
    drop(log);
    if thorough {
        let log =
            open_sound(&disk, &clock, setup).map_err(|problem| format!("after a clean stop, {problem}"))?;
        compare(&log, &after).map_err(|problem| format!("after a clean stop: {problem}"))?;
        verify(&log).map_err(|problem| format!("after a clean stop: {problem}"))?;
    }
    Ok(Checked { recovered })
}

fn open_sound(disk: &SimDisk, clock: &std::sync::Arc<TestClock>, setup: Setup) -> Result<EventLog, String> {
    let log = engine::open(disk, clock, setup).map_err(|error| format!("it cannot be opened: {error}"))?;
    match log.damage() {
        Some(damage) => Err(format!("it is said to be damaged: {damage}")),
        None => Ok(log),
    }
}

/// Compares with the content that is certain, or with the append that was not answered; tells which it was.
fn compare_either(log: &EventLog, expected: &Expectation) -> Result<bool, String> {
    let problem = match compare(log, &expected.certain) {
        Ok(()) => return Ok(false),
        Err(problem) => problem,
    };
    let Some((_, _, with_open)) = &expected.open else { return Err(problem) };
    compare(log, with_open).map(|()| true).map_err(|other| {
        format!("neither without the append that was not answered ({problem}) nor with it ({other})")
    })
}

/// Compares everything that the log shows with `content`.
pub(crate) fn compare(log: &EventLog, content: &Content) -> Result<(), String> {
    let head = block_on(log.head()).map_err(|error| error.to_string())?;
    if head != content.head() {
        return Err(format!("the head is at {head}, expected {}", content.head()));
    }
    let found = read_all(log)?;
    let mut expected = content.visible();
    for event in &found {
        let stored = expected.next().ok_or_else(|| format!("event {event:?} was never submitted"))?;
        let place = (event.position(), event.version(), event.recorded_at(), event.id());
        if place != (stored.position, stored.version, stored.at, stored.id) {
            return Err(format!("found {place:?}, expected {stored:?}"));
        }
        if *event.body() != stored.body {
            return Err(format!("the event at position {} has other bytes", stored.position));
        }
    }
    if let Some(lost) = expected.next() {
        return Err(format!("the event at position {} is lost", lost.position));
    }
    for (stream, state) in &content.streams {
        let name = StreamName::new(stream).map_err(|error| error.to_string())?;
        let found = block_on(log.stream_state(&name)).map_err(|error| error.to_string())?;
        if found != *state {
            return Err(format!("stream {stream}: found {found:?}, expected {state:?}"));
        }
    }
    for name in CONSUMERS {
        let consumer = ConsumerName::new(name).map_err(|error| error.to_string())?;
        let found = block_on(log.checkpoint(&consumer)).map_err(|error| error.to_string())?;
        let expected = content.checkpoints.get(name).copied();
        if found != expected {
            return Err(format!("the checkpoint of {name} is {found:?}, expected {expected:?}"));
        }
    }
    content.streams.keys().try_for_each(|stream| compare_stream(log, content, stream))
}

/// Compares what is found by the index, forwards and backwards.
fn compare_stream(log: &EventLog, content: &Content, stream: &str) -> Result<(), String> {
    let name = StreamName::new(stream).map_err(|error| error.to_string())?;
    let expected = content.visible().filter(|stored| stored.stream == stream);
    let mut expected: Vec<_> = expected.map(|stored| (stored.position, stored.id)).collect();
    for request in [ReadRequest::stream(name.clone()), ReadRequest::stream(name).backwards()] {
        let batch =
            log.read_blocking(&request).map_err(|error| format!("a read of {stream} failed: {error}"))?;
        let found: Vec<_> = batch.events.iter().map(|event| (event.position(), event.id())).collect();
        if found != expected {
            return Err(format!("a read of {stream} finds {found:?}, expected {expected:?}"));
        }
        expected.reverse();
    }
    Ok(())
}

pub(crate) fn read_all(log: &EventLog) -> Result<Vec<RecordedEvent>, String> {
    let (mut request, mut events) = (ReadRequest::new(Filter::all()), Vec::new());
    loop {
        let batch = log.read_blocking(&request).map_err(|error| format!("a read failed: {error}"))?;
        events.extend(batch.events);
        match batch.next {
            Some(next) => request.from = ReadFrom::Position(next),
            None => return Ok(events),
        }
    }
}

fn verify(log: &EventLog) -> Result<(), String> {
    let report = block_on(log.verify(Box::new(|_, _| {}))).map_err(|error| error.to_string())?;
    let head = block_on(log.head()).map_err(|error| error.to_string())?;
    match report.problems.first() {
        Some(problem) => Err(format!("verify: {problem}")),
        None if report.readable_to != head => {
            Err(format!("verify reads to {}, not {head}", report.readable_to))
        }
        None => Ok(()),
    }
}

/// Bytes that recovery took off the end of a segment must be in a file of the quarantine.
fn quarantine_holds_what_was_cut(before: &Tree, after: &Tree) -> Result<(), String> {
    let folder = format!("{FOLDER}/segments");
    let is_segment = |path: &str| parent(path) == folder && path.ends_with(".segment");
    for (path, entry) in before.entries.iter().filter(|(path, _)| is_segment(path)) {
        let Entry::File(file) = entry else { continue };
        let old = before.content(*file);
        let new = after.file_at(path).unwrap_or_default();
        let end = old.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let Some(cut) = old.get(new.len()..end).filter(|cut| !cut.is_empty()) else { continue };
        let quarantine = format!("{FOLDER}/quarantine");
        let mut files = after.entries.keys().filter(|path| parent(path) == quarantine);
        let holds = |content: &[u8]| content.windows(cut.len()).any(|window| window == cut);
        if !files.any(|path| after.file_at(path).is_some_and(holds)) {
            return Err(format!("{} bytes were cut off {path} and are not in quarantine", cut.len()));
        }
    }
    Ok(())
}

fn differ(one: &Tree, other: &Tree) -> bool {
    one.reachable().hash(&CASUAL_FILES) != other.reachable().hash(&CASUAL_FILES)
}

/// Recovering what was recovered changes nothing more.
fn recover_twice(once: &Tree, expected: &Expectation, setup: Setup) -> Result<(), String> {
    let disk = SimDisk::holding(once.clone());
    let clock = TestClock::at(OPENED_AT.as_micros());
    let log = open_sound(&disk, &clock, setup).map_err(|problem| format!("recovered twice, {problem}"))?;
    compare_either(&log, expected).map_err(|problem| format!("recovered twice: {problem}"))?;
    if disk.take_changed() && differ(&disk.tree(), once) {
        return Err("recovering twice changes what recovering once had left".to_owned());
    }
    Ok(())
}

/// Appends everything again, and something new; returns what must be there then.
fn ask_again(
    log: &EventLog,
    expected: &Expectation,
    open_was_kept: bool,
    clock: &TestClock,
) -> Result<Content, String> {
    for (request, receipt) in expected.kept.iter().filter(|(request, _)| !request.events.is_empty()) {
        let again = append(log, request).map_err(|problem| format!("appended again: {problem}"))?;
        let same = AppendReceipt { duplicate: true, ..receipt.clone() };
        if again != same {
            return Err(format!("appended again: the receipt is {again:?}, expected {same:?}"));
        }
    }
    let mut after = expected.certain.clone();
    if let Some((request, at, with_open)) = &expected.open {
        clock.set(at.as_micros());
        let again = append(log, request).map_err(|problem| format!("the open append, again: {problem}"))?;
        // An append without events leaves nothing by which it could be recognised.
        if again.duplicate != (open_was_kept && !request.events.is_empty()) {
            return Err(format!("the open append was found: {open_was_kept}, but then: {again:?}"));
        }
        after = with_open.clone();
    }
    let later = moment(30_000);
    clock.set(later.as_micros());
    for request in &expected.refused {
        let again = append(log, request).map_err(|problem| format!("a refused append, again: {problem}"))?;
        if again.duplicate {
            return Err(format!("a refused append was stored: {again:?}"));
        }
        after.add(request, later);
    }
    let fresh =
        AppendRequest::new([crate::event("d-1", "1").id(annals_core::EventId::derived("fresh", "1"))]);
    let receipt = append(log, &fresh).map_err(|problem| format!("a new append: {problem}"))?;
    after.add(&fresh, later);
    if (receipt.first_position, receipt.last_position) != (after.head(), after.head()) {
        return Err(format!("a new append went to {}, expected {}", receipt.first_position, after.head()));
    }
    let receipt = append(log, &fresh)?;
    let once = Position::new(after.events.len() as u64);
    if !receipt.duplicate || receipt.last_position != once {
        return Err(format!("a new append is stored twice: {receipt:?}"));
    }
    Ok(after)
}

fn append(log: &EventLog, request: &AppendRequest) -> Result<AppendReceipt, String> {
    log.append_blocking(request.clone()).map_err(|error| error.to_string())
}
