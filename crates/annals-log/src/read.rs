//! Reads batches of events: chooses positions by the index, then fetches their records without holding it.

use std::sync::Arc;

use annals_core::append_rules::check_filter;
use annals_core::{
    Direction, EventBatch, FilterItem, InvalidRequest, MAX_BATCH_BYTES, MAX_BATCH_EVENTS, Position, ReadFrom,
    ReadRequest, StoreError,
};
use bytes::{Bytes, BytesMut};
use roaring::RoaringTreemap;

use crate::format::{FRAME_HEADER_BYTES, FrameHeader, Parts, Record, StoreId, decode_record};
use crate::segments::Segment;
use crate::sync::Mutex;
use crate::ticket::lock;
use crate::view::{LogIndex, Place, View};

/// A walk over everything fetches so many bytes at once.
const WINDOW_BYTES: usize = 64 << 10;

impl LogIndex {
    /// Reads the next batch of the events that a request selects.
    pub(crate) fn read(&self, request: &ReadRequest) -> Result<EventBatch, StoreError> {
        check_filter(&request.filter)?;
        let snapshot = self.snapshot();
        let view = snapshot.view();
        let from = view.start_of(request)?;
        let in_order = request.filter.matches_all() && request.direction == Direction::Forwards;
        let limit = request.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        if in_order {
            let walk = view.walk_from(from, limit)?;
            let head = view.upto;
            drop(snapshot);
            return match walk {
                Some(walk) => walk.read(head, &self.windows),
                None => Ok(EventBatch { head, ..EventBatch::default() }),
            };
        }
        let (places, next) = view.choose(request, from, limit)?;
        view.check_health()?;
        let head = view.upto;
        drop(snapshot);
        fetch(&places, next, head)
    }
}

impl LogIndex {
    /// The answer to who asks for an event by its id, where the index tells without the log that there is none: so it is for most
    /// commands that come with an id.
    pub(crate) fn without_event(&self, request: &ReadRequest) -> Option<EventBatch> {
        let ([FilterItem { event_id: Some(id), .. }], ReadFrom::Start) =
            (request.filter.items(), request.from)
        else {
            return None;
        };
        let snapshot = self.snapshot();
        let view = snapshot.view();
        let new_upto = view.older.without_ids(std::iter::once(id), self.seed);
        let in_no_run = view.older.runs.last().is_none_or(|last| last.last() <= new_upto);
        let is_new = in_no_run && view.position_of(id, new_upto).ok()?.is_none();
        view.check_health().ok()?;
        is_new.then(|| EventBatch { head: view.upto, ..EventBatch::default() })
    }
}

impl<'a> View<'a> {
    /// The position at which a read begins; `None` when it begins beyond the end.
    fn start_of(&self, request: &ReadRequest) -> Result<Option<u64>, StoreError> {
        let forwards = request.direction == Direction::Forwards;
        let head = self.upto.get();
        Ok(match request.from {
            ReadFrom::Start => Some(if forwards { 1 } else { head }),
            ReadFrom::Position(position) if forwards => Some(position.get().max(1)),
            ReadFrom::Position(position) => Some(position.get().min(head)),
            ReadFrom::Version(version) => {
                let stream = request.filter.as_stream().ok_or(InvalidRequest::VersionNeedsStream)?;
                let version = if forwards { version.max(annals_core::Version::new(1)) } else { version };
                self.position_of_version(stream.as_str(), version, !forwards)?
            }
            ReadFrom::RecordedAt(moment) if forwards => {
                Some(self.first_recorded_at(moment)?.get()).filter(|first| *first <= head)
            }
            ReadFrom::RecordedAt(moment) => {
                let later = annals_core::Timestamp::from_micros(moment.as_micros().saturating_add(1));
                Some(self.first_recorded_at(later)?.get() - 1)
            }
        })
    }

    /// The places of the events of one batch, and the position at which the next begins.
    fn choose(
        &self,
        request: &'a ReadRequest,
        from: Option<u64>,
        limit: usize,
    ) -> Result<(Vec<Place>, Option<Position>), StoreError> {
        let mut matches = self.matches(&request.filter, from, request.direction);
        let mut places = Vec::new();
        while places.len() < limit {
            let Some(position) = matches.next()?.map(Position::new) else { break };
            if places.len() >= MAX_BATCH_EVENTS {
                return Ok((places, Some(position)));
            }
            places.push(self.place(position)?);
        }
        Ok((places, None))
    }

