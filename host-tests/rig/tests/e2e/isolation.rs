//! What belongs to one client stays with that client.

use selvage_rig::scripted::Answer;

use crate::{EDGE, assert_hit, assert_not_stored, fetches, get, on};

#[test]
fn the_answer_to_credentials_is_not_given_to_others() {
    on("/isolation/credentials", |request| {
        Answer::fresh(request.header("authorization").unwrap_or("nobody".into()))
    });
    let with = |who: &str| EDGE.gateway.get("/isolation/credentials").header("authorization", who).send();
    for who in ["Basic alice", "Basic bob", "Basic alice"] {
        let answer = with(who);
        assert_eq!(answer.text(), who);
        assert_not_stored(&answer, "authorization");
    }
    assert_eq!(get("/isolation/credentials").text(), "nobody");
    assert_eq!(fetches("/isolation/credentials"), 4);
}

#[test]
fn an_origin_may_share_the_answer_to_credentials() {
    for (path, directive) in [
        ("/isolation/public", "public, max-age=60"),
        ("/isolation/s-maxage", "s-maxage=60"),
        ("/isolation/must", "max-age=60, must-revalidate"),
    ] {
        on(path, move |_| Answer::ok("all").header("cache-control", directive));
        EDGE.gateway.get(path).header("authorization", "Basic alice").send();
        assert_hit(&EDGE.gateway.get(path).header("authorization", "Basic bob").send(), "all");
        assert_eq!(fetches(path), 1);
    }
}

#[test]
fn requests_with_different_cookies_share_nothing() {
    on("/isolation/cookies", |request| Answer::fresh(request.header("cookie").unwrap_or("none".into())));
    let with = |cookie: &str| EDGE.gateway.get("/isolation/cookies").header("cookie", cookie).send();
    for round in 0..3 {
        for cookie in ["id=1", "id=2"] {
            assert_eq!(with(cookie).text(), cookie, "round {round}");
        }
        assert_eq!(get("/isolation/cookies").text(), "none");
    }
}

#[test]
fn a_rule_may_ignore_cookies() {
    on("/ignores-cookies/a", |_| Answer::fresh("all"));
    EDGE.gateway.get("/ignores-cookies/a").header("cookie", "id=1").send();
    assert_hit(&EDGE.gateway.get("/ignores-cookies/a").header("cookie", "id=2").send(), "all");
}

#[test]
fn a_response_that_sets_a_cookie_is_not_stored() {
    on("/isolation/set-cookie", |request| {
        Answer::fresh("cookie").header("set-cookie", format!("id={}", request.before))
    });
    for turn in 0..3 {
        let answer = get("/isolation/set-cookie");
        assert_not_stored(&answer, "set-cookie");
        assert_eq!(answer.all("set-cookie"), [format!("id={turn}")]);
    }
}

#[test]
fn a_rule_may_keep_the_cookies_of_a_response_line_by_line() {
    on("/keeps-cookies/a", |_| {
        Answer::fresh("kept").header("set-cookie", "a=1; Path=/").header("set-cookie", "b=2")
    });
    get("/keeps-cookies/a");
    for _ in 0..10 {
        let hit = get("/keeps-cookies/a");
        assert_hit(&hit, "kept");
        assert_eq!(hit.all("set-cookie"), ["a=1; Path=/", "b=2"]);
    }
}

#[test]
fn a_rule_may_strip_the_cookies_of_a_response() {
    on("/strips-cookies/a", |_| Answer::fresh("stripped").header("set-cookie", "a=1"));
    get("/strips-cookies/a");
    let hit = get("/strips-cookies/a");
    assert_hit(&hit, "stripped");
    assert_eq!(hit.header("set-cookie"), None);
}

#[test]
fn no_store_and_private_are_obeyed() {
    for (path, directives, detail) in [
        ("/isolation/no-store", "no-store, max-age=60", "no-store"),
        ("/isolation/private", "private, max-age=60", "private"),
        ("/isolation/shouting", "NO-STORE,max-age=60", "no-store"),
    ] {
        on(path, move |_| Answer::ok("mine").header("cache-control", directives));
        for _ in 0..3 {
            assert_not_stored(&get(path), detail);
        }
        assert_eq!(fetches(path), 3);
    }
}

#[test]
fn two_hosts_share_nothing() {
    on("/isolation/host", |request| Answer::fresh(request.header("host").unwrap_or_default()));
    for _ in 0..2 {
        for host in ["one.test", "two.test", "one.test:8080"] {
            assert_eq!(EDGE.gateway.get("/isolation/host").header("host", host).send().text(), host);
        }
    }
    assert_hit(&EDGE.gateway.get("/isolation/host").header("host", "ONE.test:80").send(), "one.test");
}
