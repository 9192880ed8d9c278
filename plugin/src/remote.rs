//! Talks to the remote store: one call for a lookup, and one for each task that waits.

use hashbrown::HashMap;
use selvage_engine::cache::Cache;
use selvage_engine::exchange::RemoteAnswer;
use selvage_engine::fields::{FieldBlock, Fields};
use selvage_engine::policy;
use selvage_engine::remote::circuit::{Breaker, CallResult};
use selvage_engine::remote::queue::Task;
use selvage_engine::remote::webdis::{Answer, Command};
use selvage_engine::time::Timestamp;

use crate::host::{self, Level};
use crate::stream::BuildIdHasher;

/// One plugin's way to its remote store.
pub struct Remote {
    settings: policy::Remote,
    breaker: Breaker,
    pending: HashMap<u32, Pending, BuildIdHasher>,
}

/// A call that has not been answered.
pub struct Pending {
    /// The stream that waits for it; `None` for a task.
    pub context: Option<u32>,
    command: Command,
}

impl Remote {
    /// Nothing is called before the first request.
    pub fn new(settings: &policy::Remote) -> Self {
        Self { settings: settings.clone(), breaker: Breaker::default(), pending: HashMap::default() }
    }

    /// Asks for the record under `hash` on behalf of a stream. `false` if no answer will come.
    pub fn look_up(&mut self, context: u32, hash: u128, cache: &mut Cache, now: Timestamp) -> bool {
        if self.pending.len() >= self.settings.in_flight {
            cache.stats.count("remote", "busy");
            return false;
        }
        if !self.breaker.admit(now) {
            cache.stats.count("remote", "open");
            return false;
        }
        cache.stats.count("remote", "lookups");
        self.call(Some(context), Command::Get, hash, &[], cache, now)
    }

    /// Sends what waits, as far as calls may be under way. Lookups go first: half of the calls are theirs.
    pub fn send_tasks(&mut self, cache: &mut Cache, now: Timestamp) {
        if !self.settings.enabled {
            return;
        }
        while self.pending.len() < self.settings.in_flight.div_ceil(2) {
            let Some(task) = cache.next_remote_task() else { return };
            if !self.breaker.admit(now) {
                // It waits for better times, within the queue's budget.
                cache.requeue_remote_task(task);
                return;
            }
            match task {
                Task::Replicate { hash, record, ttl_seconds } => {
                    self.call(None, Command::Set { ttl_seconds }, hash, &record, cache, now);
                }
                Task::Delete { hash } => {
                    self.call(None, Command::Delete, hash, &[], cache, now);
                }
            }
        }
    }

    /// The call that a token stands for, if it is one of ours.
    pub fn take(&mut self, token: u32) -> Option<Pending> {
        self.pending.remove(&token)
    }

    /// What the answer to a call means for the request that waits for it, if one does.
    pub fn judge(
        &mut self,
        pending: &Pending,
        head: Option<Vec<u8>>,
        body: Vec<u8>,
        cache: &mut Cache,
        now: Timestamp,
    ) -> RemoteAnswer {
        let fields = head.as_deref().and_then(Fields::parse);
        let answer = pending.command.answer(fields, body, self.settings.object_bytes);
        let result = if answer.is_ok() { CallResult::Answered } else { CallResult::Failed };
        self.record(result, cache, now);
        match answer {
            Ok(Answer::Record(record)) => {
                cache.stats.count("remote", "found");
                RemoteAnswer::Found(record)
            }
            Ok(Answer::Absent) => {
                cache.stats.count("remote", "absent");
                RemoteAnswer::Nothing
            }
            Ok(Answer::Done) => {
                cache.stats.count("remote", "written");
                RemoteAnswer::Nothing
            }
            Err(failure) => {
                cache.stats.count("remote", failure.as_str());
                RemoteAnswer::Nothing
            }
        }
    }

    fn call(
        &mut self,
        context: Option<u32>,
        command: Command,
        hash: u128,
        body: &[u8],
        cache: &mut Cache,
        now: Timestamp,
    ) -> bool {
        let call = command.call(&self.settings.prefix, hash);
        let fields: FieldBlock = [
            (&b":method"[..], call.method.as_bytes()),
            (b":path", call.path.as_bytes()),
            (b":scheme", b"http"),
            (b":authority", self.settings.authority.as_bytes()),
        ]
        .into_iter()
        .collect();
        let mut headers = Vec::new();
        fields.write_with(&[], &mut headers);
        let Some(token) = host::http_call(&self.settings.cluster, &headers, body, self.settings.timeout)
        else {
            cache.stats.count("remote", "dispatch");
            self.record(CallResult::Failed, cache, now);
            return false;
        };
        self.pending.insert(token, Pending { context, command });
        true
    }

    fn record(&mut self, result: CallResult, cache: &mut Cache, now: Timestamp) {
        if self.breaker.record(result, now) {
            cache.stats.count("remote", "opened");
            host::log(Level::Warn, "the remote store does not answer; requests go on without it");
        }
    }
}
