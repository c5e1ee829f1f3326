//! The program `annals`: append, read, streams, tail, export, import, verify, info.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_annals"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).env_remove("ANNALS_STORE");
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).output().unwrap()
}

#[track_caller]
fn text(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn json(folder: &Path, arguments: &[&str]) -> Value {
    serde_json::from_str(&text(folder, arguments)).unwrap()
}

#[track_caller]
fn fails(folder: &Path, arguments: &[&str], code: i32) -> String {
    let output = run(folder, arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

#[test]
fn events_are_appended_read_and_listed() {
    for store in ["file:here", "sqlite:here.sqlite"] {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let with =
            |arguments: &[&'static str]| -> Vec<&'static str> { [arguments, &["--store", store]].concat() };
        let opened = with(&[
            "append",
            "account-1",
            "Opened",
            r#"{"owner":"ann"}"#,
            "--expect",
            "none",
            "--tag",
            "a:b",
        ]);
        let receipt = json(folder, &opened);
        assert_eq!((&receipt["version"], &receipt["position"]), (&1.into(), &1.into()));
        assert_eq!(
            receipt["chain"].is_string(),
            store.starts_with("file"),
            "a log gives a receipt of its chain"
        );
        let said = fails(folder, &opened, 1);
        assert!(said.contains("stream \"account-1\" is at version 1, expected no stream"), "{said}");
        json(folder, &with(&["append", "account-2", "Opened", "--correlation", "request-9"]));
        json(
            folder,
            &with(&["append", "account-1", "Closed", "--expect", "1", "--occurred-at", "1993-01-02"]),
        );
        let lines = |arguments: &[&'static str]| {
            let text = text(folder, &with(arguments));
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
        };
        let positions = |arguments: &[&'static str]| -> Vec<u64> {
            lines(arguments).iter().map(|event| event["position"].as_u64().unwrap()).collect()
        };
        assert_eq!(positions(&["read"]), [1, 2, 3]);
        assert_eq!(positions(&["read", "account-1"]), [1, 3]);
        assert_eq!(positions(&["read", "account-1", "--from-version", "2"]), [3]);
        assert_eq!(positions(&["read", "--type", "Opened", "--backwards"]), [2, 1]);
        assert_eq!(positions(&["read", "--tag", "a:b"]), [1]);
        assert_eq!(positions(&["read", "--correlation", "request-9"]), [2]);
        assert_eq!(positions(&["read", "--after", "1", "--limit", "1"]), [2]);
        assert_eq!(positions(&["read", "--from", "2000-01-01", "--category", "account"]), [1, 2, 3]);
        assert_eq!(lines(&["read", "account-1"])[1]["time"], "1993-01-02T00:00:00Z");
        let streams = json(folder, &with(&["streams"]));
        assert_eq!((&streams[0]["stream"], &streams[0]["version"]), (&"account-1".into(), &2.into()));
        let table = text(folder, &with(&["streams", "--table"]));
        assert!(table.starts_with("stream") && table.contains("───"), "{table}");
        let info = json(folder, &with(&["info"]));
        assert_eq!((&info["events"], &info["durability"]), (&3.into(), &"disk".into()));
        assert_eq!(json(folder, &with(&["verify"]))["sound"], true);
    }
}

#[test]
fn bad_appends_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let long = "x".repeat(300);
    for (arguments, said) in [
        (vec!["append", "", "T"], "is empty"),
        (vec!["append", &long, "T"], "at most 255"),
        (vec!["append", "a-1", "$T"], "kept for the store"),
        (vec!["append", "a-1", "T", "{"], "not JSON"),
        (vec!["append", "a-1", "T", "--tag", "x"], "key:value"),
        (vec!["append", "a-1", "T", "--expect", "x"], "none or exists"),
        (vec!["append", "a-1", "T", "--id", "x"], "UUID"),
        (vec!["append", "a-1", "T", "--occurred-at", "noon"], "RFC 3339"),
        (vec!["read", "a-1", "--stream", "b-1"], "twice"),
    ] {
        let stderr = fails(folder, &arguments, 2);
        assert!(stderr.contains(said), "{arguments:?}: {stderr}");
    }
    for reading in ["info", "read", "streams", "tail", "export", "verify"] {
        assert!(fails(folder, &[reading], 1).contains("there is no store at \"file:annals-data\""));
    }
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0, "nothing was made");
}

#[test]
fn an_export_can_be_imported_again_and_again() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for n in 0..5 {
        let payload = format!("{{\"n\": {n}}}");
        text(folder, &["append", &format!("a-{n}"), "T", &payload, "--tag", "t:1,2%3"]);
    }
    let bytes = command(folder, &["append", "a-1", "Scanned", "-", "--content-type", "image/png"]);
    let mut child = { bytes }.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"\x89PNG\r\n\0").unwrap();
    assert!(child.wait().unwrap().success());
    let exported = text(folder, &["export"]);
    text(folder, &["export", "all.ndjson"]);
    assert_eq!(std::fs::read_to_string(folder.join("all.ndjson")).unwrap(), exported);
    assert!(fails(folder, &["export", "all.ndjson"], 1).contains("cannot create"), "no file is written over");
    for (store, appended, known) in
        [("file:copy", 6, 0), ("file:copy", 0, 6), ("sqlite:copy.sqlite", 6, 0), ("sqlite:copy.sqlite", 0, 6)]
    {
        let done = json(folder, &["import", "all.ndjson", "--store", store]);
        let expected = (appended.into(), known.into(), 0.into());
        assert_eq!(
            (&done["appended"], &done["already_present"], &done["broken_lines"]),
            (&expected.0, &expected.1, &expected.2)
        );
    }
    let without_time = |text: &str| {
        let mut events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        events.iter_mut().for_each(|event| drop(event.as_object_mut().unwrap().remove("recordedtime")));
        events
    };
    for store in ["file:copy", "sqlite:copy.sqlite"] {
        assert_eq!(without_time(&text(folder, &["export", "--store", store])), without_time(&exported));
    }
    let broken = format!(
        "{}\nnonsense\n\u{fe}{}\n\n",
        exported.lines().next().unwrap(),
        exported.lines().nth(1).unwrap()
    );
    std::fs::write(folder.join("broken.ndjson"), broken).unwrap();
    let output = run(folder, &["import", "broken.ndjson", "--store", "file:third"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("line 2: not a CloudEvent") && said.contains("line 3: "), "{said}");
    let done: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&done["appended"], &done["broken_lines"]), (&1.into(), &2.into()));
}

