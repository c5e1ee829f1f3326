//! What the fuzz targets need of the inside: decoding alone, and checksums put right, so that what they make up gets
//! beyond the checks of checksums. No part of the interface of this crate.

use annals_core::{Position, Timestamp};
use bytes::Bytes;

use crate::format::{
    FRAME_HEADER_BYTES, FrameHeader, FrameRecords, MARK_MAGIC, Mark, SEGMENT_HEADER_BYTES, SegmentHeader,
    StoreId, decode_record, repair_frame,
};
use crate::run::repair_run;

/// Decodes bytes as headers, a frame, a record and a mark, as they are and with their checksums put right.
pub fn decode(bytes: &[u8], store: [u8; 16]) {
    let store = StoreId(store);
    let _ = SegmentHeader::decode(bytes, store);
    let _ = Mark::newest(bytes, MARK_MAGIC, store);
    let copy = Bytes::copy_from_slice(bytes);
    let _ = decode_record(&copy, 0, Position::new(1), Timestamp::from_micros(1));
    decode_frame(&copy, store);
    let mut repaired = bytes.to_vec();
    repair_frame(&mut repaired, store, Position::new(1), [0; 32]);
    decode_frame(&repaired.into(), store);
}

fn decode_frame(bytes: &Bytes, store: StoreId) {
    if let Ok(header) = FrameHeader::decode(bytes, store) {
        let records = bytes.slice(FRAME_HEADER_BYTES.min(bytes.len())..);
        let count = FrameRecords::new(header, records).take_while(Result::is_ok).count();
        assert!(count <= bytes.len());
    }
}

/// Puts the header of a segment in its place, and the checksums and the chain of the frames behind it right, as far as
/// they can be made out.
pub fn repair_segment(bytes: &mut Vec<u8>, store: [u8; 16]) {
    let store = StoreId(store);
    bytes.resize(bytes.len().max(SEGMENT_HEADER_BYTES), 0);
    let header = SegmentHeader {
        store,
        content: crate::format::SegmentContent::Frames,
        first_position: Position::new(1),
        created_at: Timestamp::from_micros(0),
        previous_hash: [0; 32],
        generation: 0,
    };
    bytes[..SEGMENT_HEADER_BYTES].copy_from_slice(&header.encode());
    let (mut at, mut position, mut hash) = (SEGMENT_HEADER_BYTES, Position::new(1), [0; 32]);
    while let Some(frame) = bytes.get_mut(at..).filter(|rest| rest.len() > FRAME_HEADER_BYTES) {
        let Some(repaired) = repair_frame(frame, store, position, hash) else { return };
        (position, hash) = (repaired.next, repaired.hash);
        at += repaired.bytes;
    }
}

/// Puts the checksums of the file of a run right.
pub fn repair_index(bytes: &mut Vec<u8>, store: [u8; 16]) {
    repair_run(bytes, StoreId(store));
}
