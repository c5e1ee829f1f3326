//! Read models: rows, checkpoints, parameters, snapshots.

use std::sync::Arc;

use annals_core::conformance::block_on;
use annals_core::{Position, ReadModel, ReadModelError, ReadModelStore, TxWork, Value, params};
use annals_sqlite::SqliteReadModels;

pub(crate) fn add(amount: i64) -> TxWork {
    Box::new(move |tx| {
        Box::pin(async move {
            tx.execute("CREATE TABLE IF NOT EXISTS amounts (amount BIGINT)", &[]).await?;
            tx.execute("INSERT INTO amounts VALUES ($1)", params![amount]).await?;
            Ok(())
        })
    })
}

/// Writes from wherever the checkpoint is.
pub(crate) async fn write(model: &dyn ReadModel, to: u64, work: TxWork) -> Result<(), ReadModelError> {
    model.write(model.checkpoint().await?, Position::new(to), work).await
}

pub(crate) fn sum(model: &dyn ReadModel) -> i64 {
    block_on(async {
        let mut tx = model.read().await.unwrap();
        let rows = tx.query("SELECT sum(amount) AS s FROM amounts", &[]).await.unwrap();
        rows[0].get("s").unwrap()
    })
}

fn open(models: &SqliteReadModels) -> Arc<dyn ReadModel> {
    block_on(models.open("sums", 1)).unwrap()
}

#[test]
fn rows_and_checkpoint_are_written_together() {
    let folder = tempfile::tempdir().unwrap();
    let models = SqliteReadModels::in_folder(folder.path().join("made")).unwrap();
    let model = open(&models);
    assert_eq!(block_on(model.checkpoint()).unwrap(), Position::ZERO);
    block_on(write(&*model, 5, add(5))).unwrap();
    block_on(write(&*model, 7, add(2))).unwrap();

    let fails: TxWork = Box::new(|tx| {
        Box::pin(async move {
            tx.execute("DELETE FROM amounts", &[]).await?;
            assert_eq!(tx.query("SELECT * FROM amounts", &[]).await?.len(), 0, "it sees its own writes");
            Err("the work fails".into())
        })
    });
    let error = block_on(write(&*model, 9, fails)).unwrap_err();
    assert!(matches!(error, ReadModelError::Work(_)) && error.to_string() == "the work fails", "{error}");
    let panics: TxWork = Box::new(|_| Box::pin(async { panic!("on purpose") }));
    assert!(matches!(block_on(write(&*model, 9, panics)), Err(ReadModelError::Work(_))));
    let ends: TxWork = Box::new(|tx| {
        Box::pin(async move {
            tx.execute("COMMIT", &[]).await?;
            Ok(())
        })
    });
    let error = block_on(write(&*model, 9, ends)).unwrap_err();
    assert!(error.to_string().contains("ended the transaction"), "{error}");
    assert_eq!((sum(&*model), block_on(model.checkpoint()).unwrap()), (7, Position::new(7)));

    drop(model);
    drop(models);
    assert!(folder.path().join("made/sums-v1.sqlite").is_file());
    assert!(!folder.path().join("made/sums-v1.sqlite-wal").exists(), "closed cleanly");
    let models = SqliteReadModels::in_folder(folder.path().join("made")).unwrap();
    let model = open(&models);
    assert_eq!((sum(&*model), block_on(model.checkpoint()).unwrap()), (7, Position::new(7)));
    let other = block_on(models.open("sums", 2)).unwrap();
    assert_eq!(
        block_on(other.checkpoint()).unwrap(),
        Position::ZERO,
        "another version is another read model"
    );
}

#[test]
fn opened_again_it_is_the_same_read_model() {
    let models = SqliteReadModels::temporary().unwrap();
    let (one, two) = (open(&models), open(&models));
    block_on(write(&*one, 1, add(3))).unwrap();
    assert_eq!((sum(&*two), block_on(two.checkpoint()).unwrap()), (3, Position::new(1)));
}

#[test]
fn bad_names_and_foreign_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let models = SqliteReadModels::in_folder(folder.path()).unwrap();
    for name in ["", "../x", "a/b", "a b"] {
        let error = block_on(models.open(name, 1)).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("cannot open the read model"), "{error}");
    }
    let foreign = rusqlite::Connection::open(folder.path().join("shop-v1.sqlite")).unwrap();
    foreign.execute_batch("CREATE TABLE orders (id)").unwrap();
    let error = block_on(models.open("shop", 1)).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("\"orders\""), "{error}");
    std::fs::write(folder.path().join("file"), "").unwrap();
    assert!(SqliteReadModels::in_folder(folder.path().join("file")).is_err());
}

