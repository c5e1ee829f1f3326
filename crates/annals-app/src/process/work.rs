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
use super::steps::StepCommand;
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

/// A row of a table.
type Row = Vec<Value>;

/// What some steps change of one process: rows become others, or go.
#[derive(Default)]
struct Changed {
    process: Option<Row>,
    /// Whether all that it waited for is forgotten first.
    is_over: bool,
    commands: HashMap<String, Option<Row>>,
    timers: HashMap<String, Option<Row>>,
}

impl Changed {
    /// Takes the next step of the process in.
    fn take(&mut self, event: &RecordedEvent, step: StepTaken) {
        let (process, id) = (event.category(), event.entity_id());
        if step.is_over {
            *self = Self { is_over: true, ..Self::default() };
            return;
        }
        let row = params![process, id, event.version(), event.position(), event.recorded_at()];
        self.process = Some(row.to_vec());
        self.commands.extend(step.answered().map(|command_id| (command_id.to_owned(), None)));
        let gone = step.fired().into_iter().chain(step.cancelled.iter().map(String::as_str));
        self.timers.extend(gone.map(|timer| (timer.to_owned(), None)));
        for command in step.commands {
            let StepCommand { id: command_id, label, category, entity, command, .. } = command;
            let row = params![command_id.as_str(), process, id, label, category, entity, command];
            self.commands.insert(command_id, Some(row.to_vec()));
        }
        let (correlation, cause) = (event.correlation_id().unwrap_or_default(), event.id().to_string());
        for (timer, due) in step.timers {
            let row = params![process, id, timer.as_str(), due, event.version(), correlation, cause.as_str()];
            self.timers.insert(timer, Some(row.to_vec()));
        }
    }
}

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
             due BIGINT NOT NULL, step BIGINT NOT NULL, correlation TEXT NOT NULL, cause TEXT NOT NULL, \
             PRIMARY KEY (process, id, timer))",
            "CREATE INDEX IF NOT EXISTS open_timers_by_due ON open_timers (due)",
        ] {
            tx.execute(sql, &[]).await?;
        }
        Ok(())
    }

    async fn apply(&self, tx: &mut dyn ReadModelTx, events: &[RecordedEvent]) -> Result<(), BoxError> {
        let mut changed: HashMap<(&str, &str), Changed> = HashMap::new();
        for event in events {
            for step in decode_event::<StepTaken>(event)? {
                changed.entry((event.category(), event.entity_id())).or_default().take(event, step);
            }
        }
        let (mut over, mut processes) = (Vec::new(), Rows::default());
        let (mut commands, mut timers) = (Rows::default(), Rows::default());
        for ((process, id), change) in changed {
            if change.is_over {
                over.push(params![process, id].to_vec());
            }
            processes.change(params![process, id].to_vec(), change.process);
            for (command_id, row) in change.commands {
                commands.change(vec![command_id.into()], row);
            }
            for (timer, row) in change.timers {
                timers.change(params![process, id, timer].to_vec(), row);
            }
        }
        for table in ["open_commands", "open_timers"] {
            let sql = format!("DELETE FROM {table} WHERE process = $1 AND id = $2");
            tx.execute_many(&sql, &over).await?;
        }
        processes.write(tx, "open_processes", "process = $1 AND id = $2", 5).await?;
        commands.write(tx, "open_commands", "command_id = $1", 7).await?;
        timers.write(tx, "open_timers", "process = $1 AND id = $2 AND timer = $3", 7).await
    }
}

/// Rows of a table that become others, or go.
#[derive(Default)]
struct Rows {
    gone: Vec<Row>,
    new: Vec<Row>,
}

impl Rows {
    fn change(&mut self, key: Row, row: Option<Row>) {
        self.gone.push(key);
        self.new.extend(row);
    }

    async fn write(
        self,
        tx: &mut dyn ReadModelTx,
        table: &str,
        is_key: &str,
        columns: usize,
    ) -> Result<(), BoxError> {
        tx.execute_many(&format!("DELETE FROM {table} WHERE {is_key}"), &self.gone).await?;
        let places: Vec<_> = (1..=columns).map(|place| format!("${place}")).collect();
        let sql = format!("INSERT INTO {table} VALUES ({})", places.join(", "));
        tx.execute_many(&sql, &self.new).await?;
        Ok(())
    }
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
    /// What the step that set it belongs to, and its id.
    pub(super) correlation: String,
    pub(super) cause: String,
}

/// The timers that are due at a moment, the first ones first, at most so many.
pub(crate) async fn due_timers(
    tx: &mut dyn ReadModelTx,
    now: Timestamp,
    most: u32,
) -> Result<Vec<DueTimer>, ReadModelError> {
    let sql = "SELECT process, id, timer, step, correlation, cause FROM open_timers WHERE due <= $1 ORDER BY due LIMIT $2";
    let rows = tx.query(sql, params![now, i64::from(most)]).await?;
    let due = rows.into_iter().map(|row| {
        let (process, id, timer) = (row.get("process")?, row.get("id")?, row.get("timer")?);
        let (correlation, cause) = (row.get("correlation")?, row.get("cause")?);
        Ok(DueTimer { process, id, timer, step: Version::new(row.get("step")?), correlation, cause })
    });
    due.collect()
}

/// When the next timer is due, if one is set.
pub(super) async fn next_due(tx: &mut dyn ReadModelTx) -> Result<Option<Timestamp>, ReadModelError> {
    let rows = tx.query("SELECT due FROM open_timers ORDER BY due LIMIT 1", &[]).await?;
    rows.first().map(|row| row.get("due")).transpose()
}
