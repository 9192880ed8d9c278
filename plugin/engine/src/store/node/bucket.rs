//! A bucket: the index of eight ways, held in one shared-data value.
//!
//! ```text
//! bucket  magic "svb1" · generation u32 · 8 × way
//! way     hash u128 · expires u64 ms · bytes u32 · generation u32 · since u32 s · state u8 · used u8 · 2 unused
//! data    the record · hash u128 · generation u32 · record length u32
//! ```
//! The data's own trailer names the way it was written for. An update that was torn by the death of its VM,
//! or by another worker in between, therefore reads as absent. It is a trailer so that a reader cuts it off
//! without moving the record.

use crate::host::wire::{take, take_u32, take_u64, take_u128};

/// Ways in a bucket.
pub const WAYS: usize = 8;
/// Bytes that the data of a record has beside the record.
pub const TRAILER: usize = 24;
/// A way that is being written for longer belongs to a VM that died.
pub const WRITER_PATIENCE_S: u32 = 10;

const MAGIC: [u8; 4] = *b"svb1";
const HEADER: usize = 8;
const WAY: usize = 40;
const USED_AT: usize = 37;

/// The decoded index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// The generation given out last.
    pub generation: u32,
    /// The ways.
    pub ways: [Way; WAYS],
}

/// One place for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// What the data key holds.
    pub state: State,
    /// Read since it was stored, or since the eviction hand last passed.
    pub used: bool,
    /// Whose record.
    pub hash: u128,
    /// When the record is of no more use, in milliseconds.
    pub expires_ms: u64,
    /// Size of the data value, trailer included.
    pub bytes: u32,
    /// Distinguishes this record from all others ever in the bucket.
    pub generation: u32,
    /// When writing began, in seconds.
    pub since_s: u32,
}

/// The life of a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The data is empty or was never set.
    Empty,
    /// One worker may write the data; nobody reads it.
    Writing,
    /// The data is complete.
    Ready,
}

impl Way {
    /// A place for nothing.
    pub const EMPTY: Self = Self {
        state: State::Empty,
        used: false,
        hash: 0,
        expires_ms: 0,
        bytes: 0,
        generation: 0,
        since_s: 0,
    };

    /// Is the writer taken for dead? A time from the future is a clock that was set back.
    pub fn abandoned(&self, now_s: u32) -> bool {
        self.state == State::Writing && now_s.abs_diff(self.since_s) > WRITER_PATIENCE_S
    }

    /// Complete, but of no more use.
    pub fn expired(&self, now_ms: u64) -> bool {
        self.state == State::Ready && self.expires_ms <= now_ms
    }

    fn decode(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        let hash = take_u128(bytes)?;
        let expires_ms = take_u64(bytes)?;
        let size = take_u32(bytes)?;
        let generation = take_u32(bytes)?;
        let since_s = take_u32(bytes)?;
        let [state, used] = take(bytes)?;
        let state = match state {
            0 => State::Empty,
            1 => State::Writing,
            2 => State::Ready,
            _ => return None,
        };
        Some(Self { state, used: used != 0, hash, expires_ms, bytes: size, generation, since_s })
    }

    fn encode(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.hash.to_le_bytes());
        into.extend_from_slice(&self.expires_ms.to_le_bytes());
        into.extend_from_slice(&self.bytes.to_le_bytes());
        into.extend_from_slice(&self.generation.to_le_bytes());
        into.extend_from_slice(&self.since_s.to_le_bytes());
        let state = match self.state {
            State::Empty => 0,
            State::Writing => 1,
            State::Ready => 2,
        };
        into.extend_from_slice(&[state, u8::from(self.used), 0, 0]);
    }
}

impl Bucket {
    /// Without records.
    pub const EMPTY: Self = Self { generation: 0, ways: [Way::EMPTY; WAYS] };

    /// `None` when the bytes are not a bucket of this version.
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        if bytes.len() != HEADER + WAYS * WAY || take(&mut bytes)? != MAGIC {
            return None;
        }
        let mut bucket = Self { generation: take_u32(&mut bytes)?, ways: [Way::EMPTY; WAYS] };
        for (way, bytes) in bucket.ways.iter_mut().zip(bytes.chunks_exact(WAY)) {
            *way = Way::decode(bytes)?;
        }
        Some(bucket)
    }

    /// The bytes to put into shared data.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + WAYS * WAY);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.generation.to_le_bytes());
        for way in &self.ways {
            way.encode(&mut bytes);
        }
        bytes
    }

    /// The bytes of data that the ways hold or may be about to hold.
    pub fn data_bytes(&self) -> u64 {
        let held = self.ways.iter().filter(|way| way.state != State::Empty);
        held.fold(0, |sum, way| sum.saturating_add(u64::from(way.bytes)))
    }
}

