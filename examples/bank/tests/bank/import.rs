//! `bank import`: every row once, whatever happens.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::program::{Place, signal, synthetic};

/// Sums the file up, without any of the bank's code: account → transactions and hundredths.
pub(crate) fn sums(file: &str) -> BTreeMap<u64, (u64, i64)> {
    let mut sums: BTreeMap<u64, (u64, i64)> = BTreeMap::new();
    for line in file.lines().skip(1) {
        let fields: Vec<&str> = line.split(';').map(|field| field.trim_matches('"')).collect();
        let hundredths: i64 = fields[5].replace('.', "").parse().unwrap();
        let sum = sums.entry(fields[1].parse().unwrap()).or_default();
        sum.0 += 1;
        sum.1 += if fields[3] == "PRIJEM" { hundredths } else { -hundredths };
    }
    sums
}

/// The sums as `bank query Balances` prints them.
pub(crate) fn as_balances(sums: &BTreeMap<u64, (u64, i64)>) -> Value {
    let text = |hundredths: i64| {
        let sign = if hundredths < 0 { "-" } else { "" };
        format!("{sign}{}.{:02}", hundredths.abs() / 100, hundredths.abs() % 100)
    };
    let lines = sums.iter().map(|(account, (transactions, hundredths))| {
        json!({"account": account.to_string(), "transactions": transactions, "balance": text(*hundredths)})
    });
    lines.collect()
}

fn expected() -> Value {
    as_balances(&sums(&std::fs::read_to_string(synthetic()).unwrap()))
}

/// The summary of an import, without its time.
fn import(place: &Place, file: &str) -> Value {
    let mut summary = place.json(&["import", file]);
    assert!(summary["seconds"].is_number());
    summary.as_object_mut().unwrap().remove("seconds");
    summary
}

fn summary(imported: u64, already_present: u64, broken_lines: u64, events: u64) -> Value {
    json!({
        "accounts": 11, "transactions": imported + already_present, "imported": imported,
        "already_present": already_present, "broken_lines": broken_lines, "events": events,
    })
}

#[test]
fn a_file_is_imported_once_into_any_store() {
    for store in ["file:here", "sqlite:here.sqlite"] {
        let place = Place::with_store(store);
        assert_eq!(import(&place, &synthetic()), summary(200, 0, 0, 211), "{store}");
        assert_eq!(place.json(&["query", "Balances"]), expected());
        assert_eq!(import(&place, &synthetic()), summary(0, 200, 0, 0), "{store}");
        assert_eq!(place.json(&["query", "Balances"]), expected());
        let line = place.run(&["query", "Balances"]).stdout.lines().nth(1).unwrap().to_owned();
        let first = &expected()[0];
        let written = format!(
            "{{\"account\":{},\"transactions\":{},\"balance\":{}}},",
            first["account"], first["transactions"], first["balance"]
        );
        assert_eq!(line, written, "the fields come in this order");
        assert_eq!(place.json(&["verify"])["sound"], true);
    }
}

#[test]
fn files_that_overlap_count_each_transaction_once() {
    let place = Place::new();
    let all = std::fs::read_to_string(synthetic()).unwrap();
    let lines: Vec<&str> = all.lines().collect();
    let part = |range: std::ops::Range<usize>| format!("{}\n{}\n", lines[0], lines[range].join("\n"));
    let part_of = |name: &str, range| place.write(name, part(range)).to_string_lossy().into_owned();
    place.json(&["import", &part_of("middle.asc", 60..120)]);
    let overlap = place.json(&["import", &part_of("early.asc", 1..90)]);
    assert_eq!((&overlap["imported"], &overlap["already_present"]), (&59.into(), &30.into()));
    place.json(&["import", &synthetic()]);
    assert_eq!(place.json(&["query", "Balances"]), expected());
    // The same row twice in one file.
    let twice = place.write("twice.asc", format!("{all}{}\n", lines[7]));
    let summary = place.json(&["import", &twice.to_string_lossy()]);
    assert_eq!((&summary["transactions"], &summary["already_present"]), (&201.into(), &201.into()));
    assert_eq!(place.json(&["query", "Balances"]), expected());
}

#[test]
fn statements_follow_from_one_month_to_the_next() {
    let place = Place::new();
    place.json(&["import", &synthetic()]);
    for line in place.json(&["query", "Balances"]).as_array().unwrap() {
        let account = format!("account={}", line["account"].as_str().unwrap());
        let (mut closing, mut lines) = (json!("0.00"), 0);
        for month in 1..=12 {
            let month = format!("month=1993-{month:02}");
            let statement = place.json(&["query", "Statement", &account, &month]);
            assert_eq!(statement["opening"], closing, "{statement}");
            let hundredths = |value: &Value| value.as_str().unwrap().replace('.', "").parse::<i64>().unwrap();
            let [opening, credits, debits, end] =
                ["opening", "credits", "debits", "closing"].map(|name| hundredths(&statement[name]));
            assert_eq!(opening + credits - debits, end, "{statement}");
            lines += statement["lines"].as_array().unwrap().len();
            closing = statement["closing"].clone();
        }
        assert_eq!((&closing, lines as u64), (&line["balance"], line["transactions"].as_u64().unwrap()));
    }
    let table = place.run(&["query", "Statement", "account=2", "month=1993-03", "--table"]);
    assert!(table.stdout.contains("opening") && table.stdout.contains("───"), "{}", table.stdout);
}

