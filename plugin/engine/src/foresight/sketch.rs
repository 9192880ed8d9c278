//! How often each key is asked for at which hour of the day: a count-min sketch of four rows of 64 Ki counters, in parts that are read and
//! written one by one. With each day that passes all counts lose a quarter.

use super::parts::PARTS;
use super::words::put_u32;
use crate::chance::mixed;
use crate::host::wire::{framed, take_u32, unframed};

/// A part of the sketch: all counters of one in [`PARTS`] keys.
pub struct Part {
    /// Counts of another beginning are none of ours.
    begun: u32,
    /// Up to which day it has lost what was to be lost.
    day: u32,
    cells: Vec<u8>,
}

impl Part {
    /// What shared data has of a part, as it counts on a day.
    pub fn read(bytes: Option<&[u8]>, begun: u32, day: u32) -> Self {
        let known = bytes.and_then(Self::decode).filter(|part| part.begun == begun && part.day <= day);
        let mut part = known.unwrap_or_else(|| Self { begun, day, cells: vec![0; CELLS] });
        for _ in 0..(day - part.day).min(LASTS) {
            part.cells.iter_mut().for_each(|cell| *cell -= cell.div_ceil(4));
        }
        part.day = day;
        part
    }

    /// A key was asked for so many times more.
    pub fn count(&mut self, key: u64, hour: u8, times: u8) {
        // Only those counters rise that are too low: the others have counted strangers already.
        let wanted = self.estimate(key, hour).saturating_add(times);
        for at in places(key, hour) {
            if let Some(cell) = self.cells.get_mut(at) {
                *cell = (*cell).max(wanted);
            }
        }
    }

    /// How often it was asked for at this hour, or more often than that.
    pub fn estimate(&self, key: u64, hour: u8) -> u8 {
        places(key, hour).filter_map(|at| self.cells.get(at)).min().copied().unwrap_or_default()
    }

    /// What is told of keys that nobody asks for: so much of an estimate may be of strangers.
    pub fn noise(&self, hour: u8) -> u8 {
        (0..NOBODYS).map(|nobody| self.estimate(mixed(!nobody), hour)).max().unwrap_or_default()
    }

    /// For shared data.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(CELLS + 20);
        out.extend_from_slice(&MAGIC);
        put_u32(&mut out, self.begun);
        put_u32(&mut out, self.day);
        out.extend_from_slice(&self.cells);
        framed(out)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut body = unframed(bytes, MAGIC)?;
        let (begun, day) = (take_u32(&mut body)?, take_u32(&mut body)?);
        (body.len() == CELLS).then(|| Self { begun, day, cells: body.to_vec() })
    }
}

/// Where its counters are, one in each row.
fn places(key: u64, hour: u8) -> impl Iterator<Item = usize> {
    let mixed = mixed(key ^ u64::from(hour) << 48);
    (0..ROWS).map(move |row| row * WIDTH + (mixed >> (row * 16)) as usize % WIDTH)
}

const ROWS: usize = 4;
const WIDTH: usize = 65_536 / PARTS as usize;
/// Of a part: 16 KiB.
const CELLS: usize = ROWS * WIDTH;
/// Days after which nothing is left.
const LASTS: u32 = 24;
/// Keys of nobody that are looked up.
const NOBODYS: u64 = 16;
const MAGIC: [u8; 4] = *b"svk1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_told_from_others_and_by_the_hour() {
        let mut part = Part::read(None, 1, 100);
        for _ in 0..20 {
            part.count(7, 8, 1);
        }
        for key in 1000..2000 {
            part.count(key, 8, 1);
        }
        assert_eq!((part.estimate(7, 8), part.estimate(7, 9), part.noise(9)), (20, 0, 0));
        assert!(part.noise(8) <= 1, "{}", part.noise(8));
        part.count(7, 8, 255);
        assert_eq!(part.estimate(7, 8), 255);
    }

    #[test]
    fn a_full_part_says_how_little_it_knows() {
        let mut part = Part::read(None, 1, 100);
        for key in 0..200_000 {
            part.count(mixed(key), 8, 1);
        }
        assert!(part.noise(8) >= 10, "{}", part.noise(8));
        assert!(part.estimate(mixed(1), 8) <= part.noise(8).saturating_add(8));
    }

    #[test]
    fn a_quarter_is_forgotten_a_day_and_all_of_another_beginning() {
        let mut part = Part::read(None, 1, 100);
        part.count(7, 8, 40);
        let bytes = part.encode();
        let later = |begun, day| Part::read(Some(&bytes), begun, day).estimate(7, 8);
        assert_eq!([later(1, 100), later(1, 101), later(1, 102), later(1, 130)], [40, 30, 22, 0]);
        assert_eq!((later(2, 100), later(1, 99)), (0, 0));
        let mut damaged = bytes.clone();
        damaged[100] ^= 1;
        assert_eq!(Part::read(Some(&damaged), 1, 100).estimate(7, 8), 0);
        assert_eq!(Part::read(Some(b"svk1"), 1, 100).estimate(7, 8), 0);
    }
}
