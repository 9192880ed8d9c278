//! Validation with the origin, and the client's own conditions: RFC 9111 §4.3.

use selvage_engine::exchange::Wake;
use selvage_engine::purge::admin_auth::AdminAuth;

use crate::gateway::{Gateway, Origin, date, fresh_for, origin, unreachable};

fn tagged(seconds: u64) -> Origin {
    fresh_for(seconds).header("etag", "\"1\"").body("one")
}

#[test]
fn a_304_brings_a_stale_response_back_to_life() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(tagged(60));
    let answer = gateway.get("/a").at(70).validates(origin(304).header("date", &date(70)));
    answer.status(200).content("one").age(0).ttl(60).says("fwd-status=304").stored().detail("validated");
    gateway.get("/a").at(129).hit().age(59).content("one");
    gateway.get("/a").at(130).validates(origin(304));
}

#[test]
fn both_validators_are_sent_and_the_clients_tags_beside_ours() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(tagged(60).header("last-modified", &date(-9)));
    gateway.get("/b").at(0).miss(fresh_for(60).header("last-modified", &date(-9)));
    gateway.get("/c").at(0).miss(tagged(60));
    let both = gateway.get("/a").header("if-none-match", "\"mine\"").at(60).leaves();
    assert_eq!(both.sets("if-none-match").as_deref(), Some("\"1\", \"mine\""));
    assert_eq!(both.sets("if-modified-since"), Some(date(-9)));
    let dated = gateway.get("/b").header("if-none-match", "\"mine\"").at(60).leaves();
    assert!(dated.removes("if-none-match") && dated.sets("if-modified-since").is_some());
    let tagged = gateway.get("/c").header("if-modified-since", &date(-1)).at(60).leaves();
    assert!(tagged.removes("if-modified-since") && tagged.sets("if-none-match").is_some());
}

/// RFC 9111 §4.3.4: a 304 says which response it is about.
#[test]
fn a_304_about_another_response_updates_nothing() {
    for lines in [
        "etag: \"2\"",
        "etag: W/\"2\" | cache-control: max-age=600",
        "last-modified: Sun, 06 Nov 1994 08:49:37 GMT",
    ] {
        let mut gateway = Gateway::with("{}");
        gateway.get("/a").at(0).miss(tagged(60).header("last-modified", &date(-9)));
        let answer = gateway.get("/a").at(60).validates(origin(304).headers(lines));
        answer.status(200).content("one").detail("other-validator").says_nothing_of("stored");
        let flight = gateway.get("/a").at(61).leaves();
        assert!(!flight.is_conditional());
        gateway.answers(flight, 61, fresh_for(60).body("two")).stored();
    }
    // What must be validated before it is used is not used.
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(tagged(60).header("cache-control", "must-revalidate"));
    gateway
        .get("/a")
        .at(60)
        .validates(origin(304).header("etag", "\"2\""))
        .status(503)
        .has("retry-after", "0");
    // Weak and strong forms of one tag are about the same, as many proxies make the one of the other.
    for lines in ["etag: W/\"1\"", "etag: \"1\" | last-modified: Sun, 06 Nov 1994 08:49:37 GMT", "x-a: 1"] {
        let mut gateway = Gateway::with("{}");
        gateway.get("/a").at(0).miss(tagged(60).header("last-modified", &date(-9)));
        gateway
            .get("/a")
            .at(60)
            .validates(origin(304).headers(lines))
            .detail("validated")
            .has("etag", "\"1\"");
    }
}

