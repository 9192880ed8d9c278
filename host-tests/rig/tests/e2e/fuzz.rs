//! Hostile clients and hostile origins at once, at random but repeatable.

use std::{
    collections::hash_map::DefaultHasher,
    env,
    hash::{Hash, Hasher},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use selvage_rig::chance;
use selvage_rig::envoy::{Ask, Connection, Gateway, Response};
use selvage_rig::scripted::{Answer, Origin, Received};

/// Many, because Envoy takes a second to close a connection on which a response broke off.
const CLIENTS: usize = 16;

/// Chance, in the words of this test.
struct Dice(chance::Dice);

impl Dice {
    fn new(seed: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        seed.hash(&mut hasher);
        Self(chance::Dice::new(hasher.finish()))
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0.below(bound as u64) as usize
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }

    /// Bytes that Envoy lets through in a field value.
    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let length = self.below(most + 1);
        (0..length)
            .map(|_| [b'!' + self.below(94) as u8, 0x80 + self.below(128) as u8][usize::from(self.one_in(3))])
            .collect()
    }
}

const METHODS: [&str; 16] = [
    "GET", "GET", "GET", "GET", "GET", "GET", "GET", "GET", "GET", "GET", "GET", "HEAD", "QUERY", "QUERY",
    "POST", "DELETE",
];
const PATHS: [&str; 14] = [
    "/a", "/b", "/c/d", "/%61", "/x/../a", "/c%2Fd", "//a", "/%zz", "/a;b=c", "/..;/a", "/e%00f", "/\u{e9}",
    "/.", "/~",
];
const DIRECTIVES: [&str; 32] = [
    "max-age=3600",
    "max-age=3600",
    "max-age=0",
    "max-age=1",
    "s-maxage=60",
    "max-age=\"60\"",
    "max-age=-1",
    "max-age=1.5",
    "max-age=99999999999999999999",
    "max-age",
    "max-age=",
    "no-cache",
    "no-cache=\"set-cookie\"",
    "no-store",
    "private",
    "public",
    "must-revalidate",
    "proxy-revalidate",
    "must-understand",
    "immutable",
    "stale-while-revalidate=60",
    "stale-if-error=60",
    "max-stale",
    "max-stale=5",
    "min-fresh=5",
    "only-if-cached",
    "no-transform",
    "\"",
    ",,,",
    "=",
    "a=\"b",
    "x=\"\\\"",
];
const DATES: [&str; 12] = [
    "Sat, 01 Nov 2025 00:00:00 GMT",
    "Sun, 06 Nov 1994 08:49:37 GMT",
    "Sunday, 06-Nov-94 08:49:37 GMT",
    "Sun Nov  6 08:49:37 1994",
    "Fri, 31 Dec 9999 23:59:59 GMT",
    "0",
    "-1",
    "",
    "yesterday",
    "Thu, 01 Jan 1970 00:00:00 GMT",
    "Thu, 32 Jan 2026 25:61:61 GMT",
    "Sat, 01 Nov 2025 00:00:00 +0100",
];
const TAGS: [&str; 9] = ["\"v1\"", "W/\"v1\"", "\"v2\"", "*", "v1", "\"", "\"v1\", \"v2\"", "W/", ",,"];
const RANGES: [&str; 11] = [
    "bytes=0-0",
    "bytes=5-",
    "bytes=-5",
    "bytes=9999999-",
    "bytes=5-2",
    "bytes=0-1,3-4",
    "bytes=-0",
    "bytes=",
    "lines=1-2",
    "bytes=0-18446744073709551615",
    "bytes=99999999999999999999-",
];
const VARY: [&str; 8] =
    ["accept-language", "x-kind", "X-Kind, accept-encoding", "*", "cookie", ",,", "x-kind,*", "\u{fffd}"];
const STATUSES: [u16; 24] = [
    200, 200, 200, 200, 200, 200, 200, 200, 203, 204, 206, 300, 301, 304, 404, 405, 410, 412, 416, 451, 500,
    502, 503, 599,
];

