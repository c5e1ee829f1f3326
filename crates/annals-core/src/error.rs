//! What can go wrong with a store.

use std::path::PathBuf;
use std::sync::Arc;

use crate::{Conflict, EventId, KnownEvent, Position};

/// Why an append was not taken. In every case but [`StoreError::OutcomeUnknown`], nothing was written.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// One or more conditions were not met; each is listed with what was found.
    #[error("{0}")]
    Conflict(Conflict),
    /// Some of the event ids are known and some are not.
    #[error(
        "{} of {total} event ids are already stored (the first, {}, at position {}): append only the rest",
        known.len(), FirstId(known), FirstPosition(known)
    )]
    PartialDuplicate {
        /// The ids that are stored.
        known: Vec<KnownEvent>,
        /// How many ids the append had.
        total: usize,
    },
    /// All event ids are known, but from more than one former append, so there is no one receipt to return.
    #[error("all {} event ids are already stored, by more than one former append: nothing is left to do", known.len())]
    KnownFromSeveralAppends {
        /// Where the events are.
        known: Vec<KnownEvent>,
    },
    /// An event id is known with other content.
    #[error(
        "event id {id} is already stored at position {position} with other content: \
         give a different event an id of its own"
    )]
    IdReused {
        /// The id.
        id: EventId,
        /// Where the stored event is.
        position: Position,
    },
    /// The request breaks a rule.
    #[error(transparent)]
    Invalid(#[from] InvalidRequest),
    /// The store could not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

struct FirstId<'a>(&'a [KnownEvent]);
struct FirstPosition<'a>(&'a [KnownEvent]);

impl std::fmt::Display for FirstId<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.first().map_or(Ok(()), |known| write!(f, "{}", known.id))
    }
}

impl std::fmt::Display for FirstPosition<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.first().map_or(Ok(()), |known| write!(f, "{}", known.position))
    }
}

/// A request that no store takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRequest {
    /// Neither events nor a checkpoint.
    #[error("the append has no events and no checkpoint, expected at least one of them")]
    NothingToAppend,
    /// Too many events at once.
    #[error("the append has {found} events, expected at most {limit}: split it")]
    TooManyEvents {
        /// How many there are.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// Too many bytes at once.
    #[error("{what} has {found} bytes, expected at most {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How many bytes it has.
        found: usize,
        /// How many it may have.
        limit: usize,
    },
    /// Too many tags on an event.
    #[error("event {id} has {found} tags, expected at most {limit}")]
    TooManyTags {
        /// The event.
        id: EventId,
        /// How many tags it has.
        found: usize,
        /// How many it may have.
        limit: usize,
    },
    /// One id twice in one append.
    #[error("event id {id} is there twice in one append: give each event an id of its own")]
    DuplicateId {
        /// The id.
        id: EventId,
    },
    /// A system event whose payload does not say what was done.
    #[error("event {id} is of the store's own type {event_type:?} but its payload does not fit it")]
    MalformedSystemEvent {
        /// The event.
        id: EventId,
        /// Its type.
        event_type: String,
    },
    /// A read from a version that is not a read of exactly one stream.
    #[error("a read from a version needs a filter for exactly one stream: read from a position instead")]
    VersionNeedsStream,
    /// Too many filter items.
    #[error("the filter has {found} items, expected at most {limit}")]
    TooManyFilterItems {
        /// How many there are.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
}

