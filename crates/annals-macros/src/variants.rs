//! `Event` and `Command`: names by variant, and the tags of events.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Data, DataEnum, DeriveInput, Field, Fields, LitStr, Result};

use crate::attributes::{check_name, crate_path, name_of, of_type, text};
use crate::event_lock;

pub(crate) fn event(input: &DeriveInput) -> Result<TokenStream> {
    let (named, upcasters) = (named(input, "event")?, upcasters(input)?);
    let tags = match &input.data {
        Data::Enum(data) => tags_of_variants(data)?,
        Data::Struct(data) => {
            let (pattern, pushes) = tags_of_fields(&data.fields)?;
            if pushes.is_empty() { TokenStream::new() } else { quote!(let Self #pattern = self; #(#pushes)*) }
        }
        Data::Union(_) => TokenStream::new(),
    };
    let (krate, ident) = (crate_path(input)?, &input.ident);
    let (generics, arguments, conditions) = input.generics.split_for_impl();
    let lock = event_lock::test(input)?;
    Ok(quote! {
        #named
        #lock
        impl #generics #krate::Event for #ident #arguments #conditions {
            #upcasters
            fn tags(&self) -> ::core::result::Result<::std::vec::Vec<#krate::Tag>, #krate::NameError> {
                #[allow(unused_mut)]
                let mut tags = ::std::vec::Vec::new();
                #tags
                ::core::result::Result::Ok(tags)
            }
        }
    })
}

/// The list of upcasters that `#[event(upcasters = …)]` on the type names.
fn upcasters(input: &DeriveInput) -> Result<TokenStream> {
    let krate = crate_path(input)?;
    let list = of_type(input, "event")?.upcasters;
    Ok(list
        .map_or_else(TokenStream::new, |list| quote!(const UPCASTERS: &'static [#krate::Upcaster] = #list;)))
}

pub(crate) fn command(input: &DeriveInput) -> Result<TokenStream> {
    let named = named(input, "command")?;
    let (krate, ident) = (crate_path(input)?, &input.ident);
    let (generics, arguments, conditions) = input.generics.split_for_impl();
    let validate = of_type(input, "command")?.validate.map(|path| {
        quote! {
            fn validate(&self) -> ::core::result::Result<(), #krate::Invalid> {
                #path(self)
            }
        }
    });
    Ok(quote! {
        #named
        impl #generics #krate::Command for #ident #arguments #conditions {
            #validate
        }
    })
}

/// The list of names, and which of them a value has.
fn named(input: &DeriveInput, attribute: &str) -> Result<TokenStream> {
    let (names, index): (Vec<LitStr>, TokenStream) = match &input.data {
        Data::Enum(data) => {
            let names = data.variants.iter().map(|variant| name_of(variant, attribute));
            let names = names.collect::<Result<Vec<_>>>()?;
            refuse_repetition(&names)?;
            let arms = data.variants.iter().enumerate().map(|(index, variant)| {
                let ident = &variant.ident;
                quote!(Self::#ident { .. } => #index,)
            });
            (names, quote!(match self { #(#arms)* }))
        }
        Data::Struct(_) => {
            let given = of_type(input, attribute)?.name;
            let name = given.unwrap_or_else(|| LitStr::new(&input.ident.to_string(), input.ident.span()));
            check_name(&name)?;
            (vec![name], quote!(0))
        }
        Data::Union(_) => return Err(syn::Error::new_spanned(input, "expected an enum or a struct")),
    };
    if names.is_empty() {
        return Err(syn::Error::new_spanned(input, "expected at least one variant"));
    }
    let (krate, ident) = (crate_path(input)?, &input.ident);
    let (generics, arguments, conditions) = input.generics.split_for_impl();
    Ok(quote! {
        impl #generics #krate::Named for #ident #arguments #conditions {
            const NAMES: &'static [&'static str] = &[#(#names),*];
            fn name_index(&self) -> usize {
                #index
            }
        }
    })
}

fn refuse_repetition(names: &[LitStr]) -> Result<()> {
    let mut seen = std::collections::HashSet::new();
    match names.iter().find(|name| !seen.insert(name.value())) {
        Some(name) => Err(syn::Error::new(name.span(), "this name is given twice")),
        None => Ok(()),
    }
}

fn tags_of_variants(data: &DataEnum) -> Result<TokenStream> {
    let mut arms = Vec::new();
    for variant in &data.variants {
        let (pattern, pushes) = tags_of_fields(&variant.fields)?;
        if !pushes.is_empty() {
            let ident = &variant.ident;
            arms.push(quote!(Self::#ident #pattern => { #(#pushes)* }));
        }
    }
    if arms.is_empty() {
        return Ok(TokenStream::new());
    }
    Ok(quote!(#[allow(unreachable_patterns)] match self { #(#arms)* _ => {} }))
}

/// A pattern that binds the tagged fields, and a statement per tag.
fn tags_of_fields(fields: &Fields) -> Result<(TokenStream, Vec<TokenStream>)> {
    let mut bindings = Vec::new();
    let mut pushes = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        let Some(key) = text(&field.attrs, "event", "tag")? else { continue };
        let binding = format_ident!("field_{index}");
        bindings.push(bind(field, index, &binding));
        pushes.push(quote!(tags.push(::core::convert::TryFrom::try_from(
            ::std::format!("{}:{}", #key, #binding).as_str())?);));
    }
    Ok((quote!({ #(#bindings,)* .. }), pushes))
}

fn bind(field: &Field, index: usize, binding: &syn::Ident) -> TokenStream {
    match &field.ident {
        Some(name) => quote!(#name: #binding),
        None => {
            let index = syn::Index::from(index);
            quote!(#index: #binding)
        }
    }
}
