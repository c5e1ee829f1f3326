//! `trace`: what came of what.

use std::collections::BTreeMap;

use annals_app::{MOST_TRACED_EVENTS, TracedEvent, trace};
use annals_core::Position;
use clap::Args;
use serde_json::{Value, json};

use crate::{Failure, Output, Session};

/// The events that belong together, each below the one that caused it.
#[derive(Debug, Args)]
pub(crate) struct Trace {
    /// A correlation id, or the id of one of the events
    id: String,
}

impl Trace {
    pub(crate) async fn run(self, session: Session) -> Result<(), Failure> {
        let store = session.open_existing_store().await?.events;
        let traced = trace(&*store, &self.id).await?;
        let output = session.output();
        let rows: Vec<_> =
            as_tree(&traced.events).into_iter().map(|(depth, traced)| row(output, depth, traced)).collect();
        output.print(&rows)?;
        if !traced.is_whole {
            session.say(format!("note: these are the first {MOST_TRACED_EVENTS} events, there are more"));
        }
        Ok(())
    }
}

/// The events, each with how deep it lies below the first, and behind the one that caused it.
fn as_tree(events: &[TracedEvent]) -> Vec<(usize, &TracedEvent)> {
    let mut caused: BTreeMap<Option<Position>, Vec<&TracedEvent>> = BTreeMap::new();
    for event in events {
        caused.entry(event.cause).or_default().push(event);
    }
    let mut next: Vec<_> = caused.remove(&None).into_iter().flatten().rev().map(|event| (0, event)).collect();
    let mut tree = Vec::with_capacity(events.len());
    while let Some((depth, event)) = next.pop() {
        let below = caused.remove(&Some(event.event.position())).into_iter().flatten().rev();
        next.extend(below.map(|event| (depth + 1, event)));
        tree.push((depth, event));
    }
    tree
}

fn row(output: Output, depth: usize, traced: &TracedEvent) -> Value {
    let event = &traced.event;
    let name = match output {
        Output::Table if depth > 0 => format!("{}└ {}", "  ".repeat(depth - 1), event.event_type()),
        _ => event.event_type().to_owned(),
    };
    json!({
        "event": name,
        "stream": event.stream(),
        "version": event.version(),
        "position": event.position(),
        "cause": traced.cause,
        "command": traced.command,
        "command_id": traced.command_id,
        "principal": traced.principal,
        "recorded_at": event.recorded_at(),
        "id": event.id(),
    })
}
