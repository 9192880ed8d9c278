//! One configured plugin: its cache, and what is done for it now and then.

use std::rc::Rc;
use std::time::Duration;

use hashbrown::HashMap;
use selvage_engine::cache::{Cache, Moment, OriginNews, OriginTurn};
use selvage_engine::config::{Config, ConfigError};
use selvage_engine::exchange;
use selvage_engine::policy::{self, Policy};
use selvage_engine::purge::admin_auth::AdminAuth;
use selvage_engine::time::Timestamp;

use crate::alerts;
use crate::breakers::Breakers;
use crate::environment::variable;
use crate::gauges::{self, Gauges, InVm};
use crate::host::{Calls, Envoy, Level};
use crate::jobs::Jobs;
use crate::joins::Joins;
use crate::metrics::Metrics;
use crate::pace::Pace;
#[cfg(feature = "batch")]
use crate::parts::Parts;
use crate::refreshes::Refreshes;
use crate::remote::{self, Remote};
use crate::stream::BuildIdHasher;
use crate::waiters::Waiters;
use crate::wake::Wake;
use crate::warm_up;
#[cfg(not(feature = "batch"))]
use crate::without_parts::Parts;

/// One configured plugin.
pub struct Root<H: Calls> {
    pub(crate) id: u32,
    pub(crate) cache: Cache,
    pub(crate) wake: Wake<H>,
    pub(crate) waiters: Waiters,
    pub(crate) pace: Pace<H>,
    /// When it looks next for what others did.
    learns_at: Timestamp,
    /// A call of this worker by itself is on its way.
    called_self: bool,
    pub(crate) remote: Remote<H>,
    pub(crate) refreshes: Refreshes<H>,
    /// Calls for what clients wait for whose responses are held, by token, and the streams.
    pub(crate) fetches: HashMap<u32, u32, BuildIdHasher>,
    pub(crate) joins: Joins<H>,
    /// Bodies of requests have come while their heads were held.
    pub(crate) sees_bodies: bool,
    pub(crate) parts: Parts<H>,
    pub(crate) jobs: Jobs<H>,
    pub(crate) metrics: Metrics<H>,
    pub(crate) gauges: Gauges,
}

impl<H: Calls> Root<H> {
    /// As a configuration says, or every fault that it has.
    pub fn new(id: u32, json: &[u8], breakers: &mut Breakers<H>) -> Result<Self, Vec<ConfigError>> {
        let policy = Rc::new(Policy::from(Config::parse(json)?));
        let seal = remote::seal(&policy.remote).map_err(|error| vec![error])?;
        let remote =
            Remote::new(&policy.remote, seal.as_ref(), breakers, H::now()).map_err(|error| vec![error])?;
        let gate = gate(&policy.admin).map_err(|error| vec![error])?;
        warm_up::run::<H>(&policy);
        // Streams wait for each other, and for the remote store, by the tick.
        let pace = Pace::new(policy.node.poll.min(SLOWEST_TICK));
        let metrics = Metrics::new(&policy.label);
        let gauges = Gauges::new(&policy, breakers.random(), H::now());
        let mut cache = Cache::new(policy);
        cache.set_admin_auth(gate);
        cache.set_seal(seal);
        cache.seed_purges(breakers.random());
        cache.seed_pools(breakers.random());
        cache.seed_limits(breakers.random());
        cache.read_session_secrets(&variable).map_err(|error| vec![error])?;
        cache.seed_jobs(H::random);
        // A VM that starts knows what was purged before its first request.
        cache.learn_purges(&mut Moment { now: H::now(), host: &mut Envoy::<H>::new() });
        // How long ago they were is no measure of how long purges take to get about.
        cache.stats.samples.clear();
        Ok(Self {
            id,
            cache,
            wake: Wake::new(),
            waiters: Waiters::default(),
            pace,
            learns_at: Timestamp::default(),
            called_self: false,
            remote,
            refreshes: Refreshes::default(),
            fetches: HashMap::default(),
            joins: Joins::default(),
            sees_bodies: false,
            parts: Parts::default(),
            jobs: Jobs::default(),
            metrics,
            gauges,
        })
    }