    /// Where a walk over all events begins.
    fn walk_from(&self, from: Option<u64>, limit: usize) -> Result<Option<Walk>, StoreError> {
        let Some(from) = from.filter(|from| (1..=self.upto.get()).contains(from) && limit > 0) else {
            return Ok(None);
        };
        let from = Position::new(from);
        let Place { segment, offset: record, .. } = self.place(from)?;
        let (_, offset) = self.frame_of(from)?;
        let within =
            record.checked_sub(offset).and_then(|within| (within as usize).checked_sub(FRAME_HEADER_BYTES));
        let skip = within.ok_or_else(|| {
            segment.damaged(u64::from(record), from, "its frame is said to begin behind it".to_owned())
        })?;
        let index = self.segments.iter().position(|known| Arc::ptr_eq(known, &segment)).unwrap_or(0);
        let segments = self.segments.get(index..).unwrap_or_default().to_vec();
        let hidden = Some(self.hidden).filter(|hidden| !hidden.is_empty()).cloned();
        Ok(Some(Walk { store: self.store, segments, offset, skip, from, upto: self.upto, limit, hidden }))
    }
}

/// Fetches the events at some places, up to the size of a batch.
fn fetch(places: &[Place], next: Option<Position>, head: Position) -> Result<EventBatch, StoreError> {
    let mut batch = EventBatch { events: Vec::with_capacity(places.len()), next, head };
    let mut bytes = Vec::with_capacity((places.len() * 320).min(MAX_BATCH_BYTES));
    let mut starts = Vec::with_capacity(places.len());
    for place in places {
        if bytes.len() >= MAX_BATCH_BYTES {
            batch.next = Some(place.position);
            break;
        }
        starts.push(bytes.len());
        place.segment.read_record(place.offset, place.end, &mut bytes)?;
    }
    let bytes = Bytes::from(bytes);
    for (place, start) in places.iter().zip(starts) {
        let record = decode_record(&bytes, start, place.position, place.recorded_at);
        match record {
            Ok((Record::Event(event), _)) => batch.events.push(event),
            // What is removed is hidden, so it is not asked for.
            Ok(_) => {}
            Err(reason) => {
                place.segment.check_health()?;
                return Err(place.damaged(reason));
            }
        }
    }
    Ok(batch)
}

/// A walk over all events, frame by frame, from the frame that holds the first.
struct Walk {
    store: StoreId,
    segments: Vec<Arc<Segment>>,
    offset: u32,
    /// So many bytes of the first frame's records come before the first event.
    skip: usize,
    from: Position,
    upto: Position,
    limit: usize,
    hidden: Option<RoaringTreemap>,
}

impl Walk {
    fn read(self, head: Position, windows: &Windows) -> Result<EventBatch, StoreError> {
        let mut batch = EventBatch { head, ..EventBatch::default() };
        batch.events.reserve(self.limit.min(MAX_BATCH_EVENTS));
        let mut position = self.from;
        match self.walk(windows, &mut batch, &mut position) {
            Err(error) if batch.events.is_empty() => return Err(error),
            // What was read is handed over; the next batch begins where it failed, and says so.
            Err(_) => batch.next = Some(position),
            Ok(()) => {}
        }
        Ok(batch)
    }

    /// Whether the batch takes no more; if so, notes where the next one begins.
    fn is_full(&self, batch: &mut EventBatch, bytes: usize, position: Position) -> bool {
        let full = batch.events.len() >= MAX_BATCH_EVENTS.min(self.limit) || bytes >= MAX_BATCH_BYTES;
        if full && position <= self.upto && batch.events.len() < self.limit {
            batch.next = Some(position);
        }
        full
    }

