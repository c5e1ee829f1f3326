//! Files that are not what was written.

use std::path::{Path, PathBuf};

use annals_core::block_on;

use crate::{add_to, open, stands};

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_none_or(|extension| extension != "lock"));
    files.sort();
    files
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to).unwrap();
    for file in files_in(from) {
        std::fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
    }
}

/// Each file changed in its middle, cut in half, emptied, removed: the index is whole, or it is set aside.
#[test]
fn a_damaged_index_is_set_aside_and_begun_anew() {
    let made = tempfile::tempdir().unwrap();
    block_on(async {
        let model = open(made.path()).await;
        for _ in 0..3 {
            add_to(&*model, 2).await;
        }
        drop(model);
    });
    let whole = made.path().join("texts-v1.tantivy");
    let mut set_aside = 0;
    for file in files_in(&whole) {
        for kind in 0..4 {
            let folder = tempfile::tempdir().unwrap();
            let index = folder.path().join("texts-v1.tantivy");
            copy(&whole, &index);
            let path = index.join(file.file_name().unwrap());
            let mut bytes = std::fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            match kind {
                0 if !bytes.is_empty() => bytes[middle] ^= 0x15,
                1 => bytes.truncate(middle),
                2 => bytes.clear(),
                _ => {}
            }
            std::fs::write(&path, bytes).unwrap();
            if kind == 3 {
                std::fs::remove_file(&path).unwrap();
            }
            block_on(async {
                let model = open(folder.path()).await;
                let found = stands(&*model).await;
                assert!(found == (6, 6) || found == (0, 0), "{} {kind}: {found:?}", path.display());
                let is_aside =
                    files_in(folder.path()).iter().any(|path| path.to_string_lossy().contains(".damaged-"));
                set_aside += usize::from(is_aside);
                let is_meta = path.ends_with("meta.json");
                assert!(is_aside || found == (6, 6) || is_meta, "{} {kind}", path.display());
                add_to(&*model, 5).await;
                let expected = if found == (6, 6) { (11, 11) } else { (5, 5) };
                assert_eq!(stands(&*model).await, expected, "it goes on");
            });
        }
    }
    assert!(set_aside > 10, "{set_aside}");
}
