//! Events that fail: tried again, given up, settled; and stores that take no writes.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::odd_store::OddStore;

#[tokio::test(start_paused = true)]
async fn a_failed_event_is_tried_again_and_holds_up_only_its_key() {
    let world = World::new();
    let reaction =
        Notes::<false>::new(
            |event, attempt| {
                if event.position().get() == 1 && attempt <= 3 { Act::Fail } else { Act::Do }
            },
        );
    let running = start(&world, app(reaction.clone())).await;
    for id in ["a", "a", "b", "b"] {
        increment(&running, id).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(reaction.positions(), [1, 3, 4], "the key b goes on, the later event of a waits");
    let found = status(&running).await;
    assert_eq!((found.position, found.in_hand), (Some(Position::ZERO), 2));
    let ReactionState::Retrying { event, error, attempt, .. } = found.state else { panic!("{found:?}") };
    assert_eq!(
        (event.position.get(), event.stream.as_str(), error.as_str(), attempt),
        (1, "counter-a", "the receiver is away", 2)
    );
    settle(&running).await;
    let attempts = reaction.attempts.lock().unwrap().clone();
    let of_first: Vec<_> = attempts.iter().filter(|(position, ..)| *position == 1).collect();
    let delays: Vec<_> = of_first.windows(2).map(|two| (two[1].2 - two[0].2).as_millis() / 100).collect();
    assert_eq!(delays, [10, 20, 40], "in tenths of a second, by a clock that stands still meanwhile");
    assert_eq!(reaction.positions()[3..], [1, 1, 1, 2]);
    assert_eq!(status(&running).await.dead_letters, 0);
}

#[tokio::test(start_paused = true)]
async fn what_fails_for_good_is_a_dead_letter_until_somebody_settles_it() {
    let (world, mended) = (World::new(), Arc::new(AtomicBool::new(false)));
    let is_mended = Arc::clone(&mended);
    let reaction = Notes::<false>::new(move |event, _| match event.position().get() {
        1 | 2 if !is_mended.load(Ordering::SeqCst) => Act::Fail,
        _ => Act::Do,
    });
    let running = start(&world, app(reaction.clone())).await;
    for id in ["a", "b", "a"] {
        increment(&running, id).await;
    }
    settle(&running).await;
    assert_eq!(reaction.positions().iter().filter(|position| **position == 1).count(), 8);
    assert_eq!(
        reaction.positions().last(),
        Some(&3),
        "the key goes on behind it, and notes are of no interest"
    );
    let found = running.dead_letters("notes").await.unwrap();
    assert_eq!(letters(&found), [(1, 8), (2, 8)]);
    assert_eq!(
        (found[0].error.as_str(), found[0].event.stream.as_str()),
        ("the receiver is away", "counter-a")
    );
    assert_eq!(status(&running).await.dead_letters, 2);
    settle(&running).await;
    drop(running);

    // Another process, which runs no reactions, sees and settles them.
    let passive = start(&world, app(reaction.clone()).passive()).await;
    let before = reaction.positions().len();
    assert_eq!(letters(&passive.dead_letters("notes").await.unwrap()), [(1, 8), (2, 8)]);
    let again = passive.retry_dead_letter("notes", 1.into()).await.unwrap_err().to_string();
    assert!(again.contains("failed again at position 1: the receiver is away"), "{again}");
    mended.store(true, Ordering::SeqCst);
    passive.retry_dead_letter("notes", 1.into()).await.unwrap();
    assert_eq!(reaction.positions()[before..], [1, 1]);
    for position in [1, 3, 77] {
        let none = passive.retry_dead_letter("notes", position.into()).await.unwrap_err().to_string();
        assert!(none.contains(&format!("no dead letter at position {position}")), "{none}");
    }
    passive.drop_dead_letter("notes", 2.into()).await.unwrap();
    assert!(passive.drop_dead_letter("notes", 2.into()).await.is_err());
    assert_eq!(letters(&passive.dead_letters("notes").await.unwrap()), []);
    assert!(matches!(passive.dead_letters("letters").await, Err(ReactionError::Unknown(_))));
    drop(passive);
    let running = start(&world, app(reaction.clone())).await;
    settle(&running).await;
    assert_eq!((status(&running).await.dead_letters, reaction.positions().len()), (0, before + 2));
}

#[tokio::test(start_paused = true)]
async fn what_was_given_up_before_the_end_is_not_tried_again_after_it() {
    let world = World::new();
    let mut reaction = Notes::<false>::new(|event, _| match event.position().get() {
        1 => Act::Take(Duration::from_secs(29)),
        _ => Act::Fail,
    });
    reaction.policy.attempts = 2;
    let running = start(&world, app(reaction.clone())).await;
    increment(&running, "a").await;
    increment(&running, "b").await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(letters(&running.dead_letters("notes").await.unwrap()), [(2, 2)]);
    drop(running);
    settle(&start(&world, app(reaction.clone())).await).await;
    let mut positions = reaction.positions();
    positions.sort_unstable();
    assert_eq!(positions, [1, 1, 2, 2], "the first was broken off, the second is on the list");
}

#[tokio::test(start_paused = true)]
async fn a_panic_and_an_attempt_without_end_are_failures() {
    let world = World::new();
    let mut reaction = Notes::<false>::new(|event, _| match event.entity_id() {
        "panics" => Act::Panic,
        "hangs" => Act::Hang,
        _ => Act::Do,
    });
    reaction.policy.attempts = 2;
    let running = start(&world, app(reaction.clone())).await;
    for id in ["panics", "hangs", "works"] {
        increment(&running, id).await;
    }
    settle(&running).await;
    let found = running.dead_letters("notes").await.unwrap();
    let said: Vec<_> = found.iter().map(|letter| (letter.error.as_str(), letter.attempts)).collect();
    assert_eq!(said, [("it panicked: on thin ice", 2), ("it was not done within 30s", 2)]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_takes_no_writes_stops_it_before_anything_is_done() {
    let (store, reaction) = (OddStore::new(), Notes::<true>::new(|_, _| Act::Do));
    let world = World { store: Arc::clone(&store) as _, ..World::new() };
    increment(&start(&world, app(reaction.clone()).passive()).await, "a").await;
    store.is_read_only.store(true, Ordering::SeqCst);
    let running = start(&world, app(reaction.clone())).await;
    let behind = running.settle(Duration::from_secs(60)).await.unwrap_err().to_string();
    assert!(behind.contains("it has stopped: the store is read-only: for a test"), "{behind}");
    let state = status(&running).await.state;
    assert!(matches!(state, ReactionState::Stopped { next_attempt: Some(_), .. }), "{state:?}");
    assert_eq!(reaction.positions(), [0_u64; 0]);
    store.is_read_only.store(false, Ordering::SeqCst);
    settle(&running).await;
    assert_eq!(reaction.positions(), [1], "it is tried again by itself");
}

/// Does not know the key of an event while it is confused.
struct Confused(Arc<AtomicBool>);

impl Reaction for Confused {
    const NAME: &'static str = "confused";

    fn filter(&self) -> Filter {
        Filter::all()
    }

    async fn react(&self, _: &RecordedEvent, _: &ReactionContext) -> Result<(), BoxError> {
        Ok(())
    }

    fn key(&self, _: &RecordedEvent) -> String {
        assert!(!self.0.load(Ordering::SeqCst), "which key?");
        String::new()
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_outside_of_an_attempt_stops_it_in_sight_until_it_is_mended() {
    let (world, is_confused) = (World::new(), Arc::new(AtomicBool::new(true)));
    let running = start(&world, app(Confused(Arc::clone(&is_confused)))).await;
    increment(&running, "a").await;
    let behind = running.settle(Duration::from_secs(10)).await.unwrap_err().to_string();
    assert!(behind.contains("it has stopped: its filter, key or retry panicked: which key?"), "{behind}");
    is_confused.store(false, Ordering::SeqCst);
    settle(&running).await;
}
