//! Enters frames that were found on disk into the index.

use annals_core::index::{EventTerms, infallible};
use annals_core::{Position, StoreError, SystemEvent, Version};
use roaring::RoaringTreemap;

use crate::format::{FrameHeader, FrameRecord, Record};
use crate::recent::Recent;
use crate::run::FramePlace;
use crate::segments::Segment;
use crate::view::{LogIndex, View};

/// Enters the events and checkpoints of a frame that stands at `offset` of its segment.
///
/// [`StoreError::Damaged`] when an event does not continue its stream; what was entered before it is then to be taken back.
pub(crate) fn enter_frame(
    index: &LogIndex,
    recent: &mut Recent,
    segment: &Segment,
    header: &FrameHeader,
    records: &[FrameRecord],
    offset: u64,
) -> Result<(), StoreError> {
    let mut event_offsets = Vec::with_capacity(header.event_count as usize);
    let mut hidden = Vec::new();
    for record in records {
        match &record.record {
            Record::Event(event) => {
                let terms = EventTerms::of(event);
                enter_event(index, recent, &terms, event.system_event(), event.version(), &mut hidden)
                    .map_err(|misfit| misfit.at(segment, offset, event.position()))?;
            }
            Record::Removed(event) => {
                let terms = EventTerms::removed(event.id, event.stream.as_str());
                enter_event(index, recent, &terms, None, event.version, &mut hidden)
                    .map_err(|misfit| misfit.at(segment, offset, event.position))?;
            }
            Record::Checkpoint(checkpoint) => {
                let (consumer, position) = (checkpoint.consumer.clone(), checkpoint.position);
                recent.checkpoints.insert(consumer.clone(), position);
                index.set_checkpoints([(consumer, position)]);
                continue;
            }
        }
        event_offsets.push(record.offset);
    }
    let place = FramePlace {
        first_position: header.start.first_position,
        offset: offset as u32,
        recorded_at: header.start.recorded_at,
    };
    recent.add_frame(place, &event_offsets, header.frame_bytes());
    recent.hidden.extend(&hidden);
    index.hide(&hidden);
    Ok(())
}

/// Why an event cannot be entered.
enum Misfit {
    Store(StoreError),
    Version { found: Version, expected: Version },
}

impl From<StoreError> for Misfit {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Misfit {
    fn at(self, segment: &Segment, offset: u64, position: Position) -> StoreError {
        match self {
            Self::Store(error) => error,
            Self::Version { found, expected } => {
                let reason = format!("the event is version {found} of its stream, expected {expected}");
                segment.damaged(offset, position, reason)
            }
        }
    }
}

fn enter_event(
    index: &LogIndex,
    recent: &mut Recent,
    terms: &EventTerms<'_>,
    system: Option<SystemEvent>,
    version: Version,
    hidden: &mut Vec<u64>,
) -> Result<(), Misfit> {
    let older = index.older();
    let nothing = RoaringTreemap::new();
    let before = match recent.index.stream_state(terms.stream, Position::MAX) {
        Some(state) => state,
        None => older.stream_state(terms.stream)?,
    };
    let after = before.after_event(system);
    if after.version != version {
        return Err(Misfit::Version { found: version, expected: after.version });
    }
    let from = before.visible_from.max(Version::new(1));
    if after.visible_from > from {
        let (store, upto) = (index.store, Position::MAX);
        let view = View { store, recent, older: &older, segments: &[], hidden: &nothing, upto };
        hidden.extend(view.positions_of_versions(terms.stream, from, after.visible_from)?);
    }
    infallible(recent.index.insert(terms, system, || Ok(before)));
    Ok(())
}
