//! Which events: one language for reads, subscriptions and append conditions.

use serde::{Deserialize, Serialize};

use crate::{Category, CorrelationId, EventId, EventType, RecordedEvent, StreamName, Tag};

/// Events that match any of its items; without items, every event.
///
/// ```
/// use annals_core::{Filter, FilterItem, Tag};
/// let of_the_course = Filter::from(FilterItem::default().tag(Tag::new("course:42")?));
/// # Ok::<(), annals_core::NameError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Filter {
    items: Vec<FilterItem>,
}

/// The most items in one filter.
pub const MAX_FILTER_ITEMS: usize = 10_000;

/// Events that meet all that is given: the stream, the category, *any* of the types, *all* of the tags, the
/// correlation id, the event id. What is not given does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FilterItem {
    /// Only events of this stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamName>,
    /// Only events of streams of this category.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
    /// Only events of one of these types; none given means any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<EventType>,
    /// Only events that carry all of these tags.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
    /// Only events with this correlation id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<CorrelationId>,
    /// Only the event with this id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id: Option<EventId>,
}

impl Filter {
    /// Every event.
    pub fn all() -> Self {
        Self::default()
    }

    /// The events of one stream.
    pub fn stream(stream: StreamName) -> Self {
        FilterItem { stream: Some(stream), ..FilterItem::default() }.into()
    }

    /// The events of all streams of a category.
    pub fn category(category: Category) -> Self {
        FilterItem { category: Some(category), ..FilterItem::default() }.into()
    }

    /// Events of any of these types.
    pub fn types(types: impl IntoIterator<Item = EventType>) -> Self {
        FilterItem { types: types.into_iter().collect(), ..FilterItem::default() }.into()
    }

    /// Events that carry all of these tags.
    pub fn tags(tags: impl IntoIterator<Item = Tag>) -> Self {
        FilterItem { tags: tags.into_iter().collect(), ..FilterItem::default() }.into()
    }

    /// The event with this id.
    pub fn event_id(id: EventId) -> Self {
        FilterItem { event_id: Some(id), ..FilterItem::default() }.into()
    }

    /// Events that match this filter or `item`. A filter that matched everything still does.
    #[must_use]
    pub fn or(mut self, item: FilterItem) -> Self {
        if !self.matches_all() {
            self.items.push(item);
        }
        self
    }

    /// The items, of which any must match; none means that every event does.
    pub fn items(&self) -> &[FilterItem] {
        &self.items
    }

    /// Whether every event matches.
    pub fn matches_all(&self) -> bool {
        self.items.is_empty()
    }

    /// The stream, when the filter asks for exactly one whole stream.
    pub fn as_stream(&self) -> Option<&StreamName> {
        match self.items.as_slice() {
            [item] if *item == (FilterItem { stream: item.stream.clone(), ..FilterItem::default() }) => {
                item.stream.as_ref()
            }
            _ => None,
        }
    }

    /// Whether `event` matches.
    pub fn matches(&self, event: &RecordedEvent) -> bool {
        self.matches_all() || self.items.iter().any(|item| item.matches(event))
    }
}

impl From<FilterItem> for Filter {
    fn from(item: FilterItem) -> Self {
        Self { items: vec![item] }
    }
}

impl FromIterator<FilterItem> for Filter {
    fn from_iter<I: IntoIterator<Item = FilterItem>>(items: I) -> Self {
        Self { items: items.into_iter().collect() }
    }
}

impl FilterItem {
    /// Adds a tag that events must carry.
    #[must_use]
    pub fn tag(mut self, tag: Tag) -> Self {
        self.tags.push(tag);
        self
    }

    /// Adds a type that events may have.
    #[must_use]
    pub fn event_type(mut self, event_type: EventType) -> Self {
        self.types.push(event_type);
        self
    }

    /// Whether `event` meets all that is given.
    pub fn matches(&self, event: &RecordedEvent) -> bool {
        self.stream.as_ref().is_none_or(|stream| stream.as_str() == event.stream())
            && self.category.as_ref().is_none_or(|category| category.as_str() == event.category())
            && (self.types.is_empty() || self.types.iter().any(|t| t.as_str() == event.event_type()))
            && self.tags.iter().all(|tag| event.tags().any(|t| t == tag.as_str()))
            && self.correlation_id.as_ref().is_none_or(|id| Some(id.as_str()) == event.correlation_id())
            && self.event_id.is_none_or(|id| id == event.id())
    }
}
