//! Command, event, reaction, command: what caused what can be walked.

use annals_app::*;
use annals_core::*;

use super::{by, increment, start};
use crate::domain::{Counter, CounterCommand, World};

/// Tells the counter with the next letter of each increment, up to `d`.
struct Relay;

impl Reaction for Relay {
    const NAME: &'static str = "relay";

    fn filter(&self) -> Filter {
        Filter::category(Category::new("counter").unwrap())
    }

    async fn react(&self, event: &RecordedEvent, context: &ReactionContext) -> Result<(), BoxError> {
        let next = match event.entity_id() {
            "a" => "b",
            "b" => "c",
            "c" => "d",
            _ => return Ok(()),
        };
        let command = CounterCommand::Increment { by: 1 };
        if next == "c" {
            // A command without an id of its own.
            let options = CommandOptions { command_id: None, ..context.command_options("next") };
            let json = CommandRequest::json("counter", next, "Increment", r#"{"by":1}"#, options);
            context.dispatch(json).await?;
        } else {
            context.execute::<Counter>(next, command, "next").await?;
        }
        Ok(())
    }
}

async fn settled(app: &RunningApp) {
    while app.settle(std::time::Duration::from_secs(60)).await.is_err() {
        tokio::task::yield_now().await;
    }
}

/// Each event's stream and cause.
fn told(trace: &Trace) -> Vec<(&str, Option<u64>)> {
    trace.events.iter().map(|traced| (traced.event.stream(), traced.cause.map(Position::get))).collect()
}

const CHAIN: [(&str, Option<u64>); 4] =
    [("counter-a", None), ("counter-b", Some(1)), ("counter-c", Some(2)), ("counter-d", Some(3))];

#[tokio::test]
async fn what_reactions_do_is_traced_to_what_began_it() {
    let world = World::new();
    let app = start(&world, world.app().reaction(Relay)).await;
    app.execute::<Counter>("a", CounterCommand::Increment { by: 1 }).await.unwrap();
    settled(&app).await;
    app.execute::<Counter>("z", CounterCommand::Increment { by: 1 }).await.unwrap();
    let only = app.store().read(ReadRequest::default()).await.unwrap().events;
    let ids: Vec<_> = only.iter().take(4).map(|event| event.id().to_string()).collect();
    // Whichever event one begins with, and with the first one's id as correlation id.
    for id in &ids {
        let trace = app.trace(id).await.unwrap();
        assert_eq!((told(&trace), trace.is_whole), (CHAIN.to_vec(), true), "{id}");
        assert_eq!(trace.correlation_id.as_str(), ids[0]);
    }
    let trace = app.trace(&ids[3]).await.unwrap();
    let [first, second, third, _] = &trace.events[..] else { panic!("{trace:?}") };
    assert_eq!((first.caused_by.as_deref(), first.principal.as_deref()), (None, Some("anonymous")));
    assert_eq!(second.principal.as_deref(), Some("reaction:relay"));
    assert_eq!(second.caused_by.as_deref(), Some(ids[0].as_str()));
    // The id of the command is the causation id of its events; a command without one passes its own cause on.
    assert_eq!(second.command_id.as_deref(), second.event.causation_id());
    assert!(second.command_id.as_ref().is_some_and(|id| *id != ids[0]));
    assert_eq!((third.command_id.as_deref(), third.event.causation_id()), (None, Some(ids[1].as_str())));
}

#[tokio::test]
async fn a_correlation_id_goes_with_all_that_follows() {
    let world = World::new();
    let app = start(&world, world.app().reaction(Relay)).await;
    let correlation_id = Some("order 7".parse().unwrap());
    let options = CommandOptions { correlation_id, ..by("ann", "k") };
    app.dispatch(increment("a", options.clone())).await.unwrap();
    settled(&app).await;
    let trace = app.trace("order 7").await.unwrap();
    assert_eq!(told(&trace), CHAIN);
    assert!(trace.events.iter().all(|traced| traced.event.correlation_id() == Some("order 7")));
    assert_eq!(trace.events[0].command_id.as_deref(), Some("k"));
    assert_eq!(trace.events[0].command.as_deref(), Some("Increment"));
    // What was refused is a part of it, and what is given because of a command by its id.
    let cause = Some("k".parse().unwrap());
    let options = CommandOptions { causation_id: cause, ..options };
    let more = CommandOptions { command_id: Some("k2".parse().unwrap()), ..options };
    let refused = app.execute_with::<Counter>("z", CounterCommand::Reset, more.clone()).await;
    assert!(matches!(refused, Err(Error::Domain(_))), "{refused:?}");
    let trace = app.trace("order 7").await.unwrap();
    let last = trace.events.last().unwrap();
    assert_eq!((last.event.event_type(), last.cause), ("CommandRefused", Some(1.into())));
    // What caused a command does not make it another one.
    let again = CommandOptions { causation_id: None, ..more };
    let again = app.execute_with::<Counter>("z", CounterCommand::Reset, again).await;
    assert!(matches!(again, Err(Error::Domain(_))), "{again:?}");
    let nothing = app.trace("order 8").await.unwrap_err().to_string();
    assert_eq!(nothing, "there is no event or correlation id \"order 8\"");
    assert!(matches!(app.trace("").await, Err(Error::Malformed { .. })));
}
