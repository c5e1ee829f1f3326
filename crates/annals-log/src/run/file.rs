//! The file of a run: a header page, sections, and a checksum of every page.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use annals_core::{Position, StoreError, Timestamp};

use super::bits::PADDING_BYTES;
use super::directory::DirectoryShape;
use crate::format::{Fields, StoreId};
use crate::mapping::Mapping;
use crate::storage::{OpenMode, Storage, StorageFile};

pub(crate) const RUN_SUFFIX: &str = ".run";
const MAGIC: &[u8; 8] = b"ANNALRUN";
/// Runs are derived, so there is no need to read those of other versions: they are built anew.
const RUN_VERSION: u32 = 1;
const PAGE_BYTES: usize = 4096;
const CHECKSUM_AT: usize = PAGE_BYTES - 4;

/// The sections of a run, in the order of the header.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Section {
    TermData,
    TermOffsets,
    TermStarts,
    TermEntries,
    IdStarts,
    IdEntries,
    Offsets,
    Frames,
    Hidden,
    Checkpoints,
    Segments,
}

const SECTIONS: usize = 11;

/// Where the log goes on behind a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resume {
    /// The first position of the segment.
    pub(crate) segment: Position,
    /// The end of the last frame in it.
    pub(crate) offset: u64,
    /// The chain's hash there.
    pub(crate) hash: [u8; 32],
    /// When the last event was recorded.
    pub(crate) recorded_at: Timestamp,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct RunHeader {
    pub(crate) store: StoreId,
    pub(crate) first: Position,
    /// One before `first` when the run has no events, only checkpoints.
    pub(crate) last: Position,
    pub(crate) terms: u64,
    /// Where its first frame stands: where the run before ends. Zeros at the beginning of the log.
    pub(crate) begins: (Position, u64),
    pub(crate) resume: Resume,
    /// When its first frame was recorded.
    pub(crate) begun: Timestamp,
    pub(crate) term_directory: DirectoryShape,
    pub(crate) id_directory: DirectoryShape,
    pub(crate) sections: [(u64, u64); SECTIONS],
    /// How many pages are behind the header.
    pages: u64,
    pages_checksum: u32,
}

/// The range of positions that a file name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunName {
    pub(crate) first: Position,
    pub(crate) last: Position,
}

impl RunName {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (first, last) = name.strip_suffix(RUN_SUFFIX)?.split_once('-')?;
        Some(Self { first: first.parse().ok()?, last: last.parse().ok()? })
    }

    pub(crate) fn path(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{:020}-{:020}{RUN_SUFFIX}", self.first.get(), self.last.get()))
    }
}

impl RunHeader {
    pub(crate) fn new(
        store: StoreId,
        first: Position,
        last: Position,
        begins: (Position, u64),
        resume: Resume,
    ) -> Self {
        Self {
            store,
            first,
            last,
            terms: 0,
            begins,
            resume,
            begun: resume.recorded_at,
            term_directory: DirectoryShape::default(),
            id_directory: DirectoryShape::default(),
            sections: [(0, 0); SECTIONS],
            pages: 0,
            pages_checksum: 0,
        }
    }

    pub(crate) fn name(&self) -> RunName {
        RunName { first: self.first, last: self.last }
    }

    pub(crate) fn events(&self) -> u64 {
        (self.last.get() + 1).saturating_sub(self.first.get())
    }

