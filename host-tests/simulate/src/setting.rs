//! What is random about a whole run: its size, its configuration, its faults.

use std::rc::Rc;

use selvage_engine::config::Config;
use selvage_engine::policy::Policy;
use selvage_engine::store::node::NodeLimits;
use selvage_rig::chance::Dice;

use crate::crowd::{Crowd, WOKEN_WITHIN};
use crate::runs::Kind;
use crate::tenants;

/// The circumstances of one run. Times in milliseconds, chances of a thousand.
pub struct Setting {
    /// The configuration as the filter gets it.
    pub config: String,
    pub policy: Rc<Policy>,
    pub nodes: usize,
    pub workers: usize,
    pub requests: usize,
    /// When the last request comes.
    pub last_request: u64,
    pub pages: usize,
    pub wait: u64,
    /// How long those who wait do so for a body.
    pub body_wait: u64,
    pub poll: u64,
    pub call_delay: u64,
    pub calls_lost: u64,
    pub remote: bool,
    pub remote_timeout: u64,
    /// Calls to Redis of a thousand that are lost, and as many that are late.
    pub losses: u64,
    /// Redis is too old for claims.
    pub old_redis: bool,
    /// Redis is a cluster, which takes no lookups together.
    pub sharded_redis: bool,
    pub disconnected: u64,
    pub origin_delay: u64,
    /// How long a slow answer takes.
    pub origin_slow: u64,
    /// The origin's breaker is on.
    pub breaker: bool,
    pub refresh_timeout: u64,
    pub disconnects: u64,
    pub restarts: usize,
    pub edits: usize,
    pub purges: usize,
    pub moods: usize,
    pub flushes: usize,
    pub refused: u64,
    pub contention: u64,
    /// Requests of a thousand that come back to a cache of the same key space.
    pub nested: u64,
    /// Timers are a little late, as in Envoy, and never early.
    pub even: bool,
    pub crowd: Crowd,
}

impl Setting {
    pub fn random(dice: &mut Dice, kind: Kind, requests: Option<usize>) -> Self {
        let wait = dice.of(&[300, 1000, 1000, 3000]);
        let body_wait = dice.of(&[50, 250, 250, 1000]);
        let poll = dice.of(&[50, 100, 250]);
        let remote = dice.chance(600);
        let remote_timeout = dice.of(&[20, 50, 200]);
        let disconnected = dice.of(&[0, 3000, 20_000]);
        let narrow = dice.chance(200);
        let waiters = if narrow { dice.between(1, 6) } else { 4096 };
        let worker_bytes = dice.of(&["16KiB", "64KiB", "1MiB"]);
        let node_bytes = dice.of(&["48KiB", "256KiB", "4MiB"]);
        let refresh = dice.of(&[r#""cluster":"origin""#, r#""clusters":["origin"]"#, r#""clusters":[]"#]);
        let refresh_timeout = dice.of(&[300, 1000, 3000]);
        let breaker = dice.chance(300);
        let most_edits = dice.of(&[12, 12, 60]);
        // Dice of their own: a run without it is what it would be if there were none.
        let mut others = Dice::new(dice.clone().number() ^ CROWD);
        let (crowd, rules) = match kind {
            Kind::Pages => (Crowd::random(&mut others, remote), String::new()),
            Kind::Tenants => (Crowd::default(), tenants::rules(&mut others)),
        };
        let (bounds, bounded) = crowd.config();
        let config = format!(
            r#"{{{bounds}"admin":{{"open":true,"hosts":["example.com"]}},"worker":{{"bytes":"{worker_bytes}","object_bytes":"8KiB","filling_bytes":"64KiB",
            "waiters":{waiters},"variants":{variants}}},
            "node":{{"bytes":"{node_bytes}","buckets":16,"object_bytes":"8KiB","poll":"{poll}ms"}},
            "remote":{{"enabled":{remote},"timeout":"{remote_timeout}ms","object_bytes":"8KiB",
            "breaker":{{"pause":"200ms","longest_pause":"2s"}}}},
            "defaults":{{{bounded}"coalesce":{{"wait":"{wait}ms","body_wait":"{body_wait}ms","waiters":{waiters}}},"compression":{{"enabled":false}},
            "refresh":{{{refresh},"timeout":"{refresh_timeout}ms","early":{early}}},
            "origin_breaker":{{"enabled":{breaker},"least_calls":{least_calls}}},
            "ttl":{{"jitter":{jitter}}},"stale":{{"disconnected":"{disconnected}ms"}}}}{rules}}}"#,
            variants = dice.of(&[2, 4, 16]),
            early = dice.of(&[0, 1, 4]),
            least_calls = dice.of(&[5, 20]),
            jitter = dice.of(&[0, 0, 20]),
        );
        let parsed = Config::parse(config.as_bytes()).unwrap_or_else(|faults| panic!("{config}: {faults:?}"));
        Self {
            policy: Rc::new(parsed.into()),
            config,
            nodes: dice.between(1, 3) as usize,
            workers: dice.between(1, 3) as usize,
            requests: requests.unwrap_or_else(|| dice.between(200, 500) as usize),
            last_request: dice.of(&[4_000, 10_000, 20_000, 40_000]),
            pages: dice.between(1, 10) as usize,
            wait,
            body_wait,
            poll,
            call_delay: dice.of(&[1, 5, 20]),
            calls_lost: dice.of(&[0, 0, 20, 100]),
            remote,
            remote_timeout,
            losses: dice.of(&[0, 10, 50]),
            old_redis: dice.chance(100),
            sharded_redis: dice.clone().chance(150),
            disconnected,
            origin_delay: dice.of(&[20, 100, 400]),
            origin_slow: wait + wait / 2 + 500,
            breaker,
            refresh_timeout,
            disconnects: dice.of(&[0, 50, 250]),
            restarts: if dice.chance(300) { dice.between(1, 3) as usize } else { 0 },
            purges: if dice.chance(500) && crowd.apart == 0 { dice.between(1, 12) as usize } else { 0 },
            edits: if kind == Kind::Pages { dice.between(0, most_edits) as usize } else { 0 },
            moods: if dice.chance(600) { dice.between(1, 6) as usize } else { 0 },
            flushes: usize::from(dice.chance(200)),
            refused: dice.of(&[0, 5]),
            contention: dice.of(&[0, 0, 20]),
            nested: 60,
            even: false,
            crowd,
        }
    }

    /// The origin's longest delay, from the request to the end of its answer.
    pub const fn longest_answer(&self) -> u64 {
        2 * self.origin_slow + self.origin_delay
    }

    /// How much a node store holds.
    pub fn node_limits(&self) -> NodeLimits {
        let node = &self.policy.node;
        let buckets = u32::try_from(node.buckets).unwrap_or(u32::MAX);
        NodeLimits::within(node.bytes, node.object_bytes, buckets)
    }

    /// After this long the other workers of a node know what one has invalidated.
    pub const fn staleness(&self) -> u64 {
        self.poll + TICK
    }

    /// No request takes longer, whatever happens.
    pub fn longest_request(&self) -> u64 {
        // A few calls may be lost one after the other, and many waiters are woken by many calls.
        self.wait
            + self.refresh_timeout
            + 6 * self.remote_timeout
            + self.longest_answer()
            + 20 * self.poll
            + 40 * self.call_delay
            + self.crowd.longest_wait()
            + 2 * (self.remote_timeout + WOKEN_WITHIN)
    }
}

/// The slowest tick of the adapter: a worker looks at the first tick after its time to look.
const TICK: u64 = 100;
/// Any number will do.
const CROWD: u64 = 0x6372_6f77_6400;
