//! Mistakes that tests can have the log make, to see that they are noticed. Without the feature `planted-bugs`, which only
//! tests turn on, none is ever made.

/// A mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "planted-bugs"), allow(dead_code, unreachable_pub))]
pub enum Planted {
    /// An append is acknowledged before the barrier behind its frame.
    AcknowledgeBeforeBarrier,
    /// A failed barrier is tried again, and the second answer believed.
    RetryFailedBarrier,
    /// After a failed barrier the writer goes on.
    ForgetFailedBarrier,
    /// A write that took only some of the bytes counts as whole.
    BelieveShortWrite,
    /// What a failed write left of a frame is not written over.
    KeepTornFrame,
    /// A new segment's entry in its folder is not made durable.
    SkipSegmentFolderSync,
    /// The `format` file of a new store takes its name before its bytes are durable.
    SkipFormatBarrier,
    /// Events are shown before they are on disk.
    ShowBeforeBarrier,
    /// What was entered into the index and could not be written is not taken back.
    KeepUnwrittenInIndex,
    /// The durable mark names one event more than there is.
    MarkAheadOfLog,
    /// A frame counts by its header; the checksums of its records are not looked at.
    TrustFrameHeader,
    /// The whole records at the beginning of a torn frame are kept.
    KeepPartOfBatch,
    /// A frame counts although it does not continue the chain.
    IgnoreChain,
    /// The durable mark is not looked at when the log is opened.
    IgnoreMark,
    /// A segment of another store than the one that `format` names is taken for a torn tail.
    BelieveFormatFile,
    /// What cannot be read is cut off, durable or not.
    CutDamage,
    /// A tail is cut off without a copy in quarantine.
    SkipQuarantine,
    /// A tail is copied to quarantine but not cut off.
    KeepTail,
    /// A whole frame found at the end is shown without making it durable first.
    SkipRecoverySync,
    /// A whole frame found at the end is made durable without being written again, although the system may believe
    /// that it is on the disk.
    SkipRecoveryRewrite,
    /// Names found when the log is opened are not made durable.
    SkipRecoveryFolderSync,
    /// Checkpoints are not read when the log is opened.
    ForgetCheckpoints,
    /// Reads do not check the checksum of a record.
    ReadUnchecked,
    /// The index of an append is written, and believed after a crash, before its events are on disk.
    IndexAheadOfLog,
    /// An index file is believed without checking that it fits the log.
    TrustStaleIndex,
    /// The checksums of an index file's pages are not looked at.
    ReadIndexUnchecked,
    /// Ids are looked up among the latest events only.
    ForgetOldIds,
    /// A compacted segment takes its place before its bytes are durable.
    CompactBeforeBarrier,
    /// Compaction drops the content of a visible event.
    CompactVisible,
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

    /// Does some work, without checking records if that is the mistake to make.
    #[cfg(feature = "planted-bugs")]
    pub(crate) fn unchecked_if<T>(self, mistake: Planted, work: impl FnOnce() -> T) -> T {
        let before = UNCHECKED.replace(self.make(mistake));
        let done = work();
        UNCHECKED.set(before);
        done
    }

    /// Does some work, without checking records if that is the mistake to make.
    #[cfg(not(feature = "planted-bugs"))]
    pub(crate) fn unchecked_if<T>(self, _: Planted, work: impl FnOnce() -> T) -> T {
        work()
    }
}

#[cfg(feature = "planted-bugs")]
thread_local! {
    /// Whether this thread reads records without checking them.
    static UNCHECKED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Whether records are read without being checked: never, without the feature.
#[cfg(feature = "planted-bugs")]
pub(crate) fn reads_unchecked() -> bool {
    UNCHECKED.get()
}

/// Whether records are read without being checked: never, without the feature.
#[cfg(not(feature = "planted-bugs"))]
pub(crate) const fn reads_unchecked() -> bool {
    false
}