/// Where it is known whom to call, the client gets what the origin has now.
#[test]
pub fn what_a_304_confirms_and_is_not_there_is_asked_for_in_full() {
    const CALLS: &str = r#"{"defaults":{"refresh":{"cluster":"origin"}}}"#;
    let other = || origin(304).header("etag", "\"2\"");
    let ask = |fields: &[(&str, &str)]| {
        let mut gateway = Gateway::with(CALLS);
        gateway.get("/a").at(0).miss(tagged(60));
        let mut call = gateway.get("/a");
        for (name, value) in fields {
            call = call.header(name, value);
        }
        let flight = call.at(60).leaves();
        (gateway, flight)
    };
    let (mut gateway, mut flight) = ask(&[]);
    let waiter = gateway.get("/a").at(60).waits();
    let request = gateway.calls_for_all(&mut flight, 60, other());
    assert!(
        !request.iter().any(|(name, _)| name.starts_with("if-"))
            && request.iter().any(|(name, _)| name == "cdn-loop")
    );
    let new = || fresh_for(60).headers("etag: \"2\" | content-type: text/css").body("two");
    let answer = gateway.fetches(flight, 61, Some(new())).status(200).content("two").stored();
    answer.has("etag", "\"2\"").has("content-type", "text/css").lacks("age");
    gateway.wakes(waiter, Wake::Ended, 61).answered().content("two").says("collapsed");
    gateway.get("/a").at(62).hit().content("two");
    gateway.assert_nobody_waits();
    gateway.assert_no_room_is_taken();
    // What is not stored is the client's all the same, and the end of what was.
    let (mut gateway, mut flight) = ask(&[("if-none-match", "\"0\"")]);
    gateway.calls_for_all(&mut flight, 60, other());
    let gone = origin(410).header("cache-control", "no-store").body("gone");
    gateway.fetches(flight, 61, Some(gone)).status(410).content("gone").not_stored("no-store");
    gateway.get("/a").at(62).validates_nothing();
    // Its conditions and ranges are heeded.
    let (mut gateway, mut flight) = ask(&[("range", "bytes=1-1")]);
    gateway.calls_for_all(&mut flight, 60, other());
    let part =
        gateway.fetches(flight, 61, Some(new().header("content-length", "3"))).status(206).content("w");
    part.has("content-range", "bytes 1-1/3");
    gateway.get("/a").at(62).hit().content("two");
    // Without an answer, or with one that fails, or that is no answer: the old one, where that is allowed.
    for answer in [None, Some(origin(503)), Some(origin(304)), Some(new().header("content-length", "9"))] {
        let (mut gateway, mut flight) = ask(&[]);
        gateway.calls_for_all(&mut flight, 60, other());
        gateway.fetches(flight, 61, answer).status(200).content("one").detail("other-validator");
        gateway.get("/a").at(62).validates_nothing();
        gateway.assert_no_room_is_taken();
    }
    // A client that goes away holds nobody up.
    let (mut gateway, mut flight) = ask(&[]);
    gateway.calls_for_all(&mut flight, 60, other());
    gateway.goes_away(flight, 61);
    gateway.assert_nobody_waits();
}

