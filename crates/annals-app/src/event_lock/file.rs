//! The text of the file `events.lock`.

use std::collections::BTreeMap;
use std::fmt::Write;

pub(super) const FILE: &str = "events.lock";
pub(super) const HEAD: &str = "# The events that may be stored, and what is in them. Written by `cargo test`; commit it.\n\
                    # A line is: type of events, event, then its fields. Fields with a minus are not written any more.\n";

/// An event as it stands in the file.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct LockedEvent {
    /// What serde was told of it, in one word.
    pub(super) attributes: String,
    pub(super) fields: Vec<LockedField>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct LockedField {
    pub(super) name: String,
    pub(super) form: String,
    /// Whether it is still written.
    pub(super) is_written: bool,
}

/// The locked events of a type, by the words of their names.
pub(super) type Locked = BTreeMap<String, LockedEvent>;

/// The locked events of one type.
pub(super) fn parse(text: &str, type_name: &str) -> Result<Locked, String> {
    let mut locked = Locked::new();
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    for line in lines {
        let mut words = line.split(' ');
        let (Some(of), Some(event)) = (words.next(), words.next()) else {
            return Err(format!("{FILE}: expected a type and an event in the line {line:?}"));
        };
        let fields = words.map(|word| {
            let (name, form) =
                word.split_once(':').ok_or(format!("{FILE}: expected name:form, found {word:?}"))?;
            let kept = name.strip_prefix('-');
            let (name, form) = (kept.unwrap_or(name).to_owned(), form.to_owned());
            Ok(LockedField { name, form, is_written: kept.is_none() })
        });
        let fields = fields.collect::<Result<Vec<_>, String>>()?;
        let (event, attributes) = match event.split_once('(') {
            Some((event, told)) => (
                event,
                told.strip_suffix(')').ok_or(format!("{FILE}: expected a ')' at the end of {event:?}"))?,
            ),
            None => (event, ""),
        };
        if of == type_name {
            locked.insert(event.to_owned(), LockedEvent { attributes: attributes.to_owned(), fields });
        }
    }
    Ok(locked)
}

/// The text with the lines of one type replaced.
pub(super) fn replace(text: &str, type_name: &str, now: &Locked) -> String {
    let is_other = |line: &&str| !line.starts_with('#') && line.split(' ').next() != Some(type_name);
    let mut lines: Vec<String> =
        text.lines().filter(|line| !line.trim().is_empty()).filter(is_other).map(str::to_owned).collect();
    for (event, LockedEvent { attributes, fields }) in now {
        let mut line = format!("{type_name} {event}");
        if !attributes.is_empty() {
            let _ = write!(line, "({attributes})");
        }
        for LockedField { name, form, is_written } in fields {
            let minus = if *is_written { "" } else { "-" };
            let _ = write!(line, " {minus}{name}:{form}");
        }
        lines.push(line);
    }
    lines.sort();
    format!("{HEAD}{}\n", lines.join("\n"))
}
