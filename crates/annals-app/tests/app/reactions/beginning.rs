//! Where reactions begin and go on, across restarts and between processes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::UNIX_EPOCH;

use super::limits::Mirror;
use super::*;

#[tokio::test(start_paused = true)]
async fn what_was_there_before_is_none_of_its_business_unless_it_says_so() {
    let world = World::new();
    let before = start(&world, app(Notes::<false>::new(|_, _| Act::Do)).passive()).await;
    increment(&before, "a").await;
    increment(&before, "b").await;
    drop(before);
    let now = Notes::<false>::new(|_, _| Act::Do);
    let running = start(&world, app(now.clone())).await;
    increment(&running, "a").await;
    settle(&running).await;
    assert_eq!(now.positions(), [3]);
    drop(running);

    let world = World { models: Arc::new(SqliteReadModels::temporary().unwrap()), ..world };
    let copy = MemoryStore::default();
    append_missing(
        &copy,
        world
            .store
            .reader(ReadRequest::default())
            .collect()
            .await
            .unwrap()
            .iter()
            .map(RecordedEvent::to_new_event)
            .collect(),
    )
    .await
    .unwrap();
    let world = World { store: Arc::new(copy), ..world };
    let history = Notes::<true>::new(|_, _| Act::Do);
    let running = start(&world, app(history.clone())).await;
    settle(&running).await;
    let handled: BTreeSet<u64> = history.positions().into_iter().collect();
    assert_eq!(handled, BTreeSet::from([1, 2, 3]));
}

#[tokio::test(start_paused = true)]
async fn what_comes_while_it_is_down_is_handled_by_the_next_start() {
    let world = World::new();
    let reaction = Notes::<false>::new(|_, _| Act::Do);
    drop(start(&world, app(reaction.clone())).await);
    let passive = start(&world, app(reaction.clone()).passive()).await;
    increment(&passive, "a").await;
    let refused = passive.settle(PATIENCE).await.unwrap_err().to_string();
    assert!(refused.contains("without its reactions"), "{refused}");
    assert_eq!(
        (status(&passive).await.state, status(&passive).await.position),
        (ReactionState::Passive, Some(Position::ZERO))
    );
    drop(passive);
    assert_eq!(reaction.positions(), [0_u64; 0]);
    let running = start(&world, app(reaction.clone())).await;
    settle(&running).await;
    assert_eq!(reaction.positions(), [1]);
    assert_eq!(status(&running).await.state, ReactionState::Live);
    drop(running);
    settle(&start(&world, app(reaction.clone())).await).await;
    assert_eq!(reaction.positions(), [1], "what was handled is remembered");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_missed_however_often_it_is_broken_off() {
    let seed = UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64 | 1;
    println!("seed {seed}");
    let mut random = seed;
    let mut next = move |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let world = World::new();
    let passive = start(&world, app(Notes::<true>::new(|_, _| Act::Do)).passive()).await;
    for n in 0..300 {
        increment(&passive, &(n % 20).to_string()).await;
    }
    // The first attempt at every seventh event fails, and all take their time.
    let reaction = Notes::<true>::new(|event, attempt| match event.position().get() {
        position if position % 7 == 0 && attempt == 1 => Act::Fail,
        position => Act::Take(Duration::from_millis(position % 13 * 10)),
    });
    let (mut starts, mut last) = (0, 0);
    while last < 300 {
        let running = start(&world, app(reaction.clone())).await;
        tokio::time::sleep(Duration::from_millis(next(2_000))).await;
        drop(running);
        starts += 1;
        let place = world.store.checkpoint(&ConsumerName::new("reaction:notes").unwrap()).await.unwrap();
        assert!(place.unwrap().get() >= last, "it never goes back");
        last = place.unwrap().get();
    }
    println!("{starts} starts, {} attempts at 300 events", reaction.positions().len());
    let mut keys: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    for position in reaction.positions() {
        let seen = keys.entry(position % 20).or_default();
        let before = (position - 1) / 20;
        assert_eq!(
            seen.range(..position).count() as u64,
            before,
            "{position} came before an earlier one of its key"
        );
        seen.insert(position);
    }
    assert_eq!(keys.values().map(BTreeSet::len).sum::<usize>(), 300, "none was missed");
}

#[tokio::test(start_paused = true)]
async fn one_process_handles_the_events_and_another_takes_over() {
    let (world, folder) = (World::new(), tempfile::tempdir().unwrap());
    let beside = || World {
        models: Arc::new(SqliteReadModels::in_folder(folder.path()).unwrap()),
        store: Arc::clone(&world.store),
        broken: Arc::default(),
    };
    let (one, other) = (Notes::<false>::new(|_, _| Act::Do), Notes::<false>::new(|_, _| Act::Do));
    let first = start(&beside(), app(one.clone())).await;
    let second = start(&beside(), app(other.clone())).await;
    increment(&second, "a").await;
    settle(&first).await;
    settle(&second).await;
    assert_eq!(status(&second).await.state, ReactionState::StandingBy);
    assert_eq!((one.positions(), other.positions()), (vec![1], vec![]));
    drop(first);
    increment(&second, "a").await;
    settle(&second).await;
    assert_eq!(status(&second).await.state, ReactionState::Live);
    assert_eq!((one.positions(), other.positions()), (vec![1], vec![2]));
}

#[tokio::test]
async fn names_must_be_good_and_different() {
    struct Bad;
    impl Reaction for Bad {
        const NAME: &'static str = "bad\u{7}";
        fn filter(&self) -> Filter {
            Filter::all()
        }
        async fn react(&self, _: &RecordedEvent, _: &ReactionContext) -> Result<(), BoxError> {
            Ok(())
        }
    }
    let world = World::new();
    let start =
        async |app: App| app.start(Arc::clone(&world.store), Arc::clone(&world.models) as _).await.err();
    assert!(start(app(Bad)).await.unwrap().to_string().contains("control character"));
    let twice = start(app(Mirror).reaction(Mirror)).await.unwrap().to_string();
    assert!(twice.contains("two reactions are named \"mirror\""), "{twice}");
}
