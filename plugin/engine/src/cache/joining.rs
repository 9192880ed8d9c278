//! Requests for embeddings with one input that are asked as one: those that wait for others, those that are asked, and what came of it.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use selvage_llm::embeddings;

use super::{Cache, JoinedCall};
use crate::fields::{FieldBlock, Fields, content_length, status_of};
use crate::llm::{Inputs, embeddings_of};
use crate::policy::Merge;
use crate::storability::answers::is_json;
use crate::store::response::storable_fields;
use crate::time::Timestamp;

/// What becomes of a request that has waited.
#[derive(Debug)]
pub(crate) enum Joined {
    /// It has its answer.
    Answered {
        /// The head of the answer to all of them, as a field block.
        head: Rc<[u8]>,
        /// The part that is for this one.
        body: Vec<u8>,
    },
    /// It goes to the origin by itself.
    Alone,
}

/// All of a worker.
#[derive(Debug, Default)]
pub(super) struct Joins {
    open: Vec<Batch>,
    /// Those that are to be sent.
    ready: VecDeque<Batch>,
    sent: Vec<(u64, Batch)>,
    /// By ticket, what became of those whose holders have not been told.
    told: Vec<(u64, Joined)>,
    decided: Vec<u64>,
    last: u64,
    /// Rules whose calls have failed lately: how often in a row, and until when there are none.
    resting: Vec<(usize, u32, Timestamp)>,
}

/// Requests that are asked as one.
#[derive(Debug)]
struct Batch {
    rule: usize,
    together: Box<[u8]>,
    head: Vec<u8>,
    due: Timestamp,
    bytes: usize,
    /// Their tickets and inputs; one whose client has left keeps its place in a batch that is sent.
    members: Vec<(Option<u64>, Rc<Inputs>)>,
}

impl Joins {
    fn decide(&mut self, ticket: u64, joined: Joined) {
        self.told.push((ticket, joined));
        self.decided.push(ticket);
    }

    fn let_go(&mut self, batch: Batch) {
        for ticket in batch.members.into_iter().filter_map(|(ticket, _)| ticket) {
            self.decide(ticket, Joined::Alone);
        }
    }

    fn waiting(&self) -> usize {
        let sent = self.sent.iter().map(|(_, batch)| batch);
        let members: usize =
            self.open.iter().chain(&self.ready).chain(sent).map(|batch| batch.members.len()).sum();
        members.saturating_add(self.told.len())
    }

    fn is_full(&self, batch: &Batch, merge: &Merge) -> bool {
        batch.members.len() >= merge.inputs
    }
}

impl Cache {
    /// Has a request wait for others that are to be asked together with it; gives its ticket. `head` makes the head of a call. `None` if it
    /// cannot be asked with others.
    pub(crate) fn join(
        &mut self,
        rule: usize,
        inputs: &Rc<Inputs>,
        head: impl FnOnce() -> Option<Vec<u8>>,
        now: Timestamp,
    ) -> Option<u64> {
        let policy = Rc::clone(&self.policy);
        let merge = embeddings_of(policy.rule(rule))?.merge.as_ref()?;
        let bytes = inputs.body().len().saturating_add(BRACKETS);
        if bytes > merge.bytes || self.joins.waiting() >= MOST_WAITING {
            return None;
        }
        let joins = &mut self.joins;
        let more = inputs.weights().first().copied().unwrap_or_default().saturating_add(1);
        let same = |batch: &Batch| batch.rule == rule && *batch.together == *inputs.together();
        let at = joins.open.iter().position(same);
        joins.last = joins.last.wrapping_add(1);
        let ticket = joins.last & !(OF_OTHERS) | OF_JOINS;
        let member = (Some(ticket), Rc::clone(inputs));
        let full = |batch: &Batch| batch.bytes.saturating_add(more) > merge.bytes;
        match at.and_then(|at| joins.open.get_mut(at)) {
            Some(batch) if !full(batch) => {
                batch.members.push(member);
                batch.bytes = batch.bytes.saturating_add(more);
            }
            found => {
                let full = found.is_some();
                let made = Batch {
                    rule,
                    together: inputs.together().into(),
                    head: head()?,
                    due: now.plus(merge.window),
                    bytes,
                    members: vec![member],
                };
                if let (true, Some(at)) = (full, at) {
                    let batch = joins.open.swap_remove(at);
                    joins.ready.push_back(batch);
                }
                joins.open.push(made);
            }
        }
        if let Some(at) = joins.open.iter().position(|batch| same(batch) && joins.is_full(batch, merge)) {
            let batch = joins.open.swap_remove(at);
            joins.ready.push_back(batch);
        }
        Some(ticket)
    }

    /// What became of a request that waited; `None` if nothing is known of it.
    pub(crate) fn take_joined(&mut self, ticket: u64) -> Option<Joined> {
        let told = &mut self.joins.told;
        let at = told.iter().position(|(known, _)| *known == ticket)?;
        Some(told.swap_remove(at).1)
    }

    /// A request that waited is gone.
    pub(crate) fn leave_joined(&mut self, ticket: u64) {
        let joins = &mut self.joins;
        joins.told.retain(|(known, _)| *known != ticket);
        for batch in joins.open.iter_mut().chain(&mut joins.ready) {
            batch.members.retain(|(known, _)| *known != Some(ticket));
        }
        joins.open.retain(|batch| !batch.members.is_empty());
        joins.ready.retain(|batch| !batch.members.is_empty());
        for (_, batch) in &mut joins.sent {
            for (known, _) in batch.members.iter_mut().filter(|(known, _)| *known == Some(ticket)) {
                *known = None;
            }
        }
    }

    /// Whether requests wait for others.
    #[inline]
    pub fn has_open_joins(&self) -> bool {
        !self.joins.open.is_empty()
    }

