//! The store that a fleet shares: real Redis behind real webdis, and a bridge that lies.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use selvage_rig::envoy::{Gateway, Response, repository};
use selvage_rig::redis::Bridge;
use selvage_rig::scripted::{Answer, Origin};
use selvage_rig::upstash::Upstash;
use xxhash_rust::xxh3::xxh3_64;

use super::{assert_says, becomes};

/// A fleet's members see the same host name.
fn get(gateway: &Gateway, target: &str) -> Response {
    gateway.get(target).header("host", "fleet.example").send()
}

fn member(origin: &Origin, bridge: u16, stores: &str) -> Gateway {
    let configuration = format!(r#"{{ "remote": {{ "enabled": true, "timeout": "2s" }} {stores} }}"#);
    Gateway::with(&configuration).origin(origin.url()).bridge(bridge).start()
}

/// Waits until a gateway has written so many records.
fn written(gateway: &Gateway, count: u64) {
    counts(gateway, "remote.written", count);
}

/// Waits until a gateway has counted a word so often.
fn counts(gateway: &Gateway, word: &str, count: u64) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while gateway.stat(&format!("selvage.{word}")) < count {
        assert!(std::time::Instant::now() < deadline, "{:?}", gateway.stats("selvage.remote"));
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn what_one_envoy_stored_another_answers_and_so_does_one_that_starts_later() {
    let origin = Origin::start();
    let content: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
    let body = content.clone();
    origin.on("/binary", move |_| {
        Answer::fresh(&body)
            .header("content-type", "image/x-test")
            .header("link", "<a>")
            .header("link", "<b>")
    });
    let bridge = Bridge::start();
    let first = member(&origin, bridge.port(), "");
    let stored = get(&first, "/binary");
    assert_says(&stored, "stored");
    written(&first, 1);
    let second = member(&origin, bridge.port(), "");
    let answer = get(&second, "/binary");
    assert_says(&answer, "hit");
    assert_says(&answer, "detail=remote");
    assert_eq!(answer.body, content);
    for name in ["content-type", "link", "date", "cache-control"] {
        assert_eq!(answer.all(name), stored.all(name), "{name}");
    }
    drop(first);
    drop(second);
    let third = member(&origin, bridge.port(), "");
    assert_says(&get(&third, "/binary"), "detail=remote");
    assert_eq!(origin.count("/binary"), 1);
}

#[test]
fn variants_are_found_and_an_invalidation_reaches_the_remote_store() {
    let origin = Origin::start();
    origin.on("/page", |request| {
        let language = request.header("accept-language").unwrap_or_default();
        Answer::fresh(format!("in {language}, {}", request.method)).header("vary", "accept-language")
    });
    let bridge = Bridge::start();
    let first = member(&origin, bridge.port(), "");
    let ask = |gateway: &Gateway, language: &str| {
        gateway.get("/page").header("host", "fleet.example").header("accept-language", language).send()
    };
    // On one connection, so one worker writes both: what two workers write at once may reach Redis in either order.
    let mut connection = first.connect();
    for (language, records) in [("de", 2), ("en", 4)] {
        let request =
            connection.get("/page").header("host", "fleet.example").header("accept-language", language);
        connection.send(request);
        written(&first, records);
    }
    let second = member(&origin, bridge.port(), "");
    assert_says(&ask(&second, "de"), "detail=remote");
    assert_eq!(ask(&second, "en").text(), "in en, GET");
    assert_eq!(origin.count("/page"), 2);
    assert_eq!(first.ask("POST", "/page").header("host", "fleet.example").send().status, 200);
    counts(&first, "remote.deleted", 1);
    let third = member(&origin, bridge.port(), "");
    assert_says(&ask(&third, "de"), "fwd=uri-miss");
}

#[test]
fn a_dead_redis_or_a_dead_bridge_costs_a_miss_and_its_return_is_noticed() {
    let origin = Origin::start();
    origin.otherwise(|request| Answer::fresh(format!("of {}", request.target)));
    let mut bridge = Bridge::start();
    let gateway = member(&origin, bridge.port(), "");
    get(&gateway, "/before");
    written(&gateway, 1);
    bridge.end_redis();
    for turn in 0..40 {
        let answer = get(&gateway, &format!("/redis/{turn}"));
        assert_eq!((answer.status, answer.text()), (200, format!("of /redis/{turn}")));
    }
    bridge.end_webdis();
    for turn in 0..40 {
        let answer = get(&gateway, &format!("/webdis/{turn}"));
        assert_eq!((answer.status, answer.text()), (200, format!("of /webdis/{turn}")));
    }
    becomes(
        || get(&gateway, &format!("/after/{}", gateway.stat("selvage.fwd.uri-miss"))),
        |_| gateway.stat("selvage.breaker.opened-by-failures") > 0,
    );
    assert!(get(&gateway, "/before").is_hit());
    gateway.assert_sound();
}

/// Answers lookups with something else than what is stored, in turn.
fn lie(turn: usize, records: &HashMap<String, Vec<u8>>, key: &str) -> Answer {
    let other = records.iter().find(|(known, _)| *known != key).map(|(_, record)| record.clone());
    let own = records.get(key).cloned().unwrap_or_default();
    match turn % 9 {
        0 => Answer::raw("this is no HTTP\r\n\r\n"),
        1 => Answer::ok("ERR something is wrong"),
        2 => Answer::ok(&own[..own.len() / 2]),
        3 => Answer::ok(other.unwrap_or_default()),
        4 => Answer::ok(&own).claiming(own.len() as u64 + 10),
        5 => Answer::new(500),
        6 => Answer::ok("").breaks_before_the_head(),
        7 => Answer::ok(own.iter().map(|byte| byte ^ 0x55).collect::<Vec<u8>>()),
        _ => Answer::ok(vec![b'x'; 3 << 20]),
    }
}

#[test]
fn a_bridge_that_lies_never_changes_what_a_client_gets() {
    let origin = Origin::start();
    origin.otherwise(|request| Answer::fresh(format!("of {}", request.target)));
    let records = Arc::new(Mutex::new(HashMap::<String, Vec<u8>>::new()));
    let turn = Arc::new(AtomicUsize::new(0));
    let liar = Origin::start();
    liar.otherwise(move |request| {
        let key = request.target.split('/').nth(2).unwrap_or_default().trim_end_matches(".bin").to_owned();
        let mut records = records.lock().unwrap();
        if request.method == "PUT" {
            records.insert(key, request.body.clone());
            return Answer::ok(r#"{"SETEX":[true,"OK"]}"#);
        }
        lie(turn.fetch_add(1, Ordering::Relaxed), &records, &key)
    });
    let port = liar.url().rsplit(':').next().unwrap().trim_end_matches('/').parse().unwrap();
    // Without stores of its own the gateway asks the bridge each time.
    let stores = r#", "worker": { "bytes": 0 }, "node": { "bytes": 0 }"#;
    let gateway = member(&origin, port, stores);
    for turn in 0..120 {
        let path = format!("/lied/{}", turn % 5);
        let answer = get(&gateway, &path);
        assert_eq!((answer.status, answer.text()), (200, format!("of {path}")), "{}", answer.cache_status());
        assert!(!answer.is_hit(), "{}", answer.cache_status());
    }
    gateway.assert_sound();
}

/// An index of variants for the key of a stored record, as only who means harm writes one, with checksums that are right.
fn forged_index(record: &[u8], variants: u32, names: u32, name: &[u8]) -> Vec<u8> {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_le_bytes();
    let key_length = u32::from_le_bytes(record[20..24].try_into().unwrap()) as usize;
    let key = &record[88..88 + key_length];
    let mut fields = Vec::new();
    for hash in 0..variants {
        fields.extend(u128::from(hash).to_le_bytes());
        fields.extend(names.to_le_bytes());
        (0..names).for_each(|_| fields.extend([&length(name), name].concat()));
    }
    let mut head = vec![1, 2, 0, 0, 0, 0, 0, 0];
    head.extend([&length(key)[..], &variants.to_le_bytes(), &length(&fields)].concat());
    head.extend([0; 48]);
    head.extend(xxh3_64(&[]).to_le_bytes());
    head.extend([key, &fields].concat());
    [b"SLVG", &xxh3_64(&head).to_le_bytes()[..], &head].concat()
}

#[test]
fn an_index_that_no_cache_writes_is_a_miss_and_takes_no_memory() {
    let origin = Origin::start();
    origin.otherwise(|request| Answer::fresh(format!("of {}", request.target)));
    let records = Arc::new(Mutex::new(HashMap::<String, Vec<u8>>::new()));
    let turn = Arc::new(AtomicUsize::new(0));
    let forger = Origin::start();
    forger.otherwise(move |request| {
        let key = request.target.split('/').nth(2).unwrap_or_default().trim_end_matches(".bin").to_owned();
        let mut records = records.lock().unwrap();
        if request.method == "PUT" {
            records.insert(key, request.body.clone());
            return Answer::ok(r#"{"SETEX":[true,"OK"]}"#);
        }
        let Some(record) = records.get(&key).filter(|record| record.len() > 88) else {
            return Answer::new(404);
        };
        Answer::ok(match turn.fetch_add(1, Ordering::Relaxed) % 4 {
            0 => forged_index(record, 1, 195_000, b"x"),
            1 => forged_index(record, 40_000, 1, b"x"),
            2 => forged_index(record, 1, 1, &[b'x'; 900_000]),
            _ => forged_index(record, 256, 81, b"x"),
        })
    });
    let port = forger.url().rsplit(':').next().unwrap().trim_end_matches('/').parse().unwrap();
    let gateway = member(&origin, port, r#", "worker": { "bytes": 0 }, "node": { "bytes": 0 }"#);
    let long = "v".repeat(4000);
    for turn in 0..60 {
        let path = format!("/forged/{}", turn % 3);
        let answer = gateway.get(&path).header("host", "fleet.example").header("x", &long).send();
        assert_eq!((answer.status, answer.text()), (200, format!("of {path}")), "{}", answer.cache_status());
        assert!(!answer.is_hit(), "{}", answer.cache_status());
    }
    counts(&gateway, "event.bad-record", 40);
    let heap = gateway.stat("selvage.heap_bytes.used");
    assert!(heap < 2 * (64 << 20), "{heap} bytes of two workers");
    gateway.assert_sound();
}

fn upstash_member(origin: &Origin, bridge: &Upstash, token: &str) -> Gateway {
    let configuration = r#"{ "remote": { "enabled": true, "timeout": "2s", "dialect": "upstash",
        "credentials_env": "SELVAGE_REMOTE_CREDENTIALS" } }"#;
    Gateway::with(configuration)
        .origin(origin.url())
        .bridge(bridge.port())
        .environment("SELVAGE_REMOTE_CREDENTIALS", token)
        .start()
}

/// What Upstash's own client prints.
fn client(bridge: &Upstash, arguments: &[&str]) -> serde_json::Value {
    let package = repository().join(".node/upstash/node_modules/@upstash/redis");
    assert!(package.is_dir(), "no @upstash/redis: ./host-tests/run e2e installs it");
    let output = std::process::Command::new("node")
        .arg(repository().join("host-tests/rig/tests/e2e/upstash.mjs"))
        .arg(package)
        .args([&bridge.url(), "t0ken"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn an_upstash_shares_with_envoys_and_with_its_own_client() {
    let origin = Origin::start();
    let content: Vec<u8> = (0..100_000u32).map(|n| (n % 251) as u8).collect();
    let body = content.clone();
    origin.on("/binary", move |_| Answer::fresh(&body).header("content-type", "image/x-test"));
    let redis = Bridge::start();
    let bridge = Upstash::start(redis.redis_port(), "t0ken");
    let first = upstash_member(&origin, &bridge, "t0ken");
    counts(&first, "remote_state.ready", 1);
    get(&first, "/binary");
    written(&first, 1);

    let described = client(&bridge, &["describe"]);
    let (key, value) = described.as_object().unwrap().iter().next().unwrap();
    assert!(key.starts_with("selvage:v1:"), "{described}");
    assert!(value["length"].as_u64() > Some(1000) && value["begin"] == "SLVG", "{described}");
    assert!((1..=2 * 3600).contains(&value["ttl"].as_u64().unwrap()), "{described}");

    let second = upstash_member(&origin, &bridge, "t0ken");
    let answer = get(&second, "/binary");
    assert_says(&answer, "detail=remote");
    assert_eq!(answer.body, content);

    // What the client writes there instead is read as it is, and is no record.
    client(&bridge, &["move", key, "elsewhere"]);
    client(&bridge, &["write", key, "no record, \u{e4}\u{f6}\u{fc}"]);
    let third = upstash_member(&origin, &bridge, "t0ken");
    let stored = get(&third, "/binary");
    assert_says(&stored, "fwd=uri-miss");
    counts(&third, "remote.malformed", 1);
    written(&third, 1);
    client(&bridge, &["move", "elsewhere", key]);
    assert_says(&get(&upstash_member(&origin, &bridge, "t0ken"), "/binary"), "detail=remote");
    third.assert_sound();
}

#[test]
fn an_upstash_that_refuses_or_changes_values_is_not_used_until_it_is_mended() {
    let origin = Origin::start();
    origin.otherwise(|request| Answer::fresh(format!("of {}", request.target)));
    let redis = Bridge::start();
    let bridge = Upstash::start(redis.redis_port(), "t0ken");
    let stranger = upstash_member(&origin, &bridge, "wr0ng");
    bridge.ignore_encoding(true);
    let spoilt = upstash_member(&origin, &bridge, "t0ken");
    for (gateway, why) in [(&stranger, "refuses the credentials"), (&spoilt, "byte for byte")] {
        becomes(|| get(gateway, "/a"), |_| gateway.log().contains(why));
        assert!(!gateway.log().contains("wr0ng"));
        // Each worker hears of it by its next tick.
        becomes(
            || get(gateway, &format!("/{}", gateway.stat("selvage.fwd.uri-miss"))),
            |_| gateway.stat("selvage.remote.unfit") > 1,
        );
        assert_eq!(gateway.stat("selvage.remote_state.ready"), 0);
    }
    bridge.ignore_encoding(false);
    counts(&spoilt, "remote_state.ready", 1);
    written(&spoilt, 1);
    stranger.assert_sound();
}

#[test]
fn webdis_gets_the_name_and_password_from_the_environment() {
    let origin = Origin::start();
    origin.otherwise(|_| Answer::fresh("x"));
    let bridge = Origin::start();
    bridge.otherwise(|_| Answer::new(404));
    let configuration =
        r#"{ "remote": { "enabled": true, "credentials_env": "SELVAGE_REMOTE_CREDENTIALS" } }"#;
    let port = bridge.url().rsplit(':').next().unwrap().parse().unwrap();
    let begin = || Gateway::with(configuration).origin(origin.url()).bridge(port);
    let gateway = begin().environment("SELVAGE_REMOTE_CREDENTIALS", "user:pass:word").start();
    becomes(|| get(&gateway, "/a"), |_| bridge.count("/PING") > 0);
    let sent = bridge.received("/PING")[0].header("authorization");
    assert_eq!(sent.as_deref(), Some("Basic dXNlcjpwYXNzOndvcmQ="));
    let refused = begin().try_start().err().unwrap();
    assert!(refused.output.contains("remote.credentials_env: found"), "{}", refused.output);
}