#[test]
fn broken_lines_are_named_and_the_rest_is_imported() {
    let place = Place::new();
    let all = std::fs::read(synthetic()).unwrap();
    let mut lines: Vec<Vec<u8>> = all.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    lines.insert(3, b"1;2;930230;\"PRIJEM\";\"VKLAD\";1.00;1.00;\"\";;".to_vec());
    lines.insert(7, b"\xff\xfe".to_vec());
    lines.insert(9, b"2;2;930201;\"PRIJEM;\"VKLAD\";1.00;1.00;\"\";;".to_vec());
    lines.insert(11, b"3;2;930201;\"PRIJEM\";\"VKLAD\";1e400;1.00;\"\";;".to_vec());
    lines.insert(13, b"4;2;930201;\"PRIJEM\";\"VKLAD\";99999999999999999999.00;1.00;\"\";;".to_vec());
    lines.insert(15, vec![b'x'; 1 << 20]);
    lines.insert(17, Vec::new());
    // A row with the number of another transaction.
    let other = String::from_utf8(lines[1].clone()).unwrap().replace("VKLAD", "PREVOD Z UCTU");
    lines.insert(150, other.into_bytes());
    let file = place.write("broken.asc", lines.join(&b'\n'));
    let file = file.to_string_lossy();
    let run = place.run(&["import", &file, "--json"]);
    for said in [
        "line 4: date: \"930230\" is no day",
        "line 8: not UTF-8 at byte 0",
        "line 10: a quoted field does not end",
        "line 12: amount: \"1e400\" is no amount",
        "line 14: amount: \"99999999999999999999.00\" is too large",
        "line 16: 1 fields, expected 10",
        "line 151: transaction",
    ] {
        assert!(run.stderr.contains(said), "{said}: {}", run.stderr);
    }
    let found: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((&found["transactions"], &found["broken_lines"]), (&200.into(), &7.into()));
    assert_eq!(place.json(&["query", "Balances"]), expected());
    assert_eq!(import(&place, &file), summary(0, 200, 7, 0), "broken lines stay broken");
}

#[test]
fn a_pipe_is_imported_whole() {
    let place = Place::new();
    for (store, with_mark) in [("file:plain", false), ("file:marked", true)] {
        let mark: &[u8] = if with_mark { b"\xef\xbb\xbf" } else { b"" };
        let content = [mark, &std::fs::read(synthetic()).unwrap()].concat();
        let mut command = place.command(&["import", "-", "--store", store, "--json"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), &content).unwrap();
        let output = child.wait_with_output().unwrap();
        let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&summary["imported"], &summary["broken_lines"]), (&200.into(), &0.into()));
    }
}

#[test]
fn an_import_that_waits_for_a_pipe_can_be_interrupted() {
    let place = Place::new();
    let (file, sums) = large_file(&place, 60_000);
    let mut command = place.command(&["import", "-"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    // The pipe takes the last bytes when the import has read nearly all rows; it is never closed.
    std::io::Write::write_all(&mut pipe, &std::fs::read(&file).unwrap()).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    signal(child.id(), "INT");
    let ended = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        child.try_wait().unwrap().is_some()
    });
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(ended, "the signal was not heard");
    place.json(&["import", &file]);
    assert_eq!(place.json(&["query", "Balances"]), as_balances(&sums));
}

#[test]
fn a_rejected_row_opens_no_account() {
    let place = Place::new();
    place.json(&["import", &synthetic()]);
    place.json(&["execute", "account", "77", "OpenAccount", "owner=Ann", "currency=EUR"]);
    let all = std::fs::read_to_string(synthetic()).unwrap();
    let header = all.lines().next().unwrap();
    let number = all.lines().nth(1).unwrap().split(';').next().unwrap();
    let taken = format!("{number};888;930101;\"PRIJEM\";\"VKLAD\";1.00;1.00;\"\";;");
    let foreign = "5;77;930101;\"PRIJEM\";\"VKLAD\";1.00;1.00;\"\";;";
    let file = place.write("odd.asc", format!("{header}\n{taken}\n{foreign}\n"));
    let run = place.run(&["import", &file.to_string_lossy(), "--json"]);
    assert!(run.stderr.contains("line 2: transaction"), "{}", run.stderr);
    assert!(run.stderr.contains("line 3: account 77 is kept in EUR, the file is in CZK"), "{}", run.stderr);
    let summary: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(
        (&summary["accounts"], &summary["events"], &summary["broken_lines"]),
        (&0.into(), &0.into(), &2.into())
    );
    assert!(place.fails(&["query", "BalanceOf", "account=888"], 1).contains("there is no account"));
}

