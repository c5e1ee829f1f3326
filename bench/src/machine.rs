//! What the benchmark runs on, and what the system says of processes and files.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::Serialize;

use crate::failure::{Failure, Result, failed};

/// The machine, as it is written beside the figures.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_gb: f64,
    pub(crate) kernel: String,
    pub(crate) file_system: String,
    /// How many times per second 64 KiB can be written and made durable.
    pub(crate) barriers_64k_per_second: f64,
}

impl Machine {
    /// Looks at the machine; `folder` is on the disk that is measured.
    pub(crate) fn inspect(folder: &Path) -> Self {
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self {
            processor: value_of(&processors, "model name").unwrap_or("unknown").to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gb: (kilobytes_of(&memory, "MemTotal").unwrap_or(0) as f64 / 1e5).round() / 10.0,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            file_system: file_system_of(folder).unwrap_or_else(|| "unknown".to_owned()),
            barriers_64k_per_second: 0.0,
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, {} cores, {:.1} GB, ", self.processor, self.cores, self.memory_gb)?;
        write!(f, "Linux {}, {}", self.kernel, self.file_system)?;
        match self.barriers_64k_per_second {
            0.0 => Ok(()),
            rate => write!(f, ", 64 KiB + barrier: {rate:.0} per second"),
        }
    }
}

fn value_of<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(key))?;
    line.split_once(':').map(|(_, value)| value.trim())
}

fn kilobytes_of(text: &str, key: &str) -> Option<u64> {
    value_of(text, key)?.trim_end_matches("kB").trim().parse().ok()
}

/// The type of the file system and the device that `folder` is on: the mount with the longest matching path.
fn file_system_of(folder: &Path) -> Option<String> {
    let folder = folder.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let holding = fields.filter(|fields| fields.len() > 2 && folder.starts_with(fields[1]));
    let best = holding.max_by_key(|fields| fields[1].len())?;
    Some(format!("{} on {}", best[2], best[0]))
}

/// How many threads wanted to run at once in the last minute, on average.
pub(crate) fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

/// The resident memory of a process, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Resident {
    /// Memory that no file stands behind.
    pub(crate) anonymous: u64,
    /// Pages of mapped files, which the system can drop.
    pub(crate) file: u64,
}

impl Resident {
    /// What this process has resident now.
    pub(crate) fn of_this_process() -> Result<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        match (kilobytes_of(&status, "RssAnon"), kilobytes_of(&status, "RssFile")) {
            (Some(anonymous), Some(file)) => Ok(Self { anonymous: anonymous << 10, file: file << 10 }),
            _ => failed("/proc/self/status has no RssAnon and RssFile: measure memory on Linux 4.5 or later"),
        }
    }

    /// The larger of each.
    pub(crate) fn max(self, other: Self) -> Self {
        Self { anonymous: self.anonymous.max(other.anonymous), file: self.file.max(other.file) }
    }
}

/// The blocks that the files below `folder` take on disk, in bytes.
pub(crate) fn allocated_bytes(folder: &Path) -> Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        total += match entry.file_type()?.is_dir() {
            true => allocated_bytes(&entry.path())?,
            false => entry.metadata()?.blocks() * 512,
        };
    }
    Ok(total)
}

/// The bytes that are free on the disk of `folder` for who runs this.
pub(crate) fn free_bytes(folder: &Path) -> Result<u64> {
    let disk = rustix::fs::statvfs(folder)
        .map_err(|error| Failure::from(format!("cannot ask how full the disk of {folder:?} is: {error}")))?;
    Ok(disk.f_bavail * disk.f_frsize)
}

/// Has all that was written on the disk of `folder` put there.
pub(crate) fn write_back(folder: &Path) -> Result<()> {
    rustix::fs::syncfs(fs::File::open(folder)?)
        .map_err(|error| Failure::from(format!("cannot write the disk of {folder:?} back: {error}")))
}

/// Copies a folder with all that is in it.
pub(crate) fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy_folder(&entry.path(), &target)?,
            false => {
                fs::copy(entry.path(), &target)?;
                // So that what is measured next does not pay for it.
                fs::File::open(&target)?.sync_all()?;
            }
        }
    }
    Ok(())
}
