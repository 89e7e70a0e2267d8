use core::arch::x86_64::{__m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_storeu_si128};

/// Copies from here on are loops.
const LOOP_FROM: usize = 65;

/// 64 bytes in registers.
#[derive(Clone, Copy)]
struct Line([__m128i; 4]);

impl Line {
    /// # Safety
    /// 64 bytes can be read there.
    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: the caller's; SSE2 is part of x86-64.
        unsafe { Self([load(from), load(from.add(16)), load(from.add(32)), load(from.add(48))]) }
    }

    /// # Safety
    /// 64 bytes can be written there.
    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        let Self([a, b, c, d]) = self;
        // SAFETY: the caller's; SSE2 is part of x86-64.
        unsafe {
            store(to, a);
            store(to.add(16), b);
            store(to.add(32), c);
            store(to.add(48), d);
        }
    }
}

/// # Safety
/// 16 bytes can be read there.
#[inline(always)]
unsafe fn load(from: *const u8) -> __m128i {
    // SAFETY: the caller's; the instruction wants no alignment.
    unsafe { _mm_loadu_si128(from.cast()) }
}

/// # Safety
/// 16 bytes can be written there.
#[inline(always)]
unsafe fn store(to: *mut u8, value: __m128i) {
    // SAFETY: the caller's; the instruction wants no alignment.
    unsafe { _mm_storeu_si128(to.cast(), value) }
}

/// Copies the first and the last `T` of `count` bytes, which are all when there are at most two.
///
/// # Safety
/// As [`memmove`], with `count` from the size of one `T` to that of two.
#[inline(always)]
unsafe fn copy_ends<T: Copy>(to: *mut u8, from: *const u8, count: usize) {
    let last = count - size_of::<T>();
    // SAFETY: both are inside the `count` bytes; all is read before anything is written.
    unsafe {
        let (head, tail) = (from.cast::<T>().read_unaligned(), from.add(last).cast::<T>().read_unaligned());
        to.cast::<T>().write_unaligned(head);
        to.add(last).cast::<T>().write_unaligned(tail);
    }
}

/// Copies `count` bytes, which may overlap.
///
/// # Safety
/// C standard, 7.26.2.2: `count` bytes can be read at `from` and written at `to`.
#[cfg_attr(target_env = "musl", unsafe(no_mangle))]
pub unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: each branch copies `count` bytes, and reads what it could overwrite before it does.
    unsafe {
        match count {
            LOOP_FROM.. if to.addr().wrapping_sub(from.addr()) < count => copy_backward(to, from, count),
            LOOP_FROM.. => copy_forward(to, from, count),
            33.. => copy_ends::<[__m128i; 2]>(to, from, count),
            16.. => copy_ends::<__m128i>(to, from, count),
            8.. => copy_ends::<u64>(to, from, count),
            4.. => copy_ends::<u32>(to, from, count),
            2.. => copy_ends::<u16>(to, from, count),
            1 => *to = *from,
            0 => {}
        }
    }
    to
}

/// Copies `count` bytes.
///
/// # Safety
/// As [`memmove`]; they may overlap here, too.
#[cfg_attr(target_env = "musl", unsafe(no_mangle))]
pub unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the caller's.
    unsafe { memmove(to, from, count) }
}

/// From the first byte to the last, in lines that are aligned where they are written.
///
/// # Safety
/// As [`memmove`], with at least 64 bytes, and `to` not inside of what is read unless it is `from`.
unsafe fn copy_forward(to: *mut u8, from: *const u8, count: usize) {
    let end = count - size_of::<Line>();
    // SAFETY: `at` stays below `end`, from where a line is left. What a line overwrites of the source stands
    // before the line's own end, and the last line is read first.
    unsafe {
        let (head, tail) = (load(from), Line::load(from.add(end)));
        let mut at = 16 - to.addr() % 16;
        while at < end {
            Line::load(from.add(at)).store(to.add(at));
            at += size_of::<Line>();
        }
        store(to, head);
        tail.store(to.add(end));
    }
}

