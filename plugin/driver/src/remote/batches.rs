//! Several commands in one call, and what its answer means for each.

use std::time::Duration;

use selvage_engine::breaker::{Admit, CallResult};
use selvage_engine::cache::Cache;
use selvage_engine::exchange::RemoteAnswer;
use selvage_engine::fields::Fields;
use selvage_engine::remote::dialect::{Call, Command, DialectError, Kind, Response, wire_key};
use selvage_engine::remote::queue::Task;
use selvage_engine::time::Timestamp;

use super::lookups::{claim_for, note_duration};
use super::{About, Asked, Asker, Remote};
use crate::breakers::Breakers;
use crate::host::{Calls, Level};

/// A call with several commands that has not been answered.
pub struct Batch {
    items: Vec<Item>,
    admitted: Admit,
    pub(super) since: Timestamp,
    /// The same in microseconds.
    pub(super) sent: u64,
}

/// One command of it.
pub(super) struct Item {
    /// What is looked up, and for whom; of a write only its hash.
    pub asked: Asked,
    pub about: About,
    /// What is written, as long as it is not known whether the store takes several at once.
    pub task: Option<Task>,
}

/// What has come of several lookups.
pub type Told = Vec<(Asked, RemoteAnswer)>;

impl Batch {
    /// Whether it writes to this hash.
    pub(super) fn writes_to(&self, hash: u128) -> bool {
        self.items.iter().any(|item| item.about.kind.writes() && item.asked.hash == hash)
    }

    /// What it counts for beside other calls: each lookup, but writes once.
    pub(super) fn weight(&self) -> usize {
        if self.writes() { 1 } else { self.items.len() }
    }

    pub(super) fn writes(&self) -> bool {
        self.items.first().is_some_and(|item| item.about.kind.writes())
    }
}

impl<H: Calls> Remote<H> {
    /// Sends lookups that wait, as many as one call may have. Those to which no answer will come are given back with nothing.
    #[inline(never)]
    pub fn send_gathered(&mut self, breakers: &mut Breakers<H>, cache: &mut Cache, now: Timestamp) -> Told {
        let some = self.gathering.take::<H>(now);
        if some.is_empty() {
            return Vec::new();
        }
        self.send_together(some, breakers, cache, now)
    }

    fn send_together(
        &mut self,
        some: Vec<Asked>,
        breakers: &mut Breakers<H>,
        cache: &mut Cache,
        now: Timestamp,
    ) -> Told {
        let admitted = breakers.admit(&self.settings.cluster, self.breaker, now);
        if admitted != Admit::Refused {
            return self.send_lookups(some, admitted, breakers, cache, now);
        }
        cache.stats.add("remote", "open", some.len() as u64);
        some.into_iter().map(|asked| (asked, RemoteAnswer::Nothing)).collect()
    }

    #[inline(never)]
    fn send_lookups(
        &mut self,
        mut some: Vec<Asked>,
        admitted: Admit,
        breakers: &mut Breakers<H>,
        cache: &mut Cache,
        now: Timestamp,
    ) -> Told {
        if some.len() == 1
            && let Some(asked) = some.pop()
        {
            let sent = self.send_lookup(asked, admitted, breakers, cache, now);
            return sent.err().map(|asked| (asked, RemoteAnswer::Nothing)).into_iter().collect();
        }
        let claims = self.takes_claims(now);
        let texts: Vec<(String, Option<(String, u64)>)> = some
            .iter()
            .map(|asked| {
                let claim = asked.claim.filter(|_| claims).map(|lasts| claim_for(lasts, breakers));
                (wire_key(&self.settings.prefix, asked.hash), claim)
            })
            .collect();
        let commands: Vec<Command<'_>> = texts
            .iter()
            .map(|(key, claim)| match claim {
                Some((claim, millis)) => Command::Claim { key, claim, millis: *millis },
                None => Command::Get { key },
            })
            .collect();
        let waited = some.iter().map(|asked| now.since(asked.since)).max().unwrap_or_default();
        let items: Vec<Item> = some
            .into_iter()
            .zip(&texts)
            .map(|(asked, (_, claim))| {
                let kind = if claim.is_some() { Kind::Claim } else { Kind::Get };
                let until = claim.as_ref().map(|(_, millis)| now.plus(Duration::from_millis(*millis)));
                Item { about: About::new(kind, asked.hash, until), task: None, asked }
            })
            .collect();
        match self.send_batch(
            self.dialect.call_all(&commands, self.gathering.script_is_known),
            items,
            admitted,
            self.settings.timeout.saturating_sub(waited),
            now,
        ) {
            Ok(()) => {
                cache.stats.count("remote", "batches");
                Vec::new()
            }
            Err(items) => {
                self.not_called(admitted, breakers, cache, now);
                items.into_iter().map(|item| (item.asked, RemoteAnswer::Nothing)).collect()
            }
        }
    }

    /// Makes the call.
    pub(super) fn send_batch(
        &mut self,
        call: Option<Call>,
        items: Vec<Item>,
        admitted: Admit,
        timeout: Duration,
        now: Timestamp,
    ) -> Result<(), Vec<Item>> {
        let Some(token) = call.and_then(|call| self.dispatch(call, timeout)) else { return Err(items) };
        let batch = Batch { items, admitted, since: now, sent: H::micros() };
        self.batched = self.batched.saturating_add(batch.weight());
        self.writing = self.writing.saturating_add(usize::from(batch.writes()));
        self.batches.insert(token, batch);
        Ok(())
    }

