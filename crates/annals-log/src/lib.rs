//! The embedded event log of Annals: durable, checked, chained by hash, in one folder.
//!
//! The format of its files is described byte by byte in `docs/internals/log-format.md`.

mod active;
mod blocks;
mod commit;
mod compact;
mod enter;
mod folder;
mod follow;
mod format;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals;
mod lock;
mod log;
mod maintenance;
mod mapping;
mod marks;
mod options;
mod places;
mod planted;
mod read;
mod reader;
mod recent;
mod recovery;
mod run;
mod scan;
mod segment_files;
mod segments;
mod stage;
mod storage;
mod streams;
mod sync;
mod tail;
mod ticket;
mod trusted_runs;
mod varint;
mod verify;
mod view;
mod writer;

pub use log::EventLog;
pub use mapping::Mapping;
pub use options::{LogOptions, Maintenance};
#[cfg(feature = "planted-bugs")]
pub use planted::Planted;
pub use reader::EventLogReader;
pub use storage::{Disk, OpenMode, Storage, StorageFile, StorageLock};
