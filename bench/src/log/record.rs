//! An event as the peers that store bytes under keys keep it.

use std::time::{SystemTime, UNIX_EPOCH};

use super::workload::Draft;
use crate::failure::{Failure, Result};

/// What stands before the texts: version, moment, id.
const FIXED_BYTES: usize = 8 + 8 + 16;

/// Lays an event out: `version · moment · id · stream · type · tag · payload`, texts with a byte of length before them.
pub(crate) fn encode(version: u64, moment: u64, stream: &str, event: &Draft) -> Vec<u8> {
    let texts = [stream, event.event_type.as_str(), event.tag.as_str()];
    let length = texts.iter().map(|text| text.len() + 1).sum::<usize>();
    let mut bytes = Vec::with_capacity(FIXED_BYTES + length + event.payload.len());
    bytes.extend_from_slice(&version.to_le_bytes());
    bytes.extend_from_slice(&moment.to_le_bytes());
    bytes.extend_from_slice(&event.id);
    for text in texts {
        bytes.push(text.len() as u8);
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes.extend_from_slice(&event.payload);
    bytes
}

/// What a reader looks at.
pub(crate) struct Recorded<'a> {
    pub(crate) stream: &'a str,
    pub(crate) event_type: &'a str,
    pub(crate) payload: &'a [u8],
}

/// Takes an event apart.
pub(crate) fn decode(bytes: &[u8]) -> Result<Recorded<'_>> {
    let malformed = || Failure::from("a stored event is not of the form that it was written in");
    let rest = bytes.get(FIXED_BYTES..).ok_or_else(malformed)?;
    let (stream, rest) = text(rest).ok_or_else(malformed)?;
    let (event_type, rest) = text(rest).ok_or_else(malformed)?;
    let (_tag, payload) = text(rest).ok_or_else(malformed)?;
    Ok(Recorded { stream, event_type, payload })
}

fn text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let (text, rest) = rest.split_at_checked(usize::from(*length))?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

/// Now, in microseconds since 1970.
pub(crate) fn moment() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}
