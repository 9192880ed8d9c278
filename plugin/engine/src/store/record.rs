//! The one binary form of a stored response, or of an index of variants, outside a worker's memory.
//!
//! ```text
//! "SLVG" head checksum:u64 | version:u8 kind:u8 terms:u16 | status:u16 0:u16 key:u32 count:u32 fields:u32
//! born received lifetime while_revalidate if_error disconnected: u64 × 6 (milliseconds) | body checksum:u64
//! key | fields | body                                                                   all little-endian
//! fields of a response: generation:u64 (milliseconds) | count × tag:u64 | field block
//! ```
//!
//! A response of version 1 has only a field block for its fields: its generation is its birth, and its tags are not known. An
//! index is of version 1 still.
//!
//! Decoding is total: whatever the bytes are, it ends with a value or a [`RecordError`], and allocates at most sixteen
//! times what the bytes are long: an index of many short names is the worst.

use std::rc::Rc;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use super::Slot;
use super::response::{Body, Outlives, StoredResponse, Terms};
use super::variants::{MOST_NAMES, MOST_VARIANTS, Names, Variant, VariantIndex};
use crate::coding::minify::minified_head;
use crate::fields::{FieldBlock, Fields};
use crate::freshness::Schedule;
use crate::host::IN_BROWSER;
use crate::storability::{are_few, is_bodiless, is_of_a_quota, is_sound, is_stored};
use crate::store::form::Gzip;
use crate::tags::{ANY, MOST_TAGS};
use crate::time::Timestamp;
use crate::vary::LONGEST_NAME;

/// Why bytes are not a usable record. Always a miss, never a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Not a record at all.
    #[error("not a record")]
    Foreign,
    /// Of a version or kind this release does not read.
    #[error("unknown version or kind of record")]
    Unknown,
    /// Shorter than its lengths say.
    #[error("truncated record")]
    Truncated,
    /// A checksum does not match.
    #[error("damaged record")]
    Damaged,
    /// Of a response that no release stores: whoever wrote it means harm, or is broken.
    #[error("forged record")]
    Forged,
    /// Not signed by a secret of the fleet, where there is one.
    #[error("record that no secret has signed")]
    Unsigned,
}

/// How much of a record is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// Everything but the body: for memory of this machine, whose torn writes are found otherwise.
    Head,
    /// The body too, and that it is of a response such as this cache stores: for what crossed a network, where others
    /// may write as well. Checksums are no proof of who wrote it.
    Whole,
}

/// Writes `slot` as a record.
pub fn encode(slot: &Slot) -> Vec<u8> {
    match slot {
        Slot::Response(stored) => encode_response(stored),
        Slot::Index(index) => encode_index(index),
    }
}

