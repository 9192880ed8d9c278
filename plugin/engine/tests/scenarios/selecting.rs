//! Which stored response a request gets: RFC 9111 §4.1.

use crate::gateway::{Gateway, Origin, fresh_for};

fn by(name: &str, body: &str) -> Origin {
    fresh_for(60).header("vary", name).body(body)
}

#[test]
fn variants_live_side_by_side() {
    let mut gateway = Gateway::with("{}");
    gateway
        .get("/a")
        .header("accept-language", "de")
        .at(0)
        .miss(by("Accept-Language", "hallo"))
        .says("fwd=uri-miss");
    gateway
        .get("/a")
        .header("accept-language", "en")
        .at(1)
        .miss(by("Accept-Language", "hello"))
        .says("fwd=vary-miss");
    gateway.get("/a").at(2).miss(by("Accept-Language", "?")).says("fwd=vary-miss").stored();
    gateway.get("/a").header("accept-language", "de").at(3).hit().content("hallo").age(3);
    gateway.get("/a").header("accept-language", "en").at(3).hit().content("hello").age(2);
    gateway.get("/a").at(3).hit().content("?").has("vary", "Accept-Language");
}

#[test]
fn a_field_that_is_empty_is_not_one_that_is_absent() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").header("x-a", "").at(0).miss(by("x-a", "empty"));
    gateway.get("/a").at(1).miss(by("x-a", "absent"));
    gateway.get("/a").header("x-a", "").at(2).hit().content("empty");
    gateway.get("/a").at(2).hit().content("absent");
}

#[test]
fn what_means_the_same_selects_the_same() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").header("accept-encoding", "gzip, br;q=0.5").at(0).miss(by("accept-encoding", "x"));
    gateway.get("/a").header("accept-encoding", "GZIP,br; q=0.50").at(1).hit();
    gateway.get("/a").header("accept-encoding", "br").at(1).miss(by("accept-encoding", "y"));
    gateway.get("/b").header("x-a", "1, 2").at(0).miss(by("x-a", "x"));
    gateway.get("/b").header("x-a", "1").header("x-a", "2").at(1).hit();
    gateway.get("/b").header("x-a", "2, 1").at(1).miss(by("x-a", "y"));
}

#[test]
fn made_up_values_displace_no_variant_that_is_asked_for() {
    for workers in [1, 2] {
        let mut gateway = Gateway::of_workers(workers, "{}");
        gateway.get("/a").header("x-a", "popular").at(0).miss(by("x-a", "popular"));
        for worker in 0..workers {
            gateway.get("/a").worker(worker).header("x-a", "popular").at(1).hit();
        }
        for nth in 0..40 {
            let value = format!("junk {nth}");
            gateway.get("/a").worker(nth % workers).header("x-a", &value).at(2).miss(by("x-a", "junk"));
        }
        for worker in 0..workers {
            gateway.get("/a").worker(worker).header("x-a", "popular").at(3).hit().content("popular");
        }
        // What is asked for again and again gets a place in the end.
        for _ in 0..4 {
            let _ = gateway.get("/a").header("x-a", "new").at(4).send().or_answers(
                &mut gateway,
                4,
                by("x-a", "new"),
            );
            gateway.get("/a").header("x-a", "other").at(4).send().or_answers(
                &mut gateway,
                4,
                by("x-a", "other"),
            );
        }
        gateway.get("/a").header("x-a", "new").at(5).hit().content("new");
    }
}

