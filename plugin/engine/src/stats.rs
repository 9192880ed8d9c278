//! Counts what happened, in the words of `Cache-Status`. The adapter exports the counts at every tick.
//!
//! Everything that is counted, measured or shown is in [`list`], which is also what `plugin/METRICS.md`, the labels of the
//! bootstraps and the tests of dashboards and alerts are made of. A word that is not in it stops a debug build.

pub mod list;

use std::collections::BTreeMap;

use crate::cache_status::{Detail, Forward, Outcome, Source, Ttl};
pub use crate::host::Word;
use list::Kind;

/// Counters and samples since they were last taken. Gauges are read from the stores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Hits from the worker store: `requests.hit.worker` and `detail.worker`.
    pub worker_hits: u64,
    /// Bytes of their bodies.
    pub worker_bytes: u64,
    /// All other requests and events. Complete once [taken](Stats::take).
    pub words: BTreeMap<Word, u64>,
    /// What is counted for each rule, pool or limit by its index: families of which [`list::Family::is_owned`] says so.
    pub by_owner: BTreeMap<(usize, Word), u64>,
    /// What was measured.
    pub samples: Vec<(Word, u64)>,
    /// What has become of the last requests alike that no store answered, and how many they are: to find the words for it once
    /// is enough.
    alike: (Outcome, u64),
    /// Requests so far, for [`Stats::is_sampled`].
    turn: u32,
}

impl Stats {
    /// Counts one request that is answered without a body of ours.
    #[inline]
    pub fn record(&mut self, outcome: &Outcome) {
        self.record_reply(outcome, 0);
    }

    /// Counts one request, and the bytes of the body that it is answered with from a store.
    #[inline]
    pub fn record_reply(&mut self, outcome: &Outcome, bytes: usize) {
        // The hot path first: two additions.
        if outcome.hit && outcome.detail == Some(Detail::Worker) {
            self.worker_hits += 1;
            self.worker_bytes += bytes as u64;
            return;
        }
        self.record_other(outcome, bytes);
    }

    fn record_other(&mut self, outcome: &Outcome, bytes: usize) {
        if outcome.own {
            return;
        }
        if self.alike.0 != *outcome {
            self.add_alike();
            self.alike.0 = *outcome;
        }
        self.alike.1 += 1;
        self.add("served_bytes", tier(outcome), bytes as u64);
    }

    /// Counts the last requests that were alike.
    fn add_alike(&mut self) {
        let (outcome, times) = self.alike;
        self.alike.1 = 0;
        let vector = match outcome.detail {
            Some(Detail::Firewall(vector)) => Some(("firewall", vector.as_str())),
            _ => None,
        };
        let words = [
            Some(("requests", request(&outcome))),
            outcome.forward.map(|forward| ("fwd", forward.as_str())),
            outcome.stored.then_some(("responses", "stored")),
            outcome.detail.map(|detail| ("detail", detail.as_str())),
            vector,
        ];
        for (family, word) in words.into_iter().flatten() {
            self.add(family, word, times);
        }
    }

    /// Counts one event that is not a request's outcome.
    pub fn count(&mut self, family: &'static str, word: &'static str) {
        self.add(family, word, 1);
    }

    /// Adds to a counter: several events, or bytes. Nothing leaves no trace.
    pub fn add(&mut self, family: &'static str, word: &'static str, amount: u64) {
        debug_assert!(list::has(Kind::Counter, family, word), "{family}.{word} is not in the list");
        if amount > 0 {
            let counter = self.words.entry((family, word)).or_default();
            *counter = counter.saturating_add(amount);
        }
    }

    /// Adds to a counter of a rule. Nothing leaves no trace.
    pub fn add_for_rule(&mut self, rule: usize, word: Word, amount: u64) {
        self.add_for_owner(rule, word, amount);
    }

    /// Adds to a counter of a rule, pool or limit, whichever the family is by. Nothing leaves no trace.
    pub fn add_for_owner(&mut self, owner: usize, word: Word, amount: u64) {
        debug_assert!(list::has(Kind::Counter, word.0, word.1), "{word:?} is not in the list");
        if amount > 0 {
            let counter = self.by_owner.entry((owner, word)).or_default();
            *counter = counter.saturating_add(amount);
        }
    }

    /// Takes in one value of a histogram. Past a bound there are enough of them until the next tick.
    pub fn sample(&mut self, family: &'static str, word: &'static str, value: u64) {
        debug_assert!(list::has(Kind::Histogram, family, word), "{family}.{word} is not in the list");
        if self.samples.len() < MOST_SAMPLES {
            self.samples.push(((family, word), value));
        }
    }

    /// Whether the clock is to be read for this request: one in 64, because that costs more than a hit may.
    #[inline]
    pub const fn is_sampled(&mut self) -> bool {
        self.turn = self.turn.wrapping_add(1);
        self.turn.is_multiple_of(SAMPLED_OF)
    }

    /// Whether this request counts for what operators see of keys: one in [`ONE_OF`], which
    /// a rhythm of the requests does not decide. To be asked after [`Stats::is_sampled`].
    #[inline]
    pub const fn is_noted(&self) -> bool {
        self.turn.wrapping_mul(0x9e37_79b1) < u32::MAX / ONE_OF
    }

