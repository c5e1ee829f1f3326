//! The bytes of an event: one contiguous layout, the same in a store's file, in memory and in a reader's hands.
//!
//! ```text
//! head     flags u8 · id [16] · [occurred_at i64] · [correlation u8+text] · [causation u8+text]
//! content  stream u8+text · type u8+text · flags u8 · tag count u8 · tags (u8+text)* ·
//!          [content type u8+text] · [metadata u32+bytes] · payload (the rest)
//! ```
//! Numbers are little-endian. Position, version and recorded time are not part of it: the store assigns them. The
//! content is what makes two events the same ([`content_digest`]); the head is not part of that.

use crate::digest::digest_of;

pub(crate) const HAS_OCCURRED_AT: u8 = 1;
pub(crate) const HAS_CORRELATION: u8 = 2;
pub(crate) const HAS_CAUSATION: u8 = 4;
const HEAD_FLAGS: u8 = HAS_OCCURRED_AT | HAS_CORRELATION | HAS_CAUSATION;
pub(crate) const HAS_CONTENT_TYPE: u8 = 1;
pub(crate) const HAS_METADATA: u8 = 2;
const CONTENT_FLAGS: u8 = HAS_CONTENT_TYPE | HAS_METADATA;
const ID_END: usize = 17;

/// The bytes of an event body are not of the expected form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("event body of {length} bytes is malformed: {expected}")]
pub struct MalformedBody {
    length: usize,
    expected: &'static str,
}

/// The digest of what makes two events the same: stream, type, content type, tags, metadata and payload, but no
/// times and no ids. It covers the content part of the body; `digest.rs` says how.
pub fn content_digest(body: &[u8]) -> Result<[u8; 32], MalformedBody> {
    let layout = Layout::parse(body)?;
    Ok(digest_of(body.get(layout.content_start as usize..).unwrap_or_default()))
}

/// Where the fields of a body lie. Parsing checks the structure once, so that access cannot fail.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) flags: u8,
    pub(crate) content_flags: u8,
    pub(crate) content_start: u32,
    pub(crate) stream_end: u32,
    pub(crate) type_end: u32,
    pub(crate) tags_end: u32,
    pub(crate) payload_start: u32,
}

struct Walk<'a> {
    body: &'a [u8],
    at: usize,
}

impl Walk<'_> {
    #[inline]
    fn skip(&mut self, count: usize, expected: &'static str) -> Result<(), MalformedBody> {
        let end = self.at.saturating_add(count);
        if end > self.body.len() {
            return Err(MalformedBody { length: self.body.len(), expected });
        }
        self.at = end;
        Ok(())
    }

    #[inline]
    fn byte(&mut self, expected: &'static str) -> Result<u8, MalformedBody> {
        let byte = self.body.get(self.at).copied();
        self.at += 1;
        byte.ok_or(MalformedBody { length: self.body.len(), expected })
    }

    #[inline]
    fn text(&mut self, expected: &'static str) -> Result<(), MalformedBody> {
        match self.byte(expected)? {
            0 => Err(MalformedBody { length: self.body.len(), expected }),
            length => self.skip(usize::from(length), expected),
        }
    }
}

impl Layout {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, MalformedBody> {
        let malformed = |expected| MalformedBody { length: body.len(), expected };
        if body.len() > u32::MAX as usize {
            return Err(malformed("expected less than 4 GiB"));
        }
        let mut walk = Walk { body, at: 0 };
        let flags = walk.byte("expected flags")?;
        if flags & !HEAD_FLAGS != 0 {
            return Err(malformed("unknown head flags"));
        }
        walk.skip(16, "expected an event id")?;
        if flags & HAS_OCCURRED_AT != 0 {
            walk.skip(8, "expected a time of occurrence")?;
        }
        if flags & HAS_CORRELATION != 0 {
            walk.text("expected a correlation id")?;
        }
        if flags & HAS_CAUSATION != 0 {
            walk.text("expected a causation id")?;
        }
        let content_start = walk.at as u32;
        walk.text("expected a stream name")?;
        let stream_end = walk.at as u32;
        walk.text("expected an event type")?;
        let type_end = walk.at as u32;
        let content_flags = walk.byte("expected content flags")?;
        if content_flags & !CONTENT_FLAGS != 0 {
            return Err(malformed("unknown content flags"));
        }
        for _ in 0..walk.byte("expected a tag count")? {
            walk.text("expected a tag")?;
        }
        let tags_end = walk.at as u32;
        if content_flags & HAS_CONTENT_TYPE != 0 {
            walk.text("expected a content type")?;
        }
        if content_flags & HAS_METADATA != 0 {
            let length = u32_at(body, walk.at).ok_or(malformed("expected the length of the metadata"))?;
            walk.skip(4, "expected the length of the metadata")?;
            walk.skip(length as usize, "expected metadata")?;
        }
        let payload_start = walk.at as u32;
        Ok(Self { flags, content_flags, content_start, stream_end, type_end, tags_end, payload_start })
    }

