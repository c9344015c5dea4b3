//! Golomb-Rice coding of a sorted set of numbers: each gap as its upper part in unary and its lower
//! bits.
//!
//! For numbers that are spread evenly, `count` of them below `count << bits`, it takes about `bits
//! + 1.5` bits for each: hardly more than the best possible.

/// Maximum number of lower bits of a set; with 2^24 numbers this stays far below 64 bits.
pub(super) const MAX_BITS: u32 = 36;

/// Encodes `numbers`, which are sorted and distinct.
pub(super) fn encode(numbers: &[u64], bits: u32) -> Vec<u8> {
    let mut out = BitWriter::default();
    let mut next = 0;
    for number in numbers {
        let gap = number - next;
        for _ in 0..gap >> bits {
            out.bit(true);
        }
        out.bit(false);
        for at in (0..bits).rev() {
            out.bit(gap >> at & 1 == 1);
        }
        next = number + 1;
    }
    out.bytes
}

/// Decodes `count` numbers below `count << bits`. `None` for bytes that [`encode`] would not have
/// written. Takes no more memory than 8 bytes for each number that `bytes` has room for.
pub(super) fn decode(bytes: &[u8], count: usize, bits: u32) -> Option<Vec<u64>> {
    let limit = (count as u64).checked_shl(bits)?;
    if bits > MAX_BITS || (count as u64).checked_mul(u64::from(bits) + 1)? > bytes.len() as u64 * 8 {
        return None;
    }
    let mut numbers = Vec::with_capacity(count);
    let mut reader = BitReader { bytes, at: 0 };
    let mut next = 0_u64;
    for _ in 0..count {
        let mut gap = 0_u64;
        while reader.bit()? {
            gap += 1;
        }
        for _ in 0..bits {
            gap = gap << 1 | u64::from(reader.bit()?);
        }
        let number = next.checked_add(gap)?;
        if number >= limit {
            return None;
        }
        numbers.push(number);
        next = number + 1;
    }
    // Only the padding of the last byte may follow.
    if bytes.len() * 8 - reader.at >= 8 {
        return None;
    }
    while reader.at < bytes.len() * 8 {
        if reader.bit()? {
            return None;
        }
    }
    Some(numbers)
}

#[derive(Default)]
struct BitWriter {
    bytes: Vec<u8>,
    used: u32,
}

impl BitWriter {
    fn bit(&mut self, bit: bool) {
        if self.used.is_multiple_of(8) {
            self.bytes.push(0);
        }
        if let Some(last) = self.bytes.last_mut() {
            *last |= u8::from(bit) << (7 - self.used % 8);
        }
        self.used = (self.used + 1) % 8;
    }
}

struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl BitReader<'_> {
    fn bit(&mut self) -> Option<bool> {
        let byte = self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit == 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_coded_comes_back(set in prop::collection::btree_set(any::<u64>(), 0..200), bits in 1..30_u32) {
            let limit = (set.len() as u64) << bits;
            let set: BTreeSet<u64> = set.iter().map(|number| ((u128::from(*number) * u128::from(limit)) >> 64) as u64).collect();
            let numbers: Vec<u64> = set.into_iter().collect();
            // Fewer numbers after scaling: their limit is lower, so only sets without a collision
            // count.
            prop_assume!(numbers.len() as u64 == limit >> bits);
            prop_assert_eq!(decode(&encode(&numbers, bits), numbers.len(), bits), Some(numbers));
        }

        #[test]
        fn any_bytes_are_refused_or_are_the_only_code_of_their_set(
            bytes in prop::collection::vec(any::<u8>(), 0..60), count in 0..40_usize, bits in 0..40_u32,
        ) {
            if let Some(numbers) = decode(&bytes, count, bits) {
                prop_assert_eq!(numbers.len(), count);
                prop_assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]));
                prop_assert_eq!(encode(&numbers, bits), bytes);
            }
        }
    }

    #[test]
    fn a_count_beyond_the_bytes_takes_no_memory() {
        assert_eq!(decode(&[0; 10], usize::MAX / 2, 20), None);
        assert_eq!(decode(&[0; 10], 1 << 40, 1), None);
        assert_eq!(decode(&[], 0, 20), Some(Vec::new()));
    }
}
