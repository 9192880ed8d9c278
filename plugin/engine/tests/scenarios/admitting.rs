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