/// Why a store cannot do what was asked. One failure may be told to many: to all whose appends were in one commit.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The request breaks a rule.
    #[error(transparent)]
    Invalid(#[from] InvalidRequest),
    /// An operation on a file failed.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        source: Arc<std::io::Error>,
    },
    /// No room is left; nothing was written and reads go on.
    #[error(
        "the disk that holds {} is full: nothing was written; free some space and try again", path.display()
    )]
    DiskFull {
        /// The store.
        path: PathBuf,
    },
    /// Another process has the store open.
    #[error("{} is already open in process {}{}: {}", path.display(), Holder(*process_id), Serving(address.as_deref()),
        Instead(address.as_deref()))]
    InUse {
        /// The store.
        path: PathBuf,
        /// The process that holds it, where it could be told.
        process_id: Option<u32>,
        /// Where that process serves it, if it does.
        address: Option<String>,
    },
    /// The store was written by a newer version of Annals.
    #[error(
        "{} has format version {found}, this program knows up to {supported}: use a newer version of Annals",
        path.display()
    )]
    NewerFormat {
        /// The store.
        path: PathBuf,
        /// The version found.
        found: u32,
        /// The newest version known.
        supported: u32,
    },
    /// What is at the place is not a store.
    #[error("{} is not an Annals store: {reason}", path.display())]
    NotAStore {
        /// The place.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Stored bytes are damaged.
    #[error("{}", .0)]
    Damaged(Damage),
    /// A store of this kind cannot do what was asked.
    #[error("{store} does not support {what}: use a store of another kind, such as file:")]
    Unsupported {
        /// What was asked.
        what: &'static str,
        /// The store.
        store: String,
    },
    /// An index file is damaged. The events are not: it can be built again from them.
    #[error(
        "the index file {} is damaged ({reason}): close the store and run \"annals verify --repair-index\", or delete \
         the file; it is built again from the events", path.display()
    )]
    IndexDamaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The store takes no writes.
    #[error("the store is read-only: {reason}")]
    ReadOnly {
        /// Why.
        reason: String,
    },
    /// A barrier failed: whether the append is kept is not known, and no more are taken by this process.
    #[error(
        "whether the append is kept is not known, because {reason}: reopen the store and append again with the same \
         event ids, which stores nothing twice"
    )]
    OutcomeUnknown {
        /// What failed.
        reason: String,
    },
    /// The store was closed.
    #[error("the store is closed: open it again")]
    Closed,
    /// There is no store at this address.
    #[error(
        "there is no store at {url:?}: check the address; what writes, such as append or import, makes a new one"
    )]
    Absent {
        /// The address.
        url: String,
    },
    /// No store can be opened by this address.
    #[error("cannot open the store {url:?}: {reason}")]
    BadUrl {
        /// The address.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The engine below the store failed.
    #[error("{operation}: {source}")]
    Backend {
        /// What was tried.
        operation: &'static str,
        /// What the engine said.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
}

struct Holder(Option<u32>);
struct Serving<'a>(Option<&'a str>);
struct Instead<'a>(Option<&'a str>);

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(id) => write!(f, "{id}"),
            None => f.write_str("(unknown)"),
        }
    }
}

impl std::fmt::Display for Serving<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.map_or(Ok(()), |address| write!(f, ", which serves it at {address}"))
    }
}

impl std::fmt::Display for Instead<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(address) => {
                write!(f, "use that service, for example with --server {address}, or stop it first")
            }
            None => f.write_str("wait until it ends or stop it first"),
        }
    }
}

/// Stored bytes that are not what was written. They are kept as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// The first damaged byte.
    pub offset: u64,
    /// The end of the damaged range, where known.
    pub end: Option<u64>,
    /// The first position that cannot be read.
    pub first_position: Position,
    /// What was expected and what was found.
    pub reason: String,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is damaged from byte {}", self.path.display(), self.offset)?;
        if let Some(end) = self.end {
            write!(f, " to {end}")?;
        }
        write!(
            f,
            " (position {} on): {}; nothing was removed: restore the file from a copy, or read what is before it",
            self.first_position, self.reason
        )
    }
}

impl StoreError {
    /// Wraps what an engine below a store said.
    pub fn backend(operation: &'static str, source: impl Into<crate::BoxError>) -> Self {
        Self::Backend { operation, source: source.into().into() }
    }

    /// Wraps a failed file operation, naming a full disk as such.
    pub fn io(operation: &'static str, path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        let path = path.into();
        match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::DiskFull { path },
            _ => Self::Io { operation, path, source: Arc::new(source) },
        }
    }
}
