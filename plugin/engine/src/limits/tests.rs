//! Workers of a node under seeded loads: what is admitted, beside one bucket that knows everything.

use std::collections::BTreeMap;

use super::bucket::Bucket;
use super::bucket::Rate;
use super::*;
use crate::config::Config;
use crate::fields::FieldBlock;
use crate::host::CasMismatch;
use crate::request::Request;
use crate::store::node::fake::Fake;

fn limits(limits: &str) -> Vec<Limit> {
    Config::parse(format!(r#"{{"limits":[{limits}]}}"#).as_bytes()).unwrap().limits
}

/// A request of a client with such a key.
fn ask(
    worker: &mut Limits,
    limits: &[Limit],
    key: &str,
    now: u64,
    data: &mut dyn SharedData,
) -> Result<Admitted, Refused> {
    ask_all(worker, limits, key, now, data, &(0..limits.len()).collect::<Vec<_>>())
}

fn ask_all(
    worker: &mut Limits,
    limits: &[Limit],
    key: &str,
    now: u64,
    data: &mut dyn SharedData,
    limited: &[usize],
) -> Result<Admitted, Refused> {
    let block: FieldBlock = [(&b"x-key"[..], key.as_bytes())].into_iter().collect();
    let request = Request::read(block.fields(), false);
    let mut asking = Asking { request: &request, rule: "r", peer: &mut || None };
    let mut admitted = Admitted::default();
    let now = Timestamp::from_millis(now);
    let keys = keys_of(limits, limited, LimitCounts::Requests, None, &mut asking);
    match worker.admit(limits, (0, &keys), Patience::New, &mut admitted, now, data) {
        Ok(()) => Ok(admitted),
        Err(Denied::Refused(refused)) => Err(refused),
        Err(waits @ Denied::Waits { .. }) => panic!("{waits:?}"),
    }
}

fn random(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

const START: u64 = 1_800_000_000_000;

/// The most tokens that any window admits.
fn densest(admitted: &[u64], window: u64) -> usize {
    let mut begin = 0;
    (0..admitted.len())
        .map(|end| {
            while admitted[end] - admitted[begin] >= window {
                begin += 1;
            }
            end - begin + 1
        })
        .max()
        .unwrap_or(0)
}

#[test]
fn of_what_comes_back_slowly_nobody_is_refused_while_another_worker_holds_the_last_ones() {
    let limits = limits(r#"{"name":"l","by":["header:x-key"],"quota":5,"window":"1h","burst":5}"#);
    for order in 0..32u32 {
        let (mut data, mut now) = (Fake::default(), START);
        let mut fleet = [(); 2].map(|()| Limits::new(1_024, 1_024));
        for nth in 0..5 {
            let worker = &mut fleet[(order >> nth & 1) as usize];
            assert!(ask(worker, &limits, "a", now, &mut data).is_ok(), "{nth} of {order:05b}");
            now += 1;
        }
        assert!(fleet.iter_mut().all(|worker| ask(worker, &limits, "a", now, &mut data).is_err()));
    }
}

#[test]
fn no_window_admits_more_than_quota_and_burst_whoever_dies_and_no_less_than_one_bucket_would() {
    for seed in 1..=24u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let workers = 1 + random(&mut state) as usize % 4;
        let quota = [10, 100, 1_000][random(&mut state) as usize % 3];
        let window = [1_000, 3_000][random(&mut state) as usize % 2];
        let limits =
            limits(&format!(r#"{{"name":"l","by":["header:x-key"],"quota":{quota},"window":"{window}ms"}}"#));
        let burst = Limit::burst_of(quota);
        let rate = Rate::new(quota, window, burst);
        let mut data = Fake::default();
        let mut fleet: Vec<Limits> = (0..workers).map(|_| Limits::new(1_024, 1_024)).collect();
        let mut reference = Bucket::full(&rate, START);
        let (mut admitted, mut ideal) = (Vec::new(), 0u64);
        // From a third of the quota to three times as much, in turns of two seconds; odd seeds lose workers now and then.
        let dies = seed % 2 == 1;
        let mut now = START;
        let mut next_tick = now;
        while now < START + 30_000 {
            let load = [quota / 3, quota, quota * 3][(now - START) as usize / 2_000 % 3].max(1);
            let gap = window * 2_000 / load;
            now +=
                random(&mut state) % (gap / 1_000 + 1) + u64::from(random(&mut state) % 1_000 < gap % 1_000);
            if now >= next_tick {
                next_tick = now + 12;
                let time = Timestamp::from_millis(now);
                fleet.iter_mut().for_each(|worker| worker.tidy(time, &mut data));
                if dies && random(&mut state).is_multiple_of(40) {
                    let at = random(&mut state) as usize % workers;
                    fleet[at] = Limits::new(1_024, 1_024);
                }
            }
            let at = (random(&mut state) % (workers as u64 * workers as u64)).isqrt() as usize;
            let answer = ask(&mut fleet[at], &limits, "a", now, &mut data);
            if answer.is_ok() {
                admitted.push(now);
            }
            reference.fill(&rate, rate.full(), 1, now);
            if reference.level >= rate.units(1) {
                reference.level -= rate.units(1);
                ideal += 1;
            }
        }
        let most = densest(&admitted, window);
        assert!(most as u64 <= quota + burst, "seed {seed}: {most} of {quota} and {burst}");
        let least = ideal * if dies { 90 } else { 98 } / 100;
        let count = admitted.len() as u64;
        assert!(
            count >= least && count <= ideal + burst,
            "seed {seed}: {workers} workers admit {count} of {ideal}"
        );
    }
}

#[test]
fn at_three_times_the_quota_a_request_costs_few_calls() {
    let limits = limits(r#"{"name":"l","by":[],"quota":1000,"window":"1s"}"#);
    let mut data = Fake::default();
    let mut fleet = [Limits::new(1_024, 1_024), Limits::new(1_024, 1_024)];
    let mut admitted = 0;
    for nth in 0..30_000u64 {
        let now = START + nth / 3;
        admitted += u64::from(ask(&mut fleet[nth as usize % 2], &limits, "", now, &mut data).is_ok());
    }
    assert!((9_900..=10_100).contains(&admitted), "{admitted}");
    assert!(data.calls < 15_000, "{}", data.calls);
}

#[test]
fn who_is_refused_makes_no_call_until_he_may_come_again() {
    let limits = limits(r#"{"name":"l","by":["header:x-key"],"quota":60,"window":"1m","burst":2}"#);
    let (mut data, mut worker) = (Fake::default(), Limits::new(1_024, 1_024));
    assert!((0..2).all(|_| ask(&mut worker, &limits, "a", START, &mut data).is_ok()));
    assert_eq!(ask(&mut worker, &limits, "a", START, &mut data).unwrap_err().wait, 1_000);
    let calls = data.calls;
    for now in 1..1_000 {
        assert_eq!(ask(&mut worker, &limits, "a", START + now, &mut data).unwrap_err().wait, 1_000 - now);
    }
    assert_eq!(data.calls, calls);
    assert!(ask(&mut worker, &limits, "b", START + 1, &mut data).is_ok(), "another has his own");
    assert!(ask(&mut worker, &limits, "a", START + 1_000, &mut data).is_ok());
}

/// https://github.com/envoyproxy/envoy/issues/24682: who is refused by one bucket must not empty the other.
#[test]
fn what_one_limit_took_is_given_back_if_another_refuses() {
    let limits = limits(
        r#"{"name":"all","by":[],"quota":60,"window":"1m","burst":5},
           {"name":"key","by":["header:x-key"],"quota":60,"window":"1m","burst":1}"#,
    );
    let (mut data, mut worker) = (Fake::default(), Limits::new(1_024, 1_024));
    assert!(ask(&mut worker, &limits, "a", START, &mut data).is_ok());
    assert!((0..100).all(|_| ask(&mut worker, &limits, "a", START, &mut data).is_err()));
    for key in ["b", "c", "d", "e"] {
        assert!(ask(&mut worker, &limits, key, START, &mut data).is_ok(), "{key}");
    }
    assert_eq!(ask(&mut worker, &limits, "f", START, &mut data).unwrap_err().limit, 0);
}

/// https://github.com/envoyproxy/gateway/issues/9973: an evicted client came back with a full bucket.
#[test]
fn a_hundred_thousand_clients_are_bounded_and_none_of_them_comes_back_to_a_full_bucket() {
    let limits = limits(r#"{"name":"l","by":["header:x-key"],"quota":10,"window":"1h","burst":3}"#);
    let mut data = Fake::default();
    let mut fleet = [Limits::new(4_096, 16_384), Limits::new(4_096, 16_384)];
    let mut admitted: BTreeMap<u64, u32> = BTreeMap::new();
    let mut state = 7u64;
    for nth in 0..300_000u64 {
        let key = random(&mut state) % 100_000;
        let answer =
            ask(&mut fleet[nth as usize % 2], &limits, &key.to_string(), START + nth / 10, &mut data);
        *admitted.entry(key).or_default() += u32::from(answer.is_ok());
    }
    assert!(admitted.values().all(|count| *count <= 3), "{:?}", admitted.values().max());
    assert!(data.keys().count() <= 16_384 / 8 + 256, "{}", data.keys().count());
    let crowded: u64 = fleet.iter_mut().map(|worker| worker.take_counts().0.crowded).sum();
    assert!(crowded > 50_000, "{crowded}");
    for worker in &fleet {
        assert!(worker.usage().0 <= 4_096 && worker.usage().1 <= 512 << 10, "{:?}", worker.usage());
    }
    // Those who had a way keep it: of the first ten thousand and more each got all that was his.
    assert!(admitted.values().filter(|count| **count == 3).count() > 2_000);
}

/// Every other write is somebody else's.
struct Contended(Fake, u64);

impl SharedData for Contended {
    fn get(&mut self, key: &str) -> Option<(Vec<u8>, u32)> {
        self.0.get(key)
    }

    fn set(&mut self, key: &str, value: &[u8], cas: u32) -> Result<(), CasMismatch> {
        self.1 += 1;
        if self.1.is_multiple_of(2) { Err(CasMismatch) } else { self.0.set(key, value, cas) }
    }
}

#[test]
fn a_write_that_another_worker_was_ahead_of_is_tried_again_and_counts_once() {
    let limits = limits(r#"{"name":"l","by":["header:x-key"],"quota":60,"window":"1m","burst":10}"#);
    let (mut data, mut worker) = (Contended(Fake::default(), 1), Limits::new(1_024, 1_024));
    let admitted = (0..50).filter(|_| ask(&mut worker, &limits, "a", START, &mut data).is_ok()).count();
    assert_eq!(admitted, 10);
}

#[test]
fn where_others_are_always_first_nobody_is_admitted_unseen() {
    let limits = limits(r#"{"name":"l","by":["header:x-key"],"quota":60,"window":"1m"}"#);
    let (mut data, mut worker) = (Fake::default(), Limits::new(1_024, 1_024));
    assert!(ask(&mut worker, &limits, "a", START, &mut data).is_ok());
    data.refuse_cas = true;
    assert_eq!(ask(&mut worker, &limits, "a", START, &mut data).unwrap_err().wait, 1);
    assert_eq!(worker.take_counts().0.contended, 1);
}

#[test]
fn a_limit_that_only_watches_refuses_nothing_and_is_not_told_of() {
    let limits = limits(
        r#"{"name":"dry","by":[],"quota":1,"window":"1h","shadow":true},
           {"name":"real","by":[],"quota":100,"window":"1h"}"#,
    );
    let (mut data, mut worker) = (Fake::default(), Limits::new(1_024, 1_024));
    for _ in 0..5 {
        let admitted = ask(&mut worker, &limits, "", START, &mut data).unwrap();
        assert_eq!(admitted.standing.unwrap().limit, 1);
    }
    let (_, tallies) = worker.take_counts();
    assert_eq!(tallies.collect::<Vec<_>>(), [(0, Tally { admitted: 5, refused: 0, shadowed: 4 })]);
}

#[test]
fn the_tightest_of_several_is_told() {
    let limits = limits(
        r#"{"name":"wide","by":[],"quota":1000,"window":"1h"},
           {"name":"tight","by":["header:x-key"],"quota":100,"window":"1h"}"#,
    );
    let (mut data, mut worker) = (Fake::default(), Limits::new(1_024, 1_024));
    let standing = ask(&mut worker, &limits, "a", START, &mut data).unwrap().standing.unwrap();
    assert_eq!((standing.limit, standing.left), (1, 9));
}

#[test]
fn what_a_request_has_cost_is_owed_until_it_has_come_back() {
    let limits = limits(
        r#"{"name":"l","by":["header:x-key"],"quota":100,"window":"10s","burst":20,"cost_header":"x-cost"}"#,
    );
    let (mut data, mut worker) = (Fake::default(), Limits::new(1_024, 1_024));
    let mut admitted = ask(&mut worker, &limits, "a", START, &mut data).unwrap();
    let now = Timestamp::from_millis(START);
    worker.settle(&limits, &mut admitted, &mut |name| (name == b"x-cost").then_some(50), now, &mut data);
    assert!(admitted.owing.is_empty());
    // 30 below 0, and one is needed.
    assert_eq!(ask(&mut worker, &limits, "a", START, &mut data).unwrap_err().wait, 3_100);
    assert!(ask(&mut worker, &limits, "a", START + 3_100, &mut data).is_ok());
    // A response that says nothing costs what was taken.
    let mut admitted = ask(&mut worker, &limits, "b", START, &mut data).unwrap();
    worker.settle(&limits, &mut admitted, &mut |_| None, now, &mut data);
    assert!((0..19).all(|_| ask(&mut worker, &limits, "b", START, &mut data).is_ok()));
}

#[test]
fn what_is_damaged_in_shared_data_begins_anew() {
    let limits = limits(r#"{"name":"l","by":[],"quota":60,"window":"1m","burst":1}"#);
    let (mut data, mut worker) = (Fake::default(), Limits::new(1_024, 1_024));
    assert!(ask(&mut worker, &limits, "", START, &mut data).is_ok());
    let key = data.keys().next().unwrap().clone();
    data.put_raw(&key, b"svl1 nonsense");
    let mut worker = Limits::new(1_024, 1_024);
    assert!(ask(&mut worker, &limits, "", START, &mut data).is_ok());
    assert!(ask(&mut worker, &limits, "", START, &mut data).is_err());
}
