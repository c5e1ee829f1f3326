//! Numbers of a fixed width, packed bit by bit.

/// The widest number that can be packed: it must be found within 8 bytes from any bit of a byte.
pub(crate) const WIDEST: u32 = 57;
/// Behind packed numbers stand so many zeros, so that the last can be read like any other.
pub(crate) const PADDING_BYTES: usize = 8;

/// How many bits a number takes.
pub(crate) fn width_of(largest: u64) -> u32 {
    u64::BITS - largest.leading_zeros()
}

/// Packs numbers one after the other.
#[derive(Debug, Default)]
pub(crate) struct BitWriter {
    out: Vec<u8>,
    pending: u128,
    pending_bits: u32,
}

impl BitWriter {
    pub(crate) fn put(&mut self, number: u64, width: u32) {
        debug_assert!(width <= WIDEST && width_of(number) <= width);
        self.pending |= u128::from(number) << self.pending_bits;
        self.pending_bits += width;
        while self.pending_bits >= 64 {
            self.out.extend_from_slice(&(self.pending as u64).to_le_bytes());
            self.pending >>= 64;
            self.pending_bits -= 64;
        }
    }

    /// Takes the whole bytes that are ready.
    pub(crate) fn drain(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// How many bytes are ready.
    pub(crate) fn ready(&self) -> usize {
        self.out.len()
    }

    /// Fills the last byte up.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        let bytes = self.pending_bits.div_ceil(8) as usize;
        self.out.extend_from_slice(self.pending.to_le_bytes().get(..bytes).unwrap_or_default());
        self.out
    }
}

/// The number at an index; zero beyond the end.
#[inline]
pub(crate) fn get(bytes: &[u8], index: u64, width: u32) -> u64 {
    let bit = index * u64::from(width);
    let start = (bit / 8) as usize;
    let word = match bytes.get(start..start + 8) {
        Some(eight) => eight.first_chunk::<8>().map_or(0, |eight| u64::from_le_bytes(*eight)),
        None => {
            let mut eight = [0; 8];
            let rest = bytes.get(start..).unwrap_or_default();
            eight[..rest.len().min(8)].copy_from_slice(&rest[..rest.len().min(8)]);
            u64::from_le_bytes(eight)
        }
    };
    (word >> (bit % 8)) & ((1_u64 << width) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn packed_numbers_come_back(width in 0_u32..=WIDEST, seeds in proptest::collection::vec(any::<u64>(), 0..200)) {
            let mask = (1_u64 << width) - 1;
            let mut writer = BitWriter::default();
            seeds.iter().for_each(|seed| writer.put(seed & mask, width));
            let bytes = writer.finish();
            for (index, seed) in (0..).zip(&seeds) {
                prop_assert_eq!(get(&bytes, index, width), seed & mask);
            }
        }
    }
}