    /// Goes on with what the one before it, of the old configuration, has under way.
    pub fn take_over(&mut self, mut before: Self) {
        // The new cache knows nothing of the fetches that these wait for.
        self.waiters = before.waiters;
        self.waiters.wake_all();
        self.fetches = before.fetches;
        self.parts = before.parts;
        self.cache.take_over_batches(&mut before.cache);
        self.remote.take_over(before.remote);
        self.cache.take_over_purges(&mut before.cache);
        self.jobs.take_over(before.jobs);
        self.cache.take_over_jobs(&mut before.cache);
    }

    /// Whether another is likely to be its next configuration, and not that of another plugin. Nothing tells for sure.
    pub fn is_followed_by(&self, other: &Self) -> bool {
        let (own, other) = (self.cache.policy(), other.cache.policy());
        (&own.name, own.namespace) == (&other.name, other.namespace)
    }

    /// Lets go of what it holds for others, for another configuration has followed. It may still have requests to come.
    pub fn rest(&mut self) {
        // Memory of the VM never shrinks.
        self.cache.rest();
        self.wake.rest();
    }

    /// The one that followed has gone.
    pub fn resume(&mut self) {
        self.cache.resume();
    }

    /// Does what is due now and then. `held` is what the VM holds, if this is the root that shows it.
    pub fn tick(&mut self, held: Option<InVm>, breakers: &mut Breakers<H>, now: Timestamp) {
        self.wake.tick(now);
        if now >= self.learns_at {
            self.learns_at = now.plus(self.cache.policy().node.poll);
            self.learn(now);
        }
        let mut moment = Moment { now, host: &mut Envoy::<H>::new() };
        self.cache.look_after_fills(&mut moment);
        self.cache.look_after_origins(&mut moment).iter().for_each(tell_operator::<H>);
        self.cache.agree_on_node_budget(self.wake.rests(), &mut moment);
        self.cache.sweep(&mut moment);
        self.cache.tick_warming(&mut moment);
        // Before this tick's own calls: where there is a remote store, every tick asks it for purges.
        gauges::export(self, held, breakers, now);
        self.refreshes.ask(&mut self.remote, breakers, &mut self.cache, now);
        self.refreshes.send(&mut self.cache, now);
        self.cache.look_after_jobs(self.wake.rests(), &mut Moment { now, host: &mut Envoy::<H>::new() });
        self.remote.send_leases(breakers, &mut self.cache, now);
        self.jobs.send(&mut self.cache, now);
        alerts::tell::<H>(&mut self.cache);
        self.remote.tick(breakers, &mut self.cache, now);
        self.metrics.gauge(("origin_state", "open"), self.cache.origins_left_alone(now));
        self.metrics.export(&mut self.cache);
        self.cache.keep_history(&mut Moment { now, host: &mut Envoy::<H>::new() });
        self.waiters.expire(now);
    }

    /// Sees to who has waited enough for a place at an origin, and tells the other workers of this one's.
    pub fn look_after_pools(&mut self, now: Timestamp) {
        let late = self.pace.is_late(now);
        self.cache.look_after_pools(late, &mut Moment { now, host: &mut Envoy::<H>::new() });
        self.note_decided_tickets();
    }

    /// Takes in what other workers have changed and purged.
    pub fn learn(&mut self, now: Timestamp) {
        let mut moment = Moment { now, host: &mut Envoy::<H>::new() };
        self.cache.learn(&mut moment);
        self.cache.learn_purges(&mut moment);
    }

    /// The next streams that need not wait any more, few enough for one call of the VM.
    pub fn next_awake(&mut self) -> Vec<(u32, exchange::Wake)> {
        self.called_self = false;
        self.note_ended_fills();
        self.note_decided_tickets();
        self.waiters.batch()
    }

