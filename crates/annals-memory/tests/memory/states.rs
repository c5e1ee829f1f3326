//! What a transaction leads to, and what it does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use annals_core::{Position, ReadModelError, ReadModelStore, block_on, params};
use annals_memory::{MemoryModels, StateError, state, view};
use serde::{Deserialize, Serialize};

use crate::{Numbers, add_to, stands};

#[test]
fn a_state_is_of_one_type() {
    block_on(async {
        let model = MemoryModels::new().open("numbers", 1).await.unwrap();
        add_to(&*model, 3).await;
        let mut tx = model.read().await.unwrap();
        let problem = view::<Vec<String>>(&mut *tx).unwrap_err();
        assert!(matches!(problem, StateError::OtherType { .. }));
        let problem = problem.to_string();
        assert!(problem.contains("Numbers") && problem.contains("Vec<alloc::string::String>"), "{problem}");
        assert_eq!(state::<Numbers>(&mut *tx).err(), Some(StateError::ReadOnly));
        assert!(view::<Numbers>(&mut *tx).is_ok(), "it can be read after that");
        let wrong = model.write(
            Position::new(3),
            Position::new(4),
            Box::new(|tx| {
                Box::pin(async move {
                    state::<String>(tx)?.push('x');
                    Ok(())
                })
            }),
        );
        assert!(matches!(wrong.await, Err(ReadModelError::Work(_))));
        assert_eq!(stands(&*model).await, (3, 3));
    });
}

#[test]
fn sql_and_other_stores_get_advice() {
    block_on(async {
        let model = MemoryModels::new().open("numbers", 1).await.unwrap();
        let mut tx = model.read().await.unwrap();
        let refused = tx.query("SELECT 1", params![]).await.unwrap_err().to_string();
        assert!(refused.contains("SELECT 1") && refused.contains("annals_memory::view"), "{refused}");
        let refused = tx.execute("DELETE", params![]).await.unwrap_err();
        assert!(matches!(refused, ReadModelError::Statement { .. }));

        struct Other;
        impl annals_core::ReadModelTx for Other {
            fn execute<'a>(
                &'a mut self,
                _: &'a str,
                _: &'a [annals_core::Value],
            ) -> annals_core::BoxFuture<'a, Result<u64, ReadModelError>> {
                unreachable!()
            }
            fn query<'a>(
                &'a mut self,
                _: &'a str,
                _: &'a [annals_core::Value],
            ) -> annals_core::BoxFuture<'a, Result<Vec<annals_core::Row>, ReadModelError>> {
                unreachable!()
            }
            fn as_any(&mut self) -> &mut dyn std::any::Any {
                self
            }
        }
        assert_eq!(state::<Numbers>(&mut Other).err(), Some(StateError::NotInMemory));
        assert_eq!(view::<Numbers>(&mut Other).err(), Some(StateError::NotInMemory));
    });
}

/// Counts how often it is cloned.
#[derive(Default, Serialize, Deserialize)]
struct Counting(#[serde(skip)] Arc<AtomicUsize>, u64);

impl Clone for Counting {
    fn clone(&self) -> Self {
        self.0.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(&self.0), self.1)
    }
}

#[test]
fn a_state_is_cloned_once_for_a_batch_and_never_to_be_read() {
    block_on(async {
        let model = MemoryModels::new().open("counting", 1).await.unwrap();
        let batch = |from: u64| {
            model.write(
                Position::new(from),
                Position::new(from + 1),
                Box::new(|tx| {
                    Box::pin(async move {
                        for _ in 0..1000 {
                            state::<Counting>(tx)?.1 += 1;
                        }
                        assert!(view::<Counting>(tx)?.1 >= 1000);
                        Ok(())
                    })
                }),
            )
        };
        batch(0).await.unwrap();
        let mut tx = model.read().await.unwrap();
        let mut clones = || view::<Counting>(&mut *tx).unwrap().0.load(Ordering::SeqCst);

        let before = clones();
        batch(1).await.unwrap();
        batch(2).await.unwrap();
        assert_eq!(clones(), before + 2);
        model
            .write(Position::new(3), Position::new(9), Box::new(|_| Box::pin(async { Ok(()) })))
            .await
            .unwrap();
        let mut again = model.read().await.unwrap();
        assert_eq!(view::<Counting>(&mut *again).unwrap().1, 3000);
        assert_eq!(clones(), before + 2, "a move of the checkpoint alone clones nothing");
    });
}

#[test]
fn a_state_stays_as_long_as_its_place() {
    block_on(async {
        let models = MemoryModels::new();
        add_to(&*models.open("numbers", 1).await.unwrap(), 4).await;
        assert_eq!(stands(&*models.open("numbers", 1).await.unwrap()).await, (4, 4));
    });
}

#[test]
fn reads_do_not_wait_for_a_write() {
    block_on(async {
        let model = MemoryModels::new().open("numbers", 1).await.unwrap();
        add_to(&*model, 1).await;
        let (begun, is_begun) = std::sync::mpsc::channel();
        let (go_on, goes_on) = std::sync::mpsc::channel::<()>();
        let writing = model.write(
            Position::new(1),
            Position::new(2),
            Box::new(move |tx| {
                Box::pin(async move {
                    state::<Numbers>(tx)?;
                    begun.send(())?;
                    goes_on.recv()?;
                    Ok(())
                })
            }),
        );
        let mut writing = std::pin::pin!(writing);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(writing.as_mut().poll(&mut context).is_pending());
        is_begun.recv().unwrap();
        assert_eq!(stands(&*model).await, (1, 1));
        go_on.send(()).unwrap();
        writing.await.unwrap();
        assert_eq!(stands(&*model).await, (1, 2));
    });
}
