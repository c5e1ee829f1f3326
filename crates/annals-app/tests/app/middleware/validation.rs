//! Commands look at themselves, behind the permission and before anything is loaded.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use annals_app::*;
use serde::{Deserialize, Serialize};

use super::{by, start};
use crate::domain::World;
use crate::odd_store::OddStore;

#[derive(Event, Serialize, Deserialize, Debug, PartialEq)]
#[event(unlocked)]
#[annals(crate = annals_app)]
struct NoteWritten {
    title: String,
}

#[derive(Command, Serialize, Deserialize)]
#[annals(crate = annals_app)]
#[command(validate = note)]
struct WriteNote {
    title: String,
    lines: u32,
}

fn note(WriteNote { title, lines }: &WriteNote) -> Result<(), Invalid> {
    assert_ne!(title, "!", "cannot look at this");
    Invalid::new()
        .at_most_chars(5, "title", title)
        .unless(*lines > 0, "lines", || format!("must be more than zero, found {lines}"))
        .into_result()
}

#[derive(Debug, thiserror::Error, DomainError)]
#[annals(crate = annals_app)]
enum Never {}

#[derive(Default, Clone, Serialize, Deserialize, State, Debug)]
#[annals(crate = annals_app)]
struct Note {}

impl Aggregate for Note {
    const CATEGORY: &'static str = "note";
    type Command = WriteNote;
    type Event = NoteWritten;
    type Error = Never;

    fn handle(&self, WriteNote { title, .. }: &WriteNote, _: &Context) -> Result<Vec<NoteWritten>, Never> {
        Ok(vec![NoteWritten { title: title.clone() }])
    }

    fn apply(&mut self, _: &NoteWritten) {}
}

fn write(title: &str, lines: u32) -> WriteNote {
    WriteNote { title: title.to_owned(), lines }
}

#[tokio::test]
async fn every_field_that_is_not_as_it_should_be_is_named() {
    let world = World::new();
    let app = start(&world, App::new("notes").aggregate::<Note>()).await;
    app.execute::<Note>("a", write("ééééé", 1)).await.unwrap();
    let error = app.execute::<Note>("a", write("éééééé", 0)).await.unwrap_err();
    let text = "WriteNote is not valid: title: must have at most 5 characters, found 6; \
                lines: must be more than zero, found 0";
    assert_eq!(error.to_string(), text);
    let Error::Invalid { command, invalid } = error else { panic!("{error}") };
    assert_eq!((command.as_str(), invalid.fields().len()), ("WriteNote", 2));
    assert_eq!(app.store().head().await.unwrap().get(), 1, "nothing was written");
    let error = app.execute::<Note>("a", write("!", 1)).await.unwrap_err();
    assert!(error.to_string().starts_with("the validation of WriteNote panicked: "), "{error}");
}

#[tokio::test]
async fn a_validation_comes_behind_the_permission_and_before_the_store() {
    let store = OddStore::new();
    let world = World { store: Arc::clone(&store) as _, ..World::new() };
    let may = |who: &Principal, _: &Action<'_>| if who.name == "ann" { Ok(()) } else { Err("no".to_owned()) };
    let app = start(&world, App::new("notes").aggregate::<Note>().permission(may)).await;
    let before = store.reads.load(Ordering::SeqCst);
    let denied = app.execute::<Note>("a", write("too long", 0)).await.unwrap_err();
    assert!(matches!(denied, Error::Denied { .. }), "{denied}");
    let ann = by("ann", "k");
    let invalid = app.execute_with::<Note>("a", write("too long", 0), ann.clone()).await.unwrap_err();
    assert!(matches!(invalid, Error::Invalid { .. }), "{invalid}");
    assert_eq!(store.reads.load(Ordering::SeqCst), before);
    app.execute_with::<Note>("a", write("fits", 1), ann).await.unwrap();
    assert!(store.reads.load(Ordering::SeqCst) > before);
}