#[test]
fn variants_that_are_no_more_give_way_first() {
    let mut gateway = Gateway::with(r#"{"worker":{"variants":2}}"#);
    gateway
        .get("/a")
        .header("x-a", "dead")
        .at(0)
        .miss(by("x-a", "dead").header("cache-control", "max-age=0, stale-while-revalidate=1"));
    gateway.get("/a").header("x-a", "b").at(1).miss(by("x-a", "b"));
    gateway.get("/a").header("x-a", "c").at(1000).miss(by("x-a", "c").header("cache-control", "max-age=600"));
    gateway.get("/a").header("x-a", "c").at(1001).hit();
}

#[test]
fn a_variant_that_is_fetched_again_takes_no_second_place() {
    let mut gateway = Gateway::with(r#"{"worker":{"variants":2}}"#);
    gateway.get("/a").header("x-a", "a").at(0).miss(by("x-a", "a"));
    gateway.get("/a").header("x-a", "b").at(1).miss(by("x-a", "b"));
    for second in 2..6 {
        gateway
            .get("/a")
            .header("x-a", "b")
            .header("cache-control", "no-cache")
            .at(second)
            .forwarded(by("x-a", "b2"));
    }
    gateway.get("/a").header("x-a", "a").at(7).hit().content("a");
    gateway.get("/a").header("x-a", "b").at(7).hit().content("b2");
}

#[test]
fn names_may_change_from_response_to_response() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").header("x-a", "1").header("x-b", "1").at(0).miss(by("x-a", "old"));
    gateway.get("/a").header("x-a", "2").header("x-b", "2").at(1).miss(by("x-b", "new"));
    gateway.get("/a").header("x-a", "9").header("x-b", "2").at(2).hit().content("new");
    gateway.get("/a").header("x-a", "1").header("x-b", "9").at(2).hit().content("old");
    // Both match: the most recent one is used (§4.1).
    gateway.get("/a").header("x-a", "1").header("x-b", "2").at(2).hit().content("new");
    // A response that leaves Vary out is told from its siblings as the latest of them is (§4.1).
    gateway.get("/a").at(2).miss(fresh_for(60).body("none"));
    gateway.get("/a").at(3).hit().content("none");
    gateway.get("/a").header("x-b", "2").at(3).hit().content("new");
    gateway.get("/a").header("x-a", "7").header("x-b", "7").at(3).miss(by("x-b", "seven"));
    // Once all that have one are stale, the resource varies no more.
    gateway.get("/a").header("x-b", "8").at(100).forwarded(fresh_for(60).body("all"));
    gateway.get("/a").header("x-b", "9").at(101).hit().content("all");
}

#[test]
fn a_response_with_vary_takes_the_place_of_one_without() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(fresh_for(10).body("all"));
    gateway.get("/a").header("x-a", "1").at(10).forwarded(by("x-a", "one"));
    gateway.get("/a").header("x-a", "1").at(11).hit().content("one");
    gateway.get("/a").header("x-a", "2").at(11).miss(by("x-a", "two"));
}

#[test]
fn a_rule_ignores_and_adds_names() {
    let mut gateway = Gateway::with(r#"{"defaults":{"vary":{"ignore":["User-Agent"],"add":["X-Plan"]}}}"#);
    let response = |body: &str| by("user-agent, accept", body);
    gateway.get("/a").header("user-agent", "1").header("x-plan", "free").at(0).miss(response("free"));
    gateway.get("/a").header("user-agent", "2").header("x-plan", "free").at(1).hit().content("free");
    gateway.get("/a").header("user-agent", "1").header("x-plan", "paid").at(1).miss(response("paid"));
    gateway.get("/a").header("accept", "x/y").header("x-plan", "free").at(1).miss(response("y"));
}

#[test]
fn each_variant_is_validated_with_its_own_validator() {
    let mut gateway = Gateway::with("{}");
    for value in ["a", "b"] {
        let etag = format!("\"{value}\"");
        gateway.get("/a").header("x-a", value).at(0).miss(by("x-a", value).header("etag", &etag));
    }
    let flight = gateway.get("/a").header("x-a", "a").at(60).leaves();
    assert_eq!(flight.sets("if-none-match").as_deref(), Some("\"a\""));
    let not_modified = crate::gateway::origin(304).header("etag", "\"a\"");
    gateway.answers(flight, 60, not_modified).status(200).content("a");
    gateway.get("/a").header("x-a", "a").at(61).hit().content("a");
    gateway.get("/a").header("x-a", "b").at(61).validates(by("x-a", "b2")).content("b2");
}

#[test]
fn the_order_of_languages_counts_only_among_those_of_one_weight() {
    let mut gateway = Gateway::with("{}");
    let mut ask = |languages: &'static str| {
        let call = gateway.get("/a").header("accept-language", languages).at(1);
        call.forwarded(by("accept-language", languages)).stored();
        let mut same = |spelling: &str| {
            gateway.get("/a").header("accept-language", spelling).at(2).hit().content(languages);
        };
        same(languages);
        if languages == "en, de;q=0.5" {
            same("de;q=0.5, en");
        }
    };
    ask("en, de");
    ask("de, en");
    ask("en, de;q=0.5");
    gateway.get("/a").header("accept-language", "en, de").at(3).hit().content("en, de");
    gateway.get("/a").header("accept-language", "de, en").at(3).hit().content("de, en");
}
