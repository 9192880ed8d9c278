//! What is written: the tasks that wait, and whether the store takes any.

use std::borrow::Cow;

use selvage_engine::breaker::{Admit, CallResult, State};
use selvage_engine::cache::Cache;
use selvage_engine::remote::dialect::{Answer, Command, DialectError, Kind, probe_key, wire_key};
use selvage_engine::remote::queue::Task;
use selvage_engine::remote::writes::{self, Reason, State as WriteState};
use selvage_engine::time::Timestamp;

use super::batches::{Item, put_back};
use super::gathering::TARGET_BYTES;
use super::{About, Asked, Asker, Pending, Remote};
use crate::breakers::Breakers;
use crate::host::{Calls, Envoy, Level};

impl<H: Calls> Remote<H> {
    /// Sends what waits, as far as calls may be under way. Lookups go first: half of the calls are theirs.
    ///
    /// While a call with tasks is under way, records wait for its answer until they fill a call. Deletions wait for nothing.
    pub fn send_tasks(&mut self, breakers: &mut Breakers<H>, cache: &mut Cache, now: Timestamp) {
        if !self.settings.enabled || self.dialect.is_ruled_out(self.readiness.outcome()) {
            return;
        }
        let mut later = Vec::new();
        while self.under_way() < self.settings.in_flight.div_ceil(2)
            && self.window.admits(self.writing)
            && cache.has_remote_tasks()
        {
            let most = if self.dialect.writes_together() { self.gathering.most(now) } else { 1 };
            if self.writing > 0 && cache.remote_tasks() < most && !cache.has_remote_deletion() {
                break;
            }
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
            // What becomes of one decides whether the breaker closes.
            let most = if admitted == Admit::Pass { most } else { 1 };
            let tasks = self.next_tasks(most, cache, &mut later, now);
            if tasks.is_empty() {
                breakers.record(&self.settings.cluster, admitted, CallResult::Dropped, now);
                break;
            }
            if !self.write(tasks, admitted, breakers, cache, now) {
                break;
            }
        }
        for task in later.into_iter().rev() {
            cache.requeue_remote_task(task);
        }
    }

    /// Sends tasks as one call. `false` if it could not be made, and what is to be sent waits on.
    #[inline(never)]
    fn write(
        &mut self,
        tasks: Vec<Task>,
        admitted: Admit,
        breakers: &mut Breakers<H>,
        cache: &mut Cache,
        now: Timestamp,
    ) -> bool {
        let keys: Vec<String> =
            tasks.iter().map(|task| wire_key(&self.settings.prefix, task.hash())).collect();
        let records: Vec<Cow<'_, [u8]>> = tasks
            .iter()
            .map(|task| match task {
                Task::Replicate { hash, record, .. } => cache.signed(*hash, record),
                Task::Delete { .. } => Cow::Borrowed(&[][..]),
            })
            .collect();
        let bytes: usize = records.iter().map(|record| record.len()).sum();
        let commands: Vec<Command<'_>> = tasks
            .iter()
            .zip(keys.iter().zip(&records))
            .map(|(task, (key, value))| match task {
                Task::Replicate { ttl_seconds, .. } => Command::Set { key, value, ttl_seconds: *ttl_seconds },
                Task::Delete { .. } => Command::Delete { key },
            })
            .collect();
        let timeout = self.settings.timeout;
        let sent = if let ([command], [task]) = (commands.as_slice(), tasks.as_slice()) {
            let write = Pending::new::<H>(Asker::Nobody, About::of_task(task), admitted, now);
            let sent = self.keep(self.dispatch(self.dialect.call(command), timeout), write);
            self.writing += usize::from(sent);
            drop(commands);
            drop(records);
            if !sent {
                tasks.into_iter().for_each(|task| cache.requeue_remote_task(task));
            }
            sent
        } else {
            let call = self.dialect.call_all(&commands, false);
            drop(commands);
            drop(records);
            cache.stats.count("remote", "batches");
            let items = tasks.into_iter().map(|task| self.item_of(task, now)).collect();
            let sent = self.send_batch(call, items, admitted, timeout, now);
            let unsent = sent.err().unwrap_or_default();
            let is_sent = unsent.is_empty();
            unsent.into_iter().rev().for_each(|item| put_back(item, cache));
            is_sent
        };
        if sent {
            cache.stats.add("stored_bytes", "remote", bytes as u64);
        } else {
            self.not_called(admitted, breakers, cache, now);
        }
        sent
    }

    fn item_of(&self, task: Task, now: Timestamp) -> Item {
        let asked = Asked { asker: Asker::Nobody, hash: task.hash(), claim: None, since: now };
        let about = About::of_task(&task);
        let task = Some(task).filter(|_| !self.gathering.is_proven());
        Item { asked, about, task }
    }

    /// The next tasks for one call, at most so many, and no more bytes than are worth waiting for.
    fn next_tasks(&self, most: usize, cache: &mut Cache, later: &mut Vec<Task>, now: Timestamp) -> Vec<Task> {
        let (mut tasks, mut bytes) = (Vec::new(), 0usize);
        while tasks.len() < most && bytes < TARGET_BYTES {
            let Some(task) = self.next_task(cache, later, now) else { break };
            if let Task::Replicate { record, .. } = &task {
                bytes = bytes.saturating_add(record.len());
            }
            tasks.push(task);
        }
        tasks
    }

    /// The next task whose key nothing is being written to: calls of one key may arrive in any order.
    fn next_task(&self, cache: &mut Cache, later: &mut Vec<Task>, now: Timestamp) -> Option<Task> {
        while later.len() < self.settings.in_flight {
            let task = match self.writes().reason() {
                // Records wait, as for a store that is left alone; a full one takes deletions.
                Some(_) => cache.next_remote_deletion(now)?,
                None => cache.next_remote_task(now)?,
            };
            let hash = task.hash();
            let free = self.pending.values().all(|call| call.about.hash != hash || !call.about.kind.writes());
            if free && !self.batches.values().any(|batch| batch.writes_to(hash)) {
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
            let about = About::new(command.kind(), 0, None);
            let probe =
                Pending { probes_writes: true, ..Pending::new::<H>(Asker::Nobody, about, admitted, now) };
            let timeout = self.settings.timeout;
            if !self.keep(self.dispatch(self.dialect.call(&command), timeout), probe) {
                return breakers.record(&self.settings.cluster, admitted, CallResult::Failure, now);
            }
            self.aside += 1;
        }
    }

    /// Takes in what an answer says about writes, and tells the operator if that is news.
    pub(super) fn note_writes(
        &mut self,
        kind: Kind,
        sent: u64,
        answer: &Result<Answer, DialectError>,
        cache: &mut Cache,
        now: Timestamp,
    ) {
        if matches!((kind, answer), (Kind::Get, Ok(_))) {
            self.writes.note_read(H::micros());
        }
        let Some(found) = writes::evidence(kind, answer) else { return };
        if let Some(reason) = found.1.reason() {
            cache.stats.count("remote_refused", reason.as_str());
        }
        let Some(state) = self.writes.note(found, sent, &mut Envoy::<H>::new(), &self.writes_key, now) else {
            return;
        };
        let level = if state == WriteState::Ok { Level::Info } else { Level::Warn };
        self.tell(level, &state.told());
    }
}

/// How long it keeps what is written to see whether it takes writes. What is not there can be added again.
const PROBE_KEPT_SECS: u64 = 1;
