//! Runs the program in a folder of its own.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// A folder in which the program runs.
pub(crate) struct Place {
    folder: tempfile::TempDir,
    store: Option<String>,
    /// Where large withdrawals are told, if they are.
    notices: Option<PathBuf>,
}

/// What a run of the program said.
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), store: None, notices: None }
    }

    /// A place whose store is at this address.
    pub(crate) fn with_store(url: &str) -> Self {
        Self { store: Some(url.to_owned()), ..Self::new() }
    }

    /// The same place with a bank that tells of large withdrawals in this file.
    pub(crate) fn with_notices(self, name: &str) -> Self {
        Self { notices: Some(name.into()), ..self }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bank"));
        command.args(arguments).current_dir(self.path()).stdin(Stdio::null()).env_remove("ANNALS_STORE");
        match &self.notices {
            Some(file) => command.env("BANK_NOTICES", file),
            None => command.env_remove("BANK_NOTICES"),
        };
        if let Some(store) = &self.store {
            command.args(["--store", store]);
        }
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        Run::of(self.command(arguments).output().unwrap())
    }

    /// Runs the program, which must succeed, and reads its result.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let run = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(run.code, Some(0), "{arguments:?}: {}", run.stderr);
        serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}", run.stdout))
    }

    /// Runs the program, which must fail with this code and say so, and returns what it says.
    #[track_caller]
    pub(crate) fn fails(&self, arguments: &[&str], code: i32) -> String {
        let run = self.run(arguments);
        assert_eq!(run.code, Some(code), "{arguments:?}: {}{}", run.stdout, run.stderr);
        assert!(run.stderr.contains("error: "), "{arguments:?}: {}", run.stderr);
        assert!(!run.stderr.contains("panicked"), "{arguments:?}: {}", run.stderr);
        run.stderr
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Starts the service on a free port.
    pub(crate) fn serve(&self) -> Serving {
        let mut command = self.command(&["serve", "--listen", "127.0.0.1:0"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        // Notes on how the store was found may come before.
        let mut lines = said.by_ref().lines().map_while(Result::ok);
        let address = |line: String| {
            line.split_whitespace().find(|word| word.starts_with("http://")).map(str::to_owned)
        };
        let url = lines.find_map(address).expect("the service says where it listens");
        let url = url.trim_end_matches(';').to_owned();
        Serving { child, said, url }
    }
}

impl Run {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A running service.
pub(crate) struct Serving {
    child: Child,
    said: BufReader<std::process::ChildStderr>,
    pub(crate) url: String,
}

impl Serving {
    pub(crate) fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM and returns the exit code and what was said until then.
    pub(crate) fn stop(mut self) -> (Option<i32>, String) {
        signal(self.child.id(), "TERM");
        let mut rest = String::new();
        self.said.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn signal(process_id: u32, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &process_id.to_string()]).status();
    assert!(status.unwrap().success());
}

/// The synthetic file of 200 transactions.
pub(crate) fn synthetic() -> String {
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/transactions-200.asc").to_owned()
}
