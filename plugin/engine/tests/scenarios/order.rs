//! Events in any order: nothing panics, nothing leaks.

use selvage_engine::exchange::{Directive, Event, Exchange, Wake};
use selvage_engine::fields::Fields;

use crate::gateway::{Gateway, block, date};

/// xorshift64*: the same sequence for the same seed, everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % bound
    }

    fn of<T: Copy>(&mut self, choice: &[T]) -> T {
        choice[self.below(choice.len())]
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    fn request(&mut self) -> Vec<u8> {
        // Mostly what a browser sends, so that the sequences get somewhere.
        let odd = self.one_in(6);
        let mut fields = if odd {
            vec![
                (":method", self.of(&["HEAD", "POST", "QUERY", "PUT", "DELETE", "OPTIONS", ""])),
                (":scheme", self.of(&["https", "http"])),
                (":authority", self.of(&["example.com", "EXAMPLE.com:443", "a@b", ""])),
                (":path", self.of(&["/a", "/b?x=1", "/a\\", "/%zz", ""])),
            ]
        } else {
            vec![
                (":method", self.of(&["GET", "GET", "GET", "HEAD", "QUERY"])),
                (":scheme", "https"),
                (":authority", "example.com"),
                (":path", self.of(&["/a", "/./a", "/b?x=1", "/b?utm_x=1&x=1", "/c"])),
            ]
        };
        let extras = [
            ("cache-control", "no-cache"),
            ("cache-control", "no-store"),
            ("cache-control", "max-stale, only-if-cached"),
            ("cache-control", "max-age=5, min-fresh=1"),
            ("if-none-match", "\"1\", W/\"2\""),
            ("if-none-match", "*"),
            ("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("if-match", "\"1\""),
            ("range", "bytes=0-3"),
            ("range", "bytes=99999-"),
            ("if-range", "\"1\""),
            ("authorization", "x"),
            ("cookie", "id=1"),
            ("cookie", "id=2"),
            ("x-a", "1"),
            ("x-a", "2"),
            ("x-forwarded-host", "x"),
            ("content-length", "3"),
        ];
        for _ in 0..self.below(3) {
            fields.push(self.of(&extras));
        }
        block(&fields)
    }

    fn response(&mut self) -> Vec<u8> {
        let statuses = [
            "200", "200", "200", "200", "200", "200", "304", "206", "404", "500", "503", "100", "204", "999",
            "x",
        ];
        let mut fields = vec![(":status", self.of(&statuses))];
        let past = date(-5);
        let extras = [
            ("cache-control", "max-age=3"),
            ("cache-control", "max-age=60"),
            ("cache-control", "max-age=1, stale-while-revalidate=60, stale-if-error=60"),
            ("cache-control", "public, max-age=2"),
            ("cache-control", "no-cache"),
            ("cache-control", "no-store"),
            ("cdn-cache-control", "max-age=7"),
            ("etag", "\"1\""),
            ("etag", "W/\"2\""),
            ("last-modified", past.as_str()),
            ("date", past.as_str()),
            ("age", "2"),
            ("vary", "x-a"),
            ("vary", "cookie, accept-encoding"),
            ("vary", "*"),
            ("content-length", "4"),
            ("content-length", "70000"),
            ("content-length", "nine"),
            ("content-location", "/a"),
            ("location", "/b?x=1"),
            ("set-cookie", "a=1"),
            ("connection", "etag"),
        ];
        for _ in 0..self.below(6) {
            fields.push(self.of(&extras));
        }
        block(&fields)
    }
}

const CONFIG: &str = r#"{
    "worker":{"bytes":"256KiB","object_bytes":"32KiB","filling_bytes":"64KiB","variants":2},
    "node":{"bytes":"256KiB","buckets":16,"object_bytes":"16KiB"},
    "defaults":{"etag":"generate","ttl":{"default":"2s"},"key":{"query":{"except":["utm_*"]},
                "body":{"methods":["QUERY"],"inline_bytes":4,"max_bytes":64}}}}"#;