    /// Whether the sections are as large as what the header says is in them, so that nobody looks for more.
    fn is_filled(&self) -> bool {
        let bits_of = |section: Section| self.sections[section as usize].1.saturating_mul(8);
        let directory = |shape: &DirectoryShape, starts, entries| {
            bits_of(starts) >= (shape.buckets() + 1) * u64::from(shape.deviation_bits)
                && bits_of(entries) >= shape.count * u64::from(shape.entry_bits())
        };
        bits_of(Section::TermOffsets) / 32 >= self.terms
            && directory(&self.term_directory, Section::TermStarts, Section::TermEntries)
            && directory(&self.id_directory, Section::IdStarts, Section::IdEntries)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&RUN_VERSION.to_le_bytes());
        out.extend_from_slice(&self.pages_checksum.to_le_bytes());
        let resume = &self.resume;
        let numbers = [
            self.first.get(),
            self.last.get(),
            self.terms,
            resume.segment.get(),
            resume.offset,
            self.pages,
            self.begins.0.get(),
            self.begins.1,
        ];
        numbers.iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
        out.extend_from_slice(&resume.recorded_at.as_micros().to_le_bytes());
        out.extend_from_slice(&self.begun.as_micros().to_le_bytes());
        out.extend_from_slice(&resume.hash);
        for shape in [&self.term_directory, &self.id_directory] {
            out.extend_from_slice(&shape.count.to_le_bytes());
            out.extend_from_slice(&shape.least_deviation.to_le_bytes());
            for bits in [shape.bucket_bits, shape.number_bits, shape.deviation_bits] {
                out.extend_from_slice(&bits.to_le_bytes());
            }
        }
        for (offset, length) in self.sections {
            out.extend_from_slice(&offset.to_le_bytes());
            out.extend_from_slice(&length.to_le_bytes());
        }
        out.resize(CHECKSUM_AT, 0);
        let checksum = self.store.checksum(&out).to_le_bytes();
        out.extend_from_slice(&checksum);
        out
    }

    fn decode(page: &[u8], store: StoreId) -> Result<Self, String> {
        if page.len() < PAGE_BYTES || &page[..8] != MAGIC {
            return Err("it does not begin with ANNALRUN".to_owned());
        }
        if Fields::of(&page[CHECKSUM_AT..]).u32() != store.checksum(&page[..CHECKSUM_AT]) {
            return Err("the checksum of its header is wrong".to_owned());
        }
        let mut fields = Fields::of(&page[8..]);
        let version = fields.u32();
        if version != RUN_VERSION {
            return Err(format!("it is of version {version}, expected {RUN_VERSION}"));
        }
        let pages_checksum = fields.u32();
        let [first, last, terms, segment, offset, pages, begins_segment, begins_offset] =
            std::array::from_fn(|_| fields.u64());
        let recorded_at = Timestamp::from_micros(fields.i64());
        let begun = Timestamp::from_micros(fields.i64());
        let hash = fields.take();
        let [term_directory, id_directory] = std::array::from_fn(|_| DirectoryShape {
            count: fields.u64(),
            least_deviation: fields.i64(),
            bucket_bits: fields.u32(),
            number_bits: fields.u32(),
            deviation_bits: fields.u32(),
        });
        let sections = std::array::from_fn(|_| (fields.u64(), fields.u64()));
        let header = Self {
            store,
            first: Position::new(first),
            last: Position::new(last),
            terms,
            begins: (Position::new(begins_segment), begins_offset),
            resume: Resume { segment: Position::new(segment), offset, hash, recorded_at },
            begun,
            term_directory,
            id_directory,
            sections,
            pages,
            pages_checksum,
        };
        if !header.term_directory.is_sound() || !header.id_directory.is_sound() {
            return Err("its directories are of an impossible shape".to_owned());
        }
        Ok(header)
    }
}

/// Writes the file of a run from front to back, under another name until it is whole.
pub(crate) struct RunFileWriter<'a> {
    storage: &'a dyn Storage,
    folder: &'a Path,
    unfinished: PathBuf,
    file: Arc<dyn StorageFile>,
    pub(crate) header: RunHeader,
    buffer: Vec<u8>,
    /// Where the buffer begins in the file.
    buffer_start: u64,
    checksums: Vec<u8>,
}

/// This much is written at once: whole pages.
const BUFFER_BYTES: usize = 64 * PAGE_BYTES;

