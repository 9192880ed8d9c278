//! What left a store to make room: so that, when it is asked for again, it is known how much larger the store would have had to be. Only
//! hashes are kept, in parts that are read and written one by one, the oldest first.

use super::words::{put_u32, take_count};
use crate::host::wire::{framed, take_u32, take_u64, unframed};

/// What left, of one in [`PARTS`](super::parts::PARTS) hashes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Part(Vec<Ghost>);

/// One that left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ghost {
    /// Half of its hash.
    pub tag: u64,
    /// How much had left before it.
    pub place: Place,
    /// When it was stored, in seconds.
    pub since: u32,
}

/// A place in the order in which responses left: bytes, in units of 64, from which it is counted anew after 256 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u32);

impl Place {
    /// After so many bytes.
    pub const fn after(bytes: u64) -> Self {
        Self((bytes / UNIT) as u32)
    }

    /// Bytes that have left since, up to a later place.
    pub const fn until(self, later: Self) -> u64 {
        later.0.wrapping_sub(self.0) as u64 * UNIT
    }
}

impl Part {
    /// What shared data has of it; nothing, if that is damaged.
    pub fn read(bytes: Option<&[u8]>) -> Self {
        bytes.and_then(Self::decode).unwrap_or_default()
    }

    /// One has left.
    pub fn put(&mut self, ghost: Ghost) {
        self.take(ghost.tag);
        if self.is_full() {
            self.0.remove(0);
        }
        self.0.push(ghost);
    }

    /// One is stored again.
    pub fn take(&mut self, tag: u64) -> Option<Ghost> {
        let at = self.0.iter().position(|ghost| ghost.tag == tag)?;
        Some(self.0.remove(at))
    }

    /// Whether what leaves next displaces another.
    pub fn is_full(&self) -> bool {
        self.0.len() >= MOST
    }

    /// The one that left first.
    pub fn oldest(&self) -> Option<&Ghost> {
        self.0.first()
    }

    /// For shared data.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.0.len() * 16 + 16);
        out.extend_from_slice(&MAGIC);
        put_u32(&mut out, self.0.len() as u32);
        for ghost in &self.0 {
            out.extend_from_slice(&ghost.tag.to_le_bytes());
            put_u32(&mut out, ghost.place.0);
            put_u32(&mut out, ghost.since);
        }
        framed(out)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let body = &mut unframed(bytes, MAGIC)?;
        let count = take_count(body, MOST)?;
        let mut ghosts = Vec::with_capacity(count);
        for _ in 0..count {
            let tag = take_u64(body)?;
            ghosts.push(Ghost { tag, place: Place(take_u32(body)?), since: take_u32(body)? });
        }
        body.is_empty().then_some(Self(ghosts))
    }
}

/// Of a part, 16 bytes each.
const MOST: usize = 1024;
/// Bytes.
const UNIT: u64 = 64;
const MAGIC: [u8; 4] = *b"svg1";

#[cfg(test)]
mod tests {
    use super::*;

    fn ghost(tag: u64, bytes: u64) -> Ghost {
        Ghost { tag, place: Place::after(bytes), since: 7 }
    }

    #[test]
    fn what_left_is_found_once_by_how_much_has_left_since() {
        let mut part = Part::default();
        part.put(ghost(1, 0));
        part.put(ghost(2, 6400));
        part.put(ghost(1, 12_800));
        let mut read = Part::read(Some(&part.encode()));
        assert_eq!(read, part);
        let found = read.take(1).unwrap();
        assert_eq!((found.place.until(Place::after(19_200)), found.since), (6400, 7));
        assert_eq!((read.take(1), read.oldest().map(|ghost| ghost.tag)), (None, Some(2)));
        assert_eq!(Place::after((1 << 38) - 64).until(Place::after(1 << 38)), 64, "it is counted on");
    }

    #[test]
    fn the_oldest_give_way_and_damage_is_nothing() {
        let mut part = Part::default();
        (0..3000).for_each(|tag| part.put(ghost(tag, tag * 64)));
        assert!(part.is_full() && part.take(1975).is_none() && part.take(1976).is_some());
        assert!(!part.is_full());
        let bytes = part.encode();
        assert!(bytes.len() <= 16 + MOST * 16);
        for bytes in [&bytes[1..], &bytes[..bytes.len() - 1], b"svg1"] {
            assert_eq!(Part::read(Some(bytes)), Part::default());
        }
    }
}
