//! Who may give a command is asked before anything else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use annals_app::{Action, CommandRequest, Error, Principal};

use super::{by, increment, start};
use crate::domain::World;

#[tokio::test]
async fn who_may_nothing_is_not_told_what_there_is() {
    let world = World::new();
    let may = |who: &Principal, _: &Action<'_>| {
        if who.has_role("teller") { Ok(()) } else { Err("only tellers may".to_owned()) }
    };
    let app = start(&world, world.app().permission(may)).await;
    let give = async |category: &str, id: &str, name: &str, body: &'static str, who: Principal| {
        let options = annals_app::CommandOptions { principal: who, ..Default::default() };
        app.dispatch(CommandRequest::json(category, id, name, body, options)).await.err()
    };
    for (category, id, name, body) in [
        ("counter", "a", "Increment", r#"{"by":1}"#),
        ("counter", "a", "Increment", "nonsense"),
        ("counter", "a\u{0}", "Increment", r#"{"by":1}"#),
        ("counter", "a", "Explode", "{}"),
        ("safe", "a", "Open", "{}"),
    ] {
        let told = give(category, id, name, body, Principal::named("eve")).await.unwrap();
        let expected = format!("eve may not {name} on {category} {id:?}: only tellers may");
        assert_eq!(told.to_string(), expected);
        assert!(matches!(told, Error::Denied { .. }));
    }
    let teller = Principal::named("ann").with_roles(["teller"]);
    assert!(give("counter", "a", "Increment", r#"{"by":1}"#, teller.clone()).await.is_none());
    assert!(matches!(give("safe", "a", "Open", "{}", teller).await, Some(Error::Unknown(_))));
    let stored = app.store().read(Default::default()).await.unwrap().events;
    let metadata = String::from_utf8_lossy(stored[0].metadata().unwrap()).into_owned();
    assert!(metadata.contains("ann") && !metadata.contains("teller"), "the name only: {metadata}");
}

#[tokio::test]
async fn a_first_answer_is_not_told_to_who_has_lost_the_right() {
    let world = World::new();
    let is_open = Arc::new(AtomicBool::new(true));
    let asked = Arc::clone(&is_open);
    let may = move |_: &Principal, _: &Action<'_>| {
        if asked.load(Ordering::SeqCst) { Ok(()) } else { Err("the counter is closed".to_owned()) }
    };
    let app = start(&world, world.app().permission(may)).await;
    app.dispatch(increment("a", by("ann", "k"))).await.unwrap();
    is_open.store(false, Ordering::SeqCst);
    let Err(Error::Denied { reason, .. }) = app.dispatch(increment("a", by("ann", "k"))).await else {
        panic!("the first answer was told")
    };
    assert_eq!(reason, "the counter is closed");
    is_open.store(true, Ordering::SeqCst);
    assert!(app.dispatch(increment("a", by("ann", "k"))).await.unwrap().duplicate);
}

#[tokio::test]
async fn a_permission_that_panics_allows_nothing() {
    let world = World::new();
    let app = start(&world, world.app().permission(|_, _| panic!("no list of tellers"))).await;
    let error = app.dispatch(increment("a", Default::default())).await.err().unwrap();
    assert!(matches!(error, Error::Panicked { is_unknown: false, .. }), "{error}");
    let text =
        "the permission to Increment on counter \"a\" panicked: no list of tellers; nothing was written";
    assert!(error.to_string().starts_with(text), "{error}");
    assert_eq!(app.store().head().await.unwrap().get(), 0);
}
