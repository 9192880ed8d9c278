//! What is written: the tasks that wait, and whether the store takes any.

use std::borrow::Cow;

use selvage_engine::breaker::{Admit, CallResult, State};
use selvage_engine::cache::Cache;
use selvage_engine::remote::dialect::{Answer, Command, DialectError, Kind, probe_key, wire_key};
use selvage_engine::remote::queue::Task;
use selvage_engine::remote::writes::{self, Reason, State as WriteState};
use selvage_engine::time::Timestamp;

use super::{Pending, Remote};
use crate::breakers::Breakers;
use crate::host::{Calls, Envoy, Level};

impl<H: Calls> Remote<H> {
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

    /// Whether deletions would be refused too.
    pub(super) fn holds_deletions(&self) -> bool {
        self.writes().reason().is_some_and(|reason| reason != Reason::Oom)
    }

    /// Finds out what becomes of writes, if that is this worker's turn: by a command of each sort, and a lookup, without
    /// which no answer says nothing about writes.
    pub(super) fn probe_writes(&mut self, breakers: &mut Breakers<H>, now: Timestamp) {
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
    pub(super) fn note_writes(
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
        let level = if state == WriteState::Ok { Level::Info } else { Level::Warn };
        self.tell(level, &state.told());
    }
}

/// How long it keeps what is written to see whether it takes writes. What is not there can be added again.
const PROBE_KEPT_SECS: u64 = 1;
