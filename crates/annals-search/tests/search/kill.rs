//! A process that is killed while it writes.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use annals_core::block_on;

use crate::{add_to, open, stands};

const FOLDER: &str = "ANNALS_SEARCH_KILL_FOLDER";

/// What the child does: adds on without an end.
#[test]
#[ignore = "the child of another test"]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    block_on(async {
        let model = open(folder.as_ref()).await;
        let _lead = model.try_lead().await.unwrap().unwrap();
        println!("leads");
        loop {
            add_to(&*model, 1).await;
        }
    });
}

#[test]
fn whatever_moment_it_is_killed_at_documents_and_checkpoint_agree() {
    let folder = tempfile::tempdir().unwrap();
    let mut reached = 0;
    for round in 0..8_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "kill::child", "--nocapture", "--test-threads=1"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.map(Result::unwrap).any(|line| line.contains("leads")));
        std::thread::sleep(Duration::from_millis(100 + round * 37));
        child.kill().unwrap();
        child.wait().unwrap();
        block_on(async {
            let model = open(folder.path()).await;
            let (sum, position) = stands(&*model).await;
            assert_eq!(sum as u64, position);
            assert!(position >= reached);
            reached = position;
            // The lead and what writes the index are free again.
            let _lead = model.try_lead().await.unwrap().unwrap();
            add_to(&*model, 1).await;
        });
    }
    let names = std::fs::read_dir(folder.path()).unwrap();
    assert!(names.into_iter().all(|name| !name.unwrap().file_name().to_string_lossy().contains("damaged")));
    assert!(reached > 8);
}
