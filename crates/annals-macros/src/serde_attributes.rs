//! What serde is told of an event, as far as it decides whether stored events can be read.

use quote::ToTokens;
use syn::punctuated::Punctuated;
use syn::{Attribute, Meta, Result, Token};

/// What says how the code is written, and nothing about what is stored.
const NOT_STORED: [&str; 4] = ["crate", "bound", "borrow", "expecting"];

/// The serde attributes of a type, a variant or a field.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct ToldToSerde {
    /// Whether what is missing in a stored event is filled in.
    pub(crate) has_default: bool,
    /// Whether a function of its own reads it, which then wants it to be there, be it an `Option` or not.
    pub(crate) has_own_reader: bool,
    /// Whether a stored event must not hold more than is known.
    pub(crate) refuses_unknown: bool,
    /// All but the default, as text.
    pub(crate) rest: String,
}

impl ToldToSerde {
    pub(crate) fn of(attributes: &[Attribute]) -> Result<Self> {
        let mut told = Self::default();
        let mut rest = Vec::new();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
            for meta in attribute.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)? {
                let is = |names: &[&str]| names.iter().any(|name| meta.path().is_ident(name));
                // A field that is not read has its default too.
                told.has_default |= is(&["default", "skip", "skip_deserializing"]);
                told.has_own_reader |= is(&["with", "deserialize_with"]);
                told.refuses_unknown |= is(&["deny_unknown_fields"]);
                if !is(&["default"]) && !is(&NOT_STORED) {
                    rest.push(meta.to_token_stream().to_string());
                }
            }
        }
        told.rest = rest.join(", ");
        Ok(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(field: &str) -> ToldToSerde {
        let input: syn::DeriveInput = syn::parse_str(&format!("struct Event {{ {field} }}")).unwrap();
        let syn::Data::Struct(data) = input.data else { unreachable!("it is a struct") };
        ToldToSerde::of(&data.fields.iter().next().unwrap().attrs).unwrap()
    }

    #[test]
    fn defaults_are_found_where_they_are() {
        assert_eq!(told("a: u8"), ToldToSerde::default());
        let default = ToldToSerde { has_default: true, ..ToldToSerde::default() };
        assert_eq!(told("#[serde(default)] a: u8"), default);
        assert_eq!(told(r#"#[serde(default = "some::path")] a: u8"#), default);
        let renamed = told(r#"#[serde(rename = "default_x")] a: u8"#);
        assert_eq!((renamed.has_default, renamed.rest.as_str()), (false, r#"rename = "default_x""#));
        let both = told(
            r#"#[serde(default = "x", rename(serialize = "b", deserialize = "c"))] #[serde(flatten)] a: u8"#,
        );
        assert!(both.has_default);
        assert_eq!(both.rest, r#"rename (serialize = "b" , deserialize = "c"), flatten"#);
        let skipped = told("#[serde(skip)] a: u8");
        assert_eq!((skipped.has_default, skipped.rest.as_str()), (true, "skip"));
    }

    #[test]
    fn what_reads_in_its_own_way_is_found() {
        assert!(told(r#"#[serde(with = "hex")] a: Option<u8>"#).has_own_reader);
        assert!(told(r#"#[serde(deserialize_with = "read")] a: Option<u8>"#).has_own_reader);
        assert!(!told(r#"#[serde(serialize_with = "write", rename = "with")] a: Option<u8>"#).has_own_reader);
    }

    #[test]
    fn what_does_not_decide_what_is_stored_is_left_out() {
        let told = told(r#"#[serde(bound = "T: Read", borrow, deny_unknown_fields)] a: u8"#);
        assert_eq!((told.refuses_unknown, told.rest.as_str()), (true, "deny_unknown_fields"));
    }
}
