//! Events of older forms, read as those of today.

use annals_core::{BoxError, RecordedEvent};
use serde_json::Value;

use crate::event::UnreadableEvent;
use crate::{Event, codec};

/// No event goes through more forms than this.
const LONGEST_CHAIN: usize = 64;

/// The form of an event, as it is stored or on its way to the newest one.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredForm {
    /// Its type, which also tells which form it has: a new form is given a new name, such as `MoneyDeposited.2`.
    pub event_type: String,
    /// Its payload.
    pub payload: Value,
}

/// Takes events of an older form to newer ones: to one, to several, or to none.
///
/// What it makes may be of an older form too, which another upcaster takes further. Nothing in the store is changed.
#[derive(Debug, Clone, Copy)]
pub struct Upcaster {
    /// The type of the events that it takes, which no event of today has.
    pub from: &'static str,
    /// What such an event is, told in newer forms, in order.
    pub upcast: fn(StoredForm) -> Result<Vec<StoredForm>, BoxError>,
}

/// The events that a stored event stands for: none when its type is not known here, one as a rule, several when an
/// [`Upcaster`] makes so many of it.
#[derive(Debug)]
pub struct Decoded<E>(Inner<E>);

#[derive(Debug)]
enum Inner<E> {
    One(Option<E>),
    Several(std::vec::IntoIter<E>),
}

impl<E> Iterator for Decoded<E> {
    type Item = E;

    fn next(&mut self) -> Option<E> {
        match &mut self.0 {
            Inner::One(event) => event.take(),
            Inner::Several(events) => events.next(),
        }
    }
}

/// Reads a stored event, by way of its upcasters where it is of an older form. One that the type does not know is passed
/// by: nothing comes of it.
///
/// ```
/// # use annals_app::*;
/// # use serde::{Deserialize, Serialize};
/// /// Once there was only a full name.
/// const UPCASTERS: &[Upcaster] = &[Upcaster {
///     from: "CustomerNamed",
///     upcast: |mut old| {
///         let full = old.payload["name"].as_str().ok_or("expected a name")?;
///         let (first, last) = full.split_once(' ').unwrap_or((full, ""));
///         old.payload = serde_json::json!({"first": first, "last": last});
///         old.event_type = "CustomerNamed.2".to_owned();
///         Ok(vec![old])
///     },
/// }];
///
/// #[derive(Event, Serialize, Deserialize)]
/// #[event(upcasters = UPCASTERS)]
/// # #[annals(crate = annals_app)]
/// enum CustomerEvent {
///     #[event(name = "CustomerNamed.2")]
///     Named { first: String, last: String },
/// }
/// ```
///
/// # Errors
/// [`UnreadableEvent`] for one that it knows by name but cannot read.
pub fn decode_event<E: Event>(event: &RecordedEvent) -> Result<Decoded<E>, UnreadableEvent> {
    decode_stored(event.event_type(), event.payload()).map_err(|source| UnreadableEvent {
        position: event.position(),
        event_type: event.event_type().to_owned(),
        stream: event.stream().to_owned(),
        source: source.into(),
    })
}

/// Reads an event from its type and payload: see [`decode_event`].
pub(crate) fn decode_stored<E: Event>(event_type: &str, payload: &[u8]) -> Result<Decoded<E>, BoxError> {
    if E::UPCASTERS.iter().all(|upcaster| upcaster.from != event_type) {
        return Ok(Decoded(Inner::One(codec::decode(event_type, payload)?)));
    }
    let form = StoredForm { event_type: event_type.to_owned(), payload: serde_json::from_slice(payload)? };
    let decoded = newest(form, E::UPCASTERS)?.into_iter().map(|form| -> Result<Option<E>, BoxError> {
        Ok(codec::decode(&form.event_type, &serde_json::to_vec(&form.payload)?)?)
    });
    let events = decoded.filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()?;
    Ok(Decoded(Inner::Several(events.into_iter())))
}

