//! Inputs for the reader of gzip members.

use miniz_oxide::inflate::decompress_to_vec_with_limit;
use selvage_engine::coding::gzip::{compress, crc32, inflate};

use crate::allocator::peak_of;
use crate::decoder::{Decoder, Outcome};
use crate::format::content;
use crate::random::Random;

/// The reader of gzip members.
pub struct Gzip;

impl Decoder for Gzip {
    fn name(&self) -> &'static str {
        "gzip"
    }

    fn generate(&self, random: &mut Random) -> Vec<u8> {
        compress(&content(random), 1 + random.below(9) as u8)
    }

    fn adjust(&self, input: &mut Vec<u8>, random: &mut Random) {
        if input.len() < HEADER + TRAILER {
            return;
        }
        let mut start = HEADER;
        if input[3] == 0 && random.one_in(4) {
            // What can stand between the header and the data.
            let (flags, mut part) = match random.below(4) {
                0 => (4, b"\x02\0ab".to_vec()),
                1 => (8, b"name\0".to_vec()),
                2 => (24, b"\0comment\0".to_vec()),
                _ => (2, Vec::new()),
            };
            input[3] = flags;
            if flags == 2 {
                part.extend(&crc32(&input[..HEADER]).to_le_bytes()[..2]);
            }
            start += part.len();
            drop(input.splice(HEADER..HEADER, part));
        }
        // The trailer that is true of the data, if it is any, else one that does not stop the reader early.
        let end = input.len() - TRAILER;
        let (sum, len) = match decompress_to_vec_with_limit(&input[start..end], BOUND) {
            _ if random.one_in(4) => (0, random.below(4096)),
            Ok(content) => (crc32(&content), content.len()),
            Err(stopped) => (0, stopped.output.len()),
        };
        input[end..].copy_from_slice(&[sum.to_le_bytes(), (len as u32).to_le_bytes()].concat());
    }

    fn check(&self, input: &[u8]) -> Outcome {
        let (result, peak) = peak_of(|| inflate(input, BOUND));
        match result {
            Err(error) => Outcome::new(false, peak, (error.to_string(), input.len().checked_ilog2())),
            Ok(content) => {
                assert!(content.len() <= BOUND, "{} bytes", content.len());
                // Compressing takes a hundred times as long as reading.
                if crc32(input).is_multiple_of(64) {
                    let again = inflate(&compress(&content, 3), content.len());
                    assert!(again.is_ok_and(|again| again == content), "does not read back");
                }
                let shape = (input.get(3), content.len().checked_ilog2(), input.len().checked_ilog2());
                Outcome::new(true, peak, ("ok", shape))
            }
        }
    }

    fn memory_bound(&self, len: usize) -> usize {
        // What DEFLATE could make of it, within the bound, and the reader's own tables.
        len.saturating_mul(1032).min(BOUND) + (16 << 10)
    }
}

/// Most bytes of content that are asked for.
const BOUND: usize = 64 << 10;
const HEADER: usize = 10;
const TRAILER: usize = 8;
