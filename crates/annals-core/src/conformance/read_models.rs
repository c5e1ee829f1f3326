//! Every promise of [`ReadModel`] and [`ReadModelStore`], as tests that any store of read models can run.

use std::sync::Arc;

use crate::{Bookmark, BoxFuture, Position, ReadModel, ReadModelError, ReadModelStore, ReadModelTx, TxWork};

/// A place where read models live, for the length of a test. What is written to them is up to their kind; here it is numbers.
pub trait ModelFixture: Send + Sync {
    /// Opens the place as a process of its own would, while others may have it open.
    fn open(&self) -> Arc<dyn ReadModelStore>;

    /// Work that adds a number, after making room for numbers where there is none.
    fn add(&self, number: i64) -> TxWork;

    /// The sum of the numbers.
    fn sum<'a>(&'a self, tx: &'a mut dyn ReadModelTx) -> BoxFuture<'a, i64>;

    /// Whether read models survive that the place is closed and opened again, and can be open twice.
    fn keeps_models(&self) -> bool {
        true
    }

    /// Whether they can be written for their reader's eyes only.
    fn can_fork(&self) -> bool {
        true
    }
}

/// Makes a `#[test]` of every case of the suite for read models; the argument is an expression that makes a fresh
/// [`ModelFixture`](crate::conformance::ModelFixture).
#[macro_export]
macro_rules! read_model_conformance {
    ($fixture:expr) => {
        $crate::conformance!(@cases $fixture;
            rows_checkpoint_and_notes_are_written_together
            work_that_fails_leaves_nothing
            a_write_from_elsewhere_is_superseded
            a_read_sees_one_state
            names_and_versions_are_read_models_of_their_own
            it_remembers_its_store
            the_old_one_answers_until_the_new_one_is_swapped_in
            the_one_before_can_be_put_back
            only_its_own_rebuild_is_swapped_in
            one_at_a_time_leads
            a_swap_is_noticed_where_it_is_open_too
            a_fork_is_for_its_owner_alone
            a_scratch_read_model_is_apart
        );
    };
}

async fn open(fixture: &dyn ModelFixture) -> (Arc<dyn ReadModelStore>, Arc<dyn ReadModel>) {
    let store = fixture.open();
    let model = store.open("sums", 1).await.unwrap();
    (store, model)
}

async fn sum(fixture: &dyn ModelFixture, model: &dyn ReadModel) -> i64 {
    fixture.sum(&mut *model.read().await.unwrap()).await
}

/// Adds a number and moves the checkpoint on by as much.
async fn add(fixture: &dyn ModelFixture, model: &dyn ReadModel, number: u64) {
    let from = model.checkpoint().await.unwrap();
    let to = Position::new(from.get() + number);
    model.write(from, to, fixture.add(number as i64)).await.unwrap();
}

async fn stands(fixture: &dyn ModelFixture, model: &dyn ReadModel) -> (i64, u64) {
    (sum(fixture, model).await, model.checkpoint().await.unwrap().get())
}

pub async fn rows_checkpoint_and_notes_are_written_together(fixture: &dyn ModelFixture) {
    let (store, model) = open(fixture).await;
    assert_eq!(model.bookmark().await.unwrap(), Bookmark::default());
    let (from, to) = (Position::ZERO, Position::new(5));
    model.write_with_notes(from, to, Some(b"five".to_vec()), fixture.add(5)).await.unwrap();
    model.write(to, Position::new(7), fixture.add(2)).await.unwrap();
    let expected = Bookmark { position: Position::new(7), notes: b"five".to_vec() };
    assert_eq!((sum(fixture, &*model).await, model.bookmark().await.unwrap()), (7, expected.clone()));
    let at = Position::new(7);
    model.write_with_notes(at, at, Some(Vec::new()), fixture.add(0)).await.unwrap();
    let emptied = Bookmark { position: at, notes: Vec::new() };
    assert_eq!(model.bookmark().await.unwrap(), emptied, "notes alone may change");
    drop((model, store));
    if fixture.keeps_models() {
        let (_store, model) = open(fixture).await;
        assert_eq!((sum(fixture, &*model).await, model.bookmark().await.unwrap()), (7, emptied));
    }
}

