//! Talks to the remote store: one call for a lookup, one for each task that waits, and a probe at the start.

use std::borrow::Cow;
use std::marker::PhantomData;
use std::time::Duration;

use hashbrown::HashMap;
use selvage_engine::breaker;
use selvage_engine::breaker::{Admit, CallResult, State};
use selvage_engine::cache::{Cache, Moment, Under};
use selvage_engine::config::ConfigError;
use selvage_engine::exchange::RemoteAnswer;
use selvage_engine::fields::{FieldBlock, Fields};
use selvage_engine::insight::held::Held;
use selvage_engine::policy;
use selvage_engine::purge::spread::{KEPT_FOR, LONGEST_WRITTEN, Step};
use selvage_engine::remote::claim::{self, Claim};
use selvage_engine::remote::dialect::{
    Answer, Command, Dialect, DialectError, Kind, Response, probe_key, wire_key,
};
use selvage_engine::remote::queue::Task;
use selvage_engine::remote::readiness::{Outcome, Readiness};
use selvage_engine::remote::seal::Seal;
use selvage_engine::remote::window::Window;
use selvage_engine::remote::writes::{self, Reason, State as WriteState, Writes};
use selvage_engine::store::record::RecordError;
use selvage_engine::time::Timestamp;

use crate::breakers::Breakers;
use crate::environment::{refused, variable};
use crate::host::{Calls, Envoy, Level};
use crate::stream::BuildIdHasher;

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
    no_claims_until: Timestamp,
    /// Tasks among the pending calls, and how many there may be.
    writing: usize,
    window: Window,
    /// Calls about purges and probes of writes among the pending ones, which do not count for `in_flight`.
    aside: usize,
    host: PhantomData<H>,
}

