//! Talks to the remote store: one call for the lookups of a turn, one for the tasks that wait, and a probe at the start.

mod batches;
mod gathering;
mod leases;
mod lookups;
mod purges;
mod secrets;
mod tasks;

use std::marker::PhantomData;
use std::time::Duration;

use hashbrown::HashMap;
use selvage_engine::breaker;
use selvage_engine::breaker::{Admit, CallResult, State};
use selvage_engine::cache::{Cache, Moment};
use selvage_engine::config::ConfigError;
use selvage_engine::fields::FieldBlock;
use selvage_engine::insight::held::Held;
use selvage_engine::policy;
use selvage_engine::purge::spread::Step;
use selvage_engine::remote::claim::Claims;
use selvage_engine::remote::dialect::{Call, Command, Dialect, Kind};
use selvage_engine::remote::queue::Task;
use selvage_engine::remote::readiness::{Outcome, Readiness};
use selvage_engine::remote::seal::Seal;
use selvage_engine::remote::window::Window;
use selvage_engine::remote::writes::{self, State as WriteState, Writes};
use selvage_engine::time::Timestamp;

use crate::breakers::Breakers;
use crate::host::{Calls, Envoy, Level};
use crate::stream::BuildIdHasher;
use batches::Batch;
use gathering::Gathering;
use leases::Lease;
use selvage_engine::remote::asked::SCRIPTS;

pub use batches::Told;
pub use secrets::seal;

/// One plugin's way to its remote store. Not `Debug`: it holds credentials.
pub struct Remote<H> {
    settings: policy::Remote,
    breaker: breaker::Config,
    dialect: Dialect,
    readiness: Readiness,
    /// Where the workers share what the probe found.
    readiness_key: String,
    writes: Writes,
    /// Where they share whether it takes writes.
    writes_key: String,
    /// Where they share who asks for the purges of other nodes.
    purges_key: String,
    pending: HashMap<u32, Pending, BuildIdHasher>,
    /// Calls with several commands, and what they count for together.
    batches: HashMap<u32, Batch, BuildIdHasher>,
    batched: usize,
    gathering: Gathering,
    claims: Claims,
    /// Calls with tasks among those under way, and how many there may be.
    writing: usize,
    window: Window,
    /// Calls about purges and probes of writes among the pending ones, which do not count for `in_flight`.
    aside: usize,
    /// Calls about limits, which do not count for `in_flight` either, and are no more than it says.
    leases: HashMap<u32, Lease, BuildIdHasher>,
    /// Redis knows their script.
    known_scripts: [bool; SCRIPTS],
    /// When the operator is told next that they are refused.
    tells_of_leases_at: Timestamp,
    host: PhantomData<H>,
}

/// Who waits for the answer to a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A stream, by its context.
    Stream(u32),
    /// A request of the cache's own, by its number.
    Refresh(u32),
    /// Nobody: what is written.
    Nobody,
}

impl Asker {
    /// Its context, if it is a stream.
    const fn stream(self) -> Option<u32> {
        match self {
            Self::Stream(context) => Some(context),
            Self::Refresh(_) | Self::Nobody => None,
        }
    }
}

/// A lookup, and for whom it is.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Who waits for it.
    pub asker: Asker,
    /// What is asked about.
    pub hash: u128,
    /// How long the claim lasts that is to be left if nothing is found.
    pub claim: Option<Duration>,
    /// Since when its asker waits.
    pub since: Timestamp,
}

/// What a command is about.
#[derive(Clone, Copy)]
struct About {
    kind: Kind,
    /// The record; 0 if it is about none.
    hash: u128,
    /// When the claim ends that it leaves if it finds nothing, or that it takes back.
    claim: Option<Timestamp>,
    /// Whether what lies there is invalid until it has written something else.
    over_invalid: bool,
}

impl About {
    const fn new(kind: Kind, hash: u128, claim: Option<Timestamp>) -> Self {
        Self { kind, hash, claim, over_invalid: false }
    }

    const fn of_task(task: &Task) -> Self {
        match task {
            Task::Replicate { hash, over_invalid, .. } => {
                Self { over_invalid: *over_invalid, ..Self::new(Kind::Set, *hash, None) }
            }
            Task::Delete { hash, until } => Self::new(Kind::Delete, *hash, *until),
        }
    }

    /// What is to be deleted yet if it was not done.
    fn deletion(self) -> Option<Task> {
        let Self { kind, hash, claim, over_invalid } = self;
        match kind {
            Kind::Delete => Some(Task::Delete { hash, until: claim }),
            _ => over_invalid.then(|| Task::invalidate(hash)),
        }
    }
}

