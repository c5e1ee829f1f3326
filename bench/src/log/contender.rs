//! Who is measured, and what each must be able to do.

use std::path::Path;
use std::sync::Arc;

use annals_core::StreamName;

use super::batching::Hosted;
use super::workload::{Append, Pool, Query};
use super::{annals, fjall, redb, sqlite, umadb};
use crate::failure::Result;

/// An append that is ready to be made: what it is called with is laid out already. It returns once the append is
/// durable, with a number that is the same for all that shared a barrier (0 where the store does not tell).
pub(crate) type ReadyAppend = Box<dyn FnOnce() -> Result<u64> + Send>;

/// What a read went through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) events: u64,
    pub(crate) payload_bytes: u64,
    /// The bytes of the names of streams and types.
    pub(crate) name_bytes: u64,
    /// The sum of all positions.
    pub(crate) positions: u64,
}

impl Totals {
    /// Counts an event in.
    pub(crate) fn count(&mut self, position: u64, stream: &str, event_type: &str, payload: &[u8]) {
        self.events += 1;
        self.positions = self.positions.wrapping_add(position);
        self.name_bytes +=
            (std::hint::black_box(stream).len() + std::hint::black_box(event_type).len()) as u64;
        self.payload_bytes += std::hint::black_box(payload).len() as u64;
    }
}

/// A store, open.
pub(crate) trait Store: Send + Sync {
    /// Reads every event, with its position, stream, type and payload.
    fn read_all(&self) -> Result<Totals>;

    /// Reads the events of one stream.
    fn read_stream(&self, stream: &StreamName) -> Result<Totals>;

    /// Makes the check of an append on a condition that holds, from the first position on, without storing anything.
    fn check(&self, query: &Query) -> Result<()>;

    /// Does what makes the store as small as it is once it is no longer written to.
    fn settle(&self) -> Result<()>;

    /// Waits until nothing goes on in the background, so that it is not in the way of the next contender.
    fn wait_until_idle(&self) {}
}

/// A store that appends can be made to.
pub(crate) trait Contender: Store {
    /// Lays out an append, so that only the append itself is measured.
    fn prepare(self: Arc<Self>, append: Append) -> ReadyAppend;
}

/// The kinds of stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
pub(crate) enum Kind {
    Annals,
    Sqlite,
    Redb,
    Fjall,
    Umadb,
}

/// A kind of store, and whether appends go through a batching thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entrant {
    pub(crate) kind: Kind,
    pub(crate) batched: bool,
}

impl Kind {
    /// All of them, Annals first.
    pub(crate) const ALL: [Self; 5] = [Self::Annals, Self::Sqlite, Self::Redb, Self::Fjall, Self::Umadb];

    /// Its name in the figures.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Annals => "annals",
            Self::Sqlite => "sqlite",
            Self::Redb => "redb",
            Self::Fjall => "fjall",
            Self::Umadb => "umadb",
        }
    }

    /// Without a batching thread.
    pub(crate) fn plain(self) -> Entrant {
        Entrant { kind: self, batched: false }
    }

    /// With what suits several threads: Annals shares barriers itself, peers need a batching thread.
    pub(crate) fn grouped(self) -> Entrant {
        Entrant { kind: self, batched: self != Self::Annals }
    }

    /// How an append says which version it expects, how events are found again, and what reading checks.
    pub(crate) fn description(self) -> &'static str {
        match self {
            Self::Annals => {
                "expected version: ExpectedVersion::Exact. It indexes ids, streams, categories, types and tags, \
                 chains frames by hash, and checks CRC32C when reading."
            }
            Self::Sqlite => {
                "expected version: UPDATE streams … WHERE name = ? AND version = ?, in the transaction of the append. \
                 WAL, synchronous=FULL; unique indexes on id and on (stream, version), indexes on type and tag. \
                 Reading checks no checksums."
            }
            Self::Redb => {
                "expected version: read from the table of streams and compared, in the write transaction. \
                 Durability::Immediate; tables for events, streams, ids, types and tags. Reading checks no checksums."
            }
            Self::Fjall => {
                "expected version: read and compared under the writer's lock, then one batch with PersistMode::SyncAll. \
                 Keyspaces for events, streams, ids, types and tags. Reading checks the checksums of blocks that \
                 are not cached."
            }
            Self::Umadb => {
                "expected version: an AppendCondition that no event with the stream's tag is behind the stream's last \
                 known position. Tags stream and region; it has no index of types and none of ids, so types are \
                 scanned for and an id is compared only where a condition fails. Reading checks the CRC32 of pages."
            }
        }
    }
}

impl Entrant {
    /// Its name in the figures.
    pub(crate) fn name(self) -> String {
        format!("{}{}", self.kind.name(), if self.batched { "_batched" } else { "" })
    }

    /// The one of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let kind = Kind::ALL.into_iter().find(|kind| Some(kind.name()) == name.split('_').next())?;
        let both = [false, true].map(|batched| Self { kind, batched });
        both.into_iter().find(|entrant| entrant.name() == name)
    }

    /// Opens the store in `folder`, which is made if there is none.
    pub(crate) fn open(self, folder: &Path, pool: &Arc<Pool>) -> Result<Arc<dyn Contender>> {
        std::fs::create_dir_all(folder)?;
        match self.kind {
            Kind::Annals => Ok(Arc::new(annals::Annals::open(folder)?)),
            Kind::Sqlite => Hosted::begin(sqlite::Sqlite::open(folder)?, self.batched),
            Kind::Redb => Hosted::begin(redb::Redb::open(folder)?, self.batched),
            Kind::Fjall => Hosted::begin(fjall::Fjall::open(folder)?, self.batched),
            Kind::Umadb => Hosted::begin(umadb::Umadb::open(folder, pool.stream_count())?, self.batched),
        }
    }
}
