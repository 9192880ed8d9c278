//! One refresh for a key in the whole fleet: the others take the new version from the remote store.

use crate::gateway::{Gateway, Origin, fresh_for, origin, unreachable};

const CONFIG: &str = r#"{"remote":{"enabled":true},"defaults":{"refresh":{"cluster":"origin"}}}"#;

fn stale(text: &str) -> Origin {
    let response = origin(200).header("cache-control", "max-age=10, stale-while-revalidate=100");
    response.header("etag", "\"1\"").body(text)
}

/// Two Envoys with the same record, which has expired in both, and a client of each has been served it.
fn expired(config: &str) -> [Gateway; 2] {
    let mut one = Gateway::with(config);
    one.get("/a").at(0).miss(stale("one"));
    one.sends();
    let mut two = Gateway::with(config);
    two.redis = one.redis.clone();
    two.get("/a").at(1).hit().detail("remote");
    for gateway in [&mut one, &mut two] {
        gateway.get("/a").at(11).hit().content("one").detail("stale-while-revalidate");
    }
    [one, two]
}

/// What one Envoy has done in the remote store is there for the other.
fn share(from: &mut Gateway, to: &mut Gateway) {
    from.sends();
    to.redis.records = from.redis.records.clone();
}

#[test]
fn the_first_to_claim_refreshes_and_the_other_takes_what_it_brings() {
    let [mut one, mut two] = expired(CONFIG);
    one.refreshes_nothing(0, 11);
    one.asks_about_refreshes(0, 11_000);
    share(&mut one, &mut two);
    two.asks_about_refreshes(0, 11_000);
    let refresh = one.refreshes(0, 11);
    two.refreshes_nothing(0, 11);
    two.asks_about_refreshes(0, 11_200);
    two.refreshes_nothing(0, 11);
    one.renews(0, refresh, 12, stale("two"));
    share(&mut one, &mut two);
    two.asks_about_refreshes(0, 12_000);
    two.refreshes_nothing(0, 12);
    two.get("/a").at(13).hit().content("two").ttl(8);
    assert_eq!((two.counted(0, "refresh", "elsewhere"), two.counted(0, "refresh", "adopted")), (1, 1));
    // The next version is claimed anew, although the claim to this one has not ended.
    two.get("/a").at_millis(22_500).hit().detail("stale-while-revalidate");
    two.asks_about_refreshes(0, 22_500);
    two.refreshes(0, 22);
}

#[test]
fn one_that_claims_when_the_other_is_done_takes_its_version() {
    let [mut one, mut two] = expired(CONFIG);
    one.asks_about_refreshes(0, 11_000);
    let refresh = one.refreshes(0, 11);
    one.renews(0, refresh, 12, stale("two"));
    one.sends();
    // The claim has ended by itself.
    let records = one.redis.records.iter().filter(|(_, record)| !record.starts_with(b"claim:"));
    two.redis.records = records.map(|(hash, record)| (*hash, record.clone())).collect();
    two.asks_about_refreshes(0, 12_000);
    two.refreshes_nothing(0, 12);
    two.get("/a").at(13).hit().content("two");
    two.assert_nobody_waits();
    one.assert_nobody_waits();
}

#[test]
fn a_claim_whose_fetch_fails_is_given_back() {
    let [mut one, mut two] = expired(CONFIG);
    one.asks_about_refreshes(0, 11_000);
    let claims = |gateway: &Gateway| {
        gateway.redis.records.values().filter(|record| record.starts_with(b"claim:")).count()
    };
    assert_eq!(claims(&one), 1);
    let refresh = one.refreshes(0, 11);
    one.renews(0, refresh, 12, unreachable());
    share(&mut one, &mut two);
    assert_eq!(claims(&one), 0);
    two.asks_about_refreshes(0, 12_000);
    let refresh = two.refreshes(0, 12);
    two.renews(0, refresh, 12, fresh_for(60).body("two"));
    two.get("/a").at(13).hit().content("two");
}

#[test]
fn one_whose_holder_dies_gives_up_and_a_later_request_claims_anew() {
    let [mut one, mut two] = expired(CONFIG);
    one.asks_about_refreshes(0, 11_000);
    share(&mut one, &mut two);
    for millis in [11_000, 12_000, 14_000, 16_000] {
        two.asks_about_refreshes(0, millis);
        two.refreshes_nothing(0, millis / 1000);
    }
    two.assert_nobody_waits();
    two.redis.records.retain(|_, record| !record.starts_with(b"claim:"));
    two.get("/a").at(17).hit().content("one");
    two.asks_about_refreshes(0, 17_000);
    two.refreshes(0, 17);
}

#[test]
fn without_an_answer_and_without_a_fleet_each_refreshes_by_itself() {
    let [mut one, mut two] = expired(CONFIG);
    two.redis.dead = true;
    one.asks_about_refreshes(0, 11_000);
    share(&mut one, &mut two);
    two.asks_about_refreshes(0, 11_000);
    two.refreshes(0, 11);
    let alone = r#"{"remote":{"enabled":true},"defaults":{"refresh":{"cluster":"origin"},"coalesce":{"fleet":false}}}"#;
    for mut gateway in expired(alone) {
        gateway.refreshes(0, 11);
    }
}
