//! Rebuilding a read model beside the one that answers, and swapping it in.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use annals_core::conformance::block_on;
use annals_core::{Position, ReadModel, ReadModelError, ReadModelStore};
use annals_sqlite::SqliteReadModels;

use super::models::{add, sum, write};
use super::names_in;

fn open(folder: &Path) -> (SqliteReadModels, Arc<dyn ReadModel>) {
    let models = SqliteReadModels::in_folder(folder).unwrap();
    let model = block_on(models.open("sums", 1)).unwrap();
    (models, model)
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
fn what_a_killed_rebuild_left_is_removed_by_who_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    let (models, model) = open(folder.path());
    block_on(write(&*model, 1, add(1))).unwrap();
    drop((model, models));
    let left = ["", "-wal", "-shm", "-journal"].map(|end| format!("sums-v1.build-7.sqlite{end}"));
    for name in &left {
        std::fs::write(folder.path().join(name), "left behind").unwrap();
    }
    let (_models, model) = open(folder.path());
    assert!(left.iter().all(|name| folder.path().join(name).exists()), "it may be one that another builds");
    let _lead = block_on(model.try_lead()).unwrap().unwrap();
    assert!(left.iter().all(|name| !folder.path().join(name).exists()));
    assert_eq!(sum(&*model), 1);
}

#[test]
fn a_rebuild_that_is_given_up_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let (_models, model) = open(folder.path());
    block_on(write(&*model, 1, add(1))).unwrap();
    let before = names_in(folder.path());
    let built = block_on(model.begin_rebuild()).unwrap();
    block_on(write(&*built, 2, add(2))).unwrap();
    assert!(folder.path().join("sums-v1.build-1.sqlite").exists());
    drop(built);
    assert_eq!(names_in(folder.path()), before);
}

#[test]
fn of_the_builds_before_only_the_last_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (models, model) = open(folder.path());
    for round in 1..=4 {
        let built = block_on(model.begin_rebuild()).unwrap();
        block_on(write(&*built, round, add(round as i64))).unwrap();
        block_on(model.swap_in(built)).unwrap();
    }
    drop((model, models));
    let names = ["sums-v1.build-3.sqlite", "sums-v1.build-4.sqlite", "sums-v1.current"];
    assert_eq!(names_in(folder.path()), names);
    assert_eq!(sum(&*open(folder.path()).1), 4);
}

/// The files as a crash at each step of a swap may leave them, each opened again.
#[test]
fn every_state_within_a_swap_opens_as_old_or_new() {
    let folder = tempfile::tempdir().unwrap();
    let (models, model) = open(folder.path());
    block_on(write(&*model, 1, add(1))).unwrap();
    // Reads under way keep rows in both logs.
    let reading = block_on(model.read()).unwrap();
    block_on(write(&*model, 2, add(1))).unwrap();
    let built = block_on(model.begin_rebuild()).unwrap();
    block_on(write(&*built, 3, add(3))).unwrap();
    let reading_built = block_on(built.read()).unwrap();
    block_on(write(&*built, 9, add(6))).unwrap();
    let copy = |leave: &dyn Fn(&str) -> bool| {
        let image = tempfile::tempdir().unwrap();
        for name in names_in(folder.path()).iter().filter(|name| !leave(name)) {
            std::fs::copy(folder.path().join(name), image.path().join(name)).unwrap();
        }
        image
    };
    let before = copy(&|_| false);
    let unfinished = copy(&|_| false);
    std::fs::write(unfinished.path().join("sums-v1.current.new"), "curr").unwrap();
    block_on(model.swap_in(built)).unwrap();
    let after = copy(&|_| false);
    let old_is_gone = copy(&|name| name.starts_with("sums-v1.sqlite"));
    drop((reading, reading_built, model, models));

    let states = [(before, 2), (unfinished, 2), (after, 9), (old_is_gone, 9)];
    for (index, (image, expected)) in states.iter().enumerate() {
        let (models, model) = open(image.path());
        let _lead = block_on(model.try_lead()).unwrap().unwrap();
        assert_eq!(sum(&*model), *expected, "state {index}");
        let at = block_on(model.checkpoint()).unwrap().get();
        assert_eq!(at as i64, *expected, "state {index}");
        block_on(write(&*model, 10, add(1))).unwrap();
        let built = block_on(model.begin_rebuild()).unwrap();
        block_on(write(&*built, 20, add(20))).unwrap();
        block_on(model.swap_in(built)).unwrap();
        assert_eq!(sum(&*model), 20, "state {index}");
        assert!(block_on(model.swap_back()).unwrap());
        drop((model, models));
        assert_eq!(sum(&*open(image.path()).1), expected + 1, "state {index}");
    }
}

#[test]
fn a_removed_file_is_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (_models, model) = open(folder.path());
    let _lead = block_on(model.try_lead()).unwrap().unwrap();
    block_on(write(&*model, 5, add(5))).unwrap();
    std::fs::remove_file(folder.path().join("sums-v1.sqlite")).unwrap();
    let late = block_on(model.write(Position::new(5), Position::new(6), add(1))).unwrap_err();
    assert!(matches!(late, ReadModelError::Superseded { found: Position::ZERO }), "{late}");
    block_on(write(&*model, 7, add(7))).unwrap();
    assert_eq!(sum(&*model), 7);
    std::fs::remove_dir_all(folder.path()).unwrap();
    assert_eq!(block_on(model.checkpoint()).unwrap(), Position::ZERO);
    block_on(write(&*model, 8, add(8))).unwrap();
    assert_eq!(sum(&*model), 8);
}
