//! Portable SQL: parameters `$1`, `$2`, …, values in and rows out.

use std::path::Path;
use std::sync::Arc;

use annals_core::{BoxError, ReadModelError, Row, Value};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Statement};

use crate::failure::with_advice;

/// Runs a statement and returns how many rows it changed.
pub(crate) fn execute(connection: &Connection, sql: &str, params: &[Value]) -> Result<u64, ReadModelError> {
    execute_many(connection, sql, [params])
}

/// Runs a statement for each row of parameters and returns how many rows it changed in all.
pub(crate) fn execute_many<'p>(
    connection: &Connection,
    sql: &str,
    rows: impl IntoIterator<Item = &'p [Value]>,
) -> Result<u64, ReadModelError> {
    let run = || -> Result<u64, BoxError> {
        let mut statement = connection.prepare_cached(sql)?;
        let parameters = Parameters::of(&statement)?;
        let mut all = 0;
        for row in rows {
            parameters.bind(&mut statement, row)?;
            let before = connection.total_changes();
            let changed = statement.raw_execute()?;
            // For what is no INSERT, UPDATE or DELETE, SQLite repeats the count of the last statement that was.
            all += if connection.total_changes() == before { 0 } else { changed as u64 };
        }
        Ok(all)
    };
    run().map_err(|source| ReadModelError::Statement {
        statement: sql.to_owned(),
        source: with_advice(source, Path::new(connection.path().unwrap_or_default())),
    })
}

/// Runs a query and returns its rows.
pub(crate) fn query(
    connection: &Connection,
    sql: &str,
    params: &[Value],
) -> Result<Vec<Row>, ReadModelError> {
    let run = || -> Result<Vec<Row>, BoxError> {
        let mut statement = connection.prepare_cached(sql)?;
        Parameters::of(&statement)?.bind(&mut statement, params)?;
        let columns: Arc<[String]> = statement.column_names().map(str::to_owned).collect();
        let mut rows = statement.raw_query();
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let values =
                (0..columns.len()).map(|index| row.get_ref(index).map_err(BoxError::from).and_then(value));
            found.push(Row::new(Arc::clone(&columns), values.collect::<Result<_, _>>()?));
        }
        Ok(found)
    };
    run().map_err(|source| ReadModelError::Statement {
        statement: sql.to_owned(),
        source: with_advice(source, Path::new(connection.path().unwrap_or_default())),
    })
}

/// The numbers of a statement's parameters. SQLite counts `$n` by where it is first mentioned, whatever its number, so every
/// parameter is bound by its name.
struct Parameters {
    numbers: Vec<usize>,
    largest: usize,
}

impl Parameters {
    fn of(statement: &Statement<'_>) -> Result<Self, BoxError> {
        let mut numbers = Vec::with_capacity(statement.parameter_count());
        for index in 1..=statement.parameter_count() {
            let name = statement.parameter_name(index).unwrap_or("?");
            match name.strip_prefix('$').and_then(|digits| digits.parse::<usize>().ok()) {
                Some(number) if number > 0 => numbers.push(number),
                _ => {
                    return Err(
                        format!("it has the parameter {name:?}, expected only $1, $2 and so on").into()
                    );
                }
            }
        }
        let largest = numbers.iter().copied().max().unwrap_or(0);
        Ok(Self { numbers, largest })
    }

    fn bind(&self, statement: &mut Statement<'_>, values: &[Value]) -> Result<(), BoxError> {
        if self.largest != values.len() {
            let expected = match self.largest {
                0 => "no parameters".to_owned(),
                largest => format!("$1 to ${largest}"),
            };
            return Err(format!("it has {expected}, but {} values were given for them", values.len()).into());
        }
        for (index, number) in (1..).zip(&self.numbers) {
            if let Some(value) = values.get(number - 1) {
                statement.raw_bind_parameter(index, to_sql(value))?;
            }
        }
        Ok(())
    }
}

fn to_sql(value: &Value) -> ToSqlOutput<'_> {
    ToSqlOutput::Borrowed(match value {
        Value::Null => ValueRef::Null,
        Value::Integer(number) => ValueRef::Integer(*number),
        Value::Real(number) => ValueRef::Real(*number),
        Value::Text(text) => ValueRef::Text(text.as_bytes()),
        Value::Blob(bytes) => ValueRef::Blob(bytes),
    })
}

fn value(stored: ValueRef<'_>) -> Result<Value, BoxError> {
    Ok(match stored {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        ValueRef::Real(number) => Value::Real(number),
        ValueRef::Text(_) => Value::Text(stored.as_str()?.to_owned()),
        ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
    })
}