    /// The batch that a token stands for, if it is one of ours.
    pub fn take_batch(&mut self, token: u32) -> Option<Batch> {
        let batch = self.batches.remove(&token)?;
        self.batched = self.batched.saturating_sub(batch.weight());
        self.writing = self.writing.saturating_sub(usize::from(batch.writes()));
        Some(batch)
    }

    /// The streams for which the commands of a call are; `None` if it is none of ours.
    pub fn asked(&self, token: u32) -> Option<Vec<Option<u32>>> {
        if let Some(pending) = self.pending.get(&token) {
            return Some(vec![pending.asker.stream()]);
        }
        Some(self.batches.get(&token)?.items.iter().map(|item| item.asked.asker.stream()).collect())
    }

    /// The streams whose lookups wait to be sent.
    pub fn gathered(&self) -> impl Iterator<Item = u32> {
        self.gathering.waiting().filter_map(|asked| asked.asker.stream())
    }

    /// What the answer to several commands means for each request that waits for one of them.
    #[inline(never)]
    pub fn judge_all(
        &mut self,
        batch: Batch,
        head: Option<Vec<u8>>,
        body: Vec<u8>,
        breakers: &mut Breakers<H>,
        cache: &mut Cache,
        now: Timestamp,
    ) -> Told {
        let head = head.as_deref().and_then(Fields::parse).unwrap_or_default();
        let most = self.settings.object_bytes.saturating_add(cache.sealing_bytes());
        let kinds: Vec<Kind> = batch.items.iter().map(|item| item.about.kind).collect();
        let latency = now.since(batch.since);
        note_duration::<H>(batch.writes(), batch.sent, cache);
        let answers = self.dialect.answers(&kinds, Response { head, body }, most);
        match &answers {
            Err(error) if error.refuses_batches() => {
                let result = CallResult::Success { latency };
                breakers.record(&self.settings.cluster, batch.admitted, result, now);
                return self.send_one_by_one(batch, error, breakers, cache, now);
            }
            Err(error) if error.is_forgotten_script() && !batch.writes() => {
                self.gathering.script_is_known = false;
                let result = CallResult::Success { latency };
                breakers.record(&self.settings.cluster, batch.admitted, result, now);
                let some = batch.items.into_iter().map(|item| item.asked).collect();
                return self.send_together(some, breakers, cache, now);
            }
            Err(DialectError::Reset | DialectError::TooLarge) => self.gathering.was_reset(kinds.len()),
            Err(_) => {}
            Ok(_) => {
                self.gathering.came();
                self.gathering.script_is_known |= !batch.writes();
            }
        }
        let answers = answers.unwrap_or_else(|error| vec![Err(error); kinds.len()]);
        let mut told = Vec::with_capacity(kinds.len());
        let mut result = None;
        for (item, answer) in batch.items.into_iter().zip(answers) {
            self.note_writes(item.about.kind, batch.sent, &answer, cache, now);
            let (one, found) = self.settle(item.about, answer, latency, cache, now);
            // One that failed says more than many that came.
            result = Some(match result {
                Some(known @ (CallResult::Failure | CallResult::Timeout)) => known,
                _ => one,
            });
            if item.asked.asker != Asker::Nobody {
                told.push((item.asked, found));
            }
        }
        let result = result.unwrap_or(CallResult::Dropped);
        breakers.record(&self.settings.cluster, batch.admitted, result, now);
        told
    }

    /// The store does not take several at once: each goes alone, in what is left of its time.
    #[inline(never)]
    fn send_one_by_one(
        &mut self,
        batch: Batch,
        error: &DialectError,
        breakers: &mut Breakers<H>,
        cache: &mut Cache,
        now: Timestamp,
    ) -> Told {
        if self.gathering.refused(now) {
            let why = match error {
                DialectError::RedisError(text) => text.as_str(),
                other => other.as_str(),
            };
            self.tell(
                Level::Info,
                &format!("takes no several commands in one call ({why:?}); each goes alone"),
            );
        }
        let mut told = Vec::new();
        for item in batch.items {
            if item.about.kind.writes() {
                put_back(item, cache);
                continue;
            }
            let asked = item.asked;
            let admitted = breakers.admit(&self.settings.cluster, self.breaker, now);
            let refused = admitted == Admit::Refused || now.since(asked.since) >= self.settings.timeout;
            let sent =
                if refused { Err(asked) } else { self.send_lookup(asked, admitted, breakers, cache, now) };
            told.extend(sent.err().map(|asked| (asked, RemoteAnswer::Nothing)));
        }
        told
    }
}

/// What was to be written waits again, as far as it is still known.
pub(super) fn put_back(item: Item, cache: &mut Cache) {
    let Item { about, task, .. } = item;
    if task.is_none() && about.kind != Kind::Delete {
        cache.stats.count("remote", "dropped");
    }
    if let Some(task) = task.or_else(|| about.deletion()) {
        cache.requeue_remote_task(task);
    }
}
