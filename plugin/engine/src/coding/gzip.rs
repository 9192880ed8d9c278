//! Writes and reads gzip members (RFC 1952) around the DEFLATE of `miniz_oxide`.

use std::fmt;

use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

/// `body` as one complete gzip member, without name and time, so that equal bodies give equal bytes.
///
/// `level` is that of zlib, 1 (fast) to 9 (small); other values are brought into this range.
pub fn compress(body: &[u8], level: u8) -> Vec<u8> {
    let deflated = compress_to_vec(body, level.clamp(1, 9));
    let mut member = Vec::with_capacity(HEADER.len() + deflated.len() + TRAILER_LEN);
    member.extend_from_slice(&HEADER);
    member.extend_from_slice(&deflated);
    member.extend_from_slice(&crc32(body).to_le_bytes());
    member.extend_from_slice(&isize_of(body.len()).to_le_bytes());
    member
}

/// Whether storing `compressed` bytes in the place of `original` bytes saves at least a tenth of them.
pub fn worth_it(original: usize, compressed: usize) -> bool {
    compressed < original && original - compressed >= original.div_ceil(10)
}

/// The content of `gzip`, which has to be exactly one member.
///
/// Refuses what is longer than `bound` bytes, and never allocates more than `bound` bytes, nor more than
/// DEFLATE could make of the input, whatever the input says of itself. The optional parts of the header are
/// skipped.
///
/// # Errors
///
/// Tells what does not hold: see [`InflateError`].
pub fn inflate(gzip: &[u8], bound: usize) -> Result<Vec<u8>, InflateError> {
    let payload = skip_header(gzip).ok_or(InflateError::Header)?;
    let (deflated, trailer) = payload.split_last_chunk::<TRAILER_LEN>().ok_or(InflateError::Truncated)?;
    let [c0, c1, c2, c3, l0, l1, l2, l3] = *trailer;
    let crc = u32::from_le_bytes([c0, c1, c2, c3]);
    // What is longer than 4 GiB gives its length modulo 2^32; such content then fails as not filling it.
    let len = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).map_err(|_| InflateError::TooLong)?;
    if len > bound {
        return Err(InflateError::TooLong);
    }
    if len > deflated.len().saturating_mul(MAX_RATIO) {
        return Err(InflateError::Length);
    }

    let mut body = Vec::new();
    body.try_reserve_exact(len).map_err(|_| InflateError::TooLong)?;
    body.resize(len, 0);
    let mut state = Box::<DecompressorOxide>::default();
    let flags = TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let (status, read, written) = decompress(&mut state, deflated, &mut body, 0, flags);
    match status {
        TINFLStatus::Done if read == deflated.len() && written == len => {}
        TINFLStatus::Done | TINFLStatus::HasMoreOutput => return Err(InflateError::Length),
        TINFLStatus::NeedsMoreInput | TINFLStatus::FailedCannotMakeProgress => {
            return Err(InflateError::Truncated);
        }
        _ => return Err(InflateError::Deflate),
    }
    if crc32(&body) == crc { Ok(body) } else { Err(InflateError::Checksum) }
}

/// The length that a gzip member says its content has; `None` if it is no gzip member. Only [`inflate`] finds out
/// whether that is true.
pub fn content_length(gzip: &[u8]) -> Option<usize> {
    let payload = skip_header(gzip)?;
    let (_, trailer) = payload.split_last_chunk::<TRAILER_LEN>()?;
    let (_, length) = trailer.split_last_chunk::<4>()?;
    usize::try_from(u32::from_le_bytes(*length)).ok()
}

/// Why [`inflate`] refuses its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InflateError {
    /// It does not start with a gzip header of the DEFLATE method.
    Header,
    /// It ends too early.
    Truncated,
    /// The compressed data is not DEFLATE.
    Deflate,
    /// The content is longer than the bound.
    TooLong,
    /// The content is not as long as the trailer says, or something follows it.
    Length,
    /// The content's CRC-32 is not the trailer's.
    Checksum,
}

