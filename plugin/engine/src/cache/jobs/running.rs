//! The jobs that a worker has taken: they wait for a place at the origin, are called for, and what comes of it is told to Redis, again and
//! again until it has heard or the lease has ended.

use std::rc::Rc;
use std::time::Duration;

use super::Cache;
#[cfg(feature = "batch")]
use super::batches::{self, InParts};
#[cfg(feature = "pools")]
use crate::admission::rule_of;
#[cfg(feature = "pools")]
use crate::cache::{Admit, Entry, OriginSlot};
use crate::cache::{JobCall, Moment};
use crate::chance;
use crate::fields::{FieldBlock, Fields, status_of};
use crate::jobs::head::{JOB, PEER, of_response};
use crate::jobs::question::{Does, How, JobAnswer};
use crate::jobs::stored::Payload;
use crate::jobs::verdict;
use crate::policy::Jobs as Settings;
#[cfg(feature = "pools")]
use crate::pools::queue::Class;
use crate::request::{MethodKind, Request};
use crate::time::Timestamp;

/// Those of a worker.
#[derive(Default)]
pub(super) struct Runs {
    pub(super) all: Vec<Run>,
    last: u64,
}

pub(super) struct Run {
    number: u64,
    pub(super) id: u128,
    pub(super) token: u64,
    attempt: u32,
    /// It is begun by then, or given back.
    begins_by: Timestamp,
    /// The lease ends, by our clock; by that of Redis a little later.
    pub(super) ends_by: Timestamp,
    pub(super) timeout: Duration,
    /// The head of its request, where success makes what is stored invalid.
    changes: Option<Vec<u8>>,
    pub(super) step: Step,
    /// Its place at the origin, where the rule names a pool.
    #[cfg(feature = "pools")]
    slot: Option<OriginSlot>,
}

pub(super) enum Step {
    /// It is to be begun.
    Taken(Payload),
    /// It waits for a place at the origin.
    #[cfg(feature = "pools")]
    Queued { payload: Payload, pool: usize, ticket: u64, decided: bool },
    /// The cluster has been called.
    Called,
    /// It is a batch, whose parts are asked for.
    #[cfg(feature = "batch")]
    InParts(InParts),
    /// Redis is to be told of it.
    Over { how: How, told_at: Option<Timestamp> },
}

impl Runs {
    pub(super) const fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether one is to begin.
    #[inline]
    pub(super) fn any_to_begin(&self) -> bool {
        self.all.iter().any(|run| match run.step {
            Step::Taken(_) => true,
            #[cfg(feature = "pools")]
            Step::Queued { decided, .. } => decided,
            _ => false,
        })
    }

    pub(super) fn take_over(&mut self, before: &mut Self) {
        self.last = self.last.max(before.last);
        // Places are those of pools that have gone.
        #[cfg(feature = "pools")]
        for run in &mut before.all {
            run.slot = None;
            if let Step::Queued { payload, .. } = &run.step {
                run.step = Step::Taken(payload.clone());
            }
        }
        self.all.append(&mut before.all);
    }

    pub(super) fn add(
        &mut self,
        (id, token, attempt): (u128, u64, u32),
        payload: Option<Payload>,
        begins_by: Timestamp,
        ends_by: Timestamp,
        settings: &Settings,
    ) {
        self.last = self.last.wrapping_add(1);
        let step = match payload {
            Some(payload) => Step::Taken(payload),
            None => {
                Step::Over { how: How::Dead { ttl: settings.result_ttl, why: "bad".into() }, told_at: None }
            }
        };
        self.all.push(Run {
            changes: None,
            number: self.last,
            id,
            token,
            attempt,
            begins_by,
            ends_by,
            timeout: settings.timeout,
            step,
            #[cfg(feature = "pools")]
            slot: None,
        });
    }

    /// What Redis is to be told next of a run that is over.
    pub(super) fn next_end(&mut self, now: Timestamp) -> Option<Does> {
        self.all.iter_mut().find_map(|run| match &mut run.step {
            Step::Over { how, told_at: told_at @ None } => {
                *told_at = Some(now);
                Some(Does::End { id: run.id, token: run.token, how: how.clone() })
            }
            Step::Over { how, told_at: Some(at) } if now.since(*at) >= TELLS_AGAIN => {
                *at = now;
                Some(Does::End { id: run.id, token: run.token, how: how.clone() })
            }
            _ => None,
        })
    }

    /// Redis has heard of the end of a run, or has not. Gives the word for what has become of it, once.
    pub(super) fn ended(
        &mut self,
        id: u128,
        token: u64,
        how: &How,
        told: Option<JobAnswer>,
        now: Timestamp,
    ) -> Option<&'static str> {
        let at = self.all.iter().position(|run| (run.id, run.token) == (id, token))?;
        let word = match told {
            Some(JobAnswer::Ended) => match how {
                How::Done { .. } => "succeeded",
                How::Retry { .. } => "retried",
                How::Dead { .. } => "dead",
                How::Back { .. } => "given-back",
            },
            Some(_) => "late",
            // Redis is told once more, as long as it matters.
            None if self.all.get(at).is_some_and(|run| now < run.ends_by) => return None,
            None => "late",
        };
        self.all.swap_remove(at);
        Some(word)
    }
}

