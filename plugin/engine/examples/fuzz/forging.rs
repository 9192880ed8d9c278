//! Forges records: those of a key that a cache wrote itself, changed where they have a meaning, with checksums that are right.
//!
//! `./host-tests/forge` has a hostile bridge answer with them, and the fuzzer feeds them to the decoder.

use std::sync::OnceLock;

use selvage_engine::coding::gzip::{compress, crc32};

use super::format::{
    COUNT, FIELDS_LEN, HEAD, KEY_LEN, Line, Parts, Response, VERSION, content, read_u32, seal,
};
use super::random::{Random, mutate, write_number};

/// A forged record.
pub struct Forged {
    /// All of it.
    pub bytes: Vec<u8>,
    /// What was changed last, as a word.
    pub what: &'static str,
}

/// Forges a record out of one that is sound. `hashes` are keys of others, and `now` is in milliseconds.
pub fn forge(record: &[u8], hashes: &[u128], now: u64, random: &mut Random) -> Forged {
    let Some(mut parts) = Parts::read(record) else {
        return raw(record.to_vec(), now, random);
    };
    refresh(&mut parts, now, random);
    let mut what = "";
    for _ in 0..1 + random.below(2) {
        what = match parts.response.is_some() {
            true => change_response(&mut parts, hashes, now, random),
            false => change_index(&mut parts, hashes, now, random),
        };
    }
    match random.below(8) {
        // A count that is told otherwise.
        0 if what == "tags" || what == "variants" => {}
        _ => parts.head.count = count(&parts),
    }
    let bytes = parts.write();
    if random.one_in(8) { raw(bytes, now, random) } else { Forged { bytes, what } }
}

fn count(parts: &Parts) -> u32 {
    parts.response.as_ref().map_or(parts.variants.len(), |response| response.tags.len()) as u32
}

/// Makes it one that would be served, so that what is changed next is looked at.
fn refresh(parts: &mut Parts, now: u64, random: &mut Random) {
    let Some(response) = &mut parts.response else { return };
    let age = random.below(3000) as u64;
    let [born, received, lifetime, ..] = &mut parts.head.times;
    (*born, *received) = (now.saturating_sub(age), now.saturating_sub(age));
    *lifetime = (*lifetime).max(60_000);
    // One of later than every purge is covered by none. Clocks may differ by so much.
    response.generation = if random.one_in(4) { now } else { now + 4000 };
}

fn change_response(parts: &mut Parts, hashes: &[u128], now: u64, random: &mut Random) -> &'static str {
    match random.below(24) {
        0..3 => {
            change_times(parts, now, random);
            "times"
        }
        3..6 => {
            parts.head.status = *random.pick(STATUSES);
            "status"
        }
        6..13 => {
            change_fields(parts, now, random);
            "fields"
        }
        13..15 => {
            change_body(parts, random);
            "body"
        }
        15..18 => {
            forge_gzip(parts, random);
            "gzip"
        }
        18 => {
            parts.head.terms = random.next() as u8;
            "terms"
        }
        19 | 20 => {
            change_tags(parts, random);
            "tags"
        }
        21 => {
            change_key(parts, random);
            "key"
        }
        22 => {
            parts.head.version = *random.pick(&[0, 1, 2, 3, 255]);
            "version"
        }
        _ => {
            // An index in the place of a response.
            (parts.head.kind, parts.head.version, parts.response) = (2, 1, None);
            parts.body.clear();
            change_index(parts, hashes, now, random)
        }
    }
}

fn change_times(parts: &mut Parts, now: u64, random: &mut Random) {
    for _ in 0..1 + random.below(3) {
        let time = moment(now, random);
        match (random.below(7), &mut parts.response) {
            (6, Some(response)) => response.generation = time,
            (place, _) => parts.head.times[place.min(5)] = time,
        }
    }
}

