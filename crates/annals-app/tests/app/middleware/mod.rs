//! What a command passes on its way: layers, limits, permission, validation; and what is noted of it.

mod causes;
mod layers;
mod limits;
mod permission;
mod spans;
mod validation;

use std::sync::Arc;

use annals_app::{App, CommandOptions, CommandRequest, Principal, RunningApp};

use crate::domain::World;

async fn start(world: &World, app: App) -> RunningApp {
    app.start(Arc::clone(&world.store), Arc::clone(&world.models) as _).await.unwrap()
}

fn increment(id: &str, options: CommandOptions) -> CommandRequest {
    CommandRequest::json("counter", id, "Increment", r#"{"by":1}"#, options)
}

/// The options of a command with an id that somebody gives.
fn by(name: &'static str, command_id: &str) -> CommandOptions {
    let command_id = Some(command_id.parse().unwrap());
    CommandOptions { command_id, principal: Principal::named(name), ..CommandOptions::default() }
}
