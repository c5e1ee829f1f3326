//! The end of a log that is opened: what is missing there, what is cut off, and what is made durable.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use annals_core::{Position, StoreError};

use crate::format::SEGMENT_HEADER_BYTES;
use crate::places::UNFINISHED_SEGMENT_EXTENSION;
use crate::planted::Planted;
use crate::recovery::Recovery;
use crate::scan::{Scanner, proves_durable};
use crate::segment_files::{SegmentFile, Unusable};
use crate::storage::{OpenMode, StorageFile};

impl Recovery<'_> {
    /// Looks whether something is missing behind what was read.
    pub(crate) fn check_end(&mut self) {
        let (path, segment, end) = match &self.found.active {
            Some((segment, end)) => (segment.path.clone(), segment.first_position, *end),
            None => (self.places.segments(), Position::ZERO, 0),
        };
        let head = self.head();
        let reason = match self.found.mark {
            Some(mark) if mark.position > head => {
                format!("events up to position {} were durable, found only {head}", mark.position)
            }
            Some(mark) if (mark.segment, mark.end) > (segment, end.max(SEGMENT_HEADER_BYTES as u64)) => {
                format!("bytes up to {} of the segment of position {} were durable", mark.end, mark.segment)
            }
            _ if self.generation > 0 => {
                "the segment was compacted, so another one must follow it: it is missing".to_owned()
            }
            _ => return,
        };
        self.damaged(&path, end, reason);
    }

    /// Decides between damage and a tail that nobody was promised, and sets the latter aside.
    pub(crate) fn end_here(
        &mut self,
        found: &SegmentFile,
        scanner: &mut Scanner,
        offset: u64,
        is_last: bool,
        problem: Unusable,
    ) -> Result<(), StoreError> {
        let SegmentFile { path, file, .. } = found;
        let failed = |operation| move |error| StoreError::io(operation, path, error);
        let first_lost = self.head().next();
        let wrong = matches!(problem, Unusable::Wrong(_)) && !self.mistakes.make(Planted::BelieveFormatFile);
        let marked = self.found.mark.is_some_and(|mark| {
            mark.position >= first_lost || (mark.segment == found.first_position && mark.end > offset)
        });
        let mut later = scanner.next_header(offset + 1).map_err(failed("read"))?;
        while let Some((at, _)) = later.filter(|(_, header)| !proves_durable(header, first_lost)) {
            later = scanner.next_header(at + 1).map_err(failed("read"))?;
        }
        // Before a segment is compacted, it is durable, and the header of the next one too.
        let proven = !is_last || marked || wrong || self.generation > 0 || later.is_some();
        if proven && !self.mistakes.make(Planted::CutDamage) {
            self.damaged(path, offset, problem.reason().to_owned());
            if let (Some(damage), Some((at, _))) = (&mut self.found.damage, later) {
                damage.end = Some(at);
            }
            return Ok(());
        }
        let end = scanner.end_of_content(offset).map_err(failed("read"))?;
        if end > offset && !self.mistakes.make(Planted::SkipQuarantine) {
            self.quarantine(path, scanner, offset..end, problem.reason())?;
        }
        if self.mistakes.make(Planted::KeepTail) {
            return Ok(());
        }
        if offset == 0 {
            // Without a header it is no segment. Left there, it would stand between those before and after it.
            return self.storage.remove(path).map_err(failed("remove"));
        }
        file.set_len(offset).map_err(failed("cut"))
    }

    fn quarantine(
        &mut self,
        path: &Path,
        scanner: &mut Scanner,
        range: std::ops::Range<u64>,
        reason: &str,
    ) -> Result<(), StoreError> {
        let folder = self.places.quarantine();
        self.storage.create_dir_all(&folder).map_err(|error| StoreError::io("create", &folder, error))?;
        let (target, copy) = self.new_quarantine_file(&folder, range.start)?;
        let failed = |error| StoreError::io("write", &target, error);
        let mut at = range.start;
        while at < range.end {
            let length = (range.end - at).min(1 << 20) as usize;
            let bytes = scanner.bytes(at, length).map_err(|error| StoreError::io("read", path, error))?;
            copy.write_all_at(&bytes, at - range.start).map_err(failed)?;
            at += bytes.len().max(1) as u64;
        }
        copy.sync_data().map_err(failed)?;
        // The folder may have been made by a process that was killed before its name was durable.
        for folder in [&folder, &self.places.folder] {
            self.storage.sync_dir(folder).map_err(|error| StoreError::io("sync", folder, error))?;
        }
        self.found.notices.push(format!(
            "{} bytes behind position {} were never acknowledged and were moved to {} ({reason})",
            range.end - range.start,
            self.head(),
            target.display()
        ));
        Ok(())
    }

    /// A name that is taken was given by a recovery that was cut short, under a clock that has not moved since.
    fn new_quarantine_file(
        &self,
        folder: &Path,
        offset: u64,
    ) -> Result<(PathBuf, Arc<dyn StorageFile>), StoreError> {
        let mut moment = self.options.clock.now().as_micros();
        loop {
            let target = folder.join(format!("after-{:020}-at-{offset}-{moment}.bytes", self.head().get()));
            match self.storage.open(&target, OpenMode::CreateNew) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => moment += 1,
                opened => {
                    let copy = opened.map_err(|error| StoreError::io("write", &target, error))?;
                    return Ok((target, copy));
                }
            }
        }
    }

    /// A whole frame may stand at the end that no barrier covered: it is shown from now on, so it is made durable.
    ///
    /// It is written again before that, from where it begins. Where a barrier failed, the system may hold bytes for written
    /// that are not on the disk, and a barrier alone would not write them.
    pub(crate) fn settle(
        &self,
        found: &SegmentFile,
        scanner: &mut Scanner,
        unsettled: u64,
        was_cut: bool,
    ) -> Result<(), StoreError> {
        let SegmentFile { path, file, .. } = found;
        let failed = |operation| move |error| StoreError::io(operation, path, error);
        let Some((segment, end)) = &self.found.active else { return Ok(()) };
        let marked =
            self.found.mark.is_some_and(|mark| (mark.segment, mark.end) == (segment.first_position, *end));
        if (marked && !was_cut) || self.generation > 0 || self.mistakes.make(Planted::SkipRecoverySync) {
            return Ok(());
        }
        // The header of a segment without frames is written again too.
        let end = (*end).max(SEGMENT_HEADER_BYTES as u64);
        if unsettled < end && !self.mistakes.make(Planted::SkipRecoveryRewrite) {
            let bytes = scanner.bytes(unsettled, (end - unsettled) as usize).map_err(failed("read"))?;
            file.write_all_at(&bytes, unsettled).map_err(failed("write"))?;
        }
        file.sync_data().map_err(failed("sync"))
    }

    /// Removes what a compaction that was cut short left.
    pub(crate) fn remove_unfinished(&self) {
        let folder = self.places.segments();
        // What cannot be removed now is found again the next time.
        let names = self.storage.list(&folder).unwrap_or_default();
        let unfinished = names.iter().map(|name| folder.join(name));
        unfinished
            .filter(|path| path.extension().is_some_and(|known| known == UNFINISHED_SEGMENT_EXTENSION))
            .for_each(|path| drop(self.storage.remove(&path)));
    }

    /// A process that was killed may have made `format` or a segment without making its name durable.
    pub(crate) fn sync_folders(&self) -> Result<(), StoreError> {
        if self.mistakes.make(Planted::SkipRecoveryFolderSync) {
            return Ok(());
        }
        for folder in [&self.places.folder, &self.places.segments()] {
            self.storage.sync_dir(folder).map_err(|error| StoreError::io("sync", folder, error))?;
        }
        Ok(())
    }
}
