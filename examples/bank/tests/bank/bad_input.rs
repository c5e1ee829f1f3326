//! Nonsense at the command line: a clear word, nothing written, nothing lost, no panic.

use std::os::unix::ffi::OsStrExt;

use crate::program::{Place, synthetic};

#[test]
fn names_and_amounts_that_cannot_be_are_refused() {
    let place = Place::new();
    place.json(&["execute", "account", "1", "OpenAccount", "owner=Ann"]);
    let long = "x".repeat(300);
    let cases: [(&[&str], i32, &str); 16] = [
        (&["execute", "account", "", "OpenAccount", "owner=Ann"], 2, "is empty"),
        (&["execute", "account", &long, "OpenAccount", "owner=Ann"], 2, "at most 255"),
        (&["execute", "account", "a\u{7}b", "OpenAccount", "owner=Ann"], 2, "control character"),
        (&["execute", "account", "2", "OpenAccount", "owner="], 3, "needs an owner"),
        (&["execute", "account", "2", "OpenAccount"], 2, "missing field `owner`"),
        (&["execute", "account", "1", "DepositMoney", "amount=-5"], 3, "more than zero"),
        (&["execute", "account", "1", "DepositMoney", "amount=1e400"], 2, "is no amount"),
        (&["execute", "account", "1", "DepositMoney", "amount:=1e400"], 2, "not JSON"),
        (&["execute", "account", "1", "DepositMoney", "amount=10000000000.01"], 2, "too large"),
        (&["execute", "account", "1", "WithdrawMoney", "amount=5"], 3, "only 0.00 CZK are available"),
        (&["execute", "account", "1", "Deposit"], 2, "there are: OpenAccount"),
        (&["execute", "acount", "1", "DepositMoney"], 2, "there are: account"),
        (&["query", "Balance"], 2, "there are: BalanceOf, Balances, CanPay, "),
        (&["query", "Statement", "account=1", "month=march"], 2, "is no month"),
        (&["query", "BalanceOf", "account=9"], 1, "there is no account \"9\""),
        (&["state", "account", "1", "--version", "7"], 1, "it has 1 events"),
    ];
    for (arguments, code, said) in cases {
        let stderr = place.fails(arguments, code);
        assert!(stderr.contains(said), "{arguments:?}: {stderr}");
    }
    let run = place
        .command(&["execute", "account"])
        .arg(std::ffi::OsStr::from_bytes(b"\xff\xfe"))
        .output()
        .unwrap();
    assert_eq!(run.status.code(), Some(2), "arguments that are not UTF-8");
    // Names are names: nothing outside the store is touched by one that looks like a path.
    place.json(&["execute", "account", "../../evil", "OpenAccount", "owner=Eve"]);
    assert!(!place.path().join("evil").exists());
    assert_eq!(place.json(&["verify"])["events"], 2);
}

#[test]
fn texts_that_cannot_be_kept_are_named_field_by_field() {
    let place = Place::new();
    let long = "é".repeat(201);
    let opening = ["execute", "account", "1", "OpenAccount", &format!("owner={long}")];
    let said = place.fails(&opening, 2);
    let field = "  owner: must have at most 200 characters, found 201\n";
    assert_eq!(said, format!("error: OpenAccount is not valid:\n{field}"));
    let serving = place.serve();
    let said = place.fails(&[&opening[..], &["--server", &serving.url]].concat(), 2);
    assert_eq!(said, format!("error: the command is not valid:\n{field}"));
    drop(serving);
    place.json(&["execute", "account", "1", "OpenAccount", &format!("owner={}", "é".repeat(200))]);
    let fee = ["execute", "account", "1", "ChargeFee", "amount=1.00", &format!("reason={}", "x".repeat(501))];
    assert!(place.fails(&fee, 2).contains("  reason: must have at most 500 characters"));
}

#[test]
fn places_that_are_no_store_are_refused_untouched() {
    let place = Place::new();
    let file = place.write("letter.txt", "dear");
    let cases = [
        ("file:letter.txt", "it is a file, expected a folder"),
        ("file:.", "it holds \"letter.txt\""),
        ("sqlite:letter.txt", "letter.txt"),
        ("sqlite:missing/folder/x.sqlite", "there is no store at"),
        ("file:bank-dta", "there is no store at \"file:bank-dta\": check the address"),
        ("file:", "expected an address"),
        ("mongodb:x", "known are: file:, sqlite:, memory:"),
        ("", "expected an address"),
    ];
    for (store, said) in cases {
        let stderr = place.fails(&["query", "Balances", "--store", store], 1);
        assert!(stderr.contains(said), "{store}: {stderr}");
    }
    for store in ["file:/proc/annals", "sqlite:missing/folder/x.sqlite", "file:"] {
        place.fails(&["execute", "account", "1", "OpenAccount", "owner=Ann", "--store", store], 1);
    }
    assert_eq!(std::fs::read_to_string(file).unwrap(), "dear");
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1, "nothing was left behind");
}

