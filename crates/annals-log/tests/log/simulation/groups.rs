//! Power cuts while several appends share a barrier. Which of them do depends on the moment, so these images are not
//! the same each time; what must hold of them is.

use std::collections::{BTreeMap, HashSet};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use annals_core::conformance::{TestClock, block_on};
use annals_core::{AppendReceipt, AppendRequest, EventId, EventStore};

use super::check::read_all;
use super::disk::SimDisk;
use super::engine::{self, Setup};
use super::images::{CASUAL_FILES, Replay};
use super::random::{Random, long_run, seed};
use super::tears::Tearing;
use super::tree::Tree;

const BURSTS: u64 = 3;
const APPENDS_AT_ONCE: u64 = 5;

/// An append of two events, the receipt that it got, and how many changes of the disk there had been before it was
/// asked for and after it was answered.
struct Shared {
    request: AppendRequest,
    receipt: AppendReceipt,
    asked_after: usize,
    answered_after: usize,
}

fn request(number: u64) -> AppendRequest {
    let event = |index: u64, stream: &str| {
        let id = EventId::derived("groups", &format!("{number}-{index}"));
        crate::event(stream, &format!("\"{number}-{index}\"")).id(id)
    };
    AppendRequest::new([event(0, "a-1"), event(1, &format!("b-{number}"))])
}

/// Appends in bursts, so that the log's thread finds several lined up.
fn appended(disk: &SimDisk) -> Vec<Shared> {
    let log = engine::open(disk, &TestClock::at(1_000_000), Setup::default()).unwrap();
    let mut all = Vec::new();
    for burst in 0..BURSTS {
        let asked_after = disk.op_count();
        let numbers = burst * APPENDS_AT_ONCE..(burst + 1) * APPENDS_AT_ONCE;
        let requests: Vec<_> = numbers.map(request).collect();
        let mut waiting: Vec<_> = requests.iter().map(|request| log.append(request.clone())).collect();
        // The first poll lines an append up.
        let mut context = Context::from_waker(Waker::noop());
        let ready: Vec<_> = waiting.iter_mut().map(|append| append.as_mut().poll(&mut context)).collect();
        for ((request, append), ready) in requests.into_iter().zip(waiting).zip(ready) {
            let receipt = match ready {
                Poll::Ready(receipt) => receipt.unwrap(),
                Poll::Pending => block_on(pin!(append)).unwrap(),
            };
            all.push(Shared { request, receipt, asked_after, answered_after: disk.op_count() });
        }
    }
    all
}

/// Checks an image; every append is there as a whole or not at all, and each that was answered is.
fn check(image: &Tree, appends: &[Shared], point: usize) -> Result<(), String> {
    let disk = SimDisk::holding(image.clone());
    let log = engine::open(&disk, &TestClock::at(2_000_000), Setup::default())
        .map_err(|error| error.to_string())?;
    if let Some(damage) = log.damage() {
        return Err(damage.to_string());
    }
    let found = read_all(&log)?;
    if found.iter().zip(1..).any(|(event, position)| event.position().get() != position) {
        return Err(format!("positions are not dense: {found:?}"));
    }
    let places: BTreeMap<EventId, u64> =
        found.iter().map(|event| (event.id(), event.position().get())).collect();
    let mut events = 0;
    for append in appends.iter().filter(|append| append.asked_after <= point) {
        let ids = append.request.events.iter().map(|event| places.get(&event.event_id()).copied());
        let first = append.receipt.first_position.get();
        match ids.collect::<Vec<_>>()[..] {
            [None, None] if append.answered_after > point => {}
            [Some(one), Some(two)] if (one, two) == (first, first + 1) => events += 2,
            ref other => return Err(format!("{:?}: found at {other:?}", append.receipt)),
        }
    }
    if events != found.len() {
        return Err(format!("{} events were never submitted", found.len() - events));
    }
    for append in appends.iter().filter(|append| append.asked_after <= point) {
        let known = places.contains_key(&append.request.events[0].event_id());
        let again = log.append_blocking(append.request.clone()).map_err(|error| error.to_string())?;
        let proven = !known
            || (again.proof, again.streams.clone()) == (append.receipt.proof, append.receipt.streams.clone());
        if again.duplicate != known || !proven {
            return Err(format!("appended again: {again:?}, expected {:?}", append.receipt));
        }
    }
    Ok(())
}

#[test]
fn appends_that_share_a_barrier_are_each_whole() {
    let begun = std::time::Instant::now();
    let rounds = if long_run() { 2_000 } else { 200 };
    let mut images = HashSet::new();
    let (mut shared, mut points, mut violations) = (0, 0, Vec::new());
    for round in 0..rounds {
        let disk = SimDisk::traced(Tree::default());
        let appends = appended(&disk);
        let proofs: HashSet<_> =
            appends.iter().map(|append| append.receipt.proof.map(|proof| proof.hash)).collect();
        shared += appends.len() - proofs.len();
        let mut replay = Replay::of(Tree::default());
        let mut random = Random::of(&[seed(), round]);
        for (point, op) in (1..).zip(&disk.ops()) {
            replay.step(op);
            points += 1;
            replay.for_each_choice(false, Tearing::Sampled, &mut random, |choice| {
                let image = replay.image(&choice);
                if images.insert((image.hash(&CASUAL_FILES), point))
                    && let Err(problem) = check(&image, &appends, point)
                {
                    violations.push(format!(
                        "round {round}, point {point}: {problem} [{}]",
                        replay.describe(&choice)
                    ));
                }
            });
        }
    }
    println!(
        "evidence: {{\"test\":\"shared barriers\",\"rounds\":{rounds},\"appends_that_shared\":{shared},\
         \"crash_points\":{points},\"images\":{},\"violated\":{},\"seed\":{},\"seconds\":{}}}",
        images.len(),
        violations.len(),
        seed(),
        begun.elapsed().as_secs(),
    );
    assert!(violations.is_empty(), "{} violations: {:?}", violations.len(), violations.first());
    assert!(shared > 0, "no append shared a barrier: nothing was tested");
}