impl fmt::Display for InflateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "no gzip header",
            Self::Truncated => "the gzip member ends too early",
            Self::Deflate => "the compressed data is not DEFLATE",
            Self::TooLong => "the content is longer than the bound",
            Self::Length => "the content is not as long as the gzip trailer says",
            Self::Checksum => "the content does not have the CRC-32 of the gzip trailer",
        })
    }
}

impl std::error::Error for InflateError {}

/// The CRC-32 of gzip (RFC 1952 §8), eight bytes at a time.
pub fn crc32(bytes: &[u8]) -> u32 {
    let [t0, t1, t2, t3, t4, t5, t6, t7] = &CRC_TABLES;
    let mut crc = !0u32;
    let (words, tail) = bytes.as_chunks::<8>();
    for [a, b, c, d, e, f, g, h] in words {
        let [w, x, y, z] = crc.to_le_bytes();
        crc = entry(t7, w ^ a)
            ^ entry(t6, x ^ b)
            ^ entry(t5, y ^ c)
            ^ entry(t4, z ^ d)
            ^ entry(t3, *e)
            ^ entry(t2, *f)
            ^ entry(t1, *g)
            ^ entry(t0, *h);
    }
    for byte in tail {
        let [low, ..] = crc.to_le_bytes();
        crc = entry(t0, low ^ byte) ^ (crc >> 8);
    }
    !crc
}

/// What follows the header; `None` if there is none (RFC 1952 §2.3).
fn skip_header(gzip: &[u8]) -> Option<&[u8]> {
    let (fixed, mut rest) = gzip.split_first_chunk::<10>()?;
    let [0x1f, 0x8b, 8, flags, ..] = *fixed else { return None };
    if flags & F_RESERVED != 0 {
        return None;
    }
    if flags & F_EXTRA != 0 {
        let (len, tail) = rest.split_first_chunk::<2>()?;
        rest = tail.get(usize::from(u16::from_le_bytes(*len))..)?;
    }
    for text in [F_NAME, F_COMMENT] {
        if flags & text != 0 {
            let end = rest.iter().position(|byte| *byte == 0)?;
            rest = rest.get(end.checked_add(1)?..)?;
        }
    }
    if flags & F_HCRC != 0 {
        let header = gzip.get(..gzip.len().checked_sub(rest.len())?)?;
        let (sum, tail) = rest.split_first_chunk::<2>()?;
        let [low, high, ..] = crc32(header).to_le_bytes();
        if *sum != [low, high] {
            return None;
        }
        rest = tail;
    }
    Some(rest)
}

/// The length modulo 2^32, as the trailer has it.
fn isize_of(len: usize) -> u32 {
    (len & u32::MAX as usize) as u32
}

