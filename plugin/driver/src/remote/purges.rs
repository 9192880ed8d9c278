//! Calls about purges.

use selvage_engine::breaker::Admit;
use selvage_engine::cache::{Cache, Moment};
use selvage_engine::policy;
use selvage_engine::purge::spread::{KEPT_FOR, Step};
use selvage_engine::remote::dialect::{Command, DialectError};
use selvage_engine::remote::seal::Seal;
use selvage_engine::time::Timestamp;

use super::{About, Asker, Pending, Remote};
use crate::breakers::Breakers;
use crate::host::{Calls, Envoy};

impl<H: Calls> Remote<H> {
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
            let (kind, call) = (command.kind(), self.dialect.call(&command));
            drop(text);
            let sent = Pending::new::<H>(Asker::Nobody, About::new(kind, 0, None), admitted, now);
            let Some(token) = self.dispatch(call, self.settings.timeout) else {
                failed(cache);
                self.not_called(admitted, breakers, cache, now);
                return;
            };
            self.aside += 1;
            self.pending.insert(token, Pending { step: Some(step), ..sent });
        }
    }
}

/// Where the workers share who reads purges. Those that believe other secrets skip what these take, and the other way round.
pub(super) fn purges_key(settings: &policy::Remote, seal: Option<&Seal>) -> String {
    let policy::Remote { cluster, authority, prefix, .. } = settings;
    let by = seal.map_or_else(String::new, |seal| format!("/{:016x}", seal.fingerprint()));
    format!("sv1/f/{cluster}/{authority}/{prefix}{by}")
}

/// Calls about purges that one event may make.
const MOST_PURGE_CALLS: usize = 64;
