//! Where the node keeps what it knows by hash: in parts that are read and written one by one, by the half of the hash that tells them apart.

/// Parts.
pub const PARTS: u8 = 16;

/// The half of a hash that is kept.
pub const fn half_of(hash: u128) -> u64 {
    (hash >> 64) as u64
}

/// The part that has it.
pub const fn part_of(half: u64) -> u8 {
    (half >> (64 - PARTS.trailing_zeros())) as u8
}
