//! Events that become commands again.

use annals_app::App;
use annals_core::ReadRequest;

use crate::domain::{Counter, CounterCommand, CounterEvent, World};

#[tokio::test]
async fn events_become_the_commands_that_the_application_names() {
    let world = World::new();
    let app = world.start().await;
    app.execute::<Counter>("a-b", CounterCommand::IncrementTwice { by: 2 }).await.unwrap();
    app.execute::<Counter>("a-b", CounterCommand::Reset).await.unwrap();
    let events = world.store.reader(ReadRequest::default()).collect().await.unwrap();

    let reissues = App::new("x").aggregate::<Counter>().reissue::<Counter>(|event, recorded| match event {
        CounterEvent::Incremented { by, .. } => {
            assert!(String::from_utf8_lossy(recorded.metadata().unwrap()).contains("IncrementTwice"));
            Some(CounterCommand::Increment { by: *by })
        }
        CounterEvent::Reset => None,
    });
    let reissues = reissues.reissues();
    assert_eq!(reissues.categories().collect::<Vec<_>>(), ["counter"]);
    let first = reissues.commands_of(&events[0]).unwrap();
    assert_eq!(first.len(), 1);
    let command = &first[0];
    assert_eq!(
        (command.category.as_str(), command.id.as_str(), command.name),
        ("counter", "a-b", "Increment")
    );
    assert_eq!(&command.json[..], b"{\"by\":2}");
    assert_eq!(reissues.commands_of(&events[0]).unwrap(), first, "the same event, the same id");
    assert_ne!(reissues.commands_of(&events[1]).unwrap()[0].command_id, command.command_id);
    assert_eq!(reissues.commands_of(&events[2]).unwrap(), []);
    // An application that says nothing gives nothing.
    let silent = world.app().reissues();
    assert_eq!((silent.categories().count(), silent.commands_of(&events[0]).unwrap()), (0, Vec::new()));
}
