//! Events as they are written in the source, and how they are written in the file.

/// An event as it is written in the source.
#[derive(Debug, Clone, Copy)]
pub struct EventForm {
    /// The type under which it is stored.
    pub name: &'static str,
    /// What serde is told of its type, and behind a semicolon what it is told of its variant.
    pub attributes: &'static str,
    /// Whether a field that it does not know makes a stored event unreadable.
    pub refuses_unknown: bool,
    /// Its fields, in order.
    pub fields: &'static [FieldForm],
}

/// A field of an event as it is written in the source.
#[derive(Debug, Clone, Copy)]
pub struct FieldForm {
    /// Its name; a number where it has none.
    pub name: &'static str,
    /// Its type.
    pub field_type: &'static str,
    /// What serde is told about it, but for a default.
    pub attributes: &'static str,
    /// Whether something is there in its place when it is missing in a stored event.
    pub has_default: bool,
    /// Whether a function of its own reads it.
    pub has_own_reader: bool,
}

/// The name of an event as one word of a line.
pub(super) fn name_word(name: &str) -> String {
    let is_plain = |c: char| !c.is_whitespace() && !matches!(c, '(' | '\\');
    let escaped = |c: char| if is_plain(c) { c.to_string() } else { c.escape_unicode().to_string() };
    name.chars().map(escaped).collect()
}

impl FieldForm {
    pub(super) fn is_optional(&self) -> bool {
        let path = self.field_type.split('<').next().unwrap_or_default();
        let is_option = path.rsplit("::").next().is_some_and(|name| name.trim() == "Option");
        // Serde takes an Option for missing only where it reads it itself.
        self.has_default || (is_option && !self.has_own_reader)
    }

    /// What must stay the same, in one word.
    pub(super) fn written(&self) -> String {
        match self.attributes {
            "" => one_word(self.field_type),
            told => format!("{}({})", one_word(self.field_type), one_word(told)),
        }
    }
}

/// Source text without white space; what stands between quotes stays what it is.
pub(super) fn one_word(text: &str) -> String {
    let (mut word, mut is_quoted, mut is_escaped) = (String::new(), false, false);
    for c in text.chars() {
        match c.is_whitespace() {
            true if is_quoted => word.extend(c.escape_unicode()),
            true => {}
            false => word.push(c),
        }
        is_quoted ^= c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
    }
    word
}