/// Reads a record. The body stays in `bytes`, which the result takes over.
///
/// # Errors
/// [`RecordError`] says what is wrong with the bytes.
pub fn decode(bytes: Vec<u8>, verify: Verify) -> Result<Slot, RecordError> {
    let mut reader = Reader { rest: &bytes };
    if reader.take(4)? != MAGIC {
        return Err(RecordError::Foreign);
    }
    let head_checksum = reader.u64()?;
    let checked = reader.rest;
    let [version, kind, terms @ ..] = reader.array::<4>()?;
    let terms = Terms::from_bits(terms).ok_or(RecordError::Unknown)?;
    // What this release does not know of may forbid a use.
    let known = version == VERSION || version == VERSION_1;
    if !known || version == VERSION && kind == KIND_INDEX {
        return Err(RecordError::Unknown);
    }
    let status = u16::from_le_bytes(reader.array()?);
    let _reserved: [u8; 2] = reader.array()?;
    let key_len = reader.u32()? as usize;
    let count = reader.u32()?;
    let fields_len = reader.u32()? as usize;
    let mut times = [0u64; 6];
    for time in &mut times {
        *time = reader.u64()?;
    }
    let body_checksum = reader.u64()?;
    let key: Rc<[u8]> = reader.take(key_len)?.into();
    let fields = reader.take(fields_len)?;
    let body = reader.rest;
    let head = checked.get(..checked.len() - body.len()).unwrap_or_default();
    if xxh3_64(head) != head_checksum {
        return Err(RecordError::Damaged);
    }
    if verify == Verify::Whole && xxh3_64(body) != body_checksum {
        return Err(RecordError::Damaged);
    }
    match kind {
        KIND_RESPONSE if verify == Verify::Whole && !is_stored(status) => Err(RecordError::Forged),
        // Envoy would send it all the same, and a client take it for the beginning of the next response.
        KIND_RESPONSE if verify == Verify::Whole && is_bodiless(status) && !body.is_empty() => {
            Err(RecordError::Forged)
        }
        KIND_RESPONSE if !(200..1000).contains(&status) => Err(RecordError::Damaged),
        KIND_RESPONSE => {
            let [born, received, lifetime, while_revalidate, if_error, disconnected] = times;
            let longest = [lifetime, while_revalidate, if_error, disconnected].into_iter().max();
            if verify == Verify::Whole && longest > Some(LONGEST_MILLIS) {
                return Err(RecordError::Forged);
            }
            let schedule = Schedule {
                born: Timestamp::from_millis(born),
                received: Timestamp::from_millis(received),
                lifetime: Duration::from_millis(lifetime),
                while_revalidate: Duration::from_millis(while_revalidate),
                if_error: Duration::from_millis(if_error),
                disconnected: Duration::from_millis(disconnected),
            };
            let mut reader = Reader { rest: fields };
            let mut generation = schedule.born.min(schedule.received);
            // Which they were is not known.
            let mut tags: Rc<[u64]> = Rc::from([ANY]);
            if version == VERSION {
                generation = Timestamp::from_millis(reader.u64()?);
                if count as usize > MOST_TAGS {
                    return Err(RecordError::Damaged);
                }
                tags = (0..count).map(|_| reader.u64()).collect::<Result<_, _>>()?;
                // Purges look them up by halves.
                if !tags.is_sorted() {
                    return Err(RecordError::Forged);
                }
            }
            let fields = reader.rest;
            let fields = Fields::parse(fields).ok_or(RecordError::Damaged)?;
            // The gzip form's fields are made of these.
            let fit =
                |fields: Fields<'_>| are_few(fields) && fields.are_ended() && fields.iter().all(is_sound);
            if verify == Verify::Whole && !fit(fields) {
                return Err(RecordError::Forged);
            }
            let fields = match verify {
                // An Envoy of an earlier version stored them.
                Verify::Whole => fields.iter().filter(|(name, _)| !is_of_a_quota(name)).collect(),
                Verify::Head => FieldBlock::copy_of(fields),
            };
            let start = bytes.len() - body.len();
            let minified = (!IN_BROWSER && terms.contains(Terms::MINIFIED))
                .then(|| Box::new(minified_head(fields.fields())));
            let own = minified.as_deref().unwrap_or(&fields);
            let gzip = match terms.contains(Terms::GZIP) {
                true => Some(Box::new(Gzip::of(own.fields(), body).ok_or(RecordError::Damaged)?)),
                false => None,
            };
            let body = Body::tail(bytes, start);
            Ok(Slot::Response(Rc::new(StoredResponse {
                key,
                status,
                terms,
                schedule,
                fields,
                body,
                gzip,
                minified,
                took_millis: 0,
                generation,
                tags,
                outlives: Outlives::default(),
            })))
        }
        KIND_INDEX => {
            let [generation, ..] = times;
            let variants = read_variants(&mut Reader { rest: fields }, count)?;
            let index = VariantIndex::read(key, generation, variants).ok_or(RecordError::Forged)?;
            Ok(Slot::Index(Rc::new(index)))
        }
        _ => Err(RecordError::Unknown),
    }
}

fn encode_response(stored: &StoredResponse) -> Vec<u8> {
    let mut fields = Vec::with_capacity(stored.fields.byte_len() + 12 + 8 * stored.tags.len());
    fields.extend_from_slice(&stored.generation.as_millis().to_le_bytes());
    fields.extend(stored.tags.iter().flat_map(|tag| tag.to_le_bytes()));
    stored.fields.write_with(&[], &mut fields);
    let schedule = &stored.schedule;
    let times = [
        schedule.born.as_millis(),
        schedule.received.as_millis(),
        millis(schedule.lifetime),
        millis(schedule.while_revalidate),
        millis(schedule.if_error),
        millis(schedule.disconnected),
    ];
    let prelude = Prelude {
        version: VERSION,
        kind: KIND_RESPONSE,
        terms: stored.terms.bits(),
        status: stored.status,
        count: length(&stored.tags),
    };
    write(&prelude, times, &stored.key, &fields, stored.body.as_slice())
}

