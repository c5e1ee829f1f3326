//! Read-model rows in the append's own transaction, for stores that offer it.

use super::*;
use crate::{AppendError, Position, Value};

pub async fn rows_are_written_with_the_append_or_not_at_all(fixture: &dyn Fixture) {
    let store = open(fixture).await;
    let Some(transactional) = store.transactional() else { return };
    let work = |amount: i64, fails: bool| -> crate::TxWork {
        Box::new(move |tx| {
            Box::pin(async move {
                tx.execute("CREATE TABLE IF NOT EXISTS conformance_rows (amount BIGINT)", &[]).await?;
                tx.execute("INSERT INTO conformance_rows VALUES ($1)", &[Value::Integer(amount)]).await?;
                if fails { Err("the work fails".into()) } else { Ok(()) }
            })
        })
    };
    let sum = async || {
        let rows =
            transactional.query("SELECT SUM(amount) AS s FROM conformance_rows".to_owned(), Vec::new());
        rows.await.unwrap()[0].get::<i64>("s").unwrap()
    };
    let first = AppendRequest::new([event("a-1", "X")]);
    transactional.append_with(first.clone(), work(5, false)).await.unwrap();
    assert_eq!(sum().await, 5);
    let failed = transactional.append_with(AppendRequest::new([event("a-1", "X")]), work(7, true)).await;
    assert!(matches!(failed, Err(AppendError::Store(_))), "{failed:?}");
    assert_eq!((sum().await, store.head().await.unwrap()), (5, Position::new(1)), "neither event nor row");
    let refused =
        AppendRequest::new([event("a-1", "X")]).expect(stream("a-1"), crate::ExpectedVersion::NoStream);
    assert!(transactional.append_with(refused, work(7, false)).await.is_err());
    assert!(transactional.append_with(first, work(7, false)).await.unwrap().duplicate);
    assert_eq!((sum().await, store.head().await.unwrap()), (5, Position::new(1)), "a duplicate does no work");
    append(&*store, [event("a-1", "X")]).await;
    assert_eq!(store.head().await.unwrap(), Position::new(2), "the store goes on");
}
