//! Somebody writes to Redis who has no secret of the fleet: clients get what the origin says, and it is counted.

use std::time::{Duration, Instant};

use selvage_rig::envoy::{Gateway, Response};
use selvage_rig::redis::Bridge;
use selvage_rig::scripted::{Answer, Origin};
use selvage_rig::upstash::Upstash;

use super::{assert_says, becomes};

const TOKEN: &str = "a-token-of-some-length";
const SECRET: &str = "9f2b0c5d8e7a41663b1f";
const NEXT: &str = "0d1e2f3a4b5c6d7e8f90";
const NOTED: &str = "that no secret of remote.secret_env has signed";

fn get(gateway: &Gateway, target: &str) -> Response {
    gateway.get(target).header("host", "fleet.example").send()
}

/// An Envoy with this prefix in Redis, and with secrets if there are any.
fn member(origin: &Origin, bridge: &Bridge, prefix: &str, secrets: &str) -> Gateway {
    let named = if secrets.is_empty() { "" } else { r#", "secret_env": "SELVAGE_REMOTE_SECRET""# };
    let configuration = format!(
        r#"{{ "remote": {{ "enabled": true, "timeout": "2s", "prefix": "{prefix}"{named} }},
            "admin": {{ "token_env": "SELVAGE_ADMIN_TOKEN" }} }}"#
    );
    let begin = Gateway::with(&configuration).origin(origin.url()).bridge(bridge.port());
    begin.environment("SELVAGE_ADMIN_TOKEN", TOKEN).environment("SELVAGE_REMOTE_SECRET", secrets).start()
}