fn encode_index(index: &VariantIndex) -> Vec<u8> {
    let mut fields = Vec::new();
    for variant in index.variants() {
        fields.extend_from_slice(&variant.hash.to_le_bytes());
        fields.extend_from_slice(&length(&variant.names).to_le_bytes());
        for name in variant.names.iter() {
            fields.extend_from_slice(&length(name).to_le_bytes());
            fields.extend_from_slice(name);
        }
    }
    let times = [index.generation, 0, 0, 0, 0, 0];
    let count = length(index.variants());
    let prelude = Prelude { version: VERSION_1, kind: KIND_INDEX, terms: [0; 2], status: 0, count };
    write(&prelude, times, &index.key, &fields, &[])
}

fn read_variants(reader: &mut Reader<'_>, count: u32) -> Result<Vec<Variant>, RecordError> {
    if count as usize > MOST_VARIANTS {
        return Err(RecordError::Forged);
    }
    let mut variants: Vec<Variant> = Vec::new();
    for _ in 0..count {
        let hash = u128::from_le_bytes(reader.array()?);
        let count = reader.u32()? as usize;
        if count > MOST_NAMES {
            return Err(RecordError::Forged);
        }
        let mut names: Vec<Box<[u8]>> = Vec::new();
        for _ in 0..count {
            let length = reader.u32()? as usize;
            if length > LONGEST_NAME {
                return Err(RecordError::Forged);
            }
            names.push(reader.take(length)?.into());
        }
        // Most variants of a key are selected by the same fields, which are kept once.
        let names = match variants.last() {
            Some(last) if *last.names == *names => last.names.clone(),
            _ => Names::new(names).ok_or(RecordError::Forged)?,
        };
        variants.push(Variant { names, hash });
    }
    if !reader.rest.is_empty() {
        return Err(RecordError::Forged);
    }
    Ok(variants)
}

/// The small values at the front of a record.
struct Prelude {
    version: u8,
    kind: u8,
    terms: [u8; 2],
    status: u16,
    count: u32,
}

fn write(prelude: &Prelude, times: [u64; 6], key: &[u8], fields: &[u8], body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD_BYTES + key.len() + fields.len() + body.len());
    out.extend_from_slice(MAGIC);
    let checksum_at = out.len();
    out.extend_from_slice(&[0; 8]);
    let checked_from = out.len();
    out.extend_from_slice(&[prelude.version, prelude.kind]);
    out.extend_from_slice(&prelude.terms);
    out.extend_from_slice(&prelude.status.to_le_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&length(key).to_le_bytes());
    out.extend_from_slice(&prelude.count.to_le_bytes());
    out.extend_from_slice(&length(fields).to_le_bytes());
    for time in times {
        out.extend_from_slice(&time.to_le_bytes());
    }
    out.extend_from_slice(&xxh3_64(body).to_le_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(fields);
    let checksum = xxh3_64(out.get(checked_from..).unwrap_or_default()).to_le_bytes();
    if let Some(place) = out.get_mut(checksum_at..checked_from) {
        place.copy_from_slice(&checksum);
    }
    out.extend_from_slice(body);
    out
}

/// Takes bytes off the front, or says that there are too few.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], RecordError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(RecordError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(RecordError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn u32(&mut self) -> Result<u32, RecordError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, RecordError> {
        self.array().map(u64::from_le_bytes)
    }
}

