//! A run of one family of benchmarks: what is asked of it, and what all its works share.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::failure::{Result, failed};
use crate::floor::Prewritten;
use crate::machine::{self, Machine};
use crate::report::Report;
use crate::scratch::Scratch;
use crate::targets::{self, Target};

/// A machine with more load than this does something else beside.
const BUSY_LOAD: f64 = 0.5;

/// What every family of benchmarks can be asked.
#[derive(clap::Args)]
pub(crate) struct RunArguments {
    /// Write the figures to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Smaller stores and shorter rounds, for a look in between.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Measure these works only, such as append_1x1,read_all or replay.
    #[arg(long, value_name = "WORK,…", value_delimiter = ',')]
    only: Vec<String>,
    /// Write below this folder instead of the system's folder for temporary files. What is written is removed.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// A run under way, of the scale `S`.
pub(crate) struct Run<S> {
    pub(crate) begun: Instant,
    pub(crate) scale: S,
    pub(crate) scratch: Scratch,
    pub(crate) report: Report,
    /// The works that are wanted; all when none is named.
    only: Vec<String>,
    busy_with: Option<f64>,
}

impl<S> Run<S> {
    /// Begins a run that knows these works.
    pub(crate) fn begin(arguments: &RunArguments, scale: S, known: &[&str]) -> Result<Self> {
        let only = arguments.only.clone();
        if let Some(name) = only.iter().find(|name| !known.contains(&name.as_str())) {
            return failed(format!("there is no work {name:?}, expected some of {}", known.join(", ")));
        }
        let busy_with = machine::load().filter(|load| *load > BUSY_LOAD);
        let begun = Instant::now();
        let scratch = Scratch::create(arguments.folder.as_deref())?;
        let report = Report::new(Machine::inspect(scratch.path()));
        Ok(Self { begun, scale, scratch, report, only, busy_with })
    }

    /// Refuses when the disk has less room than `room` bytes, measures the disk, and notes what makes the figures of
    /// little use.
    pub(crate) fn look_around(&mut self, room: u64) -> Result<()> {
        self.scratch.check_room(room)?;
        let mut file = Prewritten::create(&self.scratch.fresh("floor"))?;
        let (times, took) = file.write_frames(64 << 10, Duration::from_secs(2))?;
        self.report.machine.barriers_64k_per_second = times.count() as f64 / took.as_secs_f64();
        eprintln!("{}\nin {}", self.report.machine, self.scratch.path().display());
        if self.report.machine.file_system.starts_with("tmpfs") {
            self.report.note(
                "the folder is in memory, where barriers cost nothing: name one on a disk with --folder",
            );
        }
        if let Some(load) = self.busy_with {
            self.report.note(format!(
                "the machine was busy when the run began (load {load:.1}): the figures are of use only from one that is idle"
            ));
        }
        Ok(())
    }

    /// Whether a work is to be measured.
    pub(crate) fn wants(&self, work: &str) -> bool {
        self.wants_all() || self.only.iter().any(|wanted| wanted == work)
    }

    /// Whether any of these works is to be measured.
    pub(crate) fn wants_any(&self, works: &[&str]) -> bool {
        works.iter().any(|work| self.wants(work))
    }

    /// Whether no work is to be left out.
    pub(crate) fn wants_all(&self) -> bool {
        self.only.is_empty()
    }

    /// Prints the figures and which targets they meet, and writes them where that is wanted.
    pub(crate) fn finish(mut self, arguments: &RunArguments, targets: &[Target]) -> Result<()> {
        if arguments.quick {
            self.report
                .note("this was a quick run: stores are smaller than what their names and the targets say");
        }
        self.report.print_table();
        targets::print(targets, &self.report, arguments.quick);
        println!("\nfinished in {:.0} s", self.begun.elapsed().as_secs_f64());
        arguments.json.as_ref().map_or(Ok(()), |path| self.report.write_json(path))
    }
}
