//! Runs the tests of the log and keeps what they print as evidence, with the machine and the commit.
//!
//! `cargo run --release -p annals-log --example evidence -- [--output FILE] [LOGFILE]`. With LOGFILE the tests are not run again: it
//! is what `cargo test -p annals-log -- --show-output` printed. Fails when a test failed, and writes nothing then.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use annals_core::{Clock, SystemClock};
use serde_json::{Value, json};

type Failure = Box<dyn std::error::Error>;

const TESTS: [&str; 6] = ["test", "-p", "annals-log", "--locked", "--", "--show-output"];
/// So begins a line that a test prints as evidence; JSON follows.
const EVIDENCE: &str = "evidence: ";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    let mut output = PathBuf::from("evidence.json");
    let mut log_file = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--output" => output = arguments.next().ok_or("--output needs a file")?.into(),
            _ => log_file = Some(PathBuf::from(argument)),
        }
    }
    let printed = match log_file {
        Some(path) => {
            std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?
        }
        None => run_tests()?,
    };
    let counts = counts(&printed)?;
    let evidence = printed
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix(EVIDENCE))
        .map(|json| serde_json::from_str(json).map_err(|error| format!("{json}: {error}").into()))
        .collect::<Result<Vec<Value>, Failure>>()?;
    if evidence.is_empty() {
        return Err("no test printed evidence".into());
    }
    let report = json!({
        "date": SystemClock.now().to_string(),
        "commit": said("git", &["rev-parse", "HEAD"]),
        "changed since": !said("git", &["status", "--porcelain"]).is_empty(),
        "machine": machine(),
        "command": format!("cargo {}", TESTS.join(" ")),
        "tests": counts,
        "evidence": evidence,
    });
    std::fs::write(&output, format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    println!("{} pieces of evidence are in {}", evidence.len(), output.display());
    Ok(())
}

/// Runs the tests, showing what they print.
fn run_tests() -> Result<String, Failure> {
    let mut child = Command::new("cargo").args(TESTS).stdout(Stdio::piped()).spawn()?;
    let mut printed = String::new();
    let stdout = child.stdout.take().ok_or("the tests have no output")?;
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        writeln!(std::io::stdout(), "{line}")?;
        printed.push_str(&line);
        printed.push('\n');
    }
    if child.wait()?.success() { Ok(printed) } else { Err("a test failed".into()) }
}

/// How many tests passed and were ignored, by the lines in which the test programs sum up.
fn counts(printed: &str) -> Result<Value, Failure> {
    let (mut programs, mut passed, mut ignored) = (0, 0, 0);
    for line in printed.lines() {
        let Some(result) = line.trim_start().strip_prefix("test result: ") else { continue };
        if !result.starts_with("ok.") {
            return Err(format!("a test failed: {line}").into());
        }
        let number = |what: &str| {
            let before = result.split(what).next().unwrap_or_default();
            before.split_whitespace().last().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0)
        };
        programs += 1;
        passed += number(" passed");
        ignored += number(" ignored");
    }
    if passed == 0 {
        Err("no tests were run".into())
    } else {
        Ok(json!({"programs": programs, "passed": passed, "ignored": ignored}))
    }
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stderr(Stdio::null()).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

fn machine() -> Value {
    let field = |file: &str, name: &str| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map_or("", |(_, value)| value.trim()).to_owned()
    };
    json!({
        "system": said("uname", &["-srm"]),
        "processor": field("/proc/cpuinfo", "model name"),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "memory": field("/proc/meminfo", "MemTotal"),
        "file system of temporary files": said("stat", &["-f", "-c", "%T", &std::env::temp_dir().to_string_lossy()]),
        "rustc": said("rustc", &["--version"]),
    })
}
