//! Each command is a span.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use annals_app::{CommandOptions, CommandRequest, Principal};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use super::start;
use crate::domain::World;
use crate::odd_store::OddStore;

/// The fields of the spans of commands, by span.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<BTreeMap<u64, BTreeMap<&'static str, String>>>>);

struct Fields<'a>(&'a mut BTreeMap<&'static str, String>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl<S: Subscriber> Layer<S> for Spans {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.name() == "command"
    }
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, _: Context<'_, S>) {
        attributes.record(&mut Fields(self.0.lock().unwrap().entry(id.into_u64()).or_default()));
    }
    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        values.record(&mut Fields(self.0.lock().unwrap().entry(id.into_u64()).or_default()));
    }
    // A registry would use the number of a closed span again.
    fn on_close(&self, id: Id, _: Context<'_, S>) {
        let mut spans = self.0.lock().unwrap();
        let closed = spans.remove(&id.into_u64()).unwrap_or_default();
        let place = u64::MAX - spans.len() as u64;
        spans.insert(place, closed);
    }
}

#[tokio::test]
async fn a_span_tells_who_asked_for_what_and_how_it_went() {
    let spans = Spans::default();
    // With a single subscriber, tracing lets the first thread that passes by decide for all, and the others listen to nobody.
    let _second = tracing::Dispatch::new(Registry::default());
    let _listening = tracing::subscriber::set_default(Registry::default().with(spans.clone()));
    let store = OddStore::new();
    let world = World { store: Arc::clone(&store) as _, ..World::new() };
    let app = start(
        &world,
        world.app().permission(|_, action| {
            let is_reset = matches!(action, annals_app::Action::Command { name: "Reset", .. });
            if is_reset { Err("not today".to_owned()) } else { Ok(()) }
        }),
    )
    .await;
    let options = |version| CommandOptions {
        principal: Principal::named("ann"),
        correlation_id: Some("trip-1".parse().unwrap()),
        expected_version: version,
        ..CommandOptions::default()
    };
    let give = async |name: &str, body: &'static str, version: Option<u64>| {
        let options = options(version.map(annals_core::Version::new));
        let _ = app.dispatch(CommandRequest::json("counter", "a", name, body, options)).await;
    };
    give("Increment", r#"{"by":77}"#, None).await;
    give("Increment", r#"{"by":777}"#, None).await;
    give("Increment", r#"{"by":7}"#, Some(9)).await;
    give("Reset", "{}", None).await;
    store.is_read_only.store(true, Ordering::SeqCst);
    give("Increment", r#"{"by":7}"#, None).await;

    let spans = spans.0.lock().unwrap();
    let told: Vec<_> = spans.values().rev().map(|fields| fields["outcome"].as_str()).collect();
    assert_eq!(told, ["done", "refused", "conflict", "refused", "failed"]);
    let first = spans.values().next_back().unwrap();
    let expected = [
        ("category", "counter"),
        ("correlation_id", "trip-1"),
        ("id", "a"),
        ("name", "Increment"),
        ("outcome", "done"),
        ("position", "1"),
        ("principal", "ann"),
        ("version", "1"),
    ];
    assert_eq!(first.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>(), expected);
    assert!(!format!("{spans:?}").contains("77"), "never what a command holds: {spans:?}");
}
