//! `execute`: a command to an entity, here or at a running service.

use std::time::Duration;

use annals_app::{CommandOptions, CommandRequest};
use annals_core::{CausationId, Timestamp, Version};
use clap::Args;
use serde_json::{Map, Value, json};

use crate::remote::{Remote, RemoteRequest, path};
use crate::{Failure, Session};

/// What follows from a command outside of the store is given this long; the next start goes on with the rest.
const SETTLING: Duration = Duration::from_secs(5);

/// A command to an entity.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  execute account 42 OpenAccount owner=Ann\n  execute account 42 DepositMoney \
                        amount=100.00\n  execute account 42 DepositMoney '{\"amount\":\"100.00\"}'\n  execute account \
                        42 DepositMoney amount=5.00 --server http://127.0.0.1:4000"
)]
pub(crate) struct Execute {
    /// The kind of entity, such as account
    category: String,
    /// Which one, such as 42
    id: String,
    /// The command, such as DepositMoney
    command: String,
    /// Its fields: NAME=TEXT, NAME:=JSON, or one JSON object
    #[arg(value_name = "FIELDS")]
    fields: Vec<String>,
    /// Give the command to a running service instead of opening the store
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// Makes the command idempotent: with the same id again, the first answer comes back
    #[arg(long, value_name = "ID")]
    command_id: Option<CausationId>,
    /// Refuse the command unless the entity is at this version
    #[arg(long, value_name = "VERSION")]
    expect: Option<Version>,
    /// When it happened in the world, if not now
    #[arg(long, value_name = "TIME")]
    occurred_at: Option<Timestamp>,
}

impl Execute {
    pub(crate) async fn run(self, mut session: Session) -> Result<(), Failure> {
        let body = body(&self.fields)?;
        if let Some(server) = &self.server {
            let mut headers = Vec::new();
            headers.extend(self.command_id.as_ref().map(|id| ("idempotency-key", id.to_string())));
            headers.extend(self.expect.map(|version| ("if-match", format!("\"{version}\""))));
            headers.extend(self.occurred_at.map(|moment| ("annals-occurred-at", moment.to_string())));
            let path = path(&["commands", &self.category, &self.id, &self.command]);
            let answer = Remote::new(server)?.send(RemoteRequest { path, headers, body: Some(body) }).await?;
            return session.output().print_json(&answer);
        }
        let options = CommandOptions {
            command_id: self.command_id,
            expected_version: self.expect,
            occurred_at: self.occurred_at,
            ..CommandOptions::default()
        };
        let app = session.start().await?;
        let request = CommandRequest::json(&self.category, &self.id, &self.command, body, options);
        let done = app.dispatch(request).await?;
        let events = done.events.iter().map(|event| {
            let data: Value = serde_json::from_slice(&event.payload)?;
            Ok(json!({ "type": event.event_type, "version": event.version, "data": data }))
        });
        session.output().print(&json!({
            "stream": done.stream,
            "version": done.version,
            "position": done.position,
            "events": events.collect::<Result<Vec<_>, serde_json::Error>>()?,
        }))?;
        if let Err(error) = app.settle(SETTLING).await {
            session.say(format!("note: {error}; the next start goes on"));
        }
        Ok(())
    }
}

/// The JSON of a command from its fields on the command line.
fn body(fields: &[String]) -> Result<Vec<u8>, Failure> {
    if let [only] = fields
        && only.trim_start().starts_with('{')
    {
        return Ok(only.clone().into_bytes());
    }
    let mut body = Map::new();
    for field in fields {
        let (name, value) = parse_field(field)?;
        body.insert(name, value);
    }
    Ok(Value::Object(body).to_string().into_bytes())
}

fn parse_field(field: &str) -> Result<(String, Value), Failure> {
    let (name, text) = field
        .split_once('=')
        .ok_or_else(|| Failure::usage(format!("{field:?}: expected NAME=TEXT or NAME:=JSON")))?;
    match name.strip_suffix(':') {
        None => Ok((name.to_owned(), Value::from(text))),
        Some(name) => {
            let value = serde_json::from_str(text);
            Ok((
                name.to_owned(),
                value.map_err(|error| Failure::usage(format!("{field:?}: not JSON: {error}")))?,
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_become_json() {
        let json = |fields: &[&str]| {
            let fields: Vec<String> = fields.iter().map(|field| (*field).to_owned()).collect();
            body(&fields).map(|bytes| String::from_utf8(bytes).unwrap())
        };
        assert_eq!(json(&["a=1", "b:=[2]", "c=x=y"]).unwrap(), r#"{"a":"1","b":[2],"c":"x=y"}"#);
        assert_eq!(json(&[r#"{"a":1}"#]).unwrap(), r#"{"a":1}"#);
        assert_eq!(json(&[]).unwrap(), "{}");
        assert!(json(&["a"]).unwrap_err().to_string().contains("NAME=TEXT"));
        assert!(json(&["a:={"]).unwrap_err().to_string().contains("not JSON"));
    }
}
