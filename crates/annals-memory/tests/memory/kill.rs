//! A process that is killed while it writes images.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use annals_core::{Position, ReadModelStore, block_on};
use annals_memory::{ImageOptions, MemoryModels, imbl, state, view};
use serde::{Deserialize, Serialize};

const FOLDER: &str = "ANNALS_MEMORY_KILL_FOLDER";
const KEYS: u64 = 20_000;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Counts {
    by_key: imbl::HashMap<u64, u64>,
    all: u64,
}

fn options() -> ImageOptions {
    ImageOptions { every: Duration::from_millis(1), ..ImageOptions::default() }
}

/// What the child does: counts on without an end, in a state that takes a while to write.
#[test]
#[ignore = "the child of another test"]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    block_on(async {
        let models = MemoryModels::in_folder_with(folder, options()).unwrap();
        let model = models.open("counts", 1).await.unwrap();
        let _lead = model.try_lead().await.unwrap().unwrap();
        let mut at = model.checkpoint().await.unwrap();
        println!("at {at}");
        loop {
            let to = Position::new(at.get() + KEYS);
            model
                .write(
                    at,
                    to,
                    Box::new(|tx| {
                        Box::pin(async move {
                            let counts: &mut Counts = state(tx)?;
                            for key in 0..KEYS {
                                *counts.by_key.entry(key).or_default() += 1;
                            }
                            counts.all += KEYS;
                            Ok(())
                        })
                    }),
                )
                .await
                .unwrap();
            at = to;
        }
    });
}

#[test]
fn whatever_moment_it_is_killed_at_an_image_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let mut positions = Vec::new();
    for round in 0..12_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "kill::child", "--nocapture", "--test-threads=1"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.map(Result::unwrap).any(|line| line.contains("at ")));
        std::thread::sleep(Duration::from_millis(20 + round * 17));
        child.kill().unwrap();
        child.wait().unwrap();
        block_on(async {
            let models = MemoryModels::in_folder_with(folder.path(), options()).unwrap();
            let model = models.open("counts", 1).await.unwrap();
            let mut tx = model.read().await.unwrap();
            let counts: &Counts = view(&mut *tx).unwrap();
            let at = model.checkpoint().await.unwrap().get();
            assert_eq!((counts.all, counts.by_key.values().sum::<u64>()), (at, at));
            positions.push(at);
        });
    }
    let damaged = |name: &String| PathBuf::from(name).to_string_lossy().contains("damaged");
    assert!(!crate::images::names_in(folder.path()).iter().any(damaged));
    assert!(positions.is_sorted() && positions[positions.len() - 1] > 0, "{positions:?}");
}
