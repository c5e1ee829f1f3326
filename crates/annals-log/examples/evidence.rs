//! Runs the tests of the log and keeps what they print as evidence, with the machine and the commit: in
//! `docs/evidence.json`, and as a table in `docs/reliability.md`.
//!
//! `cargo run --release -p annals-log --example evidence -- [LOGFILE]`. With LOGFILE the tests are not run again: it is what
//! `cargo test -p annals-log -- --show-output` printed. Fails when a test failed, and writes nothing then.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use annals_core::{Clock, SystemClock};
use serde_json::{Value, json};

type Failure = Box<dyn std::error::Error>;

const TESTS: [&str; 6] = ["test", "-p", "annals-log", "--locked", "--", "--show-output"];
/// So begins a line that a test prints as evidence; JSON follows.
const EVIDENCE: &str = "evidence: ";
/// So begins and ends the table in the page.
const BEGIN: &str = "<!-- evidence begins";
const END: &str = "<!-- evidence ends -->";

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
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let output = docs.join("evidence.json");
    let printed = match std::env::args().nth(1).map(PathBuf::from) {
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
    show(&docs.join("reliability.md"), &evidence)?;
    println!("{} pieces of evidence are in {}", evidence.len(), output.display());
    Ok(())
}

/// Puts a table of the evidence between its two marks in a page.
fn show(page: &Path, evidence: &[Value]) -> Result<(), Failure> {
    let text = std::fs::read_to_string(page)?;
    let (before, rest) = text.split_once(BEGIN).ok_or("the page has no mark where the evidence begins")?;
    let (told, rest) = rest.split_once('\n').ok_or("the mark is not a line of its own")?;
    let (_, after) = rest.split_once(END).ok_or("the page has no mark where the evidence ends")?;
    let mut table = String::from("| test | found |\n|---|---|\n");
    for piece in evidence {
        let fields = piece.as_object().ok_or("a piece of evidence is no object")?;
        let shown = fields.iter().filter(|(name, _)| *name != "test").map(|(name, value)| match value {
            Value::Object(parts) => format!("{name}: {} kinds", parts.len()),
            Value::String(text) => format!("{name} {text}"),
            number => format!("{name} {number}"),
        });
        let test = fields.get("test").and_then(Value::as_str).ok_or("a piece of evidence names no test")?;
        table += &format!("| {test} | {} |\n", shown.collect::<Vec<_>>().join(", "));
    }
    Ok(std::fs::write(page, format!("{before}{BEGIN}{told}\n{table}{END}{after}"))?)
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
