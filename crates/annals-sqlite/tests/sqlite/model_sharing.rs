//! Read models that several processes have open, that are of another store, or whose file is damaged.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier};

use annals_core::conformance::block_on;
use annals_core::{Position, ReadModel, ReadModelError, ReadModelStore};
use annals_sqlite::SqliteReadModels;

use super::models::{add, sum, write};

/// As a process of its own would open it.
fn open(folder: &Path) -> Arc<dyn ReadModel> {
    let models = SqliteReadModels::in_folder(folder).unwrap();
    block_on(models.open("sums", 1)).unwrap()
}

fn set_aside(folder: &Path) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.to_str().unwrap().contains("sums-v1.sqlite.damaged-")).collect()
}

#[test]
fn of_two_processes_only_one_applies_the_same_events() {
    let folder = tempfile::tempdir().unwrap();
    let (here, there) = (open(folder.path()), open(folder.path()));
    let (from, to) = (Position::ZERO, Position::new(5));
    block_on(here.write(from, to, add(5))).unwrap();
    let error = block_on(there.write(from, Position::new(6), add(5))).unwrap_err();
    assert!(matches!(error, ReadModelError::Superseded { found } if found == to), "{error}");
    for model in [&here, &there] {
        assert_eq!((sum(&**model), block_on(model.checkpoint()).unwrap()), (5, to));
    }
    block_on(there.write(to, Position::new(7), add(2))).unwrap();
    assert_eq!(sum(&*here), 7, "who goes on from what it found may write");
}

#[test]
fn processes_that_race_apply_each_event_once() {
    const EVENTS: u64 = 200;
    let folder = tempfile::tempdir().unwrap();
    let start = Barrier::new(4);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                start.wait();
                let model = open(folder.path());
                let mut at = block_on(model.checkpoint()).unwrap();
                while at.get() < EVENTS {
                    at = match block_on(model.write(at, at.next(), add(1))) {
                        Ok(()) => at.next(),
                        Err(ReadModelError::Superseded { found }) => found,
                        Err(other) => panic!("{other}"),
                    };
                }
            });
        }
    });
    let model = open(folder.path());
    assert_eq!((sum(&*model), block_on(model.checkpoint()).unwrap().get()), (EVENTS as i64, EVENTS));
}

#[test]
fn the_first_opening_by_many_at_once_succeeds() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let start = Barrier::new(6);
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    start.wait();
                    assert_eq!(block_on(open(folder.path()).checkpoint()).unwrap(), Position::ZERO);
                });
            }
        });
        assert!(set_aside(folder.path()).is_empty());
    }
}

#[test]
fn a_file_from_before_bindings_is_taken_on() {
    let folder = tempfile::tempdir().unwrap();
    block_on(write(&*open(folder.path()), 3, add(3))).unwrap();
    let tool = rusqlite::Connection::open(folder.path().join("sums-v1.sqlite")).unwrap();
    tool.execute_batch("DROP TABLE annals_binding").unwrap();
    drop(tool);
    let model = open(folder.path());
    assert_eq!((sum(&*model), block_on(model.checkpoint()).unwrap().get()), (3, 3));
    assert!(block_on(model.bind("one")).unwrap() && !block_on(model.bind("two")).unwrap());
}

#[test]
fn a_damaged_file_is_set_aside_and_begun_anew() {
    let whole = {
        let folder = tempfile::tempdir().unwrap();
        let model = open(folder.path());
        (1..=50).for_each(|n| block_on(write(&*model, n, add(1))).unwrap());
        drop(model);
        std::fs::read(folder.path().join("sums-v1.sqlite")).unwrap()
    };
    // The pages of the tables are overwritten, so that only reading the checkpoint shows it.
    let mut scribbled = whole.clone();
    scribbled[4096..].fill(0xee);
    let damaged: [&[u8]; 8] = [
        b"hello, this is no database",
        &[b'x'; 10_000],
        &[0; 5_000],
        &whole[..50],
        &whole[..4096],
        &whole[..6000],
        &whole[..whole.len() - 4096],
        &scribbled,
    ];
    for (index, content) in damaged.into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sums-v1.sqlite");
        std::fs::write(&path, content).unwrap();
        for suffix in ["-wal", "-shm"] {
            std::fs::write(folder.path().join(format!("sums-v1.sqlite{suffix}")), "left behind").unwrap();
        }
        let model = open(folder.path());
        assert_eq!(block_on(model.checkpoint()).unwrap(), Position::ZERO, "{index}");
        block_on(write(&*model, 2, add(2))).unwrap();
        drop(model);
        let aside = set_aside(folder.path());
        assert_eq!(aside.len(), 1, "{index}: {aside:?}");
        assert!(std::fs::read(&aside[0]).unwrap() == content, "{index}: the old bytes are kept");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "{index}: nothing else is left");
        assert_eq!(sum(&*open(folder.path())), 2, "{index}");
        assert_eq!(set_aside(folder.path()).len(), 1, "{index}: once is enough");
    }
}

#[test]
fn of_many_that_find_it_damaged_one_sets_it_aside() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("sums-v1.sqlite"), "hello, this is no database").unwrap();
        let models: Vec<_> = std::thread::scope(|scope| {
            let opening: Vec<_> = (0..4).map(|_| scope.spawn(|| open(folder.path()))).collect();
            opening.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        block_on(write(&*models[0], 1, add(1))).unwrap();
        assert!(models.iter().all(|model| sum(&**model) == 1), "all have the same file");
        if cfg!(unix) {
            assert_eq!(set_aside(folder.path()).len(), 1);
        }
    }
}
