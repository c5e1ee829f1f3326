//! Which calls of the simulated disk fail, and how.

use std::io;

/// What a call of the system does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// Opens, lists, locks or measures.
    Look,
    Read,
    /// Writes within the file.
    Write,
    /// Writes beyond the end of the file.
    WriteMore,
    /// Changes names or cuts a file.
    Change,
    /// Makes something new that needs room.
    Grow,
    Sync,
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The disk reports an error, for every kind of call.
    InputOutput,
    /// The disk reports an error for whatever would change it.
    ReadOnlyError,
    /// No room is left.
    Full,
    /// No room is left, and the system notices only when it makes a barrier.
    FullAtBarrier,
    /// Only some of the bytes are taken or handed over.
    Short,
    Interrupted,
}

/// What becomes of a call that goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Whole,
    Part,
}

impl Verdict {
    /// How many of `count` bytes are transferred: at least one.
    pub(crate) fn share_of(self, count: usize) -> usize {
        match self {
            Self::Whole => count,
            Self::Part => (count / 2).max(count.min(1)),
        }
    }
}

/// A plan of failures, and what came of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    pub(crate) fault: Option<Fault>,
    /// The number of the first call that fails.
    pub(crate) first: u64,
    /// How many calls fail.
    pub(crate) count: u64,
    /// How many calls there were.
    pub(crate) calls: u64,
    /// The calls that failed.
    pub(crate) failed: Vec<Call>,
}

impl Faults {
    /// Counts calls and lets them all pass.
    pub(crate) fn none() -> Self {
        Self::default()
    }

    /// From call number `first` on, `count` calls fail.
    pub(crate) fn at(fault: Fault, first: u64, count: u64) -> Self {
        Self { fault: Some(fault), first, count, ..Self::default() }
    }

    pub(crate) fn pass(&mut self, call: Call) -> io::Result<Verdict> {
        let number = self.calls;
        self.calls += 1;
        let due = number >= self.first && number - self.first < self.count;
        let Some(fault) = self.fault.filter(|fault| due && fault.concerns(call)) else {
            return Ok(Verdict::Whole);
        };
        self.failed.push(call);
        match fault {
            // As the system reports it: EIO, and not a kind made up here.
            Fault::InputOutput | Fault::ReadOnlyError => Err(io::Error::from_raw_os_error(5)),
            Fault::Full | Fault::FullAtBarrier => Err(io::ErrorKind::StorageFull.into()),
            Fault::Interrupted => Err(io::ErrorKind::Interrupted.into()),
            Fault::Short => Ok(Verdict::Part),
        }
    }
}

impl Fault {
    fn concerns(self, call: Call) -> bool {
        match self {
            Self::InputOutput => true,
            Self::ReadOnlyError => !matches!(call, Call::Look | Call::Read),
            Self::Full => matches!(call, Call::WriteMore | Call::Grow),
            Self::FullAtBarrier => call == Call::Sync,
            Self::Short => matches!(call, Call::Read | Call::Write | Call::WriteMore),
            Self::Interrupted => matches!(call, Call::Read | Call::Write | Call::WriteMore | Call::Sync),
        }
    }
}
