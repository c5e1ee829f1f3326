//! JSON as tables for people.

use serde_json::{Map, Value};

/// Lays a result out: an array of objects as a table, an object as names and values with its arrays below.
pub(crate) fn render(result: &Value) -> String {
    let mut out = String::new();
    match result {
        Value::Array(rows) => render_rows(rows, &mut out),
        Value::Object(fields) => render_fields(fields, &mut out),
        other => out.push_str(&format!("{}\n", cell(other))),
    }
    out
}

fn is_table(value: &Value) -> bool {
    matches!(value, Value::Array(rows) if rows.iter().any(Value::is_object))
}

fn render_fields(fields: &Map<String, Value>, out: &mut String) {
    let width = fields
        .iter()
        .filter(|(_, value)| !is_table(value))
        .map(|(name, _)| width_of(name))
        .max()
        .unwrap_or(0);
    for (name, value) in fields.iter().filter(|(_, value)| !is_table(value)) {
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                out.push_str(&format!("{name}\n"));
                let mut below = String::new();
                render_fields(inner, &mut below);
                below.lines().for_each(|line| out.push_str(&format!("  {line}\n")));
            }
            _ => out.push_str(&format!("{name}{}  {}\n", " ".repeat(width - width_of(name)), cell(value))),
        }
    }
    for (name, value) in fields {
        if let Value::Array(rows) = value
            && is_table(value)
        {
            out.push_str(&format!("{name}\n"));
            render_rows(rows, out);
        }
    }
}

fn render_rows(rows: &[Value], out: &mut String) {
    let mut columns: Vec<&str> = Vec::new();
    for row in rows.iter().filter_map(Value::as_object) {
        for name in row.keys() {
            if !columns.contains(&name.as_str()) {
                columns.push(name);
            }
        }
    }
    if columns.is_empty() {
        rows.iter().for_each(|row| out.push_str(&format!("{}\n", cell(row))));
        return;
    }
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| columns.iter().map(|name| row.get(name).map(cell).unwrap_or_default()).collect())
        .collect();
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(index, name)| {
            cells.iter().map(|row| width_of(&row[index])).max().unwrap_or(0).max(width_of(name))
        })
        .collect();
    let to_the_right: Vec<bool> = (0..columns.len())
        .map(|index| {
            cells.iter().any(|row| !row[index].is_empty()) && cells.iter().all(|row| is_number(&row[index]))
        })
        .collect();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for ((cell, width), right) in cells.zip(&widths).zip(&to_the_right) {
            let pad = " ".repeat(width - width_of(cell));
            text.push_str(&if *right { format!("{pad}{cell}  ") } else { format!("{cell}{pad}  ") });
        }
        out.push_str(text.trim_end());
        out.push('\n');
    };
    line(&mut columns.iter().copied());
    let rules: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
    line(&mut rules.iter().map(String::as_str));
    cells.iter().for_each(|row| line(&mut row.iter().map(String::as_str)));
}

/// A value in one cell.
pub(crate) fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        // What was stored may hold anything; a terminal must not act on it.
        Value::String(text) => text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect(),
        other => other.to_string(),
    }
}

fn is_number(cell: &str) -> bool {
    cell.is_empty() || cell.parse::<f64>().is_ok()
}

fn width_of(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_are_aligned_and_numbers_stand_to_the_right() {
        let rows =
            json!([{"account": "2", "owner": "ann"}, {"account": "18", "owner": "b\u{1b}ob", "note": true}]);
        let expected =
            "account  owner  note\n───────  ─────  ────\n      2  ann\n     18  b\u{fffd}ob   true\n";
        assert_eq!(render(&rows), expected);
    }

    #[test]
    fn an_object_shows_its_fields_then_its_tables() {
        let object = json!({"lines": [{"amount": "1.50"}], "opening": "0.00", "of": {"id": 7}});
        assert_eq!(render(&object), "opening  0.00\nof\n  id  7\nlines\namount\n──────\n  1.50\n");
        assert_eq!(render(&json!([])), "");
    }
}
