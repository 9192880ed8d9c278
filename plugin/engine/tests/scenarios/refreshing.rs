//! The cache renews what it has by requests of its own: stale-while-revalidate (RFC 5861 §3), early refreshes, and
//! lifetimes that do not end together.

use selvage_engine::cache::Refresh;
use selvage_engine::exchange::{NotSent, Wake};
use selvage_engine::fields::Fields;

use crate::gateway::{Gateway, Origin, fresh_for, origin, unreachable};

const CALLS: &str = r#"{"defaults":{"refresh":{"cluster":"origin"}}}"#;

fn stale(text: &str) -> Origin {
    origin(200)
        .header("cache-control", "max-age=10, stale-while-revalidate=100")
        .header("etag", "\"1\"")
        .body(text)
}

fn field(refresh: &Refresh, name: &str) -> Option<String> {
    let fields = Fields::parse(&refresh.request).unwrap();
    fields.get(name.as_bytes()).map(|value| String::from_utf8(value.to_vec()).unwrap())
}

#[test]
fn stale_is_served_at_once_and_renewed_without_a_client() {
    let mut gateway = Gateway::with(CALLS);
    gateway.get("/a").at(0).miss(stale("one"));
    gateway.get("/a").at(11).hit().detail("stale-while-revalidate").content("one").ttl(-1);
    let refresh = gateway.refreshes(0, 11);
    assert_eq!((&*refresh.cluster, refresh.timeout.as_secs()), ("origin", 5));
    for (name, value) in
        [(":method", "GET"), (":authority", "example.com"), (":path", "/a"), ("if-none-match", "\"1\"")]
    {
        assert_eq!(field(&refresh, name).as_deref(), Some(value), "{name}");
    }
    // One at a time, however many ask.
    for _ in 0..5 {
        gateway.get("/a").at(12).hit().detail("stale-while-revalidate");
    }
    gateway.refreshes_nothing(0, 12);
    gateway.renews(0, refresh, 13, fresh_for(60).body("two"));
    gateway.get("/a").at(14).hit().content("two").ttl(57).detail("worker");
    gateway.assert_nobody_waits();
    gateway.assert_no_room_is_taken();
    assert_eq!(gateway.counted(0, "refresh", "stored"), 1);
    assert_eq!(gateway.counted(0, "refresh", "queued"), 1);
    // Clients asked the origin once.
    assert_eq!(gateway.counted(0, "responses", "stored"), 1);
}

#[test]
fn what_is_stale_when_it_comes_is_renewed_too() {
    let mut gateway = Gateway::of_workers(2, CALLS);
    gateway.get("/a").at(0).miss(stale("one").header("age", "20"));
    for worker in [0, 0, 1] {
        gateway.get("/a").worker(worker).at(1).hit().content("one");
    }
    let refresh = gateway.refreshes(0, 1);
    gateway.refreshes_nothing(0, 1);
    gateway.renews(0, refresh, 2, fresh_for(60).body("two"));
    gateway.get("/a").at(3).hit().content("two");
    gateway.assert_nobody_waits();
}

#[test]
fn a_304_freshens_what_is_stored() {
    let mut gateway = Gateway::with(CALLS);
    gateway.get("/a").at(0).miss(stale("one"));
    gateway.get("/a").at(11).hit();
    let refresh = gateway.refreshes(0, 11);
    gateway.renews(0, refresh, 12, origin(304));
    gateway.get("/a").at(13).hit().content("one").ttl(8).detail("worker");
    assert_eq!(gateway.counted(0, "refresh", "freshened"), 1);
    gateway.assert_nobody_waits();
}

