//! The jobs of a worker: what it asks Redis about them, who waits for the answers, and those that it runs.

#[cfg(feature = "batch")]
mod batches;
mod running;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use running::Runs;

use super::{Cache, JobCounts, Moment};
use crate::base64;
use crate::callers::{Asking, value_of, write_values};
use crate::chance;
use crate::host::leadership::{Holder, Leadership, SHOW_EVERY, Whose};
use crate::host::{ABSENT, SharedData};
use crate::jobs::question::{Counts, Does, JobAnswer, JobRequest, MOST_AT_ONCE, Taking};
use crate::jobs::stored::{Payload, written};
use crate::jobs::{Ids, digest};
use crate::limits::NoAnswer;
use crate::policy::Jobs as Settings;
use crate::request::Request;
use crate::time::Timestamp;

/// Where the answer to a question comes to. Who lets go of it does not want it any more.
pub(crate) type Told = Rc<RefCell<Option<Result<JobAnswer, NoAnswer>>>>;

/// All of a worker. The default has none.
#[derive(Default)]
pub(super) struct Jobs {
    ids: Ids,
    draws: u64,
    /// Those that have not been asked.
    questions: VecDeque<JobRequest>,
    last_question: u64,
    last_ticket: u64,
    /// Who waits for an answer.
    waiting: Vec<Waiting>,
    decided: Vec<u64>,
    /// Questions that are under way.
    asking: usize,
    polling: Polling,
    runs: Runs,
}

/// Who waits for an answer.
struct Waiting {
    question: u64,
    ticket: u64,
    told: Told,
    /// A question that has not been asked by then is not asked.
    until: Timestamp,
}

/// When Redis is asked for jobs.
#[derive(Default)]
struct Polling {
    leadership: Leadership,
    look_at: Timestamp,
    /// Another configuration has followed.
    rests: bool,
    at: Timestamp,
    /// There is something to be had at once.
    eager: bool,
    /// Since when the question is under way, if it is.
    asked: Option<Timestamp>,
    /// How many there are in the fleet, as Redis last said.
    counts: Counts,
}

impl Cache {
    /// Makes the IDs and questions of this worker others than those of the other workers: by random numbers of the host, which are
    /// kept secret.
    pub fn seed_jobs(&mut self, random: fn() -> u64) {
        if self.policy.jobs.is_some() {
            let (first, second, random) = (random(), random(), [(); 4].map(|()| random()));
            self.jobs.last_question = chance::mixed(first);
            self.jobs.draws = chance::mixed(second);
            self.jobs.ids = Ids::new(random);
        }
    }

    /// Goes on with what the cache of the configuration before has under way.
    pub fn take_over_jobs(&mut self, before: &mut Self) {
        self.jobs.waiting.append(&mut before.jobs.waiting);
        self.jobs.last_ticket = self.jobs.last_ticket.max(before.jobs.last_ticket);
        self.jobs.asking = self.jobs.asking.saturating_add(before.jobs.asking);
        self.jobs.questions.append(&mut before.jobs.questions);
        self.jobs.runs.take_over(&mut before.jobs.runs);
    }

    /// Asks Redis something for a client. Gives the ticket that is decided when the answer is there, and where that comes to; `None`
    /// if too many wait.
    pub(crate) fn ask_of_job(&mut self, does: Does, now: Timestamp) -> Option<(u64, Told)> {
        if self.jobs.waiting.len() >= MOST_WAITING {
            return None;
        }
        let question = self.queue_question(does);
        self.jobs.last_ticket = self.jobs.last_ticket.wrapping_add(1) & COUNTED;
        let (ticket, told) = (self.jobs.last_ticket | OF_JOBS, Told::default());
        let until = now.plus(self.policy.remote.timeout);
        self.jobs.waiting.push(Waiting { question, ticket, told: Rc::clone(&told), until });
        Some((ticket, told))
    }