fn purge_all(gateway: &Gateway) {
    let ask = gateway.ask("POST", "/.selvage/purge").header("authorization", format!("Bearer {TOKEN}"));
    assert_eq!(ask.body(r#"{"all":true}"#).send().status, 200);
}

/// Waits until a gateway has counted a word so often.
fn counts(gateway: &Gateway, word: &str, count: u64) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while gateway.stat(&format!("selvage.{word}")) < count {
        assert!(Instant::now() < deadline, "{word}: {:?}", gateway.stats("selvage.(remote|purge)"));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The keys of records under a prefix, without it.
fn records(bridge: &Bridge, prefix: &str) -> Vec<String> {
    let found = bridge.keys(&format!("{prefix}:v1:????????????????????????????????"));
    found.iter().filter_map(|key| key.strip_prefix(prefix).map(str::to_owned)).collect()
}

fn origin_that_says(what: &'static str) -> Origin {
    let origin = Origin::start();
    origin.otherwise(move |request| Answer::fresh(format!("{what} {}", request.target)));
    origin
}

#[test]
fn who_writes_to_redis_without_the_secret_forges_nothing() {
    let (origin, evil) = (origin_that_says("good"), origin_that_says("forged"));
    let bridge = Bridge::start();
    let first = member(&origin, &bridge, "fleet", SECRET);
    assert_says(&get(&first, "/a"), "stored");
    counts(&first, "remote.written", 1);
    let of_a = records(&bridge, "fleet").pop().unwrap();
    assert_says(&get(&first, "/b"), "stored");
    counts(&first, "remote.written", 2);
    let of_b = records(&bridge, "fleet").into_iter().find(|key| *key != of_a).unwrap();

    // What was signed is a hit in the next Envoy.
    let second = member(&origin, &bridge, "fleet", SECRET);
    assert_says(&get(&second, "/a"), "detail=remote");
    assert_eq!((get(&second, "/a").text(), second.stat("selvage.remote.forged")), ("good /a".into(), 0));

    // A good record of another URL, put under this one's key.
    assert_eq!(bridge.command(&format!("COPY fleet{of_a} fleet{of_b} REPLACE")), ":1");
    let answer = get(&second, "/b");
    assert_says(&answer, "fwd=uri-miss");
    assert_eq!(answer.text(), "good /b");
    counts(&second, "remote.forged", 1);

    // A record that this very filter wrote, with right checksums and for the right URL, but without the secret.
    let forger = member(&evil, &bridge, "evil", "");
    get(&forger, "/a");
    counts(&forger, "remote.written", 1);
    assert_eq!(bridge.command(&format!("COPY evil{of_a} fleet{of_a} REPLACE")), ":1");
    let third = member(&origin, &bridge, "fleet", SECRET);
    let answer = get(&third, "/a");
    assert_says(&answer, "fwd=uri-miss");
    assert_eq!(answer.text(), "good /a");
    counts(&third, "remote.forged", 1);
    becomes(|| third.log(), |log| log.contains(NOTED));
    assert!(!third.log().contains(SECRET));
    assert_eq!(third.stat("selvage.breaker.opened-by-failures"), 0);
    counts(&third, "remote.written", 1);

    // The same trick is a hit where there is no secret.
    assert_eq!(bridge.command(&format!("COPY evil{of_a} plain{of_a} REPLACE")), ":1");
    let plain = member(&origin, &bridge, "plain", "");
    assert_eq!(get(&plain, "/a").text(), "forged /a");
}

#[test]
fn a_purge_that_no_secret_signed_purges_nothing_and_a_signed_one_does() {
    let (origin, evil) = (origin_that_says("good"), origin_that_says("forged"));
    let bridge = Bridge::start();
    let [one, two] = [(); 2].map(|()| member(&origin, &bridge, "fleet", SECRET));
    for gateway in [&one, &two] {
        counts(gateway, "remote_state.ready", 1);
        get(gateway, "/a");
    }
    let fetched = origin.count("/a");
    let forger = member(&evil, &bridge, "evil", "");
    purge_all(&forger);
    counts(&forger, "purge.spread", 1);
    assert_eq!(bridge.command("COPY evil:v1:purge:1 fleet:v1:purge:1 REPLACE"), ":1");
    for gateway in [&one, &two] {
        counts(gateway, "purge.forged", 1);
    }
    // A hint that would make all of them give up what they have.
    assert_eq!(bridge.command("SET fleet:v1:purges 900000"), "+OK");
    for gateway in [&one, &two] {
        becomes(|| gateway.log(), |log| log.contains(NOTED));
    }
    becomes(|| bridge.command("STRLEN fleet:v1:purges"), |length| length == ":82");
    for gateway in [&one, &two] {
        assert_says(&get(gateway, "/a"), "hit");
        assert_eq!(gateway.stat("selvage.event.purges-lost") + gateway.stat("selvage.purge.received"), 0);
    }
    assert_eq!(origin.count("/a"), fetched);
    purge_all(&one);
    counts(&two, "purge.received", 1);
    becomes(|| get(&two, "/a"), |answer| answer.cache_status().contains("detail=purged") || answer.is_hit());
    assert!(origin.count("/a") > fetched);
    one.assert_sound();
    two.assert_sound();
}

#[test]
fn secrets_change_one_after_the_other_and_bad_ones_are_refused() {
    let origin = origin_that_says("good");
    let bridge = Bridge::start();
    let [old, both, new] = [SECRET.to_owned(), format!("{NEXT},{SECRET}"), NEXT.to_owned()].map(|secrets| {
        let gateway = member(&origin, &bridge, "fleet", &secrets);
        counts(&gateway, "remote_state.ready", 1);
        gateway
    });
    get(&old, "/a");
    counts(&old, "remote.written", 1);
    assert_says(&get(&both, "/a"), "detail=remote");
    get(&both, "/b");
    counts(&both, "remote.written", 1);
    assert_says(&get(&new, "/b"), "detail=remote");
    assert_says(&get(&new, "/a"), "fwd=uri-miss");
    counts(&new, "remote.forged", 1);
    let refused = Gateway::with(r#"{ "remote": { "secret_env": "SELVAGE_REMOTE_SECRET" } }"#)
        .origin(origin.url())
        .environment("SELVAGE_REMOTE_SECRET", "fifteen-bytes--")
        .try_start()
        .err()
        .unwrap();
    let wanted =
        r#"remote.secret_env: found "SELVAGE_REMOTE_SECRET", whose value is a secret that is too short"#;
    assert!(refused.output.contains(wanted), "{}", refused.output);
    assert!(!refused.output.contains("fifteen"), "{}", refused.output);
}

#[test]
fn an_upstash_carries_what_is_signed() {
    let origin = origin_that_says("good");
    let redis = Bridge::start();
    let bridge = Upstash::start(redis.redis_port(), "t0ken");
    let configuration = r#"{ "remote": { "enabled": true, "timeout": "2s", "dialect": "upstash",
        "credentials_env": "SELVAGE_REMOTE_CREDENTIALS", "secret_env": "SELVAGE_REMOTE_SECRET" },
        "admin": { "token_env": "SELVAGE_ADMIN_TOKEN" } }"#;
    let [one, two] = [(); 2].map(|()| {
        let gateway = Gateway::with(configuration)
            .origin(origin.url())
            .bridge(bridge.port())
            .environment("SELVAGE_REMOTE_CREDENTIALS", "t0ken")
            .environment("SELVAGE_REMOTE_SECRET", SECRET)
            .environment("SELVAGE_ADMIN_TOKEN", TOKEN)
            .start();
        counts(&gateway, "remote_state.ready", 1);
        gateway
    });
    get(&one, "/a");
    counts(&one, "remote.written", 1);
    assert_says(&get(&two, "/a"), "detail=remote");
    purge_all(&one);
    counts(&two, "purge.received", 1);
    assert_eq!(two.stat("selvage.purge.forged") + two.stat("selvage.remote.forged"), 0);
}
