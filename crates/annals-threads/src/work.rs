//! The work of an application, on a thread that serves others as well.

use std::panic::{AssertUnwindSafe, catch_unwind};

use annals_core::{BoxError, ReadModelTx, TxWork, block_on};

/// Does the work of an application in an open transaction. A panic in it is one more way to fail: the thread has others
/// to serve.
///
/// # Errors
/// What the work says, or that it panicked.
pub fn run_work(tx: &mut dyn ReadModelTx, work: TxWork) -> Result<(), BoxError> {
    let done = catch_unwind(AssertUnwindSafe(|| block_on(work(tx))));
    done.unwrap_or_else(|_| Err("the work panicked".into()))
}
