//! Folding all events of a log into their aggregates, in one pass on one thread.

use std::collections::HashMap;

use annals_app::{Aggregate, decode_event};
use annals_core::{Filter, ReadRequest, RecordedEvent};
use annals_log::EventLog;
use serde::Deserialize;

use super::Run;
use super::filling::Filling;
use super::orders::{Order, OrderEvent, PAYLOAD_BYTES, event, stream};
use crate::event_log::{open_log, read_to_end};
use crate::failure::{Failure, Result, failed};
use crate::random::Random;
use crate::targets::ANNALS;
use crate::turns::{Turn, take_turns};

pub(super) const REPLAY: &str = "replay";

/// The fields of the events, as one would decode them who knows the type of each payload beforehand.
#[derive(Deserialize)]
#[expect(dead_code, reason = "the fields are decoded, which is what is measured")]
struct Placed {
    customer: u64,
    name: String,
    city: String,
    currency: String,
    note: String,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "the fields are decoded, which is what is measured")]
struct Line {
    product: String,
    quantity: u32,
    cents: u64,
    note: String,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "the fields are decoded, which is what is measured")]
struct Paid {
    cents: u64,
    method: String,
    reference: String,
    note: String,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "the fields are decoded, which is what is measured")]
struct Sent {
    carrier: String,
    parcel: u64,
    grams: u32,
    note: String,
}

/// Which of these a payload is.
#[derive(Clone, Copy)]
enum Form {
    Placed,
    Line,
    Paid,
    Sent,
}

/// All payloads of a log, one behind the other.
#[derive(Default)]
struct Payloads {
    forms: Vec<Form>,
    bytes: Vec<u8>,
}

/// Fills a log and replays it.
pub(super) fn run(run: &mut Run) -> Result<()> {
    let (streams, per_stream) = run.scale.replay;
    let events = streams * per_stream;
    eprintln!("{REPLAY}: {events} events in {streams} streams");
    let log = fill(run, streams, per_stream)?;
    let payloads = Payloads::of(&log)?;
    let turns = vec![
        Turn::of(ANNALS, events, || check(&replay(&log)?, streams, events)),
        Turn::of("floor_json", events, || payloads.decode()),
        Turn::of("floor_read", events, || {
            let mut read = 0;
            each_event(&log, |event| {
                read += u64::from(!std::hint::black_box(event.payload()).is_empty());
                Ok(())
            })?;
            if read == events {
                Ok(())
            } else {
                failed(format!("{read} events were read, expected {events}"))
            }
        }),
    ];
    take_turns(&mut run.report, run.scale.rounds, (REPLAY, "events/s"), turns)?;
    run.report.note(format!(
        "{REPLAY}: one thread reads all events, decodes payloads of {PAYLOAD_BYTES} bytes into an enum of four variants with \
         four or five fields, and folds them into {streams} aggregates, whose events lie far from each other. floor_json \
         decodes the same payloads from memory with serde_json, their types known; floor_read reads the same events and \
         decodes nothing. Published by others, on other machines: pyeventsourcing 150,000 events/s"
    ));
    Ok(())
}

/// Streams are written in turn, an event each.
fn fill(run: &Run, streams: u64, per_stream: u64) -> Result<EventLog> {
    let log = open_log(&run.scratch.fresh("orders"))?;
    let mut random = Random::seeded()?;
    let names = (0..streams).map(stream).collect::<Result<Vec<_>>>()?;
    let mut filling = Filling::new(&log);
    for version in 1..=per_stream {
        for name in &names {
            filling.push(name, &event(&mut random, version)?)?;
        }
    }
    filling.store()?;
    log.seal_blocking()?;
    Ok(log)
}

fn each_event(log: &EventLog, mut take: impl FnMut(&RecordedEvent) -> Result<()>) -> Result<()> {
    read_to_end(log, ReadRequest::new(Filter::all()), |batch| batch.events.iter().try_for_each(&mut take))
}

/// An aggregate, and how many events it was folded from.
#[derive(Default)]
struct Folded {
    order: Order,
    version: u64,
}

impl Folded {
    fn take(&mut self, recorded: &RecordedEvent) -> Result<()> {
        decode_event::<OrderEvent>(recorded)?.for_each(|event| self.order.apply(&event));
        self.version = recorded.version().get();
        Ok(())
    }
}

fn replay(log: &EventLog) -> Result<HashMap<String, Folded>> {
    let mut orders: HashMap<String, Folded> = HashMap::new();
    each_event(log, |recorded| match orders.get_mut(recorded.entity_id()) {
        Some(folded) => folded.take(recorded),
        None => orders.entry(recorded.entity_id().to_owned()).or_default().take(recorded),
    })?;
    Ok(orders)
}

fn check(orders: &HashMap<String, Folded>, streams: u64, events: u64) -> Result<()> {
    let folded: u64 = orders.values().map(|folded| folded.version).sum();
    let placed = orders.values().filter(|folded| folded.order.customer > 0).count() as u64;
    if orders.len() as u64 != streams || folded != events || placed != streams {
        return failed(format!(
            "{} aggregates of {folded} events were folded, of which {placed} were placed; expected {streams} of {events}",
            orders.len()
        ));
    }
    Ok(())
}

impl Payloads {
    fn of(log: &EventLog) -> Result<Self> {
        let mut payloads = Self::default();
        each_event(log, |event| {
            payloads.forms.push(match event.event_type() {
                "OrderPlaced" => Form::Placed,
                "LineAdded" => Form::Line,
                "OrderPaid" => Form::Paid,
                "OrderSent" => Form::Sent,
                other => return Err(Failure::from(format!("there is an event of an unknown type, {other}"))),
            });
            payloads.bytes.extend_from_slice(event.payload());
            Ok(())
        })?;
        Ok(payloads)
    }

    fn decode(&self) -> Result<()> {
        for (form, payload) in self.forms.iter().zip(self.bytes.chunks_exact(PAYLOAD_BYTES)) {
            match form {
                Form::Placed => drop(std::hint::black_box(serde_json::from_slice::<Placed>(payload)?)),
                Form::Line => drop(std::hint::black_box(serde_json::from_slice::<Line>(payload)?)),
                Form::Paid => drop(std::hint::black_box(serde_json::from_slice::<Paid>(payload)?)),
                Form::Sent => drop(std::hint::black_box(serde_json::from_slice::<Sent>(payload)?)),
            }
        }
        Ok(())
    }
}