#[test]
fn hostile_requests_and_responses_never_break_the_filter() {
    let requests: usize = env::var("SELVAGE_FUZZ").map_or(5_000, |number| number.parse().unwrap());
    let seed: u64 = env::var("SELVAGE_FUZZ_SEED").map_or(0x5e1_7a6e, |number| number.parse().unwrap());
    println!("{requests} requests, seed {seed} (SELVAGE_FUZZ_SEED)");
    let origin = Origin::start();
    let turn = AtomicUsize::new(0);
    origin.otherwise(move |received| {
        answer(&mut Dice::new((seed, turn.fetch_add(1, Ordering::Relaxed))), received)
    });
    origin.forget();
    let configuration = r#"{
        "worker": { "bytes": "4MiB", "object_bytes": "256KiB", "filling_bytes": "4MiB" },
        "node": { "bytes": "4MiB", "object_bytes": "512KiB", "buckets": 64 },
        "rules": [
            { "name": "body", "match": { "methods": ["QUERY"] }, "key": { "body": { "methods": ["QUERY"], "max_bytes": "4KiB" } } },
            { "name": "all", "match": { "paths": ["/c/*"] }, "set_cookie": "store", "cookies": "ignore", "etag": "generate",
              "key": { "query": { "order": "sort", "except": ["z*"] }, "headers": ["x-kind"] } }
        ]
    }"#;
    let gateway = Gateway::with(configuration).origin(origin.url()).start();
    let answered: usize = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let gateway = &gateway;
                scope.spawn(move || attack(gateway, seed, client, requests / CLIENTS))
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap_or_else(|_| panic!("seed {seed}"))).sum()
    });
    assert!(answered > requests / 2, "seed {seed}: only {answered} of {requests} were answered");
    gateway.assert_sound();
    // It still does its work.
    origin.otherwise(|_| Answer::fresh("fine"));
    for _ in 0..20 {
        assert_eq!(gateway.get("/after/all").send().text(), "fine", "seed {seed}");
    }
}

/// One client's requests; gives how many were answered.
fn attack(gateway: &Gateway, seed: u64, client: usize, requests: usize) -> usize {
    let mut dice = Dice::new((seed, "client", client));
    let mut connection: Option<Connection> = None;
    let mut answered = 0;
    for turn in 0..requests {
        let path = dice.pick(&PATHS);
        let target = if dice.one_in(3) {
            format!("{path}?{}={}", dice.below(3), dice.below(3))
        } else {
            path.to_owned()
        };
        let method = dice.pick(&METHODS);
        let kind = dice.pick(&["a", "b", "c"]);
        let ask = hostile(gateway.ask(method, &target).header("x-kind", kind), &mut dice);
        let used = connection.take().filter(|_| !dice.one_in(5));
        let mut used = used.unwrap_or_else(|| gateway.connect());
        if dice.one_in(50) {
            // Half a request, and away.
            let _ = used.abandon(format!("GET {target} HTTP/1.1\r\nHost: a\r\nX: ").as_bytes());
            continue;
        }
        let Ok(response) = used.try_send(ask) else { continue };
        answered += 1;
        check(
            &response,
            &target,
            kind,
            method,
            &format!("seed {seed}, client {client}, turn {turn}: {method} {target}"),
        );
        if response.complete && response.header("connection").is_none() {
            connection = Some(used);
        }
    }
    answered
}

fn hostile<'a>(mut ask: Ask<'a>, dice: &mut Dice) -> Ask<'a> {
    for _ in 0..dice.below(4) {
        let (name, value) = match dice.below(14) {
            0 | 1 => {
                ("cache-control", [dice.pick(&DIRECTIVES), dice.pick(&DIRECTIVES)].join(",").into_bytes())
            }
            2 | 3 => ("range", dice.pick(&RANGES).into()),
            4 => ("if-range", [dice.pick(&TAGS), dice.pick(&DATES)][dice.below(2)].into()),
            5 | 6 => ("if-none-match", dice.pick(&TAGS).into()),
            7 => ("if-modified-since", dice.pick(&DATES).into()),
            8 => (dice.pick(&["if-match", "if-unmodified-since"]), dice.pick(&TAGS).into()),
            9 => (dice.pick(&["cookie", "authorization"]), dice.bytes(40)),
            10 => (dice.pick(&["accept-language", "accept-encoding", "accept"]), dice.bytes(60)),
            11 => (dice.pick(&["x-forwarded-host", "x-original-url", "x-method-override"]), dice.bytes(20)),
            12 => ("pragma", b"no-cache".to_vec()),
            _ => ("x-long", vec![b'x'; dice.below(8000)]),
        };
        ask = ask.header(name, value);
    }
    if dice.one_in(100) {
        for number in 0..dice.below(90) {
            ask = ask.header(&format!("x-many-{number}"), "1");
        }
    }
    match dice.below(12) {
        0 => ask.body(vec![b'b'; dice.below(9000)]),
        1 => ask.chunks(&[b"one", b"two"]),
        _ => ask,
    }
}

