//! A disk that fails: barriers, writes, room.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use annals_core::{AppendError, AppendRequest, StoreError};
use annals_log::{Disk, EventLog, LogOptions, OpenMode, Storage, StorageFile, StorageLock};

use crate::{append, event, open, read_all, without_marks};

/// A disk on which, once armed, the n-th write or barrier fails.
#[derive(Debug, Default)]
struct Faults {
    writes_left: AtomicI64,
    barriers_left: AtomicI64,
    error: std::sync::Mutex<Option<io::ErrorKind>>,
}

impl Faults {
    fn arm(&self, writes_left: i64, barriers_left: i64, kind: io::ErrorKind) {
        *self.error.lock().unwrap() = Some(kind);
        self.writes_left.store(writes_left, Ordering::SeqCst);
        self.barriers_left.store(barriers_left, Ordering::SeqCst);
    }

    fn disarm(&self) {
        *self.error.lock().unwrap() = None;
    }

    fn pass(&self, counter: &AtomicI64) -> io::Result<()> {
        match *self.error.lock().unwrap() {
            Some(kind) if counter.fetch_sub(1, Ordering::SeqCst) <= 0 => Err(kind.into()),
            _ => Ok(()),
        }
    }
}

#[derive(Debug)]
struct FaultyDisk(Arc<Faults>);

#[derive(Debug)]
struct FaultyFile(Arc<dyn StorageFile>, Arc<Faults>);

impl Storage for FaultyDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        Disk.create_dir_all(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        Disk.list(path)
    }
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        Ok(Arc::new(FaultyFile(Disk.open(path, mode)?, Arc::clone(&self.0))))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        Disk.remove(path)
    }
    fn lock(&self, folder: &Path) -> io::Result<Option<Box<dyn StorageLock>>> {
        Disk.lock(folder)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.pass(&self.0.barriers_left)?;
        Disk.sync_dir(path)
    }
}

impl StorageFile for FaultyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        if let Err(error) = self.1.pass(&self.1.writes_left) {
            self.0.write_at(&bytes[..bytes.len() / 2], offset)?;
            return Err(error);
        }
        self.0.write_at(bytes, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.1.pass(&self.1.barriers_left)?;
        self.0.sync_data()
    }
    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }
    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }
}

fn faulty(folder: &Path, segment_bytes: u64) -> (EventLog, Arc<Faults>) {
    let faults = Arc::new(Faults::default());
    let storage = Arc::new(FaultyDisk(Arc::clone(&faults)));
    let options = LogOptions { storage, segment_bytes, ..without_marks() };
    (EventLog::open(folder, options).unwrap(), faults)
}

#[test]
fn a_failed_barrier_ends_writing_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let (log, faults) = faulty(folder.path(), 1 << 20);
    append(&log, "a-1", "1");
    faults.arm(i64::MAX, 0, io::ErrorKind::Other);
    let error = log.append_blocking(AppendRequest::new([event("a-1", "2")])).unwrap_err();
    assert!(matches!(error, AppendError::Store(StoreError::OutcomeUnknown { .. })), "{error}");
    assert!(error.to_string().contains("append again with the same event ids"), "{error}");
    faults.disarm();
    let error = log.append_blocking(AppendRequest::new([event("a-1", "3")])).unwrap_err();
    assert!(matches!(error, AppendError::Store(StoreError::ReadOnly { .. })), "{error}");
    assert_eq!(read_all(&log).len(), 1, "reads go on, and show only what is durable");
    drop(log);
    append(&open(folder.path()), "a-1", "4");
}

#[test]
fn a_full_disk_stops_appends_but_not_the_log() {
    for (writes_left, segment_bytes) in [(0, 1 << 20), (0, 200), (1, 200), (2, 200)] {
        let folder = tempfile::tempdir().unwrap();
        let (log, faults) = faulty(folder.path(), segment_bytes);
        append(&log, "a-1", "1");
        faults.arm(writes_left, i64::MAX, io::ErrorKind::StorageFull);
        let large = "0".repeat(400_000);
        for _ in 0..3 {
            let error = log.append_blocking(AppendRequest::new([event("a-1", &large)])).unwrap_err();
            assert!(matches!(error, AppendError::Store(StoreError::DiskFull { .. })), "{error}");
            assert!(error.to_string().contains("free some space"), "{error}");
        }
        assert_eq!(read_all(&log).len(), 1);
        faults.disarm();
        append(&log, "a-1", "2");
        append(&log, "a-1", &large);
        let before = read_all(&log);
        assert_eq!(before.len(), 3, "it goes on once there is room");
        drop(log);
        assert_eq!(read_all(&open(folder.path())), before);
    }
}

#[test]
fn a_really_full_disk_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mount = |arguments: &[&str], program: &str| {
        let run = std::process::Command::new(program).args(arguments).arg(folder.path()).output();
        run.is_ok_and(|output| output.status.success())
    };
    if !mount(&["-t", "tmpfs", "-o", "size=2m", "tmpfs"], "mount") {
        println!("skipped: a small tmpfs can be mounted only by root");
        return;
    }
    let result = std::panic::catch_unwind(|| {
        let store = folder.path().join("store");
        let log = open(&store);
        let payload = "0".repeat(10_000);
        let mut kept = 0;
        let error = loop {
            match log.append_blocking(AppendRequest::new([event("a-1", &payload)])) {
                Ok(_) => kept += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, AppendError::Store(StoreError::DiskFull { .. })), "{error}");
        assert!(kept > 100, "{kept}");
        assert_eq!(read_all(&log).len(), kept, "reads go on");
        drop(log);
        let log = open(&store);
        assert_eq!(read_all(&log).len(), kept, "it opens on a full disk, with all that was acknowledged");
        assert!(log.append_blocking(AppendRequest::new([event("a-1", &payload)])).is_err());
        println!("full disk: {kept} events kept, appends refused, reads and reopening work");
    });
    assert!(mount(&[], "umount"));
    result.unwrap();
}
