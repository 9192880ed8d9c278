//! What has expired in the whole fleet and may not be served stale: one Envoy asks the origin, the others wait for its record.
//!
//! Where a test is after a fault that another cache had, its name is beside it.

use selvage_engine::exchange::Wake;

use crate::gateway::{Gateway, Origin, Sent, fresh_for, origin, unreachable};

const CONFIG: &str = r#"{"remote":{"enabled":true}}"#;

fn version(text: &str) -> Origin {
    fresh_for(10).header("etag", &format!("\"{text}\"")).body(text)
}

/// Envoys with the same record, which expires by 10 in all of them. The last has never asked for it.
fn fleet<const N: usize>(config: &str, version: Origin) -> [Gateway; N] {
    let mut first = Gateway::with(config);
    first.get("/a").at(0).miss(version);
    first.sends();
    let mut all = std::array::from_fn(|_| Gateway::with(config));
    for gateway in &mut all {
        gateway.redis = first.redis.clone();
    }
    for gateway in all.iter_mut().rev().skip(1) {
        gateway.get("/a").at(0).hit().detail("remote");
    }
    all
}

/// What one Envoy has done in the remote store is there for the other.
fn share(from: &mut Gateway, to: &mut Gateway) {
    from.sends();
    to.redis.records = from.redis.records.clone();
}

fn claims(gateway: &Gateway) -> Vec<&[u8]> {
    let values = gateway.redis.records.values().map(Vec::as_slice);
    values.filter(|value| value.starts_with(b"claim:")).collect()
}

#[test]
fn one_asks_the_origin_and_the_others_get_its_record() {
    let [mut one, mut two, mut three] = fleet(CONFIG, version("one"));
    let flight = one.get("/a").at(11).leaves();
    assert!(flight.is_conditional());
    share(&mut one, &mut two);
    share(&mut one, &mut three);
    let others = [two.get("/a").at(11).sent().waiting(), three.get("/a").at(11).sent().waiting()];
    one.answers(flight, 12, version("two"));
    share(&mut one, &mut two);
    share(&mut one, &mut three);
    for (gateway, other) in [&mut two, &mut three].into_iter().zip(others) {
        gateway.wakes(other, Wake::Poll, 12).answered().content("two").says("collapsed").detail("remote");
        gateway.get("/a").at(13).hit().content("two");
        gateway.assert_nobody_waits();
    }
    // The next version is claimed anew, although the claim of this one has not ended.
    assert_eq!(claims(&two).len(), 1);
    two.get("/a").at(22).leaves();
    assert_eq!(claims(&two).len(), 2);
}

#[test]
fn in_the_very_moment_of_its_end_it_is_claimed_as_later() {
    let [mut one, mut two] = fleet(CONFIG, version("one"));
    drop(one.get("/a").at(10).leaves());
    share(&mut one, &mut two);
    two.get("/a").at(10).sent().waiting();
}

#[test]
fn a_confirmation_is_for_all_too() {
    let [mut one, mut two] = fleet(CONFIG, version("one"));
    let flight = one.get("/a").at(11).leaves();
    share(&mut one, &mut two);
    let other = two.get("/a").at(11).sent().waiting();
    one.answers(flight, 12, origin(304).header("etag", "\"one\"").header("cache-control", "max-age=10"));
    share(&mut one, &mut two);
    two.wakes(other, Wake::Poll, 12).answered().content("one").says("collapsed");
}

#[test]
fn who_comes_when_the_record_is_there_takes_it_without_a_claim() {
    let [mut one, mut two] = fleet(CONFIG, version("one"));
    let flight = one.get("/a").at(11).leaves();
    one.answers(flight, 12, version("two"));
    share(&mut one, &mut two);
    two.get("/a").at(13).hit().content("two").detail("remote");
    assert_eq!(claims(&two).len(), 1);
}

/// omegaup/omegaup#9014: who gets a lock asks again whether there is something by now. Here a claim outlives its fetch.
#[test]
fn who_saw_the_old_record_a_moment_ago_does_not_fetch_once_more() {
    let [mut one, mut two] = fleet(CONFIG, version("one"));
    let flight = one.get("/a").at(11).leaves();
    let mut old = two.redis.clone();
    one.answers(flight, 12, version("two"));
    share(&mut one, &mut two);
    // The first answer is from before, the second from after.
    std::mem::swap(&mut old, &mut two.redis);
    let asking = two.get("/a").at(12).asks();
    let claim = two.remote_leads_on(asking, 12);
    std::mem::swap(&mut old, &mut two.redis);
    let other = two.remote_answers(claim, 12).waiting();
    two.wakes(other, Wake::Poll, 12).answered().content("two").says("collapsed");
}

