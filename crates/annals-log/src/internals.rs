//! What fuzz targets and micro-benchmarks need of the inside: frames alone, and checksums put right, so that what fuzz
//! targets make up gets beyond the checks of checksums. No part of the interface of this crate.

use annals_core::{Position, Timestamp, Version};
use bytes::Bytes;

use crate::format::{
    FRAME_HEADER_BYTES, FrameBuilder, FrameHeader, FrameRecords, FrameStart, MARK_MAGIC, Mark,
    SEGMENT_HEADER_BYTES, SegmentHeader, StoreId, body_checksum, decode_record, repair_frame,
};
use crate::run::repair_run;

/// Decodes bytes as headers, a frame, a record and a mark, as they are and with their checksums put right.
pub fn decode(bytes: &[u8], store: [u8; 16]) {
    let store = StoreId(store);
    let _ = SegmentHeader::decode(bytes, store);
    let _ = Mark::newest(bytes, MARK_MAGIC, store);
    let copy = Bytes::copy_from_slice(bytes);
    let _ = decode_record(&copy, 0, Position::new(1), Timestamp::from_micros(1));
    assert!(decode_frame(&copy, store) <= bytes.len());
    let mut repaired = bytes.to_vec();
    repair_frame(&mut repaired, store, Position::new(1), [0; 32]);
    assert!(decode_frame(&repaired.into(), store) <= bytes.len());
}

/// Decodes a frame and checks all of it; returns how many of its records are sound.
pub fn read_frame(bytes: &Bytes, store: [u8; 16]) -> usize {
    decode_frame(bytes, StoreId(store))
}

fn decode_frame(bytes: &Bytes, store: StoreId) -> usize {
    let Ok(header) = FrameHeader::decode(bytes, store) else { return 0 };
    let records = bytes.slice(FRAME_HEADER_BYTES.min(bytes.len())..);
    FrameRecords::new(header, records).take_while(Result::is_ok).count()
}

/// A frame of one append of these bodies, at the beginning of a log.
pub fn build_frame(bodies: &[Bytes], store: [u8; 16]) -> Vec<u8> {
    let mut frame = FrameBuilder::reusing(Vec::new());
    for (body, number) in bodies.iter().zip(1..) {
        frame.push_event(Version::new(number), Position::new(number), body, body_checksum(body));
    }
    frame.end_append(&[0; 32]);
    let start = FrameStart {
        first_position: Position::new(1),
        recorded_at: Timestamp::from_micros(1),
        durable_upto: Position::ZERO,
        previous_hash: [0; 32],
    };
    frame.finish(start, bodies.len() as u32, StoreId(store)).bytes
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

/// What the file `format` of a store says.
pub fn format_file(store: [u8; 16]) -> String {
    crate::folder::text(StoreId(store))
}

/// Puts the checksums of the file of a run right.
pub fn repair_index(bytes: &mut Vec<u8>, store: [u8; 16]) {
    repair_run(bytes, StoreId(store));
}