    /// Whether requests wait for others, or calls are to be made.
    #[inline]
    pub fn has_joins(&self) -> bool {
        self.has_open_joins() || !self.joins.ready.is_empty()
    }

    /// Sees to those that have waited as long as they may.
    pub fn look_after_joins(&mut self, now: Timestamp) {
        let joins = &mut self.joins;
        while let Some(at) = joins.open.iter().position(|batch| now >= batch.due) {
            let batch = joins.open.swap_remove(at);
            joins.ready.push_back(batch);
        }
    }

    /// The next call that is to be made for several requests.
    pub fn next_joined_call(&mut self) -> Option<JoinedCall> {
        let policy = Rc::clone(&self.policy);
        while let Some(batch) = self.joins.ready.pop_front() {
            let made = embeddings_of(policy.rule(batch.rule)).and_then(|settings| {
                let (merge, cluster) = (settings.merge.as_ref()?, settings.cluster.as_deref()?);
                let requests: Option<Vec<_>> =
                    batch.members.iter().map(|(_, inputs)| inputs.read()).collect();
                let body = embeddings::combine(&requests?, merge.inputs, merge.bytes)?;
                Some((Rc::from(cluster), body, settings.timeout))
            });
            let (Some((cluster, body, timeout)), true) = (made, self.joins.sent.len() < MOST_CALLS) else {
                self.joins.let_go(batch);
                continue;
            };
            self.joins.last = self.joins.last.wrapping_add(1);
            let id = self.joins.last;
            self.stats.count("llm_calls", "merged");
            self.stats.add("llm_inputs", "merged", batch.members.len() as u64);
            let request = batch.head.clone();
            self.joins.sent.push((id, batch));
            return Some(JoinedCall { id, cluster, request, body, timeout });
        }
        None
    }

    /// A call has been answered; `None` if no answer has come, or it could not be made.
    pub fn joined_answered(&mut self, id: u64, answer: Option<(Fields<'_>, &[u8])>, now: Timestamp) {
        let Some(at) = self.joins.sent.iter().position(|(known, _)| *known == id) else { return };
        let (_, batch) = self.joins.sent.swap_remove(at);
        let weights: Vec<usize> =
            batch.members.iter().flat_map(|(_, inputs)| inputs.weights().iter().copied()).collect();
        let parts = match answer {
            None => Err("failed"),
            Some((head, _)) if matches!(status_of(head), 400..500) => Err("refused"),
            Some((head, _)) if status_of(head) != 200 => Err("failed"),
            Some((head, body)) => {
                let whole = is_json(head) && content_length(head).is_none_or(|told| told == body.len());
                let parts = if whole { embeddings::split(body, &weights).ok() } else { None };
                parts.map(|parts| (head, parts)).ok_or("unusable")
            }
        };
        self.call_has_ended_with(batch.rule, parts.as_ref().err().copied(), now);
        match parts {
            Err(word) => {
                self.stats.count("llm_calls", word);
                self.joins.let_go(batch);
            }
            Ok((head, parts)) => {
                // It is nobody's own: no cookie and no quota of it is any one client's.
                let policy = Rc::clone(&self.policy);
                let stored = storable_fields(head, now, policy.rule(batch.rule));
                let mut block = FieldBlock::new();
                block.push(b":status", b"200");
                let kept = stored.fields().iter().filter(|(name, _)| *name != b"content-length");
                kept.for_each(|(name, value)| block.push(name, value));
                let mut bytes = Vec::new();
                block.write_with(&[], &mut bytes);
                let head: Rc<[u8]> = bytes.into();
                for ((ticket, _), body) in batch.members.into_iter().zip(parts) {
                    let Some(ticket) = ticket else { continue };
                    self.joins.decide(ticket, Joined::Answered { head: Rc::clone(&head), body });
                }
            }
        }
    }

    /// Tickets that were decided since this was last asked.
    pub fn take_decided_joins(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.joins.decided)
    }

    /// Whether there are tickets whose holders are to be woken.
    #[inline]
    pub fn has_decided_joins(&self) -> bool {
        !self.joins.decided.is_empty()
    }

    /// Whether a rule makes no calls for a while, because the last ones failed.
    pub(crate) fn calls_rest(&self, rule: usize, now: Timestamp) -> bool {
        self.joins.resting.iter().any(|(known, _, until)| *known == rule && now < *until)
    }

    fn call_has_ended_with(&mut self, rule: usize, fault: Option<&'static str>, now: Timestamp) {
        match fault {
            None => self.call_has_ended(rule, true, now),
            // What the provider refuses says nothing about the way there.
            Some("refused") => {}
            Some(_) => self.call_has_ended(rule, false, now),
        }
    }

    /// A call of a rule has been answered, or has failed: then the next ones are made after a pause, each twice as long as the one before.
    pub(crate) fn call_has_ended(&mut self, rule: usize, well: bool, now: Timestamp) {
        let resting = &mut self.joins.resting;
        let times = resting.iter().find(|(known, ..)| *known == rule).map_or(0, |(_, times, _)| *times);
        resting.retain(|(known, ..)| *known != rule);
        if !well {
            let pause = FIRST_PAUSE.saturating_mul(1 << times.min(6));
            resting.push((rule, times.saturating_add(1), now.plus(pause)));
        }
    }
}

/// What a body has more than its one input when that stands in an array.
const BRACKETS: usize = 2;
/// Requests of a worker that wait at once.
const MOST_WAITING: usize = 4096;
/// Calls of a worker under way at once.
const MOST_CALLS: usize = 64;
/// The first pause after a call that failed; the longest is 64 times as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Tickets of pools and limits have other numbers.
const OF_JOINS: u64 = 1 << 62;
const OF_OTHERS: u64 = 3 << 62;
