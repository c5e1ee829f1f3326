//! The bytes of the log, as `docs/internals/log-format.md` describes them. Nothing here knows files.

mod frame;
mod mark;
mod record;
#[cfg(feature = "internals")]
mod repair;
mod segment;

pub(crate) use frame::{
    BuiltFrame, FRAME_HEADER_BYTES, FrameBuilder, FrameHeader, FrameStart, MAGIC as FRAME_MAGIC, frame_hash,
};
pub(crate) use mark::{MARK_FILE_BYTES, MARK_MAGIC, Mark, WATERMARK_MAGIC};
pub(crate) use record::{
    AppendHasher, FrameRecord, FrameRecords, Parts, Record, RemovedEvent, body_checksum, decode_record,
    record_length,
};
#[cfg(feature = "internals")]
pub(crate) use repair::repair_frame;
pub(crate) use segment::{SEGMENT_HEADER_BYTES, SegmentContent, SegmentHeader};

/// The version of the format that this code writes and reads.
pub(crate) const FORMAT_VERSION: u32 = 2;

/// The identity of a store. It is mixed into the checksums of headers, so that bytes of another store, or bytes that
/// somebody put into a payload, are not taken for part of this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoreId(pub(crate) [u8; 16]);

impl std::fmt::Display for StoreId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl StoreId {
    /// The checksum of a header of this store.
    pub(crate) fn checksum(self, header: &[u8]) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&self.0), header)
    }
}

/// Reads the fields of a fixed layout one after the other. A field beyond the end reads as zero: headers are checked
/// for their length and checksum first.
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut field = [0; N];
        if let Some((head, rest)) = self.0.split_first_chunk::<N>() {
            field = *head;
            self.0 = rest;
        }
        field
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    pub(crate) fn i64(&mut self) -> i64 {
        i64::from_le_bytes(self.take())
    }
}