/// A call that has not been answered.
pub struct Pending {
    /// The stream that waits for it; `None` for a task or a probe.
    pub context: Option<u32>,
    /// What is asked about; 0 for a probe.
    pub hash: u128,
    kind: Kind,
    /// When the claim ends that the call leaves if it finds nothing.
    claim: Option<Timestamp>,
    /// What it is for, if it is about purges.
    step: Option<Step>,
    /// Whether it only finds out what becomes of writes.
    probes_writes: bool,
    admitted: Admit,
    since: Timestamp,
    /// The same in microseconds.
    sent: u64,
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
        let dialect = dialect(settings)?;
        let breaker = policy::remote_breaker(settings);
        if settings.enabled {
            breakers.configure(&settings.cluster, breaker, now);
        }
        // A probe that is still under way is not made again.
        let pause = settings.breaker.pause.max(settings.timeout.saturating_mul(2));
        let policy::Remote { cluster, authority, .. } = settings;
        Ok(Self {
            readiness_key: format!("sv1/p/{:?}/{cluster}/{authority}", settings.dialect),
            purges_key: purges_key(settings, seal),
            readiness: Readiness::new(pause, now),
            writes: Writes::default(),
            writes_key: writes::place(settings),
            settings: settings.clone(),
            breaker,
            dialect,
            pending: HashMap::default(),
            no_claims_until: Timestamp::default(),
            writing: 0,
            // Lookups go first: half of the calls are theirs.
            window: Window::new(settings.in_flight.div_ceil(2)),
            aside: 0,
            host: PhantomData,
        })
    }

    /// Takes over the calls under way of the configuration before.
    pub fn take_over(&mut self, before: Self) {
        self.pending.extend(before.pending);
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
            && self.call(None, 0, &Command::Probe, Admit::Pass, now).is_none()
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

    /// Asks for the record under `hash` on behalf of a stream, or of a refresh. The call's token; `None` if no answer will
    /// come.
    pub fn look_up(
        &mut self,
        context: Option<u32>,
        hash: u128,
        claim: Option<Duration>,
        breakers: &mut Breakers<H>,
        cache: &mut Cache,
        now: Timestamp,
    ) -> Option<u32> {
        if self.dialect.is_ruled_out(self.readiness.outcome()) {
            cache.stats.count("remote", "unfit");
            return None;
        }
        if self.under_way() >= self.settings.in_flight {
            cache.stats.count("remote", "busy");
            return None;
        }
        let admitted = breakers.admit(&self.settings.cluster, self.breaker, now);
        if admitted == Admit::Refused {
            cache.stats.count("remote", "open");
            return None;
        }
        cache.stats.count("remote", "lookups");
        let key = wire_key(&self.settings.prefix, hash);
        // A claim that is refused brings no record either.
        let claims = now >= self.no_claims_until && self.writes().reason().is_none();
        let called = match claim.filter(|_| claims) {
            Some(lasts) => {
                let millis = u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX);
                let claim = claim::claim(breakers.random());
                let command = Command::Claim { key: &key, claim: &claim, millis };
                self.call(context, hash, &command, admitted, now)
            }
            None => self.call(context, hash, &Command::Get { key: &key }, admitted, now),
        };
        if called.is_none() {
            self.not_called(admitted, breakers, cache, now);
        }
        called
    }

    /// Sends what waits, as far as calls may be under way. Lookups go first: half of the calls are theirs.
    pub fn send_tasks(&mut self, breakers: &mut Breakers<H>, cache: &mut Cache, now: Timestamp) {
        if !self.settings.enabled || self.dialect.is_ruled_out(self.readiness.outcome()) {
            return;
        }
        let mut later = Vec::new();
        while self.under_way() < self.settings.in_flight.div_ceil(2)
            && self.window.admits(self.writing)
            && cache.has_remote_tasks()
        {
            // What waits does so for better times, within the queue's budget.
            if let State::Open { .. } = self.state(breakers, now) {
                break;
            }
            if self.holds_deletions() {
                break;
            }
            let admitted = breakers.admit(&self.settings.cluster, self.breaker, now);
            if admitted == Admit::Refused {
                break;
            }
            let Some(task) = self.next_task(cache, &mut later) else {
                breakers.record(&self.settings.cluster, admitted, CallResult::Dropped, now);
                break;
            };
            let key = wire_key(&self.settings.prefix, task.hash());
            let record = match &task {
                Task::Replicate { hash, record, .. } => cache.signed(*hash, record),
                Task::Delete { .. } => Cow::Borrowed(&[][..]),
            };
            let command = match &task {
                Task::Replicate { ttl_seconds, .. } => {
                    Command::Set { key: &key, value: &record, ttl_seconds: *ttl_seconds }
                }
                Task::Delete { .. } => Command::Delete { key: &key },
            };
            let sent = record.len();
            if self.call(None, task.hash(), &command, admitted, now).is_some() {
                self.writing += 1;
                cache.stats.add("stored_bytes", "remote", sent as u64);
            } else {
                self.not_called(admitted, breakers, cache, now);
            }
        }
        for task in later {
            cache.requeue_remote_task(task);
        }
    }

    /// Whether deletions would be refused too.
    fn holds_deletions(&self) -> bool {
        self.writes().reason().is_some_and(|reason| reason != Reason::Oom)
    }

    /// Finds out what becomes of writes, if that is this worker's turn: by a command of each sort, and a lookup, without
    /// which no answer says nothing about writes.
    fn probe_writes(&mut self, breakers: &mut Breakers<H>, now: Timestamp) {
        let closed = self.state(breakers, now) == State::Closed;
        if !closed || !self.is_ready() || !self.writes.claim(&mut Envoy::<H>::new(), &self.writes_key, now) {
            return;
        }
        let key = &probe_key(&self.settings.prefix);
        let (once, ttl_seconds) = (&format!("{key}:once"), PROBE_KEPT_SECS);
        for command in [
            Command::Set { key, value: b"1", ttl_seconds },
            Command::Add { key: once, text: "1", ttl_seconds },
            Command::Get { key },
        ] {
            let admitted = breakers.admit(&self.settings.cluster, self.breaker, now);
            if admitted == Admit::Refused {
                return;
            }
            let Some(token) = self.call(None, 0, &command, admitted, now) else {
                return breakers.record(&self.settings.cluster, admitted, CallResult::Failure, now);
            };
            self.aside += 1;
            if let Some(pending) = self.pending.get_mut(&token) {
                pending.probes_writes = true;
            }
        }
    }

    /// Takes in what an answer says about writes, and tells the operator if that is news.
    fn note_writes(
        &mut self,
        pending: &Pending,
        answer: &Result<Answer, DialectError>,
        cache: &mut Cache,
        now: Timestamp,
    ) {
        if matches!((pending.kind, answer), (Kind::Get, Ok(_))) {
            self.writes.note_read(H::micros());
        }
        let Some(found) = writes::evidence(pending.kind, answer) else { return };
        if let Some(reason) = found.1.reason() {
            cache.stats.count("remote_refused", reason.as_str());
        }
        let Some(state) =
            self.writes.note(found, pending.sent, &mut Envoy::<H>::new(), &self.writes_key, now)
        else {
            return;
        };
        let cluster = &self.settings.cluster;
        let (level, what) = match state {
            WriteState::Ok => (Level::Info, "takes writes again".to_owned()),
            WriteState::Refusing(reason) => (
                Level::Warn,
                format!(
                    "refuses writes ({}); lookups go on, purges wait to reach the fleet",
                    reason.meaning()
                ),
            ),
            WriteState::Silent => {
                (Level::Warn, "answers lookups and no writes; purges wait to reach the fleet".to_owned())
            }
        };
        H::log(level, &format!("the remote store behind the cluster {cluster:?} {what}"));
    }

    /// The next task whose key nothing is being written to: calls of one key may arrive in any order.
    fn next_task(&self, cache: &mut Cache, later: &mut Vec<Task>) -> Option<Task> {
        while later.len() < self.settings.in_flight {
            let task = match self.writes().reason() {
                // Records wait, as for a store that is left alone; a full one takes deletions.
                Some(_) => cache.next_remote_deletion()?,
                None => cache.next_remote_task()?,
            };
            if self.pending.values().all(|call| call.hash != task.hash() || !call.kind.writes()) {
                return Some(task);
            }
            later.push(task);
        }
        None
    }

    /// Tells the other nodes of purges and asks for theirs. These calls are few and small, and do not wait for others.
    /// Called in each event: where nothing is due it costs a few comparisons.
    pub fn send_purges(&mut self, breakers: &mut Breakers<H>, cache: &mut Cache, now: Timestamp) {
        if !self.settings.enabled || self.dialect.is_ruled_out(self.readiness.outcome()) {
            return;
        }
        for _ in 0..MOST_PURGE_CALLS {
            let Some(step) = cache.next_purge_step(now) else { return };
            let failed = |cache: &mut Cache| {
                let mut moment = Moment { now, host: &mut Envoy::<H>::new() };
                cache.purge_step_ended(&step, Err(DialectError::Unreachable), &mut moment);
            };
            let admitted = breakers.admit(&self.settings.cluster, self.breaker, now);
            if admitted == Admit::Refused {
                failed(cache);
                return;
            }
            let (key, text) = (&step.key(&self.settings.prefix), cache.signed_step(&step, now));
            let ttl_seconds = KEPT_FOR.as_secs();
            let command = match &step {
                Step::Add { .. } => Command::Add { key, text: &text, ttl_seconds },
                Step::Hint { .. } => Command::Set { key, value: text.as_bytes(), ttl_seconds },
                Step::Read { .. } | Step::Last { .. } => Command::Get { key },
            };
            let (kind, called) = (command.kind(), self.dispatch(&command));
            drop(text);
            match called {
                Some(token) => {
                    let step = Some(step);
                    self.aside += 1;
                    self.pending.insert(
                        token,
                        Pending {
                            context: None,
                            hash: 0,
                            kind,
                            claim: None,
                            step,
                            probes_writes: false,
                            admitted,
                            since: now,
                            sent: H::micros(),
                        },
                    );
                }
                None => {
                    failed(cache);
                    self.not_called(admitted, breakers, cache, now);
                    return;
                }
            }
        }
    }

    /// Calls that have not been answered.
    pub fn calls(&self) -> usize {
        self.pending.len()
    }

    /// The call that a token stands for, if it is one of ours.
    pub fn take(&mut self, token: u32) -> Option<Pending> {
        let pending = self.pending.remove(&token)?;
        if pending.step.is_some() || pending.probes_writes {
            self.aside = self.aside.saturating_sub(1);
        } else if pending.kind.writes() {
            self.writing = self.writing.saturating_sub(1);
        }
        Some(pending)
    }

    /// Calls under way and since when the oldest is.
    pub fn held(&self, now: Timestamp) -> Held {
        Held::since(self.pending.len(), self.pending.values().map(|call| call.since).min(), now)
    }

    /// How long the store takes to answer, on average.
    pub fn latency(&self, breakers: &Breakers<H>) -> Option<Duration> {
        breakers.latency(&self.settings.cluster)
    }

    fn under_way(&self) -> usize {
        self.pending.len().saturating_sub(self.aside)
    }

    /// What the answer to a call means for the request that waits for it, if one does.
    pub fn judge(
        &mut self,
        pending: &Pending,
        head: Option<Vec<u8>>,
        body: Vec<u8>,
        breakers: &mut Breakers<H>,
        cache: &mut Cache,
        now: Timestamp,
    ) -> RemoteAnswer {
        let head = head.as_deref().and_then(Fields::parse).unwrap_or_default();
        let most = if pending.step.is_some() { LONGEST_WRITTEN } else { self.settings.object_bytes };
        let most = most.saturating_add(cache.sealing_bytes());
        let answer = self.dialect.answer(pending.kind, Response { head, body }, most);
        if pending.kind == Kind::Probe {
            self.conclude(Outcome::of(&answer), now);
            return RemoteAnswer::Nothing;
        }
        self.note_writes(pending, &answer, cache, now);
        let latency = now.since(pending.since);
        if pending.probes_writes {
            let result = match &answer {
                Ok(_) => CallResult::Success { latency },
                Err(error) => error.call_result(pending.kind, latency),
            };
            breakers.record(&self.settings.cluster, pending.admitted, result, now);
            return RemoteAnswer::Nothing;
        }
        let took = H::micros().saturating_sub(pending.sent);
        if pending.step.is_none() {
            let step = if pending.kind.writes() { "remote-write" } else { "remote-lookup" };
            cache.stats.sample("duration_us", step, took);
        }
        let success = CallResult::Success { latency };
        if let Some(step) = &pending.step {
            let result = match &answer {
                Ok(_) => success,
                Err(error) => error.call_result(pending.kind, latency),
            };
            if let Err(error) = &answer {
                cache.stats.count("remote", error.as_str());
            }
            breakers.record(&self.settings.cluster, pending.admitted, result, now);
            cache.purge_step_ended(step, answer, &mut Moment { now, host: &mut Envoy::<H>::new() });
            return RemoteAnswer::Nothing;
        }
        let (word, result, found) = match answer {
            Ok(Answer::Value(value)) => {
                match cache.read_remote(
                    pending.hash,
                    value,
                    &mut Moment { now, host: &mut Envoy::<H>::new() },
                ) {
                    Ok(Under::Claim(Claim::Fetching)) => ("claimed", success, RemoteAnswer::Fetching),
                    Ok(Under::Claim(Claim::NotStorable)) => ("claimed", success, RemoteAnswer::NotStorable),
                    Ok(Under::Record(slot)) => ("found", success, RemoteAnswer::Found(slot)),
                    // The store has answered well; whoever wrote that cannot have it left alone.
                    Err(RecordError::Unsigned) => ("forged", success, RemoteAnswer::Nothing),
                    // Of another release that shares the store.
                    Err(RecordError::Unknown) => ("absent", success, RemoteAnswer::Nothing),
                    Err(_) => ("malformed", CallResult::Failure, RemoteAnswer::Nothing),
                }
            }
            Ok(Answer::Absent) => {
                let claimed = pending.claim.map(|until| RemoteAnswer::Claimed { until });
                ("absent", success, claimed.unwrap_or(RemoteAnswer::Nothing))
            }
            Ok(Answer::Done | Answer::Ready(_)) => {
                let word = if pending.kind == Kind::Delete { "deleted" } else { "written" };
                (word, success, RemoteAnswer::Nothing)
            }
            Err(error) => {
                let refused = matches!(error, DialectError::RedisError(_) | DialectError::Unauthorized);
                if pending.kind == Kind::Claim && refused {
                    // Redis before 7.0 knows no such command, and a user may lack `SET`: for a while it is asked plainly.
                    let passes = writes::evidence(pending.kind, &Err(error.clone())).is_some();
                    self.no_claims_until = now.plus(if passes { FEW_CLAIMS_FOR } else { NO_CLAIMS_FOR });
                }
                // What was not answered may be done all the same, or yet: then the claim is this request's to end.
                let claimed = pending.claim.filter(|_| !refused).map(|until| RemoteAnswer::Claimed { until });
                let found = claimed.unwrap_or(RemoteAnswer::Nothing);
                (error.as_str(), error.call_result(pending.kind, latency), found)
            }
        };
        if pending.kind.writes() {
            let well =
                matches!(result, CallResult::Success { latency } if latency <= self.breaker.slow_after);
            self.window.note(well);
        }
        breakers.record(&self.settings.cluster, pending.admitted, result, now);
        cache.stats.count("remote", word);
        // What was invalidated must go, also from a store that could not be reached for a moment.
        if pending.kind == Kind::Delete
            && (matches!(word, "timeout" | "reset" | "unreachable")
                || matches!(word, "redis-error" | "unauthorized") && self.holds_deletions())
        {
            cache.requeue_remote_task(Task::Delete { hash: pending.hash });
        }
        found
    }

    /// Tells the other workers, and the operator if it is news, what a probe found.
    fn conclude(&mut self, outcome: Outcome, now: Timestamp) {
        if !self.readiness.conclude(&mut Envoy::<H>::new(), &self.readiness_key, outcome, now) {
            return;
        }
        let (level, found) = match outcome {
            Outcome::Ready => (Level::Info, "is ready"),
            Outcome::Unknown | Outcome::Silent => (Level::Warn, "has not answered a first call"),
            Outcome::Unauthorized => (Level::Warn, "refuses the credentials, or wants some"),
            Outcome::Inexact => (Level::Warn, "does not give values back byte for byte"),
        };
        let so = if self.dialect.is_ruled_out(outcome) { ", so it is not used" } else { "" };
        let cluster = &self.settings.cluster;
        H::log(level, &format!("the remote store behind the cluster {cluster:?} {found}{so}"));
    }

    fn not_called(&self, admitted: Admit, breakers: &mut Breakers<H>, cache: &mut Cache, now: Timestamp) {
        cache.stats.count("remote", "dispatch");
        breakers.record(&self.settings.cluster, admitted, CallResult::Failure, now);
    }

    fn call(
        &mut self,
        context: Option<u32>,
        hash: u128,
        command: &Command<'_>,
        admitted: Admit,
        now: Timestamp,
    ) -> Option<u32> {
        let token = self.dispatch(command)?;
        let claim = match command {
            Command::Claim { millis, .. } => Some(now.plus(Duration::from_millis(*millis))),
            _ => None,
        };
        let kind = command.kind();
        let (step, since, sent) = (None, now, H::micros());
        let probes_writes = false;
        self.pending.insert(
            token,
            Pending { context, hash, kind, claim, step, probes_writes, admitted, since, sent },
        );
        Some(token)
    }

    fn dispatch(&self, command: &Command<'_>) -> Option<u32> {
        let call = self.dialect.call(command);
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
        H::http_call(&self.settings.cluster, &headers, &call.body, self.settings.timeout).ok()
    }
}

