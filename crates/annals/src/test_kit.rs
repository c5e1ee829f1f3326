//! The test kit, with read models that are gone at the end of a test.

#![allow(clippy::panic)]

use std::sync::Arc;

#[cfg(feature = "simulation")]
use annals_app::{App, Simulated};
use annals_app::{GivenProjection, Projection};
#[cfg(feature = "simulation")]
use annals_core::BoxError;

use crate::ReadModels;

/// Begins a test of a projection, whatever its read model is made of: see [`annals_app::given_projection`].
///
/// ```no_run
/// # use annals::*;
/// # async fn example<P: Projection, E: Event>(balances: P, opened: E, deposited: E) {
/// let rows = annals::given_projection(balances)
///     .events([("account-1", opened), ("account-1", deposited)])
///     .rows("SELECT balance FROM balances")
///     .await;
/// assert_eq!(rows.len(), 1);
/// # }
/// ```
///
/// # Panics
/// When there is no room for temporary files.
#[track_caller]
pub fn given_projection<P: Projection>(projection: P) -> GivenProjection {
    match ReadModels::temporary() {
        Ok(models) => annals_app::given_projection(Arc::new(models), projection),
        Err(error) => panic!("cannot begin the test of {:?}: {error}", P::NAME),
    }
}

/// Runs `check` on an application once for each seed, while bad things happen to it: see [`annals_app::simulate`].
///
/// ```no_run
/// # fn bank() -> annals::App { annals::App::new("bank") }
/// annals::simulate(0..200, bank, async |bank| {
///     // Give commands, from several tasks at once; then settle, and look at what came of it.
///     bank.settle().await?;
///     Ok(())
/// });
/// ```
///
/// # Panics
/// When `check` fails or panics for a seed: with the seed, and with what was done to the application until then.
#[cfg(feature = "simulation")]
#[track_caller]
pub fn simulate<C>(seeds: impl IntoIterator<Item = u64>, app: impl Fn() -> App, check: C)
where
    C: AsyncFn(Simulated) -> Result<(), BoxError>,
{
    annals_app::simulate(seeds, || Ok(Arc::new(ReadModels::temporary()?) as _), app, check);
}
