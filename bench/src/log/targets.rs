//! What the log is to reach.

use super::conditions::CONDITION_TYPE;
use super::contender::Kind;
use super::disk::{DISK_COMPRESSED, DISK_EMPTY, DISK_PER_EVENT};
use super::growth::{GROWTH_16X100, GROWTH_APPEND, GROWTH_STREAM};
use super::memory::MEMORY;
use super::opening::{OPEN_CLEAN, OPEN_KILLED};
use super::reads::{READ_ALL, READ_STREAM};
use crate::report::Report;
use crate::targets::{Against, FLOOR, Target, at_least, at_most};

/// A machine that makes 64 KiB durable so often is to append at least [`EVENTS_PER_SECOND`].
const BARRIERS_PER_SECOND: f64 = 8_700.0;
const EVENTS_PER_SECOND: f64 = 2e6;

pub(crate) const TARGETS: [Target; 20] = [
    at_least("append_1x1", Against::One(FLOOR), 0.9),
    at_least("append_1x1", Against::Plain, 1.0),
    at_least("append_64x1", Against::Plain, 15.0),
    at_least("append_64x1", Against::Batched, 2.0),
    at_least("append_1x100", Against::Plain, 3.0),
    at_least("append_16x100", Against::One(FLOOR), 0.8),
    Target { remark: Some(barriers_needed), ..at_least("append_16x100", Against::Fixed, EVENTS_PER_SECOND) },
    at_least(READ_ALL, Against::Fixed, 1e7),
    at_least(READ_ALL, Against::One("sqlite"), 3.0),
    at_most(READ_STREAM, Against::One("redb"), 0.7),
    at_most(CONDITION_TYPE, Against::Fixed, 50.0),
    at_most(OPEN_CLEAN, Against::Fixed, 5.0),
    at_most(OPEN_KILLED, Against::Fixed, 100.0),
    at_most(DISK_PER_EVENT, Against::Fixed, 280.0),
    at_most(DISK_COMPRESSED, Against::Fixed, 120.0),
    at_most(DISK_EMPTY, Against::Fixed, (2 << 20) as f64),
    at_most(MEMORY, Against::Fixed, 128.0),
    at_most(GROWTH_APPEND, Against::Fixed, 1.3),
    at_most(GROWTH_STREAM, Against::Fixed, 1.3),
    at_least(GROWTH_16X100, Against::Fixed, 0.7),
];

/// The target of 2,000,000 events per second is for a disk of a certain speed.
fn barriers_needed(report: &Report) -> String {
    let measured = report.machine.barriers_64k_per_second;
    format!(" (for {BARRIERS_PER_SECOND:.0} barriers of 64 KiB per second; this disk: {measured:.0})")
}

/// What each contender is, for the notes.
pub(crate) fn describe(report: &mut Report, kinds: &[Kind]) {
    kinds.iter().for_each(|kind| report.note(format!("{}: {}", kind.name(), kind.description())));
}
