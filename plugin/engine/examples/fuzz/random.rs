//! Repeatable chance, and the changes that are made to any input.

/// A small generator of numbers that look random (xorshift), the same for the same seed.
pub struct Random(u64);

impl Random {
    /// Starts at `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Any number.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number under `end`; 0 if there is none.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() >> 16) as usize % end.max(1)
    }

    /// True one time in `times`.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of `items`, of which there is at least one.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// Up to `most` bytes; small numbers are likelier than large ones.
    pub fn bytes(&mut self, most: usize) -> Vec<u8> {
        let most = 1 + self.below(most);
        (0..self.below(most + 1)).map(|_| self.next() as u8).collect()
    }
}

/// Changes `input` in one way that needs no knowledge of it. `other` is something to take from, and `words` are
/// pieces that mean something to the decoder.
pub fn mutate(input: &mut Vec<u8>, other: &[u8], words: &[&[u8]], random: &mut Random) {
    let at = random.below(input.len());
    let to = at + random.below((input.len() - at).min(64) + 1);
    match random.below(12) {
        _ if input.is_empty() => input.extend(random.bytes(64)),
        0 | 1 => input[at] ^= 1 << random.below(8),
        2 => input[at] = *random.pick(&[0, 1, 0x7f, 0x80, 0xff, b'"', b'0', b'-', b'\n', b'\\', b'{', b'=']),
        3 => input[at] = input[at].wrapping_add(random.below(17) as u8).wrapping_sub(8),
        4 => input.truncate(at),
        5 => drop(input.drain(at..to)),
        6 => {
            let copy = input[at..to].to_vec();
            insert(input, random.below(input.len()), &copy);
        }
        7 => {
            let noise = random.bytes(16);
            insert(input, at, &noise);
        }
        8 => write_number(input, at, random),
        9 => write_number(input, at & !3, random),
        10 if !words.is_empty() => insert(input, at, words[random.below(words.len())]),
        _ => {
            let from = random.below(other.len());
            let end = from + random.below((other.len() - from).min(256) + 1);
            if random.one_in(2) {
                input.truncate(at);
            }
            insert(input, at, &other[from..end]);
        }
    }
    input.truncate(MOST);
}

/// Overwrites four bytes with a number that lengths are likely to be wrong by.
pub fn write_number(input: &mut [u8], at: usize, random: &mut Random) {
    let Some(place) = input.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<4>()) else { return };
    let old = u32::from_le_bytes(*place);
    let number = match random.below(6) {
        0 => old.wrapping_add(random.below(9) as u32).wrapping_sub(4),
        1 => random.below(64) as u32,
        2 => random.below(4096) as u32,
        3 => *random.pick(&[0, 1, 0xffff, 0x7fff_ffff, 0x8000_0000, u32::MAX, u32::MAX - 1, 0x2000_0000]),
        4 => old.rotate_left(8),
        _ => random.next() as u32,
    };
    *place = number.to_le_bytes();
}

fn insert(input: &mut Vec<u8>, at: usize, piece: &[u8]) {
    let tail = input.split_off(at.min(input.len()));
    input.extend_from_slice(piece);
    input.extend_from_slice(&tail);
}

/// Longest input in bytes.
const MOST: usize = 16 << 10;
