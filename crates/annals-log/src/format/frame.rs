//! A frame: the records of one group commit, under one header.

use annals_core::{Checkpoint, Position, Timestamp, Version};

use super::record::{
    BEGINS_APPEND, KIND_CHECKPOINT, KIND_EVENT, KIND_REMOVED, body_checksum, encode_checkpoint,
    record_checksum,
};
use super::{Fields, StoreId};
use crate::varint::put_varint;

pub(crate) const MAGIC: [u8; 4] = *b"AFRM";
pub(crate) const FRAME_HEADER_BYTES: usize = 112;
/// Separates the hashes of frames from any other use of BLAKE3.
const HASH_CONTEXT: &str = "annals log format 2, hash of a frame";

/// What the writer knows when it begins a frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FrameStart {
    pub(crate) first_position: Position,
    pub(crate) recorded_at: Timestamp,
    /// The last position known durable.
    pub(crate) durable_upto: Position,
    pub(crate) previous_hash: [u8; 32],
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct FrameHeader {
    pub(crate) start: FrameStart,
    /// The bytes of the records behind the header.
    pub(crate) length: u32,
    pub(crate) event_count: u32,
    pub(crate) record_count: u32,
    pub(super) records_checksum: u32,
    pub(crate) hash: [u8; 32],
}

impl FrameHeader {
    fn encode(&self, store: StoreId) -> [u8; FRAME_HEADER_BYTES] {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&self.length.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.event_count.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.start.first_position.get().to_le_bytes());
        bytes[24..32].copy_from_slice(&self.start.recorded_at.as_micros().to_le_bytes());
        bytes[32..40].copy_from_slice(&self.start.durable_upto.get().to_le_bytes());
        bytes[40..44].copy_from_slice(&self.records_checksum.to_le_bytes());
        bytes[44..48].copy_from_slice(&self.record_count.to_le_bytes());
        bytes[48..80].copy_from_slice(&self.start.previous_hash);
        bytes[80..112].copy_from_slice(&self.hash);
        let checksum = store.checksum(&bytes[8..]);
        bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads a header and checks that it is one of this store.
    pub(crate) fn decode(bytes: &[u8], store: StoreId) -> Result<Self, String> {
        let bytes: &[u8; FRAME_HEADER_BYTES] = bytes.first_chunk().ok_or_else(|| {
            format!("the frame header has {} bytes, expected {FRAME_HEADER_BYTES}", bytes.len())
        })?;
        if bytes[..4] != MAGIC {
            return Err("expected a frame, found other bytes".to_owned());
        }
        let mut fields = Fields::of(&bytes[4..]);
        let found = fields.u32();
        let expected = store.checksum(&bytes[8..]);
        if found != expected {
            return Err(format!("the checksum of the frame header is {found:08x}, expected {expected:08x}"));
        }
        let length = fields.u32();
        let event_count = fields.u32();
        let first_position = Position::new(fields.u64());
        let recorded_at = Timestamp::from_micros(fields.i64());
        let durable_upto = Position::new(fields.u64());
        let records_checksum = fields.u32();
        let record_count = fields.u32();
        let previous_hash = fields.take();
        let start = FrameStart { first_position, recorded_at, durable_upto, previous_hash };
        Ok(Self { start, length, event_count, record_count, records_checksum, hash: fields.take() })
    }

    /// How many bytes the whole frame takes.
    pub(crate) fn frame_bytes(&self) -> u64 {
        FRAME_HEADER_BYTES as u64 + u64::from(self.length)
    }
}

/// The hash of a frame from those of its appends.
pub(crate) fn frame_hash(start: &FrameStart, append_hashes: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(HASH_CONTEXT);
    hasher.update(&start.previous_hash);
    hasher.update(&start.first_position.get().to_le_bytes());
    hasher.update(&start.recorded_at.as_micros().to_le_bytes());
    hasher.update(append_hashes);
    *hasher.finalize().as_bytes()
}

/// A frame ready to be written.
pub(crate) struct BuiltFrame {
    pub(crate) bytes: Vec<u8>,
    pub(crate) hash: [u8; 32],
}

/// Lays records out one after the other, behind room for the header.
#[derive(Debug)]
pub(crate) struct FrameBuilder {
    bytes: Vec<u8>,
    /// Where each event's record begins, from the start of the frame.
    pub(crate) event_offsets: Vec<u32>,
    append_hashes: Vec<u8>,
    record_count: u32,
    records_checksum: u32,
    begins_append: bool,
}

impl FrameBuilder {
    /// An empty frame, in memory that was used for another before.
    pub(crate) fn reusing(mut bytes: Vec<u8>) -> Self {
        bytes.clear();
        bytes.resize(FRAME_HEADER_BYTES, 0);
        Self {
            bytes,
            event_offsets: Vec::new(),
            append_hashes: Vec::new(),
            record_count: 0,
            records_checksum: 0,
            begins_append: true,
        }
    }

    /// The next record is the first of its append.
    pub(crate) fn begin_append(&mut self) {
        self.begins_append = true;
    }

