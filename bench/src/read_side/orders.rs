//! The domain that is replayed: orders, whose events have payloads of 200 bytes and at least four fields.

use annals_app::{Aggregate, Command, Context, DomainError, Event, State, codec};
use annals_core::StreamName;
use serde::{Deserialize, Serialize};

use crate::failure::{Result, failed};
use crate::random::Random;

/// Every payload is JSON of this many bytes.
pub(super) const PAYLOAD_BYTES: usize = 200;

/// What can have happened to an order.
#[derive(Event, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[event(unlocked)]
#[annals(crate = annals_app)]
pub(super) enum OrderEvent {
    OrderPlaced { customer: u64, name: String, city: String, currency: String, note: String },
    LineAdded { product: String, quantity: u32, cents: u64, note: String },
    OrderPaid { cents: u64, method: String, reference: String, note: String },
    OrderSent { carrier: String, parcel: u64, grams: u32, note: String },
}

/// What can be asked of an order.
#[derive(Command, Serialize, Deserialize, Debug, Clone)]
#[annals(crate = annals_app)]
pub(super) enum OrderCommand {
    AddLine { product: String, quantity: u32, cents: u64, note: String },
}

/// It refuses nothing.
#[derive(Debug, thiserror::Error, DomainError)]
#[annals(crate = annals_app)]
pub(super) enum OrderError {}

/// An order.
#[derive(Default, Clone, Serialize, Deserialize, State, Debug, PartialEq)]
#[annals(crate = annals_app)]
pub(super) struct Order {
    pub(super) customer: u64,
    pub(super) city: String,
    pub(super) lines: u64,
    pub(super) items: u64,
    pub(super) cents: u64,
    pub(super) paid_cents: u64,
    pub(super) parcels: u64,
    pub(super) grams: u64,
}

impl Aggregate for Order {
    const CATEGORY: &'static str = "order";
    type Command = OrderCommand;
    type Event = OrderEvent;
    type Error = OrderError;

    fn handle(&self, command: &OrderCommand, _: &Context) -> Result<Vec<OrderEvent>, OrderError> {
        let OrderCommand::AddLine { product, quantity, cents, note } = command.clone();
        Ok(vec![OrderEvent::LineAdded { product, quantity, cents, note }])
    }

    fn apply(&mut self, event: &OrderEvent) {
        match event {
            OrderEvent::OrderPlaced { customer, city, .. } => {
                self.customer = *customer;
                self.city.clone_from(city);
            }
            OrderEvent::LineAdded { quantity, cents, .. } => {
                self.lines += 1;
                self.items += u64::from(*quantity);
                self.cents += cents * u64::from(*quantity);
            }
            OrderEvent::OrderPaid { cents, .. } => self.paid_cents += cents,
            OrderEvent::OrderSent { grams, .. } => {
                self.parcels += 1;
                self.grams += u64::from(*grams);
            }
        }
    }
}

/// The stream of an order.
pub(super) fn stream(number: u64) -> Result<StreamName> {
    Ok(StreamName::new(format!("order-{number}"))?)
}

/// An event of an order's life: placed first, then lines, and now and then paid or sent.
pub(super) fn event(random: &mut Random, version: u64) -> Result<OrderEvent> {
    const NAMES: [&str; 6] =
        ["Ann Fields", "Ben Okafor", "Chiara Conti", "Elif Aydin", "Hugo Lind", "Kim Park"];
    const CITIES: [&str; 6] = ["Lisbon", "Oslo", "Graz", "Turin", "Gdansk", "Ghent"];
    const PRODUCTS: [&str; 6] = ["lamp, brass", "chair", "desk 160x80", "shelf", "mirror", "rug, wool"];
    let note = String::new();
    let event = match (version, random.below(10)) {
        (1, _) => OrderEvent::OrderPlaced {
            customer: 100_000 + random.below(900_000),
            name: random.choose(&NAMES).to_owned(),
            city: random.choose(&CITIES).to_owned(),
            currency: "EUR".to_owned(),
            note,
        },
        (_, 0) => OrderEvent::OrderPaid {
            cents: 1 + random.below(500_000),
            method: random.choose(&["card", "transfer", "invoice"]).to_owned(),
            reference: format!("{:016x}", random.next()),
            note,
        },
        (_, 1) => OrderEvent::OrderSent {
            carrier: random.choose(&["Swift Parcel", "Postal", "Bicycle"]).to_owned(),
            parcel: random.next() >> 16,
            grams: 100 + random.below(20_000) as u32,
            note,
        },
        _ => OrderEvent::LineAdded {
            product: random.choose(&PRODUCTS).to_owned(),
            quantity: 1 + random.below(9) as u32,
            cents: 1 + random.below(50_000),
            note,
        },
    };
    with_note(event, random)
}

/// The command that makes an event as [`event`] makes it.
pub(super) fn command(random: &mut Random) -> Result<OrderCommand> {
    loop {
        if let OrderEvent::LineAdded { product, quantity, cents, note } = event(random, 2)? {
            return Ok(OrderCommand::AddLine { product, quantity, cents, note });
        }
    }
}

/// Fills the note so that the payload has its size.
fn with_note(mut event: OrderEvent, random: &mut Random) -> Result<OrderEvent> {
    const WORDS: [&str; 8] = ["leave", "at", "the", "door", "ring", "twice", "before", "noon"];
    let Some(missing) = PAYLOAD_BYTES.checked_sub(codec::encode(&event)?.len()) else {
        return failed(format!("an event without a note has more than {PAYLOAD_BYTES} bytes: {event:?}"));
    };
    let (OrderEvent::OrderPlaced { note, .. }
    | OrderEvent::LineAdded { note, .. }
    | OrderEvent::OrderPaid { note, .. }
    | OrderEvent::OrderSent { note, .. }) = &mut event;
    while note.len() < missing {
        note.push_str(random.choose(&WORDS));
        note.push(' ');
    }
    note.truncate(missing);
    Ok(event)
}
