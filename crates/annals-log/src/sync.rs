//! Locks, counters and threads: those of the standard library.
//!
//! In a build with `--cfg shuttle` they are those of `shuttle`, which has a test run under many interleavings: see
//! `tests/shuttle`.

#[cfg(not(shuttle))]
pub(crate) use std::{
    sync::atomic::AtomicU64,
    sync::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard},
    thread::{Builder, JoinHandle, yield_now},
};

#[cfg(shuttle)]
pub(crate) use shuttle::{
    sync::atomic::AtomicU64,
    sync::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard},
    thread::{Builder, JoinHandle, yield_now},
};