/// What becomes of a run that is to begin.
enum Begins {
    Goes,
    #[cfg(feature = "pools")]
    Waits {
        pool: usize,
        ticket: u64,
    },
    Later,
}

impl Cache {
    /// The next job that is to be called for.
    pub fn next_job_call(&mut self, moment: &mut Moment<'_>) -> Option<JobCall> {
        let settings = self.policy.jobs.as_ref()?;
        let cluster = Rc::from(&*settings.cluster);
        for at in 0..self.jobs.runs.all.len() {
            if let Some(call) = self.begin_job(at, &cluster, moment) {
                return Some(call);
            }
        }
        None
    }

    fn begin_job(&mut self, at: usize, cluster: &Rc<str>, moment: &mut Moment<'_>) -> Option<JobCall> {
        let run = self.jobs.runs.all.get_mut(at)?;
        let is_late = moment.now >= run.begins_by;
        let step = match &run.step {
            #[cfg(feature = "batch")]
            Step::Taken(payload) if !is_late && batches::is_one(payload, &self.policy) => {
                let payload = payload.clone();
                self.begin_batch_of_job(at, &payload, moment.now);
                return None;
            }
            Step::Taken(_) => std::mem::replace(&mut run.step, Step::Called),
            #[cfg(feature = "pools")]
            Step::Queued { decided, .. } if *decided || is_late => {
                std::mem::replace(&mut run.step, Step::Called)
            }
            _ => return None,
        };
        let (payload, begins) = match step {
            Step::Taken(payload) if is_late => (payload, Begins::Later),
            Step::Taken(payload) => {
                let begins = self.place_for_job(at, &payload, moment);
                (payload, begins)
            }
            #[cfg(feature = "pools")]
            Step::Queued { payload, pool, ticket, .. } => {
                let settled = self.settle_ticket(pool, ticket, moment);
                let begins = match settled {
                    Ok(slot) if !is_late => {
                        self.give_job_slot(at, slot);
                        Begins::Goes
                    }
                    Ok(Some(slot)) => {
                        self.free_slot(&slot, moment.now);
                        Begins::Later
                    }
                    _ => Begins::Later,
                };
                (payload, begins)
            }
            _ => return None,
        };
        match begins {
            Begins::Goes => self.call_for_job(at, &payload, cluster, moment),
            #[cfg(feature = "pools")]
            Begins::Waits { pool, ticket } => {
                let run = self.jobs.runs.all.get_mut(at)?;
                run.step = Step::Queued { payload, pool, ticket, decided: false };
                None
            }
            Begins::Later => {
                let run = self.jobs.runs.all.get_mut(at)?;
                run.step = Step::Over { how: How::Back { pause: BUSY }, told_at: None };
                None
            }
        }
    }

    #[cfg(feature = "pools")]
    fn give_job_slot(&mut self, at: usize, slot: Option<OriginSlot>) {
        if let Some(run) = self.jobs.runs.all.get_mut(at) {
            run.slot = slot;
        }
    }

    /// The place of a job at the origin: among those of the lowest class, where its request's rule names a pool.
    #[cfg(feature = "pools")]
    fn place_for_job(&mut self, at: usize, payload: &Payload, moment: &mut Moment<'_>) -> Begins {
        let request = Request::read(payload.fields(), false);
        let policy = Rc::clone(&self.policy);
        let (_, rule) = rule_of(&policy, &request);
        let watches = rule.admission.as_ref().is_none_or(|admission| admission.shadow);
        let Some(pool) = rule.pool.filter(|_| !watches) else { return Begins::Goes };
        match self.admit(Entry { pool, class: Class::Low, lane: 0, shadow: false }, moment) {
            Some(Admit::Goes(slot)) => {
                self.give_job_slot(at, Some(slot));
                Begins::Goes
            }
            Some(Admit::Waits(ticket)) => Begins::Waits { pool, ticket },
            Some(Admit::Full(_)) => Begins::Later,
            None => Begins::Goes,
        }
    }

    #[cfg(not(feature = "pools"))]
    fn place_for_job(&mut self, _at: usize, _payload: &Payload, _moment: &mut Moment<'_>) -> Begins {
        Begins::Goes
    }