    fn queue_question(&mut self, does: Does) -> u64 {
        let request = self.question(does);
        let number = request.question;
        self.jobs.questions.push_back(request);
        number
    }

    fn question(&mut self, does: Does) -> JobRequest {
        self.jobs.last_question = self.jobs.last_question.wrapping_add(1);
        let one = written(self.policy.remote.object_bytes);
        let longest = match &does {
            Does::Take(Taking { room, .. }) => one.saturating_add(*room),
            Does::Look { content: true, .. } => one,
            Does::List => 16 << 10,
            _ => 0,
        };
        JobRequest { does, question: self.jobs.last_question, longest: longest.saturating_add(SHORT) }
    }

    /// What Redis is to be asked about jobs next.
    #[inline]
    pub(super) fn next_job_question(&mut self, now: Timestamp) -> Option<JobRequest> {
        if self.policy.jobs.is_none() || self.jobs.asking >= self.policy.remote.in_flight.div_ceil(2) {
            return None;
        }
        let request = self.next_of_jobs(now)?;
        self.jobs.asking = self.jobs.asking.saturating_add(1);
        Some(request)
    }

    fn next_of_jobs(&mut self, now: Timestamp) -> Option<JobRequest> {
        if let Some(request) = self.jobs.questions.pop_front() {
            return Some(request);
        }
        #[cfg(feature = "batch")]
        self.end_batches_of_jobs();
        if let Some(does) = self.jobs.runs.next_end(now) {
            return Some(self.question(does));
        }
        #[cfg(feature = "batch")]
        if let Some(does) = self.jobs.runs.next_progress(now) {
            return Some(self.question(does));
        }
        let settings = self.policy.jobs.as_ref()?;
        let polling = &self.jobs.polling;
        let is_due = polling.eager || polling.leadership.is_own();
        if polling.rests || polling.asked.is_some() || !is_due || now < polling.at {
            return None;
        }
        let most = most_running(settings, self.policy.remote.object_bytes);
        let most = most.saturating_sub(self.jobs.runs.len()).min(MOST_AT_ONCE);
        if most == 0 {
            return None;
        }
        let taking = Taking {
            most,
            room: written(self.policy.remote.object_bytes),
            lease: settings.lease.saturating_add(BEGINS_WITHIN),
            attempts: settings.attempts,
            ttl: settings.result_ttl,
        };
        self.jobs.polling.asked = Some(now);
        self.jobs.polling.eager = false;
        Some(self.question(Does::Take(taking)))
    }

    /// Redis has answered, or has not.
    pub(super) fn told_of_job(
        &mut self,
        request: &JobRequest,
        told: Result<JobAnswer, NoAnswer>,
        moment: &mut Moment<'_>,
    ) {
        self.jobs.asking = self.jobs.asking.saturating_sub(1);
        if told.is_err() {
            self.stats.count("jobs", "failed");
        }
        match &request.does {
            Does::Take(_) => self.took(told.ok(), moment),
            Does::End { id, token, how } => {
                let word = self.jobs.runs.ended(*id, *token, how, told.ok(), moment.now);
                if let Some(word) = word {
                    self.stats.count("jobs", word);
                }
            }
            Does::Progress { id, token, .. } => {
                #[cfg(feature = "batch")]
                if self.jobs.runs.told_of_progress(*id, *token, told.ok().as_ref()) {
                    self.stats.count("jobs", "late");
                }
            }
            _ => {
                // What was accepted here is done here, if nobody else is quicker.
                if matches!(told, Ok(JobAnswer::Accepted { again: false, .. } | JobAnswer::Ended)) {
                    self.jobs.polling.eager = true;
                }
                self.decide(request.question, told);
            }
        }
    }

    fn decide(&mut self, question: u64, told: Result<JobAnswer, NoAnswer>) {
        let jobs = &mut self.jobs;
        if let Some(at) = jobs.waiting.iter().position(|waiting| waiting.question == question) {
            let waiting = jobs.waiting.swap_remove(at);
            jobs.decided.push(waiting.ticket);
            *waiting.told.borrow_mut() = Some(told);
        }
    }

