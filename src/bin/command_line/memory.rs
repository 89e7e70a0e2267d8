//! What the allocator does with memory that is free again.

#![allow(unsafe_code, reason = "the allocator's options have no safe function")]

/// Gives freed memory back to the system at once: blocks travel between threads, and what each thread
/// keeps for later is half as much again as what is in use.
///
/// # Source
/// mimalloc, `mi_option_purge_delay` (`enum mi_option_e`): milliseconds.
pub(crate) fn return_freed() {
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    // SAFETY: sets a number inside the allocator, atomically; any option and value is allowed.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, 0) }
}
