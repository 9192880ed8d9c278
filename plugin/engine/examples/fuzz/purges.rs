//! Inputs for the reader of the log of purges: entries, with the purges in them.

use selvage_engine::purge::spread::purges_of;
use selvage_engine::purge::{LONGEST_PREFIX, Purge, What};

use crate::allocator::peak_of;
use crate::decoder::{Decoder, Outcome};
use crate::entries::entry;
use crate::random::Random;

/// The reader of entries.
pub struct Log;

impl Decoder for Log {
    fn name(&self) -> &'static str {
        "purges"
    }

    fn words(&self) -> &'static [&'static [u8]] {
        &[b"00", b"ff", b"0000", b"1c0001040000", b"240001010000", b"g"]
    }

    fn generate(&self, random: &mut Random) -> Vec<u8> {
        entry(NOW, random)
    }

    fn adjust(&self, input: &mut Vec<u8>, random: &mut Random) {
        match random.below(4) {
            0 => *input = entry(random.next() >> (1 + random.below(63)), random),
            1 => input.extend(entry(NOW, random)),
            // An even number of digits.
            _ => input.truncate(input.len() & !1),
        }
    }

    fn check(&self, input: &[u8]) -> Outcome {
        let (read, peak) = peak_of(|| {
            let purges = purges_of(input)?;
            let read: Option<Vec<Purge>> = purges.iter().map(|purge| Purge::decode(purge)).collect();
            Some((purges, read))
        });
        let Some((purges, read)) = read else {
            return Outcome::new(false, peak, input.len().checked_ilog2());
        };
        let Some(read) = read else { return Outcome::new(false, peak, (purges.len(), "unread")) };
        let mut kinds = 0;
        for (bytes, purge) in purges.iter().zip(&read) {
            assert_eq!(&purge.encode(), bytes, "does not read back");
            if let What::Prefix { authority, path } = &purge.what {
                assert!(authority.len().max(path.len()) <= LONGEST_PREFIX);
            }
            kinds |= 1 << purge.what.as_str().len();
        }
        Outcome::new(true, peak, (read.len(), kinds))
    }

    fn memory_bound(&self, len: usize) -> usize {
        // Half of it as bytes, those of each purge again and what it says once more; 136 purges, in vectors that double.
        3 * len + (32 << 10)
    }
}

/// A moment of late 2026, in milliseconds.
const NOW: u64 = 1_795_000_000_000;