/// bbangert/retools#8: a lock that nobody gives back keeps everybody out for ever.
#[test]
fn a_claim_whose_owner_has_died_is_waited_for_so_long_and_no_longer() {
    let [mut one, mut two] = fleet(CONFIG, version("one"));
    drop(one.get("/a").at(11).leaves());
    share(&mut one, &mut two);
    let mut other = two.get("/a").at(11).sent().waiting();
    for at in 12..16 {
        other = two.wakes(other, Wake::Poll, at).waiting();
    }
    let flight = two.wakes(other, Wake::Poll, 16).left();
    assert_eq!(two.counted(0, "coalesce", "polled-enough"), 1);
    two.answers(flight, 17, version("two"));
    two.get("/a").at(18).hit().content("two");
}

/// flyingsquirrel0419/layercache#65: when the one that fetches fails, one of the others does, and not all of them.
#[test]
fn a_fetch_that_fails_gives_the_claim_to_one_other() {
    let [mut one, mut two, mut three] = fleet(CONFIG, version("one"));
    let flight = one.get("/a").at(11).leaves();
    share(&mut one, &mut two);
    share(&mut one, &mut three);
    let second = two.get("/a").at(11).sent().waiting();
    let third = three.get("/a").at(11).sent().waiting();
    one.answers(flight, 12, origin(500));
    share(&mut one, &mut two);
    assert!(claims(&two).is_empty());
    let flight = two.wakes(second, Wake::Poll, 12).left();
    share(&mut two, &mut three);
    let third = three.wakes(third, Wake::Poll, 12).waiting();
    two.answers(flight, 13, version("two"));
    share(&mut two, &mut three);
    three.wakes(third, Wake::Poll, 13).answered().content("two");
}

#[test]
fn who_leaves_gives_its_claim_back() {
    let [mut one, _] = fleet(CONFIG, version("one"));
    let flight = one.get("/a").at(11).leaves();
    assert_eq!(claims(&one).len(), 1);
    one.goes_away(flight, 12);
    one.sends();
    assert!(claims(&one).is_empty());
    one.assert_nobody_waits();
}

#[test]
fn an_answer_that_is_not_to_be_stored_lets_all_go() {
    let [mut one, mut two, mut three] = fleet(CONFIG, version("one"));
    let flight = one.get("/a").at(11).leaves();
    share(&mut one, &mut two);
    let other = two.get("/a").at(11).sent().waiting();
    one.answers(flight, 12, origin(200).header("cache-control", "no-store").body("for one"));
    share(&mut one, &mut two);
    share(&mut one, &mut three);
    two.wakes(other, Wake::Poll, 12).left();
    three.get("/a").at(12).leaves();
}

/// varnishcache/varnish-cache#3461: what is over at once makes those who wait take turns.
#[test]
fn nobody_waits_for_what_is_confirmed_before_each_use() {
    for always in ["no-cache", "max-age=0, must-revalidate"] {
        let kept = || origin(200).header("cache-control", always).header("etag", "\"1\"").body("one");
        let mut first = Gateway::with(CONFIG);
        first.get("/a").at(0).forwarded(kept());
        first.sends();
        let mut second = Gateway::with(CONFIG);
        share(&mut first, &mut second);
        for gateway in [&mut first, &mut second] {
            assert!(gateway.get("/a").at(20).leaves().is_conditional());
            assert!(claims(gateway).is_empty(), "{always}");
        }
    }
}

#[test]
fn a_renewal_that_is_over_when_it_comes_is_not_waited_for_again() {
    let brief = |text: &str| {
        origin(200).header("cache-control", "max-age=1, must-revalidate").header("etag", "\"1\"").body(text)
    };
    let [mut one, mut two] = fleet(CONFIG, brief("one"));
    let flight = one.get("/a").at(11).leaves();
    share(&mut one, &mut two);
    let other = two.get("/a").at(11).sent().waiting();
    one.answers(flight, 12, brief("two"));
    share(&mut one, &mut two);
    assert!(two.wakes(other, Wake::Poll, 14).left().is_conditional());
}

#[test]
fn without_an_answer_and_without_a_fleet_each_asks_by_itself() {
    let [mut one, mut two] = fleet(CONFIG, version("one"));
    drop(one.get("/a").at(11).leaves());
    share(&mut one, &mut two);
    two.redis.dead = true;
    two.get("/a").at(11).leaves();
    let alone = r#"{"remote":{"enabled":true},"defaults":{"coalesce":{"fleet":false}}}"#;
    for mut gateway in fleet::<2>(alone, version("one")) {
        gateway.get("/a").at(11).leaves();
        assert!(claims(&gateway).is_empty());
    }
}

