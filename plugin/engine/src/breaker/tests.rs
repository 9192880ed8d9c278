//! The breaker as its caller sees it, alone and shared.

use std::collections::HashMap;

use super::*;
use crate::host::{CasMismatch, SharedData};

const FAST: CallResult = CallResult::Success { latency: Duration::from_millis(2) };
const SLOW: CallResult = CallResult::Success { latency: Duration::from_millis(45) };
const KEY: &str = "sv1/k/redis";

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + millis)
}

fn breaker() -> Breaker {
    Breaker::new(Config { jitter: 0.0, ..Config::default() })
}

/// A call that is admitted and has this result, all at one moment.
fn call(breaker: &mut Breaker, result: CallResult, now: Timestamp) -> Admit {
    let admit = breaker.admit(now, 1);
    if admit != Admit::Refused {
        breaker.record(admit, result, now, 1);
    }
    admit
}

fn opened() -> Breaker {
    let mut breaker = breaker();
    (0..5).for_each(|_| _ = call(&mut breaker, CallResult::Failure, at(0)));
    assert_eq!(breaker.state(at(0)), State::Open { until: at(500) });
    breaker
}

#[test]
fn enough_bad_calls_among_enough_calls_open_it() {
    use CallResult::{Dropped, Failure, Timeout};
    type Row = (&'static str, &'static [(CallResult, usize)], &'static str);
    let rows: [Row; 13] = [
        ("too few calls", &[(Failure, 4)], "closed"),
        ("all fail", &[(Failure, 5)], "open"),
        ("all time out", &[(Timeout, 5)], "open"),
        ("failures and timeouts count together", &[(FAST, 4), (Failure, 2), (Timeout, 2)], "open"),
        ("less than half", &[(FAST, 6), (Failure, 5)], "closed"),
        ("half", &[(FAST, 6), (Failure, 6)], "open"),
        ("slow calls", &[(FAST, 4), (SLOW, 6)], "open"),
        ("fewer slow calls", &[(FAST, 4), (SLOW, 5)], "closed"),
        ("what times out is slow", &[(FAST, 4), (SLOW, 4), (Timeout, 2)], "open"),
        ("failures in a row after many good calls", &[(FAST, 1000), (Failure, 10)], "open"),
        ("slow calls in a row after many good ones", &[(FAST, 1000), (SLOW, 10)], "open"),
        (
            "failures with a good call among them",
            &[(FAST, 1000), (Failure, 9), (FAST, 1), (Failure, 9)],
            "closed",
        ),
        ("what was dropped says nothing", &[(Dropped, 100), (Failure, 4)], "closed"),
    ];
    for (name, calls, state) in rows {
        let mut breaker = breaker();
        for (result, times) in calls {
            (0..*times).for_each(|_| _ = call(&mut breaker, *result, at(0)));
        }
        assert_eq!(breaker.state(at(0)).as_str(), state, "{name}");
    }
}

#[test]
fn calls_that_left_the_window_are_forgotten() {
    let mut breaker = breaker();
    for turn in 0..100 {
        assert_eq!(call(&mut breaker, CallResult::Failure, at(turn * 2_501)), Admit::Pass, "{turn}");
    }
}

#[test]
fn it_refuses_probes_one_at_a_time_and_closes() {
    let mut breaker = opened();
    assert_eq!(breaker.admit(at(499), 1), Admit::Refused);
    for turn in 0..3 {
        assert_eq!(breaker.state(at(500)), State::HalfOpen);
        let probe = breaker.admit(at(500), 1);
        assert!(matches!(probe, Admit::Probe(_)), "{turn}: {probe:?}");
        assert_eq!(breaker.admit(at(501), 1), Admit::Refused);
        breaker.record(probe, FAST, at(502), 1);
    }
    assert_eq!(breaker.state(at(502)), State::Closed);
    let counters = breaker.counters();
    assert_eq!((counters.opened_by_failures, counters.half_opened, counters.closed), (1, 1, 1));
    assert_eq!((counters.probes, counters.refused), (3, 4));
    assert_eq!(call(&mut breaker, CallResult::Failure, at(503)), Admit::Pass, "the window is empty again");
    assert_eq!(breaker.state(at(503)), State::Closed);
}

#[test]
fn each_probe_that_fails_or_is_slow_makes_the_pause_longer() {
    for bad in [CallResult::Failure, CallResult::Timeout, SLOW] {
        let mut breaker = opened();
        let mut now = 500;
        for pause in [1000, 2000, 4000, 4000] {
            assert!(matches!(call(&mut breaker, bad, at(now)), Admit::Probe(_)));
            assert_eq!(breaker.state(at(now)), State::Open { until: at(now + pause) }, "{bad:?}");
            now += pause;
        }
        assert_eq!(breaker.counters().reopened, 4);
    }
}

#[test]
fn a_lost_probe_is_replaced_and_its_late_answer_is_nobodys() {
    let mut breaker = opened();
    let lost = breaker.admit(at(500), 1);
    assert_eq!(breaker.admit(at(1_499), 1), Admit::Refused);
    let next = breaker.admit(at(1_500), 1);
    assert!(matches!(next, Admit::Probe(_)) && next != lost);
    assert!(!breaker.record(lost, CallResult::Failure, at(1_501), 1));
    assert_eq!(breaker.admit(at(1_502), 1), Admit::Refused, "the second is still out");
    assert!(breaker.record(next, CallResult::Dropped, at(1_503), 1));
    assert!(matches!(breaker.admit(at(1_503), 1), Admit::Probe(_)), "a dropped one makes way");
    assert_eq!(breaker.counters().lost_probes, 1);
}

#[test]
fn answers_to_calls_from_before_it_opened_decide_nothing() {
    let mut breaker = opened();
    assert!(!breaker.record(Admit::Pass, FAST, at(1), 1));
    let probe = breaker.admit(at(500), 1);
    assert!(!breaker.record(Admit::Pass, CallResult::Failure, at(501), 1));
    assert_eq!(breaker.state(at(501)), State::HalfOpen);
    assert!(breaker.record(probe, CallResult::Failure, at(502), 1));
}

#[test]
fn a_clock_that_is_set_back_does_not_keep_it_open() {
    let mut breaker = opened();
    let long_ago = Timestamp::from_millis(5);
    assert!(matches!(breaker.admit(long_ago, 1), Admit::Probe(_)));
}

#[test]
fn a_cluster_slower_than_the_origin_for_long_is_not_asked() {
    let mut breaker = breaker();
    let mut origin = Latency::new(Duration::from_secs(5));
    let ten = CallResult::Success { latency: Duration::from_millis(10) };
    let mut opened_at = None;
    for turn in 0..200 {
        let now = at(turn * 100);
        origin.record(Duration::from_millis(5), now);
        if call(&mut breaker, ten, now) == Admit::Refused {
            opened_at.get_or_insert(turn * 100);
        }
        breaker.compare(&origin, now);
    }
    // Five seconds until it has lasted, then ten slow calls in a row.
    assert!(opened_at.is_some_and(|millis| (5_900..7_500).contains(&millis)), "{opened_at:?}");
    assert_eq!(breaker.counters().opened_by_slowness, 1);
    // As slow as before: its probes do not close it. Faster than the origin: they do.
    let later = at(30_000);
    assert!(matches!(call(&mut breaker, ten, later), Admit::Probe(_)));
    assert_ne!(breaker.state(later), State::Closed);
    let later = at(40_000);
    (0..3).for_each(|_| _ = call(&mut breaker, FAST, later));
    assert_eq!(breaker.state(later), State::Closed);
    assert!(!breaker.is_outpaced());
}

#[test]
fn a_cluster_faster_than_the_origin_stays_closed() {
    let mut breaker = breaker();
    let mut origin = Latency::new(Duration::from_secs(5));
    for turn in 0..200 {
        let now = at(turn * 100);
        origin.record(Duration::from_millis(if turn == 100 { 0 } else { 5 }), now);
        assert_eq!(call(&mut breaker, FAST, now), Admit::Pass);
        breaker.compare(&origin, now);
    }
}

#[test]
fn a_cluster_that_is_slower_by_a_hair_is_asked_all_the_same() {
    let mut breaker = breaker();
    let mut origin = Latency::new(Duration::from_secs(5));
    for turn in 0..300 {
        let now = at(turn * 100);
        origin.record(Duration::ZERO, now);
        assert_eq!(call(&mut breaker, FAST, now), Admit::Pass);
        breaker.compare(&origin, now);
    }
    assert!(!breaker.is_outpaced());
}

#[test]
fn the_shared_form_survives_the_way_and_damage_does_not() {
    let mut data = Data::default();
    let mut breaker = opened();
    assert!(breaker.sync(&mut data, KEY, at(7)));
    let (bytes, _) = data.get(KEY).unwrap();
    assert_eq!(bytes.len(), LENGTH);
    let shared = Shared::decode(&bytes).unwrap();
    assert_eq!((shared.encode(), shared.written()), (bytes.clone(), at(7)));
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 0x10);
        assert_eq!(Shared::decode(&damaged), None, "{at}");
        damaged.truncate(at);
        assert_eq!(Shared::decode(&damaged), None, "{at}");
    }
}