/// Reads stored events, each with what it stands for: see [`decode_event`]. For projections.
///
/// # Errors
/// As [`decode_event`], for each event.
pub fn decode_events<E: Event>(events: &[RecordedEvent]) -> DecodedEvents<'_, E> {
    DecodedEvents { events: events.iter(), current: None }
}

/// What [`decode_events`] reads, one after the other.
#[derive(Debug)]
pub struct DecodedEvents<'a, E> {
    events: std::slice::Iter<'a, RecordedEvent>,
    current: Option<(&'a RecordedEvent, Decoded<E>)>,
}

impl<'a, E: Event> Iterator for DecodedEvents<'a, E> {
    type Item = Result<(&'a RecordedEvent, E), UnreadableEvent>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((recorded, decoded)) = &mut self.current
                && let Some(event) = decoded.next()
            {
                return Some(Ok((recorded, event)));
            }
            let recorded = self.events.next()?;
            match decode_event(recorded) {
                Ok(decoded) => self.current = Some((recorded, decoded)),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// The newest forms of an event, in order.
fn newest(form: StoredForm, upcasters: &[Upcaster]) -> Result<Vec<StoredForm>, BoxError> {
    let mut forms = vec![form];
    for _ in 0..LONGEST_CHAIN {
        let mut is_newest = true;
        let mut newer = Vec::with_capacity(forms.len());
        for form in forms {
            match upcasters.iter().find(|upcaster| upcaster.from == form.event_type) {
                Some(upcaster) => {
                    is_newest = false;
                    newer.extend((upcaster.upcast)(form)?);
                }
                None => newer.push(form),
            }
        }
        if is_newest {
            return Ok(newer);
        }
        forms = newer;
    }
    let names: Vec<_> = forms.into_iter().map(|form| form.event_type).collect();
    let names = names.join(", ");
    Err(format!("its upcasters lead in a circle: after {LONGEST_CHAIN} of them it is still {names}").into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const UPCASTERS: &[Upcaster] = &[
        Upcaster {
            from: "Moved",
            upcast: |form| {
                let left =
                    StoredForm { event_type: "Left".to_owned(), payload: form.payload["from"].clone() };
                let arrived =
                    StoredForm { event_type: "Arrived".to_owned(), payload: form.payload["to"].clone() };
                Ok(vec![left, arrived])
            },
        },
        Upcaster {
            from: "Arrived",
            upcast: |form| Ok(vec![StoredForm { event_type: "Arrived.2".to_owned(), ..form }]),
        },
        Upcaster { from: "Noise", upcast: |_| Ok(Vec::new()) },
        Upcaster { from: "Broken", upcast: |_| Err("expected a place".into()) },
        Upcaster {
            from: "Ping",
            upcast: |form| Ok(vec![StoredForm { event_type: "Pong".to_owned(), ..form }]),
        },
        Upcaster {
            from: "Pong",
            upcast: |form| Ok(vec![StoredForm { event_type: "Ping".to_owned(), ..form }]),
        },
    ];

    fn told(event_type: &str) -> Result<Vec<(String, Value)>, String> {
        let payload = json!({"from": "Prague", "to": "Brno"});
        let forms = newest(StoredForm { event_type: event_type.to_owned(), payload }, UPCASTERS);
        let forms = forms.map_err(|error| error.to_string())?;
        Ok(forms.into_iter().map(|form| (form.event_type, form.payload)).collect())
    }

    #[test]
    fn forms_are_taken_on_to_the_newest() {
        let expected = vec![("Left".to_owned(), json!("Prague")), ("Arrived.2".to_owned(), json!("Brno"))];
        assert_eq!(told("Moved"), Ok(expected));
        assert_eq!(told("Noise"), Ok(Vec::new()));
        assert_eq!(told("Broken"), Err("expected a place".to_owned()));
        let circle = told("Ping").unwrap_err();
        assert!(circle.contains("lead in a circle") && circle.contains("Ping"), "{circle}");
    }
}
