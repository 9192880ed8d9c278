//! Who comes through the operators' door: to which hosts, and how often they may be wrong.

use selvage_engine::purge::gate::Gate;

use crate::gateway::{Gateway, fresh_for};

const PATHS: [(&str, &str); 9] = [
    ("PURGE", "/a"),
    ("POST", "/.selvage/purge"),
    ("POST", "/.selvage/optimize"),
    ("GET", "/.selvage/health"),
    ("GET", "/.selvage/config"),
    ("GET", "/.selvage/"),
    ("HEAD", "/.selvage/"),
    ("GET", "/.selvage"),
    ("GET", "/.selvage/none"),
];

fn with(config: &str, gate: Gate) -> Gateway {
    let mut gateway = Gateway::with(config);
    gateway.workers[0].set_gate(gate);
    gateway
}

fn token() -> Gate {
    Gate::Token { name: "T".into(), token: (*b"secret").into() }
}

#[test]
fn a_page_whose_name_was_made_to_point_here_gets_nothing_where_no_token_is_asked_for() {
    let mut gateway = with(r#"{"admin":{"open":true}}"#, Gate::Open);
    gateway.get("/a").authority("evil.test").at(0).miss(fresh_for(60)).stored();
    for (method, path) in PATHS {
        let call = gateway.request(method, path).authority("evil.test").scheme("http").at(1);
        let call = call.header("origin", "http://evil.test").header("sec-fetch-site", "same-origin");
        let refused = call.answered().status(421);
        if method != "HEAD" {
            refused.content(r#"{"error":"admin.hosts does not list this host"}"#);
        }
    }
    let call = gateway.get("/a").authority("evil.test").at(1).header("selvage-explain", "x");
    call.hit().lacks("selvage-explanation");
    for host in ["localhost:10000", "127.0.0.1:10000", "[::1]", "Cache.LocalHost"] {
        gateway.get("/.selvage/health").authority(host).at(2).answered().status(200);
        gateway.get("/.selvage/").authority(host).at(2).answered().status(200);
        gateway.request("PURGE", "/a").authority(host).at(2).answered().status(200);
    }
}

#[test]
fn listed_hosts_are_operators_with_and_without_a_token() {
    for (config, gate) in [
        (r#"{"admin":{"open":true,"hosts":["ops.test"]}}"#, Gate::Open),
        (r#"{"admin":{"token_env":"T","hosts":["ops.test"]}}"#, token()),
    ] {
        let mut gateway = with(config, gate);
        let mut ask = |host: &str, status| {
            let call = gateway.get("/.selvage/health").authority(host).at(1);
            call.header("authorization", "Bearer secret").answered().status(status);
        };
        ask("Ops.Test:8080", 200);
        ask("localhost", 421);
        ask("evil.test", 421);
    }
    let mut gateway = with(r#"{"admin":{"token_env":"T"}}"#, token());
    let call = gateway.get("/.selvage/health").authority("any.test").at(1);
    call.header("authorization", "Bearer secret").answered().status(200);
}

#[test]
fn who_guesses_tokens_is_kept_out_until_the_window_is_over() {
    let mut gateway = with("{}", token());
    let tries = |gateway: &mut Gateway, path: &str, shown: &str, at| {
        let bearer = format!("Bearer {shown}");
        let method = if path == "/a" { "PURGE" } else { "GET" };
        gateway.request(method, path).header("authorization", &bearer).at(at).answered()
    };
    for n in 0..10 {
        // No token at all is no guess.
        gateway.get("/.selvage/stats").at(1).answered().status(401);
        let path = if n % 2 == 0 { "/a" } else { "/.selvage/health" };
        tries(&mut gateway, path, "wrong", 1).status(403);
    }
    for path in ["/a", "/.selvage/health"] {
        tries(&mut gateway, path, "secret", 2).status(429).has("retry-after", "60");
        tries(&mut gateway, path, "wrong", 31).status(429).has("retry-after", "31");
    }
    gateway.get("/.selvage/").at(31).answered().status(200);
    tries(&mut gateway, "/.selvage/health", "secret", 61).status(200);
    assert_eq!(gateway.counted(0, "admin", "kept-out"), 4);
    let of = |event: &str| {
        let event = format!(r#""event":"{event}""#);
        gateway.shared.notes.iter().filter(|note| note.contains(&event)).cloned().collect::<Vec<_>>()
    };
    assert_eq!(of("guessing").len(), 1, "{:?}", gateway.shared.notes);
    let refused = of("refused");
    assert_eq!(refused.len(), 2, "{refused:?}");
    assert!(refused[0].contains(r#""status":401"#) && refused[1].contains(r#""left_out":20"#), "{refused:?}");
    assert!(gateway.shared.notes.iter().all(|note| !note.contains("Bearer") && !note.contains("secret")));
}

#[test]
fn the_field_that_explains_is_no_way_round_it() {
    let mut gateway = with("{}", token());
    gateway.get("/a").at(0).miss(fresh_for(60)).stored();
    for _ in 0..10 {
        gateway.get("/a").header("selvage-explain", "wrong").at(1).hit().lacks("selvage-explanation");
    }
    gateway.get("/a").header("selvage-explain", "secret").at(2).hit().lacks("selvage-explanation");
    gateway.get("/.selvage/health").header("authorization", "Bearer secret").at(2).answered().status(429);
    assert_eq!(gateway.counted(0, "explain", "refused"), 11);
}
