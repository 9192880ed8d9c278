//! What a hit costs in the engine alone: `cargo bench -p selvage-engine`.
//!
//! Prints nanoseconds for one request answered from the worker store, the host's part left out.

use std::hint::black_box;
use std::rc::Rc;
use std::time::Instant;

use selvage_engine::cache::{Cache, Moment, Nowhere};
use selvage_engine::exchange::{Directive, Event, Exchange};
use selvage_engine::fields::{FieldBlock, Fields};
use selvage_engine::policy::Policy;
use selvage_engine::time::Timestamp;

fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let fields: FieldBlock = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    let mut block = Vec::new();
    fields.write_with(&[], &mut block);
    block
}

fn main() {
    let request = block(&[
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
    ]);
    let response = block(&[
        (":status", "200"),
        ("cache-control", "public, max-age=3600"),
        ("content-type", "image/webp"),
        ("etag", "\"5f8d-1c2b\""),
        ("date", "Sat, 21 Nov 2026 11:00:00 GMT"),
        ("server", "origin"),
    ]);
    let mut cache = Cache::new(Rc::new(Policy::default()));
    let mut host = Nowhere;
    let now = Timestamp::parse_http_date(b"Sat, 21 Nov 2026 11:00:05 GMT").unwrap_or_default();
    let mut moment = Moment { now, host: &mut host };
    let mut exchange = Exchange::new();
    exchange.on(Event::Request { head: request.clone(), end_of_stream: true }, &mut cache, &mut moment);
    let head = Fields::parse(&response).unwrap_or_default();
    exchange.on(Event::Response { head, end_of_stream: false }, &mut cache, &mut moment);
    let body = vec![b'x'; 10_000];
    exchange.on(Event::Body { chunk: &body, end_of_stream: true }, &mut cache, &mut moment);

    const ROUNDS: u32 = 300_000;
    for _ in 0..5 {
        let begun = Instant::now();
        let mut hits = 0u32;
        for _ in 0..ROUNDS {
            let mut exchange = Exchange::new();
            let event = Event::Request { head: black_box(request.clone()), end_of_stream: true };
            if let Directive::Respond(reply) = exchange.on(event, &mut cache, &mut moment) {
                hits += 1;
                cache.recycle(black_box(reply).fields);
            }
        }
        println!("hit: {} ns ({hits} of {ROUNDS} answered)", begun.elapsed().as_nanos() / u128::from(ROUNDS));
    }
}
