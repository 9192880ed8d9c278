//! Gates in front of a simulated origin: what goes through, who waits, and how the limit settles.

use std::collections::BTreeMap;
use std::time::Duration;

use super::controller::Bounds;
use super::gate::{Decision, Enter, Gate, Terms};
use super::queue::{Class, Entered, Queue, Room, Waiter};
use crate::chance;
use crate::host::{CasMismatch, SharedData};
use crate::time::Timestamp;

#[derive(Default)]
struct Data(BTreeMap<String, (Vec<u8>, u32)>);

impl SharedData for Data {
    fn get(&mut self, key: &str) -> Option<(Vec<u8>, u32)> {
        self.0.get(key).cloned()
    }

    fn set(&mut self, key: &str, value: &[u8], cas: u32) -> Result<(), CasMismatch> {
        let known = self.0.get(key).map_or(0, |(_, known)| *known);
        if known != 0 && cas != 0 && cas != known {
            return Err(CasMismatch);
        }
        self.0.insert(key.to_owned(), (value.to_vec(), known + 1));
        Ok(())
    }
}

const ADAPTIVE: Bounds = Bounds { min: 2, max: 500, start: 20, fixed: None };

fn terms(bounds: Bounds) -> Terms {
    Terms {
        bounds,
        room: Room { requests: 256, low_share: 5 },
        wait: [Duration::from_secs(2), Duration::from_millis(500), Duration::from_millis(200)],
    }
}

/// Requests of a class: so many a second, of a lane.
#[derive(Clone, Copy)]
struct Stream {
    class: Class,
    lane: u8,
    rate: f64,
}

/// What a run of the simulation saw.
#[derive(Default, Debug)]
struct Seen {
    offered: BTreeMap<(Class, u8), u64>,
    served: BTreeMap<(Class, u8), u64>,
    in_time: u64,
    refused: u64,
    by_second: Vec<u64>,
    /// What HIGH took, in microseconds.
    high: Vec<u64>,
    over: u32,
}

impl Seen {
    fn worst(&self) -> u64 {
        self.by_second.iter().copied().min().unwrap_or(0)
    }

    fn high_quantile(&mut self, part: f64) -> u64 {
        self.high.sort_unstable();
        self.high[((self.high.len() - 1) as f64 * part) as usize]
    }
}

/// An origin with so many servers that each take so long, give or take a fifth, with workers before it that share a pool.
struct Run {
    bounds: Bounds,
    workers: usize,
    servers: usize,
    streams: Vec<Stream>,
    seconds: u64,
    /// How long an answer takes at a moment, in microseconds.
    takes: fn(u64, u64) -> u64,
    deadline: u64,
    seed: u64,
}

impl Run {
    fn like(streams: &[Stream]) -> Self {
        Self {
            bounds: ADAPTIVE,
            workers: 2,
            servers: 8,
            streams: streams.to_vec(),
            seconds: 40,
            takes: |_, random| 32_000 + random % 16_000,
            deadline: 250_000,
            seed: 1,
        }
    }

