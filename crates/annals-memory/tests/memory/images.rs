//! Images: what the next start begins with.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use annals_core::{Bookmark, Position, ReadModel, ReadModelError, ReadModelStore, TxWork, block_on};
use annals_memory::{ImageOptions, MemoryModels, StateError, imbl, state, view};
use serde::{Deserialize, Serialize};

use crate::{Numbers, add, add_to, stands};

pub(crate) fn names_in(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

async fn open(folder: &Path) -> Arc<dyn ReadModel> {
    MemoryModels::in_folder(folder).unwrap().open("numbers", 1).await.unwrap()
}

fn image(folder: &Path) -> PathBuf {
    folder.join("numbers-v1.image")
}

#[test]
fn state_checkpoint_notes_and_store_are_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let model = open(folder.path()).await;
        assert!(model.bind("store").await.unwrap());
        let (from, to) = (Position::ZERO, Position::new(5));
        model.write_with_notes(from, to, Some(b"notes".to_vec()), add(5)).await.unwrap();
        drop(model);
        for _ in 0..3 {
            let model = open(folder.path()).await;
            let expected = Bookmark { position: to, notes: b"notes".to_vec() };
            assert_eq!(model.bookmark().await.unwrap(), expected);
            assert!(model.bind("store").await.unwrap() && !model.bind("other").await.unwrap());
            assert_eq!(stands(&*model).await, (5, 5));
        }
        assert_eq!(names_in(folder.path()), ["numbers-v1.image", "numbers-v1.lock"]);
        // What was never decoded is written again as it was.
        let model = open(folder.path()).await;
        model
            .write_with_notes(to, to, Some(Vec::new()), Box::new(|_| Box::pin(async { Ok(()) })))
            .await
            .unwrap();
        drop(model);
        let model = open(folder.path()).await;
        assert_eq!(model.bookmark().await.unwrap(), Bookmark { position: to, notes: Vec::new() });
        assert_eq!(stands(&*model).await, (5, 5));
    });
}

#[test]
fn images_are_written_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let wait_for_image = || {
        for _ in 0..2000 {
            if std::fs::metadata(image(folder.path())).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("no image was written");
    };
    block_on(async {
        let soon = ImageOptions { every: Duration::from_millis(20), ..ImageOptions::default() };
        let many =
            ImageOptions { every_positions: 10, every: Duration::from_secs(3600), ..Default::default() };
        for options in [soon, many] {
            let models = MemoryModels::in_folder_with(folder.path(), options).unwrap();
            let model = models.open("numbers", 1).await.unwrap();
            let _ = std::fs::remove_file(image(folder.path()));
            add_to(&*model, 50).await;
            wait_for_image();
            drop(model);
        }
    });
}

#[test]
fn a_damaged_image_is_set_aside_and_the_read_model_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        for round in 1..=3 {
            let model = open(folder.path()).await;
            add_to(&*model, 5).await;
            drop(model);
            let mut bytes = std::fs::read(image(folder.path())).unwrap();
            match round {
                1 => bytes.truncate(bytes.len() / 2),
                2 => bytes[40] ^= 1,
                _ => bytes.clear(),
            }
            std::fs::write(image(folder.path()), bytes).unwrap();
            let model = open(folder.path()).await;
            assert_eq!(stands(&*model).await, (0, 0));
            assert!(model.bind("another").await.unwrap(), "it is bound to nothing");
            drop(model);
            std::fs::remove_file(image(folder.path())).unwrap();
        }
        let aside = names_in(folder.path()).into_iter().filter(|name| name.contains(".image.damaged-"));
        assert_eq!(aside.count(), 3);
    });
}

#[test]
fn what_a_killed_process_was_writing_is_no_image() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let model = open(folder.path()).await;
        add_to(&*model, 5).await;
        drop(model);
        std::fs::write(folder.path().join("numbers-v1.image.new"), "half of it").unwrap();
        std::fs::write(folder.path().join("numbers-v1.build-4.image.new"), "half of a rebuild").unwrap();
        let model = open(folder.path()).await;
        assert_eq!(stands(&*model).await, (5, 5));
        let lead = model.try_lead().await.unwrap().unwrap();
        add_to(&*model, 1).await;
        drop((lead, model));
        assert_eq!(names_in(folder.path()), ["numbers-v1.image", "numbers-v1.lock"]);
        assert_eq!(stands(&*open(folder.path()).await).await, (6, 6));
    });
}