    fn walk(
        &self,
        windows: &Windows,
        batch: &mut EventBatch,
        position: &mut Position,
    ) -> Result<(), StoreError> {
        let mut bytes = 0;
        let (mut offset, mut skip) = (u64::from(self.offset), Some(self.skip));
        for (index, segment) in self.segments.iter().enumerate() {
            // The last event of a segment is followed by the first of the next.
            let last = self.segments.get(index + 1).map_or(self.upto, |next| next.first_position.previous());
            let last = last.min(self.upto);
            let mut window = Window { windows, segment, bytes: Bytes::new(), start: 0 };
            while *position <= last {
                if self.is_full(batch, bytes, *position) {
                    return Ok(());
                }
                let header = window.bytes(offset, FRAME_HEADER_BYTES)?;
                let damaged = |at: u64, position: Position, reason| segment.damaged(at, position, reason);
                let header = FrameHeader::decode(&header, self.store)
                    .map_err(|reason| damaged(offset, *position, reason))?;
                let first = header.start.first_position;
                let mut at = match skip.take() {
                    Some(skip) => skip,
                    None if first == *position => 0,
                    None => {
                        let reason = format!("a frame of position {first} stands here, expected {position}");
                        return Err(damaged(offset, *position, reason));
                    }
                };
                let start = offset + FRAME_HEADER_BYTES as u64;
                let records = window.bytes(start, header.length as usize)?;
                let end = first.get() + u64::from(header.event_count);
                while position.get() < end {
                    if self.is_full(batch, bytes, *position) {
                        return Ok(());
                    }
                    let bad = |reason| damaged(start + at as u64, *position, reason);
                    let recorded_at = header.start.recorded_at;
                    let parts = Parts::split(&records, at).map_err(bad)?;
                    // Nearly all records are events, so these take no detour.
                    if parts.is_event() {
                        let event = parts.open_event(&records, *position, recorded_at).map_err(bad)?;
                        if self.hidden.as_ref().is_none_or(|hidden| !hidden.contains(position.get())) {
                            bytes += event.body().len();
                            batch.events.push(event);
                        }
                    } else {
                        let record = parts.open(&records, *position, recorded_at).map_err(bad)?;
                        if matches!(record, Record::Checkpoint(_)) {
                            at = parts.end();
                            continue;
                        }
                    }
                    at = parts.end();
                    *position = position.next();
                }
                offset += header.frame_bytes();
            }
            if last >= self.upto {
                break;
            }
            offset = crate::format::SEGMENT_HEADER_BYTES as u64;
        }
        Ok(())
    }
}

/// The memory of windows whose events may still be in use. What nobody uses any more serves for the next window.
#[derive(Debug, Default)]
pub(crate) struct Windows(Mutex<Vec<Bytes>>);

/// So many windows are kept: two megabytes, more than one batch of events of usual size.
const KEPT_WINDOWS: usize = 32;

impl Windows {
    /// Memory for a window, used before if some is free.
    fn take(&self) -> BytesMut {
        let mut kept = lock(&self.0);
        for index in 0..kept.len() {
            match kept.swap_remove(index).try_into_mut() {
                Ok(mut free) => {
                    free.clear();
                    return free;
                }
                // Still in use: it goes back to where it was.
                Err(used) => {
                    kept.push(used);
                    let last = kept.len() - 1;
                    kept.swap(index, last);
                }
            }
        }
        BytesMut::with_capacity(WINDOW_BYTES)
    }

    fn keep(&self, window: &Bytes) {
        let mut kept = lock(&self.0);
        if kept.len() >= KEPT_WINDOWS {
            kept.swap_remove(0);
        }
        kept.push(window.clone());
    }
}

/// Reads a segment in large steps.
struct Window<'a> {
    windows: &'a Windows,
    segment: &'a Segment,
    bytes: Bytes,
    start: u64,
}

impl Window<'_> {
    fn bytes(&mut self, offset: u64, length: usize) -> Result<Bytes, StoreError> {
        let inside = offset.checked_sub(self.start).map(|start| start as usize);
        if let Some(start) = inside.filter(|start| start + length <= self.bytes.len()) {
            return Ok(self.bytes.slice(start..start + length));
        }
        let large = length > WINDOW_BYTES;
        let memory = if large { BytesMut::new() } else { self.windows.take() };
        self.bytes = self.segment.read_copy(offset, length.max(WINDOW_BYTES), memory)?;
        self.start = offset;
        if !large {
            self.windows.keep(&self.bytes);
        }
        Ok(self.bytes.slice(..length.min(self.bytes.len())))
    }
}
