//! What processes wait for: a read model of the framework's own, from which timers are fired and open processes are told.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use annals_core::{
    BoxError, Category, EventType, Filter, FilterItem, NameError, Position, ReadModelError, ReadModelTx,
    RecordedEvent, Timestamp, Value, Version, params,
};
use serde::{Deserialize, Serialize};

use super::AnyProcess;
use super::instance::StepTaken;
use crate::{Named, Projection, Query, QueryContext, QueryError, decode_event};

/// The read model of what processes wait for: answers to their commands, and timers. It is kept like any other.
pub struct Work {
    processes: Vec<Category>,
}

impl Work {
    pub(crate) fn of(processes: &BTreeMap<&'static str, Arc<dyn AnyProcess>>) -> Result<Self, NameError> {
        Ok(Self { processes: processes.keys().map(Category::new).collect::<Result<_, _>>()? })
    }
}

/// What one row of a table becomes: nothing when it goes.
type Changes<K> = HashMap<K, Option<Vec<Value>>>;

impl Projection for Work {
    const NAME: &'static str = "processes";
    const VERSION: u32 = 1;

    fn filter(&self) -> Filter {
        let types: Vec<_> = EventType::new(StepTaken::NAMES[0]).into_iter().collect();
        let of = |category: &Category| FilterItem {
            category: Some(category.clone()),
            types: types.clone(),
            ..FilterItem::default()
        };
        self.processes.iter().map(of).collect()
    }

    async fn prepare(&self, tx: &mut dyn ReadModelTx) -> Result<(), BoxError> {
        for sql in [
            "CREATE TABLE IF NOT EXISTS open_processes (process TEXT NOT NULL, id TEXT NOT NULL, steps BIGINT NOT NULL, \
             position BIGINT NOT NULL, since BIGINT NOT NULL, PRIMARY KEY (process, id))",
            "CREATE TABLE IF NOT EXISTS open_commands (command_id TEXT PRIMARY KEY, process TEXT NOT NULL, id TEXT NOT NULL, \
             label TEXT NOT NULL, category TEXT NOT NULL, entity TEXT NOT NULL, command TEXT NOT NULL)",
            "CREATE INDEX IF NOT EXISTS open_commands_of ON open_commands (process, id)",
            "CREATE TABLE IF NOT EXISTS open_timers (process TEXT NOT NULL, id TEXT NOT NULL, timer TEXT NOT NULL, \
             due BIGINT NOT NULL, step BIGINT NOT NULL, PRIMARY KEY (process, id, timer))",
            "CREATE INDEX IF NOT EXISTS open_timers_by_due ON open_timers (due)",
        ] {
            tx.execute(sql, &[]).await?;
        }
        Ok(())
    }

    async fn apply(&self, tx: &mut dyn ReadModelTx, events: &[RecordedEvent]) -> Result<(), BoxError> {
        let mut processes: Changes<(&str, &str)> = HashMap::new();
        let mut commands: Changes<String> = HashMap::new();
        let mut timers: Changes<(&str, &str, String)> = HashMap::new();
        let mut over = Vec::new();
        for event in events {
            let (process, id) = (event.category(), event.entity_id());
            for step in decode_event::<StepTaken>(event)? {
                let row = params![process, id, event.version(), event.position(), event.recorded_at()];
                processes.insert((process, id), (!step.is_over).then(|| row.to_vec()));
                if let Some(command_id) = step.answered() {
                    commands.insert(command_id.to_owned(), None);
                }
                for timer in step.fired().into_iter().chain(step.cancelled.iter().map(String::as_str)) {
                    timers.insert((process, id, timer.to_owned()), None);
                }
                if step.is_over {
                    over.push(params![process, id].to_vec());
                    commands.retain(|_, row| !is_of(row.as_deref(), process, id));
                    timers.retain(|(of, key, _), _| (*of, *key) != (process, id));
                    continue;
                }
                for command in step.commands {
                    let row = params![
                        command.id.as_str(),
                        process,
                        id,
                        command.label,
                        command.category,
                        command.entity,
                        command.command
                    ];
                    commands.insert(command.id, Some(row.to_vec()));
                }
                for (timer, due) in step.timers {
                    let row = params![process, id, timer.as_str(), due, event.version()];
                    timers.insert((process, id, timer), Some(row.to_vec()));
                }
            }
        }
        for table in ["open_commands", "open_timers"] {
            let sql = format!("DELETE FROM {table} WHERE process = $1 AND id = $2");
            tx.execute_many(&sql, &over).await?;
        }
        let key = |(process, id): (&str, &str)| params![process, id].to_vec();
        write(tx, "open_processes", "process = $1 AND id = $2", 5, processes, key).await?;
        write(tx, "open_commands", "command_id = $1", 7, commands, |id| vec![id.into()]).await?;
        let key = |(process, id, timer): (&str, &str, String)| params![process, id, timer].to_vec();
        write(tx, "open_timers", "process = $1 AND id = $2 AND timer = $3", 5, timers, key).await
    }
}

fn is_of(row: Option<&[Value]>, process: &str, id: &str) -> bool {
    let text = |place: usize| row.and_then(|row| row.get(place));
    text(1) == Some(&Value::from(process)) && text(2) == Some(&Value::from(id))
}