/// As `Numbers`, with a field more: without a look at the form, the image of the one could be read as the other.
mod later {
    use super::*;

    #[derive(Debug, Clone, Default, Serialize, Deserialize)]
    pub(super) struct Numbers {
        pub(super) all: imbl::Vector<i64>,
        #[serde(default)]
        pub(super) count: u64,
    }
}

fn count(number: i64) -> TxWork {
    Box::new(move |tx| {
        Box::pin(async move {
            let state: &mut later::Numbers = state(tx)?;
            state.all.push_back(number);
            state.count += 1;
            Ok(())
        })
    })
}

#[test]
fn an_image_of_another_type_is_discarded_and_never_misread() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let model = open(folder.path()).await;
        assert!(model.bind("store").await.unwrap());
        add_to(&*model, 5).await;
        drop(model);

        let model = open(folder.path()).await;
        let at = model.checkpoint().await.unwrap();
        assert_eq!(at.get(), 5);
        // A query of another type harms nothing.
        let mut tx = model.read().await.unwrap();
        let problem = view::<later::Numbers>(&mut *tx).unwrap_err().to_string();
        assert!(problem.contains("memory::Numbers") && problem.contains("later::Numbers"), "{problem}");
        assert_eq!(stands(&*model).await, (5, 5));
        drop((tx, model));

        let model = open(folder.path()).await;
        let refused = model.write(at, Position::new(6), count(1)).await.unwrap_err();
        assert!(matches!(refused, ReadModelError::Superseded { found: Position::ZERO }), "{refused}");
        assert_eq!(model.bookmark().await.unwrap(), Bookmark::default());
        assert!(!model.bind("other").await.unwrap(), "it is of its store still");
        let mut tx = model.read().await.unwrap();
        assert!(
            matches!(view::<later::Numbers>(&mut *tx), Err(StateError::Image { .. })),
            "nothing is not 0"
        );
        model.write(Position::ZERO, Position::new(6), count(1)).await.unwrap();
        let mut tx = model.read().await.unwrap();
        assert_eq!(view::<later::Numbers>(&mut *tx).unwrap().count, 1);
    });
}

/// Reads and writes as the type that is given, which has the name that all of them have.
mod form {
    use super::*;

    #[derive(Debug, Clone, Default, Serialize, Deserialize)]
    pub(super) struct State {
        pub(super) number: i64,
    }
}

#[test]
fn the_form_that_the_application_gives_counts() {
    let folder = tempfile::tempdir().unwrap();
    let set = || -> TxWork {
        Box::new(|tx| {
            Box::pin(async move {
                state::<form::State>(tx)?.number += 1;
                Ok(())
            })
        })
    };
    let open = async |form: &str| {
        let options = ImageOptions { form: form.to_owned(), ..ImageOptions::default() };
        MemoryModels::in_folder_with(folder.path(), options).unwrap().open("numbers", 1).await.unwrap()
    };
    let at = Position::new(5);
    block_on(async {
        open("1").await.write(Position::ZERO, at, set()).await.unwrap();
        open("1").await.write(at, at, set()).await.unwrap();
        let refused = open("2").await.write(at, at, set()).await.unwrap_err();
        assert!(matches!(refused, ReadModelError::Superseded { found: Position::ZERO }));
        assert_eq!(open("2").await.checkpoint().await.unwrap(), Position::ZERO);
    });
}

