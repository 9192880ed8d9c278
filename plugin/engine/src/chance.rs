//! Numbers that look random and are the same for the same state: splitmix64 (Steele, Lea and Flood, 2014). Nothing that must
//! not be guessed may come from here.

/// The next number of a sequence, whose place is kept in `state`. Any number is a beginning.
pub const fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(STEP);
    mixed(*state)
}

/// Spreads any number over all 64 bits: numbers that differ a little give such that have nothing in common.
pub const fn mixed(number: u64) -> u64 {
    let mut z = number;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number as a part of one, from 0 to just under 1: its upper 53 bits, all of which are exact in an `f64`.
pub const fn fraction(number: u64) -> f64 {
    (number >> 11) as f64 / (1_u64 << 53) as f64
}

/// From one state of a sequence to the next.
pub const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_is_that_of_splitmix64() {
        let mut state = 1234567;
        let numbers = [next(&mut state), next(&mut state), next(&mut state)];
        assert_eq!(numbers, [6457827717110365317, 3203168211198807973, 9817491932198370423]);
    }

    #[test]
    fn fractions_are_below_one_and_reach_zero() {
        assert_eq!((fraction(0), fraction(1 << 63)), (0.0, 0.5));
        assert!(fraction(u64::MAX) < 1.0);
    }
}