#[test]
fn one_workers_discovery_spares_the_other() {
    let mut data = Data::default();
    let (mut a, mut b) = (opened(), breaker());
    assert!(a.needs_sync());
    assert!(a.sync(&mut data, KEY, at(1)) && b.sync(&mut data, KEY, at(1)));
    assert!(!a.needs_sync());
    assert_eq!(b.state(at(1)), State::Open { until: at(500) });
    let calls = data.calls;
    assert_eq!(b.admit_shared(&mut data, KEY, at(2), 1), Admit::Refused);
    assert_eq!(data.calls, calls, "a pause costs nothing");

    let probe = b.admit_shared(&mut data, KEY, at(500), 1);
    assert!(matches!(probe, Admit::Probe(_)));
    assert_eq!(a.admit_shared(&mut data, KEY, at(500), 1), Admit::Refused, "one probe a node");
    b.record(probe, FAST, at(501), 1);
    b.sync(&mut data, KEY, at(501));
    a.sync(&mut data, KEY, at(501));
    for worker in [&mut a, &mut b] {
        let probe = worker.admit_shared(&mut data, KEY, at(502), 1);
        assert!(matches!(probe, Admit::Probe(_)));
        worker.record(probe, FAST, at(503), 1);
        worker.sync(&mut data, KEY, at(503));
    }
    a.sync(&mut data, KEY, at(504));
    assert_eq!((a.state(at(504)), b.state(at(504))), (State::Closed, State::Closed));
    assert_eq!(a.admit_shared(&mut data, KEY, at(505), 1), Admit::Pass);
}

