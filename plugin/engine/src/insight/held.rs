//! What a worker holds that must go away again, how old the oldest of each is, and what has been there for too long.

use std::time::Duration;

use serde_json::Value;

use crate::members::members;
use crate::policy::Policy;
use crate::time::Timestamp;

/// What the adapter of a worker holds, as it last looked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdapterUsage {
    /// When it looked.
    pub at: Timestamp,
    /// Memory that the VM has taken from the host, in bytes.
    pub heap_bytes: u64,
    /// Streams that Envoy has told of and not ended.
    pub contexts: Held,
    /// Streams with something still to come.
    pub streams: Held,
    /// Streams that wait for another's fetch.
    pub waiters: Held,
    /// Calls to the remote store under way.
    pub remote_calls: Held,
    /// Calls to origins under way.
    pub refresh_calls: Held,
    /// How long the remote store takes to answer, on average.
    pub remote_latency: Option<Duration>,
}

/// Some things of a kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// How many.
    pub count: usize,
    /// How long the oldest has been there, at least.
    pub oldest: Duration,
}

/// What the cache itself holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineUsage {
    /// Fetches that others may wait for.
    pub fills: Held,
    /// Bytes of bodies that are being stored.
    pub filling_bytes: usize,
    /// Tasks that wait for the remote store.
    pub remote_queue: usize,
    /// Purges that wait to be told to the fleet.
    pub purges_queue: usize,
    /// Refreshes that wait to be sent.
    pub refresh_queue: usize,
    /// URLs that wait to be warmed, or are under way.
    pub warm_queue: usize,
    /// What the configuration lets the stores and queues of the worker take.
    pub budget_bytes: usize,
}

impl Held {
    /// So many, of which the oldest has been there since a moment.
    pub fn since(count: usize, oldest: Option<Timestamp>, now: Timestamp) -> Self {
        Self { count, oldest: oldest.map(|oldest| now.since(oldest)).unwrap_or_default() }
    }

    fn show(&self) -> Value {
        members! { "alive": self.count, "oldest_ms": millis(self.oldest) }
    }
}

/// What has been there for too long, each with a sentence.
pub fn leaks(held: &AdapterUsage, own: &EngineUsage, policy: &Policy) -> Vec<(&'static str, String)> {
    let waits = policy.rules().map(|rule| rule.coalesce.wait).max().unwrap_or_default();
    let refreshes = policy.rules().map(|rule| rule.refresh.timeout).max().unwrap_or_default();
    let twice = |bound: Duration| bound.saturating_mul(2).saturating_add(SLACK);
    let bounds = [
        ("waiters", held.waiters, twice(waits), "coalesce.wait"),
        ("remote-calls", held.remote_calls, twice(policy.remote.timeout), "remote.timeout"),
        ("refresh-calls", held.refresh_calls, twice(refreshes), "refresh.timeout"),
    ];
    let mut leaks: Vec<(&'static str, String)> = Vec::new();
    for (what, held, bound, member) in bounds {
        if held.oldest > bound {
            let (oldest, bound) = (held.oldest.as_secs(), bound.as_secs());
            leaks.push((
                what,
                format!("the oldest has been there for {oldest} s; twice {member} is {bound} s"),
            ));
        }
    }
    if held.streams.oldest > LONGEST_STREAM {
        let (count, minutes) = (held.streams.count, held.streams.oldest.as_secs() / 60);
        leaks.push((
            "contexts",
            format!("one of {count} streams has had something to come for {minutes} minutes"),
        ));
    }
    if own.filling_bytes > 0 && held.at > Timestamp::default() && held.streams.count == 0 {
        leaks.push(("fills", format!("{} bytes are kept for bodies that nobody stores", own.filling_bytes)));
    }
    let most = (own.budget_bytes as u64).saturating_mul(2).saturating_add(BESIDE_BUDGET);
    if held.heap_bytes > most {
        leaks.push((
            "heap",
            format!("{} bytes are far more than the budget of {}", held.heap_bytes, own.budget_bytes),
        ));
    }
    leaks
}

/// Everything, for operators.
pub fn show(held: &AdapterUsage, own: &EngineUsage, leaks: &[(&'static str, String)]) -> Value {
    let calls = held.remote_calls.count + held.refresh_calls.count;
    let oldest = held.remote_calls.oldest.max(held.refresh_calls.oldest);
    let leaks = leaks.iter().map(|(what, text)| members! { "what": *what, "text": *text }).collect();
    members! {
        "of": "worker",
        "at_ms": held.at.as_millis(),
        "filling_bytes": own.filling_bytes,
        "heap_bytes": held.heap_bytes,
        "budget_bytes": own.budget_bytes;
        "contexts" => members! {
            "alive": held.contexts.count,
            "busy": held.streams.count,
            "oldest_ms": millis(held.streams.oldest),
        },
        "waiters" => held.waiters.show(),
        "fills" => own.fills.show(),
        "callouts" => members! { "pending": calls, "oldest_ms": millis(oldest) },
        "queues" => members! {
            "remote": own.remote_queue,
            "purges": own.purges_queue,
            "refreshes": own.refresh_queue,
            "warm": own.warm_queue,
        },
        "leaks" => leaks
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What is looked at once a second may look a little older than it is.
const SLACK: Duration = Duration::from_secs(2);
/// A body that is stored for longer is of a stream that was forgotten, or of a very slow client.
const LONGEST_STREAM: Duration = Duration::from_secs(30 * 60);
/// What a VM takes beside its stores.
const BESIDE_BUDGET: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn found(held: AdapterUsage, own: EngineUsage) -> Vec<&'static str> {
        leaks(&held, &own, &Policy::default()).into_iter().map(|(what, _)| what).collect()
    }

    fn held(seconds: u64) -> Held {
        Held { count: 1, oldest: Duration::from_secs(seconds) }
    }

    #[test]
    fn what_is_older_than_twice_its_bound_is_a_leak() {
        let at = Timestamp::from_secs(1);
        let worker = AdapterUsage { at, ..AdapterUsage::default() };
        let none: [&str; 0] = [];
        assert_eq!(found(worker, EngineUsage::default()), none);
        assert_eq!(found(AdapterUsage { waiters: held(12), ..worker }, EngineUsage::default()), none);
        assert_eq!(found(AdapterUsage { waiters: held(13), ..worker }, EngineUsage::default()), ["waiters"]);
        assert_eq!(
            found(AdapterUsage { remote_calls: held(3), ..worker }, EngineUsage::default()),
            ["remote-calls"]
        );
        assert_eq!(
            found(AdapterUsage { refresh_calls: held(13), ..worker }, EngineUsage::default()),
            ["refresh-calls"]
        );
        assert_eq!(
            found(AdapterUsage { streams: held(1801), ..worker }, EngineUsage::default()),
            ["contexts"]
        );
        assert_eq!(found(AdapterUsage { heap_bytes: 90 << 20, ..worker }, EngineUsage::default()), ["heap"]);
        let filling = EngineUsage { filling_bytes: 1, ..EngineUsage::default() };
        assert_eq!(found(worker, filling), ["fills"]);
        assert_eq!(found(AdapterUsage { streams: held(1), ..worker }, filling), none);
    }
}