#[test]
fn what_was_purged_while_it_was_confirmed_is_given_to_nobody() {
    for (config, status) in [("{}", 503), (r#"{"defaults":{"refresh":{"cluster":"origin"}}}"#, 200)] {
        let mut gateway = Gateway::with(config);
        gateway.workers.iter_mut().for_each(|worker| worker.set_admin_auth(AdminAuth::Open));
        gateway.get("/a").at(0).miss(tagged(60));
        let mut flight = gateway.get("/a").at(60).leaves();
        gateway.request("PURGE", "/a").at(61).answered().status(200);
        if status == 503 {
            gateway.answers(flight, 62, origin(304)).status(503).detail("purged").has("retry-after", "0");
        } else {
            gateway.calls_for_all(&mut flight, 62, origin(304));
            gateway.fetches(flight, 62, Some(fresh_for(60).body("two"))).content("two").stored();
        }
    }
}

#[test]
fn a_304_about_what_the_client_has_is_passed_on() {
    let ask = || {
        let mut gateway = Gateway::with("{}");
        gateway.get("/a").at(0).miss(tagged(60));
        gateway
    };
    let mut gateway = ask();
    let newer = |gateway: &mut Gateway, answer: Origin| {
        gateway.get("/a").header("if-none-match", "\"2\"").at(60).validates(answer)
    };
    newer(&mut gateway, origin(304).header("etag", "\"2\"")).status(304).says("fwd-status=304");
    gateway.get("/a").at(61).miss(fresh_for(60));
    let mut gateway = ask();
    newer(&mut gateway, origin(304).header("etag", "\"1\"")).status(200).content("one").stored();
    // Without a tag it could be about either.
    let mut gateway = ask();
    newer(&mut gateway, origin(304)).status(200).detail("other-validator");
    gateway.get("/a").at(61).miss(fresh_for(60));
    // Any tag at all is no tag.
    let flight = ask().get("/a").header("if-none-match", "*").at(60).leaves();
    assert_eq!(flight.sets("if-none-match").as_deref(), Some("\"1\""));
}

/// RFC 9110 §15.4.5: 304 stands for a 200.
#[test]
fn only_a_stored_200_is_asked_about_with_conditions() {
    for status in [203, 300, 301, 404, 410, 500, 503] {
        let mut gateway = Gateway::with("{}");
        gateway
            .get("/a")
            .at(0)
            .miss(origin(status).headers("cache-control: max-age=60 | etag: \"1\"").body("no"));
        let flight = gateway.get("/a").at(60).leaves();
        assert!(!flight.is_conditional(), "{status}");
        gateway.answers(flight, 60, tagged(60)).content("one").stored();
    }
}

#[test]
fn a_304_replaces_fields_but_not_those_of_the_content() {
    let mut gateway = Gateway::with("{}");
    let lines = "content-encoding: gzip | content-length: 3 | x-old: kept | x-new: old | content-type: a/a";
    gateway.get("/a").at(0).miss(tagged(60).headers(lines));
    let update = "cache-control: max-age=10 | content-encoding: br | content-length: 0 | x-new: 1 | x-new: 2 \
                  | etag: W/\"1\" | connection: x-hop | x-hop: 1 | age: 4";
    let answer = gateway.get("/a").at(60).validates(origin(304).headers(update));
    let check = |answer: crate::gateway::Answer| {
        answer
            .content("one")
            .has("content-encoding", "gzip")
            .has("content-length", "3")
            .has("x-old", "kept")
            .has("x-new", "1, 2")
            .has("etag", "\"1\"")
            .has("cache-control", "max-age=10")
            .lacks("x-hop")
    };
    check(answer).age(4).ttl(6);
    check(gateway.get("/a").at(65).hit()).age(9);
    gateway.get("/a").at(66).validates(origin(304));
}

#[test]
fn a_304_without_date_is_as_new_as_its_arrival() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(tagged(60).header("date", &date(0)));
    gateway.get("/a").at(100).validates(origin(304)).age(0).has("date", &date(100));
    gateway.get("/a").at(159).hit().age(59);
}

#[test]
fn a_cookie_of_a_304_reaches_its_client_and_no_other() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(tagged(60));
    gateway.get("/a").at(60).validates(origin(304).header("set-cookie", "a=1")).has("set-cookie", "a=1");
    gateway.get("/a").at(61).hit().lacks("set-cookie");
    let mut gateway = Gateway::with(r#"{"defaults":{"set_cookie":"store"}}"#);
    gateway.get("/a").at(0).miss(tagged(60));
    gateway.get("/a").at(60).validates(origin(304).header("set-cookie", "a=1")).has("set-cookie", "a=1");
    gateway.get("/a").at(61).hit().has("set-cookie", "a=1");
}

#[test]
fn a_new_response_takes_the_place_of_the_stale_one() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(tagged(60));
    gateway.get("/a").at(60).validates(fresh_for(60).body("two")).content("two").stored();
    gateway.get("/a").at(61).hit().content("two").lacks("etag");
}

#[test]
fn a_response_without_validator_is_asked_for_anew() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(fresh_for(60).body("one"));
    let flight = gateway.get("/a").header("if-none-match", "\"mine\"").at(60).leaves();
    // Others may wait for it: what one client has is no concern of the origin's.
    assert!(flight.removes("if-none-match") && !flight.is_conditional());
    let new = fresh_for(60).headers("etag: \"mine\" | content-length: 3").body("two");
    gateway.answers(flight, 60, new).status(304).content("").stored().lacks("content-type");
    gateway.get("/a").at(61).hit().content("two");
    // Without a length nobody could tell the end of a 304: the whole is never wrong.
    let mut gateway = Gateway::with("{}");
    let flight = gateway.get("/a").header("if-none-match", "\"mine\"").at(60).leaves();
    gateway
        .answers(flight, 60, fresh_for(60).header("etag", "\"mine\"").body("two"))
        .status(200)
        .content("two");
}