/// The ready way of a key, found without decoding the others.
pub fn find(bucket: &[u8], hash: u128) -> Option<(usize, Way)> {
    let (magic, ways) = bucket.split_at_checked(HEADER)?;
    if !magic.starts_with(&MAGIC) || bucket.len() != HEADER + WAYS * WAY {
        return None;
    }
    let wanted = hash.to_le_bytes();
    let mut matching = ways.chunks_exact(WAY).enumerate().filter(|(_, way)| way.starts_with(&wanted));
    matching
        .find_map(|(at, way)| Way::decode(way).filter(|way| way.state == State::Ready).map(|way| (at, way)))
}

/// Sets the use mark of a way in an encoded bucket.
pub fn mark_used(bucket: &mut [u8], at: usize) {
    if let Some(way) = bucket.get_mut(HEADER..).and_then(|ways| ways.chunks_exact_mut(WAY).nth(at))
        && let Some(used) = way.get_mut(USED_AT)
    {
        *used = 1;
    }
}

/// A record with its trailer: the data value.
pub fn seal(record: &[u8], hash: u128, generation: u32) -> Vec<u8> {
    let mut data = Vec::with_capacity(record.len().saturating_add(TRAILER));
    data.extend_from_slice(record);
    data.extend_from_slice(&hash.to_le_bytes());
    data.extend_from_slice(&generation.to_le_bytes());
    data.extend_from_slice(&(record.len() as u32).to_le_bytes());
    data
}

/// The length of the record in a data value, if the value is what the way says.
pub fn sealed_length(data: &[u8], way: &Way) -> Option<usize> {
    let (record, mut trailer) = data.split_at_checked(data.len().checked_sub(TRAILER)?)?;
    let matches = data.len() == way.bytes as usize
        && take_u128(&mut trailer)? == way.hash
        && take_u32(&mut trailer)? == way.generation
        && take_u32(&mut trailer)? as usize == record.len();
    matches.then_some(record.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Bucket {
        let mut bucket = Bucket { generation: 9, ..Bucket::EMPTY };
        bucket.ways[3] = Way {
            state: State::Ready,
            used: false,
            hash: 77,
            expires_ms: 1 << 40,
            bytes: 28,
            generation: 9,
            since_s: 5,
        };
        bucket
    }

    #[test]
    fn a_bucket_reads_back_as_written_and_marks_are_set_in_place() {
        let bucket = sample();
        let mut bytes = bucket.encode();
        assert_eq!(Bucket::decode(&bytes), Some(bucket.clone()));
        assert_eq!(find(&bytes, 77), Some((3, bucket.ways[3])));
        assert_eq!(find(&bytes, 78), None);
        mark_used(&mut bytes, 3);
        assert!(find(&bytes, 77).unwrap().1.used);
    }

    #[test]
    fn bytes_of_any_other_kind_are_not_a_bucket() {
        let bytes = sample().encode();
        for cut in 0..bytes.len() {
            assert_eq!(Bucket::decode(&bytes[..cut]), None);
            assert_eq!(find(&bytes[..cut], 77), None);
        }
        let mut other = bytes.clone();
        other[0] ^= 1;
        assert_eq!((Bucket::decode(&other), find(&other, 77)), (None, None));
        let mut state = bytes;
        state[HEADER + 3 * WAY + 36] = 9;
        assert_eq!((Bucket::decode(&state), find(&state, 77)), (None, None));
    }

    #[test]
    fn data_of_another_key_or_generation_is_not_taken() {
        let way = sample().ways[3];
        let data = seal(b"abcd", 77, 9);
        assert_eq!(sealed_length(&data, &way), Some(4));
        assert_eq!(sealed_length(&seal(b"abcd", 78, 9), &way), None);
        assert_eq!(sealed_length(&seal(b"abcd", 77, 8), &way), None);
        assert_eq!(sealed_length(&data[1..], &way), None);
        assert_eq!(sealed_length(&[], &way), None);
    }
}
