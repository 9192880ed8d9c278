//! A request or response as Redis keeps it.
//!
//! ```text
//! base64 of, signed if the fleet has a secret: version 1: u8 · length of the head u32 · head, a field block · body
//! ```
//!
//! It is text, so that both bridges carry it alike, and each reads what came by the other.

use crate::fields::Fields;
use crate::sized::{read_sized, write_sized};

/// A head and a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    bytes: Vec<u8>,
    /// Where the body begins.
    body: usize,
}

impl Payload {
    /// As it is written down.
    pub fn write(head: &[u8], body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(head.len().saturating_add(body.len()).saturating_add(FRONT));
        bytes.push(VERSION);
        write_sized(head, &mut bytes);
        bytes.extend_from_slice(body);
        bytes
    }

    /// From what was written down; `None` for anything else.
    pub fn read(bytes: Vec<u8>) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (head, body) = read_sized(rest)?;
        let sound = *version == VERSION && Fields::parse(head).is_some_and(|fields| fields.are_ended());
        let body = bytes.len().checked_sub(body.len())?;
        sound.then_some(Self { bytes, body })
    }

    /// Whether it has all that a request needs.
    pub fn is_request(&self) -> bool {
        let fields = self.fields();
        [&b":method"[..], b":scheme", b":authority", b":path"]
            .iter()
            .all(|name| fields.get(name).is_some_and(|value| !value.is_empty()))
    }

    /// The head.
    pub fn fields(&self) -> Fields<'_> {
        let head = self.bytes.get(FRONT..self.body).unwrap_or_default();
        Fields::parse(head).unwrap_or_default()
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        self.bytes.get(self.body..).unwrap_or_default()
    }
}

/// Bytes of text for so many bytes of a body, with a head of the usual length.
pub const fn written(bytes: usize) -> usize {
    bytes.saturating_add(LONGEST_HEAD).div_ceil(3).saturating_mul(4)
}

const VERSION: u8 = 1;
/// Version and length.
const FRONT: usize = 5;
/// Of a head, in bytes: more than Envoy takes by default.
const LONGEST_HEAD: usize = 128 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::FieldBlock;

    #[test]
    fn what_is_written_reads_back_and_nothing_else_does() {
        let block: FieldBlock = [(&b":path"[..], &b"/a"[..])].into_iter().collect();
        let mut head = Vec::new();
        block.write_with(&[], &mut head);
        let bytes = Payload::write(&head, b"body");
        let payload = Payload::read(bytes.clone()).unwrap();
        assert_eq!((payload.fields().get(b":path"), payload.body()), (Some(&b"/a"[..]), &b"body"[..]));
        for cut in 0..bytes.len() - 4 {
            assert_eq!(Payload::read(bytes[..cut].to_vec()), None, "{cut}");
        }
        for at in 0..bytes.len() - 4 {
            let mut other = bytes.clone();
            other[at] ^= 0x55;
            // What is read holds together: no part of it lies outside.
            if let Some(payload) = Payload::read(other) {
                assert!(payload.fields().are_ended() && payload.body().len() <= bytes.len());
            }
        }
    }
}
