//! What is known of the origins behind the rules: their clusters, and whether asking them is worth it.
//!
//! A breaker stands for a cluster, the one that the rule's refreshes go to, where it is known, and else for the rule.
//! Names that a client chooses, such as authorities, have none: shared data cannot be deleted.

use std::rc::Rc;
use std::time::Duration;

use super::{Cache, Moment};
use crate::breaker::{Admit, Breaker, CallResult, Counters, State};
use crate::chance;
use crate::policy::{self, Policy, Rule};
use crate::registry::{Limits, Registry};
use crate::time::Timestamp;

/// What this worker knows of the origins.
pub(super) struct Origins {
    breakers: Registry<Origin>,
    /// By index of the rule.
    learnt: Vec<Learnt>,
    random: u64,
}

/// The breaker of one origin.
struct Origin {
    breaker: Breaker,
    /// Where the workers share it.
    key: String,
    counted: Counters,
}

/// Where the responses of a rule come from.
#[derive(Clone, Default)]
struct Learnt {
    /// The name of the breaker.
    name: Rc<str>,
    /// `None`: nothing is known.
    cluster: Option<Rc<str>>,
    /// They come from several, so that a call could go to the wrong one.
    several: bool,
    /// When it was last looked at.
    read: Timestamp,
    /// The cluster cannot be called until then.
    unknown_until: Timestamp,
}

/// A request that may go to its origin. To be given back with what became of it.
#[derive(Clone, Debug)]
pub struct Admitted {
    origin: Rc<str>,
    admit: Admit,
}

/// Why a request may not go to its origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OriginOpen {
    /// When it may be tried again, in whole seconds from now, at least 1.
    pub retry_after: u64,
}

/// Something that the operator should hear of an origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginNews {
    /// Its cluster or rule.
    pub origin: Box<str>,
    /// What has become of it.
    pub turn: OriginTurn,
}

/// How an origin does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginTurn {
    /// It fails, so it is left alone.
    Fails,
    /// It is too slow, so it is left alone.
    IsSlow,
    /// It answers again.
    Recovered,
}

impl Origins {
    pub(super) fn new(policy: &Policy) -> Self {
        let learnt = policy.rules().enumerate().map(|(index, rule)| {
            let name = name_of(policy.scope(index), rule, None);
            Learnt { name, ..Learnt::default() }
        });
        Self { breakers: Registry::new(LIMITS), learnt: learnt.collect(), random: 0 }
    }

    fn random(&mut self, salt: u64) -> u64 {
        self.random ^= salt;
        chance::next(&mut self.random)
    }
}

impl Cache {
    /// Looks where the response at hand comes from, once a minute for each rule that has a use for it.
    pub(crate) fn learn_cluster(&mut self, rule_index: usize, rule: &Rule, moment: &mut Moment<'_>) {
        let of_use = !rule.refresh.clusters.is_empty() || rule.origin_breaker.enabled;
        if rule.refresh.cluster.is_some() || !of_use {
            return;
        }
        let Some(learnt) = self.origins.learnt.get_mut(rule_index) else { return };
        if learnt.read > Timestamp::default() && moment.now.since(learnt.read) < LEARN_EVERY {
            return;
        }
        learnt.read = moment.now;
        let Some(name) = moment.host.cluster_name().and_then(|name| String::from_utf8(name).ok()) else {
            return;
        };
        match &learnt.cluster {
            Some(known) if **known == *name => {}
            Some(_) => {
                learnt.several = true;
                self.stats.count("refresh", "several-clusters");
            }
            None if !name.is_empty() => learnt.cluster = Some(name.into()),
            None => {}
        }
        let cluster = learnt.cluster.as_deref().filter(|_| !learnt.several);
        learnt.name = name_of(self.policy.scope(rule_index), rule, cluster);
    }

    /// The cluster that refreshes for a rule go to.
    pub(crate) fn refresh_cluster(&self, rule_index: usize, rule: &Rule, now: Timestamp) -> Option<Rc<str>> {
        let learnt = self.origins.learnt.get(rule_index)?;
        if now < learnt.unknown_until {
            return None;
        }
        if let Some(cluster) = &rule.refresh.cluster {
            return Some(Rc::from(&**cluster));
        }
        let cluster = learnt.cluster.as_ref().filter(|_| !learnt.several)?;
        rule.refresh.clusters.iter().any(|allowed| **allowed == **cluster).then(|| Rc::clone(cluster))
    }

    /// The cluster of a rule cannot be called: clients renew what is stored, for a while.
    pub(crate) fn note_unknown_cluster(&mut self, rule_index: usize, now: Timestamp) {
        if let Some(learnt) = self.origins.learnt.get_mut(rule_index) {
            learnt.unknown_until = now.plus(LEARN_EVERY);
        }
    }

    /// Whether the origin of a rule is left alone at the moment. Asks no one, and is no request for admission.
    pub(crate) fn origin_open(&self, rule_index: usize, rule: &Rule, now: Timestamp) -> Option<OriginOpen> {
        if !rule.origin_breaker.enabled {
            return None;
        }
        let name = self.origin_name(rule_index);
        match self.origins.breakers.peek(&name)?.value.breaker.state(now) {
            State::Open { until } => {
                let millis = u64::try_from(until.since(now).as_millis()).unwrap_or(u64::MAX);
                Some(OriginOpen { retry_after: millis.div_ceil(1000).max(1) })
            }
            State::Closed | State::HalfOpen => None,
        }
    }

