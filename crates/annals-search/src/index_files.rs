//! The folder of one index.

use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use annals_core::{BoxError, Clock, SystemClock};
use tantivy::directory::MmapDirectory;
use tantivy::schema::Schema;
use tantivy::tokenizer::TokenizerManager;
use tantivy::{Index, IndexSettings, TantivyError};

use crate::payload::{Payload, is_damage};

/// What the folders of indexes end with.
pub(crate) const EXTENSION: &str = "tantivy";

/// Opens the index in a folder, with what texts are cut into words by.
pub(crate) fn open(path: &Path, tokenizers: &TokenizerManager) -> tantivy::Result<Index> {
    let mut index = Index::open(MmapDirectory::open(path)?)?;
    index.set_tokenizers(tokenizers.clone());
    Ok(index)
}

/// Begins an index in a folder. It has a schema without fields until its projection gives one, so that it can carry a
/// payload from the first moment.
pub(crate) fn create(path: &Path, schema: Schema, tokenizers: &TokenizerManager) -> tantivy::Result<Index> {
    let mut index = Index::create(MmapDirectory::open(path)?, schema, IndexSettings::default())?;
    index.set_tokenizers(tokenizers.clone());
    Ok(index)
}

/// Opens the index in a folder, or begins one where there is none. All of it is read, to find damage while it can be set
/// aside.
pub(crate) fn open_checked(path: &Path, tokenizers: &TokenizerManager) -> Result<Index, OpenError> {
    std::fs::create_dir_all(path)?;
    // What reads the files panics at some kinds of damage.
    let opened = catch_unwind(AssertUnwindSafe(|| {
        if !Index::exists(&MmapDirectory::open(path)?)? {
            return create(path, Schema::builder().build(), tokenizers);
        }
        let index = open(path, tokenizers)?;
        Payload::of(&index.load_metas()?)?;
        if let Some(damaged) = index.validate_checksum()?.into_iter().next() {
            let comment = "its checksum is not that of its bytes".to_owned();
            return Err(tantivy::error::DataCorruption::new(damaged, comment).into());
        }
        index.reader_builder().reload_policy(tantivy::ReloadPolicy::Manual).try_into()?;
        Ok(index)
    }));
    match opened {
        Ok(Ok(index)) => Ok(index),
        Ok(Err(error)) if is_damage(&error) => Err(OpenError::Damaged(error.to_string())),
        Ok(Err(error)) => Err(OpenError::Other(error.into())),
        Err(_) => Err(OpenError::Damaged("what read it panicked".to_owned())),
    }
}

/// Why an index cannot be opened.
pub(crate) enum OpenError {
    Damaged(String),
    Other(BoxError),
}

impl From<std::io::Error> for OpenError {
    fn from(error: std::io::Error) -> Self {
        Self::Other(error.into())
    }
}

impl From<TantivyError> for OpenError {
    fn from(error: TantivyError) -> Self {
        Self::Other(error.into())
    }
}

impl From<OpenError> for BoxError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Damaged(reason) => reason.into(),
            OpenError::Other(error) => error,
        }
    }
}

/// Sets a damaged index aside, for people to look at, so that an empty one can begin in its place.
pub(crate) fn set_aside(path: &Path) -> std::io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".damaged-{}", SystemClock.now().as_micros()));
    std::fs::rename(path, PathBuf::from(aside))
}

/// Removes an index that nobody needs any more.
pub(crate) fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
