//! The functions do what slices do.

#![cfg(target_arch = "x86_64")]
#![allow(unsafe_code, reason = "that is how they are called")]

use proptest::prelude::*;
use yadokari_memory::{bcmp, memcmp, memcpy, memmove};

/// Sizes on both sides of every boundary, and some in between.
fn size() -> impl Strategy<Value = usize> {
    prop_oneof![0..300usize, 0..5000usize]
}

fn bytes(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|at| (at as u8).wrapping_mul(31).wrapping_add((at >> 8) as u8).wrapping_add(seed)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, rng_seed: proptest::test_runner::RngSeed::Fixed(7), ..ProptestConfig::default() })]

    #[test]
    fn overlapping_bytes_arrive_as_they_were(count in size(), to in 0..400usize, from in 0..400usize) {
        let mut moved = bytes(count + 500, 1);
        let mut expected = moved.clone();
        expected.copy_within(from..from + count, to);
        let start = moved.as_mut_ptr();
        // SAFETY: both ranges are inside of the vector.
        let returned = unsafe { memmove(start.add(to), start.add(from), count) };
        prop_assert_eq!(returned.addr(), start.addr() + to);
        prop_assert_eq!(moved, expected);
    }

    #[test]
    fn a_copy_writes_its_bytes_and_no_others(count in size(), to in 0..70usize, from in 0..70usize) {
        let source = bytes(count + 80, 2);
        let mut copied = bytes(count + 80, 3);
        let mut expected = copied.clone();
        expected[to..to + count].copy_from_slice(&source[from..from + count]);
        // SAFETY: both ranges are inside of their vectors.
        unsafe { memcpy(copied.as_mut_ptr().add(to), source.as_ptr().add(from), count) };
        prop_assert_eq!(copied, expected);
    }

    #[test]
    fn the_first_difference_decides(count in size(), at in any::<prop::sample::Index>(), value: u8, second in any::<prop::sample::Index>(), offset in 0..20usize) {
        let left = bytes(count + 20, 4);
        let mut right = left.clone();
        if count > 0 {
            right[offset + at.index(count)] = value;
            let later = offset + second.index(count);
            right[later] = right[later].wrapping_add(1);
        }
        let (left, right) = (&left[offset..offset + count], &right[offset..offset + count]);
        // SAFETY: both have `count` bytes.
        let (order, same) = unsafe { (memcmp(left.as_ptr(), right.as_ptr(), count), bcmp(left.as_ptr(), right.as_ptr(), count)) };
        prop_assert_eq!(order.cmp(&0), left.cmp(right));
        prop_assert_eq!(same == 0, left == right);
    }
}
