//! The record of a term in a run: what it is, for a stream its states, and its positions.

use annals_core::index::{Term, TermKind};
use annals_core::{StreamState, Version};

use super::postings::{Postings, PostingsPacker};
use crate::varint::{put_varint, take_varint};

const EXISTS: u8 = 1;
const TOMBSTONED: u8 = 2;

/// A stream around the events of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamSpan {
    /// Its version before them.
    pub(crate) version_before: Version,
    /// Its state after them.
    pub(crate) after: StreamState,
}

/// A term as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct TermRecord<'a> {
    pub(crate) term: Term<'a>,
    /// Of a stream.
    pub(crate) span: Option<StreamSpan>,
    pub(crate) postings: Postings<'a>,
}

pub(crate) fn encode_term(
    out: &mut Vec<u8>,
    term: Term<'_>,
    span: Option<StreamSpan>,
    positions: &mut PostingsPacker,
) {
    out.push(term.kind as u8);
    out.push(term.name.len() as u8);
    out.extend_from_slice(term.name.as_bytes());
    if let Some(StreamSpan { version_before, after }) = span {
        put_varint(out, version_before.get());
        put_varint(out, after.visible_from.get());
        out.push((u8::from(after.exists) * EXISTS) | (u8::from(after.tombstoned) * TOMBSTONED));
    }
    positions.finish(out);
}

/// The term alone, without looking at the rest.
pub(crate) fn decode_name(bytes: &[u8]) -> Option<(Term<'_>, &[u8])> {
    let (&[kind, length], rest) = bytes.split_first_chunk::<2>()?;
    let (name, rest) = rest.split_at_checked(usize::from(length))?;
    let term = Term { kind: TermKind::try_from(kind).ok()?, name: std::str::from_utf8(name).ok()? };
    Some((term, rest))
}

pub(crate) fn decode_term(bytes: &[u8]) -> Option<TermRecord<'_>> {
    let (term, mut rest) = decode_name(bytes)?;
    let mut span = None;
    let mut count_after = None;
    if term.kind == TermKind::Stream {
        let version_before = Version::new(take_varint(&mut rest)?);
        let visible_from = Version::new(take_varint(&mut rest)?);
        let (flags, behind) = rest.split_first()?;
        rest = behind;
        let (exists, tombstoned) = (flags & EXISTS != 0, flags & TOMBSTONED != 0);
        let after = StreamState { version: version_before, exists, visible_from, tombstoned };
        count_after = Some(StreamSpan { version_before, after });
    }
    let postings = Postings::parse(rest)?;
    if let Some(mut known) = count_after {
        known.after.version = Version::new(known.version_before.get().saturating_add(postings.len() as u64));
        span = Some(known);
    }
    Some(TermRecord { term, span, postings })
}