#[test]
fn one_that_an_operator_resets_is_closed_in_all_workers() {
    let mut data = Data::default();
    let (mut a, mut b) = (opened(), breaker());
    assert!(a.sync(&mut data, KEY, at(1)) && b.sync(&mut data, KEY, at(1)));
    assert_eq!(b.state(at(1)), State::Open { until: at(500) });
    b.reset(at(2));
    assert!(b.needs_sync() && b.sync(&mut data, KEY, at(2)) && a.sync(&mut data, KEY, at(3)));
    for worker in [&mut a, &mut b] {
        assert_eq!(worker.state(at(3)), State::Closed);
        assert_eq!(call(worker, CallResult::Failure, at(3)), Admit::Pass, "what was before is forgotten");
    }
}

#[test]
fn few_failures_of_each_worker_together_open_all() {
    let mut data = Data::default();
    let mut workers = [breaker(), breaker(), breaker()];
    for worker in &mut workers {
        (0..2).for_each(|_| _ = call(worker, CallResult::Timeout, at(0)));
        assert_eq!(worker.state(at(0)), State::Closed);
        assert!(worker.sync(&mut data, KEY, at(1)));
    }
    for worker in &mut workers {
        worker.sync(&mut data, KEY, at(2));
        assert_eq!(worker.state(at(2)).as_str(), "open");
    }
}

#[test]
fn a_quiet_worker_writes_nothing_and_foreign_bytes_are_replaced() {
    let mut data = Data::default();
    let mut quiet = breaker();
    assert!(quiet.sync(&mut data, KEY, at(0)));
    assert_eq!(data.get(KEY), None);
    data.set(KEY, b"something else", 0).unwrap();
    let mut a = opened();
    assert!(a.sync(&mut data, KEY, at(1)) && quiet.sync(&mut data, KEY, at(1)));
    assert_eq!(quiet.state(at(1)).as_str(), "open");
}

