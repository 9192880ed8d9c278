//! Where the workers of a node share who reads for it, and how far.
//!
//! ```text
//! magic "svf2" · cursor u64 · known 0 or 1: u8 · skipped u64 · read at u64 ms · holder u32 · until u64 ms
//! ```

use crate::host::leadership::Holder;
use crate::host::wire::{take, take_u64};
use crate::time::Timestamp;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Entries up to this one were read; `None` at the start of a node.
    pub cursor: Option<u64>,
    /// Entries up to this one may have been skipped.
    pub skipped: u64,
    /// When the store last answered.
    pub read_at: Timestamp,
    /// Who reads.
    pub holder: Holder,
}

impl Place {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&self.cursor.unwrap_or_default().to_le_bytes());
        out.push(u8::from(self.cursor.is_some()));
        out.extend_from_slice(&self.skipped.to_le_bytes());
        out.extend_from_slice(&self.read_at.as_millis().to_le_bytes());
        self.holder.encode(&mut out);
        out
    }

    pub(super) fn decode(mut bytes: &[u8]) -> Option<Self> {
        if take(&mut bytes)? != MAGIC {
            return None;
        }
        let cursor = take_u64(&mut bytes)?;
        let [known] = take(&mut bytes)?;
        let skipped = take_u64(&mut bytes)?;
        let read_at = Timestamp::from_millis(take_u64(&mut bytes)?);
        let holder = Holder::decode(&mut bytes)?;
        let cursor = (known == 1).then_some(cursor);
        bytes.is_empty().then_some(Self { cursor, skipped, read_at, holder })
    }
}

const MAGIC: [u8; 4] = *b"svf2";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_back_and_nothing_else_is_one() {
        for cursor in [None, Some(7)] {
            let holder = Holder::decode(&mut &[5, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0][..]).unwrap();
            let place = Place { cursor, skipped: 3, read_at: Timestamp::from_millis(4), holder };
            let bytes = place.encode();
            assert_eq!(Place::decode(&bytes), Some(place));
            assert_eq!(Place::decode(&bytes[1..]), None);
            assert_eq!(Place::decode(&bytes[..bytes.len() - 1]), None);
        }
    }
}
