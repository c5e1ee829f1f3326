//! The forms of all events that may be stored, in a file that is committed: `events.lock` beside `Cargo.toml`.
//!
//! `derive(Event)` writes a test for each type of events. It fails when stored events could not be read any more; a change
//! that does no harm is noted in the file.
//!
//! What is compared are the fields of events, each with its type as it is written and what serde is told of it, and what serde
//! is told of the event. What changes *within* the type of a field (its own fields, its variants, its attributes) is not
//! noticed: such types are to be changed with the same care.

mod file;
mod form;

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use file::{FILE, HEAD, Locked, LockedEvent, LockedField, parse, replace};
pub use form::{EventForm, FieldForm};
use form::{name_word, one_word};

use crate::Event;

static TURN: Mutex<()> = Mutex::new(());

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

/// The lock as it is to be from now on.
fn merge(type_name: &str, locked: &Locked, forms: &[EventForm], upcast: &[&str]) -> Result<Locked, String> {
    let mut now = Locked::new();
    for (event, before) in locked {
        if forms.iter().any(|form| name_word(form.name) == *event) {
            continue;
        }
        if !upcast.iter().any(|name| name_word(name) == *event) {
            return Err(format!(
                "events {event} may be stored, and {type_name} does not read them any more: keep the variant, or keep its \
                 name with #[event(name = {event:?})], or add an upcaster from {event:?} (to no event, if they may be \
                 forgotten)"
            ));
        }
        now.insert(event.clone(), before.clone());
    }
    for form in forms {
        let event = name_word(form.name);
        let locked = lock_of(form, locked.get(&event))?;
        now.insert(event, locked);
    }
    Ok(now)
}

fn lock_of(form: &EventForm, before: Option<&LockedEvent>) -> Result<LockedEvent, String> {
    let advice = |problem: String| {
        format!(
            "{problem}, so that events {0} which are stored cannot be read any more: undo that, or give the new form a new \
             name, #[event(name = \"{0}.2\")], and add an upcaster from {0:?}",
            form.name
        )
    };
    let attributes = one_word(form.attributes);
    if let Some(before) = before.filter(|before| before.attributes != attributes) {
        let told = |attributes: &str| match attributes {
            "" => "nothing".to_owned(),
            told => format!("serde({told})"),
        };
        let (before, now) = (told(&before.attributes), told(&attributes));
        return Err(advice(format!("what serde is told of the event was {before} and is {now} now")));
    }
    let mut fields = Vec::new();
    for field in form.fields {
        let (name, written) = (field.name, field.written());
        let known = before.and_then(|before| before.fields.iter().find(|known| known.name == name));
        match known {
            Some(known) if known.form != written => {
                let was = &known.form;
                return Err(advice(format!("the field {name:?} was {was} and is {written} now")));
            }
            None if before.is_some() && !field.is_optional() => {
                return Err(advice(format!(
                    "the field {name:?} is new and neither an Option nor #[serde(default)]"
                )));
            }
            _ => fields.push(LockedField { name: name.to_owned(), form: written, is_written: true }),
        }
    }
    // What is not written any more still stands in old events: its name must not come back as something else.
    let gone = before.map_or(&[][..], |before| &before.fields);
    for field in gone.iter().filter(|known| form.fields.iter().all(|field| field.name != known.name)) {
        if form.refuses_unknown {
            let name = &field.name;
            return Err(advice(format!(
                "the field {name:?} is gone and #[serde(deny_unknown_fields)] refuses it"
            )));
        }
        fields.push(LockedField { is_written: false, ..field.clone() });
    }
    Ok(LockedEvent { attributes, fields })
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn field(name: &'static str, field_type: &'static str, attributes: &'static str) -> FieldForm {
        FieldForm { name, field_type, attributes, has_default: false, has_own_reader: false }
    }

    const fn event(attributes: &'static str, fields: &'static [FieldForm]) -> EventForm {
        EventForm { name: "Deposited", attributes, refuses_unknown: false, fields }
    }

    fn after(lock: &str, fields: &'static [FieldForm], upcast: &[&str]) -> Result<String, String> {
        after_form(lock, event("", fields), upcast)
    }

    fn after_form(lock: &str, form: EventForm, upcast: &[&str]) -> Result<String, String> {
        let text = format!("{HEAD}{lock}");
        let now = merge("Bank", &parse(&text, "Bank")?, &[form], upcast)?;
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
        let defaulted =
            after(lock, const { &[AMOUNT, FieldForm { has_default: true, ..field("fee", "u64", "") }] }, &[]);
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

    #[test]
    fn only_what_may_be_missing_may_be_new() {
        let lock = "Bank Deposited\n";
        let renamed =
            after(lock, const { &[field("a", "u64", r#"rename = "default_x""#)] }, &[]).unwrap_err();
        assert!(renamed.contains("\"a\" is new"), "{renamed}");
        const HEX: FieldForm = field("a", "Option < u64 >", r#"with = "hex""#);
        let read = after(lock, const { &[FieldForm { has_own_reader: true, ..HEX }] }, &[]).unwrap_err();
        assert!(read.contains("\"a\" is new"), "{read}");
        let defaulted = const { &[FieldForm { has_own_reader: true, has_default: true, ..HEX }] };
        assert_eq!(
            after(lock, defaulted, &[]).as_deref(),
            Ok("Bank Deposited a:Option<u64>(with=\"hex\")\n")
        );
        assert!(after(lock, const { &[field("a", "std :: option :: Option < u64 >", "")] }, &[]).is_ok());
        assert!(after(lock, const { &[field("a", "Vec < Option < u64 > >", "")] }, &[]).is_err());
    }

    #[test]
    fn what_serde_is_told_of_an_event_is_locked() {
        let told = event(r#"rename_all_fields = "camelCase";rename_all = "a b""#, &[]);
        let lock = "Bank Deposited(rename_all_fields=\"camelCase\";rename_all=\"a\\u{20}b\")\n";
        assert_eq!(after_form("", told, &[]).as_deref(), Ok(lock));
        assert_eq!(after_form(lock, told, &[]).as_deref(), Ok(lock));
        let undone = after(lock, &[], &[]).unwrap_err();
        assert!(undone.contains("is nothing now") && undone.contains("Deposited.2"), "{undone}");
        let added = after_form("Bank Deposited\n", told, &[]).unwrap_err();
        assert!(added.contains("was nothing and is serde(rename_all_fields"), "{added}");
        let broken = after("Bank Deposited(tag a:u8\n", &[], &[]).unwrap_err();
        assert!(broken.contains("expected a ')'"), "{broken}");
    }

    #[test]
    fn a_field_that_would_be_refused_cannot_go() {
        let form = EventForm { refuses_unknown: true, ..event("deny_unknown_fields", &[]) };
        let gone = after_form("Bank Deposited(deny_unknown_fields) note:String\n", form, &[]).unwrap_err();
        assert!(gone.contains("\"note\" is gone"), "{gone}");
    }

    #[test]
    fn names_may_hold_what_parts_words() {
        let form = EventForm { name: "Money (cash) came", ..event("", &[]) };
        let lock = "Bank Money\\u{20}\\u{28}cash)\\u{20}came\n";
        assert_eq!(after_form("", form, &[]).as_deref(), Ok(lock));
        assert_eq!(after_form(lock, form, &[]).as_deref(), Ok(lock));
        let upcast = after(lock, &[], &["Money (cash) came"]).unwrap();
        assert!(upcast.contains("cash"), "{upcast}");
    }
}
