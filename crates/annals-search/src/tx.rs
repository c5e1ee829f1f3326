//! A transaction that writes an index.

use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use annals_core::ReadModelTx;
use tantivy::indexer::IndexWriterOptions;
use tantivy::schema::{FieldType, Schema};
use tantivy::tokenizer::TokenizerManager;
use tantivy::{Index, IndexWriter, TantivyDocument, TantivyError, Term};

use crate::error::SearchError;
use crate::index_files;
use crate::payload::Payload;
use crate::reader::{Reader, View};
use crate::search::{Search, names, unknown_field};

/// What documents may take up in memory before they are written out; commits write them out as well.
const MEMORY_BYTES: usize = 32 << 20;
/// How long another process may be about to write.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// A transaction that writes an index. What is put and deleted counts when the whole transaction succeeds, together with
/// the checkpoint; until then every searcher sees the documents from before.
pub struct SearchTx {
    path: PathBuf,
    tokenizers: TokenizerManager,
    index: Index,
    /// Only one can be open, in all processes: it is there while this process leads, and else for a transaction.
    pub(crate) writer: Option<IndexWriter>,
    /// What the last commit carries.
    pub(crate) payload: Payload,
    /// Whether there is something to be rolled back.
    pub(crate) is_touched: bool,
    reader: Arc<Reader>,
    pub(crate) committed: Option<Arc<View>>,
}

impl SearchTx {
    pub(crate) fn new(
        path: PathBuf,
        index: Index,
        reader: Arc<Reader>,
        tokenizers: TokenizerManager,
    ) -> Self {
        let (writer, payload, committed) = (None, Payload::default(), None);
        Self { path, tokenizers, index, writer, payload, is_touched: false, reader, committed }
    }

    /// Says which fields the documents have: call it in `prepare`. An index without documents takes the schema; one that
    /// has another is left as it is.
    ///
    /// # Errors
    /// [`SearchError::OtherSchema`] when the index has another one, [`SearchError::Index`] when it cannot be made.
    pub fn schema(&mut self, schema: Schema) -> Result<(), SearchError> {
        let found = self.index.schema();
        if found == schema {
            return Ok(());
        }
        if found.num_fields() > 0 {
            return Err(SearchError::OtherSchema { difference: difference(&found, &schema) });
        }
        self.writer = None;
        self.index = index_files::create(&self.path, schema, &self.tokenizers)?;
        // The new index is to carry what the one without fields did, whatever becomes of the transaction.
        let payload = self.payload.clone();
        self.open_writer()?;
        Ok(self.commit(payload)?)
    }

    /// The schema of the documents; without fields, as long as none was given.
    pub fn fields(&self) -> Schema {
        self.index.schema()
    }

    /// Puts a document in the place of all that have `key`, so that doing it again changes nothing.
    ///
    /// The key is of a field that tells documents apart: a number, or text that is indexed as it is (`STRING`). The document
    /// must have it as well.
    ///
    /// # Errors
    /// [`SearchError::Key`] when the field of the key cannot do that, [`SearchError::UnknownField`] for fields that the
    /// schema does not have, [`SearchError::Index`] when the index fails.
    pub fn put(&mut self, key: Term, document: TantivyDocument) -> Result<(), SearchError> {
        let schema = self.index.schema();
        if let Some((field, _)) =
            document.field_values().find(|(field, _)| field.field_id() as usize >= schema.num_fields())
        {
            return Err(unknown_field(&format!("number {}", field.field_id()), &schema));
        }
        self.delete(key)?;
        // It is always there in a transaction; without it, the transaction failed before.
        if let Some(writer) = &self.writer {
            writer.add_document(document)?;
        }
        Ok(())
    }

    /// Deletes all documents that have `key`.
    ///
    /// # Errors
    /// [`SearchError::Key`] when the field of the key cannot tell documents apart, [`SearchError::UnknownField`] when the
    /// schema does not have it.
    pub fn delete(&mut self, key: Term) -> Result<(), SearchError> {
        check_key(&self.index.schema(), &key)?;
        if let Some(writer) = &self.writer {
            self.is_touched = true;
            writer.delete_term(key);
        }
        Ok(())
    }

    /// The index as the last transaction left it.
    pub(crate) fn committed(&mut self) -> Result<&Search, SearchError> {
        let view = match self.committed.take() {
            Some(view) => view,
            None => self.reader.view()?,
        };
        Ok(&self.committed.insert(view).search)
    }

    pub(crate) fn open_writer(&mut self) -> tantivy::Result<()> {
        let began = Instant::now();
        while self.writer.is_none() {
            let options = IndexWriterOptions::builder()
                .num_worker_threads(1)
                .memory_budget_per_thread(MEMORY_BYTES)
                .num_merge_threads(1)
                .build();
            match self.index.writer_with_options(options) {
                Ok(writer) => self.writer = Some(writer),
                Err(TantivyError::LockFailure(..)) if began.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Looks what the last commit carries, and whether the index has got a schema since.
    pub(crate) fn refresh(&mut self) -> tantivy::Result<()> {
        let meta = self.index.load_metas()?;
        self.payload = Payload::of(&meta)?;
        if meta.schema != self.index.schema() {
            self.writer = None;
            self.index = index_files::open(&self.path, &self.tokenizers)?;
        }
        Ok(())
    }

    pub(crate) fn commit(&mut self, payload: Payload) -> tantivy::Result<()> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let done = writer.prepare_commit().and_then(|mut prepared| {
            prepared.set_payload(&payload.text());
            prepared.commit()
        });
        self.is_touched = false;
        if done.is_err() {
            // What it had is given up with it; the next transaction opens another.
            self.writer = None;
        }
        done?;
        self.payload = payload;
        Ok(())
    }

    /// Gives up what was put and deleted since the last commit.
    pub(crate) fn roll_back(&mut self) {
        let is_touched = std::mem::take(&mut self.is_touched);
        if is_touched
            && let Some(writer) = &mut self.writer
            && writer.rollback().is_err()
        {
            self.writer = None;
        }
    }
}

/// Where two schemas differ first.
fn difference(found: &Schema, expected: &Schema) -> String {
    for (_, entry) in expected.fields() {
        match found.get_field(entry.name()).map(|field| found.get_field_entry(field)) {
            Ok(other) if other == entry => {}
            Ok(_) => return format!("its field {:?} is indexed in another way", entry.name()),
            Err(_) => return format!("it has no field {:?}, only {}", entry.name(), names(found)),
        }
    }
    format!("it has the fields {}, expected {} in this order", names(found), names(expected))
}

fn check_key(schema: &Schema, key: &Term) -> Result<(), SearchError> {
    let Some((_, entry)) = schema.fields().find(|(field, _)| *field == key.field()) else {
        return Err(unknown_field(&format!("number {}", key.field().field_id()), schema));
    };
    let problem = |reason| Err(SearchError::Key { name: entry.name().to_owned(), reason });
    if !entry.is_indexed() {
        return problem("it is not indexed: make it `STRING`, or a number that is `INDEXED`");
    }
    match entry.field_type() {
        FieldType::Str(options)
            if options.get_indexing_options().is_some_and(|how| how.tokenizer() != "raw") =>
        {
            problem("its text is cut into words: make it `STRING`")
        }
        _ => Ok(()),
    }
}

impl ReadModelTx for SearchTx {
    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

impl std::fmt::Debug for SearchTx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SearchTx").field("path", &self.path).finish_non_exhaustive()
    }
}
