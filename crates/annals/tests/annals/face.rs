//! Stores chosen by an address.

use annals::{AppendRequest, EventType, Filter, NewEvent, ReadRequest, StoreError, StreamName};

#[tokio::test]
async fn one_address_chooses_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display();
    for (url, described) in [
        (format!("file:{path}/log"), "event log"),
        (format!("file://{path}/log2"), "event log"),
        (format!("{path}/log3"), "event log"),
        (format!("sqlite:{path}/events.sqlite"), "SQLite"),
        ("memory:".to_owned(), "memory"),
    ] {
        let store = annals::open_store(&url).await.unwrap().events;
        assert!(store.description().contains(described), "{url}: {}", store.description());
        let event = NewEvent::new(StreamName::new("a-1").unwrap(), EventType::new("Happened").unwrap());
        store.append(AppendRequest::new([event])).await.unwrap();
        assert_eq!(store.reader(ReadRequest::new(Filter::all())).collect().await.unwrap().len(), 1);
    }
    for url in ["", "mongodb://x", "a\0b"] {
        assert!(matches!(annals::open_store(url).await, Err(StoreError::BadUrl { .. })), "{url:?}");
    }
}

#[test]
fn the_readme_shows_the_example_that_is_compiled() {
    let example = include_str!("../../examples/shortest.rs");
    let shown = example.split("// [begin]\n").nth(1).and_then(|rest| rest.split("// [end]").next()).unwrap();
    let readme = include_str!("../../../../README.md");
    assert!(readme.contains(&format!("```rust\n{}```", shown.replace("pub(super) fn main", "fn main"))));
}
