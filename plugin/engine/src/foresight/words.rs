//! Numbers as bytes, little endian.

use crate::host::wire::{take, take_u32};

pub fn put_u32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_le_bytes());
}

pub fn put_f32(out: &mut Vec<u8>, number: f32) {
    out.extend_from_slice(&number.to_le_bytes());
}

/// The next four bytes as a finite number.
pub fn take_f32(bytes: &mut &[u8]) -> Option<f32> {
    take::<4>(bytes).map(f32::from_le_bytes).filter(|number| number.is_finite())
}

/// A count of things of which there are `most`.
pub fn take_count(bytes: &mut &[u8], most: usize) -> Option<usize> {
    usize::try_from(take_u32(bytes)?).ok().filter(|count| *count <= most)
}
