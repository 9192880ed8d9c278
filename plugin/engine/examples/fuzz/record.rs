//! Inputs for the decoder of records.

use selvage_engine::coding::gzip::compress;
use selvage_engine::fields::Fields;
use selvage_engine::store::Slot;
use selvage_engine::store::record::{Verify, decode, encode};
use selvage_engine::tags::MOST_TAGS;

use crate::allocator::peak_of;
use crate::decoder::{Decoder, Outcome};
use crate::forging::forge;
use crate::format::{
    COUNT, FIELDS_LEN, HEAD, Head, KEY_LEN, VERSION, block, content, read_u32, seal, write, write_u32,
};
use crate::random::{Random, write_number};

/// The decoder of records, fed with responses or with indices for the most part.
pub struct Record {
    /// Of ten that are new, so many are indices.
    indices: usize,
}

impl Record {
    /// Fed with responses.
    pub const fn responses() -> Self {
        Self { indices: 1 }
    }

    /// Fed with indices of variants.
    pub const fn indices() -> Self {
        Self { indices: 9 }
    }
}

impl Decoder for Record {
    fn name(&self) -> &'static str {
        if self.indices > 5 { "index" } else { "record" }
    }

    fn corpus(&self) -> &'static str {
        "record"
    }

    fn generate(&self, random: &mut Random) -> Vec<u8> {
        if random.below(10) < self.indices { index(random) } else { response(random) }
    }

    fn adjust(&self, input: &mut Vec<u8>, random: &mut Random) {
        match random.below(12) {
            // What a forger makes of it; half of what is made up is of the times that records really have.
            9.. => {
                let now = if random.one_in(2) { NOW } else { random.next() >> random.below(64) };
                *input = forge(input, &[7, 8], now.min(u64::MAX >> 1), random).bytes;
            }
            8 => {
                // What ends a line, or is no part of a name, somewhere in the fields.
                let fields = HEAD + read_u32(input, KEY_LEN) as usize;
                let at = fields.saturating_add(random.below(read_u32(input, FIELDS_LEN) as usize));
                if let Some(place) = input.get_mut(at) {
                    *place = *random.pick(b"\0\r\n: A\xff");
                }
            }
            0 => write_number(input, *random.pick(&[KEY_LEN, COUNT, FIELDS_LEN]), random),
            1 => {
                // A length within the field block, or of a name.
                let at = HEAD + read_u32(input, KEY_LEN) as usize + 4 * random.below(12);
                write_number(input, at, random);
            }
            2 => {
                if let Some(place) = input.get_mut(VERSION + random.below(8)) {
                    *place = random.below(4) as u8;
                }
            }
            3 => {
                // Something taken off the end, and the length of the fields with it.
                let cut = random.below(16);
                input.truncate(input.len().saturating_sub(cut));
                let fields = read_u32(input, FIELDS_LEN).saturating_sub(cut as u32);
                write_u32(input, FIELDS_LEN, fields);
            }
            _ => {}
        }
        seal(input);
    }

    fn check(&self, input: &[u8]) -> Outcome {
        let bytes = input.to_vec();
        let (result, peak) = peak_of(move || decode(bytes, Verify::Whole));
        let head_only = decode(input.to_vec(), Verify::Head);
        match result {
            Err(error) => Outcome::new(false, peak, (error.to_string(), head_only.is_ok())),
            Ok(slot) => {
                let again = encode(&slot);
                let Ok(read) = decode(again.clone(), Verify::Whole) else {
                    panic!("cannot read what it wrote")
                };
                assert!(same(&read, &slot), "reads another record than it wrote");
                assert_eq!(encode(&read), again);
                assert!(head_only.is_ok(), "a whole record is refused with less to check");
                let shape = match &slot {
                    Slot::Response(stored) => {
                        let status = stored.status;
                        assert!(
                            (200..600).contains(&status) && ![206, 304, 416].contains(&status),
                            "{status}"
                        );
                        assert!(status != 204 || stored.body.is_empty(), "a body where there is none");
                        assert!(stored.tags.len() <= MOST_TAGS);
                        let schedule = &stored.schedule;
                        for long in [schedule.lifetime, schedule.while_revalidate, schedule.if_error] {
                            assert!(long.as_millis() <= 1 << 48, "a lifetime of {long:?}");
                        }
                        assert_fit(stored.fields.fields());
                        if let Some(gzip) = &stored.gzip {
                            assert_fit(gzip.fields.fields());
                        }
                        (1, stored.key.len(), stored.fields.fields().len(), stored.body.len())
                    }
                    Slot::Index(index) => {
                        let names = index.variants().iter().map(|variant| variant.names.len()).sum();
                        assert!(index.variants().len() <= 256, "{} variants", index.variants().len());
                        // What a request with long fields makes of it, as a GET would.
                        let long = vec![b'v'; 4096];
                        let request = block(&[(b"a".to_vec(), long.clone()), (b"x".to_vec(), long)]);
                        let request = Fields::parse(&request).unwrap_or_default();
                        let (_, selecting) = peak_of(|| index.select(request, &mut Vec::new()).is_ok());
                        assert!(selecting <= 128 * 4200 + input.len(), "selecting takes {selecting} bytes");
                        (2, index.key.len(), index.variants().len(), names)
                    }
                };
                Outcome::new(
                    true,
                    peak,
                    (shape.0, shape.1.ilog2_or_0(), shape.2.min(8), shape.3.ilog2_or_0()),
                )
            }
        }
    }

    fn memory_bound(&self, len: usize) -> usize {
        // Names of an index take five bytes and more each, and 16 in a vector that doubles and is then copied; a hash that
        // nothing else selects takes 20, and 40 with its sorted copy.
        8 * len + 4096
    }
}

