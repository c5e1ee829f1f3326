//! What writes one index, on a thread of its own.

use annals_core::{BoxError, Position, ReadModelError, TxWork};
use annals_threads::run_work;
use tantivy::TantivyError;

use crate::payload::Payload;
use crate::tx::{PATIENCE, SearchTx};

/// Writes an index as the owner of the read model says.
pub(crate) struct Writer {
    name: String,
    tx: SearchTx,
    /// The number of the lead that this one took, after which any other one's writes are refused.
    lead: Option<u64>,
    is_leading: bool,
}

type Done<T = ()> = Result<T, ReadModelError>;

impl Writer {
    pub(crate) fn new(name: String, tx: SearchTx) -> Self {
        Self { name, tx, lead: None, is_leading: false }
    }

    fn database(&self, operation: &'static str, source: impl Into<BoxError>) -> ReadModelError {
        ReadModelError::Database { operation, name: self.name.clone(), source: source.into() }
    }

    pub(crate) fn write(
        &mut self,
        from: Position,
        to: Position,
        notes: Option<Vec<u8>>,
        work: TxWork,
    ) -> Done {
        let done = self.try_write(from, to, notes, work);
        self.tx.roll_back();
        self.tx.committed = None;
        self.rest();
        done
    }

    fn try_write(&mut self, from: Position, to: Position, notes: Option<Vec<u8>>, work: TxWork) -> Done {
        self.begin("write to")?;
        let found = Position::new(self.tx.payload.position);
        if found != from {
            return Err(ReadModelError::Superseded { found });
        }
        run_work(&mut self.tx, work).map_err(ReadModelError::Work)?;
        let payload = Payload { position: to.get(), ..self.tx.payload.clone() }.with_notes(notes.as_deref());
        self.tx.commit(payload).map_err(|error| self.database("write to", error))
    }

    /// Opens what writes the index: from here on nobody else can, until `rest`.
    fn begin(&mut self, operation: &'static str) -> Done {
        // Before waiting for the one who leads.
        self.tx.refresh().map_err(|error| self.database(operation, error))?;
        self.check_lead()?;
        self.tx.open_writer().map_err(|error| match error {
            TantivyError::LockFailure(..) => {
                let reason = format!(
                    "another process kept it locked for more than {} s: stop that one, or leave writing to it",
                    PATIENCE.as_secs()
                );
                self.database(operation, reason)
            }
            error => self.database(operation, error),
        })?;
        self.tx.refresh().map_err(|error| self.database(operation, error))?;
        self.tx.open_writer().map_err(|error| self.database(operation, error))?;
        self.check_lead()
    }

    fn check_lead(&self) -> Done {
        match self.lead {
            Some(lead) if lead != self.tx.payload.lead => {
                Err(ReadModelError::Fenced { name: self.name.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Lets other processes write, unless this one leads.
    fn rest(&mut self) {
        if !self.is_leading
            && let Some(writer) = self.tx.writer.take()
        {
            // Else segments would never be merged where nobody leads. What is not merged now is merged another time.
            let _ = writer.wait_merging_threads();
        }
    }

    /// Becomes the one whose writes count.
    pub(crate) fn lead(&mut self) -> Done {
        let done = self.try_lead();
        self.rest();
        done
    }

    fn try_lead(&mut self) -> Done {
        self.lead = None;
        self.begin("take the lead of")?;
        let lead = self.tx.payload.lead + 1;
        let payload = Payload { lead, ..self.tx.payload.clone() };
        self.tx.commit(payload).map_err(|error| self.database("take the lead of", error))?;
        (self.lead, self.is_leading) = (Some(lead), true);
        Ok(())
    }

    /// Keeps open what writes the index, of which nobody else knows.
    pub(crate) fn hold(&mut self) {
        self.is_leading = true;
    }

    /// Lets another one lead.
    pub(crate) fn stand_down(&mut self) {
        self.is_leading = false;
        // Merges that are under way are given up: whoever leads next does them.
        self.tx.writer = None;
    }

    pub(crate) fn bind(&mut self, store_id: &str) -> Done<bool> {
        let bound = self.try_bind(store_id);
        self.rest();
        bound
    }

    fn try_bind(&mut self, store_id: &str) -> Done<bool> {
        self.tx.refresh().map_err(|error| self.database("bind", error))?;
        if let Some(bound) = &self.tx.payload.store_id {
            return Ok(bound == store_id);
        }
        self.begin("bind")?;
        if let Some(bound) = &self.tx.payload.store_id {
            // Another process was first.
            return Ok(bound == store_id);
        }
        let payload = Payload { store_id: Some(store_id.to_owned()), ..self.tx.payload.clone() };
        self.tx.commit(payload).map_err(|error| self.database("bind", error))?;
        Ok(true)
    }

    /// After a panic nothing is known about what writes the index.
    pub(crate) fn give_up(&mut self) {
        self.tx.writer = None;
        self.tx.is_touched = false;
        self.tx.committed = None;
    }
}
