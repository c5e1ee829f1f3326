//! How long commits and searches take.

use std::time::{Duration, Instant};

use annals_core::{Position, block_on};
use annals_search::tantivy::schema::Field;
use annals_search::tantivy::{Term, doc};
use annals_search::{index, searcher};

use crate::{open, text_schema};

/// Puts so many documents in a batch.
async fn batch(model: &dyn annals_core::ReadModel, count: u64) -> Duration {
    let from = model.checkpoint().await.unwrap();
    let to = Position::new(from.get() + count);
    let began = Instant::now();
    model
        .write(
            from,
            to,
            Box::new(move |tx| {
                Box::pin(async move {
                    let (id, text) = (Field::from_field_id(0), Field::from_field_id(1));
                    let index = index(tx)?;
                    index.schema(text_schema())?;
                    for number in from.get()..to.get() {
                        let name = format!("letter-{number}");
                        let words = format!(
                            "the account {} has been moved to the bank by the river {number}",
                            number % 97
                        );
                        index.put(Term::from_field_text(id, &name), doc!(id => name, text => words))?;
                    }
                    Ok(())
                })
            }),
        )
        .await
        .unwrap();
    began.elapsed()
}

#[test]
#[ignore = "a measurement: run it with --release"]
fn commits_large_and_small() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let model = open(folder.path()).await;
        let _lead = model.try_lead().await.unwrap().unwrap();
        let large: Duration = [batch(&*model, 50_000).await, batch(&*model, 50_000).await].iter().sum();
        println!("100,000 documents in 2 commits: {large:?}");
        let mut small = Vec::new();
        for _ in 0..100 {
            small.push(batch(&*model, 1).await);
        }
        small.sort();
        println!("1 document in a commit: median {:?}, slowest {:?}", small[50], small[99]);
        let began = Instant::now();
        let mut tx = model.read().await.unwrap();
        let read = began.elapsed();
        let search = searcher(&mut *tx).unwrap();
        let began = Instant::now();
        assert_eq!(search.search("river AND 42", &["text"], 10, 0).unwrap().len(), 10);
        println!("beginning to read: {read:?}; a search: {:?}", began.elapsed());
    });
}
