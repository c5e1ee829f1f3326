//! Reads everything from the disk and checks it: checksums, the chain of hashes, that nothing is missing.

use std::sync::Arc;

use annals_core::{Position, StoreError, VerifyProgress, VerifyReport};

use crate::format::{
    AppendHasher, FrameHeader, FrameRecord, Mark, Record, SEGMENT_HEADER_BYTES, SegmentHeader, StoreId,
    frame_hash,
};
use crate::options::LogOptions;
use crate::places::Places;
use crate::planted::{Mistakes, Planted};
use crate::scan::{Found, Scanner};
use crate::segment_files::open_segments;

#[derive(Default)]
struct Counts {
    segments: u64,
    frames: u64,
    records: u64,
    bytes: u64,
}

pub(crate) struct Verification<'a> {
    store: StoreId,
    /// No event behind this position is looked at: it may be being written.
    upto: Position,
    progress: &'a VerifyProgress,
    total: u64,
    counts: Counts,
    report: VerifyReport,
    next: Position,
    hash: [u8; 32],
    /// Whether everything so far was readable.
    unbroken: bool,
    mistakes: Mistakes,
}

pub(crate) fn verify(
    options: &LogOptions,
    places: &Places,
    store: StoreId,
    upto: Position,
    progress: &VerifyProgress,
) -> Result<VerifyReport, StoreError> {
    let files: Vec<_> = open_segments(&*options.storage, places, store)?
        .into_iter()
        .map(|found| {
            let name = found.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (name, found.path, found.file)
        })
        .collect();
    let total = files.iter().filter_map(|(_, _, file)| file.length().ok()).sum();
    let mut verification = Verification {
        store,
        upto,
        progress,
        total,
        counts: Counts::default(),
        report: VerifyReport::default(),
        next: Position::new(1),
        hash: [0; 32],
        unbroken: true,
        mistakes: Mistakes::of(options),
    };
    for (name, path, file) in files {
        let failed = |error| StoreError::io("read", &path, error);
        let mut scanner = Scanner::new(Arc::clone(&file), store).map_err(failed)?;
        let before = verification.counts.bytes;
        verification.segment(&name, &mut scanner).map_err(failed)?;
        verification.counts.bytes = before + scanner.length();
        (progress)(verification.counts.bytes, total);
    }
    Ok(verification.finish())
}

impl Verification<'_> {
    fn problem(&mut self, problem: String) {
        self.unbroken = false;
        self.report.problems.push(problem);
    }

    fn segment(&mut self, name: &str, scanner: &mut Scanner) -> std::io::Result<()> {
        self.counts.segments += 1;
        let header = SegmentHeader::decode(&scanner.bytes(0, SEGMENT_HEADER_BYTES)?, self.store);
        match header {
            // A checkpoint behind the last event was not read, so the hash is not known here.
            _ if self.next > self.upto => return Ok(()),
            Ok(header)
                if self.unbroken
                    && (header.first_position, header.previous_hash) != (self.next, self.hash)
                    && !self.mistakes.make(Planted::IgnoreChain) =>
            {
                self.problem(format!(
                    "{name}: begins at position {}, expected {}",
                    header.first_position, self.next
                ));
            }
            Ok(_) => {}
            Err(reason) => self.problem(format!("{name}: {reason}")),
        }
        let mut offset = SEGMENT_HEADER_BYTES as u64;
        let begun = self.counts.bytes;
        loop {
            match scanner.frame_at(offset)? {
                _ if self.next > self.upto => return Ok(()),
                Found::Frame(header, records) => {
                    if header.start.first_position > self.upto {
                        return Ok(());
                    }
                    self.frame(name, offset, &header, &records);
                    offset += header.frame_bytes();
                }
                Found::End if scanner.end_of_content(offset)? == offset => return Ok(()),
                found => {
                    let reason = match found {
                        Found::Bad(reason) => reason,
                        _ => "zeros stand where a frame should be".to_owned(),
                    };
                    let later = scanner.next_header(offset + 1)?;
                    let until = later
                        .map_or_else(|| "the end of the file".to_owned(), |(at, _)| format!("byte {at}"));
                    self.problem(format!(
                        "{name}: bytes {offset} to {until} cannot be read (position {} on): {reason}",
                        self.next
                    ));
                    match later {
                        Some((at, header)) => {
                            offset = at;
                            self.next = header.start.first_position;
                            self.hash = header.start.previous_hash;
                        }
                        None => return Ok(()),
                    }
                }
            }
            (self.progress)(begun + offset, self.total);
        }
    }

    fn frame(&mut self, name: &str, offset: u64, header: &FrameHeader, records: &[FrameRecord]) {
        let start = &header.start;
        if start.first_position != self.next {
            let (found, expected) = (start.first_position, self.next);
            self.problem(format!(
                "{name}: the frame at byte {offset} begins at position {found}, expected {expected}"
            ));
        }
        if start.previous_hash != self.hash && !self.mistakes.make(Planted::IgnoreChain) {
            self.problem(format!("{name}: the frame at byte {offset} does not continue the chain of hashes"));
        }
        if computed_hash(header, records) != header.hash {
            self.problem(format!("{name}: the hash of the frame at byte {offset} does not fit its events"));
        }
        self.counts.frames += 1;
        self.counts.records += u64::from(header.record_count);
        self.report.events += u64::from(header.event_count);
        self.hash = header.hash;
        self.next = Position::new(start.first_position.get() + u64::from(header.event_count));
        if self.unbroken {
            self.report.readable_to = self.next.previous();
        }
    }

    fn finish(mut self) -> VerifyReport {
        if self.unbroken && self.upto < Position::MAX && self.next.previous() < self.upto {
            let (found, expected) = (self.next.previous(), self.upto);
            self.problem(format!("the log ends at position {found}, expected {expected}"));
        }
        let Counts { segments, frames, records, bytes } = self.counts;
        let counted = [
            ("segments", segments),
            ("frames (checksum, hash, chain)", frames),
            ("records (checksum)", records),
            ("bytes", bytes),
        ];
        self.report.checked = counted.map(|(what, count)| (what.to_owned(), count)).to_vec();
        let chain = annals_core::ChainHash { position: self.next.previous(), hash: self.hash };
        self.report.chain = Some(chain.to_string());
        self.report
    }
}

/// The hash of a frame, computed from its records as the writer did.
fn computed_hash(header: &FrameHeader, records: &[FrameRecord]) -> [u8; 32] {
    let mut hasher = AppendHasher::default();
    let mut hashes = Vec::new();
    for (index, record) in records.iter().enumerate() {
        if record.begins_append && index > 0 {
            hashes.extend_from_slice(&hasher.finish());
        }
        match &record.record {
            Record::Event(event) => hasher.add_event(event.head(), &event.content_digest()),
            Record::Removed(event) => hasher.add_event(&event.head, &event.digest),
            Record::Checkpoint(checkpoint) => hasher.add_checkpoint(checkpoint),
        }
    }
    hashes.extend_from_slice(&hasher.finish());
    frame_hash(&header.start, &hashes)
}

/// What the mark says that the segments do not bear out.
pub(crate) fn contradiction(mark: Option<Mark>, readable_to: Position) -> Option<String> {
    let mark = mark.filter(|mark| mark.position > readable_to)?;
    Some(format!("the durable mark names position {}, found only {readable_to}", mark.position))
}