    /// Whether a request of the rule may go to its origin. `Ok(None)` where nobody keeps count.
    pub(crate) fn admit_origin(
        &mut self,
        rule_index: usize,
        rule: &Rule,
        moment: &mut Moment<'_>,
    ) -> Result<Option<Admitted>, OriginOpen> {
        if !rule.origin_breaker.enabled {
            return Ok(None);
        }
        let origin = self.origin_name(rule_index);
        let now = moment.now;
        let random = self.origins.random(now.as_millis());
        let config = policy::origin_breaker(&rule.origin_breaker);
        let key = || format!("sv1/k/{origin}");
        let make = || Origin { breaker: Breaker::new(config), key: key(), counted: Counters::default() };
        let is_new = self.origins.breakers.peek(&origin).is_none();
        let Some(entry) = self.origins.breakers.entry(&origin, now, make) else { return Ok(None) };
        let Origin { breaker, key, .. } = &mut entry.value;
        if is_new {
            // Others may know of it already.
            breaker.sync(moment.host, key, now);
        }
        match breaker.admit_shared(moment.host, key, now, random) {
            Admit::Refused => Err(self
                .origin_open(rule_index, rule, now)
                // A probe is under way.
                .unwrap_or(OriginOpen { retry_after: 1 })),
            admit => Ok(Some(Admitted { origin, admit })),
        }
    }

    /// What became of a request that was admitted.
    pub(crate) fn record_origin(&mut self, admitted: &Admitted, result: CallResult, moment: &mut Moment<'_>) {
        let random = self.origins.random(moment.now.as_millis());
        let Some(origin) = self.origins.breakers.peek_mut(&admitted.origin) else { return };
        let changed = origin.breaker.record(admitted.admit, result, moment.now, random);
        if changed || origin.breaker.needs_sync() {
            origin.breaker.sync(moment.host, &origin.key, moment.now);
        }
    }

    /// Whether nothing is wrong with the origin that a request was admitted to, so that its answer may go unread. It counts as
    /// given then, unless it is read all the same.
    pub(crate) fn assume_answered(&mut self, admitted: &Admitted, is_read: bool, now: Timestamp) -> bool {
        let origin = self.origins.breakers.peek_mut(&admitted.origin);
        admitted.admit == Admit::Pass && origin.is_some_and(|origin| origin.breaker.assume(is_read, now))
    }

    /// Hears of the other workers' origins, counts, and says what the operator should know.
    pub fn look_after_origins(&mut self, moment: &mut Moment<'_>) -> Vec<OriginNews> {
        let mut news = Vec::new();
        if self.origins.breakers.is_empty() {
            return news;
        }
        let names: Vec<String> = self.origins.breakers.iter().map(|(name, _)| name.to_owned()).collect();
        for name in names {
            let Some(origin) = self.origins.breakers.peek_mut(&name) else { continue };
            origin.breaker.sync(moment.host, &origin.key, moment.now);
            let (now, old) = (origin.breaker.counters(), origin.counted);
            origin.counted = now;
            let mut tell = |turn| news.push(OriginNews { origin: name.as_str().into(), turn });
            if now.opened_by_failures > old.opened_by_failures {
                tell(OriginTurn::Fails);
            } else if now.opened_by_slowness > old.opened_by_slowness {
                tell(OriginTurn::IsSlow);
            } else if now.closed > old.closed {
                tell(OriginTurn::Recovered);
            }
            // What is refused is counted where the client is told.
            for (word, events) in now.since(old).into_iter().filter(|(word, _)| *word != "refused") {
                self.stats.add("origin", word, events);
            }
        }
        self.origins.breakers.sweep(moment.now, SWEEP_STEPS);
        news
    }

    /// No origin is left alone any more. Returns how many were.
    pub(crate) fn reset_origins(&mut self, moment: &mut Moment<'_>) -> usize {
        let names: Vec<String> = self.origins.breakers.iter().map(|(name, _)| name.to_owned()).collect();
        let mut reset = 0;
        for name in names {
            let Some(origin) = self.origins.breakers.peek_mut(&name) else { continue };
            if origin.breaker.state(moment.now) != State::Closed {
                origin.breaker.reset(moment.now);
                origin.breaker.sync(moment.host, &origin.key, moment.now);
                reset += 1;
            }
        }
        reset
    }

    /// How many origins are left alone, half-open ones included.
    pub fn origins_left_alone(&self, now: Timestamp) -> usize {
        let open = |origin: &Origin| origin.breaker.state(now) != State::Closed;
        self.origins.breakers.iter().filter(|(_, entry)| open(&entry.value)).count()
    }

    fn origin_name(&self, rule_index: usize) -> Rc<str> {
        self.origins.learnt.get(rule_index).map(|learnt| Rc::clone(&learnt.name)).unwrap_or_default()
    }
}

/// The name of the breaker for the origin of a rule, whose responses come from this cluster, as far as is known.
#[inline(never)]
fn name_of(scope: u64, rule: &Rule, learnt: Option<&str>) -> Rc<str> {
    match rule.refresh.cluster.as_deref().or(learnt) {
        Some(cluster) => format!("origin/{cluster}").into(),
        None => format!("rule/{scope:016x}/{}", rule.name).into(),
    }
}

/// Rules and clusters are few; names are made by operators.
const LIMITS: Limits = Limits { entries: 512, idle: Duration::from_secs(600), name_bytes: 192 };
const SWEEP_STEPS: usize = 2;
/// How often it is looked where a rule's responses come from, and how long a cluster that is not there is left alone.
const LEARN_EVERY: Duration = Duration::from_secs(60);
