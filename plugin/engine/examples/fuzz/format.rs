//! A writer and a reader of records of their own, as the format says it: what they write may break every rule but the checksums.

use xxhash_rust::xxh3::xxh3_64;

use super::random::Random;

/// The fixed part of a record.
#[derive(Clone)]
pub struct Head {
    /// 1, or 2 for a response with generation and tags.
    pub version: u8,
    /// 1 for a response, 2 for an index.
    pub kind: u8,
    /// Flags.
    pub terms: u8,
    /// Status code.
    pub status: u16,
    /// Variants of an index, or tags of a response.
    pub count: u32,
    /// Milliseconds; the first is the generation of an index.
    pub times: [u64; 6],
}

/// A record, taken apart.
#[derive(Clone)]
pub struct Parts {
    /// Its fixed part.
    pub head: Head,
    /// The canonical key.
    pub key: Vec<u8>,
    /// Generation, tags and field lines of a response.
    pub response: Option<Response>,
    /// The variants of an index.
    pub variants: Vec<Variant>,
    /// The content.
    pub body: Vec<u8>,
}

/// What a response has between key and body.
#[derive(Clone)]
pub struct Response {
    /// When it was asked for, in milliseconds.
    pub generation: u64,
    /// Hashes.
    pub tags: Vec<u64>,
    /// Field lines.
    pub lines: Vec<Line>,
}

/// Name and value.
pub type Line = (Vec<u8>, Vec<u8>);
/// The hash of a variant's key, and the fields that select it.
pub type Variant = (u128, Vec<Vec<u8>>);

impl Parts {
    /// Takes a record apart. `None` if it is none of this release; checksums are not looked at.
    pub fn read(record: &[u8]) -> Option<Self> {
        let [version, kind, terms, _] = *record.get(VERSION..)?.first_chunk()?;
        let status = u16::from_le_bytes(*record.get(STATUS..)?.first_chunk()?);
        let time = |n: usize| Some(u64::from_le_bytes(*record.get(TIMES + 8 * n..)?.first_chunk()?));
        let times = [time(0)?, time(1)?, time(2)?, time(3)?, time(4)?, time(5)?];
        let count = read_u32(record, COUNT);
        let (key, rest) = record.get(HEAD..)?.split_at_checked(read_u32(record, KEY_LEN) as usize)?;
        let (fields, body) = rest.split_at_checked(read_u32(record, FIELDS_LEN) as usize)?;
        let (mut response, mut variants) = (None, Vec::new());
        match kind {
            1 if version == 2 => {
                let (generation, rest) = fields.split_first_chunk()?;
                let (tags, block) = rest.split_at_checked(8 * count as usize)?;
                let tags = tags.as_chunks().0.iter().map(|tag| u64::from_le_bytes(*tag)).collect();
                let generation = u64::from_le_bytes(*generation);
                response = Some(Response { generation, tags, lines: lines(block)? });
            }
            2 => variants = read_variants(fields, count)?,
            _ => return None,
        }
        let head = Head { version, kind, terms, status, count, times };
        Some(Self { head, key: key.to_vec(), response, variants, body: body.to_vec() })
    }

    /// Puts it together again, with the checksums that are right. The head's count stays as it is.
    pub fn write(&self) -> Vec<u8> {
        write(&self.head, &self.key, &self.fields(), &self.body)
    }

    /// What lies between key and body.
    pub fn fields(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some(response) = &self.response {
            out.extend(response.generation.to_le_bytes());
            out.extend(response.tags.iter().flat_map(|tag| tag.to_le_bytes()));
            out.extend(block(&response.lines));
        }
        for (hash, names) in &self.variants {
            out.extend(hash.to_le_bytes());
            out.extend((names.len() as u32).to_le_bytes());
            for name in names {
                out.extend((name.len() as u32).to_le_bytes());
                out.extend(name);
            }
        }
        out
    }
}

