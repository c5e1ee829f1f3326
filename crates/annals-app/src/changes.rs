//! What each event changed in an entity's state.

use annals_core::{Position, RecordedEvent, Timestamp, Version};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// At most so many events are compared at once.
pub const MAX_COMPARED_EVENTS: u64 = 10_000;

/// How an entity's state went from one version to a later one.
#[derive(Debug, Clone, Serialize)]
pub struct StateDifference {
    /// After how many events it begins.
    pub from: Version,
    /// After how many events it ends.
    pub to: Version,
    /// What is different in the end.
    pub changed: Vec<FieldChange>,
    /// The events in between, each with what it changed.
    pub events: Vec<ChangingEvent>,
}

/// An event, and what it changed.
#[derive(Debug, Clone, Serialize)]
pub struct ChangingEvent {
    /// Its place in its stream.
    pub version: Version,
    /// Its place in the log.
    pub position: Position,
    /// When the store took it.
    pub recorded_at: Timestamp,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// What happened.
    pub event_type: String,
    /// Its payload, where that is JSON.
    pub payload: Option<Box<RawValue>>,
    /// What it changed.
    pub changed: Vec<FieldChange>,
}

impl ChangingEvent {
    pub(crate) fn new(event: &RecordedEvent, changed: Vec<FieldChange>) -> Self {
        let payload = std::str::from_utf8(event.payload()).ok().map(str::to_owned);
        Self {
            version: event.version(),
            position: event.position(),
            recorded_at: event.recorded_at(),
            occurred_at: event.occurred_at(),
            event_type: event.event_type().to_owned(),
            payload: payload.and_then(|json| RawValue::from_string(json).ok()),
            changed,
        }
    }
}

/// A part of a state that is not what it was.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FieldChange {
    /// Where it is: a JSON pointer (RFC 6901), such as `/address/city`.
    pub path: String,
    /// What it was; nothing when it was not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// What it is; nothing when it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// What is different between two states: each smallest part that is not the same, in the order of the fields.
pub(crate) fn changes(before: &Value, after: &Value) -> Vec<FieldChange> {
    let mut found = Vec::new();
    compare(String::new(), Some(before), Some(after), &mut found);
    found
}

fn compare(path: String, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<FieldChange>) {
    match (before, after) {
        (before, after) if before == after => {}
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            compare_fields(&path, before, after, found);
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) => {
            for index in 0..before.len().max(after.len()) {
                compare(format!("{path}/{index}"), before.get(index), after.get(index), found);
            }
        }
        (before, after) => {
            found.push(FieldChange { path, before: before.cloned(), after: after.cloned() });
        }
    }
}

fn compare_fields(
    path: &str,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    found: &mut Vec<FieldChange>,
) {
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    for name in after.keys().chain(gone) {
        let escaped = name.replace('~', "~0").replace('/', "~1");
        compare(format!("{path}/{escaped}"), before.get(name), after.get(name), found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(before: Value, after: Value) -> Value {
        serde_json::to_value(changes(&before, &after)).unwrap_or_default()
    }

    #[test]
    fn the_smallest_parts_that_differ_are_named() {
        let before =
            json!({"balance": 1, "open": true, "address": {"city": "Prague", "a/b": 1}, "tags": ["x"]});
        let after =
            json!({"balance": 2, "open": true, "address": {"city": "Brno", "a/b": 1}, "tags": ["x", "y"]});
        let expected = json!([
            {"path": "/balance", "before": 1, "after": 2},
            {"path": "/address/city", "before": "Prague", "after": "Brno"},
            {"path": "/tags/1", "after": "y"},
        ]);
        assert_eq!(shown(before.clone(), after), expected);
        assert_eq!(shown(before.clone(), before), json!([]));
    }

    #[test]
    fn what_is_not_of_the_same_kind_changes_as_a_whole() {
        let expected = json!([{"path": "", "before": {"a": 1}, "after": [1]}]);
        assert_eq!(shown(json!({"a": 1}), json!([1])), expected);
        let expected = json!([{"path": "/a~1~0b", "before": 1, "after": null}, {"path": "/c", "before": 2}]);
        assert_eq!(shown(json!({"a/~b": 1, "c": 2}), json!({"a/~b": null})), expected);
    }
}