#[test]
fn parameters_are_bound_by_their_numbers() {
    let models = SqliteReadModels::temporary().unwrap();
    let model = open(&models);
    let work: TxWork = Box::new(|tx| {
        Box::pin(async move {
            let created =
                tx.execute("CREATE TABLE t (a TEXT, b BIGINT, c BLOB, d DOUBLE PRECISION)", &[]).await?;
            assert_eq!(created, 0);
            let insert = "INSERT INTO t (d, b, a, c) VALUES ($4, $2, $1, $3)";
            let values = params!["it's", 2_i64, vec![0_u8, 255], 0.5];
            assert_eq!(tx.execute(insert, values).await?, 1);
            assert_eq!(tx.execute("CREATE INDEX i ON t (a)", &[]).await?, 0, "changes no rows");
            assert_eq!(
                tx.execute("UPDATE t SET b = b + $1 WHERE b = $1 OR a = $2", params![2_i64, "x"]).await?,
                1
            );
            assert_eq!(tx.execute("UPDATE t SET b = $1 WHERE b = $2", params![1_i64, 99_i64]).await?, 0);
            let kept = tx.query("INSERT INTO t (a) VALUES ($1) RETURNING a", params![None::<&str>]).await?;
            assert_eq!(kept[0].get::<Option<String>>("a")?, None);

            for (sql, values, expected) in [
                ("SELECT $1, $2", &params![1_i64][..], "it has $1 to $2, but 1 values were given"),
                ("SELECT $1", &params![1_i64, 2_i64][..], "it has $1 to $1, but 2 values were given"),
                ("SELECT 1", &params![1_i64][..], "it has no parameters, but 1 values were given"),
                ("SELECT ?", &params![1_i64][..], "expected only $1"),
                ("SELECT :name", &params![1_i64][..], "\":name\""),
                ("SELECT $0", &params![1_i64][..], "\"$0\""),
                ("SELECT 1; SELECT 2", &[][..], "Multiple statements"),
                ("SELEC 1", &[][..], "syntax error"),
            ] {
                let error = tx.query(sql, values).await.unwrap_err().to_string();
                assert!(error.contains(expected) && error.contains(sql), "{sql}: {error}");
            }
            Ok(())
        })
    });
    block_on(write(&*model, 1, work)).unwrap();
    let rows = block_on(async {
        let mut tx = model.read().await.unwrap();
        tx.query("SELECT a, b, c, d FROM t WHERE a = $1 AND $1 <> $2", params!["it's", "x"]).await.unwrap()
    });
    assert_eq!(rows[0].get::<String>("a").unwrap(), "it's");
    assert_eq!(rows[0].get::<i64>("b").unwrap(), 4);
    assert_eq!(rows[0].get::<Vec<u8>>("c").unwrap(), [0, 255]);
    assert_eq!(rows[0].get::<f64>("d").unwrap(), 0.5);
    assert!(rows[0].get::<i64>("z").unwrap_err().to_string().contains("only the columns a, b, c, d"));
}

#[test]
fn a_read_sees_one_moment_and_cannot_write() {
    let models = SqliteReadModels::temporary().unwrap();
    let model = open(&models);
    block_on(write(&*model, 1, add(1))).unwrap();
    block_on(async {
        let mut before = model.read().await.unwrap();
        write(&*model, 2, add(10)).await.unwrap();
        let total = "SELECT sum(amount) AS s FROM amounts";
        for _ in 0..2 {
            let rows = before.query(total, &[]).await.unwrap();
            assert_eq!(rows[0].get::<i64>("s").unwrap(), 1);
            write(&*model, 3, add(10)).await.unwrap();
        }
        let position = before.query("SELECT position FROM annals_checkpoint", &[]).await.unwrap();
        assert_eq!(position[0].get::<i64>("position").unwrap(), 1);
        let error =
            before.execute("INSERT INTO amounts VALUES ($1)", &[Value::Integer(1)]).await.unwrap_err();
        assert!(error.to_string().contains("readonly"), "{error}");
        let driver = annals_sqlite::connection(&mut *before).unwrap();
        let count: i64 = driver.query_row("SELECT count(*) FROM amounts", [], |row| row.get(0)).unwrap();
        assert_eq!(count, 1);
    });
    assert_eq!(sum(&*model), 31);
}

#[test]
fn a_query_that_is_given_up_ends_its_read_only() {
    let models = SqliteReadModels::temporary().unwrap();
    let model = open(&models);
    block_on(write(&*model, 1, add(1))).unwrap();
    let mut tx = block_on(model.read()).unwrap();
    let slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) SELECT max(i) FROM n";
    let mut query = tx.query(slow, &[]);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(query.as_mut().poll(&mut context).is_pending());
    drop(query);
    let error = block_on(tx.query("SELECT 1", &[])).unwrap_err();
    assert!(error.to_string().contains("given up"), "{error}");
    drop(tx);
    assert_eq!(sum(&*model), 1);
}

#[test]
fn many_readers_and_a_writer_agree() {
    let models = SqliteReadModels::temporary().unwrap();
    let model = open(&models);
    block_on(write(&*model, 0, add(0))).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..100 {
                    block_on(async {
                        let mut tx = model.read().await.unwrap();
                        let rows = tx.query("SELECT count(*) AS n FROM amounts", &[]).await.unwrap();
                        let at = tx.query("SELECT position FROM annals_checkpoint", &[]).await.unwrap();
                        let (rows, at): (i64, i64) =
                            (rows[0].get("n").unwrap(), at[0].get("position").unwrap());
                        assert_eq!(rows, at + 1);
                    });
                }
            });
        }
        for n in 1..=100 {
            block_on(write(&*model, n, add(1))).unwrap();
        }
    });
    assert_eq!(sum(&*model), 100);
}