#[test]
fn contention_ends_after_a_bounded_number_of_tries() {
    let mut data = Data { contended: true, ..Data::default() };
    let mut a = opened();
    assert!(!a.sync(&mut data, KEY, at(1)));
    assert!(a.needs_sync());
    assert_eq!(a.admit_shared(&mut data, KEY, at(500), 1), Admit::Refused);
    assert!(data.calls < 50, "{}", data.calls);
    data.contended = false;
    assert!(matches!(a.admit_shared(&mut data, KEY, at(500), 1), Admit::Probe(_)));
}

#[test]
fn whatever_happens_one_probe_is_out_at_most_and_open_never_passes() {
    for seed in 1..=40 {
        let mut random = Random(seed);
        let mut data = Data::default();
        // Half of the runs with one worker that shares nothing.
        let shared = seed % 2 == 0;
        let mut workers = vec![breaker(); if shared { 3 } else { 1 }];
        let mut passed: Vec<(usize, Admit)> = Vec::new();
        let mut probe: Option<(Admit, Timestamp)> = None;
        let (mut now, mut probes, mut closed) = (0, 0, 0);
        for _ in 0..20_000 {
            now += random.below(40);
            let bad = (now / 20_000) % 2 == 0;
            let which = random.below(workers.len() as u64) as usize;
            let Some(worker) = workers.get_mut(which) else { continue };
            match random.below(4) {
                0 | 1 => {
                    let before = worker.state(at(now));
                    let admit = if shared {
                        worker.admit_shared(&mut data, KEY, at(now), random.next())
                    } else {
                        worker.admit(at(now), random.next())
                    };
                    if let State::Open { .. } = before {
                        assert_eq!(admit, Admit::Refused, "seed {seed} at {now}");
                    }
                    if let Admit::Probe(_) = admit {
                        let out = probe.is_some_and(|(_, deadline)| at(now) < deadline);
                        assert!(!out, "seed {seed} at {now}: a second probe");
                        probe = Some((admit, at(now + 1_000)));
                        probes += 1;
                    }
                    // Some calls are never heard of again.
                    if admit != Admit::Refused && random.below(20) != 0 {
                        passed.push((which, admit));
                    }
                }
                2 if !passed.is_empty() => {
                    let (which, admit) = passed.swap_remove(random.below(passed.len() as u64) as usize);
                    if probe.is_some_and(|(out, _)| out == admit) {
                        probe = None;
                    }
                    let result = match (bad, random.below(10)) {
                        (_, 0) => CallResult::Dropped,
                        (true, 1..=4) => CallResult::Failure,
                        (true, 5..=8) => CallResult::Timeout,
                        (_, 9) => SLOW,
                        _ => FAST,
                    };
                    let Some(worker) = workers.get_mut(which) else { continue };
                    let before = worker.counters().closed;
                    worker.record(admit, result, at(now), random.next());
                    closed += worker.counters().closed - before;
                    if shared && worker.needs_sync() {
                        worker.sync(&mut data, KEY, at(now));
                    }
                }
                _ if shared => _ = worker.sync(&mut data, KEY, at(now)),
                _ => {}
            }
        }
        assert!(probes > 10 && closed > 1, "seed {seed}: {probes} probes, closed {closed} times");
    }
}

/// Host shared data in memory.
#[derive(Default)]
struct Data {
    values: HashMap<String, (Vec<u8>, u32)>,
    last_cas: u32,
    calls: usize,
    /// Another worker is always first.
    contended: bool,
}

impl SharedData for Data {
    fn get(&mut self, key: &str) -> Option<(Vec<u8>, u32)> {
        self.calls += 1;
        self.values.get(key).cloned()
    }

    fn set(&mut self, key: &str, value: &[u8], cas: u32) -> Result<(), CasMismatch> {
        self.calls += 1;
        let is_other = self.values.get(key).is_some_and(|(_, current)| cas != 0 && cas != *current);
        if self.contended || is_other {
            return Err(CasMismatch);
        }
        self.last_cas += 1;
        self.values.insert(key.to_owned(), (value.to_vec(), self.last_cas));
        Ok(())
    }
}

/// Numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 32
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