pub async fn work_that_fails_leaves_nothing(fixture: &dyn ModelFixture) {
    let (_store, model) = open(fixture).await;
    add(fixture, &*model, 3).await;
    let (adds, at) = (fixture.add(4), Position::new(3));
    let fails: TxWork = Box::new(|tx| {
        Box::pin(async move {
            adds(tx).await?;
            Err("the work fails".into())
        })
    });
    let refused =
        model.write_with_notes(at, Position::new(9), Some(b"no".to_vec()), fails).await.unwrap_err();
    assert!(matches!(refused, ReadModelError::Work(_)) && refused.to_string() == "the work fails");
    let panics: TxWork = Box::new(|_| Box::pin(async { panic!("on purpose") }));
    assert!(matches!(model.write(at, Position::new(9), panics).await, Err(ReadModelError::Work(_))));
    assert_eq!(model.bookmark().await.unwrap(), Bookmark { position: at, notes: Vec::new() });
    assert_eq!(sum(fixture, &*model).await, 3);
    add(fixture, &*model, 1).await;
    assert_eq!(stands(fixture, &*model).await, (4, 4));
}

pub async fn a_write_from_elsewhere_is_superseded(fixture: &dyn ModelFixture) {
    let (_store, model) = open(fixture).await;
    add(fixture, &*model, 5).await;
    let refused = model.write(Position::new(4), Position::new(9), fixture.add(1)).await.unwrap_err();
    assert!(matches!(refused, ReadModelError::Superseded { found } if found.get() == 5), "{refused}");
    assert_eq!(stands(fixture, &*model).await, (5, 5));
}

pub async fn a_read_sees_one_state(fixture: &dyn ModelFixture) {
    let (_store, model) = open(fixture).await;
    add(fixture, &*model, 1).await;
    let mut reading = model.read().await.unwrap();
    add(fixture, &*model, 1).await;
    assert_eq!(fixture.sum(&mut *reading).await, 1);
    add(fixture, &*model, 1).await;
    assert_eq!(fixture.sum(&mut *reading).await, 1);
    assert_eq!(sum(fixture, &*model).await, 3);
}

pub async fn names_and_versions_are_read_models_of_their_own(fixture: &dyn ModelFixture) {
    let (store, model) = open(fixture).await;
    add(fixture, &*model, 1).await;
    let same = store.open("sums", 1).await.unwrap();
    assert_eq!(stands(fixture, &*same).await, (1, 1));
    for (name, version) in [("sums", 2), ("other", 1)] {
        let other = store.open(name, version).await.unwrap();
        assert_eq!(other.checkpoint().await.unwrap(), Position::ZERO, "{name} {version}");
    }
    for name in ["", "../x", "a/b", "a b"] {
        let refused = store.open(name, 1).await.unwrap_err();
        assert!(refused.to_string().contains("its name"), "{refused}");
    }
}

pub async fn it_remembers_its_store(fixture: &dyn ModelFixture) {
    let (store, model) = open(fixture).await;
    assert!(model.bind("one").await.unwrap(), "the first binds");
    assert!(model.bind("one").await.unwrap() && !model.bind("two").await.unwrap());
    add(fixture, &*model, 1).await;
    let built = model.begin_rebuild().await.unwrap();
    assert!(built.bind("two").await.unwrap(), "a rebuild is not bound");
    assert!(model.bind("one").await.unwrap(), "it binds itself alone");
    add(fixture, &*built, 2).await;
    model.swap_in(built).await.unwrap();
    assert!(model.bind("two").await.unwrap() && !model.bind("one").await.unwrap());
    drop((model, store));
    if fixture.keeps_models() {
        let (_store, model) = open(fixture).await;
        assert!(!model.bind("one").await.unwrap() && model.bind("two").await.unwrap());
    }
}