/// From the last byte to the first.
///
/// # Safety
/// As [`memmove`], with at least 64 bytes.
unsafe fn copy_backward(to: *mut u8, from: *const u8, count: usize) {
    // SAFETY: a line ends at `at`, which is more than one line from the start. What it overwrites of the source stands
    // behind the line's own start, and the first line is read first.
    unsafe {
        let head = Line::load(from);
        let mut at = count;
        while at > size_of::<Line>() {
            at -= size_of::<Line>();
            Line::load(from.add(at)).store(to.add(at));
        }
        head.store(to);
    }
}

/// Compares `count` bytes as unsigned numbers, the first difference counts.
///
/// # Safety
/// C standard, 7.26.4.1: `count` bytes can be read at both.
#[cfg_attr(target_env = "musl", unsafe(no_mangle))]
pub unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, count: usize) -> i32 {
    // SAFETY: nothing beyond `count` bytes is read.
    unsafe {
        match count {
            16.. => compare_blocks(left, right, count),
            8.. => compare_ends(left, right, count, |at| u64::from_be(at.cast::<u64>().read_unaligned())),
            4.. => compare_ends(left, right, count, |at| u64::from(u32::from_be(at.cast::<u32>().read_unaligned()))),
            _ => compare_bytes(left, right, count),
        }
    }
}

/// Not zero when `count` bytes are not the same.
///
/// # Safety
/// As [`memcmp`].
#[cfg_attr(target_env = "musl", unsafe(no_mangle))]
pub unsafe extern "C" fn bcmp(left: *const u8, right: *const u8, count: usize) -> i32 {
    // SAFETY: the caller's.
    unsafe { memcmp(left, right, count) }
}

/// # Safety
/// As [`memcmp`].
#[inline(always)]
unsafe fn compare_bytes(left: *const u8, right: *const u8, count: usize) -> i32 {
    let mut at = 0;
    while at < count {
        // SAFETY: below `count`.
        let difference = unsafe { i32::from(*left.add(at)) - i32::from(*right.add(at)) };
        if difference != 0 {
            return difference;
        }
        at += 1;
    }
    0
}

/// By the first and the last number of so many bytes as make up at most two of them.
///
/// # Safety
/// As [`memcmp`]; `number` reads bytes that are there, the first one the highest.
#[inline(always)]
unsafe fn compare_ends(left: *const u8, right: *const u8, count: usize, number: impl Fn(*const u8) -> u64) -> i32 {
    let last = if count >= 8 { count - 8 } else { count - 4 };
    // SAFETY: inside of `count` bytes.
    let (left_end, right_end) = unsafe { (left.add(last), right.add(last)) };
    let (mut a, mut b) = (number(left), number(right));
    if a == b {
        (a, b) = (number(left_end), number(right_end));
    }
    i32::from(a > b) - i32::from(a < b)
}

/// # Safety
/// As [`memcmp`], with at least 16 bytes.
unsafe fn compare_blocks(left: *const u8, right: *const u8, count: usize) -> i32 {
    let end = count - 16;
    let mut at = 0;
    loop {
        // SAFETY: `at` is at most `end`.
        let differing = unsafe { differing(left.add(at), right.add(at)) };
        if differing != 0 {
            let first = at + differing.trailing_zeros() as usize;
            // SAFETY: one of the 16 bytes.
            return unsafe { i32::from(*left.add(first)) - i32::from(*right.add(first)) };
        }
        if at == end {
            return 0;
        }
        // The last block overlaps with what is the same.
        at = if at + 16 < end { at + 16 } else { end };
    }
}

/// A bit for each of 16 bytes that is not the same, the first one the lowest.
///
/// # Safety
/// 16 bytes can be read at both.
#[inline(always)]
unsafe fn differing(left: *const u8, right: *const u8) -> u32 {
    // SAFETY: the caller's; SSE2 is part of x86-64.
    let same = unsafe { _mm_movemask_epi8(_mm_cmpeq_epi8(load(left), load(right))) };
    (same as u32) ^ 0xffff
}
