//! A sealed file mapped into memory, so that reading a piece of it costs no system call.
//!
//! This is the one module of the crate with `unsafe`, which mapping and the handling of its errors need:
//!
//! - **Soundness of the slice.** A mapping is made of files that nobody writes any more: sealed segments and finished
//!   indexes are replaced by renaming, never changed. Should another program change one all the same, readers see
//!   other bytes, which checksums notice; nothing in this crate relies on the bytes for memory safety.
//! - **Errors of the disk.** Where a page of a mapping cannot be read, or is gone because the file was cut, the system sends
//!   the signal `SIGBUS`. The handler installed here puts a page of zeros in the place of one of *our* mappings and notes
//!   the failure, so that the reader goes on, fails its checksum, and reports an error. Signals elsewhere go to the handler
//!   that was there before. The handler only reads and writes atomics and calls `mmap`, which is a plain system call.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// So many mappings are guarded; a file beyond them is read by system calls instead.
const MOST_MAPPINGS: usize = 4096;

/// The address range of a mapping, where the signal handler finds it.
struct Slot {
    start: AtomicUsize,
    end: AtomicUsize,
    failed: AtomicBool,
}

static SLOTS: [Slot; MOST_MAPPINGS] =
    [const { Slot { start: AtomicUsize::new(0), end: AtomicUsize::new(0), failed: AtomicBool::new(false) } };
        MOST_MAPPINGS];
/// Slots from here on were never used.
static SLOTS_USED: AtomicUsize = AtomicUsize::new(0);
static PAGE_BYTES: AtomicUsize = AtomicUsize::new(4096);

/// The bytes of a file.
pub struct Mapping {
    start: *const u8,
    length: usize,
    slot: &'static Slot,
}

// SAFETY: the bytes are only read, and the slot is made of atomics.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl std::fmt::Debug for Mapping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mapping").field("length", &self.length).finish_non_exhaustive()
    }
}

impl Mapping {
    /// Maps the first `length` bytes of a file that nobody changes; `None` where that cannot be had.
    ///
    /// # Errors
    /// What the system says.
    pub fn of(file: &File, length: u64) -> io::Result<Option<Self>> {
        let length = usize::try_from(length).unwrap_or(0);
        if length == 0 || !install_handler() {
            return Ok(None);
        }
        let Some(slot) = free_slot() else { return Ok(None) };
        // SAFETY: a new mapping at an address that the system chooses touches nothing that exists.
        let start = unsafe {
            libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0)
        };
        if start == libc::MAP_FAILED {
            slot.end.store(0, Ordering::Release);
            return Err(io::Error::last_os_error());
        }
        slot.failed.store(false, Ordering::Relaxed);
        slot.start.store(start as usize, Ordering::Relaxed);
        slot.end.store(start as usize + length, Ordering::Release);
        Ok(Some(Self { start: start.cast(), length, slot }))
    }

    /// Whether some page could not be read and zeros took its place.
    pub fn has_failed(&self) -> bool {
        self.slot.failed.load(Ordering::Acquire)
    }
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the range stays mapped and readable until `self` is dropped; see the module's documentation.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // The slot is given up first: a range that is unmapped may be somebody else's the next moment.
        self.slot.start.store(0, Ordering::Relaxed);
        // SAFETY: the range was mapped by `of` and nothing borrows from it any more.
        unsafe {
            libc::munmap(self.start.cast_mut().cast(), self.length);
        }
        self.slot.end.store(0, Ordering::Release);
    }
}

/// A slot nobody uses, claimed by an end that is not zero.
fn free_slot() -> Option<&'static Slot> {
    for (index, slot) in SLOTS.iter().enumerate() {
        if slot.end.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            SLOTS_USED.fetch_max(index + 1, Ordering::AcqRel);
            return Some(slot);
        }
    }
    None
}

static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

/// Installs the handler of `SIGBUS`, once; says whether it is there.
fn install_handler() -> bool {
    static INSTALLED: OnceLock<bool> = OnceLock::new();
    *INSTALLED.get_or_init(|| {
        // SAFETY: plain system calls on local values; the handler keeps to what a handler may do.
        unsafe {
            let page = libc::sysconf(libc::_SC_PAGESIZE);
            PAGE_BYTES.store(usize::try_from(page).unwrap_or(4096).max(1), Ordering::Relaxed);
            let mut previous: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(libc::SIGBUS, std::ptr::null(), &raw mut previous) != 0 {
                return false;
            }
            let _ = PREVIOUS.set(previous);
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_bus_error as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut()) == 0
        }
    })
}

extern "C" fn on_bus_error(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the system hands a valid `siginfo_t` to a handler that asked for one.
    let address = unsafe { (*info).si_addr() } as usize;
    if !replace_page(address) {
        pass_on(signal, info, context);
    }
}

/// Puts a page of zeros at an address of one of our mappings.
fn replace_page(address: usize) -> bool {
    let used = SLOTS_USED.load(Ordering::Acquire).min(MOST_MAPPINGS);
    let page_bytes = PAGE_BYTES.load(Ordering::Relaxed);
    for slot in SLOTS.iter().take(used) {
        let (start, end) = (slot.start.load(Ordering::Acquire), slot.end.load(Ordering::Acquire));
        if start == 0 || !(start..end).contains(&address) {
            continue;
        }
        slot.failed.store(true, Ordering::Release);
        let page = address - address % page_bytes;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        // SAFETY: the page lies within a mapping of this module, which only this module unmaps, and which somebody is
        // reading just now.
        let mapped = unsafe { libc::mmap(page as *mut _, page_bytes, libc::PROT_READ, flags, -1, 0) };
        return mapped != libc::MAP_FAILED;
    }
    false
}

/// Does what would have been done without this module.
fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let previous = PREVIOUS.get();
    let handler = previous.map_or(libc::SIG_DFL, |previous| previous.sa_sigaction);
    // SAFETY: the handler was registered by somebody for this signal, with the signature that its flags tell; for
    // want of one, the default takes its place and the signal comes again.
    unsafe {
        if handler == libc::SIG_DFL || handler == libc::SIG_IGN {
            libc::signal(signal, libc::SIG_DFL);
        } else if previous.is_some_and(|previous| previous.sa_flags & libc::SA_SIGINFO != 0) {
            let call: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                std::mem::transmute(handler);
            call(signal, info, context);
        } else {
            let call: extern "C" fn(libc::c_int) = std::mem::transmute(handler);
            call(signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_page_that_is_gone_reads_as_zeros_and_is_noted() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 20_000]).unwrap();
        let mapping = Mapping::of(&file, 20_000).unwrap().unwrap();
        assert_eq!((mapping[0], mapping[19_999], mapping.has_failed()), (7, 7, false));
        file.set_len(4096).unwrap();
        assert_eq!((mapping[0], mapping[16_000], mapping.has_failed()), (7, 0, true));
        drop(mapping);
        let other = Mapping::of(&file, 4096).unwrap().unwrap();
        assert!(!other.has_failed() && other.iter().all(|byte| *byte == 7));
    }
}