#[test]
fn a_swap_is_kept_and_can_be_taken_back_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let model = open(folder.path()).await;
        add_to(&*model, 3).await;
        for round in [10, 20] {
            let built = model.begin_rebuild().await.unwrap();
            add_to(&*built, round).await;
            model.swap_in(built).await.unwrap();
            add_to(&*model, 1).await;
        }
        drop(model);
        let files = names_in(folder.path());
        let images: Vec<_> = files.iter().filter(|name| name.ends_with(".image")).collect();
        assert_eq!(images, ["numbers-v1.build-1.image", "numbers-v1.build-2.image"]);
        let model = open(folder.path()).await;
        assert_eq!(stands(&*model).await, (21, 21));
        assert!(model.swap_back().await.unwrap());
        assert_eq!(stands(&*model).await, (11, 11));
        add_to(&*model, 4).await;
        drop(model);
        let model = open(folder.path()).await;
        assert_eq!(stands(&*model).await, (15, 15));
        assert!(model.swap_back().await.unwrap());
        assert_eq!(stands(&*model).await, (21, 21));
        // One that is damaged is none.
        let other = folder.path().join("numbers-v1.build-1.image");
        std::fs::write(other, "damaged").unwrap();
        assert!(!model.swap_back().await.unwrap());
        assert_eq!(stands(&*model).await, (21, 21));
    });
}

#[test]
fn one_leads_and_the_others_see_its_images() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let (one, other) = (open(folder.path()).await, open(folder.path()).await);
        let lead = one.try_lead().await.unwrap().unwrap();
        assert!(one.try_lead().await.unwrap().is_none() && other.try_lead().await.unwrap().is_none());
        add_to(&*one, 2).await;
        assert_eq!(stands(&*other).await, (0, 0), "memory is not shared");
        let built = one.begin_rebuild().await.unwrap();
        add_to(&*built, 7).await;
        one.swap_in(built).await.unwrap();
        assert_eq!(stands(&*other).await, (7, 7), "a swap writes an image");
        let built = other.begin_rebuild().await.unwrap();
        add_to(&*built, 9).await;
        assert!(matches!(other.swap_in(built).await, Err(ReadModelError::Fenced { .. })));
        assert!(matches!(other.swap_back().await, Err(ReadModelError::Fenced { .. })));
        add_to(&*one, 1).await;
        drop(lead);
        let lead = other.try_lead().await.unwrap().unwrap();
        assert_eq!(stands(&*other).await, (8, 8), "who takes the lead goes on from there");
        assert!(one.try_lead().await.unwrap().is_none());
        let refused = one.write(Position::new(8), Position::new(9), add(1)).await.unwrap_err();
        assert!(matches!(refused, ReadModelError::Fenced { .. }), "{refused}");
        add_to(&*other, 5).await;
        drop((lead, other));
        assert_eq!(stands(&*one).await, (13, 13));
        let _lead = one.try_lead().await.unwrap().unwrap();
        add_to(&*one, 1).await;
        assert_eq!(stands(&*one).await, (14, 14));
    });
}

#[test]
fn who_stands_by_leaves_no_image() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let (one, other) = (open(folder.path()).await, open(folder.path()).await);
        let lead = one.try_lead().await.unwrap().unwrap();
        add_to(&*other, 5).await;
        drop(other);
        assert!(!image(folder.path()).exists());
        add_to(&*one, 3).await;
        drop((lead, one));
        assert_eq!(stands(&*open(folder.path()).await).await, (3, 3));
    });
}

#[test]
fn a_state_that_cannot_be_written_counts_all_the_same() {
    #[derive(Clone, Default, Deserialize)]
    struct Refusing;
    impl Serialize for Refusing {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("not this one"))
        }
    }
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let model = open(folder.path()).await;
        let work: TxWork =
            Box::new(|tx| Box::pin(async move { state::<Refusing>(tx).map(drop).map_err(Into::into) }));
        model.write(Position::ZERO, Position::new(2), work).await.unwrap();
        let built = model.begin_rebuild().await.unwrap();
        add_to(&*built, 9).await;
        let problem = model.swap_in(built).await.unwrap_err().to_string();
        assert!(problem.contains("cannot be written: not this one"), "{problem}");
        assert_eq!(model.checkpoint().await.unwrap().get(), 2, "nothing was swapped");
        drop(model);
        assert_eq!(stands(&*open(folder.path()).await).await, (0, 0));
        let _: Option<Numbers> = None;
    });
}
