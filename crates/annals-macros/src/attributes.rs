//! Reads the attributes of the derives.

use quote::ToTokens;
use syn::meta::ParseNestedMeta;
use syn::{Attribute, Data, DeriveInput, Expr, LitStr, Meta, Path, Result, Variant, parse_quote};

/// The crate that holds the traits.
pub(crate) fn crate_path(input: &DeriveInput) -> Result<Path> {
    let mut path: Path = parse_quote!(::annals);
    for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("annals")) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("crate") {
                return Err(meta.error("expected `crate = path`"));
            }
            path = meta.value()?.parse()?;
            Ok(())
        })?;
    }
    Ok(path)
}

/// The value of one `key = "text"` of an attribute; another key is an error.
pub(crate) fn text(attributes: &[Attribute], attribute: &str, key: &str) -> Result<Option<LitStr>> {
    let mut found = None;
    for attribute in attributes.iter().filter(|given| given.path().is_ident(attribute)) {
        attribute.parse_nested_meta(|meta: ParseNestedMeta<'_>| {
            if !meta.path.is_ident(key) {
                return Err(meta.error(format!("expected `{key} = \"…\"` here")));
            }
            found = Some(meta.value()?.parse()?);
            Ok(())
        })?;
    }
    Ok(found)
}

/// What an attribute on a type says.
#[derive(Default)]
pub(crate) struct OfType {
    pub(crate) name: Option<LitStr>,
    pub(crate) upcasters: Option<Expr>,
    pub(crate) is_unlocked: bool,
    pub(crate) validate: Option<Path>,
}

pub(crate) fn of_type(input: &DeriveInput, attribute: &str) -> Result<OfType> {
    let mut found = OfType::default();
    for given in input.attrs.iter().filter(|given| given.path().is_ident(attribute)) {
        given.parse_nested_meta(|meta| {
            if meta.path.is_ident("name") && matches!(input.data, Data::Struct(_)) {
                found.name = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("upcasters") && attribute == "event" {
                found.upcasters = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("unlocked") && attribute == "event" {
                found.is_unlocked = true;
            } else if meta.path.is_ident("validate") && attribute == "command" {
                found.validate = Some(meta.value()?.parse()?);
            } else {
                let expected = "expected `upcasters = LIST` or `unlocked` on events, `validate = path` on commands, or \
                                `name = \"…\"` on a struct";
                return Err(meta.error(expected));
            }
            Ok(())
        })?;
    }
    Ok(found)
}

/// What serde is told of a field or a type, which may change what is stored: the arguments of its attributes.
pub(crate) fn told_to_serde(attributes: &[Attribute]) -> String {
    let told = attributes.iter().filter(|attribute| attribute.path().is_ident("serde"));
    let told = told.map(|attribute| match &attribute.meta {
        Meta::List(list) => list.tokens.to_string(),
        other => other.to_token_stream().to_string(),
    });
    told.collect::<Vec<_>>().join(", ")
}

/// The name of a variant, as given by an attribute or as written.
pub(crate) fn name_of(variant: &Variant, attribute: &str) -> Result<LitStr> {
    let given = text(&variant.attrs, attribute, "name")?;
    let name = given.unwrap_or_else(|| LitStr::new(&variant.ident.to_string(), variant.ident.span()));
    check_name(&name)?;
    Ok(name)
}

/// Refuses at compile time what the store would refuse at run time.
pub(crate) fn check_name(name: &LitStr) -> Result<()> {
    let text = name.value();
    if text.is_empty() || text.len() > 255 || text.starts_with('$') || text.chars().any(char::is_control) {
        let expected = "a name has 1 to 255 bytes, no control character, and does not start with '$'";
        return Err(syn::Error::new(name.span(), expected));
    }
    Ok(())
}
