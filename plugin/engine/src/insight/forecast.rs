//! When origins will have too much to do, told by what their pools have seen. It lies in shared data, a value for each pool, so that it outlives
//! configurations and VMs, but no restart of Envoy. Whichever worker is the first in a period sees to it for all.

use serde_json::Value;

use crate::foresight::load::{Load, SHARE, Tally};
use crate::foresight::trend::Reached;
use crate::host::{ABSENT, Host};
use crate::members::members;
use crate::policy::Policy;
use crate::time::Timestamp;

/// What one worker knows of it.
#[derive(Debug, Default)]
pub struct Forecasts {
    /// The last period that this worker has seen to.
    period: u32,
}

impl Forecasts {
    /// By tick: sees to it that each pool has this period.
    pub fn keep(&mut self, host: &mut dyn Host, policy: &Policy, now: Timestamp) {
        let period = u32::try_from(now.as_secs() / SECONDS).unwrap_or(u32::MAX);
        if period == self.period {
            return;
        }
        self.period = period;
        for (nth, pool) in policy.pools.iter().enumerate() {
            let key = key(policy, &pool.name);
            let (mut load, cas) = match host.get(&key) {
                None => (Load::default(), ABSENT),
                Some((bytes, cas)) => (Load::decode(&bytes).unwrap_or_default(), cas),
            };
            // One long after this period is of a clock that was set back.
            if load.period() >= period && load.period() - period < PERIODS_BACK {
                continue;
            }
            load.step(period, tally(nth, host, policy));
            // Where another worker was first, it has the same.
            let _ = host.set(&key, &load.encode(), cas);
        }
    }
}

/// What became of the requests of a pool, of all its rules.
fn tally(pool: usize, host: &mut dyn Host, policy: &Policy) -> Tally {
    let mut tally = Tally::default();
    for rule in policy.rules().filter(|rule| rule.pool == Some(pool)) {
        let mut of = |word| host.metric_of(&rule.name, ("pool_requests", word));
        tally.went += of("went");
        tally.waited += of("waited");
        tally.shed += of("full") + of("refused") + of("stale");
    }
    tally
}

/// Each pool: its capacity, its days, and when it will have too much to do.
pub fn show(host: &mut dyn Host, policy: &Policy) -> Value {
    let pools = policy.pools.iter().map(|pool| {
        let load = host.get(&key(policy, &pool.name)).and_then(|(bytes, _)| Load::decode(&bytes));
        let load = load.unwrap_or_default();
        let outlook = load.outlook();
        let capacity = outlook.capacity.map(|capacity| {
            members! {
                "buckets": capacity.buckets,
                "per_second": rounded(capacity.per_second),
                "seen_ms": u64::from(capacity.seen) * SECONDS * 1000,
                "too_much": rounded(capacity.per_second * SHARE),
            }
        });
        let trend = outlook.trend.map(|trend| {
            members! {
                "high": rounded(trend.high),
                "low": rounded(trend.low),
                "pairs": trend.pairs,
                "per_day": rounded(trend.slope),
                "weekly": trend.weekly,
            }
        });
        let reached = outlook.reached.map(|[likely, latest, soonest]| {
            members! { "days": days(likely), "latest_days": days(latest), "soonest_days": days(soonest) }
        });
        let peaks = load.days().iter().map(|peak| {
            members! { "day_ms": u64::from(peak.day) * 86_400_000, "per_second": rounded(f64::from(peak.value)) }
        });
        members! {
            "name": pool.name,
            "since_ms": (load.since() > 0).then(|| u64::from(load.since()) * SECONDS * 1000);
            "capacity" => capacity.unwrap_or_default(),
            "peaks" => peaks.collect(),
            "reached" => reached.unwrap_or_default(),
            "trend" => trend.unwrap_or_default()
        }
    });
    members! { "watched": policy.foresight.forecast; "pools" => pools.collect() }
}

fn days(reached: Reached) -> Option<u32> {
    match reached {
        Reached::In(days) => Some(days),
        Reached::NotSoon => None,
    }
}

fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

fn key(policy: &Policy, pool: &str) -> String {
    format!("sv1/f/p/{:016x}/{pool}", policy.namespace)
}

/// Of a period.
const SECONDS: u64 = 10;
/// Ten minutes.
const PERIODS_BACK: u32 = 60;
