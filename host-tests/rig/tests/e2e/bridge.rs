//! The way to Redis: who may use it, TLS and credentials on it, a Redis of the user's own, and emptying it.

use std::fs;
use std::path::Path;
use std::process::Command;

use selvage_rig::envoy::{Builder, Gateway, Response, repository};
use selvage_rig::redis::{Access, Bridge, Redis};
use selvage_rig::scripted::{Answer, Origin};
use selvage_rig::tls::{Certificates, Terminator};

use super::{assert_says, becomes};

const CONFIGURATION: &str = r#"{ "remote": { "enabled": true, "timeout": "2s" } }"#;

fn get(gateway: &Gateway, target: &str) -> Response {
    gateway.get(target).header("host", "fleet.example").send()
}

fn origin() -> Origin {
    let origin = Origin::start();
    origin.otherwise(|request| Answer::fresh(format!("of {}", request.target)));
    origin
}

fn member(origin: &Origin) -> Builder {
    Gateway::with(CONFIGURATION).origin(origin.url())
}

/// Asks for ever new paths until the gateway has counted something; every answer must be the origin's.
#[track_caller]
fn counts(gateway: &Gateway, statistic: &str) {
    let mut turn = 0;
    becomes(
        || {
            turn += 1;
            let path = format!("/until/{statistic}/{turn}");
            let answer = get(gateway, &path);
            assert_eq!((answer.status, answer.text()), (200, format!("of {path}")));
            answer
        },
        |_| gateway.stat(statistic) > 0,
    );
}

#[test]
fn a_password_that_redis_does_not_take_costs_nothing_but_hits() {
    let origin = origin();
    let bridge = Bridge::guarded(Access { redis: "right", webdis: "wrong", basic: "" });
    let gateway = member(&origin).bridge(bridge.port()).start();
    counts(&gateway, "selvage.remote.lookups");
    for turn in 0..30 {
        let path = format!("/refused/{turn}");
        let answer = get(&gateway, &path);
        assert_eq!((answer.status, answer.text()), (200, format!("of {path}")));
        assert_says(&answer, "fwd=uri-miss");
    }
    assert_eq!((gateway.stat("selvage.remote.found"), gateway.stat("selvage.remote.written")), (0, 0));
    gateway.assert_sound();
}

/// Puts these credentials where Envoy looks for them, as an operator would: a new file is moved to the old one's place.
fn hand_over(credentials: &str, place: &Path) {
    let text = format!(
        r#"resources:
  - "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
    name: bridge
    generic_secret: {{ secret: {{ inline_string: "{credentials}" }} }}
"#
    );
    let new = place.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, place).unwrap();
}

fn behind_tls(origin: &Origin, certificates: &Certificates, terminator: &Terminator) -> Gateway {
    let (authority, port) = (certificates.authority(), terminator.port().to_string());
    let credentials = certificates.folder().join("bridge.yaml");
    let values = [
        ("BRIDGE_NAME", "bridge.example"),
        ("BRIDGE_HOST", "127.0.0.1"),
        ("BRIDGE_PORT", &port),
        ("CA", &authority),
        ("CREDENTIAL", credentials.to_str().unwrap()),
    ];
    let started = member(origin).try_start_with("redis-tls.yaml", &values);
    started.unwrap_or_else(|refused| panic!("{}", refused.output))
}

#[test]
fn the_bridge_is_reached_by_tls_with_credentials_that_may_change() {
    let origin = origin();
    let bridge = Bridge::guarded(Access { redis: "right", webdis: "right", basic: "bridge:secret" });
    let certificates = Certificates::of("bridge.example");
    let terminator = Terminator::start(&certificates, bridge.port());
    let place = certificates.folder().join("bridge.yaml");
    // `bridge:secret`, and something else.
    let (right, wrong) = ("Basic YnJpZGdlOnNlY3JldA==", "Basic YnJpZGdlOndyb25n");
    hand_over(right, &place);
    let first = behind_tls(&origin, &certificates, &terminator);
    let second = behind_tls(&origin, &certificates, &terminator);
    assert_says(&get(&first, "/one"), "stored");
    becomes(|| get(&first, "/one"), |_| first.stat("selvage.remote.written") == 1);
    assert_says(&get(&second, "/one"), "detail=remote");
    assert_eq!(first.stat("cluster.redis.upstream_rq_403"), 0);

    hand_over(wrong, &place);
    counts(&first, "cluster.redis.upstream_rq_403");
    let written = first.stat("selvage.remote.written");
    hand_over(right, &place);
    let mut turn = 0;
    becomes(
        || {
            turn += 1;
            get(&first, &format!("/again/{turn}"))
        },
        |_| first.stat("selvage.remote.written") > written,
    );
    assert!(!first.admin("/config_dump?include_eds").contains("YnJpZGdlOnNlY3JldA"));
    first.assert_sound();
}