#[test]
fn a_refresh_asks_for_all_of_it_whatever_its_client_wanted() {
    let mut gateway = Gateway::with(CALLS);
    gateway.get("/a").at(0).miss(stale("one"));
    let call = gateway.head("/a").header("range", "bytes=0-1").header("if-modified-since", "x");
    let call = call.header("connection", "x-hop").header("x-hop", "1").header("x-envoy-max-retries", "9");
    call.header("cache-control", "max-stale").header("accept", "a/b").at(11).answered();
    gateway.refreshes_nothing(0, 11);
    let call = gateway.head("/a").header("range", "bytes=0-1").header("if-modified-since", "x");
    let call = call.header("connection", "x-hop").header("x-hop", "1").header("x-envoy-max-retries", "9");
    call.header("cache-control", "x=1").header("accept", "a/b").at(11).answered();
    let refresh = gateway.refreshes(0, 11);
    for name in
        ["range", "if-modified-since", "connection", "x-hop", "x-envoy-max-retries", "cache-control", "host"]
    {
        assert_eq!(field(&refresh, name), None, "{name}");
    }
    assert_eq!(field(&refresh, ":method").as_deref(), Some("GET"));
    assert_eq!(field(&refresh, "accept").as_deref(), Some("a/b"));
    gateway.renews(0, refresh, 12, fresh_for(60).body("two"));
    gateway.get("/a").at(13).hit().content("two");
}

#[test]
fn a_refresh_that_fails_leaves_what_is_stored_and_is_tried_again_later() {
    for failure in [unreachable(), origin(500).body("x"), origin(503), origin(429)] {
        let mut gateway = Gateway::with(CALLS);
        gateway.get("/a").at(0).miss(stale("one"));
        gateway.get("/a").at(11).hit();
        let refresh = gateway.refreshes(0, 11);
        gateway.renews(0, refresh, 12, failure);
        gateway.assert_nobody_waits();
        assert_eq!(gateway.counted(0, "refresh", "failed"), 1);
        gateway.get("/a").at(12).hit().content("one");
        gateway.refreshes_nothing(0, 12);
        gateway.get("/a").at(13).hit().content("one");
        let refresh = gateway.refreshes(0, 13);
        gateway.renews(0, refresh, 14, fresh_for(60).body("two"));
        gateway.get("/a").at(14).hit().content("two");
    }
}

#[test]
fn what_is_too_long_for_a_call_is_tried_again_after_a_pause_and_then_fetched_by_a_client() {
    let mut gateway = Gateway::with(CALLS);
    gateway.get("/a").at(0).miss(stale("one"));
    for at in [11, 13] {
        gateway.get("/a").at(at).hit().detail("stale-while-revalidate");
        let refresh = gateway.refreshes(0, at);
        gateway.cuts_off(0, refresh, at);
        for _ in 0..5 {
            gateway.get("/a").at(at).hit().content("one");
        }
        gateway.refreshes_nothing(0, at);
    }
    // Past its stale window clients ask by themselves, and nothing stands in for an origin that may be well.
    let flight = gateway.get("/a").at(120).leaves();
    gateway.answers(flight, 120, fresh_for(60).body("two")).stored();
    gateway.get("/a").at(121).hit().content("two");
    gateway.refreshes_nothing(0, 121);
    gateway.assert_nobody_waits();
    gateway.assert_no_room_is_taken();
}

#[test]
fn those_who_wait_for_an_answer_that_is_cut_off_ask_for_it_themselves() {
    let mut gateway = Gateway::with(CALLS);
    let allowed = "max-age=10, stale-while-revalidate=10, stale-if-error=1000";
    gateway.get("/a").at(0).miss(origin(200).header("cache-control", allowed).body("one"));
    gateway.get("/a").at(19).hit().detail("stale-while-revalidate");
    let refresh = gateway.refreshes(0, 19);
    let waiter = gateway.get("/a").at(22).waits();
    gateway.cuts_off(0, refresh, 23);
    let flight = gateway.wakes(waiter, Wake::Ended, 23).left();
    gateway.answers(flight, 23, fresh_for(60).body("two")).stored();
    gateway.get("/a").at(24).hit().content("two");
    gateway.assert_nobody_waits();
}

