//! What a hit costs in the engine alone: `cargo bench -p selvage-engine`.
//!
//! Prints nanoseconds for one request answered from the worker store, the host's part left out, by how many tags the response
//! has and how many were purged since.

use std::hint::black_box;
use std::rc::Rc;
use std::time::Instant;

use selvage_engine::cache::{Cache, Moment};
use selvage_engine::exchange::{Directive, Event, Exchange};
use selvage_engine::fields::{FieldBlock, Fields};
use selvage_engine::host::NullHost;
use selvage_engine::policy::Policy;
use selvage_engine::purge::admin_auth::AdminAuth;
use selvage_engine::time::Timestamp;

use crate::heads::{block, request, response};

mod heads;

fn main() {
    let (request, response) = (request(), response());
    println!("| tags of the response | tags that were purged | a hit, ns |\n|---|---|---|");
    for purged in [0, 10, 1000] {
        for tags in [0, 10, 1000] {
            println!("| {tags} | {purged} | {} |", hit(&request, &response, tags, purged));
        }
    }
}

/// Nanoseconds of a hit, the least of several rounds, on a response with so many tags after a purge of so many others.
fn hit(request: &[u8], response: &[u8], tags: usize, purged: usize) -> u128 {
    let mut cache = Cache::new(Rc::new(Policy::default()));
    cache.set_admin_auth(AdminAuth::Open);
    let mut host = NullHost;
    let now = Timestamp::parse_http_date(b"Sat, 21 Nov 2026 11:00:05 GMT").unwrap_or_default();
    let mut moment = Moment { now, host: &mut host };
    let mut exchange = Exchange::new();
    exchange.on(Event::Request { head: request.to_vec(), end_of_stream: true }, &mut cache, &mut moment);
    let named: Vec<String> = (0..tags).map(|number| format!("product-{number}")).collect();
    let mut head = Vec::new();
    let fields = FieldBlock::copy_of(Fields::parse(response).unwrap_or_default());
    fields.write_with(&[(b"surrogate-key", named.join(" ").as_bytes())], &mut head);
    let head = Fields::parse(&head).unwrap_or_default();
    exchange.on(Event::Response { head, end_of_stream: false }, &mut cache, &mut moment);
    let body = vec![b'x'; 10_000];
    exchange.on(Event::Body { chunk: &body, end_of_stream: true }, &mut cache, &mut moment);
    let others: Vec<String> = (0..purged).map(|number| format!("\"other-{number}\"")).collect();
    let purge = block(&[
        (":authority", "127.0.0.1"),
        (":path", "/.selvage/purge"),
        (":method", "POST"),
        (":scheme", "http"),
        ("content-type", "application/json"),
    ]);
    for some in others.chunks(250) {
        let body = format!("{{\"tags\":[{}]}}", some.join(","));
        let mut operator = Exchange::new();
        operator.on(Event::Request { head: purge.clone(), end_of_stream: false }, &mut cache, &mut moment);
        let event = Event::RequestBody { chunk: body.as_bytes(), end_of_stream: true };
        let told = operator.on(event, &mut cache, &mut moment);
        assert!(matches!(told, Directive::Respond(reply) if reply.status == 200), "not purged");
    }
    let mut best = u128::MAX;
    for _ in 0..5 {
        let (begun, mut hits) = (Instant::now(), 0u32);
        for _ in 0..ROUNDS {
            let mut exchange = Exchange::new();
            let event = Event::Request { head: black_box(request.to_vec()), end_of_stream: true };
            if let Directive::Respond(reply) = exchange.on(event, &mut cache, &mut moment) {
                hits += 1;
                cache.recycle(black_box(reply).fields);
            }
        }
        assert_eq!(hits, ROUNDS, "not answered by the cache");
        best = best.min(begun.elapsed().as_nanos() / u128::from(ROUNDS));
    }
    best
}

const ROUNDS: u32 = 200_000;
