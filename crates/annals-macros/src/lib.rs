//! The derives of Annals. Each writes one small `impl` that could be written by hand, and changes nothing else.

mod attributes;
mod domain_error;
mod event_lock;
mod query;
mod serde_attributes;
mod state;
mod variants;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

fn finish(tokens: syn::Result<proc_macro2::TokenStream>) -> TokenStream {
    tokens.unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Implements `Event` (and `Named`) for an enum with a variant per event, or for a struct that is one event.
///
/// - An event's name is that of its variant, or `#[event(name = "…")]` on the variant.
/// - `#[event(upcasters = LIST)]` on the type names the `&'static [Upcaster]` by which events of older forms are read.
/// - `#[event(tag = "course")]` on a field adds the tag `course:` followed by the field's text.
/// - In unit tests it also writes a test that compares the events with those in the file `events.lock` beside `Cargo.toml`, and
///   fails when stored events could not be read any more; `#[event(unlocked)]` on the type leaves it out. It sees the fields with
///   their types by name and all serde attributes; it does not see what changes within the type of a field.
/// - `#[annals(crate = path)]` on the type names the crate that holds the traits, `::annals` unless told otherwise.
#[proc_macro_derive(Event, attributes(event, annals))]
pub fn derive_event(input: TokenStream) -> TokenStream {
    finish(variants::event(&parse_macro_input!(input as DeriveInput)))
}

/// Implements `Command` (and `Named`) for an enum with a variant per command, or for a struct that is one command.
///
/// - A command's name is that of its variant, or `#[command(name = "…")]` on the variant.
/// - `#[command(validate = path)]` on the type names a `fn(&Self) -> Result<(), Invalid>` that looks at each command before
///   anything is loaded for it.
#[proc_macro_derive(Command, attributes(command, annals))]
pub fn derive_command(input: TokenStream) -> TokenStream {
    finish(variants::command(&parse_macro_input!(input as DeriveInput)))
}

/// Implements `Query` for a struct: `#[query(output = Type, from = Projection)]`, and `name = "…"` to give another name
/// than the struct's.
#[proc_macro_derive(Query, attributes(query, annals))]
pub fn derive_query(input: TokenStream) -> TokenStream {
    finish(query::derive(&parse_macro_input!(input as DeriveInput)))
}

/// Implements `State` for the state of an aggregate, or for a part of it: a digest of the names, types and serde
/// attributes of its fields, by which a saved state is known to be of another shape.
#[proc_macro_derive(State, attributes(annals))]
pub fn derive_state(input: TokenStream) -> TokenStream {
    finish(state::derive(&parse_macro_input!(input as DeriveInput)))
}

/// Implements `DomainError` for an enum: the code that clients see is the variant's name in kebab case, or
/// `#[code("…")]` on the variant.
#[proc_macro_derive(DomainError, attributes(code, annals))]
pub fn derive_domain_error(input: TokenStream) -> TokenStream {
    finish(domain_error::derive(&parse_macro_input!(input as DeriveInput)))
}