impl<'a> RunFileWriter<'a> {
    pub(crate) fn create(
        storage: &'a dyn Storage,
        folder: &'a Path,
        header: RunHeader,
    ) -> Result<Self, StoreError> {
        let unfinished = header.name().path(folder).with_extension("unfinished");
        let failed = |error| StoreError::io("create", &unfinished, error);
        let file = match storage.open(&unfinished, OpenMode::CreateNew) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                storage.open(&unfinished, OpenMode::ReadWrite)
            }
            opened => opened,
        };
        let file = file.map_err(failed)?;
        file.set_len(0).map_err(failed)?;
        Ok(Self {
            storage,
            folder,
            unfinished,
            file,
            header,
            buffer: Vec::with_capacity(BUFFER_BYTES + PAGE_BYTES),
            buffer_start: PAGE_BYTES as u64,
            checksums: Vec::new(),
        })
    }

    fn end(&self) -> u64 {
        self.buffer_start + self.buffer.len() as u64
    }

    pub(crate) fn begin(&mut self, section: Section) {
        let aligned = self.end().next_multiple_of(8);
        self.buffer.resize((aligned - self.buffer_start) as usize, 0);
        self.header.sections[section as usize] = (aligned, 0);
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES { self.flush(BUFFER_BYTES) } else { Ok(()) }
    }

    /// How many bytes a section that was begun has so far.
    pub(crate) fn length_of(&self, section: Section) -> u64 {
        self.end() - self.header.sections[section as usize].0
    }

    pub(crate) fn finish_section(&mut self, section: Section) -> Result<(), StoreError> {
        self.header.sections[section as usize].1 = self.length_of(section);
        self.write(&[0; PADDING_BYTES])
    }

    /// A section in one piece.
    pub(crate) fn section(&mut self, section: Section, bytes: &[u8]) -> Result<(), StoreError> {
        self.begin(section);
        self.write(bytes)?;
        self.finish_section(section)
    }

    /// Writes the pages of the buffer out, up to a multiple of the page size.
    fn flush(&mut self, least: usize) -> Result<(), StoreError> {
        let whole = self.buffer.len() / PAGE_BYTES * PAGE_BYTES;
        if whole < least {
            return Ok(());
        }
        let (pages, rest) = self.buffer.split_at(whole);
        for page in pages.chunks(PAGE_BYTES) {
            self.checksums.extend_from_slice(&crc32c::crc32c(page).to_le_bytes());
        }
        let failed = |error| StoreError::io("write", &self.unfinished, error);
        self.file.write_all_at(pages, self.buffer_start).map_err(failed)?;
        self.buffer_start += whole as u64;
        let rest = rest.to_vec();
        self.buffer.clear();
        self.buffer.extend_from_slice(&rest);
        Ok(())
    }

    /// Makes the file durable and gives it its name.
    pub(crate) fn finish(mut self) -> Result<PathBuf, StoreError> {
        self.buffer.resize(self.buffer.len().next_multiple_of(PAGE_BYTES), 0);
        self.flush(0)?;
        self.header.pages = (self.checksums.len() / 4) as u64;
        self.header.pages_checksum = crc32c::crc32c(&self.checksums);
        let path = self.header.name().path(self.folder);
        let written = self
            .file
            .write_all_at(&self.checksums, self.buffer_start)
            .and_then(|()| self.file.write_all_at(&self.header.encode(), 0))
            .and_then(|()| self.file.sync_data())
            .and_then(|()| self.storage.rename(&self.unfinished, &path))
            .and_then(|()| self.storage.sync_dir(self.folder));
        written.map_err(|error| StoreError::io("write", &self.unfinished, error))?;
        Ok(path)
    }

    /// Removes what was written of a file that cannot be finished.
    pub(crate) fn abandon(storage: &dyn Storage, folder: &Path, name: RunName) {
        let _ = storage.remove(&name.path(folder).with_extension("unfinished"));
    }
}

#[derive(Debug)]
enum RunBytes {
    Mapped(Mapping),
    Owned(Vec<u8>),
}

/// The bytes of a run, each page checked when it is first used.
#[derive(Debug)]
pub(crate) struct RunFile {
    pub(crate) path: PathBuf,
    pub(crate) header: RunHeader,
    bytes: RunBytes,
    /// A bit for each page behind the header: whether its checksum was found right.
    checked: Vec<AtomicU64>,
    /// Whether this process wrote the file, so that the system still knows what is in it.
    just_written: bool,
}