/// Feeds one event of any kind. `plausible` keeps to the order in which a host sends them.
fn step(dice: &mut Dice, gateway: &mut Gateway, stream: &mut Stream, millis: u64, plausible: bool) {
    let kind = if plausible { stream.next_kind(dice) } else { dice.below(7) };
    let size = dice.of(&[0, 1, 4, 4, 40, 3000, 40_000]);
    let (chunk, end_of_stream) = (vec![b'x'; size], dice.one_in(2));
    let head;
    gateway.shared.unreachable = dice.one_in(8);
    let event = match kind {
        0 => Event::Request { head: dice.request(), end_of_stream: !dice.one_in(6) },
        1 => {
            head = dice.response();
            Event::Response { head: Fields::parse(&head).unwrap(), end_of_stream }
        }
        2 => Event::RequestBody { chunk: &chunk, end_of_stream },
        3 => Event::Body { chunk: &chunk, end_of_stream },
        4 => Event::Trailers,
        6 => Event::Woken(dice.of(&[Wake::Ended, Wake::Enough])),
        _ => Event::Ended,
    };
    let over = matches!(event, Event::Ended);
    let directive = gateway.feed(stream.worker, &mut stream.exchange, millis, event);
    if let Directive::Respond(reply) = directive {
        assert!(Fields::parse(&reply.fields).is_some(), "a reply's block can be read");
        assert!(reply.range.end <= reply.body.len());
        gateway.workers[stream.worker].recycle(reply.fields);
    }
    if over {
        *stream = Stream { worker: stream.worker, ..Stream::default() };
    }
}

#[derive(Default)]
struct Stream {
    exchange: Exchange,
    worker: usize,
    steps: usize,
}

impl Stream {
    fn next_kind(&mut self, dice: &mut Dice) -> usize {
        self.steps += 1;
        match self.steps {
            1 => 0,
            _ if dice.one_in(12) || self.exchange.is_over() => 5,
            _ if self.exchange.awaits_fill() => 6,
            _ if self.exchange.awaits_request_body() => 2,
            _ if self.exchange.wants_body() => dice.of(&[3, 3, 3, 3, 4]),
            _ => dice.of(&[1, 1, 1, 2]),
        }
    }
}

fn fuzz(seed: u64, plausible: bool) -> Gateway {
    let mut dice = Dice(seed);
    let mut gateway = Gateway::of_workers(2, CONFIG);
    let mut streams: Vec<Stream> = (0..6).map(|n| Stream { worker: n % 2, ..Stream::default() }).collect();
    let mut millis = 0;
    for _ in 0..3_000 {
        millis += dice.below(100) as u64;
        let stream = dice.below(streams.len());
        step(&mut dice, &mut gateway, &mut streams[stream], millis, plausible);
        if dice.one_in(20) {
            let worker = dice.below(2);
            gateway.learns(worker, millis / 1000);
        }
        if dice.one_in(500) {
            gateway.shared.spoil_records();
        }
    }
    for stream in &mut streams {
        gateway.feed(stream.worker, &mut stream.exchange, millis, Event::Ended);
        assert!(stream.exchange.is_over() || !stream.exchange.wants_body());
    }
    gateway
}

#[test]
fn any_order_of_events_is_survived_and_leaks_no_room() {
    for seed in 1..60 {
        let mut gateway = fuzz(seed, false);
        gateway.assert_no_room_is_taken();
        gateway.assert_nobody_waits();
    }
}

#[test]
pub fn any_plausible_order_of_events_is_survived_and_leaks_no_room() {
    let mut hits = 0;
    for seed in 1..60 {
        let mut gateway = fuzz(seed, true);
        gateway.assert_no_room_is_taken();
        gateway.assert_nobody_waits();
        for worker in 0..2 {
            assert_eq!(gateway.counted(worker, "event", "unexpected"), 0, "seed {seed}");
        }
        hits += gateway.workers.iter().map(|worker| worker.stats.worker_hits).sum::<u64>();
    }
    assert!(hits > 500, "{hits} hits: the sequences reach too little");
}
