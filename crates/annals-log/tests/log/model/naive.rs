//! What a store is, without files, indexes or threads: a list of events and a few rules.

use annals_core::{
    AppendRequest, Direction, Filter, FilterItem, NewEvent, Position, ReadFrom, ReadRequest, StreamState,
    SystemEvent, Timestamp, Version,
};

/// What the store must answer to an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Kept { places: (u64, u64), duplicate: bool },
    Conflict,
    IdReused,
    PartlyKnown,
    KnownFromSeveral,
}

/// An event, its version, the places of its append, and when it was recorded.
type Kept = (NewEvent, Version, (u64, u64), Timestamp);

#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    events: Vec<Kept>,
    pub(crate) checkpoint: Option<Position>,
}

impl Model {
    pub(crate) fn head(&self) -> u64 {
        self.events.len() as u64
    }

    pub(crate) fn event(&self, position: u64) -> &NewEvent {
        &self.events[position as usize - 1].0
    }

    pub(crate) fn state(&self, stream: &str) -> StreamState {
        let of_stream = self.events.iter().filter(|kept| kept.0.stream().as_str() == stream);
        of_stream.fold(StreamState::default(), |state, kept| state.after_event(system(&kept.0)))
    }

    pub(crate) fn append(&mut self, request: &AppendRequest, at: Timestamp) -> Answer {
        let same_id =
            |event: &NewEvent| self.events.iter().find(|kept| kept.0.event_id() == event.event_id());
        let known: Vec<(&NewEvent, &Kept)> =
            request.events.iter().filter_map(|event| Some((event, same_id(event)?))).collect();
        if known.iter().any(|(event, kept)| content(event) != content(&kept.0)) {
            return Answer::IdReused;
        }
        if let Some((_, (_, _, places, _))) = known.first() {
            let (all, one) = (request.events.len(), known.iter().all(|(_, kept)| kept.2 == *places));
            return match (known.len() == all, one) {
                (false, _) => Answer::PartlyKnown,
                (true, false) => Answer::KnownFromSeveral,
                (true, true) => Answer::Kept { places: *places, duplicate: true },
            };
        }
        let unmet = request.expected.iter().any(|(name, e)| !e.is_met_by(&self.state(name.as_str())));
        let broken = request.condition.as_ref().is_some_and(|condition| {
            let after = ReadFrom::Position(condition.after.next());
            !self.read(&ReadRequest::new(condition.query.clone()).from(after)).is_empty()
        });
        let mut next = self.clone();
        let places = (self.head() + 1, self.head() + request.events.len() as u64);
        let mut ended = false;
        for event in &request.events {
            let state = next.state(event.stream().as_str());
            ended |= state.tombstoned;
            let version = state.after_event(system(event)).version;
            next.events.push((event.clone(), version, places, at));
        }
        if unmet || broken || ended {
            return Answer::Conflict;
        }
        next.checkpoint = request.checkpoint.as_ref().map(|known| known.position).or(next.checkpoint);
        *self = next;
        Answer::Kept { places, duplicate: false }
    }

    /// The visible positions that a read asks for.
    pub(crate) fn read(&self, request: &ReadRequest) -> Vec<u64> {
        let forwards = request.direction == Direction::Forwards;
        let reached = |position: u64, kept: &Kept| match request.from {
            ReadFrom::Start => true,
            ReadFrom::Position(from) => position == from.get() || (position > from.get()) == forwards,
            ReadFrom::Version(from) => kept.1 == from || (kept.1 > from) == forwards,
            ReadFrom::RecordedAt(from) => kept.3 == from || (kept.3 > from) == forwards,
        };
        let visible = |kept: &Kept| kept.1 >= self.state(kept.0.stream().as_str()).visible_from;
        let wanted = (1..).zip(&self.events).filter(|(position, kept)| {
            visible(kept) && matches(&request.filter, &kept.0) && reached(*position, kept)
        });
        let mut found: Vec<u64> = wanted.map(|(position, _)| position).collect();
        if !forwards {
            found.reverse();
        }
        found.truncate(request.limit.unwrap_or(u64::MAX) as usize);
        found
    }
}

fn system(event: &NewEvent) -> Option<SystemEvent> {
    SystemEvent::parse(event.event_type().as_str(), event.payload_bytes())
}

fn content(event: &NewEvent) -> (&str, &str, Vec<&str>, &[u8]) {
    let tags = event.tag_list().iter().map(|tag| tag.as_str()).collect();
    (event.stream().as_str(), event.event_type().as_str(), tags, event.payload_bytes())
}

fn matches(filter: &Filter, event: &NewEvent) -> bool {
    let fits = |item: &FilterItem| {
        item.stream.as_ref().is_none_or(|name| name == event.stream())
            && item.category.as_ref().is_none_or(|name| name.as_str() == event.stream().category())
            && (item.types.is_empty() || item.types.contains(event.event_type()))
            && item.tags.iter().all(|tag| event.tag_list().contains(tag))
            && item.correlation_id.as_ref().is_none_or(|id| Some(id) == event.given_correlation_id())
            && item.event_id.is_none_or(|id| id == event.event_id())
    };
    filter.matches_all() || filter.items().iter().any(fits)
}