    /// Sees to what an event has left to do: other workers to tell, streams of this one to wake.
    #[inline]
    pub fn after_event(&mut self) {
        if self.cache.refreshes_queued() > 0 {
            self.refreshes.send(&mut self.cache, H::now());
        }
        if self.cache.has_joins() {
            self.look_after_joins(H::now());
        }
        if self.cache.has_jobs_to_call() {
            self.jobs.send(&mut self.cache, H::now());
        }
        if !self.pace.is_quick()
            && (self.cache.has_bodies_coming()
                || self.cache.has_active_pools()
                || self.cache.has_waiting_leases())
        {
            self.pace.quicken(H::now());
        }
        self.wake.tell_others(&mut self.cache);
        if self.cache.has_ended_fills() {
            self.note_ended_fills();
        }
        if self.cache.has_decided_tickets()
            || self.cache.has_decided_leases()
            || self.cache.has_decided_joins()
            || self.cache.has_decided_batches()
        {
            self.note_decided_tickets();
        }
        // One call at a time: each wakes some, and asks for the next.
        if self.waiters.any_awake() && !self.called_self {
            self.called_self = self.wake.call_self();
        }
    }

    /// Begins with jobs that were taken. What are batches of them leave parts that are to be asked for.
    pub fn begin_jobs(&mut self, now: Timestamp) {
        if self.cache.has_jobs_to_call() {
            self.jobs.send(&mut self.cache, now);
        }
    }

    /// What a response has cost is told at once: others may wait for what is left.
    #[inline]
    pub fn tell_what_it_cost(&mut self, breakers: &mut Breakers<H>) {
        if self.cache.has_to_tell() {
            self.remote.send_leases(breakers, &mut self.cache, H::now());
        }
    }

    /// The streams whose tickets have been decided are to be woken.
    fn note_decided_tickets(&mut self) {
        let decided = self.cache.take_decided_tickets().into_iter().chain(self.cache.take_decided_leases());
        let decided = decided.chain(self.cache.take_decided_joins());
        for ticket in decided.chain(self.cache.take_decided_batches()) {
            self.waiters.wake_queued(ticket);
        }
    }

    /// Makes the calls for requests that are asked together, and has the tick come soon while some wait for others.
    pub fn look_after_joins(&mut self, now: Timestamp) {
        self.cache.look_after_joins(now);
        self.joins.send(&mut self.cache, now);
        if self.cache.has_open_joins() {
            self.pace.hasten(now);
        }
    }

    /// The streams that waited for fetches that have ended are to be woken.
    fn note_ended_fills(&mut self) {
        for hash in self.cache.take_ended_fills() {
            self.waiters.wake(hash);
        }
    }
}

/// Tells the operator how an origin does.
fn tell_operator<H: Calls>(news: &OriginNews) {
    let origin = &news.origin;
    let (level, text) = match news.turn {
        OriginTurn::Fails => (Level::Warn, "fails; it is left alone for a while"),
        OriginTurn::IsSlow => (Level::Warn, "is too slow; it is left alone for a while"),
        OriginTurn::Recovered => (Level::Info, "answers again"),
    };
    H::log(level, &format!("the origin {origin:?} {text}"));
}

/// Who may purge.
fn gate(admin: &policy::Admin) -> Result<AdminAuth, ConfigError> {
    let Some(name) = &admin.token_env else {
        return Ok(if admin.open { AdminAuth::Open } else { AdminAuth::Absent });
    };
    if admin.open {
        return Ok(AdminAuth::Open);
    }
    let token = variable("admin.token_env", name)?;
    Ok(AdminAuth::Token { name: name.clone(), token: token.into_bytes().into() })
}

/// The tick is no slower, however seldom the workers look for what others did.
const SLOWEST_TICK: Duration = Duration::from_millis(100);
