//! Term → positions: the one index behind every filter and condition.

use std::collections::HashMap;
use std::sync::Arc;

use crate::{Direction, EventId, Filter, FilterItem, RecordedEvent};

/// Ascending positions of the events that carry a term.
type Positions = Vec<u64>;

/// Ascending positions per term, for each kind of term.
#[derive(Debug, Default)]
pub(super) struct TermIndex {
    streams: HashMap<Arc<str>, Positions>,
    categories: HashMap<Arc<str>, Positions>,
    types: HashMap<Arc<str>, Positions>,
    tags: HashMap<Arc<str>, Positions>,
    correlations: HashMap<Arc<str>, Positions>,
    ids: HashMap<EventId, u64>,
}

fn add(terms: &mut HashMap<Arc<str>, Positions>, term: &str, position: u64) {
    match terms.get_mut(term) {
        Some(positions) => positions.push(position),
        None => {
            terms.insert(Arc::from(term), vec![position]);
        }
    }
}

impl TermIndex {
    pub(super) fn insert(&mut self, event: &RecordedEvent) {
        let position = event.position().get();
        add(&mut self.streams, event.stream(), position);
        add(&mut self.categories, event.category(), position);
        add(&mut self.types, event.event_type(), position);
        event.tags().for_each(|tag| add(&mut self.tags, tag, position));
        if let Some(id) = event.correlation_id() {
            add(&mut self.correlations, id, position);
        }
        self.ids.insert(event.id(), position);
    }

    pub(super) fn position_of(&self, id: &EventId) -> Option<u64> {
        self.ids.get(id).copied()
    }

    /// The positions of a stream's events: the n-th entry is version n.
    pub(super) fn of_stream(&self, stream: &str) -> &[u64] {
        self.streams.get(stream).map_or(&[], Vec::as_slice)
    }

    /// Resolves the terms of a filter to their lists.
    pub(super) fn search<'a>(&'a self, filter: &Filter) -> Search<'a> {
        Search { items: filter.items().iter().map(|item| self.item(item)).collect() }
    }

    fn item<'a>(&'a self, item: &FilterItem) -> Vec<AnyOf<'a>> {
        let mut all = Vec::new();
        let mut require = |terms: &'a HashMap<Arc<str>, Positions>, term: &str| {
            all.push(AnyOf(vec![terms.get(term).map_or(&[], Vec::as_slice)]));
        };
        if let Some(stream) = &item.stream {
            require(&self.streams, stream.as_str());
        }
        if let Some(category) = &item.category {
            require(&self.categories, category.as_str());
        }
        for tag in &item.tags {
            require(&self.tags, tag.as_str());
        }
        if let Some(id) = &item.correlation_id {
            require(&self.correlations, id.as_str());
        }
        if let Some(id) = &item.event_id {
            all.push(AnyOf(vec![self.ids.get(id).map_or(&[], std::slice::from_ref)]));
        }
        if !item.types.is_empty() {
            let lists = item.types.iter().filter_map(|name| self.types.get(name.as_str()));
            all.push(AnyOf(lists.map(Vec::as_slice).collect()));
        }
        all
    }
}

/// A filter whose terms are resolved: any of the items, each all of its lists.
pub(super) struct Search<'a> {
    items: Vec<Vec<AnyOf<'a>>>,
}

/// The union of some lists of positions.
struct AnyOf<'a>(Vec<&'a [u64]>);

impl AnyOf<'_> {
    /// The nearest entry at or beyond `from`, in the given direction.
    fn seek(&self, from: u64, direction: Direction) -> Option<u64> {
        let found = self.0.iter().filter_map(|list| match direction {
            Direction::Forwards => list.get(list.partition_point(|p| *p < from)).copied(),
            Direction::Backwards => list.partition_point(|p| *p <= from).checked_sub(1).map(|i| list[i]),
        });
        match direction {
            Direction::Forwards => found.min(),
            Direction::Backwards => found.max(),
        }
    }
}

impl Search<'_> {
    /// The nearest matching position at or beyond `from`, in the given direction. A filter without items matches
    /// `from` itself.
    pub(super) fn seek(&self, from: u64, direction: Direction) -> Option<u64> {
        if self.items.is_empty() {
            return Some(from);
        }
        let found = self.items.iter().filter_map(|item| seek_all(item, from, direction));
        match direction {
            Direction::Forwards => found.min(),
            Direction::Backwards => found.max(),
        }
    }
}

/// Leapfrogs over the lists until all agree. An item that asks for nothing matches `from` itself.
fn seek_all(lists: &[AnyOf<'_>], from: u64, direction: Direction) -> Option<u64> {
    let mut candidate = from;
    loop {
        let before = candidate;
        for list in lists {
            candidate = list.seek(candidate, direction)?;
        }
        if candidate == before {
            return Some(candidate);
        }
    }
}
