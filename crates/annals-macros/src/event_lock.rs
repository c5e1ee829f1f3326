//! The test that `derive(Event)` writes: stored events can still be read.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote};
use syn::{Data, DeriveInput, Fields, LitStr, Result};

use crate::attributes::{crate_path, name_of, of_type};
use crate::serde_attributes::ToldToSerde;

pub(crate) fn test(input: &DeriveInput) -> Result<TokenStream> {
    let of_type = of_type(input, "event")?;
    if of_type.is_unlocked || !input.generics.params.is_empty() {
        return Ok(TokenStream::new());
    }
    let (krate, ident) = (crate_path(input)?, &input.ident);
    let told = ToldToSerde::of(&input.attrs)?;
    let forms = match &input.data {
        Data::Enum(data) => {
            let forms = data.variants.iter().map(|variant| {
                let of_variant = ToldToSerde::of(&variant.attrs)?;
                form(&name_of(variant, "event")?, &variant.fields, &told, Some(&of_variant), &krate)
            });
            forms.collect::<Result<Vec<_>>>()?
        }
        Data::Struct(data) => {
            let name = of_type.name.unwrap_or_else(|| LitStr::new(&ident.to_string(), ident.span()));
            vec![form(&name, &data.fields, &told, None, &krate)?]
        }
        Data::Union(_) => Vec::new(),
    };
    let (test, type_name) = (format_ident!("stored_events_of_{ident}_can_be_read"), ident.to_string());
    Ok(quote! {
        #[cfg(test)]
        #[test]
        #[allow(non_snake_case, unnameable_test_items, clippy::panic)]
        fn #test() {
            let forms = &[#(#forms),*];
            let checked = #krate::event_lock::check_events::<#ident>(::core::env!("CARGO_MANIFEST_DIR"), #type_name, forms);
            if let ::core::result::Result::Err(problem) = checked {
                ::core::panic!("{problem}");
            }
        }
    })
}

fn form(
    name: &LitStr,
    fields: &Fields,
    of_type: &ToldToSerde,
    of_variant: Option<&ToldToSerde>,
    krate: &syn::Path,
) -> Result<TokenStream> {
    let fields = fields.iter().enumerate().map(|(index, field)| {
        let name = field.ident.as_ref().map_or_else(|| index.to_string(), ToString::to_string);
        let ToldToSerde { has_default, has_own_reader, rest, .. } = ToldToSerde::of(&field.attrs)?;
        // That of a struct is that of each of its fields.
        let has_default = has_default || of_type.has_default;
        let field_type = field.ty.to_token_stream().to_string();
        Ok(quote! {
            #krate::event_lock::FieldForm {
                name: #name, field_type: #field_type, attributes: #rest, has_default: #has_default,
                has_own_reader: #has_own_reader,
            }
        })
    });
    let fields = fields.collect::<Result<Vec<_>>>()?;
    let (of_type_told, refuses_unknown) = (&of_type.rest, of_type.refuses_unknown);
    // The same words mean something else on a variant.
    let attributes = match of_variant.filter(|told| !told.rest.is_empty()) {
        Some(told) => format!("{of_type_told};{}", told.rest),
        None => of_type_told.clone(),
    };
    Ok(quote! {
        #krate::event_lock::EventForm {
            name: #name, attributes: #attributes, refuses_unknown: #refuses_unknown, fields: &[#(#fields),*],
        }
    })
}

#[cfg(test)]
mod tests {
    fn written(input: &str) -> String {
        super::test(&syn::parse_str(input).unwrap()).unwrap().to_string()
    }

    #[test]
    fn the_default_of_a_struct_is_that_of_its_fields() {
        let defaulted = written("#[serde(default)] struct Opened { a: u8, b: u8 }");
        assert_eq!(defaulted.matches("has_default : true").count(), 2, "{defaulted}");
        assert!(defaulted.contains(r#"attributes : "" , refuses_unknown : false"#), "{defaulted}");
        let one = written("struct Opened { #[serde(default)] a: u8, b: u8 }");
        assert_eq!(one.matches("has_default : true").count(), 1, "{one}");
    }

    #[test]
    fn the_attributes_of_types_and_variants_are_told_apart() {
        let both = written(
            r#"#[serde(rename_all = "A", deny_unknown_fields)] enum E { #[serde(rename_all = "B")] F { a: u8 }, G }"#,
        );
        let quoted = |attributes: &str| format!("attributes : {attributes:?} , refuses_unknown : true");
        assert!(
            both.contains(&quoted(r#"rename_all = "A", deny_unknown_fields;rename_all = "B""#)),
            "{both}"
        );
        assert!(both.contains(&quoted(r#"rename_all = "A", deny_unknown_fields"#)), "{both}");
    }
}