/// A time or a span that somebody may have got wrong.
pub fn moment(now: u64, random: &mut Random) -> u64 {
    const YEARS: u64 = 10 * 365 * 86_400_000;
    let near = random.below(10_000) as u64;
    match random.below(12) {
        0 => 0,
        1 => 1,
        2 => now,
        3 => now.saturating_sub(near),
        4 => now + near,
        5 => now + YEARS,
        6 => now.saturating_sub(YEARS),
        7 => near,
        8 => 1 << *random.pick(&[31, 32, 47, 48, 53, 62, 63]),
        9 => (1 << 48) + 1,
        10 => u64::MAX - near,
        _ => random.next(),
    }
}

fn change_fields(parts: &mut Parts, now: u64, random: &mut Random) {
    let Some(Response { lines, .. }) = &mut parts.response else { return };
    let at = random.below(lines.len());
    let line = nasty_line(now, random);
    match random.below(12) {
        _ if lines.is_empty() => lines.push(line),
        0 => drop(lines.remove(at)),
        1 => lines.clear(),
        2 => lines.push(lines[at].clone()),
        3 => lines[at].0 = line.0,
        4 => lines[at].1 = line.1,
        5 => lines.insert(0, line),
        6 => {
            let other = *random.pick(ENDINGS);
            let value = &mut lines[at].1;
            let place = random.below(value.len() + 1);
            drop(value.splice(place..place, other.iter().copied()));
        }
        7 => lines.extend((0..random.below(400)).map(|n| (format!("x-{n}").into_bytes(), b"v".to_vec()))),
        8 => lines[at].1 = vec![b'v'; long(6, random)],
        9 => lines[at].0 = vec![b'n'; long(4, random)],
        _ => lines.push(line),
    }
}

/// A length of any order from this one on.
fn long(least: usize, random: &mut Random) -> usize {
    let order = least + random.below(12);
    random.below(1 << order)
}

fn nasty_line(now: u64, random: &mut Random) -> Line {
    let (name, value) = *random.pick(LINES);
    let value = match (name, value) {
        ("date" | "last-modified" | "expires", "") => date(moment(now, random)),
        ("content-length", "") => random.below(5000).to_string().into_bytes(),
        (_, value) => value.as_bytes().to_vec(),
    };
    (name.as_bytes().to_vec(), value)
}

/// A date with a year of any length, as nobody writes it.
fn date(millis: u64) -> Vec<u8> {
    format!("Sun, 06 Nov {:04} 08:49:37 GMT", 1970 + millis / 31_556_952_000).into_bytes()
}

fn change_body(parts: &mut Parts, random: &mut Random) {
    let body = &mut parts.body;
    match random.below(6) {
        0 => body.clear(),
        1 => *body = random.bytes(2000),
        2 => body.truncate(random.below(body.len() + 1)),
        3 => body.extend(random.bytes(1000)),
        4 => *body = vec![b'l'; 1 << random.below(17)],
        _ => *body = b"HTTP/1.1 200 OK\r\nx-injected: 1\r\ncontent-length: 0\r\n\r\n".to_vec(),
    }
}

/// A gzip body, or what passes for one, with the flag that tells of it or without.
fn forge_gzip(parts: &mut Parts, random: &mut Random) {
    parts.head.terms = if random.one_in(8) { random.next() as u8 } else { parts.head.terms | GZIP };
    let mut body = match random.below(64) {
        0 => bomb(16 << 20),
        1..4 => bomb(1 << 20),
        4 => [compress(&content(random), 1), compress(b"more", 1)].concat(),
        5..12 => random.bytes(300),
        _ => compress(&content(random), 1),
    };
    let trailer = body.len().saturating_sub(8);
    match random.below(10) {
        0 => body.truncate(random.below(body.len() + 1)),
        // Another length than it has, or another sum.
        1 | 2 if body.len() > 18 => {
            let length = *random.pick(&[0, 1, 1000, 1 << 20, 1 << 24, (1 << 24) + 1, 1 << 31, u32::MAX]);
            body[trailer + 4..].copy_from_slice(&u32::to_le_bytes(length));
        }
        3 if body.len() > 18 => body[trailer..trailer + 4].copy_from_slice(&crc32(b"other").to_le_bytes()),
        4 if body.len() > 3 => body[3] = random.next() as u8,
        5 => mutate(&mut body, b"\x1f\x8b\x08\0", &[], random),
        _ => {}
    }
    parts.body = body;
}

