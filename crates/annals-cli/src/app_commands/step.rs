//! `step`: through the events of an entity, one by one, with the arrow keys.

use std::io::{self, IsTerminal, Write};

use annals_app::{At, RunningApp};
use annals_core::{BoxError, Version};
use clap::Args;
use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::terminal::{self, Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen};
use crossterm::{cursor, execute, queue};
use serde_json::Value;

use crate::remote::{Remote, RemoteRequest, path};
use crate::{Failure, Session, table};

/// Step through the events of an entity.
#[derive(Debug, Args)]
#[command(after_help = "Keys: right and left for the next and the last event, home and end, q to end.\n\n\
                        Examples:\n  step account 42\n  step account 42 --version 10")]
pub(crate) struct Step {
    /// The kind of entity, such as account
    category: String,
    /// Which one, such as 42
    id: String,
    /// Begin at its event of this version
    #[arg(long, value_name = "VERSION", default_value = "1")]
    version: Version,
    /// Ask a running service instead of opening the store
    #[arg(long, value_name = "URL")]
    server: Option<String>,
}

/// Where states and changes come from.
enum Source {
    Application(Box<RunningApp>),
    Service(String),
}

/// What is shown of one event.
struct Moment {
    version: u64,
    newest: u64,
    state: Value,
    event: Value,
}

impl Step {
    pub(crate) async fn run(self, mut session: Session) -> Result<(), Failure> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return Err(Failure::usage("step needs a terminal: use diff, or state --version, for programs"));
        }
        let source = match &self.server {
            Some(server) => Source::Service(server.clone()),
            None => Source::Application(Box::new(session.start_on_existing().await?)),
        };
        let mut moment = self.moment(&source, self.version.get()).await?;
        let _screen = Screen::take()?;
        loop {
            show(&format!("{} {}", self.category, self.id), &moment)?;
            let next = match next_key().await? {
                Key::Forwards => moment.version + 1,
                Key::Backwards => moment.version - 1,
                Key::First => 1,
                Key::Last => u64::MAX,
                Key::Redraw => moment.version,
                Key::End => return Ok(()),
            };
            moment = self.moment(&source, next).await?;
        }
    }

    /// What is to be shown of the event of a version, or of the first or last one there is.
    async fn moment(&self, source: &Source, version: u64) -> Result<Moment, Failure> {
        let newest = source.state(self, None).await?["version"].as_u64().unwrap_or(1);
        let version = version.clamp(1, newest);
        let state = source.state(self, Some(version)).await?;
        let mut difference = source.difference(self, version).await?;
        // A service may answer anything.
        let event = difference.pointer_mut("/events/0").map(Value::take).unwrap_or_default();
        Ok(Moment { version, newest, state: state["state"].clone(), event })
    }
}

impl Source {
    async fn state(&self, of: &Step, version: Option<u64>) -> Result<Value, Failure> {
        match self {
            Self::Application(app) => {
                let at = version.map_or(At::Now, |version| At::Version(Version::new(version)));
                Ok(serde_json::to_value(app.state(&of.category, &of.id, at).await?)?)
            }
            Self::Service(server) => {
                let when = version.map(|version| format!("?version={version}")).unwrap_or_default();
                ask(server, path(&["state", &of.category, &of.id]) + &when).await
            }
        }
    }

    async fn difference(&self, of: &Step, version: u64) -> Result<Value, Failure> {
        let (from, to) = (Version::new(version.saturating_sub(1)), Version::new(version));
        match self {
            Self::Application(app) => {
                let difference = app.difference(&of.category, &of.id, from, Some(to)).await?;
                Ok(serde_json::to_value(difference)?)
            }
            Self::Service(server) => {
                let range = format!("?from={from}&to={to}");
                ask(server, path(&["diff", &of.category, &of.id]) + &range).await
            }
        }
    }
}

async fn ask(server: &str, path: String) -> Result<Value, Failure> {
    let answer = Remote::new(server)?.send(RemoteRequest { path, ..RemoteRequest::default() }).await?;
    Ok(serde_json::from_slice(&answer)?)
}

/// The terminal, given back as it was however this ends.
struct Screen;

