//! The part of a key that is a request's body, taken in while the body streams past.
//!
//! xxh3 finds keys but resists nobody who looks for collisions, and a body is the client's to choose: a long
//! one is in the key as its SHA-256 digest and length, a short one as it is.

#[cfg(all(feature = "llm", not(all(target_arch = "wasm32", target_os = "unknown"))))]
use std::rc::Rc;

#[cfg(all(feature = "llm", not(all(target_arch = "wasm32", target_os = "unknown"))))]
use selvage_llm::canonical::Rounded;
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::policy;

/// A body that is being read for its key.
#[derive(Clone, Debug)]
pub struct BodyKey {
    inline_max: usize,
    max: usize,
    length: usize,
    seen: Seen,
    /// The same as JSON, as long as it is that.
    #[cfg(all(feature = "llm", not(all(target_arch = "wasm32", target_os = "unknown"))))]
    json: Option<Box<Rounded>>,
}

/// What a key holds of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyPart {
    /// The whole body; empty if the request has none.
    Inline(Vec<u8>),
    /// The digest of a body that is too long to be in the key.
    Digest {
        /// SHA-256 of the body.
        sha256: [u8; 32],
        /// Its length in bytes.
        length: u64,
    },
    /// The digest of what it says as JSON.
    Json([u8; 32]),
    /// The digest of what a language model is asked, and of who asks.
    Question([u8; 32]),
}

/// The body is longer than a keyed body may be; the request passes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the request body is longer than the {max} bytes that a keyed body may have")]
pub struct TooLarge {
    /// The bound, in bytes.
    pub max: usize,
}

impl BodyKey {
    /// Starts with an empty body. One of up to `inline_max` bytes is kept as it is, one of more than `max`
    /// bytes is refused.
    pub fn new(inline_max: usize, max: usize) -> Self {
        Self {
            inline_max,
            max,
            length: 0,
            seen: Seen::Bytes(Vec::new()),
            #[cfg(all(feature = "llm", not(all(target_arch = "wasm32", target_os = "unknown"))))]
            json: None,
        }
    }

    /// Starts with an empty body, under a rule that has it in the key.
    pub fn of(bounds: &policy::BodyKey) -> Self {
        #[cfg_attr(
            not(all(feature = "llm", not(all(target_arch = "wasm32", target_os = "unknown")))),
            expect(unused_mut, reason = "nothing is added")
        )]
        let mut key = Self::new(bounds.inline_bytes, bounds.max_bytes);
        #[cfg(all(feature = "llm", not(all(target_arch = "wasm32", target_os = "unknown"))))]
        if let Some(json) = &bounds.json {
            key.json = Some(Box::new(Rounded::new(Rc::from(json.round.as_slice()))));
        }
        key
    }

    /// Bytes that it keeps of the body.
    pub fn kept_bytes(&self) -> usize {
        #[cfg(all(feature = "llm", not(all(target_arch = "wasm32", target_os = "unknown"))))]
        let of_json = self.json.as_ref().map_or(0, |json| json.kept_bytes());
        #[cfg(not(all(feature = "llm", not(all(target_arch = "wasm32", target_os = "unknown")))))]
        let of_json = 0;
        of_json
            + match &self.seen {
                Seen::Bytes(bytes) => bytes.capacity(),
                Seen::Digest(_) => size_of::<Self>(),
            }
    }

    /// Takes in the next bytes of the body.
    ///
    /// # Errors
    /// The body has become longer than its bound. Every later call fails too.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), TooLarge> {
        self.length = self.length.saturating_add(chunk.len());
        if self.length > self.max {
            self.seen = Seen::Bytes(Vec::new());
            return Err(TooLarge { max: self.max });
        }
        #[cfg(all(feature = "llm", not(all(target_arch = "wasm32", target_os = "unknown"))))]
        if self.json.as_mut().is_some_and(|json| json.push(chunk).is_err()) {
            self.json = None;
        }
        match &mut self.seen {
            Seen::Bytes(bytes) if self.length <= self.inline_max => bytes.extend_from_slice(chunk),
            Seen::Bytes(bytes) => {
                let mut digest = Sha256::new();
                digest.update(&*bytes);
                digest.update(chunk);
                self.seen = Seen::Digest(digest);
            }
            Seen::Digest(digest) => digest.update(chunk),
        }
        Ok(())
    }

    /// What the key holds of the body, now that it has ended. Not to be called after [`TooLarge`].
    pub fn finish(self) -> BodyPart {
        // What is no JSON, or could be read in two ways, is keyed by its bytes.
        #[cfg(all(feature = "llm", not(all(target_arch = "wasm32", target_os = "unknown"))))]
        if let Some(digest) = self.json.and_then(|json| json.finish().ok()) {
            return BodyPart::Json(digest);
        }
        match self.seen {
            Seen::Bytes(bytes) => BodyPart::Inline(bytes),
            Seen::Digest(digest) => BodyPart::Digest {
                sha256: digest.finalize().into(),
                length: u64::try_from(self.length).unwrap_or(u64::MAX),
            },
        }
    }
}

/// All that is held of the body so far.
#[derive(Clone, Debug)]
enum Seen {
    /// No more than `inline_max` bytes.
    Bytes(Vec<u8>),
    Digest(Sha256),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(chunks: &[&[u8]], inline_max: usize) -> BodyPart {
        let mut key = BodyKey::new(inline_max, 1000);
        for chunk in chunks {
            key.push(chunk).unwrap();
        }
        key.finish()
    }

    #[test]
    fn a_short_body_is_kept_as_it_is() {
        assert_eq!(part(&[], 4), BodyPart::Inline(Vec::new()));
        assert_eq!(part(&[b"ab", b"", b"cd"], 4), BodyPart::Inline(b"abcd".to_vec()));
    }

    #[test]
    fn a_long_body_is_its_digest_however_it_was_cut() {
        let abc = [
            0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
            0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad,
        ];
        for chunks in [&[&b"abc"[..]][..], &[b"a", b"bc"], &[b"ab", b"", b"c"], &[b"a", b"b", b"c"]] {
            assert_eq!(part(chunks, 2), BodyPart::Digest { sha256: abc, length: 3 });
        }
    }

    #[test]
    fn a_body_past_the_bound_is_refused_for_good() {
        let mut key = BodyKey::new(2, 4);
        assert_eq!(key.push(b"abcd"), Ok(()));
        assert_eq!(key.push(b"e"), Err(TooLarge { max: 4 }));
        assert_eq!(key.push(b""), Err(TooLarge { max: 4 }));
    }
}
