//! Reads the attributes of the derives.

use syn::meta::ParseNestedMeta;
use syn::{Attribute, DeriveInput, LitStr, Path, Result, Variant, parse_quote};

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
