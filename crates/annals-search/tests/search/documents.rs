//! Documents: put, deleted, found.

use annals_core::{Position, ReadModelError, ReadModelStore, block_on, params};
use annals_search::tantivy::query::QueryParserError;
use annals_search::tantivy::schema::{Field, STORED, Schema, TEXT, Value};
use annals_search::tantivy::{Term, doc};
use annals_search::{Search, SearchError, SearchModels, SearchTx, index, searcher};

use crate::{text_schema, work};

const ID: u32 = 0;
const TEXT_FIELD: u32 = 1;

fn put(index: &mut SearchTx, name: &str, words: &str) -> Result<(), SearchError> {
    let (id, text) = (Field::from_field_id(ID), Field::from_field_id(TEXT_FIELD));
    index.put(Term::from_field_text(id, name), doc!(id => name, text => words))
}

/// The names of the documents found, the best first.
fn found(search: &Search, text: &str, limit: usize, offset: usize) -> Vec<String> {
    let name = |document: &annals_search::tantivy::TantivyDocument| {
        document.get_first(search.field("id").unwrap()).unwrap().as_str().unwrap().to_owned()
    };
    let found = search.search(text, &["text"], limit, offset).unwrap();
    found.iter().map(|(_, document)| name(document)).collect()
}

#[test]
fn documents_are_replaced_deleted_and_found() {
    block_on(async {
        let model = SearchModels::temporary().unwrap().open("texts", 1).await.unwrap();
        for _ in 0..2 {
            // Again, as after a crash: nothing is there twice.
            let all = |index: &mut SearchTx| {
                index.schema(text_schema())?;
                put(index, "a", "a river in the north of the land")?;
                put(index, "b", "river river bank")?;
                put(index, "c", "a bank of a bank")?;
                put(index, "c", "the savings bank")?;
                Ok(())
            };
            work(&*model, all).await.unwrap();
        }
        let mut tx = model.read().await.unwrap();
        let search = searcher(&mut *tx).unwrap();
        assert_eq!(search.searcher().num_docs(), 3);
        assert_eq!(found(search, "river", 10, 0), ["b", "a"], "the best first");
        assert_eq!(found(search, "\"savings bank\" OR id:a", 10, 0).len(), 2);
        assert_eq!(found(search, "river AND bank", 10, 0), ["b"]);
        assert_eq!(found(search, "river", 1, 1), ["a"]);
        for (limit, offset) in [(0, 0), (5, 3), (5, usize::MAX)] {
            assert!(found(search, "river", limit, offset).is_empty());
        }
        assert_eq!(found(search, "river", usize::MAX, 0).len(), 2);
        assert!(found(search, "", 10, 0).is_empty());

        work(&*model, |index| Ok(index.delete(Term::from_field_text(Field::from_field_id(ID), "b"))?))
            .await
            .unwrap();
        assert_eq!(found(search, "river", 10, 0), ["b", "a"], "a read sees one state");
        let mut tx = model.read().await.unwrap();
        assert_eq!(found(searcher(&mut *tx).unwrap(), "river", 10, 0), ["a"]);
    });
}

#[test]
fn a_transaction_sees_what_the_one_before_left() {
    block_on(async {
        let model = SearchModels::temporary().unwrap().open("texts", 1).await.unwrap();
        let write = |name: &'static str, expected: u64| {
            model.write(
                Position::new(expected),
                Position::new(expected + 1),
                Box::new(move |tx| {
                    Box::pin(async move {
                        index(tx)?.schema(text_schema())?;
                        put(index(tx)?, name, "word")?;
                        assert_eq!(searcher(tx)?.searcher().num_docs(), expected);
                        Ok(())
                    })
                }),
            )
        };
        for (number, name) in ["a", "b", "c"].into_iter().enumerate() {
            write(name, number as u64).await.unwrap();
        }
    });
}

#[test]
fn bad_query_text_is_told_apart() {
    block_on(async {
        let model = SearchModels::temporary().unwrap().open("texts", 1).await.unwrap();
        work(&*model, |index| Ok(index.schema(text_schema())?)).await.unwrap();
        let mut tx = model.read().await.unwrap();
        let search = searcher(&mut *tx).unwrap();
        let problem = search.search("colour:red", &["text"], 1, 0).unwrap_err();
        assert!(matches!(
            &problem,
            SearchError::BadQuery { query, problem: QueryParserError::FieldDoesNotExist(field) }
                if query == "colour:red" && field == "colour"
        ));
        assert!(problem.to_string().contains("\"colour:red\" cannot be understood"), "{problem}");
        for bad in ["(river", "text:[a TO", "\"", "NOT river", "AND"] {
            let result = search.search(bad, &["text"], 1, 0);
            assert!(matches!(result, Err(SearchError::BadQuery { .. }) | Ok(_)), "{bad}");
        }
        assert!(matches!(search.search("(river", &["text"], 1, 0), Err(SearchError::BadQuery { .. })));
        let problem = search.search("river", &["txt"], 1, 0).unwrap_err().to_string();
        assert!(problem.contains("no field \"txt\", expected one of \"id\", \"text\""), "{problem}");
    });
}

