//! Who comes through the operators' door: to which hosts, and how often they may be wrong.

use selvage_engine::purge::admin_auth::AdminAuth;

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

fn with(config: &str, gate: AdminAuth) -> Gateway {
    let mut gateway = Gateway::with(config);
    gateway.workers[0].set_admin_auth(gate);
    gateway
}

fn token() -> AdminAuth {
    AdminAuth::Token { name: "T".into(), token: (*b"secret").into() }
}

#[test]
fn a_page_whose_name_was_made_to_point_here_gets_nothing_where_no_token_is_asked_for() {
    let mut gateway = with(r#"{"admin":{"open":true}}"#, AdminAuth::Open);
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
        (r#"{"admin":{"open":true,"hosts":["ops.test"]}}"#, AdminAuth::Open),
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

#[test]
fn head_asks_what_get_does() {
    let mut gateway = with("{}", AdminAuth::Open);
    for path in
        ["health", "stats", "report", "recommendations", "resources", "config", "warm", "explain?url=/a"]
    {
        gateway
            .head(&format!("/.selvage/{path}"))
            .at(1)
            .answered()
            .status(200)
            .has("content-type", "application/json");
    }
    gateway.head("/.selvage/purge").at(1).answered().status(200);
    gateway.head("/.selvage/optimize").at(1).answered().status(405).has("allow", "POST");
    gateway.head("/.selvage/health").at(1).header("origin", "https://evil.test").answered().status(200);
}

#[test]
fn a_soft_purge_is_soft_in_either_case() {
    let mut gateway = with("{}", AdminAuth::Open);
    for mode in ["soft", "SOFT", " Soft "] {
        let call = gateway.request("PURGE", "/a").header("selvage-purge", mode).at(1);
        call.answered().content(r#"{"fleet":"off","purged":1,"soft":true}"#);
    }
}

#[test]
fn schemes_and_hosts_are_the_same_in_either_case() {
    let mut gateway = with("{}", AdminAuth::Open);
    for (path, url) in [("/a", "HTTP://EXAMPLE.COM/a"), ("/b", "HttpS://Example.com:443/b")] {
        gateway.get(path).at(0).miss(fresh_for(60)).stored();
        let body = format!(r#"{{"urls":["{url}"]}}"#);
        gateway.post("/.selvage/purge").at(1).chunk(body).answered().status(200);
        gateway.get(path).at(2).miss(fresh_for(60)).detail("purged");
    }
}

#[test]
fn a_wildcard_is_refused_with_the_right_way_to_say_it() {
    let mut gateway = with("{}", AdminAuth::Open);
    for path in ["/a", "/*"] {
        gateway.get(path).at(0).miss(fresh_for(600)).stored();
    }
    for (body, place) in [
        (r#"{"urls":["https://example.com/*"]}"#, "urls[0]"),
        (r#"{"urls":["example.com/a","example.com/a*?x=1"]}"#, "urls[1]"),
        (r#"{"urls":["example.com/a?x=*"]}"#, "urls[0]"),
        (r#"{"urls":["*.example.com/a"]}"#, "urls[0]"),
        (r#"{"urls":["*"]}"#, "urls[0]"),
        (r#"{"prefixes":["example.com/*"]}"#, "prefixes[0]"),
        (r#"{"prefixes":["*.example.com/"]}"#, "prefixes[0]"),
    ] {
        let refused = gateway.post("/.selvage/purge").at(1).chunk(body).answered().status(400);
        let told = String::from_utf8_lossy(refused.bytes()).into_owned();
        assert!(told.contains(place) && told.contains("%2A") && told.contains("all"), "{body}: {told}");
    }
    for target in ["/*", "/a*", "/a?*", "*"] {
        let refused = gateway.request("PURGE", target).at(1).answered().status(400);
        let told = String::from_utf8_lossy(refused.bytes()).into_owned();
        assert!(told.contains("prefixes") && told.contains("all"), "{told}");
    }
    gateway.get("/a").at(2).hit();
    gateway.get("/*").at(2).hit();
}

#[test]
fn a_star_that_is_one_is_purged_by_its_escape() {
    for (target, body) in [
        ("/o/*", r#"{"urls":["example.com/o/%2A"]}"#),
        ("/o/%2A", r#"{"urls":["example.com/o/%2a"]}"#),
        ("/o*/a", r#"{"urls":["example.com/o*/a"]}"#),
        ("/o?u=http://*/b", r#"{"urls":["example.com/o?u=http://*/b"]}"#),
        ("/o/*b", r#"{"prefixes":["example.com/o/%2A"]}"#),
    ] {
        let mut gateway = with("{}", AdminAuth::Open);
        gateway.get(target).at(0).miss(fresh_for(60)).stored();
        gateway.get("/o/a").at(0).miss(fresh_for(60)).stored();
        let answer = gateway.post("/.selvage/purge").at(1).chunk(body).answered();
        answer.content(r#"{"fleet":"off","purged":1,"soft":false}"#);
        gateway.get(target).at(2).miss(fresh_for(60)).detail("purged");
        gateway.get("/o/a").at(2).hit();
    }
}
