//! The folder of read models, and what may be a name in it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Builds;

/// The longest name of a read model, so that every file system takes the names made from it.
const LONGEST_NAME: usize = 100;

/// Why a read model cannot have its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameProblem {
    /// It is empty or too long.
    Length(usize),
    /// It has a character that may mean something else to a file system.
    Character(char),
    /// It begins with a full stop.
    Hidden,
}

impl std::fmt::Display for NameProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Length(length) => {
                write!(f, "its name has {length} bytes, expected 1 to {LONGEST_NAME}: rename it")
            }
            Self::Character(other) => {
                let expected = "expected only ASCII letters, digits, '-', '_' and '.'";
                write!(f, "its name has the character {other:?}, {expected}: rename it")
            }
            Self::Hidden => f.write_str("its name starts with '.', which hides files: rename it"),
        }
    }
}

impl std::error::Error for NameProblem {}

/// Whether a read model can have this name, in a folder or elsewhere.
///
/// # Errors
/// When the name could leave the folder or would not be taken everywhere.
pub fn check_name(name: &str) -> Result<(), NameProblem> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > LONGEST_NAME {
        return Err(NameProblem::Length(name.len()));
    }
    if let Some(other) = name.chars().find(|c| !allowed(*c)) {
        return Err(NameProblem::Character(other));
    }
    if name.starts_with('.') {
        return Err(NameProblem::Hidden);
    }
    Ok(())
}

/// The folder of the read models, removed at the end when it was made for the time being.
#[derive(Debug)]
pub struct ModelFolder {
    path: PathBuf,
    temporary: bool,
}

impl ModelFolder {
    /// The folder at `path`, which is made when there is none.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn lasting(path: impl AsRef<Path>) -> std::io::Result<Self> {
        std::fs::create_dir_all(&path)?;
        Ok(Self { path: std::path::absolute(path)?, temporary: false })
    }

    /// A new folder among the system's temporary files, for this user alone, which is removed when this is dropped.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn temporary() -> std::io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let mut builder = std::fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("annals-read-models-{}-{count}", std::process::id());
            let path = std::path::absolute(std::env::temp_dir().join(name))?;
            match builder.create(&path) {
                Ok(()) => return Ok(Self { path, temporary: true }),
                // Left by a killed process that had the same number.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is removed in the end: nothing in it has to survive the loss of power.
    pub fn is_temporary(&self) -> bool {
        self.temporary
    }

    /// The builds of a projection's version, in files that end with `extension`.
    ///
    /// # Errors
    /// When the name could leave the folder or would not be taken everywhere.
    pub fn builds(&self, name: &str, version: u32, extension: &'static str) -> Result<Builds, NameProblem> {
        check_name(name)?;
        Ok(Builds::new(self.path.clone(), format!("{name}-v{version}"), extension))
    }
}

impl Drop for ModelFolder {
    fn drop(&mut self) {
        if self.temporary {
            // What cannot be removed is left to the system, which clears this place anyway.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        let folder = ModelFolder::temporary().unwrap();
        for name in ["", "../a", "a/b", "a\\b", ".a", "a:b", "ü", &"x".repeat(101)] {
            let problem = folder.builds(name, 1, "sqlite").unwrap_err();
            assert!(problem.to_string().contains("its name"), "{name}");
        }
        let builds = folder.builds("a.b_c-D", 7, "sqlite").unwrap();
        assert!(builds.path_of(0).ends_with("a.b_c-D-v7.sqlite"));
        assert!(builds.path_of(3).ends_with("a.b_c-D-v7.build-3.sqlite"));
    }

    #[test]
    fn a_temporary_folder_is_gone_afterwards() {
        let folder = ModelFolder::temporary().unwrap();
        let path = folder.path.clone();
        assert!(path.is_dir());
        drop(folder);
        assert!(!path.exists());
    }
}
