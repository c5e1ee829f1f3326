//! How many lines the domain takes, written for Annals and for the peer.

use std::io::Write;
use std::process::{Command, Stdio};

use super::Run;
use super::cqrs_es::CQRS_ES;
use crate::failure::{Failure, Result, failed};
use crate::targets::ANNALS;

pub(super) const DOMAIN_LINES: &str = "domain_lines";

const DOMAINS: [(&str, &str); 2] = [
    (ANNALS, include_str!("../../../crates/annals/examples/small_bank.rs")),
    (CQRS_ES, include_str!("peer_bank.rs")),
];
const BEGIN: &str = "// The domain begins here.";
const END: &str = "// The domain ends here.";

/// Counts the lines of each.
pub(super) fn run(run: &mut Run) -> Result<()> {
    for (name, source) in DOMAINS {
        let lines = lines_of(&formatted(run, source)?)?;
        run.report.add(DOMAIN_LINES, name, lines as f64, "lines", None);
    }
    run.report.note(format!(
        "{DOMAIN_LINES}: an account that is opened, paid in to and drawn from: state, events, commands, errors and two functions, \
         formatted by rustfmt as it is by default, without `use`, blank lines and comments"
    ));
    Ok(())
}

/// The source as rustfmt lays it out where no file says otherwise.
fn formatted(run: &Run, source: &str) -> Result<String> {
    let cannot =
        |error| Failure::from(format!("cannot run rustfmt: {error}; `rustup component add rustfmt`"));
    let mut rustfmt = Command::new("rustfmt")
        .args(["--edition", "2024", "--emit", "stdout"])
        .args(["--config", "max_width=100,use_small_heuristics=Default"])
        .current_dir(run.scratch.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(cannot)?;
    if let Some(mut stdin) = rustfmt.stdin.take() {
        stdin.write_all(source.as_bytes())?;
    }
    let done = rustfmt.wait_with_output()?;
    match done.status.success() {
        true => Ok(String::from_utf8(done.stdout)?),
        false => failed(format!("rustfmt ended with {}: see above", done.status)),
    }
}

/// The lines between the two marks that are neither blank, nor comments, nor a `use`.
fn lines_of(source: &str) -> Result<usize> {
    let (_, behind) = source.split_once(BEGIN).ok_or_else(|| unmarked(BEGIN))?;
    let (domain, _) = behind.split_once(END).ok_or_else(|| unmarked(END))?;
    let mut within_use = false;
    let counts = |line: &&str| {
        within_use |= line.starts_with("use ");
        let counts = !(within_use || line.is_empty() || line.starts_with("//"));
        within_use &= !line.ends_with(';');
        counts
    };
    Ok(domain.lines().map(str::trim).filter(counts).count())
}

fn unmarked(mark: &str) -> Failure {
    Failure::from(format!("a domain has no line {mark:?}, expected it around what is counted"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_of_the_domain_are_counted() {
        let source = format!(
            "struct Before;\n{BEGIN}\n\n/// Told.\nstruct Account {{\n    open: bool, // so far\n}}\n    use a::b;\n\
             use c::{{\n    d,\n}};\nfn two() {{}}\n{END}\nstruct Behind;\n"
        );
        assert_eq!(lines_of(&source).unwrap(), 4);
    }
}
