//! A rule in maintenance, on the real Envoy: what clients are told meanwhile and afterwards.

use selvage_rig::envoy::{Gateway, Response};
use selvage_rig::scripted::{Answer, Origin};

use super::{assert_forwarded, assert_hit, assert_says, becomes};

const TOKEN: &str = "a-token-of-some-length";

const DURING: &str = r#"{ "admin": { "token_env": "SELVAGE_ADMIN_TOKEN" }, "rules": [
    { "name": "shop", "match": { "paths": ["/shop/*"] }, "maintenance": { "retry_after": "2m" } },
    { "name": "far", "match": { "paths": ["/far/*"] }, "maintenance": { "until": "2100-12-31T23:59:59Z" } },
    { "name": "over", "match": { "paths": ["/over/*"] }, "maintenance": { "until": "2001-01-01T00:00:00Z" } },
    { "name": "later", "match": { "paths": ["/later/*"] }, "maintenance": { "from": "2100-12-31T23:59:59Z" } }
] }"#;

const AFTER: &str = r#"{ "rules": [ { "name": "shop", "match": { "paths": ["/shop/*"] } } ] }"#;

#[track_caller]
fn assert_closed(answer: &Response, seconds: &str, content: &str) {
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.all("retry-after"), [seconds]);
    assert_eq!(answer.all("cache-control"), ["no-store"]);
    assert_eq!(answer.all("content-type"), ["application/problem+json"]);
    assert_says(answer, "detail=maintenance");
    assert_eq!(answer.text(), content);
}

#[test]
fn clients_are_told_when_to_come_again_and_are_served_afterwards() {
    let origin = Origin::start();
    origin.otherwise(|request| Answer::fresh(format!("for {}", request.target)));
    let gateway = Gateway::with(DURING).origin(origin.url());
    let gateway = gateway.environment("SELVAGE_ADMIN_TOKEN", TOKEN).start();
    let problem = "{\"status\":503,\"title\":\"Service Unavailable\"}\n";
    assert_closed(&gateway.get("/shop/a").send(), "120", problem);
    assert_closed(&gateway.ask("HEAD", "/shop/a").send(), "120", "");
    assert_closed(&gateway.ask("POST", "/shop/a").body("an order").send(), "120", problem);
    assert_closed(&gateway.get("/far/a").send(), "86400", problem);
    assert_eq!(origin.count("/shop/a") + origin.count("/far/a"), 0);
    // Outside its window, and under no rule, nothing is different.
    for target in ["/over/a", "/later/a", "/a"] {
        assert_forwarded(&gateway.get(target).send(), "uri-miss", &format!("for {target}"));
    }
    let purge = gateway.ask("PURGE", "/shop/a").header("authorization", format!("Bearer {TOKEN}")).send();
    assert_eq!(purge.status, 200, "{purge:?}");
    becomes(|| gateway.stat("detail.maintenance"), |counted| *counted == 4);
    gateway.assert_sound();

    let gateway = Gateway::with(AFTER).origin(origin.url()).start();
    assert_forwarded(&gateway.get("/shop/a").send(), "uri-miss", "for /shop/a");
    assert_hit(&gateway.get("/shop/a").send(), "for /shop/a");
    gateway.assert_sound();
}
