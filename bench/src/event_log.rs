//! What more than one family asks of the embedded log.

use std::path::Path;

use annals_core::{EventBatch, ReadFrom, ReadRequest};
use annals_log::{EventLog, LogOptions};

use crate::failure::Result;

/// Opens the log in `folder`, which is made if there is none.
pub(crate) fn open_log(folder: &Path) -> Result<EventLog> {
    Ok(EventLog::open(folder, LogOptions::default())?)
}

/// Reads a log batch by batch to the end of the request.
pub(crate) fn read_to_end(
    log: &EventLog,
    mut request: ReadRequest,
    mut take: impl FnMut(EventBatch) -> Result<()>,
) -> Result<()> {
    loop {
        let batch = log.read_blocking(&request)?;
        let next = batch.next;
        take(batch)?;
        match next {
            Some(next) => request.from = ReadFrom::Position(next),
            None => return Ok(()),
        }
    }
}

/// Up to where frames reach in the segments of the log in `folder`: behind them, segments are filled with zeros.
/// Two calls tell how many bytes the frames between them took.
pub(crate) fn written_bytes(folder: &Path) -> Result<u64> {
    let mut total = 0;
    for entry in std::fs::read_dir(folder.join("segments"))? {
        total += last_byte_written(&entry?.path())?;
    }
    Ok(total)
}

fn last_byte_written(path: &Path) -> Result<u64> {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::open(path)?;
    let mut end = file.metadata()?.len();
    let mut chunk = vec![0; 1 << 20];
    while end > 0 {
        let start = end.saturating_sub(chunk.len() as u64);
        let part = &mut chunk[..(end - start) as usize];
        file.read_exact_at(part, start)?;
        if let Some(last) = part.iter().rposition(|byte| *byte != 0) {
            return Ok(start + last as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}
