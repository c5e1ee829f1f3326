//! The places within the folder of a store.

use std::path::PathBuf;

use annals_core::Position;

pub(crate) const SEGMENT_SUFFIX: &str = ".segment";
/// Of the new form of a segment, until it takes the place of the old one.
pub(crate) const UNFINISHED_SEGMENT_EXTENSION: &str = "compacting";

#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub(crate) folder: PathBuf,
}

impl Places {
    pub(crate) fn segments(&self) -> PathBuf {
        self.folder.join("segments")
    }

    pub(crate) fn segment(&self, first_position: Position) -> PathBuf {
        self.segments().join(format!("{:020}{SEGMENT_SUFFIX}", first_position.get()))
    }

    /// The folder of the runs, all of which may be deleted while the log is closed.
    pub(crate) fn index(&self) -> PathBuf {
        self.folder.join("index")
    }

    pub(crate) fn mark(&self) -> PathBuf {
        self.folder.join("mark")
    }

    /// How far the writer has come, for readers in other processes.
    pub(crate) fn watermark(&self) -> PathBuf {
        self.folder.join("watermark")
    }

    pub(crate) fn quarantine(&self) -> PathBuf {
        self.folder.join("quarantine")
    }
}
