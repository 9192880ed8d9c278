//! What is counted of a journey, in the words of the list.

use selvage_engine::cache::Moment;
use selvage_engine::stats::list;

use crate::gateway::{Gateway, fresh_for, origin};

/// All that a worker has counted.
fn counted(gateway: &Gateway, worker: usize, family: &'static str) -> Vec<(&'static str, u64)> {
    let stats = &gateway.workers[worker].stats;
    let words = list::family(family).unwrap().words;
    let of_hits = |word: &str| match (family, word) {
        ("requests", "hit.worker") => stats.worker_hits,
        ("served_bytes", "worker") => stats.worker_bytes,
        _ => 0,
    };
    let count = |word| gateway.counted(worker, family, word) + of_hits(word);
    words.iter().map(|word| (*word, count(word))).filter(|(_, count)| *count > 0).collect()
}

#[test]
fn each_request_is_counted_once_by_what_came_of_it() {
    let mut gateway =
        Gateway::of_workers(2, r#"{"rules":[{"name":"b","match":{"paths":["/b"]},"bypass":true}]}"#);
    let page = || fresh_for(60).header("etag", "\"1\"").header("content-length", "3").body("one");
    gateway.get("/a").at(0).miss(page()).stored();
    gateway.get("/a").at(1).hit();
    gateway.get("/a").worker(1).at(1).hit().detail("node");
    gateway.get("/a").worker(1).at(2).hit();
    gateway.get("/a").header("cache-control", "max-stale").at(70).hit().detail("max-stale");
    gateway.get("/a").at(70).validates(origin(304).header("cache-control", "max-age=60"));
    gateway.get("/b").at(71).forwarded(fresh_for(60).header("content-length", "2").body("no"));
    gateway.get("/c").header("cache-control", "only-if-cached").at(72).answered().status(504);
    let requests = [
        ("hit.worker", 1),
        ("stale.node", 1),
        ("validated.origin", 1),
        ("miss.origin", 1),
        ("bypass.origin", 1),
        ("refused.none", 1),
    ];
    assert_eq!(counted(&gateway, 0, "requests"), requests);
    assert_eq!(counted(&gateway, 1, "requests"), [("hit.worker", 1), ("hit.node", 1)]);
    // A hit and what was validated; what was stale, of which the node might have known a newer one; `/a` of the origin. Of
    // bypasses like `/b` one in 64 counts for all.
    assert_eq!(counted(&gateway, 0, "served_bytes"), [("worker", 6), ("node", 3), ("origin", 3)]);
    assert_eq!(counted(&gateway, 1, "served_bytes"), [("worker", 3), ("node", 3)]);
    assert_eq!(counted(&gateway, 0, "responses"), [("stored", 2)]);
}

#[test]
fn what_leaves_the_stores_is_counted_by_the_reason() {
    let config = r#"{"worker":{"bytes":"64KiB"},"node":{"bytes":"256KiB","buckets":16}}"#;
    let mut gateway = Gateway::with(config);
    for nth in 0..200 {
        gateway.get(&format!("/{nth}")).at(0).miss(fresh_for(60).body([b'x'; 4000]));
    }
    gateway.workers[0].count_departures();
    for tier in ["worker", "node"] {
        assert!(gateway.counted(0, "evicted", tier) > 50, "{tier}: {}", gateway.counted(0, "evicted", tier));
        assert!(gateway.counted(0, "stored_bytes", tier) > 50_000, "{tier}");
    }
    // A week later nothing of it is of use.
    for nth in 0..2000 {
        let now = crate::gateway::moment((7 * 86_400 + nth * 60) * 1000);
        gateway.workers[0].sweep(&mut Moment { now, host: &mut gateway.shared });
    }
    gateway.workers[0].count_departures();
    for tier in ["worker", "node"] {
        assert!(gateway.counted(0, "expired", tier) > 0, "{tier}");
    }
    let now = crate::gateway::moment(8 * 86_400_000);
    let usage = gateway.workers[0].node_usage(&mut Moment { now, host: &mut gateway.shared });
    assert_eq!((usage, gateway.workers[0].worker_usage()), ((0, 0), (0, 0)));
}

#[test]
fn few_hits_and_each_store_are_measured() {
    let mut gateway = Gateway::with("{}");
    gateway.get("/a").at(0).miss(fresh_for(60).body([b'x'; 4000]).header("content-type", "text/plain"));
    for _ in 0..640 {
        gateway.get("/a").at(1).hit();
    }
    let samples = &gateway.workers[0].stats.samples;
    let of =
        |step| samples.iter().filter(move |(word, _)| *word == ("duration_us", step)).map(|(_, took)| *took);
    for (step, times) in [("key", 10), ("lookup", 10), ("store", 1), ("compress", 1), ("origin", 0)] {
        assert_eq!(of(step).count(), times, "{step}");
    }
    // The host's clock goes on by 7 whenever it is asked.
    assert!(["key", "lookup", "store", "compress"].iter().all(|step| of(step).all(|took| took == 7)));
}
