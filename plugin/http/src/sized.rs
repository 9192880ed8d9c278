//! Texts with their length in front, so that several in a row never run together.

/// Lets `write` append something, and puts its length in front.
#[inline]
pub fn measured<R>(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    out.extend_from_slice(&[0; 4]);
    let start = out.len();
    let result = write(out);
    let length = size_prefix(out.len().saturating_sub(start));
    if let Some(place) = out.get_mut(start.saturating_sub(length.len())..start) {
        place.copy_from_slice(&length);
    }
    result
}

/// Appends `bytes` with their length in front.
pub fn write_sized(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&size_prefix(bytes.len()));
    out.extend_from_slice(bytes);
}

/// A text that [`write_sized`] wrote, and what follows: the name of a field or cookie in its part of a key, say.
pub fn read_sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
}

/// A head never comes near 4 GiB: whatever reads it bounds it far below.
fn size_prefix(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes()
}
