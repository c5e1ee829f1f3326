//! `DomainError`: a code per variant.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, LitStr, Result};

use crate::attributes::crate_path;

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let Data::Enum(data) = &input.data else {
        return Err(syn::Error::new_spanned(
            &input.ident,
            "expected an enum: implement DomainError by hand instead",
        ));
    };
    let mut arms = Vec::new();
    for variant in &data.variants {
        let ident = &variant.ident;
        let given = variant.attrs.iter().find(|attribute| attribute.path().is_ident("code"));
        let code = match given {
            Some(attribute) => attribute.parse_args::<LitStr>()?,
            None => LitStr::new(&kebab_case(&ident.to_string()), ident.span()),
        };
        arms.push(quote!(Self::#ident { .. } => #code,));
    }
    // A reference to a type without values is matched by what it refers to.
    let code = if arms.is_empty() { quote!(match *self {}) } else { quote!(match self { #(#arms)* }) };
    let (krate, ident) = (crate_path(input)?, &input.ident);
    let (generics, arguments, conditions) = input.generics.split_for_impl();
    Ok(quote! {
        impl #generics #krate::DomainError for #ident #arguments #conditions {
            fn code(&self) -> &'static str {
                #code
            }
        }
    })
}

/// `InsufficientFunds` becomes `insufficient-funds`.
fn kebab_case(name: &str) -> String {
    let mut out = String::new();
    for (index, c) in name.chars().enumerate() {
        if c.is_uppercase() && index > 0 {
            out.push('-');
        }
        out.extend(c.to_lowercase());
    }
    out
}
