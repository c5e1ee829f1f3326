//! A record of a frame: an event, what is left of a removed event, or a consumer's checkpoint.

use annals_core::append_rules::PreparedAppend;
use annals_core::{
    Checkpoint, ConsumerName, EventId, Position, RecordedEvent, StreamName, Timestamp, Version,
};
use bytes::Bytes;

use super::frame::{FRAME_HEADER_BYTES, FrameHeader};
use crate::planted::reads_unchecked;
use crate::varint::read_varint;

/// An event that goes on with its append.
pub(super) const KIND_EVENT: u8 = 0;
/// A consumer's checkpoint that goes on with its append.
pub(super) const KIND_CHECKPOINT: u8 = 1;
/// What is left of a removed event that goes on with its append.
pub(super) const KIND_REMOVED: u8 = 2;
/// The record is the first of its append.
pub(super) const BEGINS_APPEND: u8 = 4;
/// Begins what an append's hash covers of a checkpoint; no event begins like that.
const CHECKPOINT_IN_HASH: u8 = 0x80;

/// The checksum of a body alone, computed before its place is known.
pub(crate) fn body_checksum(body: &[u8]) -> u32 {
    crc32c::crc32c(body)
}

/// The checksum of a record. The position is covered but not stored: a record read in the wrong place does not pass.
pub(super) fn record_checksum(body: u32, kind: u8, version: Version, position: Position) -> u32 {
    let mut place = [0; 17];
    place[0] = kind;
    place[1..9].copy_from_slice(&version.get().to_le_bytes());
    place[9..].copy_from_slice(&position.get().to_le_bytes());
    crc32c::crc32c_append(body, &place)
}

pub(super) fn encode_checkpoint(checkpoint: &Checkpoint) -> Vec<u8> {
    let mut body = checkpoint.position.get().to_le_bytes().to_vec();
    body.extend_from_slice(checkpoint.consumer.as_str().as_bytes());
    body
}

fn decode_checkpoint(body: &[u8]) -> Option<Checkpoint> {
    let (position, consumer) = body.split_first_chunk::<8>()?;
    let consumer = ConsumerName::new(std::str::from_utf8(consumer).ok()?).ok()?;
    Some(Checkpoint { consumer, position: Position::new(u64::from_le_bytes(*position)) })
}

/// The hash over an append: of each event its head and the digest of its content, so that it can still be computed
/// when the content is removed.
#[derive(Debug, Default)]
pub(crate) struct AppendHasher {
    covered: Vec<u8>,
}

impl AppendHasher {
    pub(crate) fn add_event(&mut self, head: &[u8], digest: &[u8; 32]) {
        self.covered.extend_from_slice(head);
        self.covered.extend_from_slice(digest);
    }

    pub(crate) fn add_checkpoint(&mut self, checkpoint: &Checkpoint) {
        self.covered.push(CHECKPOINT_IN_HASH);
        self.covered.extend_from_slice(&encode_checkpoint(checkpoint));
    }

    /// The hash; the next append begins.
    pub(crate) fn finish(&mut self) -> [u8; 32] {
        let hash = blake3::hash(&self.covered);
        self.covered.clear();
        *hash.as_bytes()
    }

    pub(crate) fn of(append: &PreparedAppend) -> [u8; 32] {
        let mut hasher = Self { covered: Vec::with_capacity(append.events.len() * 64) };
        append.events.iter().for_each(|event| hasher.add_event(event.head(), &event.digest));
        append.checkpoint.iter().for_each(|checkpoint| hasher.add_checkpoint(checkpoint));
        hasher.finish()
    }
}

/// What is left of an event whose content was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RemovedEvent {
    pub(crate) position: Position,
    pub(crate) version: Version,
    pub(crate) id: EventId,
    pub(crate) head: Bytes,
    pub(crate) digest: [u8; 32],
    pub(crate) stream: StreamName,
}

