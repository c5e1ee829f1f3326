//! A filter as set algebra on lists of positions.

use super::{PositionList, Term, TermKind};
use crate::{Direction, EventId, Filter, FilterItem};

/// What knows the positions of some events by their terms.
pub trait TermSource {
    /// What keeps it from answering.
    type Error;
    /// A list of positions of one term.
    type List<'a>: PositionList<Error = Self::Error>
    where
        Self: 'a;

    /// The list of a term; `None` when no event has it.
    ///
    /// # Errors
    /// What keeps it from answering.
    fn list(&self, term: Term<'_>) -> Result<Option<Self::List<'_>>, Self::Error>;

    /// Where the event with this id is.
    ///
    /// # Errors
    /// What keeps it from answering.
    fn position_of(&self, id: &EventId) -> Result<Option<u64>, Self::Error>;
}

/// A filter whose terms are resolved in one source: any of the items, each all of its lists.
pub struct Search<L> {
    items: Vec<AllOf<L>>,
    matches_all: bool,
}

/// What all must hold for an item to match.
type AllOf<L> = Vec<AnyOf<L>>;

/// The union of some lists.
enum AnyOf<L> {
    Lists(Vec<L>),
    Position(u64),
}

impl<L: PositionList> Search<L> {
    /// Resolves the terms of a filter.
    ///
    /// # Errors
    /// What keeps the source from answering.
    pub fn new<'a, S>(source: &'a S, filter: &Filter) -> Result<Self, S::Error>
    where
        S: TermSource<List<'a> = L, Error = L::Error>,
    {
        let mut items = Vec::with_capacity(filter.items().len());
        for item in filter.items() {
            // An item one of whose terms no event has matches nothing here.
            items.extend(resolve(source, item)?);
        }
        Ok(Self { items, matches_all: filter.matches_all() })
    }

    /// The nearest matching position at or beyond `from`, in the given direction. A filter without items matches
    /// `from` itself.
    ///
    /// # Errors
    /// What keeps a list from being read.
    pub fn seek(&mut self, from: u64, direction: Direction) -> Result<Option<u64>, L::Error> {
        if self.matches_all {
            return Ok(Some(from));
        }
        let mut nearest = None;
        for item in &mut self.items {
            nearest = nearer(nearest, seek_all(item, from, direction)?, direction);
        }
        Ok(nearest)
    }
}

fn nearer(one: Option<u64>, other: Option<u64>, direction: Direction) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) if direction == Direction::Forwards => Some(one.min(other)),
        (Some(one), Some(other)) => Some(one.max(other)),
        (one, other) => one.or(other),
    }
}

fn resolve<'a, S: TermSource>(
    source: &'a S,
    item: &FilterItem,
) -> Result<Option<AllOf<S::List<'a>>>, S::Error> {
    let mut all = Vec::new();
    let stream = item.stream.as_ref().map(|name| (TermKind::Stream, name.as_str()));
    let category = item.category.as_ref().map(|name| (TermKind::Category, name.as_str()));
    let tags = item.tags.iter().map(|tag| (TermKind::Tag, tag.as_str()));
    let correlation = item.correlation_id.as_ref().map(|id| (TermKind::Correlation, id.as_str()));
    if let Some(id) = &item.event_id {
        let Some(position) = source.position_of(id)? else { return Ok(None) };
        all.push(AnyOf::Position(position));
    }
    for (kind, name) in stream.into_iter().chain(correlation).chain(tags).chain(category) {
        let Some(list) = source.list(Term { kind, name })? else { return Ok(None) };
        all.push(AnyOf::Lists(vec![list]));
    }
    if !item.types.is_empty() {
        let mut lists = Vec::with_capacity(item.types.len());
        for name in &item.types {
            lists.extend(source.list(Term { kind: TermKind::Type, name: name.as_str() })?);
        }
        if lists.is_empty() {
            return Ok(None);
        }
        all.push(AnyOf::Lists(lists));
    }
    Ok(Some(all))
}

impl<L: PositionList> AnyOf<L> {
    fn seek(&mut self, from: u64, direction: Direction) -> Result<Option<u64>, L::Error> {
        match self {
            Self::Position(position) => Ok(Some(*position).filter(|position| match direction {
                Direction::Forwards => *position >= from,
                Direction::Backwards => *position <= from,
            })),
            Self::Lists(lists) => {
                let mut nearest = None;
                for list in lists {
                    nearest = nearer(nearest, list.seek(from, direction)?, direction);
                }
                Ok(nearest)
            }
        }
    }
}

/// Leapfrogs over the lists until all agree. An item that asks for nothing matches `from` itself.
fn seek_all<L: PositionList>(
    lists: &mut [AnyOf<L>],
    from: u64,
    direction: Direction,
) -> Result<Option<u64>, L::Error> {
    let mut candidate = from;
    // One list alone agrees with itself.
    let alone = lists.len() == 1;
    loop {
        let before = candidate;
        for list in &mut *lists {
            match list.seek(candidate, direction)? {
                Some(found) => candidate = found,
                None => return Ok(None),
            }
        }
        if candidate == before || alone {
            return Ok(Some(candidate));
        }
    }
}