#[test]
fn no_cache_is_validated_every_time() {
    let mut gateway = Gateway::with("{}");
    gateway
        .get("/a")
        .at(0)
        .miss(origin(200).headers("cache-control: no-cache, max-age=60 | etag: \"1\"").body("one"));
    for second in 1..4 {
        gateway.get("/a").at(second).validates(origin(304)).status(200).content("one");
    }
}

#[test]
fn the_answer_after_validation_heeds_the_clients_own_conditions() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(tagged(60));
    gateway.get("/a").header("if-none-match", "\"1\"").at(60).validates(origin(304)).status(304).content("");
    gateway
        .get("/a")
        .header("if-none-match", "\"0\"")
        .at(120)
        .validates(origin(304))
        .status(200)
        .content("one");
}

/// Request fields, and whether a fresh stored response (etag "1", modified ten seconds before) is news.
#[test]
fn client_conditions_are_answered_as_the_table_says() {
    let table: &[(&str, &str, u16)] = &[
        ("if-none-match", "\"1\"", 304),
        ("if-none-match", "W/\"1\"", 304),
        ("if-none-match", "\"0\", W/\"1\" , \"2\"", 304),
        ("if-none-match", "*", 304),
        ("if-none-match", "\"2\"", 200),
        ("if-none-match", "", 200),
        ("if-modified-since", "{-10}", 304),
        ("if-modified-since", "{-5}", 304),
        ("if-modified-since", "{-11}", 200),
        ("if-modified-since", "yesterday", 200),
    ];
    let mut gateway = Gateway::with("{}");
    gateway
        .get("/a")
        .at(0)
        .miss(tagged(60).header("last-modified", &date(-10)).header("content-type", "a/a"));
    for (name, value, status) in table {
        let value =
            value.replace("{-10}", &date(-10)).replace("{-5}", &date(-5)).replace("{-11}", &date(-11));
        for method in ["GET", "HEAD"] {
            let answer = gateway.request(method, "/a").header(name, &value).at(1).hit().status(*status);
            let answer = answer.has("etag", "\"1\"").has("cache-control", "max-age=60").age(1);
            if *status == 304 {
                answer.content("").lacks("content-type");
            }
        }
    }
    // If-None-Match comes first, whatever If-Modified-Since says (RFC 9110 §13.2.2).
    let both = gateway.get("/a").header("if-none-match", "\"2\"").header("if-modified-since", &date(0));
    both.at(1).hit().status(200);
}

#[test]
fn without_last_modified_the_date_answers_if_modified_since() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(10).miss(fresh_for(60).body("x"));
    gateway.get("/a").header("if-modified-since", &date(10)).at(11).hit().status(304);
    gateway.get("/a").header("if-modified-since", &date(9)).at(11).hit().status(200);
}

#[test]
fn conditions_do_not_apply_to_a_stored_404() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(origin(404).headers("cache-control: max-age=60 | etag: \"1\"").body("no"));
    gateway.get("/a").header("if-none-match", "\"1\"").at(1).hit().status(404).content("no");
}

#[test]
fn preconditions_that_only_the_origin_can_judge_pass_by() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(tagged(60).header("last-modified", &date(-9)));
    for (name, value) in [("if-match", "\"1\"".to_owned()), ("if-unmodified-since", date(-5))] {
        // What is fresh and meets it is served.
        gateway.get("/a").header(name, &value).at(1).hit().content("one");
        let answer = gateway.get("/a").header(name, &value).at(60).forwarded(origin(412));
        answer.says("fwd=bypass").detail("precondition").status(412);
    }
    for (name, value) in [
        ("if-match", "\"2\"".to_owned()),
        ("if-match", "W/\"1\"".into()),
        ("if-unmodified-since", date(-9999)),
    ] {
        let answer = gateway.get("/a").header(name, &value).at(1).forwarded(origin(412));
        answer.says("fwd=bypass").detail("precondition").status(412);
        let asked = format!("only-if-cached, {name}");
        let call = gateway.get("/a").header(name, &value).header("cache-control", &asked).at(1);
        call.answered().status(504).detail("only-if-cached");
    }
    gateway.get("/a").at(2).hit();
}

