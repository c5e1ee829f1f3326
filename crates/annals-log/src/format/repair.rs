//! Puts the checksums of a frame right, for the fuzz targets.

use annals_core::{Position, Version};

use super::frame::{FRAME_HEADER_BYTES, MAGIC};
use super::record::{BEGINS_APPEND, KIND_CHECKPOINT, body_checksum, record_checksum, record_place};
use super::{Fields, StoreId};

/// What a frame came to.
pub(crate) struct Repaired {
    /// The first position behind it.
    pub(crate) next: Position,
    pub(crate) hash: [u8; 32],
    pub(crate) bytes: usize,
}

/// Makes the bytes at the front a frame that begins at `first`, with as many of its records as can be made out; `None` when
/// there is none at all.
pub(crate) fn repair_frame(
    bytes: &mut [u8],
    store: StoreId,
    first: Position,
    previous_hash: [u8; 32],
) -> Option<Repaired> {
    let length = Fields::of(bytes.get(8..12)?).u32() as usize;
    let length = length.min(bytes.len().checked_sub(FRAME_HEADER_BYTES)?);
    let (header, rest) = bytes.split_at_mut_checked(FRAME_HEADER_BYTES)?;
    let records = rest.get_mut(..length)?;
    let (mut at, mut count, mut checksums, mut next) = (0, 0_u32, 0, first);
    while let Some(place) = record_place(records, at).filter(|place| place.body.end <= length) {
        let body = body_checksum(records.get(place.body.clone())?);
        let is_checkpoint = place.kind & !BEGINS_APPEND == KIND_CHECKPOINT;
        let position = if is_checkpoint { Position::ZERO } else { next };
        let checksum = record_checksum(body, place.kind, Version::new(place.version), position).to_le_bytes();
        records.get_mut(at..at + 4)?.copy_from_slice(&checksum);
        checksums = crc32c::crc32c_append(checksums, &checksum);
        count += 1;
        next = if is_checkpoint { next } else { next.next() };
        at = place.body.end;
    }
    let event_count = (next.get() - first.get()) as u32;
    header[..4].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&(at as u32).to_le_bytes());
    header[12..16].copy_from_slice(&event_count.to_le_bytes());
    header[16..24].copy_from_slice(&first.get().to_le_bytes());
    header[40..44].copy_from_slice(&checksums.to_le_bytes());
    header[44..48].copy_from_slice(&count.to_le_bytes());
    header[48..80].copy_from_slice(&previous_hash);
    let checksum = store.checksum(&header[8..]);
    header[4..8].copy_from_slice(&checksum.to_le_bytes());
    let hash = *header[80..].first_chunk::<32>()?;
    Some(Repaired { next, hash, bytes: FRAME_HEADER_BYTES + at })
}