/// Zeros, compressed once for all.
fn bomb(bytes: usize) -> Vec<u8> {
    static SMALL: OnceLock<Vec<u8>> = OnceLock::new();
    static LARGE: OnceLock<Vec<u8>> = OnceLock::new();
    let kept = if bytes > 1 << 20 { &LARGE } else { &SMALL };
    kept.get_or_init(|| compress(&vec![0; bytes], 9)).clone()
}

fn change_tags(parts: &mut Parts, random: &mut Random) {
    let Some(Response { tags, .. }) = &mut parts.response else { return };
    let many = *random.pick(&[0, 1, 2, 64, 2048, 2049, 5000]);
    *tags = (0..many).map(|_| random.next()).collect();
    match random.below(4) {
        0 => {}
        1 => tags.iter_mut().for_each(|tag| *tag %= 3),
        _ => tags.sort_unstable(),
    }
    if random.one_in(8) {
        tags.sort_unstable();
    }
}

fn change_key(parts: &mut Parts, random: &mut Random) {
    let key = &mut parts.key;
    match random.below(5) {
        0 => key.clear(),
        1 => key.push(0),
        2 => key.resize(1 << random.below(18), b'k'),
        _ => mutate(key, b"GET\0https\0", &[b"\0"], random),
    }
}

fn change_index(parts: &mut Parts, hashes: &[u128], now: u64, random: &mut Random) -> &'static str {
    let other = if hashes.is_empty() { 7 } else { *random.pick(hashes) };
    let variants = &mut parts.variants;
    let at = random.below(variants.len());
    match random.below(14) {
        0 => parts.head.times[0] = moment(now, random),
        1 => parts.head.status = *random.pick(STATUSES),
        2 => parts.body = random.bytes(300),
        3 => change_key(parts, random),
        4 => variants.clear(),
        5 => variants.push((other, vec![random.pick(NAMES).as_bytes().to_vec()])),
        6 if !variants.is_empty() => variants.push(variants[at].clone()),
        7 if !variants.is_empty() => variants[at].0 = other,
        8 if !variants.is_empty() => variants[at].1.push(random.pick(NAMES).as_bytes().to_vec()),
        9 if !variants.is_empty() => variants[at].1 = vec![vec![b'n'; random.below(600)]],
        10 => {
            let many = *random.pick(&[15, 16, 17, 255, 256, 257, 4000]);
            variants
                .extend((0..many).map(|_| (u128::from(random.next()), vec![b"accept-language".to_vec()])));
        }
        11 => {
            let many = *random.pick(&[16, 17, 80, 81, 82, 1000]);
            let names = (0..many).map(|n| format!("x-{n:04}").into_bytes()).collect();
            variants.insert(0, (other, names));
        }
        12 => parts.head.times = [random.next(); 6],
        _ => variants.reverse(),
    }
    "variants"
}

/// Bytes changed whatever they mean, under checksums that are right over what is there.
fn raw(mut bytes: Vec<u8>, now: u64, random: &mut Random) -> Forged {
    let fields = HEAD + read_u32(&bytes, KEY_LEN) as usize;
    let what = match random.below(6) {
        0 => {
            write_number(&mut bytes, *random.pick(&[KEY_LEN, COUNT, FIELDS_LEN]), random);
            "lengths"
        }
        // A length within what lies between key and body.
        1 => {
            write_number(&mut bytes, fields.saturating_add(4 * random.below(24)), random);
            "lengths"
        }
        2 => {
            bytes.truncate(random.below(bytes.len() + 1));
            "cut"
        }
        3 => {
            bytes.extend(random.bytes(200));
            "longer"
        }
        4 => {
            if let Some(byte) = bytes.get_mut(VERSION + random.below(8)) {
                *byte = random.below(5) as u8;
            }
            "version"
        }
        _ => {
            mutate(&mut bytes, &now.to_le_bytes(), &[b"SLVG", b"\r\n"], random);
            "bytes"
        }
    };
    seal(&mut bytes);
    Forged { bytes, what }
}

