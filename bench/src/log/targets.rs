//! What Annals is to reach, and whether it did.

use super::conditions::CONDITION_TYPE;
use super::contender::Kind;
use super::disk::{DISK_COMPRESSED, DISK_EMPTY, DISK_PER_EVENT};
use super::growth::{GROWTH_16X100, GROWTH_APPEND, GROWTH_STREAM};
use super::memory::MEMORY;
use super::opening::{OPEN_CLEAN, OPEN_KILLED};
use super::reads::{READ_ALL, READ_STREAM};
use crate::report::{Report, number};

const ANNALS: &str = "annals";
const FLOOR: &str = "floor";
/// A machine that makes 64 KiB durable so often is to append at least [`EVENTS_PER_SECOND`].
const BARRIERS_PER_SECOND: f64 = 8_700.0;
const EVENTS_PER_SECOND: f64 = 2e6;

/// Whom Annals is compared with.
#[derive(Clone, Copy)]
enum Against {
    /// A number.
    Fixed,
    /// One contender.
    One(&'static str),
    /// The best of the peers without a batching thread.
    Plain,
    /// The best of the peers with one.
    Batched,
}

struct Target {
    work: &'static str,
    against: Against,
    /// What the figure, or its ratio to the other, must reach.
    bound: f64,
    /// Whether it must be at least that; else it must be at most that.
    at_least: bool,
}

const fn at_least(work: &'static str, against: Against, bound: f64) -> Target {
    Target { work, against, bound, at_least: true }
}

const fn at_most(work: &'static str, against: Against, bound: f64) -> Target {
    Target { work, against, bound, at_least: false }
}

const TARGETS: [Target; 20] = [
    at_least("append_1x1", Against::One(FLOOR), 0.9),
    at_least("append_1x1", Against::Plain, 1.0),
    at_least("append_64x1", Against::Plain, 15.0),
    at_least("append_64x1", Against::Batched, 2.0),
    at_least("append_1x100", Against::Plain, 3.0),
    at_least("append_16x100", Against::One(FLOOR), 0.8),
    at_least("append_16x100", Against::Fixed, EVENTS_PER_SECOND),
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

/// Prints each target for which there are figures. They are for the stores of a full run.
pub(crate) fn print(report: &Report, quick: bool) {
    println!(
        "\ntargets{}",
        if quick { ", of a quick run: its stores are smaller, so these say little" } else { "" }
    );
    TARGETS.iter().filter_map(|target| target.line(report)).for_each(|line| println!("{line}"));
}

impl Target {
    fn line(&self, report: &Report) -> Option<String> {
        let value = report.value(self.work, ANNALS)?;
        let other = self.other(report)?;
        let reached = value / other.unwrap_or(1.0);
        let met = if self.at_least { reached >= self.bound } else { reached <= self.bound };
        let verdict = if met { "met    " } else { "NOT MET" };
        let sign = if self.at_least { ">=" } else { "<=" };
        let unit = report.row(self.work, ANNALS).map_or("", |row| row.unit.as_str());
        Some(match other {
            Some(_) => {
                let whom = self.whom();
                format!(
                    "target {verdict}  {:<26} {sign} {} x {whom}: is {reached:.2} x",
                    self.work, self.bound
                )
            }
            None => {
                let more = self.remark(report);
                let (bound, value) = (number(self.bound), number(value));
                format!("target {verdict}  {:<26} {sign} {bound} {unit}: is {value} {unit}{more}", self.work)
            }
        })
    }

    /// The figure to compare with; `Some(None)` for a target that is a number.
    fn other(&self, report: &Report) -> Option<Option<f64>> {
        let best = |batched: bool| {
            let peers = report.values(self.work, move |name| {
                name != ANNALS && name != FLOOR && name.ends_with("_batched") == batched
            });
            peers.reduce(if self.at_least { f64::max } else { f64::min })
        };
        match self.against {
            Against::Fixed => Some(None),
            Against::One(name) => report.value(self.work, name).map(Some),
            Against::Plain => best(false).map(Some),
            Against::Batched => best(true).map(Some),
        }
    }

    fn whom(&self) -> &'static str {
        match self.against {
            Against::Fixed => "",
            Against::One(name) => name,
            Against::Plain => "the best peer",
            Against::Batched => "the best peer behind a batching thread",
        }
    }

    /// The target of 2,000,000 events per second is for a disk of a certain speed.
    fn remark(&self, report: &Report) -> String {
        if self.bound != EVENTS_PER_SECOND {
            return String::new();
        }
        let measured = report.machine.barriers_64k_per_second;
        format!(" (for {BARRIERS_PER_SECOND:.0} barriers of 64 KiB per second; this disk: {measured:.0})")
    }
}

/// What each contender is, for the notes.
pub(crate) fn describe(report: &mut Report, kinds: &[Kind]) {
    kinds.iter().for_each(|kind| report.note(format!("{}: {}", kind.name(), kind.description())));
}