    fn call_for_job(
        &mut self,
        at: usize,
        payload: &Payload,
        cluster: &Rc<str>,
        moment: &mut Moment<'_>,
    ) -> Option<JobCall> {
        let request = Request::read(payload.fields(), !payload.body().is_empty());
        let looped = self.looped(&request, moment);
        let run = self.jobs.runs.all.get(at)?;
        let id = format!("{:032x}", run.id);
        let fields = request.fields.iter().filter(|(name, _)| *name != b"cdn-loop" && *name != PEER);
        let block: FieldBlock = fields.collect();
        let mut head = Vec::new();
        block.write_with(&[(b"cdn-loop", &looped), (JOB, id.as_bytes())], &mut head);
        let timeout = run.timeout.min(run.ends_by.since(moment.now));
        if request.method_kind() == MethodKind::Unsafe
            && let Some(run) = self.jobs.runs.all.get_mut(at)
        {
            run.changes = Some(head.clone());
        }
        let run = self.jobs.runs.all.get(at)?;
        let call = JobCall {
            number: run.number,
            cluster: Rc::clone(cluster),
            request: head,
            body: payload.body().to_vec(),
            timeout,
        };
        self.stats.count("jobs", "started");
        Some(call)
    }

    /// Tickets of jobs are taken out of those that were decided.
    #[cfg(feature = "pools")]
    pub(in crate::cache) fn note_places_of_jobs(&mut self, decided: &mut Vec<u64>) {
        for run in &mut self.jobs.runs.all {
            if let Step::Queued { ticket, decided: is_decided, .. } = &mut run.step
                && decided.contains(ticket)
            {
                *is_decided = true;
                decided.retain(|one| one != ticket);
            }
        }
    }

    /// A job has its answer: its head, and its body if that is no longer than may be kept. `None`: there is none, or Envoy made it,
    /// which is told by its status.
    pub fn job_answered(
        &mut self,
        number: u64,
        answer: Result<(Fields<'_>, Option<&[u8]>), u16>,
        moment: &mut Moment<'_>,
    ) {
        let Some(at) = self.jobs.runs.all.iter().position(|run| run.number == number) else { return };
        self.leave_origin_of_job(at, &answer, moment);
        let Some(settings) = self.policy.jobs.clone() else { return };
        let Some(run) = self.jobs.runs.all.get(at) else { return };
        let (id, attempt) = (run.id, run.attempt);
        let status = answer.map_or_else(|status| status, |(head, _)| status_of(head));
        let changes = self.jobs.runs.all.get_mut(at).and_then(|run| run.changes.take());
        if let (Some(changes), Ok((head, _)), 200..400) = (changes, answer, status)
            && let Some(fields) = Fields::parse(&changes)
        {
            self.invalidate_by(&Request::read(fields, false), head, moment);
        }
        let how = match answer {
            Ok((head, body)) if verdict::ends(status) => {
                let head = of_response(head, status);
                let payload = body.map(|body| self.sealed("r", id, &head, body));
                How::Done { status, payload, ttl: settings.result_ttl }
            }
            _ if attempt >= settings.attempts => {
                How::Dead { ttl: settings.result_ttl, why: why(status, answer.is_ok()) }
            }
            _ => {
                let asked = answer.ok().and_then(|(head, _)| head.get(b"retry-after"));
                let asked = asked.and_then(|value| verdict::retry_after(value, moment.now));
                let chance = chance::fraction(chance::next(&mut self.jobs.draws));
                let bounds = (settings.pause, settings.longest_pause);
                let pause = verdict::pause(attempt, bounds, chance, asked);
                How::Retry { pause, why: why(status, answer.is_ok()) }
            }
        };
        if let Some(run) = self.jobs.runs.all.get_mut(at) {
            run.step = Step::Over { how, told_at: None };
        }
    }

    #[cfg(feature = "pools")]
    fn leave_origin_of_job(
        &mut self,
        at: usize,
        answer: &Result<(Fields<'_>, Option<&[u8]>), u16>,
        moment: &mut Moment<'_>,
    ) {
        let slot = self.jobs.runs.all.get_mut(at).and_then(|run| run.slot.take());
        if let Some(mut slot) = slot {
            if answer.is_err_and(|status| status > 0) {
                self.note_origin_failure(&mut slot);
            }
            self.free_slot(&slot, moment.now);
        }
    }

    #[cfg(not(feature = "pools"))]
    fn leave_origin_of_job(
        &mut self,
        _at: usize,
        _answer: &Result<(Fields<'_>, Option<&[u8]>), u16>,
        _moment: &mut Moment<'_>,
    ) {
    }
}

/// The word of a failure: a status of the origin, or what Envoy could not do.
fn why(status: u16, answered: bool) -> Box<str> {
    match (answered, status) {
        (true, status) => status.to_string().into(),
        (false, 504) => "timeout".into(),
        (false, 503) => "unreachable".into(),
        (false, _) => "reset".into(),
    }
}

/// How often Redis is told of what is over and it has not heard.
const TELLS_AGAIN: Duration = Duration::from_millis(500);
/// When a job is taken again for which there was no place.
pub(super) const BUSY: Duration = Duration::from_secs(1);