/// A whole record.
pub fn write(head: &Head, key: &[u8], fields: &[u8], body: &[u8]) -> Vec<u8> {
    let mut out = b"SLVG\0\0\0\0\0\0\0\0".to_vec();
    out.extend([head.version, head.kind, head.terms, 0]);
    out.extend(head.status.to_le_bytes());
    out.extend([0, 0]);
    out.extend((key.len() as u32).to_le_bytes());
    out.extend(head.count.to_le_bytes());
    out.extend((fields.len() as u32).to_le_bytes());
    out.extend(head.times.iter().flat_map(|time| time.to_le_bytes()));
    out.extend([0; 8]);
    out.extend(key);
    out.extend(fields);
    out.extend(body);
    seal(&mut out);
    out
}

/// A field block.
pub fn block(lines: &[Line]) -> Vec<u8> {
    let mut out = (lines.len() as u32).to_le_bytes().to_vec();
    for (name, value) in lines {
        out.extend((name.len() as u32).to_le_bytes());
        out.extend((value.len() as u32).to_le_bytes());
    }
    for (name, value) in lines {
        out.extend([name, &b"\0"[..], value, b"\0"].concat());
    }
    out
}

/// The lines of a field block that is sound.
fn lines(block: &[u8]) -> Option<Vec<Line>> {
    let count = read_u32(block, 0) as usize;
    let mut rest = block.get(4 + 8 * count..)?;
    let mut lines = Vec::new();
    for number in 0..count {
        let mut part = |at| {
            let (part, after) = rest.split_at_checked(read_u32(block, at) as usize)?;
            rest = after.get(1..)?;
            Some(part.to_vec())
        };
        lines.push((part(4 + 8 * number)?, part(8 + 8 * number)?));
    }
    Some(lines)
}

fn read_variants(fields: &[u8], count: u32) -> Option<Vec<Variant>> {
    let (mut rest, mut variants) = (fields, Vec::new());
    for _ in 0..count {
        let (hash, after) = rest.split_first_chunk()?;
        let (names, mut after) = after.split_first_chunk()?;
        let mut list = Vec::new();
        for _ in 0..u32::from_le_bytes(*names) {
            let (length, name) = after.split_first_chunk()?;
            let (name, next) = name.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            list.push(name.to_vec());
            after = next;
        }
        variants.push((u128::from_le_bytes(*hash), list));
        rest = after;
    }
    Some(variants)
}

/// Makes both checksums right, if the lengths fit into the record. The body's is part of what the head's is of.
pub fn seal(record: &mut [u8]) {
    let head_end = HEAD + read_u32(record, KEY_LEN) as usize + read_u32(record, FIELDS_LEN) as usize;
    let Some(body) = record.get(head_end..) else { return };
    let sum = xxh3_64(body);
    record[BODY_SUM..HEAD].copy_from_slice(&sum.to_le_bytes());
    let sum = xxh3_64(&record[VERSION..head_end]);
    record[HEAD_SUM..VERSION].copy_from_slice(&sum.to_le_bytes());
}

/// Something to compress: noise, text, or one byte again and again.
pub fn content(random: &mut Random) -> Vec<u8> {
    let words = ["cache", "origin", "fresh", "stale", "{\"id\":", "},\n", "<li>", "https://example.com/"];
    let len = random.below(3000);
    match random.below(4) {
        0 => random.bytes(1000),
        1 => vec![random.next() as u8; len * 8],
        2 => (0..len).map(|_| b'a' + random.below(4) as u8).collect(),
        _ => (0..len / 8).flat_map(|_| random.pick(&words).bytes()).collect(),
    }
}

/// Four bytes as a number; 0 if they are not there.
pub fn read_u32(record: &[u8], at: usize) -> u32 {
    record.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// Overwrites four bytes with a number, if they are there.
pub fn write_u32(record: &mut [u8], at: usize, number: u32) {
    if let Some(place) = record.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = number.to_le_bytes();
    }
}

const HEAD_SUM: usize = 4;
/// Where version, kind, terms and a byte that is 0 stand.
pub const VERSION: usize = 12;
const STATUS: usize = 16;
/// Where the length of the key stands.
pub const KEY_LEN: usize = 20;
/// Where the number of variants or tags stands.
pub const COUNT: usize = 24;
/// Where the length of what lies between key and body stands.
pub const FIELDS_LEN: usize = 28;
const TIMES: usize = 32;
const BODY_SUM: usize = 80;
/// Bytes before the key.
pub const HEAD: usize = 88;
