//! `events --as-test`: a real stream becomes a test that passes as it is.

use annals_app::At;
use annals_core::{BoxError, ReadRequest, Reader, RecordedEvent, StreamName, Version};
use serde_json::Value;

use crate::output::print_line;
use crate::{Failure, Session};

/// Prints the test.
pub(crate) async fn print(
    mut session: Session,
    request: ReadRequest,
    stream: &StreamName,
) -> Result<(), Failure> {
    let category = stream.category();
    let aggregate = session.app().and_then(|app| app.aggregate_type(category));
    let aggregate = aggregate.ok_or_else(|| {
        Failure::usage(format!("no aggregate has the category {category:?}, so nothing can be tested of it"))
    })?;
    let app = session.start_on_existing().await?;
    let mut events = Vec::new();
    let mut reader = Reader::new(&**app.store(), request);
    while let Some(batch) = reader.next_batch().await? {
        events.extend(batch);
    }
    let version = events.last().map_or(Version::ZERO, RecordedEvent::version);
    let at = if events.is_empty() { At::Now } else { At::Version(version) };
    let view = app.state(category, stream.id(), at).await?;
    print_line(test_of(stream, aggregate, &events, &view.state)?.trim_end())
}

fn test_of(
    stream: &StreamName,
    aggregate: &str,
    events: &[RecordedEvent],
    state: &Value,
) -> Result<String, BoxError> {
    let version = events.last().map_or(Version::ZERO, RecordedEvent::version);
    let mut test = format!(
        "/// The stream {stream} as it was at version {version}.\n#[test]\nfn {}_at_version_{version}() {{\n    \
         let given = annals::given_stored::<{aggregate}>([\n",
        identifier(stream.as_str())
    );
    // What the store notes of a stream itself is no event of the entity.
    for event in events.iter().filter(|event| event.system_event().is_none()) {
        let json = std::str::from_utf8(event.payload())
            .map_err(|_| format!("the event at position {} is not text", event.position()))?;
        // One event, one line.
        let json = if json.contains('\n') { format!("{json:?}") } else { literal(json) };
        test += &format!("        ({:?}, {json}),", event.event_type());
        if let Some(moment) = event.given_occurred_at() {
            test += &format!(" // {moment}");
        }
        test.push('\n');
    }
    let state = serde_json::to_string_pretty(state)?.replace('\n', "\n        ");
    test += &format!(
        "    ]);\n    let state = serde_json::to_value(given.state()).unwrap();\n    \
         let expected: serde_json::Value = serde_json::from_str(\n        {},\n    )\n    .unwrap();\n    \
         assert_eq!(state, expected);\n}}\n",
        literal(&state)
    );
    Ok(test)
}

/// Text as a name of Rust.
fn identifier(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    let name: String = text.chars().map(plain).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("stream_{name}") } else { name }
}

/// Text as a literal of Rust: raw, unless it has characters that cannot be seen.
fn literal(text: &str) -> String {
    let is_seen = |c: char| matches!(c, '"' | '\'' | '\\' | '\n') || c.escape_debug().count() == 1;
    if !text.chars().all(is_seen) {
        return format!("{text:?}");
    }
    let mut hashes = "#".to_owned();
    while text.contains(&format!("\"{hashes}")) {
        hashes.push('#');
    }
    format!("r{hashes}\"{text}\"{hashes}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use annals_core::{AppendRequest, EventStore, EventType, MemoryStore, NewEvent, Timestamp, block_on};

    #[test]
    fn literals_need_as_many_hashes_as_it_takes() {
        assert_eq!(literal(r#"{"a":1}"#), r###"r#"{"a":1}"#"###);
        assert_eq!(literal(r##"{"a":"#"}"##), r###"r##"{"a":"#"}"##"###);
        assert_eq!(literal(r###"{"a":"##"}"###), r####"r###"{"a":"##"}"###"####);
        assert_eq!(literal("{\r}"), r#""{\r}""#);
        assert_eq!(literal("a\u{202e}b"), r#""a\u{202e}b""#);
    }

    #[test]
    fn any_stream_becomes_a_function() {
        let store = MemoryStore::default();
        let stream = StreamName::new("42 Lámpas-\"x\"").unwrap();
        let lit = |json: &str| {
            NewEvent::new(stream.clone(), EventType::new("Say \"Lit\"").unwrap()).json(json.to_owned())
        };
        let first = lit(r#"{"n":1}"#).occurred_at(Timestamp::from_micros(0));
        block_on(store.append(AppendRequest::new([first, lit("{\n}")]))).unwrap();
        let events = block_on(store.read(ReadRequest::default())).unwrap().events;
        let text = test_of(&stream, "home::Lamp", &events, &serde_json::json!({"n": 1})).unwrap();
        let expected = r##"/// The stream 42 Lámpas-"x" as it was at version 2.
#[test]
fn stream_42_l_mpas__x__at_version_2() {
    let given = annals::given_stored::<home::Lamp>([
        ("Say \"Lit\"", r#"{"n":1}"#), // 1970-01-01T00:00:00Z
        ("Say \"Lit\"", "{\n}"),
    ]);
    let state = serde_json::to_value(given.state()).unwrap();
    let expected: serde_json::Value = serde_json::from_str(
        r#"{
          "n": 1
        }"#,
    )
    .unwrap();
    assert_eq!(state, expected);
}
"##;
        assert_eq!(text, expected);
    }
}