    /// By steps of a tenth of a millisecond; the workers tick every 20 ms.
    fn go(&self) -> Seen {
        struct Job {
            worker: usize,
            stream: Stream,
            came: u64,
            sent: u64,
        }
        let mut data = Data::default();
        let mut random = self.seed;
        let mut gates: Vec<Gate> = (0..self.workers)
            .map(|worker| Gate::new(terms(self.bounds), "pool".to_owned(), self.seed * 100 + worker as u64))
            .collect();
        let mut waiting: BTreeMap<(usize, u64), Job> = BTreeMap::new();
        let mut origin_queue: std::collections::VecDeque<Job> = Default::default();
        let mut serving: Vec<(u64, Job)> = Vec::new();
        let mut next: Vec<u64> = vec![0; self.streams.len()];
        let mut seen = Seen { by_second: vec![0; self.seconds as usize], ..Seen::default() };
        let warm_up = 10_000_000;
        let end = warm_up + self.seconds * 1_000_000;
        let mut at = 0_u64;
        while at < end {
            let now = Timestamp::from_millis(1_000_000 + at / 1000);
            // Those who are served.
            let mut done = Vec::new();
            let mut index = 0;
            while index < serving.len() {
                if serving[index].0 <= at {
                    done.push(serving.swap_remove(index));
                } else {
                    index += 1;
                }
            }
            for (_, job) in done {
                gates[job.worker].note_answer(at - job.sent);
                gates[job.worker].free(now);
                if job.came >= warm_up {
                    *seen.served.entry((job.stream.class, job.stream.lane)).or_default() += 1;
                    if job.stream.class == Class::High {
                        seen.high.push(at - job.came);
                    }
                    if at - job.came <= self.deadline {
                        seen.in_time += 1;
                        if let Some(second) = seen.by_second.get_mut(((at - warm_up) / 1_000_000) as usize) {
                            *second += 1;
                        }
                    }
                }
            }
            for (index, stream) in self.streams.iter().enumerate() {
                while next[index] <= at {
                    let gap = -(1.0 - chance::fraction(chance::next(&mut random))).ln() / stream.rate;
                    next[index] += (gap * 1e6) as u64 + 1;
                    let worker = (chance::next(&mut random) % self.workers as u64) as usize;
                    let job = Job { worker, stream: *stream, came: at, sent: at };
                    if at >= warm_up {
                        *seen.offered.entry((stream.class, stream.lane)).or_default() += 1;
                    }
                    match gates[worker].enter(stream.class, stream.lane, &mut data, now) {
                        Enter::Goes => origin_queue.push_back(job),
                        Enter::Waits(ticket) => {
                            waiting.insert((worker, ticket), job);
                        }
                        Enter::Full => seen.refused += u64::from(at >= warm_up),
                    }
                }
            }
            if at.is_multiple_of(20_000) {
                for gate in &mut gates {
                    gate.tick(&mut data, now);
                }
            }
            for (worker, gate) in gates.iter_mut().enumerate() {
                for ticket in gate.take_decided() {
                    let mut job = waiting.remove(&(worker, ticket)).unwrap();
                    match gate.settle(ticket).unwrap() {
                        Decision::Goes => {
                            job.sent = at;
                            origin_queue.push_back(job);
                        }
                        _ => seen.refused += u64::from(job.came >= warm_up),
                    }
                }
            }
            let limit = gates.iter().map(|gate| gate.heard().limit).max().unwrap();
            let in_flight: u32 = gates.iter().map(Gate::in_flight).sum();
            seen.over = seen.over.max(in_flight.saturating_sub(limit.max(self.bounds.fixed.unwrap_or(0))));
            while serving.len() < self.servers
                && let Some(job) = origin_queue.pop_front()
            {
                let takes = (self.takes)(at, chance::next(&mut random));
                serving.push((at + takes, job));
            }
            at += 100;
        }
        seen
    }
}

const fn normal(rate: f64) -> Stream {
    Stream { class: Class::Normal, lane: 0, rate }
}

fn fixed(limit: u32) -> Bounds {
    Bounds { fixed: Some(limit), ..ADAPTIVE }
}

fn best_fixed(run: &Run) -> u64 {
    let run = |limit| Run { bounds: fixed(limit), streams: run.streams.clone(), ..*run }.go().in_time;
    [6, 8, 10, 12, 14].map(run).into_iter().max().unwrap()
}

#[test]
fn ten_times_overloaded_it_serves_nearly_what_the_best_fixed_limit_does() {
    for workers in [1, 2] {
        for seed in 1..4 {
            let run = Run { workers, seed, ..Run::like(&[normal(2000.0)]) };
            let (best, seen) = (best_fixed(&run), run.go());
            let part = seen.in_time as f64 / best as f64;
            assert!(
                part >= 0.97,
                "{workers} workers, seed {seed}: {part:.3} of {best}, worst {}",
                seen.worst()
            );
            assert!(seen.worst() * 100 >= best / run.seconds * 86, "worst second {} of {best}", seen.worst());
        }
    }
}

