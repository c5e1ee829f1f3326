//! The builds of one version of a read model.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Error, ErrorKind, Result, Write};
use std::path::{Path, PathBuf};

/// Which build is the current one, and which one it replaced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// The one that answers.
    pub current: u64,
    /// The one that answered before, if it is kept.
    pub previous: Option<u64>,
}

/// What tells whether a file that was opened is still the current one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    word: Option<FileMark>,
    build: Option<FileMark>,
}

impl Mark {
    /// Whether there was a file. One that is removed while it is being opened has a mark without it, which stays the same.
    pub fn is_of_a_file(&self) -> bool {
        self.build.is_some()
    }
}

/// A file's identity. A replaced file has another number, or, where there are no numbers, another time.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FileMark {
    number: u64,
    created: Option<std::time::SystemTime>,
}

/// Held by who keeps a read model; the system lets go of it when the process ends.
#[derive(Debug)]
pub struct LeadLock(#[allow(dead_code)] File);

/// The builds of one version of a read model.
#[derive(Debug, Clone)]
pub struct Builds {
    folder: PathBuf,
    stem: String,
    extension: &'static str,
}

impl Builds {
    pub(crate) fn new(folder: PathBuf, stem: String, extension: &'static str) -> Self {
        Self { folder, stem, extension }
    }

    /// Where a build is: a file, or a folder if the store of read models makes it one.
    pub fn path_of(&self, build: u64) -> PathBuf {
        let (stem, extension) = (&self.stem, self.extension);
        match build {
            0 => self.folder.join(format!("{stem}.{extension}")),
            _ => self.folder.join(format!("{stem}.build-{build}.{extension}")),
        }
    }

    /// Where the word is about which build is the current one.
    fn word(&self) -> PathBuf {
        self.folder.join(format!("{}.current", self.stem))
    }

    /// Which build is the current one.
    ///
    /// # Errors
    /// When the word about it cannot be read or understood.
    pub fn standing(&self) -> Result<Standing> {
        let path = self.word();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Standing::default()),
            Err(error) => return Err(error),
        };
        parse(&text).ok_or_else(|| {
            let (path, found) = (path.display(), text.chars().take(40).collect::<String>());
            let expected = "expected the lines \"current <number>\" and perhaps \"previous <number>\"";
            let advice = "delete it to begin again with the first build, then rebuild the read model";
            Error::new(ErrorKind::InvalidData, format!("{path}: {expected}, found {found:?}: {advice}"))
        })
    }

    /// Says which build is the current one from now on: after a loss of power it is this one or the one before.
    ///
    /// # Errors
    /// When it cannot be written; then nothing has changed.
    pub fn put(&self, standing: Standing) -> Result<()> {
        let previous = standing.previous.map(|build| format!("previous {build}\n")).unwrap_or_default();
        let unfinished = self.folder.join(format!("{}.current.new", self.stem));
        let mut file = File::create(&unfinished)?;
        file.write_all(format!("current {}\n{previous}", standing.current).as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&unfinished, self.word())?;
        self.sync_folder()
    }

    /// Makes the names in the folder as durable as their files.
    ///
    /// # Errors
    /// When the system cannot.
    pub fn sync_folder(&self) -> Result<()> {
        if cfg!(unix) { File::open(&self.folder)?.sync_all() } else { Ok(()) }
    }

    /// The number of a build that does not exist yet.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn next(&self) -> Result<u64> {
        let known = self.on_disk()?.into_iter().map(|(build, _)| build).max().unwrap_or(0);
        let Standing { current, previous } = self.standing()?;
        Ok(known.max(current).max(previous.unwrap_or(0)) + 1)
    }

    /// The builds that are neither the current one nor the one before: what killed processes have left. Whoever removes
    /// them must be the one that keeps the read model.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn strays(&self) -> Result<Vec<PathBuf>> {
        let Standing { current, previous } = self.standing()?;
        let mut strays: Vec<u64> = self.on_disk()?.into_iter().map(|(build, _)| build).collect();
        strays.retain(|build| *build != current && Some(*build) != previous);
        strays.sort_unstable();
        strays.dedup();
        Ok(strays.into_iter().map(|build| self.path_of(build)).collect())
    }

    /// The builds of which there is a file, whatever stands behind its name.
    fn on_disk(&self) -> Result<Vec<(u64, PathBuf)>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let rest = name.to_str().and_then(|name| name.strip_prefix(&self.stem));
            let Some(rest) = rest.and_then(|rest| rest.strip_prefix('.')) else { continue };
            let number = match rest.strip_prefix("build-") {
                Some(rest) => rest.split_once('.').filter(|(_, rest)| rest.starts_with(self.extension)),
                None if rest.starts_with(self.extension) => Some(("0", rest)),
                None => None,
            };
            if let Some(build) = number.and_then(|(number, _)| number.parse().ok()) {
                found.push((build, entry.path()));
            }
        }
        Ok(found)
    }

    /// What to compare later, to know whether the file of `build` is still the current one.
    pub fn mark(&self, build: u64) -> Mark {
        Mark { word: file_mark(&self.word()), build: file_mark(&self.path_of(build)) }
    }

    /// Becomes the one that keeps the read model; `None` while another one does, in this process or in another.
    ///
    /// # Errors
    /// When the file to lock cannot be made.
    pub fn try_lead(&self) -> Result<Option<LeadLock>> {
        let path = self.folder.join(format!("{}.lock", self.stem));
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(LeadLock(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            // Some network disks cannot lock. Then the number of the lead keeps two from writing.
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {
                Ok(Some(LeadLock(file)))
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Keeps other processes from opening or swapping files of the folder, until what is returned is dropped.
    pub fn lock_folder(&self) -> Option<File> {
        // The folder and no file in it, so that nothing is left behind. Where a folder cannot be locked, as on Windows and
        // some network disks, only two processes that open a damaged file at the same moment are worse off.
        let folder = File::open(&self.folder).ok()?;
        folder.lock().ok().map(|()| folder)
    }

    /// Makes the folder again when somebody has removed it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make_folder(&self) -> Result<()> {
        std::fs::create_dir_all(&self.folder)
    }
}

fn parse(text: &str) -> Option<Standing> {
    let mut lines = text.lines();
    let current = lines.next()?.strip_prefix("current ")?.parse().ok()?;
    let previous = match lines.next() {
        Some(line) => Some(line.strip_prefix("previous ")?.parse().ok()?),
        None => None,
    };
    lines.next().is_none().then_some(Standing { current, previous })
}

fn file_mark(path: &Path) -> Option<FileMark> {
    let metadata = std::fs::metadata(path).ok()?;
    #[cfg(unix)]
    let number = std::os::unix::fs::MetadataExt::ino(&metadata);
    #[cfg(not(unix))]
    let number = 0;
    Some(FileMark { number, created: metadata.created().ok() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ModelFolder;

    fn builds() -> (ModelFolder, Builds) {
        let folder = ModelFolder::temporary().unwrap();
        let builds = folder.builds("sums", 1, "db").unwrap();
        (folder, builds)
    }

    #[test]
    fn the_word_tells_which_build_counts() {
        let (_folder, builds) = builds();
        assert_eq!((builds.standing().unwrap(), builds.next().unwrap()), (Standing::default(), 1));
        let standing = Standing { current: 4, previous: Some(0) };
        builds.put(standing).unwrap();
        assert_eq!((builds.standing().unwrap(), builds.next().unwrap()), (standing, 5));
        for bad in
            ["", "current", "current x\n", "current 1\nprevious\n", "current 1\nprevious 2\nmore\n", "\0"]
        {
            std::fs::write(builds.word(), bad).unwrap();
            let problem = builds.standing().unwrap_err().to_string();
            assert!(problem.contains("sums-v1.current: expected the lines"), "{problem}");
        }
        std::fs::write(builds.word(), [0xff, 0xfe]).unwrap();
        assert!(builds.standing().is_err());
    }

    #[test]
    fn what_was_left_behind_is_found() {
        let (folder, builds) = builds();
        builds.put(Standing { current: 4, previous: Some(2) }).unwrap();
        for name in [
            "sums-v1.db",
            "sums-v1.db-wal",
            "sums-v1.build-2.db",
            "sums-v1.build-4.db-wal",
            "sums-v1.build-7.db-shm",
            "sums-v1.build-x.db",
            "sums-v12.db",
            "sums-v1.other",
        ] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(builds.strays().unwrap(), [builds.path_of(0), builds.path_of(7)]);
        assert_eq!(builds.next().unwrap(), 8);
    }

    #[test]
    fn a_build_may_be_a_folder() {
        let (folder, builds) = builds();
        builds.put(Standing { current: 4, previous: None }).unwrap();
        for name in ["sums-v1.build-4.db", "sums-v1.build-7.db", "sums-v1.build-9.db.damaged-123"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        // What was set aside stays: its number is passed by, and nothing has its path.
        assert_eq!(builds.strays().unwrap(), [builds.path_of(7), builds.path_of(9)]);
        assert!(!builds.path_of(9).exists());
        assert_eq!(builds.next().unwrap(), 10);
        let mark = builds.mark(4);
        std::fs::write(builds.path_of(4).join("file"), "").unwrap();
        assert_eq!(builds.mark(4), mark, "what is in it is its own business");
        std::fs::rename(builds.path_of(4), builds.path_of(5)).unwrap();
        assert_ne!(builds.mark(4), mark);
        std::fs::create_dir(builds.path_of(4)).unwrap();
        assert_ne!(builds.mark(4), mark);
    }

    #[test]
    fn a_replaced_or_missing_file_has_another_mark() {
        let (_folder, builds) = builds();
        std::fs::write(builds.path_of(0), "a").unwrap();
        let mark = builds.mark(0);
        std::fs::write(builds.path_of(0), "written in place").unwrap();
        assert_eq!(builds.mark(0), mark);
        builds.put(Standing { current: 0, previous: None }).unwrap();
        let said = builds.mark(0);
        assert_ne!(said, mark);
        std::fs::remove_file(builds.path_of(0)).unwrap();
        assert_ne!(builds.mark(0), said);
        assert!(said.is_of_a_file() && !builds.mark(0).is_of_a_file());
    }

    #[test]
    fn one_leads_until_it_lets_go() {
        let (_folder, builds) = builds();
        let lead = builds.try_lead().unwrap().unwrap();
        assert!(builds.try_lead().unwrap().is_none());
        drop(lead);
        assert!(builds.try_lead().unwrap().is_some());
    }
}