    /// How many bytes the frame has so far.
    pub(crate) fn length(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn push_event(&mut self, version: Version, position: Position, body: &[u8], checksum: u32) {
        self.event_offsets.push(self.bytes.len() as u32);
        self.put(KIND_EVENT, version, position, body, checksum);
    }

    /// What is left of an event whose content is removed.
    pub(crate) fn push_removed(&mut self, version: Version, position: Position, body: &[u8]) {
        self.event_offsets.push(self.bytes.len() as u32);
        self.put(KIND_REMOVED, version, position, body, body_checksum(body));
    }

    pub(crate) fn push_checkpoint(&mut self, checkpoint: &Checkpoint) {
        let body = encode_checkpoint(checkpoint);
        self.put(KIND_CHECKPOINT, Version::ZERO, Position::ZERO, &body, body_checksum(&body));
    }

    /// Ends an append with the hash over it.
    pub(crate) fn end_append(&mut self, hash: &[u8; 32]) {
        self.append_hashes.extend_from_slice(hash);
        self.begins_append = true;
    }

    fn put(&mut self, kind: u8, version: Version, position: Position, body: &[u8], checksum: u32) {
        let kind = if std::mem::take(&mut self.begins_append) { kind | BEGINS_APPEND } else { kind };
        let checksum = record_checksum(checksum, kind, version, position).to_le_bytes();
        self.bytes.extend_from_slice(&checksum);
        self.bytes.push(kind);
        put_varint(&mut self.bytes, version.get());
        put_varint(&mut self.bytes, body.len() as u64);
        self.bytes.extend_from_slice(body);
        self.record_count += 1;
        self.records_checksum = crc32c::crc32c_append(self.records_checksum, &checksum);
    }

    /// Ends the frame.
    pub(crate) fn finish(self, start: FrameStart, event_count: u32, store: StoreId) -> BuiltFrame {
        let hash = frame_hash(&start, &self.append_hashes);
        self.finish_with_hash(start, event_count, hash, store)
    }

    /// Ends a frame that keeps the hash that it had before some of its events were removed.
    pub(crate) fn finish_with_hash(
        self,
        start: FrameStart,
        event_count: u32,
        hash: [u8; 32],
        store: StoreId,
    ) -> BuiltFrame {
        let header = FrameHeader {
            start,
            length: (self.bytes.len() - FRAME_HEADER_BYTES) as u32,
            event_count,
            record_count: self.record_count,
            records_checksum: self.records_checksum,
            hash,
        };
        let mut bytes = self.bytes;
        bytes[..FRAME_HEADER_BYTES].copy_from_slice(&header.encode(store));
        BuiltFrame { bytes, hash }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{FrameRecords, Record};
    use annals_core::{EventType, NewEvent, StreamName, encode_body};
    use bytes::Bytes;
    use proptest::prelude::*;

    const STORE: StoreId = StoreId([7; 16]);

    fn frame(payloads: &[Vec<u8>]) -> (FrameStart, Bytes) {
        let start = FrameStart {
            first_position: Position::new(9),
            recorded_at: Timestamp::from_micros(5),
            durable_upto: Position::new(8),
            previous_hash: [1; 32],
        };
        let mut builder = FrameBuilder::reusing(Vec::new());
        for (n, payload) in (0..).zip(payloads) {
            let event = NewEvent::new(StreamName::new("a-1").unwrap(), EventType::new("B").unwrap())
                .json(payload.clone());
            let body = encode_body(&event);
            builder.push_event(Version::new(n + 1), Position::new(9 + n), &body, body_checksum(&body));
            builder.end_append(&[n as u8; 32]);
        }
        (start, builder.finish(start, payloads.len() as u32, STORE).bytes.into())
    }

    proptest! {
        #[test]
        fn a_frame_comes_back_and_no_flipped_bit_passes(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..4), bit in any::<prop::sample::Index>(),
        ) {
            let (start, bytes) = frame(&payloads);
            let header = FrameHeader::decode(&bytes, STORE).unwrap();
            prop_assert_eq!(header.frame_bytes(), bytes.len() as u64);
            prop_assert_eq!(header.start.first_position, start.first_position);
            let records: Result<Vec<_>, _> = FrameRecords::new(header, bytes.slice(FRAME_HEADER_BYTES..)).collect();
            let read: Vec<Vec<u8>> = records.unwrap().into_iter().map(|record| match record.record {
                Record::Event(event) => event.payload().to_vec(),
                _ => unreachable!(),
            }).collect();
            prop_assert_eq!(&read, &payloads);

            let bit = bit.index(bytes.len() * 8);
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let flipped = Bytes::from(flipped);
            let passes = FrameHeader::decode(&flipped, STORE).is_ok_and(|header| {
                FrameRecords::new(header, flipped.slice(FRAME_HEADER_BYTES..)).all(|record| record.is_ok())
            });
            prop_assert!(!passes, "bit {bit}");
        }

        #[test]
        fn no_bytes_make_decoding_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = FrameHeader::decode(&bytes, STORE);
            let (_, sound) = frame(&[vec![1]]);
            let header = FrameHeader::decode(&sound, STORE).unwrap();
            let _ = FrameRecords::new(header, bytes.into()).count();
        }
    }
}