/// Where the workers share who reads purges. Those that believe other secrets skip what these take, and the other way round.
fn purges_key(settings: &policy::Remote, seal: Option<&Seal>) -> String {
    let policy::Remote { cluster, authority, prefix, .. } = settings;
    let by = seal.map_or_else(String::new, |seal| format!("/{:016x}", seal.fingerprint()));
    format!("sv1/f/{cluster}/{authority}/{prefix}{by}")
}

/// How long a Redis that refused a claim is not asked for one.
const NO_CLAIMS_FOR: Duration = Duration::from_secs(60);
/// The same of a Redis that takes no writes at all for now.
const FEW_CLAIMS_FOR: Duration = Duration::from_secs(2);
/// How long it keeps what is written to see whether it takes writes. What is not there can be added again.
const PROBE_KEPT_SECS: u64 = 1;

/// Calls about purges that one event may make.
const MOST_PURGE_CALLS: usize = 64;

/// The dialect with the credentials that the configuration names.
fn dialect(settings: &policy::Remote) -> Result<Dialect, ConfigError> {
    let member = "remote.credentials_env";
    let Some(name) = &settings.credentials_env else {
        return Dialect::new(settings.dialect, None).map_err(|allowed| refused(member, "nothing", allowed));
    };
    let found = format!("{name:?}, whose value cannot be sent");
    Dialect::new(settings.dialect, Some(variable(member, name)?))
        .map_err(|allowed| refused(member, &found, allowed))
}

/// What signs what is written, if the configuration names a secret.
///
/// # Errors
/// It is not there, or is none. The error does not have it.
pub fn seal(settings: &policy::Remote) -> Result<Option<Seal>, ConfigError> {
    let member = "remote.secret_env";
    let Some(name) = &settings.secret_env else { return Ok(None) };
    let allowed = "a secret of 16 to 1024 bytes, or two with a comma or white space between them";
    let refused = |why: &str| refused(member, &format!("{name:?}, whose value is {why}"), allowed);
    Seal::new(&variable(member, name)?).map(Some).map_err(refused)
}