/// Puts rows in the place of those with the same keys, or takes those away.
async fn write<K>(
    tx: &mut dyn ReadModelTx,
    table: &str,
    is_key: &str,
    columns: usize,
    changes: Changes<K>,
    key: impl Fn(K) -> Vec<Value>,
) -> Result<(), BoxError> {
    let (mut gone, mut new) = (Vec::with_capacity(changes.len()), Vec::with_capacity(changes.len()));
    for (of, row) in changes {
        gone.push(key(of));
        new.extend(row);
    }
    tx.execute_many(&format!("DELETE FROM {table} WHERE {is_key}"), &gone).await?;
    let places: Vec<_> = (1..=columns).map(|place| format!("${place}")).collect();
    tx.execute_many(&format!("INSERT INTO {table} VALUES ({})", places.join(", ")), &new).await?;
    Ok(())
}

/// Asks which processes are not over, and what each waits for: those that took their last step longest ago first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OpenProcesses {
    /// Only those of this process manager.
    pub process: Option<String>,
    /// Only the process with this key.
    pub id: Option<String>,
    /// At most so many; 100 unless told otherwise.
    pub limit: Option<u32>,
}

impl Query for OpenProcesses {
    const NAME: &'static str = "OpenProcesses";
    type Output = Vec<OpenProcess>;
    type Source = Work;
}

/// A process that is not over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenProcess {
    /// Its process manager.
    pub process: String,
    /// Its key.
    pub id: String,
    /// How many steps it has taken.
    pub steps: u64,
    /// Where the last of them is.
    pub position: Position,
    /// When it was taken.
    pub since: Timestamp,
    /// The commands that are not answered.
    pub commands: Vec<OpenCommand>,
    /// The timers that are set.
    pub timers: Vec<OpenTimer>,
}

/// A command that a process waits to be answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenCommand {
    /// What the process calls it.
    pub label: String,
    /// The command.
    pub command: String,
    /// The category of the entity that it is for.
    pub category: String,
    /// The entity.
    pub entity: String,
}

/// A timer that a process has set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenTimer {
    /// Its name.
    pub timer: String,
    /// When it is due.
    pub due: Timestamp,
}

/// Which processes are not over.
pub(crate) async fn open_processes(
    query: OpenProcesses,
    mut context: QueryContext,
) -> Result<Vec<OpenProcess>, QueryError> {
    let sql = "SELECT process, id, steps, position, since FROM open_processes \
               WHERE ($1 = '' OR process = $1) AND ($2 = '' OR id = $2) ORDER BY position LIMIT $3";
    let (process, id) = (query.process.unwrap_or_default(), query.id.unwrap_or_default());
    let rows = context.rows(sql, params![process, id, i64::from(query.limit.unwrap_or(100))]).await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        let (process, id): (String, String) = (row.get("process")?, row.get("id")?);
        let key = params![process.as_str(), id.as_str()];
        let sql = "SELECT label, command, category, entity FROM open_commands WHERE process = $1 AND id = $2 \
                   ORDER BY command_id";
        let commands = context.rows(sql, key).await?.into_iter().map(|row| {
            let (label, command) = (row.get("label")?, row.get("command")?);
            Ok(OpenCommand { label, command, category: row.get("category")?, entity: row.get("entity")? })
        });
        let commands = commands.collect::<Result<_, ReadModelError>>()?;
        let sql = "SELECT timer, due FROM open_timers WHERE process = $1 AND id = $2 ORDER BY due, timer";
        let timers = context.rows(sql, key).await?.into_iter();
        let timers = timers.map(|row| Ok(OpenTimer { timer: row.get("timer")?, due: row.get("due")? }));
        let timers = timers.collect::<Result<_, ReadModelError>>()?;
        let (steps, position) = (row.get("steps")?, Position::new(row.get("position")?));
        found.push(OpenProcess { process, id, steps, position, since: row.get("since")?, commands, timers });
    }
    Ok(found)
}

/// A timer that is due.
pub(crate) struct DueTimer {
    pub(crate) process: String,
    pub(crate) id: String,
    pub(crate) timer: String,
    pub(crate) step: Version,
}

/// The timers that are due at a moment, the first ones first, at most so many.
pub(crate) async fn due_timers(
    tx: &mut dyn ReadModelTx,
    now: Timestamp,
    most: u32,
) -> Result<Vec<DueTimer>, ReadModelError> {
    let sql = "SELECT process, id, timer, step FROM open_timers WHERE due <= $1 ORDER BY due LIMIT $2";
    let rows = tx.query(sql, params![now, i64::from(most)]).await?;
    let due = rows.into_iter().map(|row| {
        let (process, id, timer) = (row.get("process")?, row.get("id")?, row.get("timer")?);
        Ok(DueTimer { process, id, timer, step: Version::new(row.get("step")?) })
    });
    due.collect()
}

/// When the next timer is due, if one is set.
pub(super) async fn next_due(tx: &mut dyn ReadModelTx) -> Result<Option<Timestamp>, ReadModelError> {
    let rows = tx.query("SELECT due FROM open_timers ORDER BY due LIMIT 1", &[]).await?;
    rows.first().map(|row| row.get("due")).transpose()
}
