//! Which runs fit the log as it is found.

use std::sync::Arc;

use annals_core::{Position, StoreError};

use crate::format::{FRAME_HEADER_BYTES, FrameHeader, SEGMENT_HEADER_BYTES, StoreId};
use crate::maintenance::choose_runs;
use crate::places::Places;
use crate::planted::{Mistakes, Planted};
use crate::run::{Resume, Run, SegmentStamp};
use crate::segment_files::SegmentFile;
use crate::storage::Storage;

/// What an index folder is worth.
pub(crate) enum Trusted {
    /// Nothing is there.
    Nothing,
    /// The runs, and where the log goes on behind them.
    Runs { runs: Vec<Arc<Run>>, resume: Resume },
    /// What is there does not fit the log: why.
    Stale(String),
}

/// Who opens the runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opener {
    /// The writer, who removes what nobody needs.
    Writer,
    /// The writer building the index again: nothing of it is kept.
    Rebuilder,
    /// A reader beside it, who changes nothing.
    Reader,
}

/// Opens the runs that cover the log from its beginning.
pub(crate) fn open(
    storage: &dyn Storage,
    places: &Places,
    store: StoreId,
    files: &[SegmentFile],
    opener: Opener,
    mistakes: Mistakes,
) -> Result<Trusted, StoreError> {
    let folder = places.index();
    let names = match storage.list(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Trusted::Nothing),
        listed => listed.map_err(|error| StoreError::io("list", &folder, error))?,
    };
    if opener == Opener::Rebuilder {
        names.iter().for_each(|name| drop(storage.remove(&folder.join(name))));
        return Ok(Trusted::Nothing);
    }
    let (chosen, rest) = choose_runs(&names);
    let mut runs = Vec::new();
    let mut problem = None;
    for name in &chosen {
        match Run::open(storage, name.path(&folder), store).and_then(|run| named_rightly(run, name)) {
            Ok(run) => runs.push(Arc::new(run.making(mistakes))),
            Err(reason) => {
                problem = Some(format!("{}: {reason}", name.path(&folder).display()));
                break;
            }
        }
    }
    let blindly = mistakes.make(Planted::TrustStaleIndex) || mistakes.make(Planted::IndexAheadOfLog);
    if problem.is_none() && !blindly {
        problem = check(&runs, files, store).err();
    }
    // What cannot be removed now is found again the next time.
    let remove_all = |names: &[String]| {
        let removable = names.iter().filter(|_| opener != Opener::Reader);
        removable.for_each(|name| drop(storage.remove(&folder.join(name))));
    };
    if let Some(problem) = problem {
        drop(runs);
        remove_all(&names);
        return Ok(Trusted::Stale(problem));
    }
    remove_all(&rest);
    Ok(match runs.last().map(|run| run.resume()) {
        Some(resume) => Trusted::Runs { runs, resume },
        None => Trusted::Nothing,
    })
}

fn named_rightly(run: Run, name: &crate::run::RunName) -> Result<Run, String> {
    let fits = run.first() == name.first && run.last() == name.last;
    if fits { Ok(run) } else { Err("it is of another range than its name says".to_owned()) }
}

/// Checks that the log is what the runs say it was, and that it goes on where they end.
fn check(runs: &[Arc<Run>], files: &[SegmentFile], store: StoreId) -> Result<(), String> {
    let Some(resume) = runs.last().map(|run| run.resume()) else { return Ok(()) };
    let text = |error: StoreError| error.to_string();
    let mut ended = (Position::ZERO, 0);
    for run in runs {
        if run.header().begins != ended {
            return Err(format!("nothing of it tells of what stands before {}", run.path().display()));
        }
        ended = (run.resume().segment, run.resume().offset);
    }
    let mut expected = Vec::new();
    for run in runs {
        expected.extend(run.segments().map_err(text)?);
    }
    expected.dedup();
    let mut found = Vec::new();
    // A segment in which nothing stands yet belongs to what follows the runs.
    let ends_at_header = resume.offset == SEGMENT_HEADER_BYTES as u64;
    let belongs = |first: Position| first < resume.segment || (first == resume.segment && !ends_at_header);
    expected.retain(|stamp| belongs(stamp.first_position));
    for file in files.iter().filter(|file| belongs(file.first_position)) {
        let header = file.header.as_ref().map_err(|reason| format!("{}: {reason}", file.path.display()))?;
        found.push(SegmentStamp { first_position: header.first_position, generation: header.generation });
    }
    if expected != found {
        return Err(format!("it is of {} segments, found {} or others", expected.len(), found.len()));
    }
    let file = files.iter().find(|file| file.first_position == resume.segment);
    let file = file.ok_or_else(|| format!("the segment of position {} is missing", resume.segment))?;
    let (mut offset, mut hash) = match last_frame(runs, resume.segment).map_err(text)? {
        Some(offset) => (u64::from(offset), None),
        None => (SEGMENT_HEADER_BYTES as u64, file.header.as_ref().ok().map(|header| header.previous_hash)),
    };
    while offset < resume.offset {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        let count = file.file.read_full_at(&mut bytes, offset).map_err(|error| error.to_string())?;
        let header = FrameHeader::decode(&bytes[..count], store)?;
        hash = Some(header.hash);
        offset += header.frame_bytes();
    }
    if offset != resume.offset || hash != Some(resume.hash) {
        return Err(format!(
            "it ends at byte {} of the segment, where the log says otherwise",
            resume.offset
        ));
    }
    Ok(())
}

/// Where the last frame with events begins, when it is in this segment.
fn last_frame(runs: &[Arc<Run>], segment: Position) -> Result<Option<u32>, StoreError> {
    for run in runs.iter().rev() {
        let frames = run.frames()?;
        if let Some(frame) = frames.len().checked_sub(1).and_then(|last| frames.get(last)) {
            return Ok((frame.first_position >= segment).then_some(frame.offset));
        }
    }
    Ok(None)
}