/// A call that has not been answered.
pub struct Pending {
    /// Who waits for it.
    pub asker: Asker,
    about: About,
    /// What it is for, if it is about purges.
    step: Option<Step>,
    /// Whether it only finds out what becomes of writes.
    probes_writes: bool,
    admitted: Admit,
    since: Timestamp,
    /// The same in microseconds.
    sent: u64,
}

impl Pending {
    fn new<H: Calls>(asker: Asker, about: About, admitted: Admit, now: Timestamp) -> Self {
        Self { asker, about, step: None, probes_writes: false, admitted, since: now, sent: H::micros() }
    }

    /// The record that it is about; 0 if it is about none.
    pub const fn hash(&self) -> u128 {
        self.about.hash
    }
}

impl<H: Calls> Remote<H> {
    /// Nothing is called before the first tick or request.
    ///
    /// # Errors
    /// The credentials that the configuration names are not there or cannot be sent. The error does not have them.
    pub fn new(
        settings: &policy::Remote,
        seal: Option<&Seal>,
        breakers: &mut Breakers<H>,
        now: Timestamp,
    ) -> Result<Self, ConfigError> {
        let dialect = secrets::dialect(settings)?;
        let breaker = policy::remote_breaker(settings);
        if settings.enabled {
            breakers.configure(&settings.cluster, breaker, now);
        }
        // A probe that is still under way is not made again.
        let pause = settings.breaker.pause.max(settings.timeout.saturating_mul(2));
        let policy::Remote { cluster, authority, .. } = settings;
        Ok(Self {
            readiness_key: format!("sv1/p/{:?}/{cluster}/{authority}", settings.dialect),
            purges_key: purges::purges_key(settings, seal),
            readiness: Readiness::new(pause, now),
            writes: Writes::default(),
            writes_key: writes::place(settings),
            settings: settings.clone(),
            breaker,
            dialect,
            pending: HashMap::default(),
            batches: HashMap::default(),
            batched: 0,
            gathering: Gathering::new(settings.batch, settings.object_bytes),
            claims: Claims::default(),
            writing: 0,
            // Lookups go first: half of the calls are theirs.
            window: Window::new(settings.in_flight.div_ceil(2)),
            aside: 0,
            leases: HashMap::default(),
            known_scripts: [false; SCRIPTS],
            tells_of_leases_at: Timestamp::default(),
            host: PhantomData,
        })
    }

    /// Takes over the calls under way of the configuration before.
    pub fn take_over(&mut self, before: Self) {
        self.pending.extend(before.pending);
        self.batches.extend(before.batches);
        self.leases.extend(before.leases);
        self.batched = self.batched.saturating_add(before.batched);
        self.gathering.take_over(before.gathering);
        self.aside = self.aside.saturating_add(before.aside);
        self.writing = self.writing.saturating_add(before.writing);
    }

    /// Whether there is a remote store.
    pub const fn is_enabled(&self) -> bool {
        self.settings.enabled
    }

    /// Whether a probe has shown that the store can be used.
    pub fn is_ready(&self) -> bool {
        self.readiness.outcome() == Outcome::Ready
    }

    /// What becomes of what is written.
    pub fn writes(&self) -> WriteState {
        self.writes.state()
    }

    /// What the breaker of the store's cluster does.
    pub fn state(&self, breakers: &Breakers<H>, now: Timestamp) -> State {
        breakers.state(&self.settings.cluster, now)
    }

    /// Does what is due now and then: hears of the other workers, probes, and sends what waits.
    pub fn tick(&mut self, breakers: &mut Breakers<H>, cache: &mut Cache, now: Timestamp) {
        if !self.settings.enabled {
            return;
        }
        if cache.take_breaker_reset() {
            breakers.reset(&self.settings.cluster, now);
        }
        breakers.tick(&self.settings.cluster, cache.origin_latency(), now);
        if self.readiness.claim(&mut Envoy::<H>::new(), &self.readiness_key, now)
            && !self.call(Asker::Nobody, 0, &Command::Probe, Admit::Pass, self.settings.timeout, now)
        {
            self.conclude(Outcome::Silent, now);
        }
        self.probe_writes(breakers, now);
        cache.tick_purges(&self.purges_key, &mut Moment { now, host: &mut Envoy::<H>::new() });
        self.send_purges(breakers, cache, now);
        self.send_tasks(breakers, cache, now);
        cache.count_dropped_tasks();
        breakers.count(&self.settings.cluster, &mut cache.stats);
    }