impl RemovedEvent {
    /// What is kept of an event: digest, stream, head.
    pub(crate) fn of(event: &RecordedEvent) -> Self {
        Self {
            position: event.position(),
            version: event.version(),
            id: event.id(),
            head: Bytes::copy_from_slice(event.head()),
            digest: event.content_digest(),
            stream: event.stream_name(),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let stream = self.stream.as_str();
        let mut body = self.digest.to_vec();
        body.push(stream.len() as u8);
        body.extend_from_slice(stream.as_bytes());
        body.extend_from_slice(&self.head);
        body
    }

    fn decode(position: Position, version: Version, body: &Bytes) -> Option<Self> {
        let (digest, rest) = body.split_first_chunk::<32>()?;
        let (length, rest) = rest.split_first()?;
        let (stream, head) = rest.split_at_checked(usize::from(*length))?;
        let stream = StreamName::new(std::str::from_utf8(stream).ok()?).ok()?;
        let id = EventId::from_bytes(*head.get(1..)?.first_chunk::<16>()?);
        let head = body.slice(body.len() - head.len()..);
        Some(Self { position, version, id, head, digest: *digest, stream })
    }
}

/// What a record says.
#[derive(Debug, Clone)]
pub(crate) enum Record {
    Event(RecordedEvent),
    Removed(RemovedEvent),
    Checkpoint(Checkpoint),
}

/// A record in its frame.
#[derive(Debug, Clone)]
pub(crate) struct FrameRecord {
    /// Where it begins, from the start of the frame.
    pub(crate) offset: u32,
    pub(crate) begins_append: bool,
    pub(crate) record: Record,
}

/// A record taken apart: `checksum u32 · kind u8 · version varint · length varint · body`.
pub(crate) struct Parts {
    checksum: u32,
    kind: u8,
    version: Version,
    body: std::ops::Range<usize>,
}

/// The largest head of a record: checksum, kind, version, length.
const LARGEST_HEAD_BYTES: usize = 4 + 1 + 10 + 5;

impl Parts {
    /// Takes a record apart that begins at `at`; its body may go beyond the end of `bytes`.
    #[inline]
    pub(crate) fn split(bytes: &[u8], at: usize) -> Result<Self, String> {
        let short = || format!("a record at byte {at} of its frame goes beyond the end");
        let rest = bytes.get(at..).ok_or_else(short)?;
        let (checksum, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        let (kind, rest) = rest.split_first().ok_or_else(short)?;
        if kind & !BEGINS_APPEND > KIND_REMOVED {
            return Err(format!("a record at byte {at} of its frame is of the unknown kind {kind}"));
        }
        let (version, version_bytes) = read_varint(rest).ok_or_else(short)?;
        let (length, length_bytes) =
            read_varint(rest.get(version_bytes..).unwrap_or_default()).ok_or_else(short)?;
        let start = at + 5 + version_bytes + length_bytes;
        let end =
            usize::try_from(length).ok().and_then(|length| start.checked_add(length)).ok_or_else(short)?;
        Ok(Self {
            checksum: u32::from_le_bytes(*checksum),
            kind: *kind,
            version: Version::new(version),
            body: start..end,
        })
    }

    /// Where it ends.
    pub(crate) fn end(&self) -> usize {
        self.body.end
    }

    fn kind(&self) -> u8 {
        self.kind & !BEGINS_APPEND
    }

    pub(crate) fn is_event(&self) -> bool {
        self.kind() == KIND_EVENT
    }

    /// The body, once its checksum holds.
    #[inline]
    fn checked_body(&self, bytes: &Bytes, place: Position) -> Result<Bytes, String> {
        let position = if self.kind() == KIND_CHECKPOINT { Position::ZERO } else { place };
        let body = bytes.get(self.body.clone()).ok_or("a record goes beyond the end of its frame")?;
        let expected = record_checksum(body_checksum(body), self.kind, self.version, position);
        if self.checksum != expected && !reads_unchecked() {
            return Err(format!(
                "the checksum of the record of position {place} is {:08x}, expected {expected:08x}",
                self.checksum
            ));
        }
        Ok(bytes.slice(self.body.clone()))
    }

    /// The event that it is, for who knows that it is one.
    #[inline]
    pub(crate) fn open_event(
        &self,
        bytes: &Bytes,
        place: Position,
        recorded_at: Timestamp,
    ) -> Result<RecordedEvent, String> {
        let body = self.checked_body(bytes, place)?;
        RecordedEvent::view(place, self.version, recorded_at, body).map_err(|error| error.to_string())
    }

    pub(crate) fn open(
        &self,
        bytes: &Bytes,
        place: Position,
        recorded_at: Timestamp,
    ) -> Result<Record, String> {
        if self.is_event() {
            return self.open_event(bytes, place, recorded_at).map(Record::Event);
        }
        let body = self.checked_body(bytes, place)?;
        match self.kind() {
            KIND_CHECKPOINT => decode_checkpoint(&body)
                .map(Record::Checkpoint)
                .ok_or("a checkpoint record is malformed".into()),
            _ => RemovedEvent::decode(place, self.version, &body)
                .map(Record::Removed)
                .ok_or("the record of a removed event is malformed".into()),
        }
    }
}

/// How many bytes the record takes that begins `bytes`; `None` when its head is not whole there.
pub(crate) fn record_length(bytes: &[u8]) -> Option<usize> {
    let head = bytes.get(..LARGEST_HEAD_BYTES.min(bytes.len()))?;
    Parts::split(head, 0).ok().map(|parts| parts.body.end)
}

/// Where a record is.
#[cfg(feature = "internals")]
pub(super) struct RecordPlace {
    pub(super) kind: u8,
    pub(super) version: u64,
    pub(super) body: std::ops::Range<usize>,
}

/// Where the record that begins at `at` is.
#[cfg(feature = "internals")]
pub(super) fn record_place(bytes: &[u8], at: usize) -> Option<RecordPlace> {
    let Parts { kind, version, body, .. } = Parts::split(bytes, at).ok()?;
    Some(RecordPlace { kind, version: version.get(), body })
}

/// Reads the record of an event that begins at `at` of `bytes`, checking it alone; the second answer is where it ends.
pub(crate) fn decode_record(
    bytes: &Bytes,
    at: usize,
    position: Position,
    recorded_at: Timestamp,
) -> Result<(Record, usize), String> {
    let parts = Parts::split(bytes, at)?;
    let record = parts.open(bytes, position, recorded_at)?;
    Ok((record, parts.body.end))
}

/// Takes the records of a frame apart, checking each, and at the end that they are those of the header.
pub(crate) struct FrameRecords {
    header: FrameHeader,
    records: Bytes,
    at: usize,
    position: Position,
    counted: u32,
    checksums: u32,
    ended: bool,
}

impl FrameRecords {
    /// The records behind a header.
    pub(crate) fn new(header: FrameHeader, records: Bytes) -> Self {
        let position = header.start.first_position;
        Self { header, records, at: 0, position, counted: 0, checksums: 0, ended: false }
    }

