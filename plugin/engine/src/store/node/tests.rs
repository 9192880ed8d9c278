//! The store against a fake host: journeys, deaths at every step, interruptions at every step, random
//! traffic.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use super::fake::{Died, Fake};
use super::*;

const HOUR: u64 = 3_600_000;
const NOW: u64 = 1_700_000_000_000;

fn hash(n: u64) -> u128 {
    let mut mixed = u128::from(n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
    mixed ^= mixed >> 61;
    mixed.wrapping_mul(0xD6E8_FEB8_6659_FD93_D6E8_FEB8_6659_FD93)
}

/// A record that says whose it is, and which.
fn record(key: u64, version: u64, length: usize) -> Vec<u8> {
    let mut record = Vec::new();
    record.extend_from_slice(&key.to_le_bytes());
    record.extend_from_slice(&version.to_le_bytes());
    record.resize(length.max(16), key as u8);
    record
}

fn whose(record: &[u8]) -> (u64, u64) {
    assert!(record[16..].iter().all(|&byte| byte == record[0]));
    let number = |at: usize| u64::from_le_bytes(record[at..at + 8].try_into().unwrap());
    (number(0), number(8))
}

fn limits(bytes: u64, buckets: u32) -> NodeLimits {
    NodeLimits { bytes, object_bytes: 1 << 20, buckets }
}

fn fake(budget: u64) -> Fake {
    let mut fake = Fake::default();
    fake.budget = Some(budget);
    fake
}

#[test]
fn a_record_put_by_one_worker_is_read_by_another_until_it_expires_or_is_removed() {
    let mut data = fake(1 << 20);
    let (mut a, mut b) = (NodeStore::new(limits(1 << 20, 64)), NodeStore::new(limits(1 << 20, 64)));
    assert_eq!(a.get(&mut data, hash(1), NOW), None);
    a.put(&mut data, hash(1), b"one", NOW + HOUR, NOW).unwrap();
    assert_eq!(b.get(&mut data, hash(1), NOW), Some(b"one".to_vec()));
    assert_eq!(b.get(&mut data, hash(1), NOW + HOUR), None);
    b.put(&mut data, hash(1), b"two", NOW + HOUR, NOW).unwrap();
    assert_eq!(a.get(&mut data, hash(1), NOW), Some(b"two".to_vec()));
    assert_eq!(data.data_bytes(), 3 + 24);
    assert!(a.remove(&mut data, hash(1), NOW));
    assert!(!a.remove(&mut data, hash(1), NOW));
    assert_eq!(b.get(&mut data, hash(1), NOW), None);
    assert_eq!((data.data_bytes(), b.bytes_used(&mut data)), (0, 0));
}

#[test]
fn a_hit_costs_two_calls_and_a_miss_one() {
    let mut data = fake(1 << 20);
    let mut store = NodeStore::new(limits(1 << 20, 64));
    store.put(&mut data, hash(1), b"one", NOW + HOUR, NOW).unwrap();
    let mut calls = |key: u64| {
        let before = data.calls;
        store.get(&mut data, hash(key), NOW);
        data.calls - before
    };
    assert_eq!(calls(1), 3, "the first read leaves its mark");
    assert_eq!(calls(1), 2);
    assert_eq!(calls(2), 1);
}

#[test]
fn what_cannot_be_stored_is_refused_with_the_reason() {
    let mut data = Fake::default();
    let mut store = NodeStore::new(NodeLimits { bytes: 1000, object_bytes: 500, buckets: 4 });
    assert_eq!(store.put(&mut data, hash(1), &[0; 501], NOW + 1, NOW), Err(PutError::TooLarge));
    assert_eq!(store.put(&mut data, hash(1), &[0; 500], NOW, NOW), Err(PutError::Expired));
    store.set_limits(NodeLimits { bytes: 0, object_bytes: 500, buckets: 4 });
    assert_eq!(store.put(&mut data, hash(1), &[0; 5], NOW + 1, NOW), Err(PutError::Disabled));
}

#[test]
fn the_keys_are_a_fixed_set_and_memory_is_bounded_under_many_distinct_records() {
    let budget = 200_000;
    let mut data = fake(budget);
    let mut store = NodeStore::new(limits(budget, 32));
    for key in 0..5_000 {
        store.put(&mut data, hash(key), &record(key, 0, 2000), NOW + HOUR, NOW + key * 10).unwrap();
        assert_eq!(store.get(&mut data, hash(key), NOW + key * 10), Some(record(key, 0, 2000)));
    }
    assert!(data.data_bytes() > budget / 2);
    assert!(data.keys().count() <= 32 * 9 + 2);
    assert_eq!(data.accounted(), data.data_bytes());
}

#[test]
fn records_that_are_read_outlive_a_scan() {
    let mut data = fake(1 << 20);
    let mut store = NodeStore::new(limits(1 << 20, 256));
    for key in 0..100 {
        store.put(&mut data, hash(key), &record(key, 0, 2000), NOW + HOUR, NOW).unwrap();
    }
    for scan in 1_000..4_000 {
        store.put(&mut data, hash(scan), &record(scan, 0, 2000), NOW + HOUR, NOW + scan).unwrap();
        store.get(&mut data, hash(scan % 100), NOW + scan);
    }
    let kept = (0..100).filter(|&key| store.get(&mut data, hash(key), NOW + 5000).is_some()).count();
    assert!(kept > 80, "{kept} of 100 kept");
}

#[test]
fn the_first_worker_decides_the_number_of_buckets() {
    let mut data = Fake::default();
    let (mut a, mut b) = (NodeStore::new(limits(1 << 20, 64)), NodeStore::new(limits(1 << 20, 128)));
    for key in 0..50 {
        a.put(&mut data, hash(key), &record(key, 0, 20), NOW + HOUR, NOW).unwrap();
        assert_eq!(b.get(&mut data, hash(key), NOW), Some(record(key, 0, 20)));
    }
    assert_eq!(b.buckets(), Some(64));
}

#[test]
fn a_lowered_budget_is_reached_by_audits_alone() {
    let mut data = Fake::default();
    let mut store = NodeStore::new(limits(1 << 20, 64));
    for key in 0..200 {
        store.put(&mut data, hash(key), &record(key, 0, 1000), NOW + HOUR, NOW).unwrap();
    }
    store.set_limits(limits(50_000, 64));
    store.audit(&mut data, NOW, 32);
    assert!(data.data_bytes() <= 50_000 && data.data_bytes() > 20_000, "{}", data.data_bytes());
    store.set_limits(limits(0, 64));
    store.audit(&mut data, NOW, 32);
    assert_eq!((data.data_bytes(), data.accounted()), (0, 0));
}

/// A store whose regions have 2400 buckets each, with some records that are over in an hour and some in a minute, and too much on the
/// account of each region.
fn large() -> (Fake, NodeStore) {
    let mut data = Fake::default();
    let mut store = NodeStore::new(limits(1 << 26, 32 * 2400));
    for key in 0..4000 {
        let lasts = if key % 2 == 0 { HOUR } else { 60_000 };
        store.put(&mut data, hash(key), &record(key, 0, 20), NOW + lasts, NOW).unwrap();
    }
    let (bytes, _) = data.get(names::ACCOUNT).unwrap();
    let mut account = Account::decode(&bytes).unwrap();
    (0..REGIONS).for_each(|region| account.reserve(region, 1000));
    data.put_raw(names::ACCOUNT, &account.encode());
    (data, store)
}

#[test]
fn a_step_of_an_audit_is_bounded_however_many_buckets_there_are() {
    let (mut data, mut store) = large();
    let held = data.data_bytes();
    for region in 1..=32 {
        let mut step = || {
            data.calls = 0;
            let goes_on = store.audit(&mut data, NOW + 61_000, 1);
            assert!(data.calls < 3 * audit::PART as usize, "{} calls", data.calls);
            goes_on
        };
        assert_eq!([step(), step(), step()], [true, true, false], "region {region}");
    }
    assert_eq!(data.data_bytes(), held / 2, "what is over has gone");
    assert_eq!(data.accounted(), data.data_bytes(), "its own freeing is no change that a recount minds");
    assert_eq!(store.usage(&mut data).0, 2000);
}

#[test]
fn a_recount_that_was_disturbed_between_two_steps_is_made_again() {
    let (mut data, mut store) = large();
    assert!(store.audit(&mut data, NOW, 1));
    let mut other = NodeStore::new(limits(1 << 26, 32 * 2400));
    for key in 4000..4200 {
        other.put(&mut data, hash(key), &record(key, 0, 20), NOW + HOUR, NOW).unwrap();
    }
    store.audit(&mut data, NOW, 2);
    assert_eq!(data.accounted(), data.data_bytes() + 32_000, "nothing is made of half a count");
    store.audit(&mut data, NOW, usize::MAX);
    assert_eq!(data.accounted(), data.data_bytes());
}

#[test]
fn garbage_in_any_key_is_absence_and_is_cleaned_up() {
    for garbage in [&b""[..], b"x", &[0xFF; 328], &[0; 4096]] {
        let mut data = Fake::default();
        let mut store = NodeStore::new(limits(1 << 20, 1));
        store.put(&mut data, hash(1), b"one", NOW + HOUR, NOW).unwrap();
        for key in ["sv1/b/0", "sv1/d/0/0", "sv1/d/0/1", "sv1/c", "sv1/a"] {
            data.put_raw(key, garbage);
            assert!(store.get(&mut data, hash(1), NOW).is_none_or(|found| found == b"one"));
            store.remove(&mut data, hash(1), NOW);
            assert_eq!(store.get(&mut data, hash(1), NOW), None);
            store.poll_changes(&mut data);
            store.audit(&mut data, NOW, 32);
            store.put(&mut data, hash(1), b"one", NOW + HOUR, NOW).unwrap();
            assert_eq!(store.get(&mut data, hash(1), NOW), Some(b"one".to_vec()));
        }
    }
}

/// The operations that are cut short or interrupted, each on a store that holds keys 0 to 19 at version 0 and
/// is nearly full.
const OPERATIONS: [&str; 5] = ["put new", "put again", "remove", "audit", "put large"];
const BUDGET: u64 = 21_000;

fn prepared() -> (Fake, NodeStore) {
    let mut data = fake(BUDGET);
    let mut store = NodeStore::new(limits(BUDGET, 4));
    for key in 0..20 {
        store.put(&mut data, hash(key), &record(key, 0, 1000), NOW + HOUR, NOW).unwrap();
    }
    data.calls = 0;
    (data, store)
}

fn operate(store: &mut NodeStore, data: &mut Fake, operation: &str, version: u64, now: u64) {
    let (key, length) = match operation {
        "put new" => (100, 1000),
        "put again" => (3, 700),
        "put large" => (100, 9000),
        "remove" => {
            store.remove(data, hash(3), now);
            return;
        }
        _ => {
            store.audit(data, now, 4);
            return;
        }
    };
    let _ = store.put(data, hash(key), &record(key, version, length), now + HOUR, now);
}

/// Every record found is the key's own, and the store still works and comes back to an exact account.
fn still_sound(data: &mut Fake, now: u64) {
    let mut store = NodeStore::new(limits(BUDGET, 4));
    for key in 0..130 {
        if let Some(found) = store.get(data, hash(key), now) {
            assert_eq!(whose(&found).0, key);
        }
    }
    let later = now + 11_000;
    store.audit(data, later, 32);
    assert!(data.accounted() >= data.data_bytes());
    for key in 0..130 {
        store.remove(data, hash(key), later);
        assert_eq!(store.get(data, hash(key), later), None);
    }
    store.audit(data, later, 32);
    assert_eq!((data.accounted(), data.data_bytes()), (0, 0), "nothing has leaked");
    store.put(data, hash(500), &record(500, 0, 20_000), later + HOUR, later).unwrap();
    assert_eq!(store.get(data, hash(500), later), Some(record(500, 0, 20_000)));
}

#[test]
fn a_death_at_any_step_leaves_the_store_sound_and_within_its_budget() {
    for operation in OPERATIONS {
        let mut steps = 0;
        loop {
            steps += 1;
            let (mut data, mut store) = prepared();
            data.die_at = Some(steps);
            let dying = AssertUnwindSafe(|| operate(&mut store, &mut data, operation, 1, NOW));
            match catch_unwind(dying) {
                Ok(()) => break,
                Err(cause) => assert!(cause.is::<Died>(), "{operation}, step {steps}"),
            }
            if operation == "remove" && steps > 4 {
                let mut other = NodeStore::new(limits(BUDGET, 4));
                assert_eq!(other.get(&mut data, hash(3), NOW), None, "step {steps}");
            }
            still_sound(&mut data, NOW);
        }
        assert!(steps > 5, "{operation} takes {steps} steps");
    }
}

#[test]
fn any_operation_may_run_inside_any_step_of_any_other() {
    for outer in OPERATIONS {
        for inner in OPERATIONS {
            let mut step = 0;
            loop {
                step += 1;
                let (mut data, mut store) = prepared();
                let ran = Arc::new(AtomicBool::new(false));
                let done = ran.clone();
                data.interrupt_at = Some((
                    step,
                    Box::new(move |data| {
                        done.store(true, Relaxed);
                        operate(&mut NodeStore::new(limits(BUDGET, 4)), data, inner, 2, NOW);
                    }),
                ));
                operate(&mut store, &mut data, outer, 1, NOW);
                if !ran.load(Relaxed) {
                    break;
                }
                if (outer, inner) == ("put again", "remove") {
                    let found = store.get(&mut data, hash(3), NOW).map(|found| whose(&found).1);
                    assert!(found.is_none_or(|version| version == 1), "the removed record is back");
                }
                if (outer, inner) == ("remove", "put again") {
                    let found = store.get(&mut data, hash(3), NOW).map(|found| whose(&found).1);
                    assert!(found.is_none_or(|version| version == 2), "the removed record is back");
                }
                still_sound(&mut data, NOW);
            }
        }
    }
}

#[test]
fn a_worker_that_sleeps_at_any_step_while_its_way_is_taken_does_no_harm() {
    for outer in OPERATIONS {
        let mut step = 0;
        loop {
            step += 1;
            let (mut data, mut store) = prepared();
            let ran = Arc::new(AtomicBool::new(false));
            let done = ran.clone();
            data.interrupt_at = Some((
                step,
                Box::new(move |data| {
                    done.store(true, Relaxed);
                    let later = NOW + 60_000;
                    let mut other = NodeStore::new(limits(BUDGET, 4));
                    other.audit(data, later, 32);
                    for key in 100..130 {
                        let _ = other.put(data, hash(key), &record(key, 2, 900), later + HOUR, later);
                    }
                    other.audit(data, later, 32);
                }),
            ));
            operate(&mut store, &mut data, outer, 1, NOW);
            if !ran.load(Relaxed) {
                break;
            }
            still_sound(&mut data, NOW + 60_000);
        }
    }
}

#[test]
fn when_every_swap_is_lost_an_operation_gives_up_within_a_bound() {
    for operation in OPERATIONS {
        let (mut data, mut store) = prepared();
        data.refuse_cas = true;
        operate(&mut store, &mut data, operation, 1, NOW);
        assert!(data.calls < 2_000, "{operation} made {} calls", data.calls);
        if operation == "remove" {
            assert_eq!(store.get(&mut data, hash(3), NOW), None);
        }
    }
}

#[test]
fn random_traffic_of_three_workers_agrees_with_a_map() {
    for seed in 1..=6u64 {
        let budget = 40_000;
        let mut data = fake(budget);
        let mut workers: Vec<_> = (0..3).map(|_| NodeStore::new(limits(budget, 8))).collect();
        let mut truth: HashMap<u64, (u64, u64)> = HashMap::new();
        let mut random = seed;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (random >> 33) % below
        };
        let (mut now, mut hits) = (NOW, 0);
        for version in 0..20_000 {
            now += next(50);
            let store = &mut workers[next(3) as usize];
            let key = next(150);
            match next(20) {
                0..8 => {
                    let expires = now + next(20_000);
                    let length = if next(30) == 0 { 12_000 } else { 16 + next(1500) as usize };
                    match store.put(&mut data, hash(key), &record(key, version, length), expires, now) {
                        Ok(()) => truth.insert(key, (version, expires)),
                        Err(PutError::Expired) => None,
                        Err(_) => truth.remove(&key),
                    };
                }
                8 => {
                    let live = truth.remove(&key).is_some_and(|(_, expires)| expires > now);
                    assert!(live || !store.remove(&mut data, hash(key), now));
                    store.remove(&mut data, hash(key), now);
                    assert_eq!(store.get(&mut data, hash(key), now), None);
                }
                9 => _ = store.audit(&mut data, now, 1),
                _ => {
                    if let Some(found) = store.get(&mut data, hash(key), now) {
                        hits += 1;
                        let (version, expires) = truth[&key];
                        assert_eq!(whose(&found), (key, version));
                        assert!(expires > now);
                    }
                }
            }
        }
        assert!(hits > 500, "{hits} hits");
        workers[0].audit(&mut data, now, 32);
        assert_eq!(data.accounted(), data.data_bytes());
    }
}