    /// Calls that have not been answered, and lookups that wait to be sent.
    pub fn calls(&self) -> usize {
        self.pending.len() + self.batches.len() + self.gathering.len() + self.leases.len()
    }

    /// The call that a token stands for, if it is one of ours.
    pub fn take(&mut self, token: u32) -> Option<Pending> {
        let pending = self.pending.remove(&token)?;
        if pending.step.is_some() || pending.probes_writes {
            self.aside = self.aside.saturating_sub(1);
        } else if pending.about.kind.writes() {
            self.writing = self.writing.saturating_sub(1);
        }
        Some(pending)
    }

    /// Calls under way and since when the oldest is.
    pub fn held(&self, now: Timestamp) -> Held {
        let since = self.pending.values().map(|call| call.since);
        let since = since.chain(self.batches.values().map(|batch| batch.since));
        let oldest = since.chain(self.leases.values().map(|lease| lease.sent)).min();
        Held::since(self.pending.len() + self.batches.len() + self.leases.len(), oldest, now)
    }

    /// How long the store takes to answer, on average.
    pub fn latency(&self, breakers: &Breakers<H>) -> Option<Duration> {
        breakers.latency(&self.settings.cluster)
    }

    fn under_way(&self) -> usize {
        self.pending.len().saturating_sub(self.aside) + self.batched + self.gathering.len()
    }

    /// Whether lookups wait to be sent.
    pub fn has_gathered(&self) -> bool {
        self.gathering.len() > 0
    }

    /// A tick has found lookups that wait.
    pub fn note_missed_ring(&mut self) {
        self.gathering.note_missed();
    }

    /// Whether this is the queue that rings when lookups are to be sent.
    pub fn is_bell(&self, queue: u32) -> bool {
        self.gathering.is_bell(queue)
    }

    /// Has lookups wait for each other until this queue rings.
    pub fn listen(&mut self, bell: impl FnOnce() -> Option<u32>) {
        self.gathering.listen(bell);
    }

    /// Tells the other workers, and the operator if it is news, what a probe found.
    fn conclude(&mut self, outcome: Outcome, now: Timestamp) {
        if !self.readiness.conclude(&mut Envoy::<H>::new(), &self.readiness_key, outcome, now) {
            return;
        }
        let level = if outcome == Outcome::Ready { Level::Info } else { Level::Warn };
        let so = if self.dialect.is_ruled_out(outcome) { ", so it is not used" } else { "" };
        self.tell(level, &format!("{}{so}", outcome.told()));
    }

    /// Tells the operator what the store does.
    fn tell(&self, level: Level, what: &str) {
        let cluster = &self.settings.cluster;
        H::log(level, &format!("the remote store behind the cluster {cluster:?} {what}"));
    }

    fn not_called(&self, admitted: Admit, breakers: &mut Breakers<H>, cache: &mut Cache, now: Timestamp) {
        cache.stats.count("remote", "dispatch");
        breakers.record(&self.settings.cluster, admitted, CallResult::Failure, now);
    }

    /// Makes a call with one command. `false` if no answer will come.
    #[inline(never)]
    fn call(
        &mut self,
        asker: Asker,
        hash: u128,
        command: &Command<'_>,
        admitted: Admit,
        timeout: Duration,
        now: Timestamp,
    ) -> bool {
        let claim = match command {
            Command::Claim { millis, .. } => Some(now.plus(Duration::from_millis(*millis))),
            _ => None,
        };
        let about = About::new(command.kind(), hash, claim);
        let pending = Pending::new::<H>(asker, about, admitted, now);
        self.keep(self.dispatch(self.dialect.call(command), timeout), pending)
    }

    /// Keeps what a call was about until it is answered. `false` if it was not made.
    fn keep(&mut self, token: Option<u32>, pending: Pending) -> bool {
        token.map(|token| self.pending.insert(token, pending)).is_some()
    }

    #[inline(never)]
    fn dispatch(&self, call: Call, timeout: Duration) -> Option<u32> {
        let mut fields: FieldBlock = [
            (&b":method"[..], call.method.as_bytes()),
            (b":path", call.path.as_bytes()),
            (b":scheme", b"http"),
            (b":authority", self.settings.authority.as_bytes()),
        ]
        .into_iter()
        .collect();
        for (name, value) in &call.headers {
            fields.push(name.as_bytes(), value.as_bytes());
        }
        let mut headers = Vec::new();
        fields.write_with(&[], &mut headers);
        H::http_call(&self.settings.cluster, &headers, &call.body, timeout).ok()
    }
}
