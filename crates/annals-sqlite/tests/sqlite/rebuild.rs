//! Rebuilding a read model beside the one that answers, and swapping it in.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use annals_core::conformance::block_on;
use annals_core::{Position, ReadModel, ReadModelStore};
use annals_sqlite::SqliteReadModels;

use super::models::{add, sum, write};
use super::names_in;

fn open(folder: &Path) -> (SqliteReadModels, Arc<dyn ReadModel>) {
    let models = SqliteReadModels::in_folder(folder).unwrap();
    let model = block_on(models.open("sums", 1)).unwrap();
    (models, model)
}

#[test]
fn the_old_one_answers_until_the_new_one_is_swapped_in() {
    let folder = tempfile::tempdir().unwrap();
    let (models, model) = open(folder.path());
    block_on(write(&*model, 3, add(1))).unwrap();
    for round in 1..=3 {
        let built = block_on(model.begin_rebuild()).unwrap();
        assert_eq!(block_on(built.checkpoint()).unwrap(), Position::ZERO);
        block_on(write(&*built, 10 + round, add(100 * round as i64))).unwrap();
        let before = if round == 1 { 1 } else { 100 * (round as i64 - 1) + 5 };
        assert_eq!((sum(&*model), sum(&*built)), (before, 100 * round as i64));

        // One read goes on across the swap, and sees what it saw.
        let mut reading = block_on(model.read()).unwrap();
        block_on(model.swap_in(Arc::clone(&built))).unwrap();
        let rows = block_on(reading.query("SELECT sum(amount) AS s FROM amounts", &[])).unwrap();
        assert_eq!(rows[0].get::<i64>("s").unwrap(), before);
        assert_eq!(sum(&*model), 100 * round as i64);
        assert_eq!(block_on(model.checkpoint()).unwrap(), Position::new(10 + round));

        block_on(write(&*built, 20, add(5))).unwrap();
        drop(reading);
        assert_eq!(sum(&*model), 100 * round as i64 + 5, "both names are the same read model now");
    }
    drop(model);
    drop(models);
    assert_eq!(names_in(folder.path()), ["sums-v1.sqlite"]);
    assert_eq!(sum(&*open(folder.path()).1), 305);
}

#[test]
fn readers_never_notice_a_swap() {
    let folder = tempfile::tempdir().unwrap();
    let (_models, model) = open(folder.path());
    block_on(write(&*model, 1, add(1))).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let (mut last, mut reads) = (0, 0);
                    while !done.load(Ordering::SeqCst) {
                        let seen = sum(&*model);
                        assert!(seen >= last, "went back from {last} to {seen}");
                        (last, reads) = (seen, reads + 1);
                    }
                    reads
                })
            })
            .collect();
        for round in 2..=20 {
            let built = block_on(model.begin_rebuild()).unwrap();
            block_on(write(&*built, 1, add(round * 10))).unwrap();
            block_on(model.swap_in(built)).unwrap();
            block_on(write(&*model, 2, add(1))).unwrap();
        }
        done.store(true, Ordering::SeqCst);
        assert!(readers.into_iter().all(|reader| reader.join().unwrap() > 0));
    });
    assert_eq!(sum(&*model), 201);
}

#[test]
fn only_its_own_rebuild_can_be_swapped_in_and_only_one_is_under_way() {
    let folder = tempfile::tempdir().unwrap();
    let (models, model) = open(folder.path());
    let other = block_on(models.open("other", 1)).unwrap();
    let built = block_on(model.begin_rebuild()).unwrap();
    let message = |result: Result<(), _>| annals_core::ReadModelError::to_string(&result.unwrap_err());
    assert!(message(block_on(other.swap_in(Arc::clone(&built)))).contains("not its rebuild"));
    assert!(message(block_on(model.swap_in(other))).contains("not its rebuild"));
    assert!(message(block_on(model.begin_rebuild()).map(drop)).contains("under way"));
    assert!(message(block_on(built.begin_rebuild()).map(drop)).contains("rebuild itself"));
    block_on(write(&*built, 9, add(9))).unwrap();
    drop(built);
    let again = block_on(model.begin_rebuild()).unwrap();
    assert_eq!(block_on(again.checkpoint()).unwrap(), Position::ZERO, "a dropped rebuild is forgotten");
    block_on(write(&*again, 8, add(8))).unwrap();
    block_on(model.swap_in(Arc::clone(&again))).unwrap();
    assert!(message(block_on(model.swap_in(again))).contains("not its rebuild"), "once is enough");
    assert_eq!(sum(&*model), 8);
}

