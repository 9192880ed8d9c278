//! How often a key was asked for lately, in a fixed number of bytes.

/// A count-min sketch of four-bit counters that halves itself as it fills, so that old fame fades.
///
/// Keys that are not stored are counted too: this is how a newcomer can prove that it is worth more than what
/// it would displace. Counting never allocates.
pub struct Frequencies {
    /// Sixteen counters a word; a power of two many.
    words: Vec<u64>,
    /// Uses counted since the last halving.
    additions: usize,
}

/// Counters per entry that the sketch is made for. Fewer, and strangers' counts run together.
const COUNTERS_PER_ENTRY: usize = 16;
const COUNTERS_PER_WORD: usize = 16;
const HIGHEST: u64 = 15;
/// After this many uses per stored entry all counts are halved.
const SAMPLE_PER_ENTRY: usize = 10;
/// Halving walks through all words: it comes only after enough uses that each pays for at most so many words.
const WORDS_PER_USE: usize = 8;

impl Frequencies {
    /// A sketch for about this many stored entries: 8 bytes each, rounded up to a power of two.
    pub fn for_entries(entries: usize) -> Self {
        let words = entries.saturating_mul(COUNTERS_PER_ENTRY) / COUNTERS_PER_WORD;
        Self { words: vec![0; words.clamp(64, 1 << 24).next_power_of_two()], additions: 0 }
    }

    /// Memory held, in bytes; it never changes.
    pub fn bytes(&self) -> usize {
        self.words.len().saturating_mul(size_of::<u64>())
    }

    /// The estimated number of recent uses, 0 to 15; never too low before the first halving.
    pub fn estimate(&self, hash: u128) -> u32 {
        let mut least = HIGHEST;
        for row in 0..4 {
            let (word, shift) = self.place(hash, row);
            least = least.min((self.words.get(word).copied().unwrap_or(0) >> shift) & HIGHEST);
        }
        least as u32
    }

    /// Counts one use, of a store that holds `entries` entries now.
    pub fn count(&mut self, hash: u128, entries: usize) {
        // Only the lowest of the four counters rises: the others are already too high because of strangers.
        let least = u64::from(self.estimate(hash));
        if least < HIGHEST {
            for row in 0..4 {
                let (word, shift) = self.place(hash, row);
                if let Some(word) = self.words.get_mut(word)
                    && (*word >> shift) & HIGHEST == least
                {
                    *word = word.wrapping_add(1 << shift);
                }
            }
        }
        self.additions = self.additions.saturating_add(1);
        if self.additions
            >= entries.saturating_mul(SAMPLE_PER_ENTRY).max(self.words.len() / WORDS_PER_USE).max(640)
        {
            for word in &mut self.words {
                *word = (*word >> 1) & 0x7777_7777_7777_7777;
            }
            self.additions /= 2;
        }
    }

    /// The word and the bit of a key's counter in one row. The key is a good hash already: each row takes 32
    /// bits of it.
    fn place(&self, hash: u128, row: u32) -> (usize, u32) {
        let lane = (hash >> (row * 32)) as u32;
        let mask = self.words.len().saturating_sub(1);
        ((lane >> 4) as usize & mask, (lane & 15) * 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: u64) -> u128 {
        let mix = |x: u64| {
            let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            u128::from(x ^ (x >> 31))
        };
        mix(n + 1) << 64 | mix(n + 0x1234_5678)
    }

    #[test]
    fn a_key_used_often_is_estimated_above_one_used_once() {
        let mut frequencies = Frequencies::for_entries(1000);
        for n in 0..500 {
            frequencies.count(hash(n), 1000);
        }
        for _ in 0..9 {
            frequencies.count(hash(7), 1000);
        }
        assert!(frequencies.estimate(hash(7)) >= 10);
        assert!(frequencies.estimate(hash(8)) <= 3);
        assert_eq!(frequencies.estimate(hash(100_000)), 0);
    }

    #[test]
    fn old_uses_fade_as_new_ones_are_counted() {
        let mut frequencies = Frequencies::for_entries(64);
        for _ in 0..15 {
            frequencies.count(hash(1), 64);
        }
        for n in 0..640 {
            frequencies.count(hash(1000 + n % 3), 64);
        }
        assert!(frequencies.estimate(hash(1)) <= 8);
    }
}
