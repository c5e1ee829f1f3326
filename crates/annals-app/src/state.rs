//! The form of an aggregate's state, so that a saved state is never read as something that it is not.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A state that can be saved and read again: `derive(State)` writes it.
///
/// A saved state is read only while the type has the shape that it had then: the names, types and attributes of its
/// fields, those of the types of its fields that are a `State` too, and so on. Of other types only the name counts.
pub trait State: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// A digest of the shape. Types that hold themselves are described to a depth of [`DEEPEST_SHAPE`].
    fn shape(depth: u32) -> u64;
}

/// Types are described to this depth.
pub const DEEPEST_SHAPE: u32 = 16;

/// The digest of a type's own description and of the shapes of its parts.
#[doc(hidden)]
pub fn shape_of(description: &str, parts: impl IntoIterator<Item = u64>) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(description.as_bytes());
    parts.into_iter().for_each(|part| {
        hasher.update(&part.to_le_bytes());
    });
    let [a, b, c, d, e, f, g, h, ..] = *hasher.finalize().as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

macro_rules! holders {
    ($($name:literal: $holder:ty where ($($bound:tt)*) of $($part:ident),+;)*) => {$(
        impl<$($part: State),+> State for $holder where $($bound)* {
            fn shape(depth: u32) -> u64 {
                match depth.checked_sub(1) {
                    Some(depth) => shape_of($name, [$($part::shape(depth)),+]),
                    None => 0,
                }
            }
        }
    )*};
}

holders! {
    "option": Option<T> where () of T;
    "box": Box<T> where () of T;
    "list": Vec<T> where () of T;
    "deque": VecDeque<T> where () of T;
    "set": BTreeSet<T> where (T: Ord) of T;
    "hash set": HashSet<T> where (T: Eq + std::hash::Hash) of T;
    "map": BTreeMap<K, V> where (K: Ord) of K, V;
    "hash map": HashMap<K, V> where (K: Eq + std::hash::Hash) of K, V;
}

macro_rules! plain {
    ($($name:ty),*) => {$(
        impl State for $name {
            fn shape(_: u32) -> u64 {
                shape_of(stringify!($name), [])
            }
        }
    )*};
}

plain!(bool, char, u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize, f32, f64, String, ());

/// Asks a type for its shape if it has one. Where a method of the type itself is not there, that of a trait is found.
#[doc(hidden)]
pub struct ShapeOf<T>(pub std::marker::PhantomData<T>);

impl<T: State> ShapeOf<T> {
    /// The shape.
    pub fn ask(&self, depth: u32) -> u64 {
        T::shape(depth)
    }
}

/// The answer for all other types.
#[doc(hidden)]
pub trait NoShape {
    /// Nothing is known.
    fn ask(&self, _: u32) -> u64 {
        0
    }
}

impl<T> NoShape for &ShapeOf<T> {}
