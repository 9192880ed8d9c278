//! Finds the next byte that matters, eight at a time.

/// How many bytes of a text mean themselves, up to a quote, a `\` or a control character, and whether all of them are ASCII.
pub(super) fn text_end(bytes: &[u8]) -> (usize, bool) {
    let mut high = 0;
    let end = first(
        bytes,
        |word| equal(word, b'"') | equal(word, b'\\') | below_space(word),
        |byte| matches!(byte, b'"' | b'\\' | 0..0x20),
        |word| high |= word,
    );
    (end, high & HIGHS == 0)
}

/// How many bytes come before a CR or LF.
pub(crate) fn line_end(bytes: &[u8]) -> usize {
    first(bytes, |word| equal(word, b'\n') | equal(word, b'\r'), |byte| matches!(byte, b'\n' | b'\r'), |_| {})
}

/// How many bytes come before the first that `is`. `which` marks it in a word of eight, and perhaps others behind it. `seen`
/// is told all bytes before it, and perhaps some behind it.
#[inline(always)]
fn first(
    bytes: &[u8],
    which: impl Fn(u64) -> u64,
    is: impl Fn(u8) -> bool,
    mut seen: impl FnMut(u64),
) -> usize {
    let mut before = 0_usize;
    let mut rest = bytes;
    while let Some((word, after)) = rest.split_first_chunk::<8>() {
        let word = u64::from_le_bytes(*word);
        seen(word);
        let marks = which(word);
        if marks != 0 {
            return before.saturating_add(marks.trailing_zeros() as usize / 8);
        }
        before = before.saturating_add(8);
        rest = after;
    }
    for byte in rest {
        if is(*byte) {
            break;
        }
        seen(u64::from(*byte));
        before = before.saturating_add(1);
    }
    before
}

/// Marks the first byte of `word` that is `byte`, and perhaps others behind it.
#[inline(always)]
fn equal(word: u64, byte: u8) -> u64 {
    let different = word ^ (ONES.wrapping_mul(byte as u64));
    different.wrapping_sub(ONES) & !different & HIGHS
}

/// Marks the first byte of `word` that is below a space, and perhaps others behind it.
#[inline(always)]
fn below_space(word: u64) -> u64 {
    word.wrapping_sub(ONES.wrapping_mul(0x20)) & !word & HIGHS
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_that_matters_is_found_wherever_it_is() {
        for place in 0..40 {
            for byte in 0..=255_u8 {
                let mut bytes = vec![b'a'; 40];
                bytes[place] = byte;
                let text = if matches!(byte, b'"' | b'\\' | 0..0x20) { place } else { 40 };
                let line = if matches!(byte, b'\n' | b'\r') { place } else { 40 };
                assert_eq!((text_end(&bytes).0, line_end(&bytes)), (text, line), "{byte} at {place}");
                assert!(byte < 0x80 || !text_end(&bytes).1, "{byte} at {place}");
                assert!(byte >= 0x80 || text_end(&bytes).1, "{byte} at {place}");
            }
        }
    }
}
