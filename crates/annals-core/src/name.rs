//! Checked text: the names of streams, categories, event types, tags and the like.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest name, type or tag, in bytes of UTF-8.
pub const MAX_NAME_BYTES: usize = 255;

/// Why a piece of text cannot be a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text has no characters.
    #[error("{kind} is empty, expected 1 to {MAX_NAME_BYTES} bytes of UTF-8")]
    Empty {
        /// What the text was to name.
        kind: &'static str,
    },
    /// The text is longer than [`MAX_NAME_BYTES`].
    #[error("{kind} starting {start:?} has {bytes} bytes, expected at most {MAX_NAME_BYTES}: shorten it")]
    TooLong {
        /// What the text was to name.
        kind: &'static str,
        /// The first characters of the text.
        start: String,
        /// Its length in bytes.
        bytes: usize,
    },
    /// The text has a control character.
    #[error("{kind} {text:?} has a control character at byte {at}: remove it")]
    ControlCharacter {
        /// What the text was to name.
        kind: &'static str,
        /// The text.
        text: String,
        /// Where the character is, in bytes from the start.
        at: usize,
    },
    /// The name is kept for the store's own events.
    #[error("{kind} {text:?} starts with '$', which is kept for the store's own events: choose another name")]
    Reserved {
        /// What the text was to name.
        kind: &'static str,
        /// The text.
        text: String,
    },
    /// The text is not of the form `key:value`.
    #[error("tag {text:?} has no ':', expected the form key:value, such as \"course:42\"")]
    NotATag {
        /// The text.
        text: String,
    },
    /// A category has a `-`, which would end it.
    #[error("category {text:?} has a '-', which ends a category in a stream name: use another character")]
    DashInCategory {
        /// The text.
        text: String,
    },
}

fn check(kind: &'static str, text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty { kind });
    }
    if text.len() > MAX_NAME_BYTES {
        let start = text.chars().take(32).collect();
        return Err(NameError::TooLong { kind, start, bytes: text.len() });
    }
    match text.char_indices().find(|(_, c)| c.is_control()) {
        Some((at, _)) => Err(NameError::ControlCharacter { kind, text: text.to_owned(), at }),
        None => Ok(()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, |$text:ident| $extra:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text` and makes it a name.
            ///
            /// # Errors
            /// [`NameError`] when the text breaks a rule of names.
            pub fn new(text: impl AsRef<str>) -> Result<Self, NameError> {
                Self::check(text.as_ref())?;
                Ok(Self(Arc::from(text.as_ref())))
            }

            /// Checks text that need not be kept.
            pub(crate) fn check($text: &str) -> Result<(), NameError> {
                check($kind, $text)?;
                $extra
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Takes text that was checked when it was stored.
            #[allow(dead_code)]
            pub(crate) fn trusted(text: &str) -> Self {
                Self(Arc::from(text))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = NameError;
            fn try_from(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                Self::new(&*text).map_err(serde::de::Error::custom)
            }
        }
    };
}

name! {
    /// The name of a stream: a category and an id, written `account-42` (split at the first `-`).
    /// A name without a `-` is its own category.
    ///
    /// ```
    /// use annals_core::StreamName;
    /// let name = StreamName::new("account-42-a")?;
    /// assert_eq!((name.category(), name.id()), ("account", "42-a"));
    /// # Ok::<(), annals_core::NameError>(())
    /// ```
    StreamName, "stream name", |text| if text.starts_with('-') {
        Err(NameError::Empty { kind: "the category of a stream name" })
    } else {
        Ok(())
    }
}

impl StreamName {
    /// Joins a category and an id: `account` and `42` make `account-42`.
    ///
    /// # Errors
    /// [`NameError`] when the id is empty or the whole breaks a rule of names.
    pub fn from_parts(category: &Category, id: &str) -> Result<Self, NameError> {
        check("id", id)?;
        Self::new(format!("{category}-{id}"))
    }

    /// The part before the first `-`, or all of it.
    pub fn category(&self) -> &str {
        category_of(&self.0)
    }

    /// The part after the first `-`, empty when there is none.
    pub fn id(&self) -> &str {
        self.0.split_once('-').map_or("", |(_, id)| id)
    }
}

/// The category of a stream name given as text.
pub(crate) fn category_of(stream: &str) -> &str {
    stream.split_once('-').map_or(stream, |(category, _)| category)
}

name! {
    /// The kind of entity whose streams share it: the part of a [`StreamName`] before the first `-`.
    Category, "category", |text| if text.contains('-') {
        Err(NameError::DashInCategory { text: text.to_owned() })
    } else {
        Ok(())
    }
}

name! {
    /// What happened, in the past participle: `AccountOpened`. Names that start with `$` are the store's own.
    EventType, "event type", |text| if text.starts_with('$') {
        Err(NameError::Reserved { kind: "event type", text: text.to_owned() })
    } else {
        Ok(())
    }
}

name! {
    /// A `key:value` label on an event, for rules and reads that cross streams.
    Tag, "tag", |text| if text.contains(':') {
        Ok(())
    } else {
        Err(NameError::NotATag { text: text.to_owned() })
    }
}

name! {
    /// Ties together all events that one request, however long it runs, gave rise to.
    CorrelationId, "correlation id", |_text| Ok(())
}

name! {
    /// Names what directly caused an event: a command id or an event id.
    CausationId, "causation id", |_text| Ok(())
}

name! {
    /// The media type of a payload, such as `application/json`.
    ContentType, "content type", |_text| Ok(())
}

impl ContentType {
    /// `application/json`, which events have unless told otherwise.
    pub const JSON: &'static str = "application/json";
}

name! {
    /// The name of a consumer that keeps a checkpoint in the store.
    ConsumerName, "consumer name", |_text| Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_at_the_first_dash() {
        let name = StreamName::new("account-42-7").unwrap();
        assert_eq!((name.category(), name.id()), ("account", "42-7"));
        let name = StreamName::new("clock").unwrap();
        assert_eq!((name.category(), name.id()), ("clock", ""));
    }

    #[test]
    fn bad_names_say_what_is_wrong() {
        let message = |result: Result<StreamName, NameError>| result.unwrap_err().to_string();
        assert!(message(StreamName::new("")).contains("empty"));
        assert!(message(StreamName::new("a\u{7}b")).contains("control character at byte 1"));
        assert!(message(StreamName::new("é".repeat(128))).contains("256 bytes"));
        assert!(StreamName::new("é".repeat(127)).is_ok());
        assert!(StreamName::new("-1").is_err());
        assert!(EventType::new("$deleted").is_err());
        assert!(Tag::new("novalue").is_err());
        assert!(Category::new("a-b").is_err());
        let account = Category::new("account").unwrap();
        assert!(StreamName::from_parts(&account, "").is_err());
    }
}
