//! Walks the frames of a segment file from the disk, trusting nothing.

use std::sync::Arc;

use annals_core::Position;
use bytes::Bytes;

use crate::blocks::end_of_block_at;
use crate::format::{FRAME_HEADER_BYTES, FRAME_MAGIC, FrameHeader, FrameRecord, FrameRecords, StoreId};
use crate::planted::{Mistakes, Planted};
use crate::storage::StorageFile;

const WINDOW_BYTES: usize = 1 << 20;
/// Neither the beginning of a frame nor the end of all frames.
const NO_FRAME: u8 = 0xff;

/// What stands at an offset of a segment file.
pub(crate) enum Found {
    /// A frame whose checksums hold.
    Frame(FrameHeader, Vec<FrameRecord>),
    /// Nothing: zeros, or the end of the file.
    End,
    /// Bytes that are no sound frame.
    Bad(String),
}

/// Reads a file in large steps.
pub(crate) struct Scanner {
    file: Arc<dyn StorageFile>,
    store: StoreId,
    length: u64,
    window: Bytes,
    window_start: u64,
    mistakes: Mistakes,
}

impl Scanner {
    pub(crate) fn new(file: Arc<dyn StorageFile>, store: StoreId) -> std::io::Result<Self> {
        let length = file.length()?;
        Ok(Self { file, store, length, window: Bytes::new(), window_start: 0, mistakes: Mistakes::default() })
    }

    /// The same, making a mistake.
    pub(crate) fn making(self, mistakes: Mistakes) -> Self {
        Self { mistakes, ..self }
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Up to `length` bytes from `offset`; fewer at the end of the file.
    pub(crate) fn bytes(&mut self, offset: u64, length: usize) -> std::io::Result<Bytes> {
        let inside = offset.checked_sub(self.window_start).map(|start| start as usize);
        if let Some(start) = inside.filter(|start| start + length <= self.window.len()) {
            return Ok(self.window.slice(start..start + length));
        }
        let rest = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut buffer = vec![0; rest.min(length.max(WINDOW_BYTES))];
        let count = self.read(&mut buffer, offset)?;
        buffer.truncate(count);
        self.window = buffer.into();
        self.window_start = offset;
        Ok(self.window.slice(..length.min(self.window.len())))
    }

    /// Fills the buffer as far as the file goes. What stood in a damaged block counts as bytes that are no frame, so that
    /// what is behind it can be found.
    fn read(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            let (at, rest) = (offset + done as u64, buffer.get_mut(done..).unwrap_or_default());
            match self.file.read_at(rest, at) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                    let end = end_of_block_at(at).min(self.length);
                    let count = rest.len().min(end.saturating_sub(at) as usize);
                    if count == 0 {
                        break;
                    }
                    rest.get_mut(..count).unwrap_or_default().fill(NO_FRAME);
                    done += count;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// What stands at `offset`.
    pub(crate) fn frame_at(&mut self, offset: u64) -> std::io::Result<Found> {
        let header = self.bytes(offset, FRAME_HEADER_BYTES)?;
        if header.iter().all(|byte| *byte == 0) {
            return Ok(Found::End);
        }
        let header = match FrameHeader::decode(&header, self.store) {
            Ok(header) => header,
            Err(reason) => return Ok(Found::Bad(reason)),
        };
        // The header passed its checksum, but its length is used only as far as the file goes.
        let start = offset + FRAME_HEADER_BYTES as u64;
        if start + u64::from(header.length) > self.length {
            return Ok(Found::Bad("the frame goes beyond the end of the file".to_owned()));
        }
        let records = self.bytes(start, header.length as usize)?;
        if self.mistakes.make(Planted::KeepPartOfBatch) {
            let whole = FrameRecords::new(header, records).map_while(Result::ok);
            return Ok(Found::Frame(header, whole.collect()));
        }
        let collect = || FrameRecords::new(header, records).collect();
        let records: Result<Vec<FrameRecord>, String> =
            self.mistakes.unchecked_if(Planted::TrustFrameHeader, collect);
        Ok(match records {
            Ok(records) => Found::Frame(header, records),
            Err(reason) => Found::Bad(reason),
        })
    }

    /// The offset and header of the first frame header of this store at or after `offset`.
    pub(crate) fn next_header(&mut self, mut offset: u64) -> std::io::Result<Option<(u64, FrameHeader)>> {
        while offset < self.length {
            // What is left of the window first: behind each of many headers it would be read again as a whole.
            let left = (self.window_start + self.window.len() as u64).saturating_sub(offset) as usize;
            let inside = offset >= self.window_start && left >= FRAME_HEADER_BYTES;
            let chunk = self.bytes(offset, if inside { left } else { WINDOW_BYTES })?;
            for (at, _) in
                chunk.windows(FRAME_MAGIC.len()).enumerate().filter(|(_, four)| *four == FRAME_MAGIC)
            {
                let candidate = offset + at as u64;
                let mut header = vec![0; FRAME_HEADER_BYTES];
                let count = self.read(&mut header, candidate)?;
                if let Ok(header) = FrameHeader::decode(&header[..count], self.store) {
                    return Ok(Some((candidate, header)));
                }
            }
            // A magic number may straddle two chunks.
            offset += (chunk.len().saturating_sub(FRAME_MAGIC.len() - 1)).max(1) as u64;
        }
        Ok(None)
    }

    /// Where the last byte that is not zero ends, looking from `offset` on; `offset` itself when all are zero.
    pub(crate) fn end_of_content(&mut self, offset: u64) -> std::io::Result<u64> {
        let (mut at, mut end) = (offset, offset);
        while at < self.length {
            let chunk = self.bytes(at, WINDOW_BYTES)?;
            if let Some(last) = chunk.iter().rposition(|byte| *byte != 0) {
                end = at + last as u64 + 1;
            }
            at += chunk.len().max(1) as u64;
        }
        Ok(end)
    }
}

/// Whether a header that stands behind the place of the event at `position` proves that what had been there was durable.
///
/// A payload may hold frames of the same store, but only such as were durable before: they end before that position.
pub(crate) fn proves_durable(header: &FrameHeader, position: Position) -> bool {
    let start = &header.start;
    start.durable_upto >= position || (header.event_count > 0 && start.first_position >= position)
}
