//! The image of a read model: its state in a file, to begin with after the next start.
//!
//! ```text
//! "annalsim"                      8 bytes
//! format                          4, little-endian; 1
//! length of the header            4, little-endian
//! header                          MessagePack: position, notes, store_id, type_name, digest
//! state                           MessagePack with the names of fields; nothing when nothing was written
//! BLAKE3 of everything before     32 bytes
//! ```
//!
//! MessagePack with names describes itself, so a state whose fields are others now fails to be read instead of being
//! taken for another; unlike JSON it has maps with keys of any type, numbers that are not finite, and bytes.

use std::fs::File;
use std::io::{BufWriter, Error, ErrorKind, Result, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annals_core::Position;
use serde::{Deserialize, Serialize};

use crate::published::{Encoded, Held, Published};
use crate::state::Form;

const MAGIC: &[u8; 8] = b"annalsim";
const FORMAT: u32 = 1;
const DIGEST: usize = 32;

#[derive(Serialize, Deserialize)]
struct Header {
    position: u64,
    notes: Vec<u8>,
    store_id: Option<String>,
    /// Of the state; none when there is none.
    type_name: Option<String>,
    digest: [u8; 32],
}

/// The name that an image has while it is written.
pub(crate) fn unfinished(path: &Path) -> PathBuf {
    beside(path, ".new")
}

pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Writes an image beside `path` and puts it there in one step. The folder is left to be synced.
pub(crate) fn write(path: &Path, what: &Published, form: &str) -> Result<()> {
    let new = unfinished(path);
    let mut out = BufWriter::with_capacity(1 << 16, Hashing::new(File::create(&new)?));
    let (state_form, state): (Option<Form>, _) = match &what.held {
        Held::Nothing | Held::Discarded(_) => (None, None),
        Held::Encoded(encoded) => (Some(encoded.form.clone()), None),
        Held::Live(state) => (Some(state.form(form).map_err(not_written)?), Some(state)),
    };
    let header = Header {
        position: what.position.get(),
        notes: what.notes.to_vec(),
        store_id: what.store_id.as_deref().map(str::to_owned),
        digest: state_form.as_ref().map_or([0; 32], |form| form.digest),
        type_name: state_form.map(|form| form.type_name),
    };
    let header = rmp_serde::to_vec_named(&header).map_err(not_written)?;
    let length = u32::try_from(header.len()).map_err(Error::other)?;
    out.write_all(MAGIC)?;
    out.write_all(&FORMAT.to_le_bytes())?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(&header)?;
    match (&what.held, state) {
        (Held::Encoded(encoded), _) => out.write_all(&encoded.body)?,
        (_, Some(state)) => state.encode(&mut out).map_err(not_written)?,
        _ => {}
    }
    let mut file = out.into_inner().map_err(|error| error.into_error())?.finish()?;
    file.flush()?;
    file.sync_all()?;
    std::fs::rename(new, path)
}

fn not_written(error: rmp_serde::encode::Error) -> Error {
    let advice = "give it the derives of serde, and no attributes that depend on the format";
    Error::new(ErrorKind::InvalidData, format!("the state cannot be written: {error}: {advice}"))
}

/// Why there is nothing to begin with.
#[derive(Debug)]
pub(crate) enum Unreadable {
    Io(Error),
    Damaged(String),
}

/// Reads an image; `None` when there is none.
pub(crate) fn read(path: &Path) -> std::result::Result<Option<Arc<Published>>, Unreadable> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Unreadable::Io(error)),
    };
    parse(bytes).map(Some).map_err(Unreadable::Damaged)
}

fn parse(mut bytes: Vec<u8>) -> std::result::Result<Arc<Published>, String> {
    let length = bytes.len();
    let short = || format!("it ends after {length} bytes");
    if bytes.first_chunk() != Some(MAGIC) {
        return Err("it does not begin as an image does".to_owned());
    }
    let number =
        |at: usize| bytes.get(at..).and_then(|rest| rest.first_chunk()).map(|n| u32::from_le_bytes(*n));
    let format = number(8).ok_or_else(short)?;
    if format != FORMAT {
        return Err(format!("it is of format {format}, expected {FORMAT}"));
    }
    let (content, digest) = bytes.split_last_chunk::<DIGEST>().ok_or_else(short)?;
    if blake3::hash(content).as_bytes() != digest {
        return Err("its checksum is not that of its bytes".to_owned());
    }
    let header_end = number(12).ok_or_else(short)? as usize + 16;
    let header = content.get(16..header_end).ok_or_else(short)?;
    let header: Header = rmp_serde::from_slice(header).map_err(|error| format!("its header: {error}"))?;
    bytes.truncate(length - DIGEST);
    bytes.drain(..header_end);
    let held = match header.type_name {
        None => Held::Nothing,
        Some(type_name) => {
            Held::Encoded(Arc::new(Encoded::new(bytes, Form { type_name, digest: header.digest })))
        }
    };
    let store_id = header.store_id.map(Arc::from);
    Ok(Published::new(Position::new(header.position), header.notes.into(), store_id, held))
}

/// A file that remembers the digest of what was written to it.
struct Hashing {
    file: File,
    digest: blake3::Hasher,
}

impl Hashing {
    fn new(file: File) -> Self {
        Self { file, digest: blake3::Hasher::new() }
    }

    /// Writes the digest behind the rest.
    fn finish(mut self) -> Result<File> {
        self.file.write_all(self.digest.finalize().as_bytes())?;
        Ok(self.file)
    }
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let written = self.file.write(bytes)?;
        self.digest.update(bytes.get(..written).unwrap_or(bytes));
        Ok(written)
    }

    fn flush(&mut self) -> Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image_of(folder: &tempfile::TempDir, state: imbl::HashMap<(u8, u8), f64>) -> PathBuf {
        let path = folder.path().join("a.image");
        let held = Held::Live(Arc::new(state));
        let what = Published::new(Position::new(7), b"notes".as_slice().into(), Some("store".into()), held);
        write(&path, &what, "form").unwrap();
        path
    }

    #[test]
    fn an_image_gives_back_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let state: imbl::HashMap<(u8, u8), f64> =
            [((1, 2), f64::INFINITY), ((3, 4), 0.5)].into_iter().collect();
        let read = read(&image_of(&folder, state.clone())).unwrap().unwrap();
        assert_eq!(
            (read.position.get(), &*read.notes, read.store_id.as_deref()),
            (7, &b"notes"[..], Some("store"))
        );
        let Held::Encoded(encoded) = &read.held else { panic!("no state") };
        assert!(encoded.decode::<imbl::HashMap<(u8, u8), f64>>("other").is_err());
        assert!(encoded.decode::<imbl::HashMap<u8, f64>>("form").is_err());
        let decoded = encoded.decode::<imbl::HashMap<(u8, u8), f64>>("form").unwrap();
        let decoded: &dyn std::any::Any = &*decoded;
        assert_eq!(decoded.downcast_ref(), Some(&state));
    }

    #[test]
    fn no_damage_goes_unnoticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = image_of(&folder, imbl::HashMap::unit((1, 2), 3.0));
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            assert!(parse(bytes).is_err(), "byte {at}");
            assert!(parse(whole[..at].to_vec()).is_err(), "cut at {at}");
        }
        assert!(parse(whole).is_ok());
    }
}
