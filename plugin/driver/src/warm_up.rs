//! Runs one made-up request through the engine when a configuration comes, so that Envoy compiles the code of
//! the hit path before the first real request and not during it.

use std::rc::Rc;

use selvage_engine::cache::{Cache, Moment};
use selvage_engine::exchange::{Directive, Event, Exchange};
use selvage_engine::fields::{FieldBlock, Fields};
use selvage_engine::host::NullHost;
use selvage_engine::policy::Policy;
use selvage_engine::time::Timestamp;

use crate::host::Calls;

/// Stores a response in a cache of its own and finds it again. Nothing outside notices.
#[expect(
    clippy::extra_unused_type_parameters,
    reason = "compiled where all else is, or dropping a cache is there twice"
)]
pub fn run<H: Calls>(policy: &Rc<Policy>) {
    let mut cache = Cache::new(Rc::clone(policy));
    let mut host = NullHost;
    for _ in 0..3 {
        let mut moment = Moment { now: Timestamp::from_secs(1), host: &mut host };
        let mut exchange = Exchange::new();
        let head =
            block(&[(":method", "GET"), (":scheme", "http"), (":authority", "warm.invalid"), (":path", "/")]);
        let begun = exchange.on(Event::Request { head, end_of_stream: true }, &mut cache, &mut moment);
        match begun {
            Directive::Respond(reply) => cache.recycle(reply.fields),
            _ => {
                let response = block(&[(":status", "200"), ("cache-control", "max-age=60")]);
                let head = Fields::parse(&response).unwrap_or_default();
                exchange.on(Event::Response { head, end_of_stream: false }, &mut cache, &mut moment);
                let last = Event::Body { chunk: b"warm", end_of_stream: true };
                exchange.on(last, &mut cache, &mut moment);
            }
        }
    }
}

fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let fields: FieldBlock = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    let mut block = Vec::new();
    fields.write_with(&[], &mut block);
    block
}