/// What the origin makes of a request. A whole body names the target and the selecting field.
fn answer(dice: &mut Dice, received: &Received) -> Answer {
    let status = STATUSES[dice.below(STATUSES.len())];
    let kind = received.header("x-kind").unwrap_or_default();
    let mut content = format!("[{}|{kind}]", received.target).into_bytes();
    if dice.one_in(4) {
        content.resize(content.len() + dice.below(40_000), b'.');
    }
    if dice.one_in(200) {
        content.resize(600_000, b'.');
    }
    // Now and then an honest one, so that there is something to hit.
    if dice.one_in(3) {
        return Answer::fresh(content)
            .header("x-scripted", "1")
            .header("vary", "x-kind")
            .header("etag", "\"v1\"");
    }
    let mut answer = Answer::new(status).header("x-scripted", "1");
    let mut varies = false;
    for _ in 0..dice.below(7) {
        let (name, value): (&str, Vec<u8>) = match dice.below(16) {
            0..=4 => {
                ("cache-control", [dice.pick(&DIRECTIVES), dice.pick(&DIRECTIVES)].join(", ").into_bytes())
            }
            5 => ("cdn-cache-control", dice.pick(&DIRECTIVES).into()),
            6 => ("expires", dice.pick(&DATES).into()),
            7 => ("date", dice.pick(&DATES).into()),
            8 => ("last-modified", dice.pick(&DATES).into()),
            9 => ("etag", dice.pick(&TAGS).into()),
            10 => ("age", dice.pick(&["0", "100", "-1", "1.5", "99999999999999999999", "a", ""]).into()),
            11 => ("vary", dice.pick(&VARY).into()),
            12 => ("set-cookie", dice.bytes(60)),
            13 => (
                dice.pick(&["location", "content-location"]),
                dice.pick(&["/a", "http://x/", "//", "?", "%", ""]).into(),
            ),
            14 => (dice.pick(&["pragma", "warning", "content-range", "x-any"]), dice.bytes(100)),
            _ => ("content-type", dice.bytes(30)),
        };
        varies |= name == "vary";
        answer = answer.header(name, value);
    }
    // The body depends on it, so an honest origin says so.
    if !varies || dice.one_in(2) {
        answer = answer.header("vary", "x-kind");
    } else {
        content = format!("[{}|*]", received.target).into_bytes();
    }
    if dice.one_in(100) {
        for number in 0..dice.below(80) {
            answer = answer.header(&format!("x-many-{number}"), dice.bytes(20));
        }
    }
    let length = content.len();
    let answer = answer.body(content);
    match dice.below(60) {
        0 => answer.breaks_before_the_head(),
        1 => answer.breaks_after(dice.below(length)),
        2 => answer.claiming(length as u64 + 1 + dice.below(1000) as u64),
        3 => answer.until_close(),
        4..=7 => answer.chunked(1 + dice.below(5000), &[]),
        8 => answer.chunked(1 + dice.below(5000), &[("x-trailer", "1"), ("cache-control", "no-store")]),
        9 => Answer::raw(dice.bytes(200)),
        10 => Answer::raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef"),
        11 => Answer::raw(b"HTTP/1.1 103 Early\r\nLink: <a>\r\n\r\nHTTP/1.1 204 No\r\nX-Scripted: 1\r\n\r\n"),
        _ => answer,
    }
}

/// What must hold for every answer.
fn check(response: &Response, target: &str, kind: &str, method: &str, what: &str) {
    let said = response.cache_status();
    let scripted = response.header("x-scripted").is_some();
    if response.status >= 500 && !scripted {
        // Envoy's own, for an origin that broke, or ours: for `only-if-cached`, and where the origin has confirmed what is not
        // there and then broke.
        let body = response.text();
        let envoys = body.starts_with("upstream connect error") || response.status == 502 || method == "HEAD";
        let ours = match response.status {
            504 => said.contains("only-if-cached"),
            _ => said.contains("fwd-status=304"),
        };
        assert!(envoys || ours, "{what}: {} {said:?} {body:.100}", response.status);
    }
    if said.contains("; hit") && response.status == 200 && method != "HEAD" && !response.body.is_empty() {
        assert!(response.complete, "{what}: {said}");
        let text = response.text();
        let named = text.strip_prefix('[').and_then(|rest| rest.split_once(']')).unwrap_or_default().0;
        let (named_target, named_kind) = named.split_once('|').unwrap_or_default();
        assert_eq!(plain(named_target), plain(target), "{what}: {said} {text:.100}");
        assert!(["*", kind].contains(&named_kind), "{what}: not for {kind}: {said} {text:.100}");
    }
}

/// A target as Envoy and the cache hand it to the origin, as far as the paths above need it.
fn plain(target: &str) -> String {
    let target =
        target.replace("/%61", "/a").replace("/x/../", "/").replace("/..;/", "/").replace('\u{e9}', "%C3%A9");
    let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
    format!("{}{query}", if path == "/." { "/" } else { path })
}
