//! A directory from hashes to numbers: look-up and filter in one.
//!
//! The entries are sorted by the upper 32 bits of their hash. The first bits choose a bucket of four to eight entries; what
//! is left of the 32 bits (the fingerprint) is stored with the number of each entry. A hash whose fingerprint is not in
//! its bucket is not in the directory; one whose fingerprint is there may be, and the caller compares the thing itself.
//! At a million entries one look-up in some 10,000 meets a false fingerprint. (The scheme is that of a quotient filter:
//! Bender et al., "Don't Thrash: How to Cache Your Hash on Flash", VLDB 2012.)

use super::bits::{self, BitWriter, width_of};

/// The bits of a hash that count.
const HASH_BITS: u32 = 32;
const LARGEST_BUCKET_SHIFT: u32 = 2;

/// The shape of a directory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct DirectoryShape {
    pub(crate) count: u64,
    pub(crate) bucket_bits: u32,
    pub(crate) number_bits: u32,
    /// The starts of buckets are stored as distances from where they would be if all were alike, from this on.
    pub(crate) least_deviation: i64,
    pub(crate) deviation_bits: u32,
}

/// The 32 bits of a hash by which entries are sorted.
pub(crate) fn sort_key(hash: u64) -> u32 {
    (hash >> (u64::BITS - HASH_BITS)) as u32
}

impl DirectoryShape {
    pub(crate) fn new(count: u64, largest_number: u64) -> Self {
        let bucket_bits = width_of(count).saturating_sub(1 + LARGEST_BUCKET_SHIFT).min(HASH_BITS);
        Self { count, bucket_bits, number_bits: width_of(largest_number), ..Self::default() }
    }

    fn fingerprint_bits(&self) -> u32 {
        HASH_BITS - self.bucket_bits
    }

    pub(crate) fn entry_bits(&self) -> u32 {
        self.fingerprint_bits() + self.number_bits
    }

    pub(crate) fn buckets(&self) -> u64 {
        1 << self.bucket_bits
    }

    fn bucket_of(&self, key: u32) -> u64 {
        u64::from(key) >> self.fingerprint_bits()
    }

    fn fingerprint_of(&self, key: u32) -> u64 {
        u64::from(key) & ((1 << self.fingerprint_bits()) - 1)
    }

    /// Where a bucket would start if all were alike.
    fn even_start(&self, bucket: u64) -> i64 {
        ((bucket * self.count) >> self.bucket_bits) as i64
    }

    /// Whether the shape is one that this code makes; others are not read.
    pub(crate) fn is_sound(&self) -> bool {
        self.bucket_bits <= HASH_BITS
            && self.number_bits <= 40
            && self.entry_bits() <= bits::WIDEST
            && self.deviation_bits <= bits::WIDEST
            && self.count <= u64::from(u32::MAX)
            && self.least_deviation.unsigned_abs() <= self.count
    }
}

/// Takes sorted entries and packs them.
pub(crate) struct DirectoryBuilder {
    pub(crate) shape: DirectoryShape,
    /// Where each bucket starts, and where the last one ends.
    starts: Vec<u32>,
    added: u32,
    pub(crate) entries: BitWriter,
}

impl DirectoryBuilder {
    pub(crate) fn new(shape: DirectoryShape) -> Self {
        let starts = Vec::with_capacity(shape.buckets() as usize + 1);
        Self { shape, starts, added: 0, entries: BitWriter::default() }
    }

    /// Adds an entry whose key is no smaller than those before.
    pub(crate) fn add(&mut self, key: u32, number: u64) {
        let bucket = self.shape.bucket_of(key);
        while self.starts.len() as u64 <= bucket {
            self.starts.push(self.added);
        }
        let entry = self.shape.fingerprint_of(key) << self.shape.number_bits | number;
        self.entries.put(entry, self.shape.entry_bits());
        self.added += 1;
    }

    /// The final shape, the packed starts of the buckets, and what is left of the packed entries.
    pub(crate) fn finish(mut self) -> (DirectoryShape, Vec<u8>, Vec<u8>) {
        while self.starts.len() as u64 <= self.shape.buckets() {
            self.starts.push(self.added);
        }
        let mut shape = self.shape;
        let deviations =
            || (0..).zip(&self.starts).map(|(bucket, start)| i64::from(*start) - shape.even_start(bucket));
        let least = deviations().min().unwrap_or(0);
        let bits = width_of((deviations().max().unwrap_or(0) - least).unsigned_abs());
        let mut starts = BitWriter::default();
        deviations().for_each(|deviation| starts.put((deviation - least).unsigned_abs(), bits));
        (shape.least_deviation, shape.deviation_bits) = (least, bits);
        (shape, starts.finish(), self.entries.finish())
    }
}