/// The record is answered, and the claim is not.
#[test]
fn a_claim_that_is_not_answered_is_done_without() {
    let [mut one, mut two] = fleet(CONFIG, version("one"));
    drop(one.get("/a").at(11).leaves());
    share(&mut one, &mut two);
    let asking = two.get("/a").at(11).asks();
    let claim = two.remote_leads_on(asking, 11);
    two.redis.dead = true;
    two.remote_answers(claim, 11).left();
}

#[test]
fn what_lies_where_a_claim_would_and_is_none_is_done_without() {
    let [mut one, mut two] = fleet(CONFIG, version("one"));
    drop(one.get("/a").at(11).leaves());
    share(&mut one, &mut two);
    let record = two.redis.records.values().find(|value| !value.starts_with(b"claim:")).cloned().unwrap();
    for value in two.redis.records.values_mut() {
        value.clone_from(&record);
    }
    two.get("/a").at(11).leaves();
}

#[test]
fn these_ask_by_themselves() {
    let [mut one, mut two] = fleet(CONFIG, version("one"));
    drop(one.get("/a").at(11).leaves());
    share(&mut one, &mut two);
    two.head("/a").at(11).leaves();
    for directive in ["no-cache", "max-age=0", "no-store"] {
        two.get("/a").header("cache-control", directive).at(11).leaves();
    }
    two.get("/a").header("authorization", "Basic YTpi").at(11).leaves();
    assert_eq!(claims(&two).len(), 1);
    // What it accepts stale is there.
    two.get("/a").header("cache-control", "max-stale=100").at(11).hit().content("one");
    let waiting = two.get("/a").header("cache-control", "max-age=100").at(11).sent();
    assert!(matches!(waiting, Sent::Waits(_)));
}

#[test]
fn a_rule_that_only_watches_claims_nothing() {
    let [_, mut two] = fleet(CONFIG, version("one"));
    let mut watching = Gateway::with(r#"{"remote":{"enabled":true},"defaults":{"shadow":true}}"#);
    share(&mut two, &mut watching);
    watching.get("/a").at(11).leaves();
    assert!(claims(&watching).is_empty());
}

#[test]
fn what_stands_in_for_an_origin_in_trouble_still_does() {
    let brief = || version("one").header("cache-control", "max-age=10, stale-if-error=100");
    let [mut one, mut two] = fleet(CONFIG, brief());
    let flight = one.get("/a").at(11).leaves();
    share(&mut one, &mut two);
    let other = two.get("/a").at(11).sent().waiting();
    one.answers(flight, 12, unreachable()).content("one").detail("stale-if-error");
    share(&mut one, &mut two);
    let flight = two.wakes(other, Wake::Poll, 12).left();
    two.answers(flight, 13, unreachable()).content("one").detail("stale-if-error");
    two.sends();
    assert!(claims(&two).is_empty());
}

#[test]
fn the_other_worker_of_an_envoy_waits_for_the_one_that_waits() {
    let [mut one] = fleet(CONFIG, version("one"));
    let mut two = Gateway::of_workers(2, CONFIG);
    share(&mut one, &mut two);
    drop(one.get("/a").at(11).leaves());
    share(&mut one, &mut two);
    let first = two.get("/a").worker(0).at(11).sent().waiting();
    let second = two.get("/a").worker(1).at(11).waits();
    one.redis = two.redis.clone();
    let mut three = Gateway::with(CONFIG);
    three.get("/a").at(11).miss(version("two"));
    share(&mut three, &mut two);
    two.wakes(first, Wake::Poll, 12).answered().content("two");
    two.looks_after_fills(1, 12);
    assert!(two.is_woken(1, &second));
    two.wakes(second, Wake::Poll, 12).answered().content("two");
}

#[test]
fn a_refresh_and_a_client_wait_for_each_other() {
    let config = r#"{"remote":{"enabled":true},"defaults":{"refresh":{"cluster":"origin"}}}"#;
    let window = || version("one").header("cache-control", "max-age=10, stale-while-revalidate=5");
    let [mut one, mut two] = fleet(config, window());
    one.get("/a").at(14).hit().detail("stale-while-revalidate");
    one.asks_about_refreshes(0, 14_000);
    let refresh = one.refreshes(0, 14);
    share(&mut one, &mut two);
    let client = two.get("/a").at(16).sent().waiting();
    one.renews(0, refresh, 16, origin(200).header("cache-control", "private").body("for one"));
    share(&mut one, &mut two);
    two.wakes(client, Wake::Poll, 16).left();
}
