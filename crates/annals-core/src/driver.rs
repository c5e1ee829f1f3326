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

/// What a store is opened for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Opening {
    /// To read and write.
    #[default]
    ToWrite,
    /// To read only, also while another process writes, where the kind of store can do that; else as to write.
    ToRead,
    /// To read and write, after what is derived from the events was thrown away and built again.
    Repairing,
}

/// Opens stores of one kind.
pub trait StoreDriver: Send + Sync {
    /// What addresses of this kind begin with, before the `:`.
    fn scheme(&self) -> &'static str;

    /// How an address looks and what it means, in a line for people.
    fn usage(&self) -> &'static str;

    /// Whether there is anything at a place: a store, or something that stands in its way.
    fn exists(&self, place: &str) -> bool;

    /// Opens the store at a place: the address without scheme and `:`.
    fn open<'a>(&'a self, place: &'a str, opening: Opening)
    -> BoxFuture<'a, Result<OpenedStore, StoreError>>;
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

    /// Opens the store at an address, new or not. Text without a scheme is a folder, as if it began with `file:`.
    ///
    /// # Errors
    /// [`StoreError::BadUrl`] for an address of no known kind, and what opening reports.
    pub async fn open(&self, url: &str) -> Result<OpenedStore, StoreError> {
        let (driver, place) = self.find(url)?;
        driver.open(place, Opening::ToWrite).await
    }

    /// Opens the store at an address, which must be there.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`StoreError::Absent`].
    pub async fn open_existing(&self, url: &str, opening: Opening) -> Result<OpenedStore, StoreError> {
        let (driver, place) = self.find(url)?;
        if !driver.exists(place) {
            return Err(StoreError::Absent { url: url.to_owned() });
        }
        driver.open(place, opening).await
    }

    fn find<'a>(&self, url: &'a str) -> Result<(&dyn StoreDriver, &'a str), StoreError> {
        let bad = |reason: String| StoreError::BadUrl { url: url.to_owned(), reason };
        let (scheme, place) = url.split_once(':').unwrap_or(("file", url));
        let driver = self.drivers.iter().find(|driver| driver.scheme() == scheme);
        let unknown =
            || bad(format!("{scheme:?} is no kind of store known here; known are: {}", self.schemes()));
        let driver = driver.ok_or_else(unknown)?;
        let place = place.strip_prefix("//").unwrap_or(place);
        if place.contains('\0') || (place.is_empty() && scheme != "memory") {
            return Err(bad("expected an address such as file:my-data".to_owned()));
        }
        Ok((&**driver, place))
    }

    fn schemes(&self) -> String {
        self.drivers.iter().map(|driver| format!("{}:", driver.scheme())).collect::<Vec<_>>().join(", ")
    }
}
