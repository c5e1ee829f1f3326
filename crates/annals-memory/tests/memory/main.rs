//! The conformance suite on read models in memory, and what is particular to them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod images;
mod kill;
mod states;
mod throughput;

use std::sync::Arc;

use annals_core::conformance::ModelFixture;
use annals_core::{BoxFuture, Position, ReadModel, ReadModelStore, ReadModelTx, TxWork};
use annals_memory::{MemoryModels, imbl, state, view};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Numbers {
    all: imbl::Vector<i64>,
}

fn add(number: i64) -> TxWork {
    Box::new(move |tx| {
        Box::pin(async move {
            state::<Numbers>(tx)?.all.push_back(number);
            Ok(())
        })
    })
}

fn sum(tx: &mut dyn ReadModelTx) -> i64 {
    view::<Numbers>(tx).unwrap().all.iter().sum()
}

/// Adds a number and moves the checkpoint on by as much.
async fn add_to(model: &dyn ReadModel, number: u64) {
    let from = model.checkpoint().await.unwrap();
    model.write(from, Position::new(from.get() + number), add(number as i64)).await.unwrap();
}

async fn stands(model: &dyn ReadModel) -> (i64, u64) {
    let sum = sum(&mut *model.read().await.unwrap());
    (sum, model.checkpoint().await.unwrap().get())
}

struct InMemory;

impl ModelFixture for InMemory {
    fn open(&self) -> Arc<dyn ReadModelStore> {
        Arc::new(MemoryModels::new())
    }

    fn add(&self, number: i64) -> TxWork {
        add(number)
    }

    fn sum<'a>(&'a self, tx: &'a mut dyn ReadModelTx) -> BoxFuture<'a, i64> {
        Box::pin(async move { sum(tx) })
    }

    fn keeps_models(&self) -> bool {
        false
    }
}

mod in_memory {
    annals_core::read_model_conformance!(super::InMemory);
}

/// What is open twice does not see each other's writes at once, so the cases of that are in `images`.
struct InFolder(tempfile::TempDir);

impl ModelFixture for InFolder {
    fn open(&self) -> Arc<dyn ReadModelStore> {
        Arc::new(MemoryModels::in_folder(self.0.path()).unwrap())
    }

    fn add(&self, number: i64) -> TxWork {
        add(number)
    }

    fn sum<'a>(&'a self, tx: &'a mut dyn ReadModelTx) -> BoxFuture<'a, i64> {
        Box::pin(async move { sum(tx) })
    }

    fn keeps_models(&self) -> bool {
        false
    }
}

mod in_folder {
    annals_core::read_model_conformance!(super::InFolder(tempfile::tempdir().unwrap()));
}
