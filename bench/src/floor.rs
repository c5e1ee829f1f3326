//! The hardware floor: what the disk and the processor give to one who does nothing but write or read.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::failure::{Failure, Result};
use crate::statistics::Latencies;

/// Writes go round in a file of this size.
const FILE_BYTES: u64 = 256 << 20;
const CHUNK_BYTES: usize = 1 << 20;

/// A file whose blocks are on disk already, so that a barrier flushes data only.
pub(crate) struct Prewritten {
    file: File,
    at: u64,
    /// What was written last.
    frame: Vec<u8>,
}

impl Prewritten {
    /// Makes the file.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let made = OpenOptions::new().read(true).write(true).create_new(true).open(path);
        let file =
            made.map_err(|error| Failure::from(format!("cannot create {}: {error}", path.display())))?;
        let chunk: Vec<u8> = (0..CHUNK_BYTES).map(|index| (index * 31 % 251) as u8).collect();
        for offset in (0..FILE_BYTES).step_by(CHUNK_BYTES) {
            file.write_all_at(&chunk, offset)?;
        }
        file.sync_all()?;
        Ok(Self { file, at: 0, frame: Vec::new() })
    }

    /// Writes frames of this size one after the other, each followed by a barrier, until `budget` is used up.
    /// Returns how long each took.
    pub(crate) fn write_frames(
        &mut self,
        frame_bytes: usize,
        budget: Duration,
    ) -> Result<(Latencies, Duration)> {
        let mut times = Latencies::default();
        let begun = Instant::now();
        while begun.elapsed() < budget {
            times.push(self.write_frame(frame_bytes)?);
        }
        Ok((times, begun.elapsed()))
    }

    /// Writes a frame of this size behind the last one, followed by a barrier, and tells how long that took.
    pub(crate) fn write_frame(&mut self, frame_bytes: usize) -> Result<Duration> {
        if self.frame.len() != frame_bytes {
            self.frame = vec![0x5a; frame_bytes];
        }
        if self.at + frame_bytes as u64 > FILE_BYTES {
            self.at = 0;
        }
        let begun = Instant::now();
        self.file.write_all_at(&self.frame, self.at)?;
        self.file.sync_data()?;
        let took = begun.elapsed();
        self.at += frame_bytes as u64;
        Ok(took)
    }

    /// Reads `bytes` from front to back, checksums them, and tells how long that took.
    pub(crate) fn read_checksummed(&self, bytes: u64) -> Result<Duration> {
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut checksum = 0;
        let mut left = bytes;
        let begun = Instant::now();
        while left > 0 {
            let count = left.min(CHUNK_BYTES as u64) as usize;
            let offset = (bytes - left) % (FILE_BYTES - CHUNK_BYTES as u64);
            self.file.read_exact_at(&mut chunk[..count], offset)?;
            checksum = crc32c::crc32c_append(checksum, &chunk[..count]);
            left -= count as u64;
        }
        std::hint::black_box(checksum);
        Ok(begun.elapsed())
    }
}
