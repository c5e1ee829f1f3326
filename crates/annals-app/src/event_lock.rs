//! The forms of all events that may be stored, in a file that is committed: `events.lock` beside `Cargo.toml`.
//!
//! `derive(Event)` writes a test for each type of events. It fails when stored events could not be read any more; a change
//! that does no harm is noted in the file.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::Event;

static TURN: Mutex<()> = Mutex::new(());
const FILE: &str = "events.lock";
const HEAD: &str = "# The events that may be stored, and what is in them. Written by `cargo test`; commit it.\n\
                    # A line is: type of events, event, then its fields. Fields with a minus are not written any more.\n";
/// Fields of this type may be missing in a stored event.
const OPTIONAL: &str = "Option <";

/// An event as it is written in the source.
#[derive(Debug, Clone, Copy)]
pub struct EventForm {
    /// The type under which it is stored.
    pub name: &'static str,
    /// Its fields, in order.
    pub fields: &'static [FieldForm],
}

/// A field of an event as it is written in the source.
#[derive(Debug, Clone, Copy)]
pub struct FieldForm {
    /// Its name; a number where it has none.
    pub name: &'static str,
    /// Its type.
    pub field_type: &'static str,
    /// What serde is told about it.
    pub attributes: &'static str,
}

impl FieldForm {
    fn is_optional(&self) -> bool {
        self.field_type.starts_with(OPTIONAL) || self.attributes.contains("default")
    }

    /// What must stay the same, in one word.
    fn written(&self) -> String {
        let told = self.attributes.replace("default", "");
        let told = told.trim_matches([' ', ',']);
        let text =
            if told.is_empty() { self.field_type.to_owned() } else { format!("{}({told})", self.field_type) };
        text.split_whitespace().collect()
    }
}

/// The locked fields of each event of a type: name, form, and whether it is still written.
type Locked = BTreeMap<String, Vec<(String, String, bool)>>;

/// Compares the events of a type with those in the file `events.lock` in `folder`, and notes harmless changes there.
///
/// # Errors
/// What stored events could not be read any more, and what to do. With the environment variable `CI` set, also that the
/// file is not up to date.
pub fn check_events<E: Event>(folder: &str, type_name: &str, forms: &[EventForm]) -> Result<(), String> {
    // Tests of one crate run side by side, and each changes lines of its own.
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let path = Path::new(folder).join(FILE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => HEAD.to_owned(),
        Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
    };
    let upcast: Vec<&str> = E::UPCASTERS.iter().map(|upcaster| upcaster.from).collect();
    let now = merge(type_name, &parse(&text, type_name)?, forms, &upcast)?;
    let written = replace(&text, type_name, &now);
    if written == text {
        return Ok(());
    }
    if std::env::var_os("CI").is_some() {
        let path = path.display();
        return Err(format!(
            "{path} does not tell of the events of {type_name} as they are: run `cargo test`, commit it"
        ));
    }
    let unfinished = path.with_extension("lock.new");
    let saved = std::fs::write(&unfinished, written).and_then(|()| std::fs::rename(&unfinished, &path));
    saved.map_err(|error| format!("cannot write {}: {error}", path.display()))
}

fn parse(text: &str, type_name: &str) -> Result<Locked, String> {
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
            Ok((kept.unwrap_or(name).to_owned(), form.to_owned(), kept.is_none()))
        });
        let fields = fields.collect::<Result<Vec<_>, String>>()?;
        if of == type_name {
            locked.insert(event.to_owned(), fields);
        }
    }
    Ok(locked)
}

/// The lock as it is to be from now on.
fn merge(type_name: &str, locked: &Locked, forms: &[EventForm], upcast: &[&str]) -> Result<Locked, String> {
    let mut now = Locked::new();
    for (event, fields) in locked {
        if forms.iter().any(|form| form.name == event) {
            continue;
        }
        if !upcast.contains(&event.as_str()) {
            return Err(format!(
                "events {event} may be stored, and {type_name} does not read them any more: keep the variant, or keep its \
                 name with #[event(name = {event:?})], or add an upcaster from {event:?} (to no event, if they may be \
                 forgotten)"
            ));
        }
        now.insert(event.clone(), fields.clone());
    }
    for form in forms {
        let before = locked.get(form.name).map(Vec::as_slice);
        now.insert(form.name.to_owned(), fields_of(form, before)?);
    }
    Ok(now)
}