    /// Whether what becomes of the request at hand is measured: as many as [`Stats::is_sampled`] picks, and others.
    #[inline]
    pub const fn is_measured(&self) -> bool {
        self.turn.wrapping_mul(0x9e37_79b1) < u32::MAX / SAMPLED_OF
    }

    /// The counts since the last call.
    pub fn take(&mut self) -> Self {
        let turn = self.turn;
        self.add_alike();
        let taken = std::mem::take(self);
        self.turn = turn;
        taken
    }
}

/// The result and tier of a request, as `requests` counts it.
fn request(outcome: &Outcome) -> &'static str {
    let stale = matches!(outcome.ttl, Some(Ttl::Stale(_)));
    let asked = match (outcome.forward, outcome.detail) {
        _ if outcome.collapsed => ["collapsed.worker", "collapsed.node", "collapsed.remote"],
        _ if outcome.hit && stale => ["stale.worker", "stale.node", "stale.remote"],
        _ if outcome.hit => ["hit.worker", "hit.node", "hit.remote"],
        (None, _) => return "refused.none",
        (_, Some(Detail::Validated)) => return "validated.origin",
        (_, Some(Detail::StaleIfError | Detail::Disconnected)) => return "stale.origin",
        (Some(Forward::Bypass | Forward::Method), _) => return "bypass.origin",
        _ => return "miss.origin",
    };
    let [worker, node, remote] = asked;
    match outcome.source {
        None | Some(Source::Worker) => worker,
        Some(Source::Node) => node,
        Some(Source::Remote) => remote,
    }
}

/// The store that a body came from. After a question to the origin it is the worker that has it.
const fn tier(outcome: &Outcome) -> &'static str {
    match outcome.source {
        None | Some(Source::Worker) => "worker",
        Some(Source::Node) => "node",
        Some(Source::Remote) => "remote",
    }
}

/// Samples kept between two ticks.
const MOST_SAMPLES: usize = 1024;
/// One request of so many is counted for what operators see of keys.
pub const ONE_OF: u32 = 16;
/// Of so many requests the durations of one are measured.
pub const SAMPLED_OF: u32 = 64;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::firewall::Vector;

    fn counted(outcome: Outcome) -> Vec<String> {
        let mut stats = Stats::default();
        stats.record_reply(&outcome, 10);
        stats.take().words.keys().map(|(family, word)| format!("{family}.{word}")).collect()
    }

    #[test]
    fn a_hit_of_the_worker_is_two_additions() {
        let hit = Outcome { hit: true, detail: Some(Detail::Worker), ..Outcome::default() };
        let mut stats = Stats::default();
        stats.record_reply(&hit, 10);
        stats.record_reply(&hit, 10);
        let stats = stats.take();
        assert_eq!((stats.worker_hits, stats.worker_bytes, stats.words.len()), (2, 20, 0));
    }

    #[test]
    fn every_request_has_one_result_and_the_tier_that_it_had_to_go_to() {
        let stale = Some(Ttl::Stale(Duration::from_secs(1)));
        let node = Outcome { source: Some(Source::Node), ..Outcome::default() };
        let fwd = |forward, detail| Outcome { forward: Some(forward), detail, ..Outcome::default() };
        for (outcome, word) in [
            (Outcome { hit: true, detail: Some(Detail::Node), ..node }, "hit.node"),
            (
                Outcome { hit: true, ttl: stale, detail: Some(Detail::StaleWhileRevalidate), ..node },
                "stale.node",
            ),
            (
                Outcome { collapsed: true, source: Some(Source::Remote), ..fwd(Forward::UriMiss, None) },
                "collapsed.remote",
            ),
            (fwd(Forward::Stale, Some(Detail::Validated)), "validated.origin"),
            (fwd(Forward::Stale, Some(Detail::StaleIfError)), "stale.origin"),
            (fwd(Forward::UriMiss, None), "miss.origin"),
            (fwd(Forward::Request, None), "miss.origin"),
            (fwd(Forward::Method, None), "bypass.origin"),
            (Outcome { detail: Some(Detail::OnlyIfCached), ..Outcome::default() }, "refused.none"),
        ] {
            let counted = counted(outcome);
            let requests: Vec<_> = counted.iter().filter(|name| name.starts_with("requests.")).collect();
            assert_eq!(requests, [&format!("requests.{word}")], "{counted:?}");
        }
    }

    #[test]
    fn what_a_defence_refuses_is_counted_by_its_vector() {
        let detail = Some(Detail::Firewall(Vector::ControlBytes));
        let counted = counted(Outcome { forward: Some(Forward::Bypass), detail, ..Outcome::default() });
        assert!(counted.contains(&"firewall.control-bytes".into()), "{counted:?}");
    }

    #[test]
    fn samples_are_bounded_and_few_requests_are_measured() {
        let mut stats = Stats::default();
        (0..5000).for_each(|value| stats.sample("duration_us", "lookup", value));
        assert_eq!(stats.samples.len(), MOST_SAMPLES);
        let measured = (0..6400)
            .filter(|_| {
                stats.take();
                stats.is_sampled()
            })
            .count();
        assert_eq!(measured, 100);
    }

    #[test]
    #[should_panic(expected = "not in the list")]
    fn a_word_that_is_not_in_the_list_is_noticed() {
        Stats::default().count("requests", "hti.worker");
    }
}
