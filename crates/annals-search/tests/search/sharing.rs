//! One index in several hands.

use annals_core::{Position, block_on};

use crate::{add, add_to, open, stands};

#[test]
fn two_that_write_without_a_lead_take_turns() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let (one, other) = (open(folder.path()).await, open(folder.path()).await);
        for round in 1..=3 {
            add_to(&*one, 1).await;
            add_to(&*other, 1).await;
            assert_eq!(stands(&*one).await, (2 * round, 2 * round as u64));
            assert_eq!(stands(&*other).await, (2 * round, 2 * round as u64));
        }
        assert!(one.bind("store").await.unwrap() && other.bind("store").await.unwrap());
        assert!(!other.bind("another").await.unwrap());
    });
}

#[test]
fn what_nobody_needs_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let model = open(folder.path()).await;
        std::fs::create_dir(folder.path().join("texts-v1.build-9.tantivy")).unwrap();
        std::fs::write(folder.path().join("texts-v1.build-9.tantivy/meta.json"), "left behind").unwrap();
        let lead = model.try_lead().await.unwrap().unwrap();
        for number in [3, 4] {
            let built = model.begin_rebuild().await.unwrap();
            add_to(&*built, number).await;
            model.swap_in(built).await.unwrap();
        }
        drop(model.begin_rebuild().await.unwrap());
        add_to(&*model, 1).await;
        assert_eq!(stands(&*model).await, (5, 5));
        let names = std::fs::read_dir(folder.path()).unwrap();
        let mut names: Vec<_> = names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        let expected =
            ["texts-v1.build-1.tantivy", "texts-v1.build-2.tantivy", "texts-v1.current", "texts-v1.lock"];
        assert_eq!(names, expected);
        drop(lead);
    });
}

#[test]
fn an_index_that_somebody_removed_is_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let model = open(folder.path()).await;
        add_to(&*model, 3).await;
        std::fs::remove_dir_all(folder.path().join("texts-v1.tantivy")).unwrap();
        assert_eq!(model.checkpoint().await.unwrap(), Position::ZERO);
        model.write(Position::ZERO, Position::new(2), add(2)).await.unwrap();
        assert_eq!(stands(&*model).await, (2, 2));
    });
}
