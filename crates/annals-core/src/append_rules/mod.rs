//! The rules of an append, for every store: what a request may hold, the checks that it must pass, the places its events
//! get. They ask a store what it knows through [`AppendState`] and know nothing of how it keeps it.

mod admission;
mod prepared;

pub use admission::{
    Admitted, AppendState, FormerEvent, Known, StagedAppend, WrittenStream, admit, find_known, receipt_of,
    stage_append,
};
pub use prepared::{PreparedAppend, PreparedEvent};

use crate::{Filter, InvalidRequest, MAX_FILTER_ITEMS, SystemEvent};

/// Reads the system event, if any, that an event to be stored is.
pub(crate) fn system_event_of(event: &crate::NewEvent) -> Option<SystemEvent> {
    SystemEvent::parse(event.event_type().as_str(), event.payload_bytes())
}

/// Checks the limits of a filter, be it of a read or of a condition.
///
/// # Errors
/// [`InvalidRequest`] when it has too many items.
pub fn check_filter(filter: &Filter) -> Result<(), InvalidRequest> {
    match filter.items().len() {
        found if found > MAX_FILTER_ITEMS => {
            Err(InvalidRequest::TooManyFilterItems { found, limit: MAX_FILTER_ITEMS })
        }
        _ => Ok(()),
    }
}
