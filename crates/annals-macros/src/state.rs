//! `State`: what a saved state looks like, as a digest.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Data, DeriveInput, Field, Fields, Result, Type};

use crate::attributes::{crate_path, told_to_serde};

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    if !input.generics.params.is_empty() {
        let expected = "expected a type without parameters: its shape would not be the same for all of them";
        return Err(syn::Error::new_spanned(&input.generics, expected));
    }
    let (krate, ident) = (crate_path(input)?, &input.ident);
    let (mut description, mut parts) = (told_to_serde(&input.attrs), Vec::new());
    match &input.data {
        Data::Struct(data) => describe(&data.fields, &mut description, &mut parts),
        Data::Enum(data) => {
            for variant in &data.variants {
                description += &format!("|{}{}", told_to_serde(&variant.attrs), variant.ident);
                describe(&variant.fields, &mut description, &mut parts);
            }
        }
        Data::Union(_) => {
            return Err(syn::Error::new_spanned(ident, "expected a struct or an enum, found a union"));
        }
    }
    Ok(quote! {
        impl #krate::State for #ident {
            fn shape(seen: &mut ::std::vec::Vec<::core::any::TypeId>) -> u64 {
                #[allow(unused_imports)]
                use #krate::state::NoShape as _;
                if let ::core::option::Option::Some(again) = #krate::state::shape_again::<Self>(seen) {
                    return again;
                }
                let parts: [u64; _] = [#((&#krate::state::ShapeOf::<#parts>(::core::marker::PhantomData)).ask(seen)),*];
                #krate::state::shape_of(#description, parts)
            }
        }
    })
}

fn describe(fields: &Fields, description: &mut String, parts: &mut Vec<Type>) {
    for Field { ident, ty, attrs, .. } in fields {
        let name = ident.as_ref().map(ToString::to_string).unwrap_or_default();
        *description += &format!(",{}{name}:{}", told_to_serde(attrs), ty.to_token_stream());
        parts.push(ty.clone());
    }
}