#[test]
fn what_the_origin_has_no_more_is_not_served_any_longer() {
    for answer in [origin(404), origin(200).header("cache-control", "no-store").body("secret")] {
        let mut gateway = Gateway::with(CALLS);
        gateway.get("/a").at(0).miss(stale("one"));
        gateway.get("/a").at(11).hit();
        let refresh = gateway.refreshes(0, 11);
        gateway.renews(0, refresh, 12, answer);
        gateway.get("/a").at(13).forwarded(origin(404)).status(404);
        gateway.assert_nobody_waits();
    }
}

#[test]
fn other_workers_do_not_renew_the_same() {
    let mut gateway = Gateway::of_workers(2, CALLS);
    gateway.get("/a").at(0).miss(stale("one"));
    gateway.get("/a").worker(0).at(11).hit();
    gateway.get("/a").worker(1).at(11).hit().content("one");
    gateway.refreshes_nothing(1, 11);
    assert_eq!(gateway.counted(1, "refresh", "busy"), 1);
    let refresh = gateway.refreshes(0, 11);
    gateway.renews(0, refresh, 12, fresh_for(60).body("two"));
    gateway.learns(1, 12);
    gateway.get("/a").worker(1).at(12).hit().content("two");
    gateway.assert_nobody_waits();
}

#[test]
fn a_request_past_the_window_waits_for_the_refresh_that_is_under_way() {
    let mut gateway = Gateway::with(CALLS);
    gateway
        .get("/a")
        .at(0)
        .miss(origin(200).header("cache-control", "max-age=10, stale-while-revalidate=2").body("one"));
    gateway.get("/a").at(11).hit();
    let refresh = gateway.refreshes(0, 11);
    let waiter = gateway.get("/a").at(13).waits();
    gateway.renews(0, refresh, 14, fresh_for(60).body("two"));
    let answer = gateway.wakes(waiter, selvage_engine::exchange::Wake::Ended, 14).answered();
    answer.content("two").says("collapsed");
    gateway.assert_nobody_waits();
}

#[test]
fn variants_are_renewed_each_for_its_own_requests() {
    let mut gateway = Gateway::with(CALLS);
    let variant = |text: &str| stale(text).header("vary", "accept-language");
    for (language, text) in [("en", "one"), ("de", "eins")] {
        gateway.get("/a").header("accept-language", language).at(0).forwarded(variant(text));
    }
    gateway.get("/a").header("accept-language", "de").at(11).hit().content("eins");
    let refresh = gateway.refreshes(0, 11);
    assert_eq!(field(&refresh, "accept-language").as_deref(), Some("de"));
    let new = fresh_for(60).header("vary", "accept-language").body("zwei");
    gateway.renews(0, refresh, 12, new);
    gateway.get("/a").header("accept-language", "de").at(12).hit().content("zwei");
    gateway.get("/a").header("accept-language", "en").at(12).hit().content("one");
}

#[test]
fn without_a_cluster_to_call_a_client_renews() {
    for config in ["{}", r#"{"defaults":{"refresh":{"clusters":["other"]}}}"#] {
        let mut gateway = Gateway::with(config);
        gateway.shared.cluster = "origin";
        gateway.get("/a").at(0).miss(stale("one"));
        gateway.get("/a").at(11).hit();
        gateway.refreshes_nothing(0, 11);
        gateway.get("/a").at(12).validates(origin(304));
    }
}