/// The flag that a body is a gzip member.
const GZIP: u8 = 64;
const STATUSES: &[u16] = &[
    0, 1, 99, 100, 101, 103, 199, 200, 201, 203, 204, 205, 206, 226, 300, 301, 302, 303, 304, 307, 308, 400,
    401, 404, 407, 408, 410, 412, 416, 421, 426, 429, 451, 499, 500, 502, 503, 504, 511, 599, 600, 999, 1000,
    65_535,
];
/// What ends lines or values, or does not belong there.
const ENDINGS: &[&[u8]] = &[b"\r\n", b"\0", b"\n", b"\r", b"\xff", b"\t", b"  ", b"\r\nx-injected: 1"];
const NAMES: &[&str] = &[
    "accept-language",
    "accept-encoding",
    "cookie",
    "host",
    "",
    "A",
    "x y",
    "x\r\n",
    ":path",
    "zz",
    "a",
    "range",
];
/// Lines that mean something to somebody on the way. An empty value stands for one that is made up.
const LINES: &[(&str, &str)] = &[
    (":status", "204"),
    (":status", "99"),
    (":path", "/"),
    ("", "empty"),
    (" x", "1"),
    ("x a", "1"),
    ("X-A", "1"),
    ("x-a", "1\r\nx-injected: 1"),
    ("x-a\r\nx-injected", "1"),
    ("x-a", "1\nx-injected: 1"),
    ("x-a:", "1"),
    ("x-a", "\0"),
    ("x-a", "1\r\n\r\nHTTP/1.1 200 OK\r\nx-injected: 1\r\n\r\n"),
    ("x-\u{e9}", "1"),
    ("x-a", "caf\u{e9}"),
    ("content-length", ""),
    ("content-length", "0"),
    ("content-length", "99999999999"),
    ("content-length", "-1"),
    ("content-length", "abc"),
    ("content-length", "5, 5"),
    ("content-length", " 7"),
    ("content-length", "+3"),
    ("transfer-encoding", "chunked"),
    ("transfer-encoding", "gzip, chunked"),
    ("connection", "close"),
    ("connection", "upgrade"),
    ("upgrade", "websocket"),
    ("keep-alive", "timeout=1"),
    ("te", "trailers"),
    ("trailer", "x-injected"),
    ("proxy-authenticate", "Basic"),
    ("proxy-connection", "close"),
    ("set-cookie", "forged=1"),
    ("age", "99999999999999999999"),
    ("age", "-1"),
    ("age", "7"),
    ("date", ""),
    ("date", "yesterday"),
    ("expires", "0"),
    ("expires", ""),
    ("last-modified", ""),
    ("last-modified", "never"),
    ("cache-control", "no-store, private"),
    ("cache-control", "max-age=99999999999999999999"),
    ("cache-control", "no-cache=\"x-a, "),
    ("cdn-cache-control", "max-age=1, stale-if-error=1e9"),
    ("vary", "*"),
    ("vary", "accept-language, accept-language, ,,"),
    ("vary", "cookie"),
    ("etag", "\"x"),
    ("etag", ""),
    ("etag", "W/\"\""),
    ("etag", "\"a\", \"b\""),
    ("content-encoding", "gzip"),
    ("content-encoding", "br"),
    ("content-encoding", "identity"),
    ("content-range", "bytes 0-0/1"),
    ("content-range", "bytes 9-1/0"),
    ("content-type", "multipart/byteranges; boundary=x"),
    ("content-type", ""),
    ("accept-ranges", "none"),
    ("location", "//elsewhere.example/"),
    ("cache-status", "Forged; hit"),
    ("cache-status", "\"open"),
    ("server", "forged"),
    ("grpc-status", "0"),
    ("x-envoy-upstream-service-time", "1"),
    ("x-envoy-degraded", "1"),
    ("x-envoy-immediate-health-check-fail", "1"),
    ("x-envoy-overloaded", "true"),
    ("selvage-explanation", "x"),
    ("surrogate-key", "a b c"),
    ("cdn-loop", "selvage-0"),
    ("warning", "110 - \"x\""),
    ("retry-after", "-1"),
    ("www-authenticate", "Basic"),
    ("link", "</x>; rel=preload"),
    ("alt-svc", "h3=\":443\""),
];
