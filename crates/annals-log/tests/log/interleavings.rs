//! Runs the tests of `tests/shuttle`, which need a build of their own.

use std::process::Command;

#[test]
fn the_tests_under_many_interleavings_pass() {
    let target = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().join("shuttle");
    let run = Command::new(env!("CARGO"))
        .args(["test", "--locked", "-p", "annals-log", "--test", "shuttle", "--target-dir"])
        .arg(&target)
        .args(["--", "--show-output", "--test-threads=1"])
        .env("RUSTFLAGS", "--cfg shuttle")
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&run.stdout);
    let failed = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{printed}\n{failed}");
    let evidence: Vec<&str> = printed.lines().filter(|line| line.starts_with("evidence: ")).collect();
    assert_eq!(evidence.len(), 2, "{printed}");
    evidence.iter().for_each(|line| println!("{line}"));
}