    fn took(&mut self, told: Option<JobAnswer>, moment: &mut Moment<'_>) {
        let asked = self.jobs.polling.asked.take().unwrap_or(moment.now);
        let Some(settings) = self.policy.jobs.clone() else { return };
        let Some(JobAnswer::Took(took)) = told else {
            self.jobs.polling.at = moment.now.plus(settings.poll.max(AFTER_FAILURE));
            return;
        };
        self.stats.add("jobs", "expired", took.expired);
        self.stats.add("jobs", "bad", took.bad);
        self.stats.add("jobs", "dead", took.buried);
        let polling = &mut self.jobs.polling;
        polling.counts = took.counts;
        // Further ones are there for the asking; else there is no hurry, unless something is accepted here.
        polling.eager |= took.more;
        polling.at = if polling.eager { moment.now } else { moment.now.plus(settings.poll) };
        let begins_by = asked.plus(BEGINS_WITHIN);
        let ends_by = asked.plus(settings.lease);
        for taken in took.jobs {
            let (id, token, attempt) = (taken.id, taken.token, taken.attempt);
            let payload = self.opened("q", id, taken.payload).filter(Payload::is_request);
            if payload.is_none() {
                self.stats.count("jobs", "bad");
            }
            self.jobs.runs.add((id, token, attempt), payload, begins_by, ends_by, &settings);
        }
    }

    /// Does what is due now and then. `rests`: another configuration has followed.
    pub fn look_after_jobs(&mut self, rests: bool, moment: &mut Moment<'_>) {
        if self.policy.jobs.is_none() {
            return;
        }
        let now = moment.now;
        self.jobs.polling.rests = rests;
        let late = self.jobs.waiting.iter().filter(|waiting| now >= waiting.until);
        let late: Vec<u64> = late.map(|waiting| waiting.question).collect();
        for question in late {
            let queued = self.jobs.questions.len();
            self.jobs.questions.retain(|request| request.question != question);
            if self.jobs.questions.len() < queued {
                self.decide(question, Err(NoAnswer::NotAsked));
            }
        }
        if now >= self.jobs.polling.look_at {
            self.jobs.polling.look_at = now.plus(SHOW_EVERY);
            let key = format!("sv1/j/{:016x}", self.policy.namespace);
            lead(&mut self.jobs.polling.leadership, moment.host, &key, rests, now);
        }
    }

    /// Redis is not to be asked for jobs before this moment.
    pub(super) fn leave_jobs_alone(&mut self, until: Timestamp) {
        self.jobs.polling.at = self.jobs.polling.at.max(until);
    }

    /// Requests that wait for what Redis says of a job.
    #[inline]
    pub(super) const fn waiting_for_jobs(&self) -> usize {
        self.jobs.waiting.len()
    }