impl Screen {
    fn take() -> Result<Self, Failure> {
        terminal::enable_raw_mode()?;
        let screen = Self;
        execute!(io::stdout(), EnterAlternateScreen, cursor::Hide)?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = execute!(io::stdout(), LeaveAlternateScreen, cursor::Show);
        let _ = terminal::disable_raw_mode();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Forwards,
    Backwards,
    First,
    Last,
    Redraw,
    End,
}

async fn next_key() -> Result<Key, Failure> {
    loop {
        let read = tokio::task::spawn_blocking(event::read).await.map_err(BoxError::from)??;
        match read {
            Event::Key(key) if key.kind != KeyEventKind::Release => {
                if let Some(key) = meaning(key) {
                    return Ok(key);
                }
            }
            Event::Resize(..) => return Ok(Key::Redraw),
            _ => {}
        }
    }
}

fn meaning(key: KeyEvent) -> Option<Key> {
    Some(match key.code {
        KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => Key::End,
        KeyCode::Right | KeyCode::Down | KeyCode::Char('n' | ' ') => Key::Forwards,
        KeyCode::Left | KeyCode::Up | KeyCode::Char('p') => Key::Backwards,
        KeyCode::Home | KeyCode::Char('g') => Key::First,
        KeyCode::End | KeyCode::Char('G') => Key::Last,
        KeyCode::Esc | KeyCode::Char('q') => Key::End,
        _ => return None,
    })
}

fn show(title: &str, moment: &Moment) -> Result<(), Failure> {
    let (width, height) = terminal::size()?;
    let mut out = io::stdout().lock();
    queue!(out, Clear(ClearType::All))?;
    let lines = lines(title, moment);
    for (row, line) in lines.iter().take(usize::from(height)).enumerate() {
        let line: String = line.chars().take(usize::from(width)).collect();
        queue!(out, cursor::MoveTo(0, row as u16))?;
        out.write_all(line.as_bytes())?;
    }
    Ok(out.flush()?)
}

fn lines(title: &str, moment: &Moment) -> Vec<String> {
    let text = |name: &str| table::cell(&moment.event[name]);
    let mut lines = vec![
        format!("{title}: event {} of {}", moment.version, moment.newest),
        String::new(),
        format!("{}  {}", text("event_type"), text("payload")),
        format!(
            "occurred {}, recorded {} at position {}",
            text("occurred_at"),
            text("recorded_at"),
            text("position")
        ),
        String::new(),
    ];
    let changes = moment.event["changed"].as_array().map(Vec::as_slice).unwrap_or_default();
    for change in changes {
        let value = |name: &str| {
            let value = change.get(name).filter(|value| !value.is_null());
            value.map_or("(nothing)".to_owned(), table::cell)
        };
        lines.push(format!("  {}  {} → {}", table::cell(&change["path"]), value("before"), value("after")));
    }
    if changes.is_empty() {
        lines.push("  it changed nothing".to_owned());
    }
    lines.push(String::new());
    lines.extend(table::render(&moment.state).lines().map(str::to_owned));
    lines.extend([String::new(), "← →  step    home end  first, last    q  end".to_owned()]);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_is_shown_with_what_it_changed() {
        let event = json!({
            "version": 2, "position": 7, "occurred_at": "1993-03-01T00:00:00Z", "recorded_at": "2026-01-01T00:00:00Z",
            "event_type": "MoneyDeposited", "payload": {"amount": "5.00"},
            "changed": [{"path": "/balance", "before": "0.00", "after": "5.00"}, {"path": "/note", "after": "x"}],
        });
        let moment = Moment { version: 2, newest: 3, state: json!({"balance": "5.00"}), event };
        let shown = lines("account 42", &moment);
        assert_eq!(shown[0], "account 42: event 2 of 3");
        assert_eq!(shown[2], r#"MoneyDeposited  {"amount":"5.00"}"#);
        assert_eq!(shown[5..7], ["  /balance  0.00 → 5.00", "  /note  (nothing) → x"]);
        assert!(shown.contains(&"balance  5.00".to_owned()), "{shown:?}");
    }

    #[test]
    fn keys_step() {
        let key = |code| meaning(KeyEvent::new(code, KeyModifiers::NONE));
        assert_eq!(key(KeyCode::Right), Some(Key::Forwards));
        assert_eq!(key(KeyCode::Left), Some(Key::Backwards));
        assert_eq!(key(KeyCode::Char('x')), None);
        assert_eq!(meaning(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Some(Key::End));
    }
}
