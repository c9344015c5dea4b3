//! System calls that rustix lacks: huge pages for a file in memory, and returning freed memory to
//! the system.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::ptr;

/// Size of a huge page in bytes. Where it differs, the call has no effect.
const HUGE_PAGE: usize = 2 * 1024 * 1024;

/// Collapses the first `len` bytes of a file in memory into huge pages (`MADV_COLLAPSE`,
/// madvise(2), since Linux 6.1): contiguous pages cost less to send. The kernel copies them once;
/// the file's size does not change.
///
/// # Errors
/// When the kernel lacks the call, or has no huge page to spare. The file is then unchanged.
pub(super) fn collapse_into_huge_pages(memory: BorrowedFd<'_>, len: usize) -> io::Result<()> {
    let whole = len.checked_next_multiple_of(HUGE_PAGE).ok_or(io::ErrorKind::InvalidInput)?;
    let reserved_len = whole.checked_add(HUGE_PAGE).ok_or(io::ErrorKind::InvalidInput)?;
    let private = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new anonymous mapping at an address that the kernel chooses.
    let reserved = unsafe { libc::mmap(ptr::null_mut(), reserved_len, libc::PROT_NONE, private, -1, 0) };
    if reserved == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let at = reserved.map_addr(|addr| addr.next_multiple_of(HUGE_PAGE));
    let fixed = libc::MAP_SHARED | libc::MAP_FIXED;
    // SAFETY: replaces part of the mapping above, which no other code knows: from the next boundary
    // on it has at least `whole` of its `whole + HUGE_PAGE` bytes. Nothing reads or writes through
    // it.
    let mapped = unsafe { libc::mmap(at, whole, libc::PROT_READ, fixed, memory.as_raw_fd(), 0) };
    let collapsed = if mapped == libc::MAP_FAILED {
        Err(io::Error::last_os_error())
    } else {
        // SAFETY: the range is the mapping just made, and replacing the pages behind it is not
        // observable.
        match unsafe { libc::madvise(at, whole, libc::MADV_COLLAPSE) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: both mappings lie in this range, and no reference points into either.
    unsafe { libc::munmap(reserved, reserved_len) };
    collapsed
}

/// Returns freed memory to the system: the allocator keeps tens of megabytes after compressing.
pub(super) fn trim_heap() {
    // SAFETY: touches free memory only (malloc_trim(3)).
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}