impl RunFile {
    pub(crate) fn open(
        storage: &dyn Storage,
        path: PathBuf,
        store: StoreId,
        just_written: bool,
    ) -> Result<Self, String> {
        let text = |error: std::io::Error| error.to_string();
        let file = storage.open(&path, OpenMode::Read).map_err(text)?;
        let bytes = match file.map().map_err(text)? {
            Some(mapping) => RunBytes::Mapped(mapping),
            None => {
                let mut bytes = vec![0; file.length().map_err(text)? as usize];
                let read = file.read_full_at(&mut bytes, 0).map_err(text)?;
                bytes.truncate(read);
                RunBytes::Owned(bytes)
            }
        };
        let all: &[u8] = match &bytes {
            RunBytes::Mapped(mapping) => mapping,
            RunBytes::Owned(bytes) => bytes,
        };
        let header = RunHeader::decode(all, store)?;
        let length = (header.pages as u128 + 1) * PAGE_BYTES as u128 + header.pages as u128 * 4;
        if length != all.len() as u128 {
            return Err(format!("it has {} bytes, expected {length}", all.len()));
        }
        let pages = header.pages as usize;
        if crc32c::crc32c(&all[(pages + 1) * PAGE_BYTES..]) != header.pages_checksum {
            return Err("the checksum of its page checksums is wrong".to_owned());
        }
        let end = (header.pages + 1) * PAGE_BYTES as u64;
        let within = |(offset, length): &(u64, u64)| {
            *offset >= PAGE_BYTES as u64
                && offset.checked_add(*length).is_some_and(|section_end| section_end <= end)
        };
        if !header.sections.iter().all(within) {
            return Err("a section goes beyond its end".to_owned());
        }
        if !header.is_filled() {
            return Err("its sections are smaller than what they are said to hold".to_owned());
        }
        let checked = (0..pages.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Ok(Self { path, header, bytes, checked, just_written })
    }

    /// Takes every page for checked: a planted mistake.
    pub(crate) fn believe(&self) {
        self.checked.iter().for_each(|word| word.store(u64::MAX, Ordering::Relaxed));
    }

    fn all(&self) -> &[u8] {
        match &self.bytes {
            RunBytes::Mapped(mapping) => mapping,
            RunBytes::Owned(bytes) => bytes,
        }
    }

    pub(crate) fn damaged(&self, reason: String) -> StoreError {
        StoreError::IndexDamaged { path: self.path.clone(), reason }
    }

    /// Whether a page that was checked before could not be read again later.
    pub(crate) fn check_health(&self) -> Result<(), StoreError> {
        match &self.bytes {
            RunBytes::Mapped(mapping) if mapping.has_failed() => {
                Err(self.damaged("a page of it cannot be read any more".to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// A section whose pages are not checked yet: use it with [`RunFile::check`].
    pub(crate) fn unchecked(&self, section: Section) -> &[u8] {
        let (offset, length) = self.header.sections[section as usize];
        // Up to the padding behind it, which lies within the same pages or the next.
        let end = ((offset + length) as usize + PADDING_BYTES).min(self.all().len());
        self.all().get(offset as usize..end).unwrap_or_default()
    }

    /// Checks the pages that hold a range of a section.
    #[inline]
    pub(crate) fn check(&self, section: Section, start: u64, length: u64) -> Result<(), StoreError> {
        if self.just_written {
            return Ok(());
        }
        let (offset, section_length) = self.header.sections[section as usize];
        let end = start.saturating_add(length).min(section_length + PADDING_BYTES as u64);
        if start >= end {
            return Ok(());
        }
        let page = |at: u64| (offset + at) / PAGE_BYTES as u64 - 1;
        for page in page(start)..=page(end - 1) {
            let known = self.checked.get(page as usize / 64).map_or(0, |word| word.load(Ordering::Relaxed));
            if known & (1 << (page % 64)) == 0 {
                self.check_page(page as usize)?;
            }
        }
        Ok(())
    }

    #[cold]
    fn check_page(&self, page: usize) -> Result<(), StoreError> {
        let all = self.all();
        let bytes = all.get((page + 1) * PAGE_BYTES..(page + 2) * PAGE_BYTES);
        let stored = (self.header.pages as usize + 1) * PAGE_BYTES + page * 4;
        let expected =
            all.get(stored..).and_then(|four| four.first_chunk::<4>()).map(|b| u32::from_le_bytes(*b));
        // A section may end right at the end of the pages; the padding behind it is then beyond them.
        let Some(bytes) = bytes.filter(|_| page < self.header.pages as usize) else { return Ok(()) };
        if Some(crc32c::crc32c(bytes)) != expected {
            return Err(self.damaged(format!("the checksum of its page {} is wrong", page + 1)));
        }
        if let Some(word) = self.checked.get(page / 64) {
            word.fetch_or(1 << (page % 64), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Some bytes of a section, checked.
    pub(crate) fn range(&self, section: Section, start: u64, length: u64) -> Result<&[u8], StoreError> {
        self.check(section, start, length)?;
        let bytes = self.unchecked(section).get(start as usize..);
        Ok(bytes.map_or(&[][..], |bytes| bytes.get(..length as usize).unwrap_or(bytes)))
    }

    /// A whole section, checked.
    pub(crate) fn section(&self, section: Section) -> Result<&[u8], StoreError> {
        let (_, length) = self.header.sections[section as usize];
        self.range(section, 0, length)
    }

    /// Checks every page.
    pub(crate) fn check_all(&self) -> Result<(), StoreError> {
        (0..self.header.pages as usize).try_for_each(|page| self.check_page(page))
    }

    /// How many bytes the file has.
    pub(crate) fn length(&self) -> u64 {
        self.all().len() as u64
    }
}

/// Puts the checksums of a file right, for the fuzz targets: those of its pages, and that of its header.
#[cfg(feature = "internals")]
pub(crate) fn repair_run(file: &mut Vec<u8>, store: StoreId) {
    let pages = (file.len() / (PAGE_BYTES + 4)).max(1);
    file.resize(pages * PAGE_BYTES, 0);
    let checksums: Vec<u8> =
        file.chunks(PAGE_BYTES).skip(1).flat_map(|page| crc32c::crc32c(page).to_le_bytes()).collect();
    file[..8].copy_from_slice(MAGIC);
    file[8..12].copy_from_slice(&RUN_VERSION.to_le_bytes());
    file[12..16].copy_from_slice(&crc32c::crc32c(&checksums).to_le_bytes());
    // Of the eight numbers behind that the sixth is how many pages follow the header.
    file[56..64].copy_from_slice(&(pages as u64 - 1).to_le_bytes());
    let checksum = store.checksum(&file[..CHECKSUM_AT]).to_le_bytes();
    file[CHECKSUM_AT..PAGE_BYTES].copy_from_slice(&checksum);
    file.extend_from_slice(&checksums);
}