#[test]
fn a_bridge_whose_certificate_has_another_name_is_not_trusted() {
    let origin = origin();
    let bridge = Bridge::start();
    let certificates = Certificates::of("other.example");
    let terminator = Terminator::start(&certificates, bridge.port());
    hand_over("Basic YnJpZGdlOnNlY3JldA==", &certificates.folder().join("bridge.yaml"));
    let gateway = behind_tls(&origin, &certificates, &terminator);
    counts(&gateway, "cluster.redis.ssl.fail_verify_san");
    assert_eq!((gateway.stat("selvage.remote.found"), gateway.stat("selvage.remote.written")), (0, 0));
    gateway.assert_sound();
}

/// What `envoy/run --flush` prints.
fn flush(url: &str, environment: &[(&str, &str)]) -> String {
    let mut command = Command::new(repository().join("envoy/run"));
    command.args(["--flush", "--redis-url", url]).envs(environment.iter().copied());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_redis_of_ones_own_is_used_and_emptied_of_our_keys_only() {
    let origin = origin();
    let redis = Redis::start(|_| r#"requirepass "it's ours""#.into());
    let url = format!("redis://:it%27s%20ours@127.0.0.1:{}", redis.port());
    let gateway = member(&origin).argument("--redis-url").argument(&url).start();
    for number in 0..3 {
        get(&gateway, &format!("/{number}"));
    }
    becomes(|| get(&gateway, "/0"), |_| gateway.stat("selvage.remote.written") == 3);
    let login = "AUTH \"it's ours\"\n";
    redis.say(&format!("{login}SET selvages x\nSET other:v1:x x"));
    // What it writes to see whether it may is gone a second later.
    drop(gateway);
    becomes(|| redis.say(&format!("{login}DBSIZE")), |size| size == "+OK\r\n:5\r\n+OK\r\n");
    assert_eq!(flush(&url, &[]), "deleted 3\n");
    let without_password = format!("redis://127.0.0.1:{}", redis.port());
    assert_eq!(flush(&without_password, &[("REDISCLI_AUTH", "it's ours")]), "deleted 0\n");
    assert_eq!(redis.say(&format!("{login}DBSIZE")), "+OK\r\n:2\r\n+OK\r\n");
}

#[test]
fn a_redis_with_tls_and_a_user_is_used_and_emptied() {
    let origin = origin();
    let certificates = Certificates::of("localhost");
    let redis = Redis::start(|port| {
        let lines = [
            "port 0",
            &format!("tls-port {port}"),
            &format!("tls-cert-file {}", certificates.certificate()),
            &format!("tls-key-file {}", certificates.key()),
            &format!("tls-ca-cert-file {}", certificates.authority()),
            "tls-auth-clients no",
            "user default off",
            "user fleet on >secret ~selvage:* resetchannels -@all +get +set +setex +del +eval +evalsha +time +ping +scan +unlink",
        ];
        lines.join("\n")
    });
    let url = format!("rediss://fleet:secret@localhost:{}", redis.port());
    let authority = certificates.authority();
    let gateway = member(&origin).argument("--redis-url").argument(&url);
    let gateway = gateway.environment("SSL_CERT_FILE", &authority).start();
    assert_says(&get(&gateway, "/one"), "stored");
    becomes(|| get(&gateway, "/one"), |_| gateway.stat("selvage.remote.written") == 1);
    assert!(!gateway.log().contains("secret"), "{}", gateway.log());
    let second = member(&origin).bridge(bridge_of(&gateway)).start();
    assert_says(&get(&second, "/one"), "detail=remote");
    // A probe of writes may be there as well, for a second.
    let deleted = flush(&url, &[("SSL_CERT_FILE", &authority)]);
    assert!(["deleted 1\n", "deleted 2\n", "deleted 3\n"].contains(&deleted.as_str()), "{deleted}");
}

/// The port of the webdis that `envoy/run` started.
pub(super) fn bridge_of(gateway: &Gateway) -> u16 {
    let address = gateway.printed("bridge").remove(0);
    address.rsplit(':').next().unwrap().parse().unwrap()
}