fn length<T>(items: &[T]) -> u32 {
    u32::try_from(items.len()).unwrap_or(u32::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

const MAGIC: &[u8; 4] = b"SLVG";
const VERSION_1: u8 = 1;
const VERSION: u8 = 2;
/// A little longer than from the first to the last date that a field can name.
const LONGEST_MILLIS: u64 = 1 << 48;
const KIND_RESPONSE: u8 = 1;
const KIND_INDEX: u8 = 2;
/// Bytes before the key.
const HEAD_BYTES: usize = 4 + 4 + 4 + 12 + 8 + 48 + 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn response() -> Slot {
        let second = Duration::from_secs(1);
        Slot::Response(Rc::new(StoredResponse {
            key: Rc::from(&b"key"[..]),
            status: 200,
            terms: Terms::SHARED,
            schedule: Schedule {
                born: Timestamp::from_secs(10),
                received: Timestamp::from_secs(11),
                lifetime: second * 60,
                while_revalidate: second,
                if_error: second * 2,
                disconnected: second * 3,
            },
            fields: [(&b"etag"[..], &b"\"x\""[..]), (b"set-cookie", b"a=1")].into_iter().collect(),
            body: Body::new(b"content".to_vec()),
            gzip: None,
            minified: None,
            took_millis: 0,
            generation: Timestamp::from_millis(9_876),
            tags: Rc::from([3, 4]),
            outlives: Outlives::default(),
        }))
    }

    fn index() -> Slot {
        let mut index = VariantIndex::new(Rc::from(&b"key"[..]), Timestamp::from_secs(5));
        let names = Names::new(vec![Box::from(&b"accept-language"[..])]).unwrap();
        index.add(names.clone(), 7);
        index.add(names, 8);
        Slot::Index(Rc::new(index))
    }

    #[test]
    fn records_read_back_as_they_were_written() {
        let Slot::Response(written) = response() else { unreachable!() };
        let Ok(Slot::Response(read)) = decode(encode(&response()), Verify::Whole) else {
            panic!("no response")
        };
        assert_eq!(*read, *written);
        let Slot::Index(written) = index() else { unreachable!() };
        let Ok(Slot::Index(read)) = decode(encode(&index()), Verify::Whole) else { panic!("no index") };
        assert_eq!(*read, *written);
    }

    #[test]
    fn what_no_response_has_is_refused_from_a_network() {
        let Slot::Response(good) = response() else { unreachable!() };
        let forged = |status, name: &[u8], value: &[u8]| {
            let fields = [(name, value)].into_iter().collect();
            encode(&Slot::Response(Rc::new(StoredResponse { status, fields, ..(*good).clone() })))
        };
        for (status, name, value) in [
            (200, &b"x-a"[..], &b"1\r\nset-cookie: stolen=1"[..]),
            (200, b"x-a", b"1\r"),
            (200, b"x-a", b"1\0"),
            (200, b"", b"1"),
            (200, b"x a", b"1"),
            (200, b"x-a:", b"1"),
            (200, b"x-a\r\nx-b", b"1"),
            (200, b"X-A", b"1"),
            (200, b"x-\xe9", b"1"),
            (200, b":status", b"204"),
            (200, b"transfer-encoding", b"chunked"),
            (600, b"x-a", b"1"),
            // What answers a condition or a range would be sent to who asked for neither.
            (206, b"x-a", b"1"),
            (304, b"x-a", b"1"),
            (416, b"x-a", b"1"),
            // It has a body.
            (204, b"x-a", b"1"),
        ] {
            let read = decode(forged(status, name, value), Verify::Whole).map(|_| ());
            assert_eq!(read, Err(RecordError::Forged), "{status} {name:?} {value:?}");
        }
        for (status, name, value) in
            [(200, &b"x-a"[..], &b"1"[..]), (599, b"!#$%&'*+-.^_`|~0a", b"\t caf\xe9"), (410, b"x", b"")]
        {
            assert!(
                decode(forged(status, name, value), Verify::Whole).is_ok(),
                "{status} {name:?} {value:?}"
            );
        }
    }

    #[test]
    fn fields_that_envoy_would_take_for_none_are_refused_from_a_network() {
        let Slot::Response(good) = response() else { unreachable!() };
        let with = |count: usize| {
            let fields = (0..count).map(|_| (&b"x-a"[..], &b"1"[..])).collect();
            encode(&Slot::Response(Rc::new(StoredResponse { fields, ..(*good).clone() })))
        };
        assert!(decode(with(768), Verify::Whole).is_ok());
        assert_eq!(decode(with(769), Verify::Whole).map(|_| ()), Err(RecordError::Forged));
        let mut changed = with(1);
        let end = changed.len() - good.body.len();
        for (at, byte) in [(end - 1, b'x'), (end - 3, b'x')] {
            changed[at] = byte;
            let sum = xxh3_64(&changed[12..end]);
            changed[4..12].copy_from_slice(&sum.to_le_bytes());
            assert_eq!(decode(changed.clone(), Verify::Whole).map(|_| ()), Err(RecordError::Forged), "{at}");
            changed[at] = 0;
        }
        // Bytes behind the last line are no part of the block, and are not kept.
        let Ok(Slot::Response(read)) = decode(with(1), Verify::Whole) else { panic!("no response") };
        assert!(read.fields.fields().are_ended());
    }

    #[test]
    fn every_truncation_and_every_flipped_byte_is_an_error_or_the_same_record() {
        for slot in [response(), index()] {
            let whole = encode(&slot);
            for cut in 0..whole.len() {
                assert!(decode(whole[..cut].to_vec(), Verify::Whole).is_err(), "cut at {cut}");
            }
            for at in 0..whole.len() {
                let mut damaged = whole.clone();
                damaged[at] ^= 0x55;
                if let Ok(read) = decode(damaged, Verify::Whole) {
                    assert_eq!(read.key(), slot.key(), "byte {at}");
                }
            }
        }
    }
}
