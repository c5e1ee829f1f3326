//! A frame: the records of one group commit, under one header.

use annals_core::catalog::StagedAppend;
use annals_core::{Checkpoint, ConsumerName, Position, RecordedEvent, Timestamp, Version};
use bytes::Bytes;

use super::{Fields, StoreId};

pub(crate) const MAGIC: [u8; 4] = *b"AFRM";
pub(crate) const FRAME_HEADER_BYTES: usize = 112;
/// Separates the hashes of frames from any other use of BLAKE3.
const HASH_CONTEXT: &str = "annals log format 1, hash of a frame";

/// An event that goes on with its append.
const KIND_EVENT: u8 = 0;
/// The first event of an append.
const KIND_FIRST_EVENT: u8 = 1;
/// A consumer's checkpoint.
const KIND_CHECKPOINT: u8 = 2;

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
    records_checksum: u32,
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
}

/// A frame ready to be written.
pub(crate) struct BuiltFrame {
    pub(crate) bytes: Vec<u8>,
    /// Where each event's record begins, from the start of the frame.
    pub(crate) event_offsets: Vec<u32>,
    pub(crate) hash: [u8; 32],
}

/// Lays the accepted appends of a group out as one frame.
pub(crate) fn build_frame(start: FrameStart, appends: &[StagedAppend], store: StoreId) -> BuiltFrame {
    let body_bytes: usize =
        appends.iter().flat_map(|append| &append.events).map(|event| event.body().len()).sum();
    let mut writer = RecordWriter::new(body_bytes);
    let mut hasher = frame_hasher(&start);
    for append in appends {
        for (index, (event, digest)) in append.events.iter().zip(&append.digests).enumerate() {
            let kind = if index == 0 { KIND_FIRST_EVENT } else { KIND_EVENT };
            hash_event(&mut hasher, kind, event, digest);
            writer.event_offsets.push(writer.bytes.len() as u32);
            writer.put(kind, event.version(), event.position(), event.body());
        }
        if let Some(checkpoint) = &append.checkpoint {
            let body = encode_checkpoint(checkpoint);
            hash_checkpoint(&mut hasher, &body);
            writer.put(KIND_CHECKPOINT, Version::ZERO, Position::ZERO, &body);
        }
    }
    let hash = *hasher.finalize().as_bytes();
    let header = FrameHeader {
        start,
        length: (writer.bytes.len() - FRAME_HEADER_BYTES) as u32,
        event_count: writer.event_offsets.len() as u32,
        record_count: writer.record_count,
        records_checksum: writer.records_checksum,
        hash,
    };
    let mut bytes = writer.bytes;
    bytes[..FRAME_HEADER_BYTES].copy_from_slice(&header.encode(store));
    BuiltFrame { bytes, event_offsets: writer.event_offsets, hash }
}

/// Lays records out one after the other, behind room for the header.
struct RecordWriter {
    bytes: Vec<u8>,
    event_offsets: Vec<u32>,
    record_count: u32,
    records_checksum: u32,
}

impl RecordWriter {
    fn new(body_bytes: usize) -> Self {
        let mut bytes = Vec::with_capacity(FRAME_HEADER_BYTES + body_bytes + body_bytes / 8 + 64);
        bytes.resize(FRAME_HEADER_BYTES, 0);
        Self { bytes, event_offsets: Vec::new(), record_count: 0, records_checksum: 0 }
    }

    fn put(&mut self, kind: u8, version: Version, position: Position, body: &[u8]) {
        let checksum = record_checksum(kind, version, position, body).to_le_bytes();
        self.bytes.extend_from_slice(&checksum);
        self.bytes.push(kind);
        put_varint(&mut self.bytes, version.get());
        put_varint(&mut self.bytes, body.len() as u64);
        self.bytes.extend_from_slice(body);
        self.record_count += 1;
        self.records_checksum = crc32c::crc32c_append(self.records_checksum, &checksum);
    }
}

/// The position is covered but not stored: a record read in the wrong place does not pass.
fn record_checksum(kind: u8, version: Version, position: Position, body: &[u8]) -> u32 {
    let mut place = [0; 17];
    place[0] = kind;
    place[1..9].copy_from_slice(&version.get().to_le_bytes());
    place[9..].copy_from_slice(&position.get().to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(body), &place)
}

fn frame_hasher(start: &FrameStart) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new_derive_key(HASH_CONTEXT);
    hasher.update(&start.previous_hash);
    hasher.update(&start.first_position.get().to_le_bytes());
    hasher.update(&start.recorded_at.as_micros().to_le_bytes());
    hasher
}

fn hash_event(hasher: &mut blake3::Hasher, kind: u8, event: &RecordedEvent, digest: &[u8; 32]) {
    hasher.update(&[kind]).update(&event.version().get().to_le_bytes());
    hasher.update(event.head()).update(digest);
}

fn hash_checkpoint(hasher: &mut blake3::Hasher, body: &[u8]) {
    hasher.update(&[KIND_CHECKPOINT]).update(&(body.len() as u64).to_le_bytes()).update(body);
}

fn encode_checkpoint(checkpoint: &Checkpoint) -> Vec<u8> {
    let mut body = checkpoint.position.get().to_le_bytes().to_vec();
    body.extend_from_slice(checkpoint.consumer.as_str().as_bytes());
    body
}