    pub(crate) fn id(&self, body: &[u8]) -> [u8; 16] {
        let mut id = [0; 16];
        if let Some(bytes) = body.get(1..ID_END) {
            id.copy_from_slice(bytes);
        }
        id
    }

    pub(crate) fn occurred_at(&self, body: &[u8]) -> Option<i64> {
        let given = self.flags & HAS_OCCURRED_AT != 0;
        let bytes = body.get(ID_END..ID_END + 8)?.try_into().ok()?;
        given.then(|| i64::from_le_bytes(bytes))
    }

    pub(crate) fn correlation<'a>(&self, body: &'a [u8]) -> Option<&'a str> {
        let at = ID_END + if self.flags & HAS_OCCURRED_AT != 0 { 8 } else { 0 };
        (self.flags & HAS_CORRELATION != 0).then(|| text_at(body, at))
    }

    pub(crate) fn causation<'a>(&self, body: &'a [u8]) -> Option<&'a str> {
        let mut at = ID_END + if self.flags & HAS_OCCURRED_AT != 0 { 8 } else { 0 };
        if self.flags & HAS_CORRELATION != 0 {
            at += 1 + usize::from(body.get(at).copied().unwrap_or(0));
        }
        (self.flags & HAS_CAUSATION != 0).then(|| text_at(body, at))
    }

    pub(crate) fn event_type<'a>(&self, body: &'a [u8]) -> &'a str {
        text(body.get(self.stream_end as usize + 1..self.type_end as usize).unwrap_or_default())
    }

    pub(crate) fn tags<'a>(&self, body: &'a [u8]) -> Tags<'a> {
        let start = self.type_end as usize + 2;
        Tags { rest: body.get(start..self.tags_end as usize).unwrap_or_default() }
    }

    pub(crate) fn content_type<'a>(&self, body: &'a [u8]) -> Option<&'a str> {
        (self.content_flags & HAS_CONTENT_TYPE != 0).then(|| text_at(body, self.tags_end as usize))
    }

    pub(crate) fn metadata_start(&self, body: &[u8]) -> Option<usize> {
        if self.content_flags & HAS_METADATA == 0 {
            return None;
        }
        let mut at = self.tags_end as usize;
        if self.content_flags & HAS_CONTENT_TYPE != 0 {
            at += 1 + usize::from(body.get(at).copied().unwrap_or(0));
        }
        Some(at + 4)
    }
}

fn u32_at(body: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(body.get(at..at + 4)?.try_into().ok()?))
}

/// The text whose length byte is at `at`. Stores take no text that is not UTF-8; where a foreign file holds some, an
/// empty text is handed out rather than none at all.
pub(crate) fn text_at(body: &[u8], at: usize) -> &str {
    let length = usize::from(body.get(at).copied().unwrap_or(0));
    text(body.get(at + 1..at + 1 + length).unwrap_or_default())
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// The tags of an event, sorted.
#[derive(Debug, Clone)]
pub struct Tags<'a> {
    rest: &'a [u8],
}

impl Tags<'_> {
    /// No tags.
    pub(crate) fn none() -> Self {
        Self { rest: &[] }
    }
}

impl<'a> Iterator for Tags<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let (&length, rest) = self.rest.split_first()?;
        let (tag, rest) = rest.split_at_checked(usize::from(length))?;
        self.rest = rest;
        Some(text(tag))
    }
}
