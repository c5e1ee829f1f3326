//! The test that `derive(Event)` writes: stored events can still be read.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote};
use syn::{Data, DeriveInput, Fields, LitStr, Result};

use crate::attributes::{crate_path, name_of, of_type, told_to_serde};

pub(crate) fn test(input: &DeriveInput) -> Result<TokenStream> {
    let of_type = of_type(input, "event")?;
    if of_type.is_unlocked || !input.generics.params.is_empty() {
        return Ok(TokenStream::new());
    }
    let (krate, ident) = (crate_path(input)?, &input.ident);
    let forms = match &input.data {
        Data::Enum(data) => {
            let forms = data
                .variants
                .iter()
                .map(|variant| Ok(form(&name_of(variant, "event")?, &variant.fields, &krate)));
            forms.collect::<Result<Vec<_>>>()?
        }
        Data::Struct(data) => {
            let name = of_type.name.unwrap_or_else(|| LitStr::new(&ident.to_string(), ident.span()));
            vec![form(&name, &data.fields, &krate)]
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

fn form(name: &LitStr, fields: &Fields, krate: &syn::Path) -> TokenStream {
    let fields = fields.iter().enumerate().map(|(index, field)| {
        let name = field.ident.as_ref().map_or_else(|| index.to_string(), ToString::to_string);
        let (field_type, attributes) = (field.ty.to_token_stream().to_string(), told_to_serde(&field.attrs));
        quote! {
            #krate::event_lock::FieldForm { name: #name, field_type: #field_type, attributes: #attributes }
        }
    });
    quote!(#krate::event_lock::EventForm { name: #name, fields: &[#(#fields),*] })
}