#[inline]
fn entry(table: &[u32; 256], byte: u8) -> u32 {
    // A byte is always within the table; the compiler knows it too.
    table.get(usize::from(byte)).copied().unwrap_or_default()
}

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, which would refuse a wrong index")]
const fn crc_tables() -> [[u32; 256]; 8] {
    let mut tables = [[0u32; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let (mut crc, mut bit) = (byte as u32, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[table - 1][byte];
            tables[table][byte] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
}

/// `tables[n][b]` is the CRC of the byte `b` followed by `n` zero bytes.
static CRC_TABLES: [[u32; 256]; 8] = crc_tables();

/// Method DEFLATE, no flags, no time, no extra flags, unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// CRC-32 and length.
const TRAILER_LEN: usize = 8;

/// DEFLATE makes at most 258 bytes of two bits.
const MAX_RATIO: usize = 1032;

const F_HCRC: u8 = 1 << 1;
const F_EXTRA: u8 = 1 << 2;
const F_NAME: u8 = 1 << 3;
const F_COMMENT: u8 = 1 << 4;
const F_RESERVED: u8 = 0b1110_0000;

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"selvage selvage selvage: the edge of a cloth, woven so that it does not fray";
    /// [`TEXT`] by zlib at level 9.
    const BY_ZLIB: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\x55\xc9\xc1\x09\x80\x30\x10\x44\xd1\x56\xa6\x00\
        \x2b\xb0\x9b\xc5\x4c\x8c\x10\x32\xe0\x0e\x11\xbb\x37\x57\x4f\x1f\xde\x4f\xf6\x19\x27\x91\xff\xee\x70\x23\
        \x58\x96\xa8\x22\x70\x74\xb9\x6d\x78\x34\x39\x90\x5a\x37\x8c\xcb\x28\x62\x62\xc8\xa8\x77\xbc\x1f\x68\x30\
        \x2f\x04\x4c\x00\x00\x00";
    /// `hello` by zlib behind a header with an extra field, a comment and a checksum of its own.
    const FULL_HEADER: &[u8] =
        b"\x1f\x8b\x08\x16\x00\x00\x00\x00\x00\xff\x04\x00\x61\x62\x00\x00\x68\x69\x00\xce\xcc\
        \xcb\x48\xcd\xc9\xc9\x07\x00\x86\xa6\x10\x36\x05\x00\x00\x00";
    const EMPTY: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00";

    /// xorshift: the same numbers in every run.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }

        fn below(&mut self, end: usize) -> usize {
            (self.next() % end as u64) as usize
        }

        fn bytes(&mut self, len: usize) -> Vec<u8> {
            (0..len).map(|_| self.next() as u8).collect()
        }
    }

    #[test]
    fn what_was_compressed_comes_back() {
        let mut random = Random(7);
        for len in (0..80).chain([255, 1024, 32_767, 32_768, 70_000, 300_000]) {
            let noise = random.bytes(len);
            let text: Vec<u8> = noise.iter().map(|byte| b"{\"a\": 1}"[usize::from(byte % 8)]).collect();
            for body in [noise, text, vec![b'a'; len]] {
                for level in [0, 1, 6, 9, 255] {
                    let gzip = compress(&body, level);
                    assert_eq!(inflate(&gzip, len).as_ref(), Ok(&body), "{len} bytes, level {level}");
                }
            }
        }
    }

    #[test]
    fn members_written_by_zlib_are_read() {
        assert_eq!(inflate(BY_ZLIB, 1000).unwrap(), TEXT);
        assert_eq!(inflate(FULL_HEADER, 5).unwrap(), b"hello");
        assert_eq!(inflate(EMPTY, 0).unwrap(), b"");
        let mut named = BY_ZLIB[..10].to_vec();
        named[3] = F_NAME;
        named.extend_from_slice(b"a.txt\0");
        named.extend_from_slice(&BY_ZLIB[10..]);
        assert_eq!(inflate(&named, 1000).unwrap(), TEXT);
    }

    #[test]
    fn the_checksum_is_that_of_gzip() {
        assert_eq!(crc32(b""), 0);
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(TEXT), u32::from_le_bytes(BY_ZLIB[72..76].try_into().unwrap()));
    }

    #[test]
    fn each_fault_has_its_error() {
        let changed = |at: usize, byte: u8| {
            let mut gzip = BY_ZLIB.to_vec();
            gzip[at] = byte;
            gzip
        };
        assert_eq!(inflate(b"", 10), Err(InflateError::Header));
        assert_eq!(inflate(b"plain text, no gzip", 10), Err(InflateError::Header));
        assert_eq!(inflate(&changed(2, 7), 100), Err(InflateError::Header));
        assert_eq!(inflate(&changed(3, 0x20), 100), Err(InflateError::Header));
        assert_eq!(inflate(&BY_ZLIB[..12], 100), Err(InflateError::Truncated));
        assert_eq!(inflate(&changed(10, 0x57), 100), Err(InflateError::Deflate));
        assert_eq!(inflate(BY_ZLIB, TEXT.len() - 1), Err(InflateError::TooLong));
        assert_eq!(inflate(&changed(76, 75), 100), Err(InflateError::Length));
        assert_eq!(inflate(&changed(76, 77), 100), Err(InflateError::Length));
        assert_eq!(inflate(&changed(72, 0), 100), Err(InflateError::Checksum));
        let mut header_sum = FULL_HEADER.to_vec();
        header_sum[12] = b'z';
        assert_eq!(inflate(&header_sum, 100), Err(InflateError::Header));
        // Something behind the compressed data, before a trailer that is right.
        let mut followed = BY_ZLIB[..72].to_vec();
        followed.push(0);
        followed.extend_from_slice(&BY_ZLIB[72..]);
        assert_eq!(inflate(&followed, 100), Err(InflateError::Length));
    }

    #[test]
    fn no_cut_member_is_taken_for_a_whole_one() {
        for gzip in [BY_ZLIB, FULL_HEADER, EMPTY] {
            for cut in 0..gzip.len() {
                assert!(inflate(&gzip[..cut], 1 << 20).is_err(), "cut at {cut}");
            }
        }
    }

    #[test]
    fn a_bomb_is_refused_whatever_it_says_of_its_length() {
        let mut bomb = compress(&vec![0; 20 << 20], 9);
        assert!(bomb.len() < 40_000);
        assert_eq!(inflate(&bomb, 1 << 20), Err(InflateError::TooLong));
        let at = bomb.len() - 4;
        bomb[at..].copy_from_slice(&1000u32.to_le_bytes());
        assert_eq!(inflate(&bomb, 1 << 20), Err(InflateError::Length));
        // A short member cannot have the reader allocate what its trailer says.
        let mut boast = EMPTY.to_vec();
        boast[16..].copy_from_slice(&0x7fff_ffffu32.to_le_bytes());
        assert_eq!(inflate(&boast, usize::MAX), Err(InflateError::Length));
    }

    #[test]
    fn hostile_input_is_refused_without_panic() {
        let mut random = Random(0x5e1_7a6e);
        let body: Vec<u8> = (0..2000).flat_map(|n| format!("{{\"n\":{n}}},").into_bytes()).collect();
        let valid = [BY_ZLIB.to_vec(), FULL_HEADER.to_vec(), compress(&body[..3000], 6)];
        for round in 0..20_000 {
            let gzip = if round % 2 == 0 {
                // Any flags, then noise behind a trailer that promises little enough to be tried.
                let noise = random.below(200);
                let mut gzip = vec![0x1f, 0x8b, 8, if round % 4 == 0 { 0 } else { random.next() as u8 }];
                gzip.extend(random.bytes(10 + noise));
                gzip.extend([random.next() as u8, random.next() as u8 & 7, 0, 0]);
                gzip
            } else {
                let mut gzip = valid[random.below(valid.len())].clone();
                for _ in 0..=random.below(4) {
                    let at = random.below(gzip.len());
                    gzip[at] ^= 1 << random.below(8);
                }
                gzip
            };
            if let Ok(content) = inflate(&gzip, 4096) {
                assert!(content.len() <= 4096, "round {round}");
                // Only the parts of a header that say nothing of the content may change.
                assert!(content == TEXT || content == b"hello" || content == body[..3000], "round {round}");
            }
        }
    }

    #[test]
    fn compression_is_kept_if_it_saves_a_tenth() {
        for (original, compressed, kept) in [
            (1000, 900, true),
            (1000, 901, false),
            (1001, 900, true),
            (1009, 909, false),
            (1000, 1000, false),
            (1000, 2000, false),
            (0, 20, false),
            (0, 0, false),
            (usize::MAX, 0, true),
        ] {
            assert_eq!(worth_it(original, compressed), kept, "{original} to {compressed}");
        }
    }
}