#[test]
fn a_newer_or_damaged_store_is_kept_as_it_is() {
    let place = Place::new();
    place.json(&["import", &synthetic()]);
    let format = place.path().join("bank-data/format");
    let written = std::fs::read_to_string(&format).unwrap();
    std::fs::write(&format, written.replace("annals-log 2", "annals-log 7")).unwrap();
    let said = place.fails(&["query", "Balances"], 1);
    assert!(said.contains("format version 7") && said.contains("use a newer version"), "{said}");
    std::fs::write(&format, written).unwrap();

    let segment = place.path().join("bank-data/segments/00000000000000000001.segment");
    let sound = std::fs::read(&segment).unwrap();
    let mut damaged = sound.clone();
    damaged[20_000] ^= 1;
    std::fs::write(&segment, &damaged).unwrap();
    let said = place.fails(&["verify"], 1);
    assert!(said.contains("is damaged from byte") && said.contains("problems were found"), "{said}");
    let said = place.fails(&["execute", "account", "1", "OpenAccount", "owner=Ann"], 1);
    assert!(said.contains("read-only"), "{said}");
    assert_eq!(std::fs::read(&segment).unwrap(), damaged, "nothing is cut off or mended on its own");

    std::fs::write(&segment, &sound[..sound.len() / 40]).unwrap();
    let said = place.fails(&["verify"], 1);
    assert!(said.contains("is damaged") && said.contains("nothing was removed"), "{said}");

    std::fs::write(&segment, &sound).unwrap();
    assert_eq!(place.json(&["verify"])["sound"], true, "with the file back, all is well");
    assert_eq!(place.json(&["query", "Balances"]).as_array().unwrap().len(), 11);
}

#[test]
fn a_full_disk_is_said_and_loses_nothing() {
    let place = Place::new();
    let disk = place.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let mount = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=3m", "tmpfs"])
        .arg(&disk)
        .output();
    if !mount.is_ok_and(|output| output.status.success()) {
        println!("skipped: a small tmpfs can be mounted only by root");
        return;
    }
    let result = std::panic::catch_unwind(|| {
        let small = Place::with_store(&format!("file:{}", disk.join("store").display()));
        small.json(&["import", &synthetic()]);
        let before = small.json(&["query", "Balances"]);
        std::fs::write(disk.join("ballast"), vec![7; 8 << 20]).unwrap_err();
        let transfer = ["execute", "account", "18", "ReceiveTransfer", "amount=1.00"];
        let from = format!(r#"from:={{"bank":"{}","account":"1"}}"#, "x".repeat(120_000));
        let mut refused = None;
        for _ in 0..40 {
            let run = small.run(&[&transfer[..], &[&from]].concat());
            if run.code != Some(0) {
                refused = Some(run.stderr);
                break;
            }
        }
        let said = refused.expect("the disk is full");
        assert!(said.contains("free some space") && !said.contains("panicked"), "{said}");
        std::fs::remove_file(disk.join("ballast")).unwrap();
        assert_eq!(small.json(&["verify"])["sound"], true);
        assert_eq!(small.json(&["query", "Balances", "limit=11"]), before, "nothing is lost");
        println!("full disk: refused, said so, and went on with room");
    });
    assert!(std::process::Command::new("umount").arg(&disk).status().unwrap().success());
    result.unwrap();
}

#[test]
fn help_is_there_and_wrong_usage_is_told() {
    let place = Place::new();
    for arguments in [&["--help"][..], &["import", "--help"], &["execute", "--help"], &["demo", "--help"]] {
        let run = place.run(arguments);
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        assert!(run.stdout.contains("Usage: bank") && run.stdout.contains("--store"), "{}", run.stdout);
    }
    for arguments in [&["quary"][..], &["import"], &["query"], &["state", "account", "1", "--version", "x"]] {
        assert_eq!(place.run(arguments).code, Some(2), "{arguments:?}");
    }
    assert!(place.fails(&["serve", "--listen", "0.0.0.0:0"], 1).contains("--tokens FILE"));
}