#[test]
fn another_schema_asks_for_another_version() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let model = crate::open(folder.path()).await;
        work(&*model, |index| {
            index.schema(text_schema())?;
            index.schema(text_schema())?;
            Ok(put(index, "a", "river")?)
        })
        .await
        .unwrap();
        let more = || {
            let mut schema = Schema::builder();
            schema.add_text_field("id", TEXT);
            schema.add_text_field("title", STORED);
            schema.build()
        };
        let problem = work(&*model, move |index| Ok(index.schema(more())?)).await.unwrap_err();
        assert!(matches!(problem, ReadModelError::Work(_)));
        let problem = problem.to_string();
        assert!(
            problem.contains("field \"id\"") && problem.contains("raise the projection's VERSION"),
            "{problem}"
        );
        let mut tx = model.read().await.unwrap();
        assert_eq!(found(searcher(&mut *tx).unwrap(), "river", 1, 0), ["a"], "it is as it was");
        let other = SearchModels::in_folder(folder.path()).unwrap().open("texts", 2).await.unwrap();
        work(&*other, move |index| Ok(index.schema(more())?)).await.unwrap();
    });
}

#[test]
fn keys_and_fields_that_cannot_work_are_refused() {
    block_on(async {
        let model = SearchModels::temporary().unwrap().open("texts", 1).await.unwrap();
        let (id, text) = (Field::from_field_id(ID), Field::from_field_id(TEXT_FIELD));
        let nowhere = Field::from_field_id(7);
        let without_schema = work(&*model, move |index| Ok(put(index, "a", "river")?)).await.unwrap_err();
        assert!(without_schema.to_string().contains("expected one of none"), "{without_schema}");
        let refused = work(&*model, move |index| {
            index.schema(text_schema())?;
            let words = index.put(Term::from_field_text(text, "a b"), doc!(text => "a b"));
            assert!(matches!(&words, Err(SearchError::Key { name, .. }) if name == "text"));
            assert!(words.unwrap_err().to_string().contains("make it `STRING`"));
            let unknown = index.put(Term::from_field_text(id, "a"), doc!(nowhere => "a"));
            assert!(matches!(unknown, Err(SearchError::UnknownField { .. })));
            assert!(matches!(
                index.delete(Term::from_field_u64(nowhere, 1)),
                Err(SearchError::UnknownField { .. })
            ));
            Ok(())
        });
        refused.await.unwrap();
    });
}

#[test]
fn a_document_that_does_not_fit_fails_the_batch_and_no_more() {
    block_on(async {
        let model = SearchModels::temporary().unwrap().open("numbers", 1).await.unwrap();
        crate::add_to(&*model, 4).await;
        let (id, amount) = (Field::from_field_id(0), Field::from_field_id(1));
        let wrong = work(&*model, move |index| {
            Ok(index.put(Term::from_field_u64(id, 1), doc!(id => "one", amount => 4_i64))?)
        });
        let refused = wrong.await.unwrap_err();
        assert!(matches!(refused, ReadModelError::Work(_) | ReadModelError::Database { .. }), "{refused}");
        assert_eq!(crate::stands(&*model).await, (4, 4));
        crate::add_to(&*model, 1).await;
        assert_eq!(crate::stands(&*model).await, (5, 5));
    });
}

#[test]
fn sql_forks_and_other_transactions_get_advice() {
    block_on(async {
        let model = SearchModels::temporary().unwrap().open("texts", 1).await.unwrap();
        let mut tx = model.read().await.unwrap();
        assert!(matches!(index(&mut *tx), Err(SearchError::ReadOnly)));
        let refused = tx.query("SELECT 1", params![]).await.unwrap_err().to_string();
        assert!(refused.contains("SELECT 1") && refused.contains("annals_search::searcher"), "{refused}");
        let refused = tx.execute("DELETE", params![]).await.unwrap_err();
        assert!(matches!(refused, ReadModelError::Statement { .. }));
        let refused = model.fork().await.map(drop).unwrap_err().to_string();
        assert!(refused.contains("scratch"), "{refused}");
    });
}
