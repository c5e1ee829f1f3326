//! Stores chosen by an address: `file:bank-data`, `memory:`, `sqlite:bank.sqlite`.

use std::sync::Arc;

use crate::{BoxFuture, EventStore, ReadModelStore, StoreError};

/// A store of events, and the store of read models that goes with it.
pub struct OpenedStore {
    /// The events.
    pub events: Arc<dyn EventStore>,
    /// The read models.
    pub read_models: Arc<dyn ReadModelStore>,
}

/// Opens stores of one kind.
pub trait StoreDriver: Send + Sync {
    /// What addresses of this kind begin with, before the `:`.
    fn scheme(&self) -> &'static str;

    /// How an address looks and what it means, in a line for people.
    fn usage(&self) -> &'static str;

    /// Opens the store at a place: the address without scheme and `:`.
    fn open<'a>(&'a self, place: &'a str) -> BoxFuture<'a, Result<OpenedStore, StoreError>>;
}

/// The kinds of stores that a program knows.
#[derive(Default)]
pub struct StoreDrivers {
    drivers: Vec<Box<dyn StoreDriver>>,
}

impl StoreDrivers {
    /// Adds a kind of store.
    #[must_use]
    pub fn with(mut self, driver: impl StoreDriver + 'static) -> Self {
        self.drivers.push(Box::new(driver));
        self
    }

    /// What each kind of address looks like, a line each.
    pub fn usage(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.drivers.iter().map(|driver| driver.usage())
    }

    /// Opens the store at an address. Text without a scheme is a folder, as if it began with `file:`.
    ///
    /// # Errors
    /// [`StoreError::BadUrl`] for an address of no known kind, and what opening reports.
    pub async fn open(&self, url: &str) -> Result<OpenedStore, StoreError> {
        let bad = |reason: String| StoreError::BadUrl { url: url.to_owned(), reason };
        if url.is_empty() || url.contains('\0') {
            return Err(bad("expected an address such as file:my-data".to_owned()));
        }
        let (scheme, place) = url.split_once(':').unwrap_or(("file", url));
        let driver = self.drivers.iter().find(|driver| driver.scheme() == scheme);
        let unknown =
            || bad(format!("{scheme:?} is no kind of store known here; known are: {}", self.schemes()));
        driver.ok_or_else(unknown)?.open(place.strip_prefix("//").unwrap_or(place)).await
    }

    fn schemes(&self) -> String {
        self.drivers.iter().map(|driver| format!("{}:", driver.scheme())).collect::<Vec<_>>().join(", ")
    }
}
