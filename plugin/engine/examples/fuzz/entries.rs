//! Forges what the remote store keeps of purges: entries of the log, and the hint at the last one.

use std::fmt::Write;

use super::forging::moment;
use super::random::Random;

/// An entry, seldom one that is none: after such a one all that is stored counts as purged, and nothing else is looked at.
/// `now` is in milliseconds.
pub fn entry(now: u64, random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..*random.pick(COUNTS) {
        let purge = purge(now, random);
        let length = match random.below(256) {
            0 => random.next() as u16,
            _ => purge.len() as u16,
        };
        bytes.extend(length.to_le_bytes());
        bytes.extend(purge);
    }
    let mut text = String::new();
    for byte in &bytes {
        let _ = write!(text, "{byte:02x}");
    }
    let mut text = text.into_bytes();
    match random.below(128) {
        0 => text.truncate(random.below(text.len() + 1)),
        1 => text.make_ascii_uppercase(),
        2 => text.extend(random.bytes(20)),
        3 => text.resize(*random.pick(&[8191, 8192, 8193, 8194, 1 << 19]), b'0'),
        4 => text = random.bytes(200),
        5 => text.clear(),
        _ => {}
    }
    text
}

/// A purge as the log has it, most often of a URL, a tag or a prefix that nothing has: who purges everything all the time
/// lets nothing else be looked at.
fn purge(now: u64, random: &mut Random) -> Vec<u8> {
    let kind = match random.below(256) {
        0 => 4,
        1 => random.next() as u8,
        _ => 1 + random.below(3) as u8,
    };
    let odd = |random: &mut Random| if random.one_in(256) { random.next() as u8 } else { 0 };
    let version = odd(random).wrapping_add(1);
    let soft = random.below(2) as u8;
    let mut out = vec![version, kind, soft.wrapping_add(odd(random)), odd(random)];
    // Every namespace, or one that nobody has.
    let namespace = if random.one_in(4) { random.next() } else { 0 };
    out.extend(namespace.to_le_bytes());
    out.extend(moment(now, random).to_le_bytes());
    let id = if random.one_in(8) { 0 } else { random.next() };
    out.extend(id.to_le_bytes());
    match kind {
        1 | 2 => out.extend(random.next().to_le_bytes()),
        3 => {
            let long = |random: &mut Random| *random.pick(LENGTHS);
            let (authority, mut path) = (vec![b'a'; long(random)], vec![b'/'; long(random)]);
            if random.one_in(128) {
                path.resize(1025 + random.below(3000), b'/');
            }
            let told = if random.one_in(256) { random.next() as u16 } else { authority.len() as u16 };
            out.extend(told.to_le_bytes());
            out.extend(authority);
            out.extend(path);
        }
        _ => {}
    }
    if random.one_in(256) {
        out.extend(random.bytes(8));
    }
    out
}

/// The hint at the last entry: most often what it is, `last`.
pub fn hint(last: u64, random: &mut Random) -> Vec<u8> {
    let text = match random.below(64) {
        0 => random.next().to_string(),
        1 => ((1u64 << 62) - random.below(2) as u64).to_string(),
        2 => (last + random.below(200) as u64).to_string(),
        3 => "-1".to_owned(),
        4 => "9".repeat(random.below(5000)),
        5 => String::new(),
        6 => "1e3".to_owned(),
        7 => "claim:!".to_owned(),
        8 => return random.bytes(30),
        _ => last.to_string(),
    };
    text.into_bytes()
}

/// Purges of an entry.
const COUNTS: &[usize] = &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 3, 5, 20];
/// Bytes of the parts of a prefix, of which 1024 are the most.
const LENGTHS: &[usize] = &[
    0, 1, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 300, 1023, 10, 10, 10, 10, 10, 10, 10, 10, 10, 1024,
];
