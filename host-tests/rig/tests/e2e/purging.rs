//! Purging through the real Envoy: in all workers, and in all Envoys of a fleet.

use std::thread;
use std::time::{Duration, Instant};

use selvage_rig::envoy::{Gateway, Response};
use selvage_rig::redis::{Bridge, Part};
use selvage_rig::scripted::{Answer, Origin, Received};

use super::{assert_says, becomes};

const TOKEN: &str = "a-token-of-some-length";

fn start(origin: &Origin, more: &str, bridge: Option<u16>) -> Gateway {
    let configuration = format!(r#"{{ "admin": {{ "token_env": "SELVAGE_ADMIN_TOKEN" }} {more} }}"#);
    let builder =
        Gateway::with(&configuration).origin(origin.url()).environment("SELVAGE_ADMIN_TOKEN", TOKEN);
    match bridge {
        Some(port) => builder.bridge(port).start(),
        None => builder.start(),
    }
}

fn origin() -> Origin {
    let origin = Origin::start();
    origin.otherwise(|request: &Received| {
        let tag = request.target.split('/').nth(1).unwrap_or_default().to_owned();
        Answer::fresh(format!("answer {}", request.before))
            .header("surrogate-key", format!("{tag} every"))
            .header("etag", format!("\"{}\"", request.before))
    });
    origin
}

/// Every member of a fleet is asked for the same host.
fn get(gateway: &Gateway, target: &str) -> Response {
    gateway.get(target).header("host", "purge.example").send()
}

fn purge(gateway: &Gateway, body: &str) -> Response {
    let bearer = format!("Bearer {TOKEN}");
    gateway.ask("POST", "/.selvage/purge").header("authorization", bearer).body(body).send()
}

#[track_caller]
fn purged(gateway: &Gateway, body: &str) {
    let answer = purge(gateway, body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.text().contains(r#""purged":"#), "{}", answer.text());
}

/// Asks until both workers have answered from the store.
fn warm(gateway: &Gateway, target: &str) -> String {
    get(gateway, target);
    let hit = becomes(|| get(gateway, target), Response::is_hit);
    assert_eq!(hit.header("surrogate-key"), None);
    hit.text()
}

/// The old content is gone from every worker: the news reaches the last one within a moment, and it never comes back.
#[track_caller]
fn gone(gateway: &Gateway, target: &str, old: &str) {
    let mut connections: Vec<_> = (0..6).map(|_| gateway.connect()).collect();
    for connection in &mut connections {
        becomes(
            || {
                let ask = connection.get(target).header("host", "purge.example");
                connection.send(ask)
            },
            |answer| answer.text() != old,
        );
    }
    for connection in &mut connections {
        let ask = connection.get(target).header("host", "purge.example");
        let answer = connection.send(ask);
        assert_ne!(answer.text(), old);
    }
}

#[test]
fn by_url_tag_prefix_and_all_at_once() {
    let origin = origin();
    let gateway = start(&origin, "", None);
    let pages = ["/red/a", "/red/b", "/blue/a?x=1"];
    for (body, covered) in [
        (r#"{"tags":["red"]}"#, [true, true, false]),
        (r#"{"tags":["every"]}"#, [true, true, true]),
        (r#"{"prefixes":["purge.example/blue/"]}"#, [false, false, true]),
        (r#"{"urls":["https://purge.example/red/b"]}"#, [false, true, false]),
        (r#"{"all":true}"#, [true, true, true]),
    ] {
        let before = pages.map(|page| warm(&gateway, page));
        purged(&gateway, body);
        for ((page, old), covered) in pages.into_iter().zip(before).zip(covered) {
            if covered {
                gone(&gateway, page, &old);
            } else {
                assert_eq!(get(&gateway, page).text(), old, "{body} {page}");
            }
        }
    }
    let old = warm(&gateway, "/red/a");
    let bearer = format!("Bearer {TOKEN}");
    let ask = gateway.ask("PURGE", "/red/a").header("host", "purge.example").header("authorization", bearer);
    assert_eq!(ask.send().text(), r#"{"fleet":"off","purged":1,"soft":false}"#);
    gone(&gateway, "/red/a", &old);
    assert_eq!(
        gateway.log().matches("SELVAGE").count(),
        gateway.log().matches("SELVAGE_ADMIN_TOKEN").count()
    );
    gateway.assert_sound();
}

#[test]
fn softly_what_is_stored_is_validated_or_stands_in() {
    let origin = Origin::start();
    origin.on("/soft", |request| match request.header("if-none-match") {
        Some(_) => Answer::new(304),
        None => Answer::fresh("soft").header("etag", "\"1\"").header("xkey", "soft"),
    });
    let gateway = start(&origin, "", None);
    assert_eq!(warm(&gateway, "/soft"), "soft");
    let before = origin.count("/soft");
    let answer = purge(&gateway, r#"{"tags":["soft"],"soft":true}"#);
    assert_eq!(answer.text(), r#"{"fleet":"off","purged":1,"soft":true}"#);
    let validated = becomes(|| get(&gateway, "/soft"), |answer| answer.cache_status().contains("fwd=stale"));
    assert_says(&validated, "detail=validated");
    assert_eq!((validated.status, validated.text().as_str()), (200, "soft"));
    assert!(origin.received("/soft").iter().skip(before).all(|r| r.header("if-none-match").is_some()));
    gateway.assert_sound();
}

#[test]
fn without_the_token_nothing_is_purged_and_nothing_leaks() {
    let origin = origin();
    let gateway = start(&origin, "", None);
    let old = warm(&gateway, "/red/a");
    for (method, target) in [("POST", "/.selvage/purge"), ("PURGE", "/red/a")] {
        let ask = || {
            let ask = gateway.ask(method, target).header("host", "purge.example");
            if method == "POST" { ask.body(r#"{"all":true}"#) } else { ask }
        };
        let none = ask().send();
        assert_eq!((none.status, none.header("www-authenticate").as_deref()), (401, Some("Bearer")));
        let wrong = ask().header("authorization", format!("Bearer {TOKEN}x")).send();
        assert_eq!(wrong.status, 403);
        for answer in [none, wrong] {
            assert!(!answer.text().contains("token-of") && answer.text().len() < 60, "{}", answer.text());
        }
    }
    assert_eq!(get(&gateway, "/red/a").text(), old);
    let fault = purge(&gateway, r#"{"urls":["not a url"]}"#);
    assert_eq!(fault.status, 400);
    assert!(fault.text().contains(r#""path":"urls[0]""#), "{}", fault.text());
    assert_eq!(origin.count("/.selvage/purge"), 0);
    gateway.assert_sound();
}

#[test]
fn a_thousand_tagged_entries_are_one_purge() {
    let origin = origin();
    let gateway = start(&origin, "", None);
    let mut connection = gateway.connect();
    let mut ask = |target: &str| {
        let ask = connection.get(target).header("host", "purge.example");
        connection.send(ask)
    };
    let pages: Vec<String> = (0..1000).map(|n| format!("/shop/{n}")).collect();
    pages.iter().for_each(|page| assert_says(&ask(page), "stored"));
    purged(&gateway, r#"{"tags":["shop"]}"#);
    // What is asked for in the very millisecond of the purge is covered too.
    becomes(|| ask(&pages[0]), |answer| answer.is_hit() && answer.text() != "answer 0");
    for page in &pages[1..] {
        assert_eq!(ask(page).text(), "answer 1", "{page}");
    }
    gateway.assert_sound();
}

/// So many purges have come from others; a worker counts at its next tick.
#[track_caller]
fn received(gateway: &Gateway, purges: u64) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while gateway.stat("selvage.purge.received") < purges {
        assert!(Instant::now() < deadline, "{:?}", gateway.stats("selvage.purge"));
        thread::sleep(Duration::from_millis(20));
    }
    thread::sleep(Duration::from_millis(200));
    assert_eq!(gateway.stat("selvage.purge.received"), purges, "each came once");
}

#[test]
fn in_every_envoy_of_a_fleet() {
    let origin = origin();
    let bridge = Bridge::start();
    let remote = r#", "remote": { "enabled": true, "timeout": "2s" }"#;
    let [one, two] = [(); 2].map(|()| start(&origin, remote, Some(bridge.port())));
    for (body, target) in [
        (r#"{"tags":["red"]}"#, "/red/a"),
        (r#"{"prefixes":["purge.example/blue"]}"#, "/blue/a"),
        (r#"{"urls":["purge.example/green/a"]}"#, "/green/a"),
        (r#"{"all":true}"#, "/white/a"),
    ] {
        let old = warm(&one, target);
        warm(&two, target);
        purged(&one, body);
        for gateway in [&one, &two] {
            gone(gateway, target, &old);
        }
    }
    received(&two, 4);
    // What a node that starts now finds in Redis is not older than the purges either.
    let three = start(&origin, remote, Some(bridge.port()));
    assert_ne!(get(&three, "/red/a").text(), "answer 0");
    [one, two, three].iter().for_each(Gateway::assert_sound);
}

#[test]
fn while_redis_does_not_answer_a_purge_waits_and_then_nothing_else_is_gone_with_it() {
    let origin = origin();
    let bridge = Bridge::start();
    let remote = r#", "remote": { "enabled": true, "timeout": "2s" }"#;
    let [one, two] = [(); 2].map(|()| start(&origin, remote, Some(bridge.port())));
    // Both have written and read before.
    for (from, to, target) in [(&one, &two, "/green/a"), (&two, &one, "/white/a")] {
        let old = warm(from, target);
        assert_eq!(warm(to, target), old);
        purged(from, &format!(r#"{{"urls":["purge.example{target}"]}}"#));
        gone(to, target, &old);
    }
    let [old, kept] = ["/red/a", "/blue/a"].map(|target| warm(&one, target));
    assert_eq!(["/red/a", "/blue/a"].map(|target| warm(&two, target)), [old.clone(), kept.clone()]);
    bridge.stall(Part::Redis);
    purged(&one, r#"{"tags":["red"]}"#);
    // More than one try, and longer than anybody waits for a purge that was announced.
    thread::sleep(Duration::from_secs(6));
    assert_eq!(get(&two, "/red/a").text(), old);
    bridge.resume(Part::Redis);
    gone(&two, "/red/a", &old);
    for gateway in [&one, &two] {
        let answer = get(gateway, "/blue/a");
        assert!(answer.is_hit() && answer.text() == kept, "{}", answer.cache_status());
        assert_eq!(gateway.stat("selvage.event.purges-lost"), 0);
        gateway.assert_sound();
    }
    received(&two, 2);
}

#[test]
fn while_redis_refuses_writes_clients_are_served_health_says_so_and_purges_arrive_afterwards() {
    let origin = origin();
    let bridge = Bridge::start();
    let remote = r#", "remote": { "enabled": true, "timeout": "2s" }"#;
    let [one, two] = [(); 2].map(|()| start(&origin, remote, Some(bridge.port())));
    let ask = |gateway: &Gateway, path: &str| {
        gateway.ask("GET", path).header("authorization", format!("Bearer {TOKEN}")).send()
    };
    let refuses = |answer: &Response| answer.text().contains("remote-writes-refused");
    for (name, fault, repair) in [
        ("full", "CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),
        ("readonly", "REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
        ("forbidden", "ACL SETUSER default -set -setex -del", "ACL SETUSER default +@all"),
    ] {
        let page = format!("/{name}/a");
        warm(&one, &page);
        let old = warm(&two, &page);
        bridge.command(fault);
        becomes(|| ask(&one, "/.selvage/health"), refuses);
        let fresh = get(&one, &format!("/{name}/new"));
        assert_eq!(fresh.status, 200, "{name}: {}", fresh.cache_status());
        let answer = purge(&one, &format!(r#"{{"tags":["{name}"]}}"#)).text();
        assert!(answer.contains(r#""fleet":"pending""#), "{name}: {answer}");
        becomes(|| ask(&one, "/.selvage/purge"), |answer| answer.text().contains(r#""fleet":"pending""#));
        assert_eq!(get(&two, &page).text(), old, "{name}");
        bridge.command(repair);
        gone(&two, &page, &old);
        becomes(|| ask(&one, "/.selvage/health"), |answer| !refuses(answer));
    }
    for gateway in [&one, &two] {
        assert_eq!(gateway.stat("selvage.event.purges-lost"), 0);
        gateway.assert_sound();
    }
}
