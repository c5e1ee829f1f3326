//! `Query`: the name, the answer's type and the read model that a question is answered from.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{DeriveInput, LitStr, Result, Type};

use crate::attributes::{check_name, crate_path};

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let mut name = LitStr::new(&input.ident.to_string(), input.ident.span());
    let (mut output, mut from): (Option<Type>, Option<Type>) = (None, None);
    for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("query")) {
        attribute.parse_nested_meta(|meta| {
            match meta.path.get_ident().map(ToString::to_string).as_deref() {
                Some("output") => output = Some(meta.value()?.parse()?),
                Some("from") => from = Some(meta.value()?.parse()?),
                Some("name") => name = meta.value()?.parse()?,
                _ => {
                    return Err(meta.error("expected `output = Type`, `from = Projection` or `name = \"…\"`"));
                }
            }
            Ok(())
        })?;
    }
    check_name(&name)?;
    let (Some(output), Some(from)) = (output, from) else {
        let expected = "expected #[query(output = Type, from = Projection)]";
        return Err(syn::Error::new_spanned(&input.ident, expected));
    };
    let (krate, ident) = (crate_path(input)?, &input.ident);
    let (generics, arguments, conditions) = input.generics.split_for_impl();
    Ok(quote! {
        impl #generics #krate::Query for #ident #arguments #conditions {
            const NAME: &'static str = #name;
            type Output = #output;
            type Source = #from;
        }
    })
}
