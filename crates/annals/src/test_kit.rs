//! The test kit, with read models that are gone at the end of a test.

use std::sync::Arc;

use annals_app::{App, Simulated};
use annals_core::BoxError;

use crate::ReadModels;

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
#[track_caller]
pub fn simulate<C>(seeds: impl IntoIterator<Item = u64>, app: impl Fn() -> App, check: C)
where
    C: AsyncFn(Simulated) -> Result<(), BoxError>,
{
    annals_app::simulate(seeds, || Ok(Arc::new(ReadModels::temporary()?) as _), app, check);
}
