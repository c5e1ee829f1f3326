//! Eight writers that append until they are killed: for the test `real kills`, which keeps the receipts that they print.
//!
//! `killed_writer FOLDER SEED ROUND`. When standard input ends, the log is closed instead.

mod appends;

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use annals_core::{EventStore, ExpectedVersion, StreamName, Version};
use annals_log::EventLog;
use appends::{AppendNumber, WRITERS, options};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, folder, seed, round] = arguments.as_slice() else {
        return Err("usage: killed_writer FOLDER SEED ROUND".into());
    };
    let (seed, round) = (seed.parse()?, round.parse()?);
    let log = EventLog::open(folder, options())?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (log, stop) = (&log, &stop);
            scope.spawn(move || {
                if let Err(error) = write_on(log, seed, round, writer, stop) {
                    eprintln!("writer {writer}: {error}");
                    std::process::exit(1);
                }
            });
        }
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        stop.store(true, Ordering::Relaxed);
    });
    Ok(())
}

fn write_on(log: &EventLog, seed: u64, round: u64, writer: u64, stop: &AtomicBool) -> Result<(), Failure> {
    let own = StreamName::new(AppendNumber::own_stream(writer))?;
    let mut version = annals_core::block_on(log.stream_state(&own))?.version;
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let number = AppendNumber { round, writer, n };
        let mut request = number.request(seed).map_err(|error| error.to_string())?;
        if number.own_events() > 0 {
            request = request.expect(own.clone(), ExpectedVersion::Exact(version));
            version = Version::new(version.get() + number.own_events());
        }
        let receipt = log.append_blocking(request)?;
        let proof = receipt.proof.map(|proof| proof.to_string()).unwrap_or_default();
        let (first, last) = (receipt.first_position, receipt.last_position);
        let line = format!("receipt {writer} {n} {first} {last} {proof} .\n");
        std::io::stdout().lock().write_all(line.as_bytes())?;
    }
    Ok(())
}