#[test]
fn what_a_killed_rebuild_left_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let (models, model) = open(folder.path());
    block_on(write(&*model, 1, add(1))).unwrap();
    drop((model, models));
    let left = ["", "-wal", "-shm", "-journal"].map(|end| format!("sums-v1.rebuilding.sqlite{end}"));
    for name in &left {
        std::fs::write(folder.path().join(name), "left behind").unwrap();
    }
    let (models, model) = open(folder.path());
    assert!(left.iter().all(|name| !folder.path().join(name).exists()));
    assert_eq!(sum(&*model), 1);
    drop(models);
    for name in &left {
        std::fs::write(folder.path().join(name), "left behind").unwrap();
    }
    let built = block_on(model.begin_rebuild()).unwrap();
    block_on(write(&*built, 2, add(2))).unwrap();
    block_on(model.swap_in(built)).unwrap();
    assert_eq!(sum(&*model), 2);
}

/// The files as a crash between the steps of a swap may leave them, each opened again.
#[test]
fn every_state_within_a_swap_opens_as_old_or_new() {
    let folder = tempfile::tempdir().unwrap();
    let (models, model) = open(folder.path());
    block_on(write(&*model, 1, add(1))).unwrap();
    // A read under way keeps rows in the log.
    let reading = block_on(model.read()).unwrap();
    block_on(write(&*model, 2, add(1))).unwrap();
    let built = block_on(model.begin_rebuild()).unwrap();
    block_on(write(&*built, 9, add(9))).unwrap();
    let copy = |from: &Path, names: &[(&str, &str)]| {
        let image = tempfile::tempdir().unwrap();
        for (name, new_name) in names {
            std::fs::copy(from.join(name), image.path().join(new_name)).unwrap();
        }
        image
    };
    let (main, log) = ("sums-v1.sqlite", "sums-v1.sqlite-wal");
    let (rebuilding, its_log) = ("sums-v1.rebuilding.sqlite", "sums-v1.rebuilding.sqlite-wal");
    let all = [(main, main), (log, log), (rebuilding, rebuilding), (its_log, its_log)];
    let before = copy(folder.path(), &all);
    block_on(model.swap_in(built)).unwrap();
    let after = copy(folder.path(), &[(main, main)]);
    drop((reading, model, models));

    let settled = |names: &[(&str, &str)]| {
        let image = copy(before.path(), names);
        std::fs::copy(after.path().join(main), image.path().join("sums-v1.ready.sqlite")).unwrap();
        image
    };
    let states = [
        (settled(&[(main, main), (log, log)]), 9),
        (settled(&[(main, main)]), 9),
        (settled(&[(main, main), (log, log), (rebuilding, rebuilding), (its_log, its_log)]), 9),
        (before, 2),
        (after, 9),
    ];
    for (index, (image, expected)) in states.iter().enumerate() {
        let (models, model) = open(image.path());
        assert_eq!(sum(&*model), *expected, "state {index}");
        let at = block_on(model.checkpoint()).unwrap().get();
        assert_eq!(at as i64, *expected, "state {index}");
        block_on(write(&*model, 10, add(1))).unwrap();
        drop((model, models));
        assert_eq!(names_in(image.path()), ["sums-v1.sqlite"], "state {index}");
        assert_eq!(sum(&*open(image.path()).1), expected + 1, "state {index}");
    }
}