#[test]
fn processes_that_share_a_store_count_each_event_once() {
    let place = Place::with_store("sqlite:shared.sqlite");
    let (file, sums) = large_file(&place, 60_000);
    let start = |arguments: &[&str]| {
        let mut command = place.command(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let mut children: Vec<_> = (0..3).map(|_| start(&["import", &file])).collect();
    std::thread::sleep(Duration::from_millis(300));
    children.extend((0..2).map(|_| start(&["query", "Balances"])));
    for child in &mut children {
        child.wait().unwrap();
    }
    assert_eq!(place.json(&["query", "Balances"]), as_balances(&sums));
    let statement = place.json(&["query", "Statement", "account=5", "month=1993-01"]);
    let balance = place.json(&["query", "BalanceOf", "account=5"]);
    let lines = statement["lines"].as_array().unwrap().len() as u64;
    assert!(lines > 0 && lines <= balance["transactions"].as_u64().unwrap());
    assert_eq!(place.json(&["verify"])["sound"], true);
}

#[test]
fn read_models_of_another_store_or_in_ruins_are_not_believed() {
    let place = Place::with_store("sqlite:one.sqlite");
    place.json(&["import", &synthetic()]);
    let before = place.json(&["query", "Balances"]);
    let model = place.path().join("one.sqlite-read-models/balances-v1.sqlite");
    std::fs::write(&model, vec![7; 20_000]).unwrap();
    assert_eq!(place.json(&["query", "Balances"]), before, "ruins are set aside, the events tell it again");
    std::fs::remove_file(place.path().join("one.sqlite")).unwrap();
    for end in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(place.path().join(format!("one.sqlite{end}")));
    }
    place.json(&["execute", "account", "9", "OpenAccount", "owner=Ann"]);
    let said = place.fails(&["query", "Balances"], 1);
    assert!(said.contains("was not made from this store") && said.contains("rebuild \"balances\""), "{said}");
    place.json(&["rebuild", "balances"]);
    assert_eq!(place.json(&["query", "Balances"]).as_array().unwrap().len(), 1);
}

#[test]
fn another_file_is_refused_untouched() {
    let place = Place::new();
    for content in ["", "hello\nworld\n", "\u{0}\u{1}", "trans_id;account_id\n1;2\n"] {
        let file = place.write("other.asc", content);
        let said = place.fails(&["import", &file.to_string_lossy()], 2);
        assert!(said.contains("is no bank-transaction file") && said.contains("\"trans_id\""), "{said}");
    }
    assert!(place.fails(&["import", "absent.asc"], 1).contains("cannot read absent.asc"));
    assert!(place.fails(&["import", "."], 1).contains("cannot read ."));
    assert!(!place.path().join("bank-data").exists(), "no store is made for nothing");
}

/// A file of so many rows, with which work takes long enough for a signal to come before its end.
pub(crate) fn large_file(place: &Place, rows: u64) -> (String, BTreeMap<u64, (u64, i64)>) {
    let header = std::fs::read_to_string(synthetic()).unwrap().lines().next().unwrap().to_owned();
    let mut text = format!("{header}\n");
    for n in 0..rows {
        let kind = if n % 3 == 0 { "VYDAJ\";\"VYBER" } else { "PRIJEM\";\"VKLAD" };
        let day = 101 + n / 3_000;
        text += &format!("{n};{};930{day};\"{kind}\";{}.{:02};0.00;\"\";;\n", n % 977, n % 500, n % 100);
    }
    let file = place.write("large.asc", &text);
    (file.to_string_lossy().into_owned(), sums(&text))
}

#[test]
fn killed_or_interrupted_imports_end_in_the_same_result() {
    let seed: u64 = std::env::var("ANNALS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(11);
    let place = Place::new();
    let (file, sums) = large_file(&place, 60_000);
    let (mut killed, mut interrupted) = (0, 0);
    for round in 0..12_u64 {
        let mut command = place.command(&["import", &file]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let micros = (seed * 7_919 + round * 104_729) % 400_000;
        std::thread::sleep(Duration::from_micros(20_000 + micros));
        if child.try_wait().unwrap().is_none() {
            let kill = round % 3 != 2;
            signal(child.id(), if kill { "KILL" } else { "INT" });
            *(if kill { &mut killed } else { &mut interrupted }) += 1;
        }
        child.wait().unwrap();
    }
    let summary = place.json(&["import", &file]);
    assert_eq!(summary["transactions"], 60_000);
    assert_eq!(place.json(&["query", "Balances"]), as_balances(&sums), "seed {seed}");
    let again = place.json(&["import", &file]);
    assert_eq!((&again["imported"], &again["events"]), (&0.into(), &0.into()));
    let report = place.json(&["verify"]);
    assert_eq!((&report["sound"], &report["events"]), (&true.into(), &(60_000 + 977).into()));
    println!("imports: {killed} killed, {interrupted} interrupted, seed {seed}, the same balances");
    assert!(killed > 0, "no import was killed before its end");
}
