//! Work for an instruction counter: `instructions hit|pass|reference COUNT` does one thing so many times and prints nothing.
//!
//! What one costs is the difference between two runs of it, divided by the difference of their counts: starting and filling the
//! store drop out. `envoy/lib/bench-instructions.sh` counts, and fails when one of them has grown. It has no clock and no chance, so
//! that two runs of a build execute the same instructions.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::rc::Rc;

use selvage_engine::cache::{Cache, Moment};
use selvage_engine::exchange::{Directive, Event, Exchange};
use selvage_engine::fields::Fields;
use selvage_engine::host::NullHost;
use selvage_engine::policy::Policy;
use selvage_engine::time::Timestamp;

use crate::heads::{block, request, response};

mod heads;

fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let [name, count] = arguments.as_slice() else {
        println!("counted under valgrind by `./envoy/bench --instructions`");
        return;
    };
    let count = count.parse().unwrap_or_default();
    match name.as_str() {
        "hit" => hits(count),
        "pass" => passes(count),
        "reference" => references(count),
        _ => println!("'{name}' is none of hit, pass and reference"),
    }
}

/// A cache with nothing in it, and the time of all requests.
fn fresh() -> (Cache, Timestamp) {
    let now = Timestamp::parse_http_date(b"Sat, 21 Nov 2026 11:00:05 GMT").unwrap_or_default();
    (Cache::new(Rc::new(Policy::default())), now)
}

/// One exchange that goes to the origin and back.
fn forward(request: &[u8], response: &[u8], cache: &mut Cache, moment: &mut Moment<'_>) {
    let mut exchange = Exchange::new();
    let event = Event::Request { head: black_box(request.to_vec()), end_of_stream: true };
    let told = exchange.on(event, cache, moment);
    assert!(!matches!(told, Directive::Respond(_)), "answered by the cache");
    let head = Fields::parse(black_box(response)).unwrap_or_default();
    black_box(exchange.on(Event::Response { head, end_of_stream: false }, cache, moment));
    let body = [b'x'; 1000];
    exchange.on(Event::Body { chunk: black_box(&body), end_of_stream: false }, cache, moment);
    // Envoy announces the end apart.
    exchange.on(Event::Body { chunk: &[], end_of_stream: true }, cache, moment);
}

/// Answers from the worker store.
fn hits(count: u32) {
    let (mut cache, now) = fresh();
    let mut host = NullHost;
    let mut moment = Moment { now, host: &mut host };
    let request = request();
    forward(&request, &response(), &mut cache, &mut moment);
    let mut answered = 0;
    for _ in 0..count {
        let mut exchange = Exchange::new();
        let event = Event::Request { head: black_box(request.clone()), end_of_stream: true };
        if let Directive::Respond(reply) = exchange.on(event, &mut cache, &mut moment) {
            answered += 1;
            cache.recycle(black_box(reply).fields);
        }
    }
    assert_eq!(answered, count, "not answered by the cache");
}

/// Passes a response that must not be stored, and is known for it from the second time on.
fn passes(count: u32) {
    let (mut cache, now) = fresh();
    let mut host = NullHost;
    let mut moment = Moment { now, host: &mut host };
    let request = request();
    let response = block(&[
        (":status", "200"),
        ("cache-control", "no-store"),
        ("content-type", "application/json"),
        ("date", "Sat, 21 Nov 2026 11:00:00 GMT"),
        ("server", "origin"),
    ]);
    for _ in 0..count {
        forward(&request, &response, &mut cache, &mut moment);
    }
}

/// What the engine does much of, by the standard library alone: allocating, copying, formatting, comparing. It changes only with the
/// compiler and the C library, so where its count is another, the others are not comparable.
fn references(count: u32) {
    for number in 0..count {
        let mut texts = BTreeMap::new();
        for field in 0..16u32 {
            let mut name = String::new();
            let _ = write!(name, "field-{}", field.wrapping_mul(number % 7 + 3));
            texts.insert(name, black_box(vec![b'x'; 16 + 60 * field as usize]));
        }
        let mut all = Vec::new();
        for (name, value) in &texts {
            all.extend_from_slice(name.as_bytes());
            all.extend_from_slice(value);
        }
        black_box(all);
    }
}
