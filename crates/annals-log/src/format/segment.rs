//! The header of a segment file.

use annals_core::{Position, Timestamp};

use super::{FORMAT_VERSION, Fields, StoreId};

pub(crate) const SEGMENT_HEADER_BYTES: usize = 128;
const MAGIC: &[u8; 8] = b"ANNALSEG";
const CHECKSUM_AT: usize = SEGMENT_HEADER_BYTES - 4;

/// How the frames of a segment are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SegmentContent {
    /// One after the other.
    Frames = 0,
    /// In compressed blocks.
    Blocks = 1,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) store: StoreId,
    pub(crate) content: SegmentContent,
    pub(crate) first_position: Position,
    pub(crate) created_at: Timestamp,
    /// The chain's hash before the first frame.
    pub(crate) previous_hash: [u8; 32],
    /// How often the segment was compacted: an index of the form before does not fit it.
    pub(crate) generation: u32,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&(self.content as u32).to_le_bytes());
        bytes[16..32].copy_from_slice(&self.store.0);
        bytes[32..40].copy_from_slice(&self.first_position.get().to_le_bytes());
        bytes[40..48].copy_from_slice(&self.created_at.as_micros().to_le_bytes());
        bytes[48..80].copy_from_slice(&self.previous_hash);
        bytes[80..84].copy_from_slice(&self.generation.to_le_bytes());
        let checksum = self.store.checksum(&bytes[..CHECKSUM_AT]);
        bytes[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The store that a header is of, when it is whole, whatever else is wrong with it.
    pub(crate) fn store_of_whole(bytes: &[u8]) -> Option<StoreId> {
        let (content, checksum) = bytes.get(..SEGMENT_HEADER_BYTES)?.split_at_checked(CHECKSUM_AT)?;
        let store = StoreId(Fields::of(content.get(16..)?).take());
        let whole = content.starts_with(MAGIC) && Fields::of(checksum).u32() == store.checksum(content);
        whole.then_some(store)
    }

    pub(crate) fn decode(bytes: &[u8], store: StoreId) -> Result<Self, String> {
        if bytes.len() < SEGMENT_HEADER_BYTES {
            return Err(format!(
                "the segment header has {} bytes, expected {SEGMENT_HEADER_BYTES}",
                bytes.len()
            ));
        }
        if &bytes[..8] != MAGIC {
            return Err("the segment does not begin with ANNALSEG".to_owned());
        }
        let found = Fields::of(&bytes[CHECKSUM_AT..]).u32();
        let expected = store.checksum(&bytes[..CHECKSUM_AT]);
        if found != expected {
            return Err(format!(
                "the checksum of the segment header is {found:08x}, expected {expected:08x}"
            ));
        }
        let mut fields = Fields::of(&bytes[8..]);
        let version = fields.u32();
        if version != FORMAT_VERSION {
            return Err(format!("the segment is of format {version}, expected {FORMAT_VERSION}"));
        }
        let content = match fields.u32() {
            0 => SegmentContent::Frames,
            1 => SegmentContent::Blocks,
            other => return Err(format!("the segment holds content of the unknown kind {other}")),
        };
        Ok(Self {
            store: StoreId(fields.take()),
            content,
            first_position: Position::new(fields.u64()),
            created_at: Timestamp::from_micros(fields.i64()),
            previous_hash: fields.take(),
            generation: fields.u32(),
        })
    }
}