/// Whether fields can be sent without anything beside them coming out.
fn assert_fit(fields: Fields<'_>) {
    assert!(
        fields.len() < 1024 && fields.block_bytes() < 1 << 20 && fields.are_ended(),
        "Envoy takes none of them"
    );
    for (name, value) in fields.iter() {
        assert!(!name.is_empty() && name.iter().all(|byte| NAME_BYTES.contains(byte)), "name {name:?}");
        assert!(!b"\0\r\n".iter().any(|byte| value.contains(byte)), "value {value:?}");
    }
}

/// A record of a response, as the format says.
pub fn response(random: &mut Random) -> Vec<u8> {
    let mut lines = Vec::new();
    for _ in 0..random.below(6) {
        let name = (0..1 + random.below(24)).map(|_| *random.pick(NAME_BYTES)).collect();
        let mut value = random.bytes(80);
        value.retain(|byte| !b"\0\r\n".contains(byte));
        lines.push((name, value));
    }
    // Bit 64 of the terms says that the body is gzip.
    let (body, coded) = match random.one_in(4) {
        true => (compress(&content(random), 1), 64),
        false => (random.bytes(512), 0),
    };
    let key = random.bytes(64);
    let mut times = [0; 6];
    for time in &mut times {
        *time = random.next() >> (16 + random.below(48));
    }
    let terms = random.below(64) as u8 | coded;
    let status = match 200 + random.below(400) as u16 {
        // No store has these, and 204 no body.
        204 | 206 | 304 | 416 => 200,
        status => status,
    };
    let tags = random.below(65);
    let mut fields = random.next().to_le_bytes().to_vec();
    let mut hashes: Vec<u64> = (0..tags).map(|_| random.next()).collect();
    hashes.sort_unstable();
    fields.extend(hashes.into_iter().flat_map(u64::to_le_bytes));
    fields.extend(block(&lines));
    write(&Head { version: 2, kind: 1, terms, status, count: tags as u32, times }, &key, &fields, &body)
}

/// A record of an index of variants.
pub fn index(random: &mut Random) -> Vec<u8> {
    let count = random.below(6) as u32;
    let mut fields = Vec::new();
    for _ in 0..count {
        fields.extend(random.next().to_le_bytes());
        fields.extend(random.next().to_le_bytes());
        let name = |random: &mut Random| {
            (0..1 + random.below(20)).map(|_| *random.pick(b"az-_9")).collect::<Vec<u8>>()
        };
        let mut names: Vec<_> = (0..random.below(4)).map(|_| name(random)).collect();
        names.sort_unstable();
        names.dedup();
        fields.extend((names.len() as u32).to_le_bytes());
        for name in names {
            fields.extend((name.len() as u32).to_le_bytes());
            fields.extend(name);
        }
    }
    let key = random.bytes(64);
    let times = [random.next(), 0, 0, 0, 0, 0];
    write(&Head { version: 1, kind: 2, terms: 0, status: 0, count, times }, &key, &fields, &[])
}

/// Whether two slots hold the same.
pub fn same(one: &Slot, other: &Slot) -> bool {
    match (one, other) {
        (Slot::Response(one), Slot::Response(other)) => one == other,
        (Slot::Index(one), Slot::Index(other)) => one == other,
        _ => false,
    }
}

/// Sizes by their order, so that they stand for few ways.
trait Order {
    fn ilog2_or_0(self) -> u32;
}

impl Order for usize {
    fn ilog2_or_0(self) -> u32 {
        self.checked_ilog2().unwrap_or(0)
    }
}

/// All that a name in lower case may be made of.
const NAME_BYTES: &[u8] = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz";
/// A moment of late 2026, in milliseconds.
const NOW: u64 = 1_795_000_000_000;
