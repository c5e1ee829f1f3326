//! The contract of Annals: events, streams, positions, conditions, the [`EventStore`] trait, its errors, an in-memory
//! store, and the conformance suite that every store must pass (feature `conformance`). No I/O and no runtime.

mod append;
pub mod append_rules;
mod block_on;
mod body;
mod body_parts;
mod cloud_event;
#[cfg(feature = "conformance")]
pub mod conformance;
mod digest;
mod driver;
mod error;
mod event;
mod filter;
mod head;
mod id;
mod import;
pub mod index;
mod memory;
mod name;
mod order;
mod read;
mod read_model;
mod recorded;
mod row;
mod store;
mod subscription;
mod system;
mod time;

pub use append::{
    AppendCondition, AppendReceipt, AppendRequest, ChainHash, Checkpoint, Conflict, ExpectedVersion,
    FailedCheck, KnownEvent, MAX_APPEND_BYTES, MAX_APPEND_EVENTS, StreamState, StreamSummary,
};
pub use block_on::block_on;
pub use body::{MalformedBody, Tags, content_digest};
pub use body_parts::{BodyParts, encode_body};
pub use cloud_event::{CloudEventError, cloud_event, parse_cloud_event};
pub use driver::{OpenedStore, Opening, StoreDriver, StoreDrivers};
pub use error::{AppendError, Damage, InvalidRequest, StoreError};
pub use event::{MAX_METADATA_BYTES, MAX_PAYLOAD_BYTES, MAX_TAGS, NewEvent};
pub use filter::{Filter, FilterItem, MAX_FILTER_ITEMS};
pub use head::Head;
pub use id::{EventId, EventIdError};
pub use import::{Imported, append_missing, conflicting_ids};
pub use memory::MemoryStore;
pub use name::{
    Category, CausationId, ConsumerName, ContentType, CorrelationId, EventType, MAX_NAME_BYTES, NameError,
    StreamName, Tag,
};
pub use order::{Position, Version};
pub use read::{Direction, EventBatch, MAX_BATCH_BYTES, MAX_BATCH_EVENTS, ReadFrom, ReadRequest, Reader};
pub use read_model::{
    Bookmark, BoxError, Fork, Lead, ModelKind, ReadModel, ReadModelError, ReadModelStore, ReadModelTx,
    TransactionalStore, TxWork,
};
pub use recorded::RecordedEvent;
pub use row::{FromValue, Row, Value};
pub use store::{BoxFuture, CompactReport, Durability, EventStore, VerifyProgress, VerifyReport, subscribe};
pub use subscription::{Subscription, SubscriptionMessage};
pub use system::{DeleteMode, SystemEvent};
pub use time::{Clock, SystemClock, Timestamp, TimestampError};