pub async fn the_old_one_answers_until_the_new_one_is_swapped_in(fixture: &dyn ModelFixture) {
    let (store, model) = open(fixture).await;
    add(fixture, &*model, 1).await;
    let mut answered = 1;
    for round in [10, 20, 30] {
        let built = model.begin_rebuild().await.unwrap();
        assert_eq!(built.bookmark().await.unwrap(), Bookmark::default());
        add(fixture, &*built, round).await;
        let round = round as i64;
        assert_eq!((sum(fixture, &*model).await, sum(fixture, &*built).await), (answered, round));

        // One read goes on across the swap, and sees what it saw.
        let mut reading = model.read().await.unwrap();
        model.swap_in(Arc::clone(&built)).await.unwrap();
        assert_eq!(fixture.sum(&mut *reading).await, answered);
        drop((reading, built));
        assert_eq!(stands(fixture, &*model).await, (round, round as u64));
        add(fixture, &*model, 5).await;
        answered = round + 5;
    }
    let dropped = model.begin_rebuild().await.unwrap();
    add(fixture, &*dropped, 7).await;
    drop(dropped);
    assert_eq!(stands(fixture, &*model).await, (35, 35), "a dropped rebuild is forgotten");
    drop((model, store));
    if fixture.keeps_models() {
        let (_store, model) = open(fixture).await;
        assert_eq!(stands(fixture, &*model).await, (35, 35));
    }
}

pub async fn the_one_before_can_be_put_back(fixture: &dyn ModelFixture) {
    let (store, model) = open(fixture).await;
    add(fixture, &*model, 3).await;
    assert!(!model.swap_back().await.unwrap(), "there is none");
    let built = model.begin_rebuild().await.unwrap();
    add(fixture, &*built, 8).await;
    model.swap_in(built).await.unwrap();
    assert!(model.swap_back().await.unwrap());
    assert_eq!(stands(fixture, &*model).await, (3, 3));
    add(fixture, &*model, 1).await;
    assert!(model.swap_back().await.unwrap(), "and forth again");
    assert_eq!(stands(fixture, &*model).await, (8, 8));
    assert!(model.swap_back().await.unwrap());
    drop((model, store));
    if fixture.keeps_models() {
        let (_store, model) = open(fixture).await;
        assert_eq!(stands(fixture, &*model).await, (4, 4), "it is kept");
        let built = model.begin_rebuild().await.unwrap();
        add(fixture, &*built, 9).await;
        model.swap_in(built).await.unwrap();
        assert!(model.swap_back().await.unwrap());
        assert_eq!(stands(fixture, &*model).await, (4, 4), "the newest goes back to the one before it");
    }
}

pub async fn only_its_own_rebuild_is_swapped_in(fixture: &dyn ModelFixture) {
    let (store, model) = open(fixture).await;
    let other = store.open("other", 1).await.unwrap();
    let built = model.begin_rebuild().await.unwrap();
    let problem = |result: Result<(), ReadModelError>| result.unwrap_err().to_string();
    assert!(problem(other.swap_in(Arc::clone(&built)).await).contains("not its rebuild"));
    assert!(problem(model.swap_in(other).await).contains("not its rebuild"));
    assert!(problem(model.begin_rebuild().await.map(drop)).contains("under way"));
    assert!(problem(built.begin_rebuild().await.map(drop)).contains("rebuild itself"));
    add(fixture, &*built, 9).await;
    drop(built);
    let again = model.begin_rebuild().await.unwrap();
    assert_eq!(again.checkpoint().await.unwrap(), Position::ZERO, "a dropped rebuild is forgotten");
    add(fixture, &*again, 8).await;
    model.swap_in(Arc::clone(&again)).await.unwrap();
    assert!(problem(model.swap_in(again).await).contains("not its rebuild"), "once is enough");
    assert_eq!(sum(fixture, &*model).await, 8);
}

