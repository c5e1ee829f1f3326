//! Writes of which only a part has reached the disk.

use std::sync::Arc;

use super::random::Random;
use super::tree::{Op, Tree};

/// The smallest unit that a disk writes at once.
const SECTOR_BYTES: u64 = 512;
/// Writes up to this size are torn at every byte.
const EVERY_BYTE_UP_TO: usize = 2_048;
/// How thoroughly writes are torn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tearing {
    /// At every sector and at every byte.
    Everywhere,
    /// At every sector and at a few bytes.
    Sampled,
}

/// What is there of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tear {
    /// The first bytes.
    Until(usize),
    /// The last bytes, from here on.
    From(usize),
    /// The file has grown, but holds zeros.
    LengthOnly,
    /// The first bytes, and then, up to the end of the sector, what was on the disk before.
    Garbage(usize),
}

/// The ways in which a write is torn.
pub(crate) fn tears(op: &Op, tearing: Tearing, random: &mut Random) -> Vec<Tear> {
    let Op::Write { offset, bytes, .. } = op else { return Vec::new() };
    let length = bytes.len();
    let first_boundary = (SECTOR_BYTES - offset % SECTOR_BYTES) as usize;
    let boundaries: Vec<usize> = (first_boundary..length).step_by(SECTOR_BYTES as usize).collect();
    let mut tears = vec![Tear::LengthOnly];
    tears.extend(boundaries.iter().flat_map(|at| [Tear::Until(*at), Tear::From(*at)]));
    if length < 2 {
        return tears;
    }
    let zeros = bytes.iter().all(|byte| *byte == 0);
    let somewhere = |random: &mut Random| 1 + random.below(length as u64 - 1) as usize;
    if zeros || tearing == Tearing::Sampled || length > EVERY_BYTE_UP_TO {
        tears.extend((0..2).map(|_| Tear::Until(somewhere(random))));
    } else {
        tears.extend((1..length).map(Tear::Until));
    }
    tears.push(Tear::From(somewhere(random)));
    tears.push(Tear::Garbage(somewhere(random)));
    tears
}

pub(crate) fn apply_torn(tree: &mut Tree, file: usize, offset: u64, bytes: &Arc<[u8]>, tear: Tear) {
    let grown = (offset + bytes.len() as u64).max(tree.content(file).len() as u64);
    match tear {
        Tear::Until(end) => tree.write(file, offset, &bytes[..end]),
        Tear::From(start) => tree.write(file, offset + start as u64, &bytes[start..]),
        Tear::LengthOnly => tree.set_length(file, grown),
        Tear::Garbage(end) => {
            let at = offset + end as u64;
            let room = (SECTOR_BYTES - at % SECTOR_BYTES).min(offset + bytes.len() as u64 - at) as usize;
            let old = tree.content(file).get(at as usize..).unwrap_or_default().to_vec();
            // Only what the write changes is at risk: the same bytes written again stay as they are.
            let garbage = (0..room).map(|index| match (old.get(index), bytes[end + index]) {
                (Some(old), new) if *old == new => new,
                _ => (index * 151 + 89) as u8 | 1,
            });
            let garbage: Vec<u8> = garbage.collect();
            tree.write(file, offset, &bytes[..end]);
            tree.write(file, at, &garbage);
        }
    }
}