#[test]
fn a_head_that_agrees_freshens_the_stored_get() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(tagged(60));
    let same = origin(200).headers("etag: \"1\" | content-length: 3 | cache-control: max-age=30 | x-new: 1");
    gateway.head("/a").at(60).forwarded(same).status(200);
    gateway.get("/a").at(89).hit().age(29).has("x-new", "1").content("one");
    // A validation by HEAD is as good.
    gateway.head("/a").at(90).validates(origin(304)).status(200).detail("validated");
    gateway.get("/a").at(91).hit().age(1);
}

#[test]
fn a_head_that_disagrees_makes_the_stored_get_unusable() {
    for lines in ["etag: \"2\"", "content-length: 4", "last-modified: Sun, 06 Nov 1994 08:49:37 GMT"] {
        let mut gateway = Gateway::with("{}");
        gateway.get("/a").at(0).miss(tagged(60));
        gateway.head("/a").at(60).forwarded(fresh_for(60).headers(lines));
        gateway.get("/a").at(61).validates(tagged(60).body("new")).says("fwd=stale").stored();
        // While it was fresh it is asked about all the same, and stands in for an error.
        let mut gateway = Gateway::with("{}");
        gateway.get("/a").at(0).miss(tagged(60));
        let asked = gateway.head("/a").header("cache-control", "no-cache").at(1);
        asked.forwarded(fresh_for(60).headers(lines));
        gateway.get("/a").at(2).validates(unreachable()).detail("disconnected").content("one");
        gateway.get("/a").at(3).validates(origin(304)).content("one");
    }
}

#[test]
fn a_head_that_finds_nothing_is_the_end_of_stale_use() {
    for status in [404, 410, 301, 403] {
        let mut gateway = Gateway::with("{}");
        gateway.get("/a").at(0).miss(tagged(60).header("cache-control", "stale-if-error=600"));
        gateway.head("/a").at(60).forwarded(origin(status));
        gateway.get("/a").at(61).validates(unreachable()).status(503);
        gateway.get("/a").at(61).validates(origin(304)).content("one");
    }
    // That HEAD is refused, or the origin fails, says nothing.
    for status in [405, 501, 503, 429] {
        let mut gateway = Gateway::with("{}");
        gateway.get("/a").at(0).miss(tagged(60));
        gateway.head("/a").at(60).forwarded(origin(status));
        gateway.get("/a").at(61).validates(unreachable()).content("one");
    }
}

#[test]
fn get_and_head_share_a_stored_response() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(tagged(60));
    gateway.head("/a").at(1).hit().status(200).has("etag", "\"1\"").age(1);
}

/// RFC 9111 §3: what a 304 says becomes what the stored response says, and that may be that it must not be stored.
#[test]
fn a_304_that_forbids_storing_ends_the_use_of_the_stored_response() {
    for terms in ["no-store, max-age=60", "private, max-age=60"] {
        let mut gateway = Gateway::with("{}");
        gateway.get("/a").at(0).miss(tagged(60));
        let answer = gateway.get("/a").at(60).validates(origin(304).header("cache-control", terms));
        answer.status(200).content("one").says_nothing_of("stored");
        gateway.get("/a").at(61).forwarded(tagged(60));
    }
}

#[test]
fn a_head_that_forbids_storing_freshens_nothing() {
    for terms in ["no-store, max-age=60", "private, max-age=60"] {
        let mut gateway = Gateway::with("{}");
        gateway.get("/a").at(0).miss(tagged(60));
        gateway
            .head("/a")
            .at(60)
            .forwarded(origin(200).header("cache-control", terms).header("etag", "\"1\""));
        gateway.get("/a").at(61).forwarded(tagged(60));
    }
}

