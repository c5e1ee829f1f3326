//! Portable SQL: parameters `$1`, `$2`, …, values in and rows out.

use std::sync::Arc;

use annals_core::{BoxError, ReadModelError, Row, Value};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, Statement};

use crate::failure::with_advice;

/// Runs a statement and returns how many rows it changed.
pub(crate) fn execute(connection: &Connection, sql: &str, params: &[Value]) -> Result<u64, ReadModelError> {
    let run = || -> Result<u64, BoxError> {
        let mut statement = prepare(connection, sql, params)?;
        let before = connection.total_changes();
        let changed = statement.raw_execute()?;
        // For what is no INSERT, UPDATE or DELETE, SQLite repeats the count of the last statement that was.
        Ok(if connection.total_changes() == before { 0 } else { changed as u64 })
    };
    run().map_err(|source| ReadModelError::Statement {
        statement: sql.to_owned(),
        source: with_advice(source),
    })
}

/// Runs a query and returns its rows.
pub(crate) fn query(
    connection: &Connection,
    sql: &str,
    params: &[Value],
) -> Result<Vec<Row>, ReadModelError> {
    let run = || -> Result<Vec<Row>, BoxError> {
        let mut statement = prepare(connection, sql, params)?;
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
        source: with_advice(source),
    })
}

fn prepare<'c>(
    connection: &'c Connection,
    sql: &str,
    params: &[Value],
) -> Result<CachedStatement<'c>, BoxError> {
    let mut statement = connection.prepare_cached(sql)?;
    bind(&mut statement, params)?;
    Ok(statement)
}

/// SQLite counts `$n` by where it is first mentioned, whatever its number, so every parameter is bound by its name.
fn bind(statement: &mut Statement<'_>, params: &[Value]) -> Result<(), BoxError> {
    let mut largest = 0;
    for index in 1..=statement.parameter_count() {
        let name = statement.parameter_name(index).unwrap_or("?").to_owned();
        let number = name.strip_prefix('$').and_then(|digits| digits.parse::<usize>().ok()).unwrap_or(0);
        if number == 0 {
            return Err(format!("it has the parameter {name:?}, expected only $1, $2 and so on").into());
        }
        largest = largest.max(number);
        if let Some(value) = params.get(number - 1) {
            statement.raw_bind_parameter(index, to_sql(value))?;
        }
    }
    if largest != params.len() {
        let expected = if largest == 0 { "no parameters".to_owned() } else { format!("$1 to ${largest}") };
        return Err(format!("it has {expected}, but {} values were given for them", params.len()).into());
    }
    Ok(())
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
