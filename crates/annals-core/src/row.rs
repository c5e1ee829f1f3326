//! Rows of read models, and the values in them.

use std::sync::Arc;

use crate::{Position, ReadModelError};

/// A value in a row of a read model.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// No value.
    Null,
    /// A whole number.
    Integer(i64),
    /// A floating-point number.
    Real(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Integer(_) => "an integer",
            Self::Real(_) => "a real number",
            Self::Text(_) => "text",
            Self::Blob(_) => "bytes",
        }
    }
}

macro_rules! value_from {
    ($($type:ty => |$value:ident| $expr:expr;)*) => {$(
        impl From<$type> for Value {
            fn from($value: $type) -> Self { $expr }
        }
    )*};
}

value_from! {
    i64 => |v| Value::Integer(v);
    i32 => |v| Value::Integer(v.into());
    u32 => |v| Value::Integer(v.into());
    bool => |v| Value::Integer(v.into());
    f64 => |v| Value::Real(v);
    &str => |v| Value::Text(v.to_owned());
    String => |v| Value::Text(v);
    &String => |v| Value::Text(v.clone());
    Vec<u8> => |v| Value::Blob(v);
    Position => |v| Value::Integer(v.get() as i64);
    crate::Version => |v| Value::Integer(v.get() as i64);
    crate::Timestamp => |v| Value::Integer(v.as_micros());
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

/// A type that a [`Value`] can be taken as.
pub trait FromValue: Sized {
    /// What is expected, for messages.
    const EXPECTED: &'static str;
    /// Takes the value as this type; `None` when it is of another.
    fn from_value(value: &Value) -> Option<Self>;
}

macro_rules! from_value {
    ($($type:ty, $expected:literal, $pattern:pat => $expr:expr;)*) => {$(
        impl FromValue for $type {
            const EXPECTED: &'static str = $expected;
            fn from_value(value: &Value) -> Option<Self> {
                match value { $pattern => $expr, _ => None }
            }
        }
    )*};
}

from_value! {
    i64, "an integer", Value::Integer(v) => Some(*v);
    u64, "an integer not below zero", Value::Integer(v) => u64::try_from(*v).ok();
    u32, "an integer from 0 to 4294967295", Value::Integer(v) => u32::try_from(*v).ok();
    bool, "0 or 1", Value::Integer(v @ (0 | 1)) => Some(*v == 1);
    f64, "a real number", Value::Real(v) => Some(*v);
    String, "text", Value::Text(v) => Some(v.clone());
    Vec<u8>, "bytes", Value::Blob(v) => Some(v.clone());
    crate::Timestamp, "an integer (microseconds)", Value::Integer(v) => Some(crate::Timestamp::from_micros(*v));
}

impl<T: FromValue> FromValue for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(None),
            other => T::from_value(other).map(Some),
        }
    }
}

/// A row that a query found.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    columns: Arc<[String]>,
    values: Vec<Value>,
}

impl Row {
    /// A row of these columns and values, of which there are as many.
    pub fn new(columns: Arc<[String]>, values: Vec<Value>) -> Self {
        Self { columns, values }
    }

    /// Its values, in the order of the columns.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// The value in a column, as `T`.
    ///
    /// # Errors
    /// [`ReadModelError::Column`] when there is no such column or its value is of another type.
    pub fn get<T: FromValue>(&self, column: &str) -> Result<T, ReadModelError> {
        let wrong = |found: String| ReadModelError::Column {
            column: column.to_owned(),
            expected: T::EXPECTED,
            found,
        };
        let index = self.columns.iter().position(|name| name == column);
        let value = index.and_then(|index| self.values.get(index));
        let value = value.ok_or_else(|| wrong(format!("only the columns {}", self.columns.join(", "))))?;
        T::from_value(value).ok_or_else(|| wrong(value.kind().to_owned()))
    }
}

/// The parameters of a statement: `params![account, amount]`.
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        &[$($crate::Value::from($value)),*]
    };
}
