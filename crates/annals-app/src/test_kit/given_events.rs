//! Events that a test says have happened.

use annals_core::{BoxError, EventType, NewEvent, StreamName, Timestamp};

use crate::{Event, codec};

/// Adds events, each on a stream, as an application would store them.
///
/// # Panics
/// When a stream has no valid name, or an event cannot be written.
#[track_caller]
pub(super) fn add_events<'s, E: Event>(
    given: &mut Vec<NewEvent>,
    events: impl IntoIterator<Item = (&'s str, E)>,
    occurred_at: Option<Timestamp>,
) {
    for (stream, event) in events {
        match new_event(stream, &event, occurred_at) {
            Ok(event) => given.push(event),
            Err(error) => {
                let number = given.len() + 1;
                panic!("event {number} of the given ones, {} on {stream}: {error}", event.name())
            }
        }
    }
}

fn new_event<E: Event>(
    stream: &str,
    event: &E,
    occurred_at: Option<Timestamp>,
) -> Result<NewEvent, BoxError> {
    let new = NewEvent::new(StreamName::new(stream)?, EventType::new(event.name())?);
    let new = new.json(codec::encode(event)?).tags(event.tags()?);
    Ok(match occurred_at {
        Some(moment) => new.occurred_at(moment),
        None => new,
    })
}