pub async fn one_at_a_time_leads(fixture: &dyn ModelFixture) {
    let (_store, model) = open(fixture).await;
    let lead = model.try_lead().await.unwrap().unwrap();
    assert!(model.try_lead().await.unwrap().is_none(), "not twice here");
    add(fixture, &*model, 1).await;
    let built = model.begin_rebuild().await.unwrap();
    add(fixture, &*built, 2).await;
    model.swap_in(built).await.unwrap();
    add(fixture, &*model, 1).await;
    if fixture.keeps_models() {
        let (_there, elsewhere) = open(fixture).await;
        assert!(elsewhere.try_lead().await.unwrap().is_none(), "nor elsewhere");
        assert_eq!(stands(fixture, &*elsewhere).await, (3, 3), "who stands by may read");
        drop(lead);
        let lead = elsewhere.try_lead().await.unwrap().unwrap();
        assert!(model.try_lead().await.unwrap().is_none());
        // One that did not notice that it leads no more, as after a long sleep on a disk that forgot its lock.
        let at = Position::new(3);
        let refused = model.write(at, Position::new(9), fixture.add(6)).await.unwrap_err();
        assert!(matches!(refused, ReadModelError::Fenced { .. }), "{refused}");
        add(fixture, &*elsewhere, 1).await;
        assert_eq!(stands(fixture, &*model).await, (4, 4));
        drop(lead);
    } else {
        drop(lead);
    }
    let _lead = model.try_lead().await.unwrap().unwrap();
    add(fixture, &*model, 1).await;
}

pub async fn a_swap_is_noticed_where_it_is_open_too(fixture: &dyn ModelFixture) {
    if !fixture.keeps_models() {
        return;
    }
    let (_store, model) = open(fixture).await;
    let (_there, elsewhere) = open(fixture).await;
    add(fixture, &*model, 1).await;
    assert_eq!(stands(fixture, &*elsewhere).await, (1, 1));
    for round in 2..=4 {
        let built = model.begin_rebuild().await.unwrap();
        add(fixture, &*built, round).await;
        model.swap_in(built).await.unwrap();
        assert_eq!(stands(fixture, &*elsewhere).await, (round as i64, round));
    }
    assert!(model.swap_back().await.unwrap());
    assert_eq!(stands(fixture, &*elsewhere).await, (3, 3));
}

pub async fn a_fork_is_for_its_owner_alone(fixture: &dyn ModelFixture) {
    let (_store, model) = open(fixture).await;
    add(fixture, &*model, 5).await;
    if !fixture.can_fork() {
        assert!(matches!(model.fork().await, Err(ReadModelError::Unsupported { .. })));
        return;
    }
    let (bookmark, mut fork) = model.fork().await.unwrap();
    assert_eq!(bookmark, model.bookmark().await.unwrap());
    fixture.add(3)(&mut *fork).await.unwrap();
    assert_eq!(fixture.sum(&mut *fork).await, 8);
    assert_eq!(stands(fixture, &*model).await, (5, 5));
    drop(fork);
    add(fixture, &*model, 1).await;
    assert_eq!(stands(fixture, &*model).await, (6, 6));
}

pub async fn a_scratch_read_model_is_apart(fixture: &dyn ModelFixture) {
    let (store, model) = open(fixture).await;
    add(fixture, &*model, 5).await;
    let (one, two) = (store.scratch("sums").await.unwrap(), store.scratch("sums").await.unwrap());
    add(fixture, &*one, 3).await;
    add(fixture, &*two, 4).await;
    assert_eq!((sum(fixture, &*one).await, sum(fixture, &*two).await), (3, 4));
    assert_eq!(stands(fixture, &*model).await, (5, 5));
}