    /// Tickets of those whose answer is there.
    pub(super) fn take_decided_jobs(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.jobs.decided)
    }

    /// Whether there are any.
    #[inline]
    pub(super) const fn has_decided_jobs(&self) -> bool {
        !self.jobs.decided.is_empty()
    }

    /// Whether a job is to be called for.
    #[inline]
    pub fn has_jobs_to_call(&self) -> bool {
        self.jobs.runs.any_to_begin()
    }

    /// How many jobs the fleet has, if this worker is the one of its node that says so.
    pub fn jobs_of_fleet(&self) -> Option<JobCounts> {
        let Polling { leadership, counts, .. } = &self.jobs.polling;
        let Counts { due, leased, dead, done } = *counts;
        leadership.is_own().then_some(JobCounts { due, leased, dead, done })
    }

    /// Jobs that this worker runs.
    pub fn jobs_running(&self) -> usize {
        self.jobs.runs.len()
    }

    /// Who asks, as a digest of what tells those apart who may see a job.
    pub(crate) fn owner_of_job(
        &self,
        request: &Request<'_>,
        settings: &Settings,
        moment: &mut Moment<'_>,
    ) -> u128 {
        let mut values = Vec::new();
        let mut peer = || moment.host.peer();
        let mut asking = Asking { request, rule: "", peer: &mut peer };
        write_values(&settings.by, &mut asking, &mut None, &mut values);
        digest("selvage 2026 owner of a job", &[&self.policy.namespace.to_le_bytes(), &values])
    }

    /// Whether any of that is there.
    pub(crate) fn knows_owner_of_job(
        &self,
        request: &Request<'_>,
        settings: &Settings,
        moment: &mut Moment<'_>,
    ) -> bool {
        let mut peer = || moment.host.peer();
        let mut asking = Asking { request, rule: "", peer: &mut peer };
        settings.by.iter().any(|by| value_of(by, &mut asking, &mut None, &mut Vec::new()))
    }

    /// An ID for a new job.
    pub(crate) fn draw_job_id(&mut self, now: Timestamp) -> u128 {
        self.jobs.ids.draw(now.as_millis())
    }

    /// What is written down of a job: its request (`q`) or its response (`r`).
    pub(crate) fn sealed(&self, what: &str, id: u128, head: &[u8], body: &[u8]) -> Rc<[u8]> {
        let bytes = Payload::write(head, body);
        let bytes = match &self.seal {
            Some(seal) => seal.sign(&name_of(what, id), &bytes),
            None => bytes,
        };
        base64::encode(&bytes).into_bytes().into()
    }

    /// The same read again; `None` for what nobody of the fleet has written.
    pub(crate) fn opened(&self, what: &str, id: u128, bytes: Vec<u8>) -> Option<Payload> {
        let bytes = match &self.seal {
            Some(seal) => seal.open(&name_of(what, id), bytes)?,
            None => bytes,
        };
        Payload::read(bytes)
    }
}

fn name_of(what: &str, id: u128) -> String {
    format!("job:{what}:{id:032x}")
}

/// Takes the lead of a node, or shows that this worker has it: one asks for all.
fn lead(leadership: &mut Leadership, data: &mut dyn SharedData, key: &str, rests: bool, now: Timestamp) {
    let (holder, cas) = match data.get(key) {
        Some((bytes, cas)) => (Holder::decode(&mut bytes.as_slice()).unwrap_or_default(), cas),
        None => (Holder::default(), ABSENT),
    };
    let value = |holder: Holder| {
        let mut bytes = Vec::new();
        holder.encode(&mut bytes);
        bytes
    };
    match leadership.whose(holder, now) {
        _ if rests => *leadership = Leadership::default(),
        Whose::Anothers => *leadership = Leadership::default(),
        Whose::Own | Whose::Nobodys => {
            if !leadership.take(data, key, cas, value, now) {
                *leadership = Leadership::default();
            }
        }
    }
}

/// Jobs that a worker has at once: of the largest requests and responses no more than fit.
fn most_running(settings: &Settings, object_bytes: usize) -> usize {
    settings.running.min((MOST_BYTES / object_bytes.max(1)).max(1))
}

/// Sets their tickets apart from those of others.
const OF_JOBS: u64 = 1 << 61;
/// The bits that no kind of tickets is known by.
const COUNTED: u64 = (1 << 59) - 1;
/// Requests that wait at once for what Redis says of a job.
const MOST_WAITING: usize = 1024;
/// Bytes of an answer without content.
const SHORT: usize = 512;
/// How long after it was taken a job is begun at the latest. Its lease is so much longer, so that who takes it next begins no sooner
/// than a lease after who had it.
const BEGINS_WITHIN: Duration = Duration::from_secs(1);
/// How long Redis is left alone that has not answered.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// Bytes of requests and responses of jobs that a worker has at once, about.
const MOST_BYTES: usize = 64 << 20;
