//! The conformance suite on read models for search, and what is particular to them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod damage;
mod documents;
mod kill;
mod sharing;
mod throughput;

use std::path::Path;
use std::sync::Arc;

use annals_core::conformance::ModelFixture;
use annals_core::{BoxError, BoxFuture, Position, ReadModel, ReadModelStore, ReadModelTx, TxWork};
use annals_search::tantivy::collector::DocSetCollector;
use annals_search::tantivy::query::AllQuery;
use annals_search::tantivy::schema::{FAST, Field, STORED, STRING, Schema, TEXT, Value};
use annals_search::tantivy::{TantivyDocument, Term, doc};
use annals_search::{SearchError, SearchModels, index, searcher};

/// Numbers, each a document with an id of its own.
fn number_schema() -> Schema {
    let mut schema = Schema::builder();
    schema.add_u64_field("id", FAST | annals_search::tantivy::schema::INDEXED);
    schema.add_i64_field("amount", STORED);
    schema.build()
}

fn try_add(tx: &mut dyn ReadModelTx, number: i64) -> Result<(), SearchError> {
    use std::sync::atomic::{AtomicU64, Ordering};
    static IDS: AtomicU64 = AtomicU64::new(1);
    let index = index(tx)?;
    index.schema(number_schema())?;
    let (id, amount) = (Field::from_field_id(0), Field::from_field_id(1));
    let next = IDS.fetch_add(1, Ordering::SeqCst) + u64::from(std::process::id()) * 1_000_000;
    index.put(Term::from_field_u64(id, next), doc!(id => next, amount => number))
}

fn add(number: i64) -> TxWork {
    Box::new(move |tx| Box::pin(async move { Ok(try_add(tx, number)?) }))
}

fn sum(tx: &mut dyn ReadModelTx) -> i64 {
    let search = searcher(tx).unwrap();
    let all = search.searcher().search(&AllQuery, &DocSetCollector).unwrap();
    let amount = |address| {
        let document: TantivyDocument = search.searcher().doc(address).unwrap();
        document.get_first(search.field("amount").unwrap()).unwrap().as_i64().unwrap()
    };
    all.into_iter().map(amount).sum()
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

async fn open(folder: &Path) -> Arc<dyn ReadModel> {
    SearchModels::in_folder(folder).unwrap().open("texts", 1).await.unwrap()
}

/// Does work on an index, after the checkpoint where it is.
async fn work(
    model: &dyn ReadModel,
    work: impl FnOnce(&mut annals_search::SearchTx) -> Result<(), BoxError> + Send + 'static,
) -> Result<(), annals_core::ReadModelError> {
    let from = model.checkpoint().await.unwrap();
    let work: TxWork = Box::new(|tx| Box::pin(async move { work(index(tx)?) }));
    model.write(from, from.next(), work).await
}

/// Texts with a name each.
fn text_schema() -> Schema {
    let mut schema = Schema::builder();
    schema.add_text_field("id", STRING | STORED);
    schema.add_text_field("text", TEXT | STORED);
    schema.build()
}

struct InFolder(tempfile::TempDir);

impl ModelFixture for InFolder {
    fn open(&self) -> Arc<dyn ReadModelStore> {
        Arc::new(SearchModels::in_folder(self.0.path()).unwrap())
    }

    fn add(&self, number: i64) -> TxWork {
        add(number)
    }

    fn sum<'a>(&'a self, tx: &'a mut dyn ReadModelTx) -> BoxFuture<'a, i64> {
        Box::pin(async move { sum(tx) })
    }

    fn can_fork(&self) -> bool {
        false
    }
}

annals_core::read_model_conformance!(InFolder(tempfile::tempdir().unwrap()));