/// The host's own arrangement: one map behind one lock, a call at a time.
struct Locked(Arc<Mutex<Fake>>);

impl SharedData for Locked {
    fn get(&mut self, key: &str) -> Option<(Vec<u8>, u32)> {
        self.0.lock().unwrap().get(key)
    }

    fn set(&mut self, key: &str, value: &[u8], cas: u32) -> Result<(), CasMismatch> {
        self.0.lock().unwrap().set(key, value, cas)
    }
}

#[test]
fn workers_on_threads_never_read_another_key_nor_break_the_budget() {
    let budget = 40_000;
    let shared = Arc::new(Mutex::new(fake(budget)));
    std::thread::scope(|scope| {
        for worker in 0..4u64 {
            let mut data = Locked(shared.clone());
            scope.spawn(move || {
                let mut store = NodeStore::new(limits(budget, 8));
                let mut random = worker + 1;
                for step in 0..4_000 {
                    random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    let (key, act) = ((random >> 33) % 60, (random >> 40) % 10);
                    let now = NOW + step;
                    match act {
                        0..4 => {
                            let record = record(key, step, 200 + (random >> 50) as usize % 1500);
                            let _ = store.put(&mut data, hash(key), &record, now + 5_000, now);
                        }
                        4 => {
                            store.remove(&mut data, hash(key), now);
                        }
                        5 => _ = store.audit(&mut data, now, 1),
                        6 => store.append_change(&mut data, hash(key), now),
                        7 => drop(store.poll_changes(&mut data)),
                        _ => {
                            if let Some(found) = store.get(&mut data, hash(key), now) {
                                assert_eq!(whose(&found).0, key);
                            }
                        }
                    }
                }
            });
        }
    });
    let data = &mut *shared.lock().unwrap();
    let mut store = NodeStore::new(limits(budget, 8));
    store.audit(data, NOW + 60_000, 32);
    assert_eq!(data.accounted(), data.data_bytes());
}
