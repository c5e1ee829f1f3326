//! The embedded event log of Annals: durable, checked, chained by hash, in one folder.
//!
//! The format of its files is described byte by byte in `docs/internals/log-format.md`.

mod commit;
mod folder;
mod format;
mod index;
mod lock;
mod log;
mod options;
mod recovery;
mod scan;
mod storage;
mod verify;
mod writer;

pub use log::EventLog;
pub use options::LogOptions;
pub use storage::{Disk, OpenMode, Storage, StorageFile};
