//! What each commit of an index carries beside its documents.

use annals_core::{Bookmark, Position};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use tantivy::TantivyError;
use tantivy::directory::error::OpenReadError;
use tantivy::index::IndexMeta;

/// Where the read model stands, in the commit that has its documents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Payload {
    pub(crate) position: u64,
    /// In base64, because a payload is text.
    pub(crate) notes: String,
    /// Of the store of events that the documents are made from; none when it is not bound yet.
    pub(crate) store_id: Option<String>,
    /// Counts up whenever a process becomes the one that keeps the read model.
    pub(crate) lead: u64,
}

impl Payload {
    /// What the last commit carries. The first one of an index carries nothing.
    pub(crate) fn of(meta: &IndexMeta) -> tantivy::Result<Self> {
        let Some(text) = &meta.payload else { return Ok(Self::default()) };
        let damaged =
            |what: String| TantivyError::DataCorruption(tantivy::error::DataCorruption::comment_only(what));
        let payload: Self = serde_json::from_str(text).map_err(|error| {
            damaged(format!("the payload of the last commit is not one of a read model: {error}"))
        })?;
        STANDARD.decode(&payload.notes).map_err(|error| damaged(format!("the notes: {error}")))?;
        Ok(payload)
    }

    pub(crate) fn with_notes(mut self, notes: Option<&[u8]>) -> Self {
        if let Some(notes) = notes {
            self.notes = STANDARD.encode(notes);
        }
        self
    }

    pub(crate) fn bookmark(&self) -> Bookmark {
        // That they can be decoded was seen when the payload was read.
        let notes = STANDARD.decode(&self.notes).unwrap_or_default();
        Bookmark { position: Position::new(self.position), notes }
    }

    pub(crate) fn text(&self) -> String {
        serde_json::json!(self).to_string()
    }
}

/// Whether the files are not what was written, as opposed to what cannot be read just now.
pub(crate) fn is_damage(error: &TantivyError) -> bool {
    use std::io::ErrorKind::{InvalidData, UnexpectedEof};
    match error {
        TantivyError::DataCorruption(_)
        | TantivyError::IncompatibleIndex(_)
        | TantivyError::DeserializeError(_)
        | TantivyError::OpenReadError(
            OpenReadError::FileDoesNotExist(_) | OpenReadError::IncompatibleIndex(_),
        ) => true,
        TantivyError::OpenReadError(OpenReadError::IoError { io_error, .. })
        | TantivyError::IoError(io_error) => matches!(io_error.kind(), InvalidData | UnexpectedEof),
        _ => false,
    }
}
