//! The segment that is being written.

use std::io;
use std::sync::Arc;

use crate::segments::Segment;
use crate::storage::StorageFile;

/// Segments are prewritten in steps that double up to this size.
const LARGEST_STEP_BYTES: u64 = 8 << 20;
/// Frames of this size pay for the file's growth themselves: writing everything twice would cost more than it saves.
const LARGE_FRAME_BYTES: u64 = 64 << 10;
/// The mean is over about so many frames.
const FRAMES_IN_MEAN: u64 = 8;

pub(crate) struct ActiveSegment {
    pub(crate) segment: Arc<Segment>,
    /// Where the next frame goes.
    pub(crate) end: u64,
    /// Up to here the file has blocks on disk, so that a barrier flushes data only.
    pub(crate) prewritten: u64,
    pub(crate) step: u64,
    /// How large frames have been of late.
    pub(crate) mean_frame_bytes: u64,
}

/// A call of the disk that failed.
pub(crate) enum Failed {
    /// It did nothing, or can be made again.
    Call(io::Error),
    /// The system may have dropped what was to be written and take it for written: trying again would prove nothing.
    Barrier(io::Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Call(error)
    }
}

impl Failed {
    pub(crate) fn error(self) -> io::Error {
        match self {
            Self::Call(error) | Self::Barrier(error) => error,
        }
    }

    /// What a barrier answered on bytes that are written anew before they are needed: a full disk is no reason to give up.
    pub(crate) fn of_barrier(answer: io::Result<()>) -> Result<(), Self> {
        answer.map_err(|error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::Call(io::ErrorKind::StorageFull.into())
            }
            _ => Self::Barrier(error),
        })
    }
}

impl ActiveSegment {
    pub(crate) fn file(&self) -> &dyn StorageFile {
        &*self.segment.file
    }

    /// Gives back the room that was prewritten and is not used.
    pub(crate) fn trim(&mut self) -> Result<(), Failed> {
        if self.prewritten > self.end {
            self.file().set_len(self.end)?;
            Failed::of_barrier(self.file().sync_data())?;
            self.prewritten = self.end;
        }
        Ok(())
    }

    /// Prewrites zeros so that `length` more bytes have blocks on disk.
    pub(crate) fn make_room(&mut self, length: u64) -> Result<(), Failed> {
        let needed = self.end + length;
        let mean = (self.mean_frame_bytes * (FRAMES_IN_MEAN - 1) + length) / FRAMES_IN_MEAN;
        self.mean_frame_bytes = mean;
        // One frame of twice the size goes without, however small those before it were: the mean takes some frames to rise.
        if needed <= self.prewritten || mean.max(length / 2) >= LARGE_FRAME_BYTES {
            return Ok(());
        }
        let step = (self.end + self.step).max(needed);
        // With little room left, take only what this frame needs.
        let result = self.prewrite(step).or_else(|failed| match failed {
            Failed::Call(_) => self.prewrite(needed),
            Failed::Barrier(_) => Err(failed),
        });
        if result.is_err() {
            let _ = self.file().set_len(self.prewritten);
            return result;
        }
        self.step = (self.step * 2).min(LARGEST_STEP_BYTES);
        Ok(())
    }

    fn prewrite(&mut self, upto: u64) -> Result<(), Failed> {
        let zeros = vec![0; (upto - self.prewritten).min(1 << 20) as usize];
        let mut at = self.prewritten;
        while at < upto {
            let count = zeros.len().min((upto - at) as usize);
            self.file().write_all_at(&zeros[..count], at)?;
            at += count as u64;
        }
        Failed::of_barrier(self.file().sync_data())?;
        self.prewritten = upto;
        Ok(())
    }
}
