//! A release binary with eight writers is killed again and again; what it was told is durable must be there.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use annals_core::conformance::block_on;
use annals_core::{ConsumerName, EventId, EventStore, Filter, Position, ReadRequest, RecordedEvent};
use annals_log::EventLog;

use crate::killed_appends::{AppendNumber, WRITERS, options, spread};

const KILLS: u64 = 300;
/// After so many kills everything is read and verified.
const BETWEEN_VERIFICATIONS: u64 = 50;
/// So many receipts, of any round, are asked for again after each kill.
const REPEATED: usize = 6;

/// What a writer was told.
#[derive(Debug, Clone)]
struct Receipt {
    number: AppendNumber,
    first: u64,
    last: u64,
    proof: String,
}

impl Receipt {
    /// Reads a line; `None` of one that the kill cut short.
    fn parse(round: u64, line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        let ["receipt", writer, n, first, last, proof, "."] = words.as_slice() else { return None };
        let number = AppendNumber { round, writer: writer.parse().ok()?, n: n.parse().ok()? };
        let (first, last, proof) = (first.parse().ok()?, last.parse().ok()?, (*proof).to_owned());
        Some(Self { number, first, last, proof })
    }
}

/// Builds the program of the writers as it would be shipped, and says where it is.
fn release_binary() -> PathBuf {
    let target = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned();
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "--quiet", "-p", "annals-log", "--example", "killed_writer"])
        .arg("--target-dir")
        .arg(&target)
        .status();
    assert!(built.unwrap().success(), "the program of the writers cannot be built");
    target.join("release/examples/killed_writer")
}

