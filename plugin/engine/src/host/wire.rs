//! Reading fixed-size numbers out of bytes of any origin.

use xxhash_rust::xxh3::xxh3_64;

/// A value that workers share: what it says, and a checksum of that.
pub fn framed(mut body: Vec<u8>) -> Vec<u8> {
    let checksum = xxh3_64(&body);
    body.extend_from_slice(&checksum.to_le_bytes());
    body
}

/// What such a value says after its magic; `None` if it is damaged, or another.
pub fn unframed(bytes: &[u8], magic: [u8; 4]) -> Option<&[u8]> {
    let (mut body, checksum) = bytes.split_last_chunk::<8>()?;
    (u64::from_le_bytes(*checksum) == xxh3_64(body) && take(&mut body)? == magic).then_some(body)
}

/// Takes the next bytes off the front; `None` when too few are left.
pub fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = bytes.split_first_chunk::<N>()?;
    *bytes = tail;
    Some(*head)
}

/// The next four bytes, little endian.
pub fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    take(bytes).map(u32::from_le_bytes)
}

/// The next eight bytes, little endian.
pub fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    take(bytes).map(u64::from_le_bytes)
}

/// The next sixteen bytes, little endian.
pub fn take_u128(bytes: &mut &[u8]) -> Option<u128> {
    take(bytes).map(u128::from_le_bytes)
}
