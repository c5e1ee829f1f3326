//! A compressed segment, read as if it were not: its frames in blocks, each compressed by itself.
//!
//! ```text
//! segment header [128] · blocks · table (end of block u64 · checksum u32)* · footer
//! footer   length of the frames with the header u64 · number of blocks u32 · checksum of table and the 12 bytes before u32
//! ```

use std::io;
use std::sync::Arc;

use crate::format::{Fields, SEGMENT_HEADER_BYTES};
use crate::storage::StorageFile;
use crate::sync::Mutex;
use crate::ticket::lock;

/// So many bytes of frames are compressed at a time.
const BLOCK_BYTES: usize = 64 << 10;
const ROW_BYTES: u64 = 12;
const FOOTER_BYTES: u64 = 16;
/// Tighter than zstd's default, because a segment is compressed once and read for ever.
const LEVEL: i32 = 9;
/// So many blocks are kept as they were read last.
const KEPT_BLOCKS: usize = 4;

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the compressed segment is damaged: {what}"))
}

/// Where the block ends that holds the byte at `offset`.
pub(crate) fn end_of_block_at(offset: u64) -> u64 {
    let (header, block) = (SEGMENT_HEADER_BYTES as u64, BLOCK_BYTES as u64);
    offset.checked_sub(header).map_or(header, |within| header + (within / block + 1) * block)
}

/// Writes frames in compressed blocks.
pub(crate) struct BlockWriter {
    file: Arc<dyn StorageFile>,
    buffer: Vec<u8>,
    table: Vec<u8>,
    /// Where the next block goes.
    end: u64,
    /// How many bytes of frames, with the segment header, were taken.
    length: u64,
}

impl BlockWriter {
    /// Blocks behind a segment header, which is written by itself.
    pub(crate) fn new(file: Arc<dyn StorageFile>) -> Self {
        let end = SEGMENT_HEADER_BYTES as u64;
        Self { file, buffer: Vec::new(), table: Vec::new(), end, length: end }
    }

    pub(crate) fn write(&mut self, frames: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(frames);
        self.length += frames.len() as u64;
        while self.buffer.len() >= BLOCK_BYTES {
            self.end_block(BLOCK_BYTES)?;
        }
        Ok(())
    }

    fn end_block(&mut self, length: usize) -> io::Result<()> {
        let block = zstd::bulk::compress(self.buffer.get(..length).unwrap_or_default(), LEVEL)?;
        self.file.write_all_at(&block, self.end)?;
        self.end += block.len() as u64;
        self.table.extend_from_slice(&self.end.to_le_bytes());
        self.table.extend_from_slice(&crc32c::crc32c(&block).to_le_bytes());
        self.buffer.drain(..length);
        Ok(())
    }

    /// Writes the rest and the table.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.end_block(self.buffer.len())?;
        }
        let blocks = (self.table.len() as u64 / ROW_BYTES) as u32;
        let mut tail = self.table;
        tail.extend_from_slice(&self.length.to_le_bytes());
        tail.extend_from_slice(&blocks.to_le_bytes());
        let checksum = crc32c::crc32c(&tail);
        tail.extend_from_slice(&checksum.to_le_bytes());
        self.file.write_all_at(&tail, self.end)
    }
}

/// A block and its number.
type Block = (u64, Arc<Vec<u8>>);

/// A compressed segment file; offsets and length are those of the frames.
#[derive(Debug)]
pub(crate) struct BlockFile {
    file: Arc<dyn StorageFile>,
    length: u64,
    blocks: u64,
    /// Where the table begins.
    table: u64,
    kept: Mutex<Vec<Block>>,
}

impl BlockFile {
    pub(crate) fn open(file: Arc<dyn StorageFile>) -> io::Result<Arc<dyn StorageFile>> {
        let end = file.length()?;
        let mut footer = [0; FOOTER_BYTES as usize];
        let start = end.checked_sub(FOOTER_BYTES).ok_or_else(|| malformed("it is too short"))?;
        file.read_full_at(&mut footer, start)?;
        let mut fields = Fields::of(&footer);
        let (length, blocks, checksum) = (fields.u64(), u64::from(fields.u32()), fields.u32());
        let table = start
            .checked_sub(blocks * ROW_BYTES)
            .ok_or_else(|| malformed("its table goes before its begin"))?;
        let mut tail = vec![0; (end - table - 4) as usize];
        file.read_full_at(&mut tail, table)?;
        if crc32c::crc32c(&tail) != checksum {
            return Err(malformed("the checksum of its table is wrong"));
        }
        Ok(Arc::new(Self { file, length, blocks, table, kept: Mutex::default() }))
    }

    /// Where a block ends, and its checksum.
    fn row(&self, block: u64) -> io::Result<(u64, u32)> {
        let mut row = [0; ROW_BYTES as usize];
        self.file.read_full_at(&mut row, self.table + block * ROW_BYTES)?;
        let mut fields = Fields::of(&row);
        Ok((fields.u64(), fields.u32()))
    }

    fn block(&self, number: u64) -> io::Result<Arc<Vec<u8>>> {
        let mut kept = lock(&self.kept);
        if let Some(index) = kept.iter().position(|(known, _)| *known == number) {
            let found = kept.remove(index);
            kept.push((number, Arc::clone(&found.1)));
            return Ok(found.1);
        }
        drop(kept);
        let start = match number.checked_sub(1) {
            Some(before) => self.row(before)?.0,
            None => SEGMENT_HEADER_BYTES as u64,
        };
        let (end, checksum) = self.row(number)?;
        let length = end.checked_sub(start).filter(|_| end <= self.table);
        let mut compressed = vec![0; length.ok_or_else(|| malformed("a block is out of place"))? as usize];
        self.file.read_full_at(&mut compressed, start)?;
        if crc32c::crc32c(&compressed) != checksum {
            return Err(malformed("the checksum of a block is wrong"));
        }
        let block = zstd::bulk::decompress(&compressed, BLOCK_BYTES);
        let block = Arc::new(block.map_err(|_| malformed("a block cannot be decompressed"))?);
        let mut kept = lock(&self.kept);
        if kept.len() >= KEPT_BLOCKS {
            kept.remove(0);
        }
        kept.push((number, Arc::clone(&block)));
        Ok(block)
    }
}

impl StorageFile for BlockFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let header = SEGMENT_HEADER_BYTES as u64;
        if offset < header {
            let count = buffer.len().min((header - offset) as usize);
            return self.file.read_at(buffer.get_mut(..count).unwrap_or_default(), offset);
        }
        let number = (offset - header) / BLOCK_BYTES as u64;
        if number >= self.blocks {
            return Ok(0);
        }
        let block = self.block(number)?;
        let rest = block.get(((offset - header) % BLOCK_BYTES as u64) as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        Ok(count)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.length)
    }
}
