//! Heads of a request and of its response, as a browser and an origin send them.

use selvage_engine::fields::FieldBlock;

/// The fields as the host hands them over.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let fields: FieldBlock = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    let mut block = Vec::new();
    fields.write_with(&[], &mut block);
    block
}

/// A browser asks for a picture.
pub fn request() -> Vec<u8> {
    block(&[
        (":authority", "www.example.com"),
        (":path", "/assets/pictures/2026/11/header.webp?width=1200"),
        (":method", "GET"),
        (":scheme", "https"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
        ("accept", "image/avif,image/webp,*/*;q=0.8"),
        ("accept-language", "en-GB,en;q=0.5"),
        ("accept-encoding", "gzip, deflate, br"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-proto", "https"),
    ])
}

/// The origin's answer, which may be stored.
pub fn response() -> Vec<u8> {
    block(&[
        (":status", "200"),
        ("cache-control", "public, max-age=3600"),
        ("content-type", "image/webp"),
        ("etag", "\"5f8d-1c2b\""),
        ("date", "Sat, 21 Nov 2026 11:00:00 GMT"),
        ("server", "origin"),
    ])
}