fn decode_checkpoint(body: &[u8]) -> Option<Checkpoint> {
    let (position, consumer) = body.split_first_chunk::<8>()?;
    let consumer = ConsumerName::new(std::str::from_utf8(consumer).ok()?).ok()?;
    Some(Checkpoint { consumer, position: Position::new(u64::from_le_bytes(*position)) })
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// A number in LEB128, and how many bytes it took.
fn read_varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut number = 0_u64;
    for (index, byte) in bytes.iter().take(10).enumerate() {
        number |= u64::from(byte & 0x7f).checked_shl(7 * index as u32)?;
        if byte & 0x80 == 0 {
            return Some((number, index + 1));
        }
    }
    None
}

/// A frame whose checksums hold.
pub(crate) struct Frame {
    pub(crate) header: FrameHeader,
    /// The events of each append, in order.
    pub(crate) appends: Vec<Vec<RecordedEvent>>,
    pub(crate) checkpoints: Vec<Checkpoint>,
    /// Where each event's record begins, from the start of the frame.
    pub(crate) event_offsets: Vec<u32>,
}

impl Frame {
    /// Computes the frame's hash from its events, as the writer did.
    pub(crate) fn computed_hash(&self, records: &Bytes) -> Result<[u8; 32], String> {
        let mut hasher = frame_hasher(&self.header.start);
        let mut at = 0;
        let mut position = self.header.start.first_position;
        while at < records.len() {
            let record = Record::split(records, at)?;
            let body = records.slice(record.body.clone());
            if record.kind == KIND_CHECKPOINT {
                hash_checkpoint(&mut hasher, &body);
            } else {
                let event = record.view(position, self.header.start.recorded_at, body)?;
                hash_event(&mut hasher, record.kind, &event, &event.content_digest());
                position = position.next();
            }
            at = record.body.end;
        }
        Ok(*hasher.finalize().as_bytes())
    }
}

/// Checks the records behind a header and takes them apart. The events share `records`.
pub(crate) fn decode_frame(header: FrameHeader, records: &Bytes) -> Result<Frame, String> {
    let mut frame = Frame { header, appends: Vec::new(), checkpoints: Vec::new(), event_offsets: Vec::new() };
    let mut at = 0;
    let mut position = header.start.first_position;
    let mut checksums = 0;
    let mut count = 0;
    while at < records.len() {
        let record = Record::split(records, at)?;
        checksums = crc32c::crc32c_append(checksums, &record.checksum.to_le_bytes());
        count += 1;
        let body = records.slice(record.body.clone());
        if record.kind == KIND_CHECKPOINT {
            record.check(Position::ZERO, &body)?;
            frame.checkpoints.push(decode_checkpoint(&body).ok_or("a checkpoint record is malformed")?);
        } else {
            record.check(position, &body)?;
            frame.event_offsets.push((FRAME_HEADER_BYTES + at) as u32);
            let event = record.view(position, header.start.recorded_at, body)?;
            match frame.appends.last_mut().filter(|_| record.kind == KIND_EVENT) {
                Some(append) => append.push(event),
                None => frame.appends.push(vec![event]),
            }
            position = position.next();
        }
        at = record.body.end;
    }
    let events = frame.event_offsets.len() as u32;
    if (count, events) != (header.record_count, header.event_count) || checksums != header.records_checksum {
        return Err(format!(
            "the frame holds {count} records and {events} events, expected {} and {} with other checksums",
            header.record_count, header.event_count
        ));
    }
    Ok(frame)
}

/// Reads the event record that begins at `at` of `bytes`, checking it alone.
pub(crate) fn decode_record(
    bytes: &Bytes,
    at: usize,
    position: Position,
    recorded_at: Timestamp,
) -> Result<RecordedEvent, String> {
    let record = Record::split(bytes, at)?;
    let body = bytes.slice(record.body.clone());
    record.check(position, &body)?;
    record.view(position, recorded_at, body)
}

/// The parts of a record: `checksum u32 · kind u8 · version varint · length varint · body`.
struct Record {
    checksum: u32,
    kind: u8,
    version: Version,
    body: std::ops::Range<usize>,
}

impl Record {
    fn split(bytes: &[u8], at: usize) -> Result<Self, String> {
        let short = || format!("a record at byte {at} of its frame goes beyond the end");
        let rest = bytes.get(at..).ok_or_else(short)?;
        let (checksum, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        let (kind, rest) = rest.split_first().ok_or_else(short)?;
        if *kind > KIND_CHECKPOINT {
            return Err(format!("a record at byte {at} of its frame is of the unknown kind {kind}"));
        }
        let (version, version_bytes) = read_varint(rest).ok_or_else(short)?;
        let (length, length_bytes) =
            read_varint(rest.get(version_bytes..).unwrap_or_default()).ok_or_else(short)?;
        let start = at + 5 + version_bytes + length_bytes;
        let end = usize::try_from(length).ok().and_then(|length| start.checked_add(length));
        let end = end.filter(|end| *end <= bytes.len()).ok_or_else(short)?;
        Ok(Self {
            checksum: u32::from_le_bytes(*checksum),
            kind: *kind,
            version: Version::new(version),
            body: start..end,
        })
    }

    fn check(&self, position: Position, body: &[u8]) -> Result<(), String> {
        let expected = record_checksum(self.kind, self.version, position, body);
        if self.checksum == expected {
            return Ok(());
        }
        Err(format!("the checksum of the record is {:08x}, expected {expected:08x}", self.checksum))
    }

    fn view(&self, position: Position, recorded_at: Timestamp, body: Bytes) -> Result<RecordedEvent, String> {
        RecordedEvent::view(position, self.version, recorded_at, body).map_err(|error| error.to_string())
    }
}
