//! System calls that rustix does not have: huge pages for a file in memory, and memory that is given back.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::ptr;

/// Bytes of a huge page. Where they have another size, nothing is gathered.
const HUGE: usize = 2 * 1024 * 1024;

/// Has the kernel gather the first `len` bytes of a file in memory into huge pages (`MADV_COLLAPSE`, madvise(2), since
/// Linux 6.1): neighbouring pages leave at less cost than scattered ones. They are copied once for that; the
/// file's size stays as it is.
///
/// # Errors
/// When the kernel does not know how, or has no huge page to spare. Nothing has changed then.
pub(super) fn gather(memory: BorrowedFd<'_>, len: usize) -> io::Result<()> {
    let whole = len.checked_next_multiple_of(HUGE).ok_or(io::ErrorKind::InvalidInput)?;
    let room = whole.checked_add(HUGE).ok_or(io::ErrorKind::InvalidInput)?;
    let private = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping of no file, which the kernel places where there is nothing.
    let reserved = unsafe { libc::mmap(ptr::null_mut(), room, libc::PROT_NONE, private, -1, 0) };
    if reserved == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let at = reserved.map_addr(|addr| addr.next_multiple_of(HUGE));
    let fixed = libc::MAP_SHARED | libc::MAP_FIXED;
    // SAFETY: it takes the place of a part of the mapping above, which nobody else knows: from the next boundary on there
    // are at least `whole` of its `whole + HUGE` bytes. Nothing is ever read or written through it.
    let mapped = unsafe { libc::mmap(at, whole, libc::PROT_READ, fixed, memory.as_raw_fd(), 0) };
    let gathered = if mapped == libc::MAP_FAILED {
        Err(io::Error::last_os_error())
    } else {
        // SAFETY: the range is the mapping just made; that other pages are behind it is nothing that anybody could notice.
        match unsafe { libc::madvise(at, whole, libc::MADV_COLLAPSE) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: both mappings lie in this range, and there is no reference into either.
    unsafe { libc::munmap(reserved, room) };
    gathered
}

/// Gives memory that was freed back to the system. The allocator would keep tens of megabytes after compressing.
pub(super) fn give_back_memory() {
    // SAFETY: it touches nothing but what is free (malloc_trim(3)).
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}