#[test]
fn a_304_that_does_not_share_with_credentials_answers_them_and_is_the_end_of_it() {
    let mut gateway = Gateway::with("{}");
    gateway
        .get("/a")
        .at(0)
        .miss(origin(200).headers("cache-control: public, max-age=60 | etag: \"1\"").body("one"));
    gateway.get("/a").header("authorization", "Bearer x").at(1).hit();
    let asked = gateway.get("/a").header("authorization", "Bearer x").at(60);
    let answer = asked.validates(origin(304).header("cache-control", "max-age=60"));
    answer.status(200).content("one").not_stored("authorization");
    gateway.get("/a").at(61).miss(tagged(60)).says("fwd=uri-miss");
    // A cookie is no less than that, at once or when it has expired.
    for (second, asks) in [(1, "no-cache"), (60, "x")] {
        for method in ["GET", "HEAD"] {
            let mut gateway = Gateway::with("{}");
            let shared = origin(200).headers("cache-control: public, max-age=60 | etag: \"1\"").body("one");
            gateway.get("/a").header("cookie", "a=2").at(0).miss(shared);
            let call = gateway.request(method, "/a").header("cookie", "a=2").header("cache-control", asks);
            let answer =
                call.at(second).validates(origin(304).headers("cache-control: max-age=60 | x-for: a2"));
            answer.status(200).says_nothing_of("stored");
            gateway.get("/a").at(61).miss(tagged(60)).says("fwd=uri-miss").lacks("x-for");
        }
    }
    // One that comes to share is for all at once.
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").header("cookie", "a=2").at(0).miss(tagged(60));
    let shares = origin(304).header("cache-control", "public, max-age=60");
    gateway.get("/a").header("cookie", "a=2").at(60).validates(shares).stored();
    gateway.get("/a").at(61).hit().content("one");
    gateway.get("/a").header("cookie", "a=3").at(61).hit().content("one");
}

#[test]
fn a_304_that_brings_another_vary_drops_what_it_was_asked_about() {
    for stored_vary in ["", "vary: x-a"] {
        let mut gateway = Gateway::with("{}");
        let call = gateway.get("/a").header("x-a", "1").header("x-b", "1").at(0);
        call.miss(tagged(60).headers(stored_vary)).stored();
        let call = gateway.get("/a").header("x-a", "1").header("x-b", "1").at(60);
        let answer = call.validates(origin(304).headers("vary: x-b | cache-control: max-age=60"));
        answer.status(200).content("one").says_nothing_of("stored");
        let call = gateway.get("/a").header("x-a", "1").header("x-b", "1").at(61);
        call.miss(fresh_for(60).header("vary", "x-b").body("new")).says("fwd=uri-miss").stored();
        gateway.get("/a").header("x-a", "2").header("x-b", "1").at(62).hit().content("new");
        gateway
            .get("/a")
            .header("x-a", "1")
            .header("x-b", "2")
            .at(62)
            .miss(fresh_for(60))
            .says("fwd=vary-miss");
    }
}

#[test]
fn a_304_that_repeats_the_vary_freshens() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").header("x-a", "1").at(0).miss(tagged(60).header("vary", "x-a, x-b"));
    gateway.get("/a").header("x-a", "1").at(60).validates(origin(304).header("vary", "X-B,X-A")).stored();
    gateway.get("/a").header("x-a", "1").at(61).hit().content("one");
}

#[test]
fn a_head_freshens_only_with_a_validator_that_agrees() {
    for (lines, freshens) in [
        ("", false),
        ("content-length: 3", false),
        ("etag: \"1\"", true),
        ("etag: \"1\" | content-length: 3", true),
        ("last-modified: {}", true),
    ] {
        let mut gateway = Gateway::with("{}");
        gateway.get("/a").at(0).miss(tagged(60).header("last-modified", &date(-9)));
        let lines = lines.replace("{}", &date(-9));
        gateway.head("/a").at(60).forwarded(fresh_for(600).headers(&lines)).status(200);
        if freshens {
            gateway.get("/a").at(61).hit().age(1).content("one");
        } else {
            gateway.get("/a").at(61).validates(origin(304)).content("one");
        }
    }
}
