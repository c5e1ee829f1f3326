//! What the read side is to reach.

use super::queries::{ALONE, QUERY_DURING_REBUILD};
use super::rebuild_memory::REBUILD_MEMORY;
use super::rebuild_sqlite::REBUILD_SQLITE;
use super::replay::REPLAY;
use super::snapshots::SNAPSHOT_RATIO;
use super::visible::{BARRIER, VISIBLE};
use crate::targets::{Against, Target, at_least, at_most};

pub(super) const TARGETS: [Target; 6] = [
    at_least(REPLAY, Against::Fixed, 1.5e6),
    at_most(SNAPSHOT_RATIO, Against::Fixed, 2.0),
    at_least(REBUILD_SQLITE, Against::Fixed, 5e5),
    at_least(REBUILD_MEMORY, Against::Fixed, 1e6),
    at_most(VISIBLE, Against::FloorOf { work: BARRIER, added: 2.0 }, 3.0),
    at_most(QUERY_DURING_REBUILD, Against::One(ALONE), 2.0),
];
