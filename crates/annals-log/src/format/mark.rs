//! The durable mark: what was known to be on disk when the writer last paused. Two slots are written in turn, so that
//! a torn write leaves the other. The watermark, by which readers in other processes follow the writer, has the same form.

use annals_core::Position;

use super::{Fields, StoreId};

/// The distance of the two slots: they never share a sector.
const SLOT_BYTES: usize = 4096;
pub(crate) const MARK_FILE_BYTES: usize = 2 * SLOT_BYTES;
pub(crate) const MARK_MAGIC: &[u8; 8] = b"ANNALMRK";
pub(crate) const WATERMARK_MAGIC: &[u8; 8] = b"ANNALWTR";
const USED_BYTES: usize = 80;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Counts the marks; the slot with the larger one holds.
    pub(crate) sequence: u64,
    /// The last position known durable.
    pub(crate) position: Position,
    /// The first position of the segment that holds it.
    pub(crate) segment: Position,
    /// Where its frame ends in that segment.
    pub(crate) end: u64,
    /// The chain's hash there.
    pub(crate) hash: [u8; 32],
}

impl Mark {
    /// The bytes of the mark and where in the file they belong.
    pub(crate) fn encode(&self, magic: &[u8; 8], store: StoreId) -> (u64, [u8; USED_BYTES]) {
        let mut bytes = [0; USED_BYTES];
        bytes[..8].copy_from_slice(magic);
        bytes[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.position.get().to_le_bytes());
        bytes[24..32].copy_from_slice(&self.segment.get().to_le_bytes());
        bytes[32..40].copy_from_slice(&self.end.to_le_bytes());
        bytes[40..72].copy_from_slice(&self.hash);
        let checksum = store.checksum(&bytes[..72]);
        bytes[72..76].copy_from_slice(&checksum.to_le_bytes());
        ((self.sequence % 2) * SLOT_BYTES as u64, bytes)
    }

    /// The newest mark in the bytes of a mark file, if any slot is sound.
    pub(crate) fn newest(file: &[u8], magic: &[u8; 8], store: StoreId) -> Option<Self> {
        file.chunks(SLOT_BYTES)
            .take(2)
            .filter_map(|slot| Self::decode(slot, magic, store))
            .max_by_key(|mark| mark.sequence)
    }

    fn decode(slot: &[u8], magic: &[u8; 8], store: StoreId) -> Option<Self> {
        let bytes = slot.get(..USED_BYTES)?;
        let sound = &bytes[..8] == magic && Fields::of(&bytes[72..]).u32() == store.checksum(&bytes[..72]);
        let mut fields = Fields::of(&bytes[8..]);
        sound.then(|| Self {
            sequence: fields.u64(),
            position: Position::new(fields.u64()),
            segment: Position::new(fields.u64()),
            end: fields.u64(),
            hash: fields.take(),
        })
    }
}
