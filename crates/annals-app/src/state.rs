//! The form of an aggregate's state, so that a saved state is never read as something that it is not.

use std::any::TypeId;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A state that can be saved and read again: `derive(State)` writes it.
///
/// A saved state is read only while the type has the shape that it had then: the names, types and attributes of its
/// fields, those of the types of its fields that are a `State` too, and so on. Of other types only the name counts.
pub trait State: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// A digest of the shape. `seen` are the types described so far, in order: one that is met again, as in a type that
    /// holds itself, counts by its place among them. Begin with none.
    fn shape(seen: &mut Vec<TypeId>) -> u64;
}

/// What stands for a type that was described before; nothing the first time, which is noted.
#[doc(hidden)]
pub fn shape_again<T: 'static>(seen: &mut Vec<TypeId>) -> Option<u64> {
    let id = TypeId::of::<T>();
    let place = seen.iter().position(|known| *known == id);
    if place.is_none() {
        seen.push(id);
    }
    // Not the place itself: the shape of a type that has none is a small number too.
    place.map(|place| shape_of("again", [place as u64]))
}

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
            fn shape(seen: &mut Vec<TypeId>) -> u64 {
                shape_of($name, [$($part::shape(seen)),+])
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
            fn shape(_: &mut Vec<TypeId>) -> u64 {
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
    pub fn ask(&self, seen: &mut Vec<TypeId>) -> u64 {
        T::shape(seen)
    }
}

/// The answer for all other types.
#[doc(hidden)]
pub trait NoShape {
    /// Nothing is known.
    fn ask(&self, _: &mut Vec<TypeId>) -> u64 {
        0
    }
}

impl<T> NoShape for &ShapeOf<T> {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde::Deserialize;

    use super::*;
    use crate::State;

    /// The same names in a module of their own for each: only what is between the braces differs.
    macro_rules! shape {
        ($($item:item)*) => {{
            $(#[derive(Serialize, Deserialize, State)] #[annals(crate = crate)] #[allow(dead_code)] $item)*
            <Root as State>::shape(&mut Vec::new())
        }};
    }

    #[test]
    fn what_changes_the_saved_form_changes_the_shape() {
        let plain = shape! { struct Root { count: u64, part: Part } struct Part { name: String } };
        let same = shape! { struct Root { count: u64, part: Part } struct Part { name: String } };
        assert_eq!(plain, same);
        let changed = [
            shape! { struct Root { counts: u64, part: Part } struct Part { name: String } },
            shape! { struct Root { count: u32, part: Part } struct Part { name: String } },
            shape! { struct Root { #[serde(rename = "n")] count: u64, part: Part } struct Part { name: String } },
            shape! { #[serde(rename_all = "UPPERCASE")] struct Root { count: u64, part: Part } struct Part { name: String } },
            shape! { struct Root { count: u64, part: Part } struct Part { title: String } },
            shape! { struct Root { count: u64, part: Part } struct Part { name: Option<String> } },
            shape! { struct Root { count: u64, part: Part } enum Part { Named { name: String } } },
        ];
        let different: BTreeSet<u64> = changed.into_iter().chain([plain]).collect();
        assert_eq!(different.len(), changed.len() + 1);
    }

    #[test]
    fn types_that_hold_themselves_come_to_an_end() {
        let tree = shape! { struct Root { name: String, parts: Vec<Self>, next: Option<Box<Root>> } };
        let renamed = shape! { struct Root { title: String, parts: Vec<Self>, next: Option<Box<Root>> } };
        assert_ne!(tree, renamed);
        // Deeper than anybody would describe it, and through all of them again at each level.
        let ring = |last| match last {
            false => shape! {
                struct Root { a: Vec<A>, b: Vec<B>, c: Vec<Root> } struct A { a: Vec<A>, b: Vec<B>, c: Vec<Root> }
                struct B { a: Vec<A>, b: Vec<B>, c: Vec<Root>, last: u8 }
            },
            true => shape! {
                struct Root { a: Vec<A>, b: Vec<B>, c: Vec<Root> } struct A { a: Vec<A>, b: Vec<B>, c: Vec<Root> }
                struct B { a: Vec<A>, b: Vec<B>, c: Vec<Root>, last: u16 }
            },
        };
        assert_ne!(ring(false), ring(true));
    }

    #[test]
    fn changes_far_down_are_seen() {
        macro_rules! nested {
            ($deepest:ty) => {
                shape! { struct Root(Vec<Vec<Vec<Vec<Vec<Vec<Vec<Vec<Vec<Vec<Vec<Vec<Vec<Vec<Vec<Vec<Vec<Vec<Deep>>>>>>>>>>>>>>>>>>); struct Deep($deepest); }
            };
        }
        assert_ne!(nested!(u8), nested!(u16));
    }

    #[test]
    fn parts_without_a_shape_count_by_name() {
        let with = shape! { struct Root { lasts: Duration, many: Vec<Duration> } };
        let without = shape! { struct Root { lasts: Duration, many: Vec<u64> } };
        assert_ne!(with, without);
    }
}