#[test]
fn a_tail_goes_from_history_to_live_and_holds_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    text(folder, &["append", "a-1", "T", "--store", "sqlite:events.sqlite"]);
    let mut tail = command(folder, &["tail", "--after", "0", "--store", "sqlite:events.sqlite"]);
    let mut tail = tail.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("\"position\":1"));
    // A SQLite store may be written by another process meanwhile.
    text(folder, &["append", "b-1", "T", "--store", "sqlite:events.sqlite"]);
    assert!(lines.next().unwrap().unwrap().contains("\"position\":2"));
    assert!(Command::new("kill").args(["-INT", &tail.id().to_string()]).status().unwrap().success());
    assert!(tail.wait().unwrap().success());
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let lines: String = (0..3_000)
        .map(|n| format!("{{\"specversion\":\"1.0\",\"id\":\"{n}\",\"source\":\"s\",\"type\":\"T\",\"subject\":\"a-{n}\"}}\n"))
        .collect();
    std::fs::write(folder.join("many.ndjson"), lines).unwrap();
    assert_eq!(json(folder, &["import", "many.ndjson"])["appended"], 3_000);
    let mut child = command(folder, &["read"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn what_came_of_what_is_shown_as_a_tree() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let id = |n: u8| format!("00000000-0000-4000-8000-00000000000{n}");
    // Two begin it; the first causes two more, of which the first causes one.
    let line = |n: u8, cause: Option<u8>| {
        let cause = cause.map(|cause| format!(r#""causationid":"{}","#, id(cause))).unwrap_or_default();
        let (id, source) = (id(n), "annals");
        format!(
            r#"{{"specversion":"1.0","id":"{id}","source":"{source}","subject":"a-{n}","type":"E{n}",{cause}"correlationid":"c","data":{{}}}}"#
        )
    };
    let lines = [line(1, None), line(2, None), line(3, Some(1)), line(4, Some(1)), line(5, Some(3))];
    std::fs::write(folder.join("events.jsonl"), lines.join("\n") + "\n").unwrap();
    json(folder, &["import", "events.jsonl"]);
    let names = |text: &str| -> Vec<String> {
        let cells = text.lines().skip(2).map(|line| line.split("  a-").next().unwrap().trim_end());
        cells.map(str::to_owned).collect()
    };
    let tree = text(folder, &["trace", "c", "--table"]);
    assert_eq!(names(&tree), ["E1", "└ E3", "  └ E5", "└ E4", "E2"], "{tree}");
    assert_eq!(text(folder, &["trace", &id(5), "--table"]), tree);
    fails(folder, &["trace", "d"], 1);
}
