//! Mistakes that tests can have the log make, to see that they are noticed. Without the feature `planted-bugs`, which only
//! tests turn on, none is ever made.

/// A mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "planted-bugs"), allow(dead_code, unreachable_pub))]
pub enum Planted {
    /// Acknowledges an append without a barrier.
    AcknowledgeBeforeBarrier,
    /// Does not sync the folder after making a segment.
    SkipSegmentFolderSync,
    /// Goes on after a failed barrier as if it had succeeded the second time.
    RetryFailedBarrier,
    /// Takes the length in a frame header without checking the header's checksum.
    TrustFrameLength,
    /// Does not check the checksums of records.
    SkipRecordChecksum,
    /// Shows events before they are durable.
    ShowBeforeBarrier,
    /// Writes the run of a part that is not durable yet, and believes it after a crash.
    IndexAheadOfLog,
    /// Believes an index without checking that the log holds what it says.
    TrustStaleIndex,
    /// Does not check the pages of an index.
    SkipIndexChecksum,
    /// Cuts damaged bytes off as if nobody had been promised them.
    CutDamagedTail,
    /// Keeps nothing of a tail that is cut off.
    SkipQuarantine,
    /// Does not take back what was entered into the index when it could not be written.
    KeepUnwrittenInIndex,
    /// Writes the durable mark before the barrier of what it names.
    MarkBeforeBarrier,
    /// Removes the index files of a merge before the merged one is durable.
    RemoveBeforeMergeIsDurable,
    /// Looks for ids in the latest events only.
    ForgetOldIds,
    /// Replaces a segment by its compacted form without a barrier.
    SkipCompactionBarrier,
}

/// The mistake to make, if any.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mistakes {
    #[cfg(feature = "planted-bugs")]
    planted: Option<Planted>,
}

impl Mistakes {
    #[cfg(feature = "planted-bugs")]
    pub(crate) fn of(options: &crate::LogOptions) -> Self {
        Self { planted: options.planted }
    }

    #[cfg(not(feature = "planted-bugs"))]
    pub(crate) fn of(_: &crate::LogOptions) -> Self {
        Self {}
    }

    #[cfg(feature = "planted-bugs")]
    pub(crate) fn make(self, mistake: Planted) -> bool {
        self.planted == Some(mistake)
    }

    #[cfg(not(feature = "planted-bugs"))]
    pub(crate) const fn make(self, _: Planted) -> bool {
        false
    }
}