/// A directory as it is stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Directory<'a> {
    pub(crate) shape: DirectoryShape,
    pub(crate) starts: &'a [u8],
    pub(crate) entries: &'a [u8],
}

impl<'a> Directory<'a> {
    fn start(&self, bucket: u64) -> u64 {
        let deviation = bits::get(self.starts, bucket, self.shape.deviation_bits) as i64;
        let start = self.shape.even_start(bucket) + self.shape.least_deviation + deviation;
        (start.max(0) as u64).min(self.shape.count)
    }

    /// Where in the entries those of a key's bucket are.
    pub(crate) fn bucket(&self, key: u32) -> std::ops::Range<u64> {
        if self.shape.count == 0 {
            return 0..0;
        }
        let bucket = self.shape.bucket_of(key);
        self.start(bucket)..self.start(bucket + 1)
    }

    /// The numbers of the entries of a bucket that may have this key.
    pub(crate) fn candidates(
        &self,
        key: u32,
        bucket: std::ops::Range<u64>,
    ) -> impl Iterator<Item = u64> + use<'a> {
        let (shape, entries) = (self.shape, self.entries);
        let fingerprint = shape.fingerprint_of(key);
        bucket.filter_map(move |index| {
            let entry = bits::get(entries, index, shape.entry_bits());
            (entry >> shape.number_bits == fingerprint).then(|| entry & ((1 << shape.number_bits) - 1))
        })
    }

    /// All entries in order: key and number.
    pub(crate) fn all(self) -> impl Iterator<Item = (u32, u64)> + use<'a> {
        let shape = self.shape;
        let mut bucket = 0;
        let mut bucket_end = self.start(1);
        (0..shape.count).map(move |index| {
            while index >= bucket_end && bucket + 1 < shape.buckets() {
                bucket += 1;
                bucket_end = self.start(bucket + 1);
            }
            let entry = bits::get(self.entries, index, shape.entry_bits());
            let key = bucket << shape.fingerprint_bits() | entry >> shape.number_bits;
            (key as u32, entry & ((1 << shape.number_bits) - 1))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn build(mut entries: Vec<(u32, u64)>) -> (DirectoryShape, Vec<u8>, Vec<u8>) {
        entries.sort_unstable();
        let largest = entries.iter().map(|(_, number)| *number).max().unwrap_or(0);
        let mut builder = DirectoryBuilder::new(DirectoryShape::new(entries.len() as u64, largest));
        entries.iter().for_each(|(key, number)| builder.add(*key, *number));
        builder.finish()
    }

    proptest! {
        #[test]
        fn every_entry_is_found_and_walked(
            random in proptest::collection::vec((any::<u32>(), 0_u64..1_000_000), 0..600),
            crowd in proptest::collection::vec((7_u32..9, 0_u64..100), 0..300),
        ) {
            let mut entries: Vec<_> = random.into_iter().chain(crowd).collect();
            let (shape, starts, packed) = build(entries.clone());
            prop_assert!(shape.is_sound());
            let directory = Directory { shape, starts: &starts, entries: &packed };
            entries.sort_unstable();
            prop_assert_eq!(directory.all().collect::<Vec<_>>(), entries.clone());
            for (key, number) in entries {
                let found = directory.candidates(key, directory.bucket(key)).any(|found| found == number);
                prop_assert!(found);
            }
        }

        #[test]
        fn no_bytes_make_a_look_up_panic(
            starts in proptest::collection::vec(any::<u8>(), 0..50), entries in proptest::collection::vec(any::<u8>(), 0..50),
            count in 0_u64..1000, least in -900_i64..900, key in any::<u32>(),
        ) {
            let shape = DirectoryShape { least_deviation: least, deviation_bits: 9, ..DirectoryShape::new(count, 77) };
            let directory = Directory { shape, starts: &starts, entries: &entries };
            let _ = (directory.candidates(key, directory.bucket(key)).count(), directory.all().count());
        }
    }

    #[test]
    fn few_strangers_are_taken_for_known() {
        let hash = |n: u64| sort_key(xxhash_rust::xxh3::xxh3_64(&n.to_le_bytes()));
        let (shape, starts, packed) = build((0..100_000).map(|n| (hash(n), n)).collect());
        let directory = Directory { shape, starts: &starts, entries: &packed };
        let bits = (starts.len() + packed.len()) * 8 / 100_000;
        assert!(bits <= 37, "{bits} bits per entry");
        let strangers = (200_000..300_000).map(hash);
        let taken =
            strangers.filter(|key| directory.candidates(*key, directory.bucket(*key)).next().is_some());
        assert!(taken.count() < 30);
    }
}
