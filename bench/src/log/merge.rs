//! What two sorted runs of positions have in common.

use crate::failure::Result;

/// The first position that both runs have, each of which hands out its positions in order.
pub(crate) fn first_in_both(
    mut one: impl FnMut() -> Result<Option<u64>>,
    mut other: impl FnMut() -> Result<Option<u64>>,
) -> Result<Option<u64>> {
    let (mut left, mut right) = (one()?, other()?);
    while let (Some(first), Some(second)) = (left, right) {
        match first.cmp(&second) {
            std::cmp::Ordering::Less => left = one()?,
            std::cmp::Ordering::Greater => right = other()?,
            std::cmp::Ordering::Equal => return Ok(left),
        }
    }
    Ok(None)
}
