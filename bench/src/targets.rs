//! What Annals is to reach, and whether it did.

use crate::report::{Report, number};

pub(crate) const ANNALS: &str = "annals";
pub(crate) const FLOOR: &str = "floor";

/// Whom Annals is compared with.
#[derive(Clone, Copy)]
pub(crate) enum Against {
    /// A number.
    Fixed,
    /// One contender.
    One(&'static str),
    /// The floor in another work, with something added to it.
    FloorOf { work: &'static str, added: f64 },
    /// The best of the peers without a batching thread.
    Plain,
    /// The best of the peers with one.
    Batched,
}

/// A figure that Annals is to reach.
pub(crate) struct Target {
    pub(crate) work: &'static str,
    pub(crate) against: Against,
    /// What the figure, or its ratio to the other, must reach.
    pub(crate) bound: f64,
    /// Whether it must be at least that; else it must be at most that.
    pub(crate) at_least: bool,
    /// Says what the machine has to do with it.
    pub(crate) remark: Option<fn(&Report) -> String>,
}

pub(crate) const fn at_least(work: &'static str, against: Against, bound: f64) -> Target {
    Target { work, against, bound, at_least: true, remark: None }
}

pub(crate) const fn at_most(work: &'static str, against: Against, bound: f64) -> Target {
    Target { work, against, bound, at_least: false, remark: None }
}

/// Prints each target for which there are figures. They are for the stores of a full run.
pub(crate) fn print(targets: &[Target], report: &Report, quick: bool) {
    println!(
        "\ntargets{}",
        if quick { ", of a quick run: its stores are smaller, so these say little" } else { "" }
    );
    targets.iter().filter_map(|target| target.line(report)).for_each(|line| println!("{line}"));
}

impl Target {
    fn line(&self, report: &Report) -> Option<String> {
        let value = report.value(self.work, ANNALS)?;
        let unit = report.row(self.work, ANNALS).map_or("", |row| row.unit.as_str());
        let (bound, is) = match self.against {
            Against::Fixed => {
                let more = self.remark.map_or_else(String::new, |remark| remark(report));
                (format!("{} {unit}", number(self.bound)), format!("{} {unit}{more}", number(value)))
            }
            Against::FloorOf { work, added } => {
                let allowed = self.bound * report.value(work, FLOOR)? + added;
                let bound = format!("{} x {work} + {added} {unit}", self.bound);
                (bound, format!("{} {unit} of {}", number(value), number(allowed)))
            }
            _ => {
                let ratio = value / self.other(report)?;
                (format!("{} x {}", self.bound, self.whom()), format!("{ratio:.2} x"))
            }
        };
        let verdict = if self.is_met(report)? { "met    " } else { "NOT MET" };
        let sign = if self.at_least { ">=" } else { "<=" };
        Some(format!("target {verdict}  {:<26} {sign} {bound}: is {is}", self.work))
    }

    fn is_met(&self, report: &Report) -> Option<bool> {
        let value = report.value(self.work, ANNALS)?;
        let added = if let Against::FloorOf { added, .. } = self.against { added } else { 0.0 };
        let needed = self.bound * self.other(report)? + added;
        Some(if self.at_least { value >= needed } else { value <= needed })
    }

    /// The figure to compare with; 1 for a target that is a number.
    fn other(&self, report: &Report) -> Option<f64> {
        let best = |batched: bool| {
            let peers = report.values(self.work, move |name| {
                name != ANNALS && name != FLOOR && name.ends_with("_batched") == batched
            });
            peers.reduce(if self.at_least { f64::max } else { f64::min })
        };
        match self.against {
            Against::Fixed => Some(1.0),
            Against::One(name) => report.value(self.work, name),
            Against::FloorOf { work, .. } => report.value(work, FLOOR),
            Against::Plain => best(false),
            Against::Batched => best(true),
        }
    }

    fn whom(&self) -> &'static str {
        match self.against {
            Against::Fixed => "",
            Against::One(name) => name,
            Against::FloorOf { work, .. } => work,
            Against::Plain => "the best peer",
            Against::Batched => "the best peer behind a batching thread",
        }
    }
}