#[test]
fn at_four_fifths_of_the_load_nobody_is_refused() {
    for seed in 1..4 {
        let seen = Run { seconds: 120, seed, ..Run::like(&[normal(160.0)]) }.go();
        let offered: u64 = seen.offered.values().sum();
        assert!(seen.refused * 1000 <= offered, "seed {seed}: {} of {offered} refused", seen.refused);
    }
}

#[test]
fn the_highest_class_is_served_inside_an_overload() {
    let high = Stream { class: Class::High, lane: 1, rate: 100.0 };
    for seed in 1..4 {
        let mut seen = Run { seed, ..Run::like(&[high, normal(1900.0)]) }.go();
        let (offered, served) = (seen.offered[&(Class::High, 1)], seen.served[&(Class::High, 1)]);
        assert!(served * 1000 + 20_000 >= offered * 999, "seed {seed}: {served} of {offered}");
        let p99 = seen.high_quantile(0.99);
        assert!(p99 <= 2 * 48_000 + 25_000, "seed {seed}: p99 {p99} µs");
    }
}

#[test]
fn an_origin_that_slows_down_and_recovers_is_followed() {
    let takes = |at: u64, random: u64| {
        let slow = (20_000_000..50_000_000).contains(&at);
        (32_000 + random % 16_000) * if slow { 3 } else { 1 }
    };
    for seed in 1..4 {
        let run = Run { takes, seed, seconds: 60, ..Run::like(&[normal(1000.0)]) };
        let (best, seen) = (best_fixed(&run), run.go());
        let part = seen.in_time as f64 / best as f64;
        assert!(part >= 0.95, "seed {seed}: {part:.3} of {best}: {:?}", seen.by_second);
    }
}

#[test]
fn tenants_of_one_class_share_evenly_and_the_lowest_class_has_its_part() {
    let greedy = Stream { class: Class::Normal, lane: 1, rate: 2000.0 };
    let modest = Stream { class: Class::Normal, lane: 2, rate: 200.0 };
    let low = Stream { class: Class::Low, lane: 0, rate: 200.0 };
    let seen = Run::like(&[greedy, modest]).go();
    let (first, second) = (seen.served[&(Class::Normal, 1)], seen.served[&(Class::Normal, 2)]);
    let part = second as f64 / (first + second) as f64;
    assert!((0.45..=0.55).contains(&part), "{part:.3}");
    let seen = Run::like(&[greedy, low]).go();
    let (first, second) = (seen.served[&(Class::Normal, 1)], seen.served[&(Class::Low, 0)]);
    let part = second as f64 / (first + second) as f64;
    assert!(part >= 0.15, "{part:.3}");
}

#[test]
fn a_queue_that_one_lane_has_filled_makes_room_for_the_others() {
    let (mut queue, room) = (Queue::default(), Room { requests: 4, low_share: 5 });
    let waiter =
        |ticket| Waiter { ticket, since: Timestamp::from_millis(1), until: Timestamp::from_millis(1_000) };
    let mut enter = |ticket, lane| queue.enter(Class::Normal, lane, waiter(ticket), room);
    for ticket in 0..4 {
        assert_eq!(enter(ticket, 1), Entered::Waits);
    }
    assert_eq!(enter(4, 1), Entered::Full);
    assert_eq!((enter(5, 2), enter(6, 2)), (Entered::InPlaceOf(3), Entered::InPlaceOf(2)));
    // Both have two: neither takes from the other.
    assert_eq!((enter(7, 2), enter(8, 1)), (Entered::Full, Entered::Full));
    assert_eq!(enter(9, 3), Entered::InPlaceOf(6));
    assert_eq!(queue.waiting(Class::Normal), 4);
}

#[test]
fn slow_and_quick_answers_mixed_are_met() {
    let takes = |_: u64, random: u64| if random.is_multiple_of(10) { 220_000 } else { 20_000 };
    for seed in 1..4 {
        let run = Run { takes, seed, deadline: 500_000, ..Run::like(&[normal(1000.0)]) };
        let (best, seen) = (best_fixed(&run), run.go());
        let part = seen.in_time as f64 / best as f64;
        assert!(part >= 0.8, "seed {seed}: {part:.3} of {best}");
    }
}