    fn read(&mut self) -> Result<FrameRecord, String> {
        let parts = Parts::split(&self.records, self.at)?;
        let record = parts.open(&self.records, self.position, self.header.start.recorded_at)?;
        let offset = (FRAME_HEADER_BYTES + self.at) as u32;
        self.checksums = crc32c::crc32c_append(self.checksums, &parts.checksum.to_le_bytes());
        self.counted += 1;
        if !matches!(record, Record::Checkpoint(_)) {
            self.position = self.position.next();
        }
        self.at = parts.body.end;
        Ok(FrameRecord { offset, begins_append: parts.kind & BEGINS_APPEND != 0, record })
    }

    fn check_totals(&self) -> Option<String> {
        let events = (self.position.get() - self.header.start.first_position.get()) as u32;
        let expected = (self.header.record_count, self.header.event_count, self.header.records_checksum);
        let as_expected = (self.counted, events, self.checksums) == expected || reads_unchecked();
        (!as_expected).then(|| {
            format!(
                "the frame holds {} records and {events} events, expected {} and {} with other checksums",
                self.counted, expected.0, expected.1
            )
        })
    }
}

impl Iterator for FrameRecords {
    type Item = Result<FrameRecord, String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        if self.at >= self.records.len() {
            self.ended = true;
            return self.check_totals().map(Err);
        }
        let read = self.read();
        self.ended = read.is_err();
        Some(read)
    }
}
