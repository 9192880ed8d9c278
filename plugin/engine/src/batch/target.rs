//! Which URLs a part may name: paths of the authority that the batch came to, which nobody can read as another's.

use crate::uri::{octet, split_path};

/// Why a URL is refused; `None` if it may be asked for.
///
/// A request of its own has its path put in order by Envoy before anything else sees it. Nobody does that for a part, so one that
/// would be changed by it is refused: it could pass for one rule here and mean another path to the origin.
pub(crate) fn refusal(url: &str) -> Option<&'static str> {
    let bytes = url.as_bytes();
    if bytes.len() > LONGEST {
        return Some("url: at most 8 KiB");
    }
    if bytes.first() != Some(&b'/') || bytes.get(1) == Some(&b'/') {
        return Some("url: a path with its query, such as \"/items?id=1\", without a scheme or a host");
    }
    if bytes.iter().any(|byte| !(0x21..=0x7e).contains(byte) || matches!(byte, b'\\' | b'#')) {
        return Some("url: visible ASCII without \"\\\" and \"#\"");
    }
    let (path, _) = split_path(bytes);
    let mut plain = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, after)) = rest.split_first() {
        let coded = match after {
            [high, low, ..] if *first == b'%' => octet(*high, *low),
            _ => None,
        };
        match (first, coded) {
            (b'%', None) => return Some("url: \"%\" before two hexadecimal digits"),
            (b'%', Some(byte)) if byte < 0x20 || matches!(byte, b'/' | b'\\' | 0x7f) => {
                return Some("url: a path without \"/\", \"\\\" and control characters behind \"%\"");
            }
            (_, Some(byte)) => {
                plain.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            (first, None) => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    let dots = |segment: &[u8]| {
        // What stands behind a semicolon is no part of the segment to some origins.
        let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
        name == b"." || name == b".."
    };
    if plain.split(|byte| *byte == b'/').any(dots) {
        return Some("url: a path without \".\" and \"..\"");
    }
    if plain == b"/.selvage" || plain.starts_with(b"/.selvage/") {
        return Some("url: nothing below \"/.selvage/\"");
    }
    None
}

/// In bytes.
const LONGEST: usize = 8 << 10;
