//! Nodes of a fleet under seeded loads, with Redis as the script makes it: what is admitted, beside what may be.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::lease::{LeaseAnswer, LeaseRequest};
use super::*;
use crate::config::Config;
use crate::fields::FieldBlock;
use crate::request::Request;
use crate::store::node::fake::Fake;

#[derive(Default)]
struct Redis(BTreeMap<u128, reference::Bucket>);

impl Redis {
    fn lease(&mut self, request: &LeaseRequest, now: u64) -> String {
        self.0.entry(request.key).or_default().lease(&request.arguments(), now)
    }
}

fn limits(limits: &str) -> Vec<Limit> {
    let remote = r#""remote":{"enabled":true}"#;
    Config::parse(format!(r#"{{{remote},"limits":[{limits}]}}"#).as_bytes()).unwrap().limits
}

fn random(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

const START: u64 = 1_800_000_000_000;
const TIMEOUT: u64 = 50;

/// A node with its workers, whose clock is off by so much.
struct Node {
    data: Fake,
    workers: Vec<Limits>,
    ahead: u64,
    /// Tickets of those who wait, by worker: number and deadline.
    waiting: Vec<(usize, u64, Timestamp)>,
}

/// What a request was told.
#[derive(Debug, PartialEq)]
enum Told {
    Admitted,
    Refused { unavailable: bool },
    Waits,
}

impl Node {
    fn new(workers: usize, number: u64, ahead: u64) -> Self {
        let worker = |nth: usize| {
            let mut worker = Limits::new(1_024, 1_024);
            worker.begin_leasing(number * 1_000 + nth as u64, Duration::from_millis(TIMEOUT));
            worker
        };
        let workers = (0..workers).map(worker).collect();
        Self { data: Fake::default(), workers, ahead, waiting: Vec::new() }
    }

    fn ask(&mut self, limits: &[Limit], at: usize, key: &str, patience: Patience, now: u64) -> Told {
        let block: FieldBlock = [(&b"x-key"[..], key.as_bytes())].into_iter().collect();
        let request = Request::read(block.fields(), false);
        let mut asking = Asking { request: &request, rule: "r", peer: &mut || None };
        let limited: Vec<usize> = (0..limits.len()).collect();
        let counts = limits.first().map_or(LimitCounts::Requests, |limit| limit.counts);
        let keys = keys_of(limits, &limited, counts, None, &mut asking);
        let now = Timestamp::from_millis(now + self.ahead);
        let worker = &mut self.workers[at];
        match worker.admit(limits, (0, &keys), patience, &mut Admitted::default(), now, &mut self.data) {
            Ok(()) => Told::Admitted,
            Err(Denied::Refused(refused)) => Told::Refused { unavailable: refused.unavailable },
            Err(Denied::Waits { ticket, until }) => {
                self.waiting.push((at, ticket, until));
                Told::Waits
            }
        }
    }

    /// Gives a worker the answer, or that there is none; the others look, as if they had been called.
    fn answered(&mut self, at: usize, request: &LeaseRequest, text: Option<&str>, now: u64) {
        let now = Timestamp::from_millis(now + self.ahead);
        let answer = text.and_then(|text| LeaseAnswer::read(text.as_bytes(), request)).ok_or(NoAnswer::Lost);
        self.workers[at].answered(request, answer, now, &mut self.data);
        self.workers.iter_mut().for_each(|worker| worker.look_again(now));
    }

    /// Those who need not wait any more ask again; gives how many were admitted.
    fn wake(&mut self, limits: &[Limit], now: u64) -> usize {
        let decided: Vec<u64> = self.workers.iter_mut().flat_map(Limits::take_decided).collect();
        let (awake, asleep) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition::<Vec<_>, _>(|(_, ticket, _)| decided.contains(ticket));
        self.waiting = asleep;
        let mut admitted = 0;
        for (at, _, until) in awake {
            admitted += usize::from(self.ask(limits, at, "a", Patience::Until(until), now) == Told::Admitted);
        }
        admitted
    }
}

/// What a run of a fleet came to.
#[derive(Debug, Default)]
struct Run {
    admitted: Vec<u64>,
    requests: u64,
    calls: u64,
    waited: u64,
    refused: u64,
    errors: u64,
}

/// How the fleet of a run is, and what happens to it.
struct Fleet<'a> {
    limits: &'a str,
    nodes: usize,
    workers: usize,
    /// Requests a second, over all nodes.
    offered: u64,
    seconds: u64,
    seed: u64,
    /// Nodes are lost now and then.
    dies: bool,
    /// Redis is away in these milliseconds.
    away: std::ops::Range<u64>,
}

/// An answer takes so long, at most.
const TRIP: u64 = 3;

fn run(fleet: &Fleet<'_>) -> Run {
    let limits = limits(fleet.limits);
    let mut state = fleet.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut redis = Redis::default();
    let skew = |state: &mut u64| random(state) % 100_000;
    let mut nodes: Vec<Node> =
        (0..fleet.nodes).map(|nth| Node::new(fleet.workers, nth as u64, skew(&mut state))).collect();
    let mut calls: VecDeque<(u64, usize, usize, LeaseRequest, Option<String>)> = VecDeque::new();
    let mut run = Run::default();
    let mut due = 0u64;
    for millis in 0..fleet.seconds * 1_000 {
        let now = START + millis;
        let is_away = fleet.away.contains(&millis);
        // Answers first, then the requests of this millisecond, then what is to be asked.
        while calls.front().is_some_and(|(at, ..)| *at <= now) {
            let (_, node, worker, request, text) = calls.pop_front().unwrap();
            nodes[node].answered(worker, &request, text.as_deref(), now);
            let admitted = nodes[node].wake(&limits, now);
            run.admitted.extend(std::iter::repeat_n(now, admitted));
        }
        due += fleet.offered;
        while due >= 1_000 {
            due -= 1_000;
            run.requests += 1;
            let (node, worker) =
                (random(&mut state) as usize % fleet.nodes, random(&mut state) as usize % fleet.workers);
            match nodes[node].ask(&limits, worker, "a", Patience::New, now) {
                Told::Admitted => run.admitted.push(now),
                Told::Refused { unavailable } => {
                    run.refused += 1;
                    run.errors += u64::from(unavailable);
                }
                Told::Waits => run.waited += 1,
            }
        }
        for (nth, node) in nodes.iter_mut().enumerate() {
            for at in 0..fleet.workers {
                while let Some(request) = node.workers[at].next_question() {
                    run.calls += 1;
                    let (when, text) = if is_away {
                        (now + TIMEOUT, None)
                    } else {
                        (now + 1 + random(&mut state) % TRIP, Some(redis.lease(&request, now)))
                    };
                    let place = calls.iter().position(|(at, ..)| *at > when).unwrap_or(calls.len());
                    calls.insert(place, (when, nth, at, request, text));
                }
                if millis % 100 == 0 {
                    let now = Timestamp::from_millis(now + node.ahead);
                    node.workers[at].tidy(now, &mut node.data);
                    node.workers[at].look_again(now);
                }
            }
            let admitted = node.wake(&limits, now);
            run.admitted.extend(std::iter::repeat_n(now, admitted));
        }
        if fleet.dies && millis % 700 == 699 {
            let nth = random(&mut state) as usize % fleet.nodes;
            calls.retain(|(_, node, ..)| *node != nth);
            nodes[nth] = Node::new(fleet.workers, 100 + millis, skew(&mut state));
        }
    }
    run
}

/// The most that any window of so many milliseconds admits.
fn densest(admitted: &[u64], window: u64) -> u64 {
    let mut begin = 0;
    let counts = (0..admitted.len()).map(|end| {
        while admitted[end] - admitted[begin] >= window {
            begin += 1;
        }
        end - begin + 1
    });
    counts.max().unwrap_or(0) as u64
}

const PLAIN: Fleet<'_> =
    Fleet { limits: "", nodes: 4, workers: 2, offered: 3_000, seconds: 20, seed: 1, dies: false, away: 0..0 };

#[test]
fn four_nodes_share_a_quota_at_three_times_as_many_requests_with_few_calls_and_fewer_waits() {
    let limits = r#"{"name":"l","by":["header:x-key"],"quota":1000,"window":"1s","scope":"fleet"}"#;
    for seed in 1..=4 {
        let run = run(&Fleet { limits, seed, ..PLAIN });
        let (count, most) = (run.admitted.len() as u64, 1_000 * 20 + 100);
        assert!(count <= most && count * 100 >= most * 99, "{count} of {most}");
        assert!(run.calls * 100 <= run.requests * 3, "{} calls for {}", run.calls, run.requests);
        assert!(run.waited * 100 <= run.requests * 3, "{} of {} waited", run.waited, run.requests);
        let densest = densest(&run.admitted, 1_000);
        assert!(densest <= 1_000 + 100 + TRIP, "{densest}");
        assert_eq!(run.errors, 0);
    }
}

#[test]
fn no_window_admits_more_than_quota_and_burst_whoever_dies_and_however_clocks_differ() {
    for seed in 1..=24u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let quota = [8, 40, 200, 1_000][random(&mut state) as usize % 4];
        let window = [1_000, 3_000][random(&mut state) as usize % 2];
        let offered = [quota / 2, quota, quota * 3][random(&mut state) as usize % 3] * 1_000 / window;
        let nodes = 1 + random(&mut state) as usize % 4;
        let limits = format!(
            r#"{{"name":"l","by":["header:x-key"],"quota":{quota},"window":"{window}ms","scope":"fleet"}}"#
        );
        let dies = seed % 2 == 1;
        let run = run(&Fleet { limits: &limits, nodes, offered, dies, seed, ..PLAIN });
        // What has been granted to who waits comes to him a moment later.
        let most = quota + Limit::burst_of(quota) + quota * TRIP / window + 1;
        let densest = densest(&run.admitted, window);
        assert!(densest <= most, "seed {seed}: {densest} of {most}, quota {quota} in {window}");
        assert_eq!(run.errors, 0);
        if !dies && offered * window >= quota * 1_000 {
            let least = quota * 20_000 / window * 80 / 100;
            let count = run.admitted.len() as u64;
            assert!(
                count >= least,
                "seed {seed}: {count} of at least {least}, quota {quota} in {window}, {nodes} nodes"
            );
        }
    }
}

#[test]
fn while_redis_is_away_each_node_keeps_to_its_share_and_nobody_sees_an_error() {
    let limits = r#"{"name":"l","by":["header:x-key"],"quota":1000,"window":"1s","scope":"fleet"}"#;
    let run = run(&Fleet { limits, away: 6_000..12_000, ..PLAIN });
    assert_eq!(run.errors, 0);
    let within = |from: u64, to: u64| {
        run.admitted.iter().filter(|at| (START + from..START + to).contains(at)).count() as u64
    };
    // Before and after as with Redis; between the shares of four nodes.
    for (from, to) in [(2_000, 6_000), (7_000, 12_000), (14_000, 20_000)] {
        let (count, quota) = (within(from, to), to - from);
        assert!(count * 100 >= quota * 90 && count <= quota + 150, "{from} to {to}: {count}");
    }
    // One burst more than else, at most, where one way of counting follows the other.
    assert!(densest(&run.admitted, 1_000) <= 1_000 + 2 * 100 + TRIP);
}

#[test]
fn where_redis_cannot_be_asked_all_are_let_through_or_none_as_is_set() {
    for (word, told) in [("open", Told::Admitted), ("closed", Told::Refused { unavailable: true })] {
        let limits = limits(&format!(
            r#"{{"name":"l","by":[],"quota":2,"window":"1h","scope":"fleet","on_failure":"{word}"}}"#
        ));
        let mut node = Node::new(1, 1, 0);
        assert_eq!(node.ask(&limits, 0, "a", Patience::New, START), Told::Waits);
        let request = node.workers[0].next_question().unwrap();
        node.answered(0, &request, None, START + TIMEOUT);
        node.workers[0].leave_redis_alone(Timestamp::from_millis(START + 1_000));
        for nth in 0..10 {
            assert_eq!(node.ask(&limits, 0, "a", Patience::New, START + 60 + nth), told);
        }
        assert!(!node.workers[0].has_questions());
        // Once Redis is back it counts again.
        assert_eq!(node.ask(&limits, 0, "a", Patience::New, START + 1_000), Told::Waits);
    }
}

#[test]
fn several_who_wait_for_one_key_share_a_call_and_who_has_left_takes_nothing_along() {
    let limits = limits(r#"{"name":"l","by":[],"quota":100,"window":"1s","burst":50,"scope":"fleet"}"#);
    let (mut node, mut redis) = (Node::new(2, 1, 0), Redis::default());
    for at in [0, 0, 1] {
        assert_eq!(node.ask(&limits, at, "a", Patience::New, START), Told::Waits);
    }
    let request = node.workers[0].next_question().unwrap();
    assert!(!node.workers[0].has_questions() && !node.workers[1].has_questions());
    assert_eq!((request.need, request.held, request.lent), (1, 0, 0));
    // Whoever asked first has left.
    let (_, ticket, _) = node.waiting.remove(0);
    node.workers[0].leave(ticket);
    let text = redis.lease(&request, START);
    node.answered(0, &request, Some(&text), START + 1);
    assert_eq!(node.wake(&limits, START + 1), 2);
    assert!(node.waiting.is_empty());
}

#[test]
fn a_strict_limit_takes_one_token_a_call_and_makes_none_until_there_is_one() {
    let limits = limits(r#"{"name":"l","by":[],"quota":60,"window":"1m","burst":2,"scope":"fleet"}"#);
    let (mut node, mut redis) = (Node::new(1, 1, 0), Redis::default());
    let mut asks = |node: &mut Node, now: u64| {
        assert_eq!(node.ask(&limits, 0, "a", Patience::New, now), Told::Waits);
        let request = node.workers[0].next_question().unwrap();
        assert_eq!(request.most(), 1);
        let text = redis.lease(&request, now);
        node.answered(0, &request, Some(&text), now + 1);
        node.wake(&limits, now + 1)
    };
    assert_eq!([asks(&mut node, START), asks(&mut node, START + 10)], [1, 1]);
    assert_eq!(asks(&mut node, START + 20), 0);
    for now in [30, 500, 990] {
        assert_eq!(
            node.ask(&limits, 0, "a", Patience::New, START + now),
            Told::Refused { unavailable: false }
        );
        assert!(!node.workers[0].has_questions());
    }
    assert_eq!(asks(&mut node, START + 1_010), 1);
}

#[test]
fn what_is_no_answer_to_the_question_counts_as_none() {
    let limits = limits(r#"{"name":"l","by":[],"quota":100,"window":"1s","burst":50,"scope":"fleet"}"#);
    for lie in ["1 0 1 7 9 0", "4000000000 0 1 7 9 1", "", "*4\r\n:1", "-ERR"] {
        let mut node = Node::new(1, 1, 0);
        assert_eq!(node.ask(&limits, 0, "a", Patience::New, START), Told::Waits);
        let request = node.workers[0].next_question().unwrap();
        node.answered(0, &request, Some(lie), START + 1);
        assert_eq!(node.wake(&limits, START + 1), 1, "the node's share");
        assert_eq!(node.workers[0].take_counts().0.fleet_failed, 1);
        // For a while nobody waits.
        assert_eq!(node.ask(&limits, 0, "a", Patience::New, START + 2), Told::Admitted);
        assert!(!node.workers[0].has_questions());
    }
}

#[test]
fn what_a_response_says_it_has_cost_is_owed_to_the_fleet() {
    let limits = limits(
        r#"{"name":"l","by":[],"quota":100,"window":"1s","burst":50,"scope":"fleet","cost_header":"x-cost"}"#,
    );
    let (mut node, mut redis) = (Node::new(1, 1, 0), Redis::default());
    assert_eq!(node.ask(&limits, 0, "a", Patience::New, START), Told::Waits);
    let request = node.workers[0].next_question().unwrap();
    let text = redis.lease(&request, START);
    node.answered(0, &request, Some(&text), START + 1);
    let keyed =
        Keyed { hash: request.key, limit: request.limit, rate: request.rate, cost: 1, settles: false };
    let owing = Owing { limit: 0, keyed, scope: LimitScope::Fleet, took: Took::Stock };
    let mut admitted = Admitted { owing: vec![owing], ..Admitted::default() };
    let now = Timestamp::from_millis(START + 2);
    node.workers[0].settle(&limits, &mut admitted, &mut |_| Some(200), now, &mut node.data);
    node.waiting.clear();
    assert_eq!(node.ask(&limits, 0, "a", Patience::New, START + 3), Told::Waits);
    let request = node.workers[0].next_question().unwrap();
    assert!(request.owed > 190, "{request:?}");
    let text = redis.lease(&request, START + 3);
    node.answered(0, &request, Some(&text), START + 4);
    node.waiting.clear();
    // It comes back at 100 a second; Redis is asked again after a window at the latest.
    for now in [100, 500, 1_000] {
        assert_eq!(
            node.ask(&limits, 0, "a", Patience::New, START + now),
            Told::Refused { unavailable: false },
            "{now}"
        );
    }
    assert_eq!(node.ask(&limits, 0, "a", Patience::New, START + 1_700), Told::Waits);
}

#[cfg(feature = "llm")]
#[test]
fn what_a_model_has_not_used_comes_back_to_the_fleet_however_long_it_took() {
    let limits = limits(
        r#"{"name":"l","by":[],"unit":"tokens","quota":100,"window":"1h","burst":100,"scope":"fleet","cost":100}"#,
    );
    let mut nodes = [1, 2].map(|number| Node::new(1, number, 0));
    let mut redis = Redis::default();
    let asks = |redis: &mut Redis, nodes: &mut [Node; 2], at: usize, now: u64| {
        let node = &mut nodes[at];
        if node.ask(&limits, 0, "a", Patience::New, now) == Told::Waits {
            let request = node.workers[0].next_question().unwrap();
            let text = redis.lease(&request, now);
            node.answered(0, &request, Some(&text), now);
            (node.wake(&limits, now), request)
        } else {
            panic!("it had something at {now}")
        }
    };
    let (admitted, request) = asks(&mut redis, &mut nodes, 0, START);
    assert_eq!(admitted, 1);
    // All is taken, for everybody.
    assert_eq!(asks(&mut redis, &mut nodes, 1, START + 1).0, 0);
    let keyed =
        Keyed { hash: request.key, limit: request.limit, rate: request.rate, cost: 100, settles: true };
    let owing = Owing { limit: 0, keyed, scope: LimitScope::Fleet, took: Took::Stock };
    let later = START + 20_000;
    let node = &mut nodes[0];
    node.workers[0].settle_tokens(Reserved(vec![owing]), 1, Timestamp::from_millis(later), &mut node.data);
    // Redis is told at the next tick, once, and so the other node has it. A hundredth of it comes back in 36 s.
    node.workers[0].tidy(Timestamp::from_millis(later), &mut node.data);
    let report = node.workers[0].next_question().unwrap();
    assert_eq!((report.returned, report.most()), (99, 0));
    let text = redis.lease(&report, later);
    node.answered(0, &report, Some(&text), later);
    assert!(!node.workers[0].has_questions());
    let (admitted, request) = asks(&mut redis, &mut nodes, 1, later + 17_000);
    assert_eq!((admitted, request.returned), (1, 0));
}

#[cfg(feature = "llm")]
#[test]
fn what_comes_back_is_told_once_though_two_workers_tell_it_at_the_same_time() {
    use std::sync::{Arc, Mutex};

    let limits = limits(
        r#"{"name":"l","by":[],"unit":"tokens","quota":100,"window":"1h","burst":100,"scope":"fleet","cost":100}"#,
    );
    let told = |worker: &mut Limits| {
        std::iter::from_fn(|| worker.next_question()).map(|question| question.returned).sum::<u32>()
    };
    for at in 1..8 {
        let (mut node, mut redis) = (Node::new(2, 1, 0), Redis::default());
        node.ask(&limits, 0, "a", Patience::New, START);
        let request = node.workers[0].next_question().unwrap();
        let text = redis.lease(&request, START);
        node.answered(0, &request, Some(&text), START);
        assert_eq!(node.wake(&limits, START), 1);
        let keyed =
            Keyed { hash: request.key, limit: request.limit, rate: request.rate, cost: 50, settles: true };
        let owing = Owing { limit: 0, keyed, scope: LimitScope::Fleet, took: Took::Stock };
        let later = Timestamp::from_millis(START + 20_000);
        for worker in &mut node.workers {
            worker.settle_tokens(Reserved(vec![owing]), 5, later, &mut node.data);
        }
        let by_other = Arc::new(Mutex::new(0));
        let (mut other, told_by_other) = (node.workers.remove(1), Arc::clone(&by_other));
        let tells = move |data: &mut Fake| {
            other.tidy(later, data);
            *told_by_other.lock().unwrap() += told(&mut other);
        };
        node.data.interrupt_at = Some((node.data.calls + at, Box::new(tells)));
        node.workers[0].tidy(later, &mut node.data);
        let (own, others) = (told(&mut node.workers[0]), *by_other.lock().unwrap());
        assert_eq!(own + others, 90, "{at}: {own} and {others}");
    }
}