fn fields_of(
    form: &EventForm,
    before: Option<&[(String, String, bool)]>,
) -> Result<Vec<(String, String, bool)>, String> {
    let advice = |problem: String| {
        format!(
            "{problem}, so that events {0} which are stored cannot be read any more: undo that, or give the new form a new \
             name, #[event(name = \"{0}.2\")], and add an upcaster from {0:?}",
            form.name
        )
    };
    let mut fields = Vec::new();
    for field in form.fields {
        let (name, written) = (field.name, field.written());
        let known = before.and_then(|before| before.iter().find(|(known, ..)| known == name));
        match known {
            Some((_, form, _)) if *form != written => {
                return Err(advice(format!("the field {name:?} was {form} and is {written} now")));
            }
            None if before.is_some() && !field.is_optional() => {
                return Err(advice(format!(
                    "the field {name:?} is new and neither an Option nor #[serde(default)]"
                )));
            }
            _ => fields.push((name.to_owned(), written, true)),
        }
    }
    // What is not written any more still stands in old events: its name must not come back as something else.
    let gone =
        before.unwrap_or_default().iter().filter(|(name, ..)| form.fields.iter().all(|f| f.name != name));
    fields.extend(gone.map(|(name, form, _)| (name.clone(), form.clone(), false)));
    Ok(fields)
}

/// The text with the lines of one type replaced.
fn replace(text: &str, type_name: &str, now: &Locked) -> String {
    let is_other = |line: &&str| !line.starts_with('#') && line.split(' ').next() != Some(type_name);
    let mut lines: Vec<String> =
        text.lines().filter(|line| !line.trim().is_empty()).filter(is_other).map(str::to_owned).collect();
    for (event, fields) in now {
        let mut line = format!("{type_name} {event}");
        for (name, form, is_written) in fields {
            let minus = if *is_written { "" } else { "-" };
            let _ = write!(line, " {minus}{name}:{form}");
        }
        lines.push(line);
    }
    lines.sort();
    format!("{HEAD}{}\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn field(name: &'static str, field_type: &'static str, attributes: &'static str) -> FieldForm {
        FieldForm { name, field_type, attributes }
    }

    fn after(lock: &str, fields: &'static [FieldForm], upcast: &[&str]) -> Result<String, String> {
        let text = format!("{HEAD}{lock}");
        let forms = [EventForm { name: "Deposited", fields }];
        let now = merge("Bank", &parse(&text, "Bank")?, &forms, upcast)?;
        Ok(replace(&text, "Bank", &now).replace(HEAD, ""))
    }

    #[test]
    fn what_does_no_harm_is_noted() {
        const AMOUNT: FieldForm = field("amount", "u64", "");
        let added = after("Other Left a:b\n", const { &[AMOUNT] }, &[]);
        assert_eq!(added.as_deref(), Ok("Bank Deposited amount:u64\nOther Left a:b\n"));
        let lock = "Bank Deposited amount:u64\n";
        assert_eq!(after(lock, const { &[AMOUNT] }, &[]).as_deref(), Ok(lock));
        let note = after(lock, const { &[AMOUNT, field("note", "Option < String >", "")] }, &[]);
        assert_eq!(note.as_deref(), Ok("Bank Deposited amount:u64 note:Option<String>\n"));
        let defaulted = after(lock, const { &[AMOUNT, field("fee", "u64", "default")] }, &[]);
        assert_eq!(defaulted.as_deref(), Ok("Bank Deposited amount:u64 fee:u64\n"));
        assert_eq!(after(lock, &[], &[]).as_deref(), Ok("Bank Deposited -amount:u64\n"));
    }

    #[test]
    fn what_makes_events_unreadable_is_told() {
        let lock = "Bank Deposited amount:u64 -note:String\nBank Opened\n";
        let gone = after(lock, const { &[field("amount", "u64", "")] }, &[]).unwrap_err();
        assert!(gone.contains("events Opened may be stored") && gone.contains("upcaster"), "{gone}");
        let kept = after(lock, const { &[field("amount", "u64", "")] }, &["Opened"]);
        assert_eq!(kept.as_deref(), Ok(lock));
        let retyped = after(lock, const { &[field("amount", "String", "")] }, &["Opened"]).unwrap_err();
        assert!(
            retyped.contains("was u64 and is String now") && retyped.contains("Deposited.2"),
            "{retyped}"
        );
        let back = after(lock, const { &[field("note", "u8", "")] }, &["Opened"]).unwrap_err();
        assert!(back.contains("\"note\" was String and is u8 now"), "{back}");
        let needed = after(lock, const { &[field("who", "String", "")] }, &["Opened"]).unwrap_err();
        assert!(needed.contains("\"who\" is new and neither an Option"), "{needed}");
        assert!(after("Bank\n", &[], &[]).unwrap_err().contains("expected a type and an event"));
    }
}
