//! Who asks.

use std::borrow::Cow;

/// Who asks. Authentication is the business of the door that the request came through.
///
/// ```
/// # use annals_app::Principal;
/// let ann = Principal::named("ann").with_roles(["teller", "auditor"]);
/// assert!(ann.has_role("teller"));
/// assert!(!Principal::anonymous().has_role("teller"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Principal {
    /// The name, recorded with the events.
    pub name: Cow<'static, str>,
    /// What the door knows of them besides, for [`App::permission`](crate::App::permission) to look at; never recorded.
    pub roles: Vec<Cow<'static, str>>,
}

impl Principal {
    /// Nobody known.
    pub const fn anonymous() -> Self {
        Self { name: Cow::Borrowed("anonymous"), roles: Vec::new() }
    }

    /// Somebody by name.
    pub fn named(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), roles: Vec::new() }
    }

    /// The same, with these roles in place of the ones before.
    #[must_use]
    pub fn with_roles<R: Into<Cow<'static, str>>>(mut self, roles: impl IntoIterator<Item = R>) -> Self {
        self.roles = roles.into_iter().map(Into::into).collect();
        self
    }

    /// Whether they have a role.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|own| own == role)
    }
}

impl Default for Principal {
    fn default() -> Self {
        Self::anonymous()
    }
}