#[test]
fn a_cluster_is_learnt_from_responses_if_it_is_allowed_and_there_is_only_one() {
    let mut gateway = Gateway::with(r#"{"defaults":{"refresh":{"clusters":["origin","other"]}}}"#);
    gateway.shared.cluster = "origin";
    gateway.get("/a").at(1).miss(stale("one"));
    gateway.get("/b").at(2).miss(stale("one"));
    assert_eq!(gateway.shared.clusters_asked, 1, "once a minute");
    gateway.get("/a").at(12).hit();
    let refresh = gateway.refreshes(0, 12);
    assert_eq!(&*refresh.cluster, "origin");
    gateway.renews(0, refresh, 12, stale("two"));
    // Responses of the rule turn out to come from another one too: nobody knows any more whom to call.
    gateway.shared.cluster = "other";
    gateway.get("/c").at(70).miss(stale("one"));
    gateway.get("/b").at(80).hit();
    gateway.refreshes_nothing(0, 80);
    assert_eq!(gateway.counted(0, "refresh", "several-clusters"), 1);
}

#[test]
fn a_cluster_that_is_not_there_leaves_it_to_clients() {
    let mut gateway = Gateway::with(CALLS);
    gateway.get("/a").at(0).miss(stale("one"));
    gateway.get("/a").at(11).hit();
    let refresh = gateway.refreshes(0, 11);
    gateway.cannot_send(0, refresh, NotSent::UnknownCluster, 11);
    assert_eq!(gateway.counted(0, "refresh", "unknown-cluster"), 1);
    gateway.assert_nobody_waits();
    gateway.get("/a").at(12).hit();
    gateway.get("/a").at(12).validates(origin(304));
}

#[test]
fn credentials_of_a_client_are_not_used_without_it() {
    let mut gateway = Gateway::with(CALLS);
    let shared = origin(200).header("cache-control", "public, max-age=10, stale-while-revalidate=100");
    gateway.get("/a").at(0).miss(shared.body("one"));
    gateway.get("/a").header("authorization", "Basic x").at(11).hit();
    gateway.refreshes_nothing(0, 11);
    gateway.get("/a").at(12).hit();
    gateway.refreshes(0, 12);
}

#[test]
fn refreshes_that_wait_are_bounded_and_do_not_wait_for_ever() {
    let mut gateway = Gateway::with(CALLS);
    for nth in 0..300 {
        gateway.get(&format!("/{nth}")).at(0).miss(stale("one"));
    }
    for nth in 0..300 {
        gateway.get(&format!("/{nth}")).at(11).hit();
    }
    assert_eq!(gateway.workers[0].refreshes_queued(), 256);
    assert_eq!(gateway.counted(0, "refresh", "busy"), 44);
    gateway.refreshes_nothing(0, 16);
    gateway.assert_nobody_waits();
}

#[test]
fn what_is_asked_for_often_is_renewed_before_it_expires() {
    let mut gateway = Gateway::with(r#"{"defaults":{"refresh":{"cluster":"origin","early":1}}}"#);
    let response = fresh_for(60).header("etag", "\"1\"").body("one").after(1000);
    gateway.get("/a").at(0).miss(response);
    // Farther from its end than ten times what the fetch took nothing is renewed.
    for _ in 0..2000 {
        gateway.get("/a").at(49).hit();
    }
    gateway.refreshes_nothing(0, 49);
    // With one fetch's length left, more than one request in three does.
    let mut early = 0;
    for _ in 0..100 {
        gateway.get("/a").at(59).hit().content("one");
        early += usize::from(gateway.workers[0].refreshes_queued() > 0);
    }
    assert!(early > 90, "{early}");
    let refresh = gateway.refreshes(0, 59);
    gateway.refreshes_nothing(0, 59);
    gateway.renews(0, refresh, 60, origin(304).header("cache-control", "max-age=60"));
    gateway.get("/a").at(61).hit().content("one").ttl(58).detail("worker");
    gateway.assert_nobody_waits();
}

#[test]
fn nothing_is_renewed_early_unless_the_rule_says_so() {
    let mut gateway = Gateway::with(CALLS);
    gateway.get("/a").at(0).miss(fresh_for(60).after(1000));
    for _ in 0..200 {
        gateway.get("/a").at_millis(59_900).hit();
    }
    gateway.refreshes_nothing(0, 59);
}

#[test]
fn lifetimes_are_shortened_by_a_share_so_that_they_do_not_end_together() {
    let mut gateway = Gateway::of_workers(2, r#"{"defaults":{"ttl":{"jitter":20}}}"#);
    let mut lifetimes = Vec::new();
    for nth in 0..50 {
        let path = format!("/{nth}");
        let stored = gateway.get(&path).at(0).miss(fresh_for(1000).header("etag", "\"1\""));
        let here = ttl(&stored.cache_status());
        // The same for all workers, and with every look.
        let elsewhere = gateway.get(&path).worker(1).at(10).hit().age(10);
        assert_eq!(ttl(&elsewhere.cache_status()), here - 10);
        lifetimes.push(here);
    }
    let (least, most) = (*lifetimes.iter().min().unwrap(), *lifetimes.iter().max().unwrap());
    assert!((800..=1000).contains(&least) && (800..=1000).contains(&most) && most - least > 150);
    // A freshened one has another share taken.
    let answer = gateway.get("/0").at(1000).validates(origin(304).header("cache-control", "max-age=1000"));
    assert!((800..=1000).contains(&ttl(&answer.cache_status())));
}

fn ttl(line: &str) -> u64 {
    line.split("; ").find_map(|part| part.strip_prefix("ttl=")).unwrap().parse().unwrap()
}

#[test]
fn nothing_is_renewed_while_a_client_fetches_it_however_many_wait() {
    let mut gateway =
        Gateway::with(r#"{"worker":{"waiters":1},"defaults":{"refresh":{"cluster":"origin"}}}"#);
    let of = |language: &str| stale(language).header("vary", "accept-language");
    gateway.get("/a").header("accept-language", "en").at(0).miss(of("en"));
    gateway.get("/a").header("accept-language", "fr").at(0).miss(of("fr"));
    let picky = |gateway: &mut Gateway| {
        let call =
            gateway.get("/a").header("accept-language", "fr").header("cache-control", "max-age=5").at(11);
        call.send()
    };
    let leader = picky(&mut gateway).left();
    let waiter = picky(&mut gateway).waiting();
    gateway.get("/a").header("accept-language", "fr").at(11).hit().detail("stale-while-revalidate");
    gateway.refreshes_nothing(0, 11);
    // Another variant is another matter.
    gateway.get("/a").header("accept-language", "en").at(11).hit().detail("stale-while-revalidate");
    let refresh = gateway.refreshes(0, 11);
    gateway.renews(0, refresh, 12, of("en"));
    gateway.answers(leader, 12, of("fr")).stored();
    gateway.wakes(waiter, Wake::Ended, 12).answered().content("fr");
    gateway.assert_nobody_waits();
}

#[test]
fn the_node_store_is_left_alone_while_what_is_stale_is_being_renewed() {
    let mut gateway = Gateway::of_workers(2, CALLS);
    gateway.get("/a").at(0).miss(stale("one"));
    gateway.get("/a").worker(1).at(1).hit();
    gateway.get("/a").at(11).hit().detail("stale-while-revalidate");
    let refresh = gateway.refreshes(0, 11);
    // The worker that renews it asks no more, the other one now and then.
    let asked = |gateway: &mut Gateway, worker: usize| {
        let before = gateway.shared.gets;
        for n in 0..10 {
            gateway.get("/a").worker(worker).at_millis(12_000 + n).hit().content("one");
        }
        gateway.shared.gets - before
    };
    assert_eq!(asked(&mut gateway, 0), 0);
    let first = asked(&mut gateway, 1);
    assert!(first > 0 && asked(&mut gateway, 1) == 0, "{first} times");
    // A client that wants no stale response is not held up by that.
    gateway.get("/a").worker(1).header("cache-control", "max-age=5").at_millis(12_015).waits();
    gateway.renews(0, refresh, 13, fresh_for(60).body("two"));
    gateway.get("/a").worker(1).at_millis(13_000).hit().content("two");
    gateway.refreshes_nothing(1, 14);
}
