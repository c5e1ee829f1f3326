//! The bad days of `docs/bad-days.md` that come to a rebuild: it is killed, or the disk fills.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::import::large_file;
use crate::program::{Place, signal};

const ROWS: u64 = 12_000;
const STATEMENT: [&str; 4] = ["query", "Statement", "account=7", "month=1993-01"];

fn read_models(place: &Place) -> PathBuf {
    place.path().join("bank-data/read-models")
}

/// The builds of a read model that are on disk, and those of which it is said that they count.
fn builds(place: &Place, name: &str) -> (Vec<String>, Vec<String>) {
    let stem = format!("{name}-v1");
    let of = |number: &str| match number {
        "0" => format!("{stem}.sqlite"),
        _ => format!("{stem}.build-{number}.sqlite"),
    };
    let entries = std::fs::read_dir(read_models(place)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut found: Vec<String> =
        names.filter(|name| name.starts_with(&stem) && name.ends_with(".sqlite")).collect();
    found.sort();
    let word = std::fs::read_to_string(read_models(place).join(format!("{stem}.current")));
    let word = word.unwrap_or_else(|_| "current 0".to_owned());
    let mut said: Vec<String> =
        word.lines().map(|line| of(line.split_whitespace().nth(1).unwrap())).collect();
    said.sort();
    (found, said)
}

#[test]
fn a_killed_rebuild_leaves_the_old_one_and_nothing_behind() {
    let seed: u64 = std::env::var("ANNALS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(5);
    println!("seed {seed}");
    let place = Place::new();
    place.json(&["import", &large_file(&place, ROWS).0]);
    let ask = || [place.json(&["query", "Balances"]), place.json(&STATEMENT)];
    let before = ask();
    let begun = Instant::now();
    place.json(&["rebuild", "balances", "statements"]);
    let (whole, mut killed, mut left) = (begun.elapsed(), 0, 0);
    for round in 0..8_u32 {
        let mut command = place.command(&["rebuild", "balances", "statements"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // At random, between the beginning and the end.
        let part =
            (seed.wrapping_mul(6_364_136_223_846_793_005) >> 33).wrapping_add(u64::from(round) * 617) % 1_000;
        std::thread::sleep(whole.mul_f64(part as f64 / 1_000.0));
        if child.try_wait().unwrap().is_none() {
            signal(child.id(), "KILL");
            killed += 1;
        }
        child.wait().unwrap();
        for name in ["balances", "statements"] {
            let (found, said) = builds(&place, name);
            left += u32::from(found.len() > said.len());
        }
        assert_eq!(ask(), before, "seed {seed}, round {round}");
        place.json(&["projections"]);
        for name in ["balances", "statements"] {
            let (found, said) = builds(&place, name);
            assert!(found.iter().all(|build| said.contains(build)), "{found:?}, said: {said:?}, seed {seed}");
        }
    }
    println!(
        "{killed} rebuilds killed, {left} builds left half-way and removed by the next start, seed {seed}"
    );
    assert!(killed > 0, "none was killed before its end");
    let rebuilt = place.json(&["rebuild", "balances"]);
    assert_eq!(rebuilt["verified_against"], "the-one-before");
    assert_eq!(ask(), before);
    assert_eq!(place.json(&["projections", "prove", "balances"])["verdict"], "complete");
}

/// How much room is on a disk, in bytes.
fn room(disk: &Path) -> u64 {
    let run = Command::new("df").args(["--output=avail", "-B1"]).arg(disk).output().unwrap();
    String::from_utf8(run.stdout).unwrap().lines().nth(1).unwrap().trim().parse().unwrap()
}

#[test]
fn a_disk_that_fills_during_a_rebuild_is_named_and_given_back() {
    let place = Place::new();
    place.json(&["import", &large_file(&place, ROWS).0]);
    let disk = read_models(&place);
    std::fs::remove_dir_all(&disk).unwrap();
    std::fs::create_dir(&disk).unwrap();
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"]).arg(&disk).output();
    if !mount.is_ok_and(|output| output.status.success()) {
        println!("skipped: a small tmpfs can be mounted only by root");
        return;
    }
    let result = std::panic::catch_unwind(|| fills(&place, &disk));
    assert!(Command::new("umount").arg(&disk).status().unwrap().success());
    result.unwrap();
}

fn fills(place: &Place, disk: &Path) {
    let before: Value = place.json(&STATEMENT);
    place.json(&["query", "Balances"]);
    let taken = std::fs::metadata(disk.join("statements-v1.sqlite")).unwrap().len();
    let serving = place.serve();
    let url = format!("{}/queries/Statement?account=7&month=1993-01", serving.url);
    let answer = || {
        let (code, _, answer) = crate::http::send(&url, &[], None);
        assert_eq!((code, &answer), (200, &before));
    };
    answer();
    // Room for a half of it.
    let ballast = disk.join("ballast");
    std::fs::write(&ballast, vec![7; (room(disk) - taken / 2) as usize]).unwrap();
    let free = room(disk);

    let is_named = |said: &str| {
        let folder = disk.canonicalize().unwrap();
        let full = format!("if the disk that has {} is full, free some space", folder.display());
        assert!(
            said.contains("the rebuild of \"statements\" failed, and the one before goes on answering"),
            "{said}"
        );
        assert!(said.contains(&full) && !said.contains("skip"), "{said}");
    };
    is_named(&place.fails(&["rebuild", "statements", "--server", &serving.url], 1));
    answer();
    let is_back = |free: u64| {
        let (now, (found, _)) = (room(disk), builds(place, "statements"));
        assert!(now + 65_536 >= free, "{free} bytes were free, now {now}");
        assert_eq!(found, ["statements-v1.sqlite"], "nothing half-built is left");
    };
    is_back(free);
    let rebuild = format!("{}/projections/statements/rebuild", serving.url);
    let (code, _, problem) = crate::http::send(&rebuild, &[], Some(""));
    assert_eq!((code, &problem["code"]), (503, &"read-model-failed".into()), "{problem}");
    let (code, said) = serving.stop();
    assert_eq!(code, Some(0), "{said}");

    // The same without a service.
    is_named(&place.fails(&["rebuild", "statements"], 1));
    assert_eq!(place.json(&STATEMENT), before);
    is_back(free);

    std::fs::remove_file(&ballast).unwrap();
    let begun = Instant::now();
    let rebuilt = place.json(&["rebuild", "statements"]);
    assert_eq!(rebuilt["verified_against"], "the-one-before");
    assert_eq!(place.json(&STATEMENT), before);
    assert!(begun.elapsed() < Duration::from_secs(60));
    println!("a full disk was named, {free} bytes were given back, and with room the rebuild succeeded");
}