/// Runs the writers until they are killed, some time after they were started; returns what they printed.
fn run_and_kill(program: &Path, folder: &Path, seed: u64, round: u64) -> Vec<Receipt> {
    let dice = spread(seed << 32 | round);
    let mut child: Child = Command::new(program)
        .arg(folder)
        .args([seed.to_string(), round.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let keeper = std::thread::spawn(move || {
        let mut printed = Vec::new();
        stdout.read_to_end(&mut printed).unwrap();
        String::from_utf8(printed).unwrap()
    });
    std::thread::sleep(Duration::from_micros(dice % 90_000));
    if (dice / 100_000).is_multiple_of(5) {
        // This one dies while it closes the log.
        drop(child.stdin.take());
        std::thread::sleep(Duration::from_micros(dice / 1_000_000 % 8_000));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let printed = keeper.join().unwrap();
    let whole = printed.rfind('\n').map_or("", |end| &printed[..end]);
    let receipts: Vec<_> = whole.lines().map(|line| Receipt::parse(round, line).expect(line)).collect();
    receipts
}

/// What is known of the log from the rounds before.
#[derive(Default)]
struct Kept {
    /// The id of each event, by position.
    ids: Vec<EventId>,
    versions: HashMap<String, u64>,
    /// Where each append begins.
    appends: HashMap<AppendNumber, u64>,
    checkpoints: HashMap<u64, u64>,
    /// How many events of the append that was seen last are still to come.
    outstanding: u64,
    receipts: Vec<Receipt>,
}

impl Kept {
    /// Checks an event behind all that were seen before, of which the append before it is whole.
    fn add(&mut self, seed: u64, event: &RecordedEvent) {
        assert_eq!(event.position().get(), self.ids.len() as u64 + 1, "positions are dense");
        self.ids.push(event.id());
        let version = self.versions.entry(event.stream().to_owned()).or_default();
        *version += 1;
        assert_eq!(event.version().get(), *version, "versions of {} are dense", event.stream());
        let payload: serde_json::Value = serde_json::from_slice(event.payload()).unwrap();
        let [round, writer, n] = [0, 1, 2].map(|k| payload["append"][k].as_u64().unwrap());
        let number = AppendNumber { round, writer, n };
        let [index, count] = ["index", "of"].map(|field| payload[field].as_u64().unwrap());
        self.outstanding = match index {
            0 => {
                assert_eq!(self.outstanding, 0, "the append before {number:?} is whole");
                count - 1
            }
            _ => self.outstanding - 1,
        };
        let first = *self.appends.entry(number).or_insert(event.position().get());
        assert_eq!(first + index, event.position().get(), "{number:?} is whole and in order");
        let expected = number.request(seed).unwrap().events.remove(index as usize);
        assert_eq!(event.payload(), expected.payload_bytes().as_ref(), "{number:?}");
        assert_eq!((event.id(), event.stream()), (expected.event_id(), expected.stream().as_str()));
    }

    fn check(&mut self, seed: u64, round: u64, log: &EventLog, told: Vec<Receipt>) {
        assert_eq!(log.damage(), None, "round {round}");
        let misfits: Vec<_> = log.notices().into_iter().filter(|notice| notice.contains("index")).collect();
        assert!(misfits.is_empty(), "a kill leaves a fitting index: {misfits:?}");
        let known = self.ids.len();
        let store: &dyn EventStore = log;
        let request = ReadRequest::new(Filter::all()).after(Position::new(known as u64));
        let events = block_on(store.reader(request).collect()).unwrap();
        events.iter().for_each(|event| self.add(seed, event));
        assert_eq!(self.outstanding, 0, "round {round}, seed {seed}: the last append is whole");
        for Receipt { number, first, last, .. } in &told {
            let count = number.streams().len() as u64;
            if count > 0 {
                assert_eq!(
                    self.appends.get(number),
                    Some(first),
                    "round {round}, seed {seed}: {number:?} is lost"
                );
                assert_eq!(last - first + 1, count);
            }
            if let Some(position) = number.checkpoint() {
                let acknowledged = self.checkpoints.entry(number.writer).or_default();
                *acknowledged = position.max(*acknowledged);
            }
        }
        for writer in 0..WRITERS {
            let consumer = ConsumerName::new(AppendNumber::consumer(writer)).unwrap();
            let found = block_on(log.checkpoint(&consumer)).unwrap().map_or(0, Position::get);
            let acknowledged = self.checkpoints.get(&writer).copied().unwrap_or(0);
            assert!(found >= acknowledged, "round {round}, seed {seed}: the checkpoint of writer {writer}");
        }
        self.receipts.extend(told);
    }

    /// Appends some of what was acknowledged again: each gets the receipt that it was given.
    fn repeat(&self, seed: u64, round: u64, log: &EventLog) {
        let head = block_on(log.head()).unwrap();
        for k in 0..REPEATED as u64 {
            let chosen = spread(seed ^ round << 20 ^ k) as usize % self.receipts.len().max(1);
            let Some(receipt) = self.receipts.get(chosen) else { return };
            let mut request = receipt.number.request(seed).unwrap();
            request.checkpoint = None;
            if request.events.is_empty() {
                continue;
            }
            let again = log.append_blocking(request).unwrap();
            let found = (again.first_position.get(), again.last_position.get());
            assert_eq!((again.duplicate, found), (true, (receipt.first, receipt.last)), "{receipt:?}");
            assert_eq!(again.proof.map(|proof| proof.to_string()).unwrap_or_default(), receipt.proof);
        }
        assert_eq!(block_on(log.head()).unwrap(), head, "nothing was stored again");
    }

    /// Reads everything again.
    fn read_all(&self, log: &EventLog) {
        let events = crate::read_all(log);
        assert_eq!(events.iter().map(RecordedEvent::id).collect::<Vec<_>>(), self.ids);
        let report = block_on(log.verify(Box::new(|_, _| {}))).unwrap();
        assert!(report.is_sound(), "{:?}", report.problems);
        assert_eq!(report.events, self.ids.len() as u64);
    }
}

#[test]
fn every_receipt_of_three_hundred_killed_processes_is_kept() {
    let seed: u64 = std::env::var("ANNALS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    let program = release_binary();
    let folder = tempfile::tempdir().unwrap();
    let mut kept = Kept::default();
    let begun = Instant::now();
    let mut silent = 0;
    for round in 1..=KILLS {
        let told = run_and_kill(&program, folder.path(), seed, round);
        silent += u64::from(told.is_empty());
        let log = EventLog::open(folder.path(), options()).unwrap();
        kept.check(seed, round, &log, told);
        kept.repeat(seed, round, &log);
        if round % BETWEEN_VERIFICATIONS == 0 {
            kept.read_all(&log);
        }
    }
    let segments = std::fs::read_dir(folder.path().join("segments")).unwrap().count();
    println!(
        "evidence: {{\"test\":\"real kills\",\"kills\":{KILLS},\"writers\":{WRITERS},\"receipts\":{},\"events\":{},\
         \"segments\":{segments},\"killed before the first receipt\":{silent},\"lost\":0,\"seconds\":{},\"seed\":{seed}}}",
        kept.receipts.len(),
        kept.ids.len(),
        begun.elapsed().as_secs(),
    );
    assert!(kept.receipts.len() > 1_000 && silent < KILLS / 2);
}
