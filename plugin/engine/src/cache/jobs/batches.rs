//! Jobs that are batches: their parts are asked for here, and Redis is told how many have their answers.

use std::rc::Rc;
use std::time::Duration;

use super::Cache;
use super::running::{BUSY, Run, Runs, Step};
use crate::batch::answer::Form;
use crate::cache::{BatchTerms, SharedBatch, batch_problem};
use crate::fields::FieldBlock;
use crate::jobs::head::PEER;
use crate::jobs::question::{Does, How, JobAnswer};
use crate::jobs::stored::Payload;
use crate::policy::Policy;
use crate::request::Request;
use crate::time::Timestamp;

/// A batch under way.
pub(super) struct InParts {
    batch: SharedBatch,
    /// How many parts Redis has been told of, and when.
    told: Option<u64>,
    told_at: Timestamp,
}

/// Whether a request that was accepted asks for a batch.
pub(super) fn is_one(payload: &Payload, policy: &Policy) -> bool {
    let request = Request::read(payload.fields(), true);
    policy.batch.as_ref().is_some_and(|batch| batch.is_asked_for(request.method, request.path()))
}

impl Runs {
    /// What Redis is to be told next of how far a run is.
    pub(super) fn next_progress(&mut self, now: Timestamp) -> Option<Does> {
        self.all.iter_mut().find_map(|run| {
            let Step::InParts(parts) = &mut run.step else { return None };
            let (done, of) = parts.batch.borrow().progress();
            let pause = if parts.told == Some(done) { ASKS_AGAIN } else { TELLS_PROGRESS };
            if now.since(parts.told_at) < pause {
                return None;
            }
            (parts.told, parts.told_at) = (Some(done), now);
            Some(Does::Progress { id: run.id, token: run.token, parts: (done, of) })
        })
    }

    /// Redis has heard how far a run is, or has not. Whether the job is not this run's any more, so that nothing further is asked
    /// for it.
    pub(super) fn told_of_progress(&mut self, id: u128, token: u64, told: Option<&JobAnswer>) -> bool {
        let is_run = |run: &Run| (run.id, run.token) == (id, token);
        let Some(at) = self.all.iter().position(is_run) else { return false };
        match (self.all.get_mut(at).map(|run| &mut run.step), told) {
            (Some(Step::InParts(_)), Some(JobAnswer::None)) => {
                self.all.swap_remove(at);
                true
            }
            (Some(Step::InParts(parts)), None) => {
                parts.told = None;
                false
            }
            _ => false,
        }
    }
}

impl Cache {
    /// Begins with the parts of a job.
    pub(super) fn begin_batch_of_job(&mut self, at: usize, payload: &Payload, now: Timestamp) {
        let head = payload.fields();
        // All of it is to fit into a record, with what is said of parts that have no room there.
        let kept = self.policy.remote.object_bytes;
        let most = self.policy.batch.as_ref().map_or(0, |batch| {
            let problems = batch.parts.saturating_mul(LONGEST_PROBLEM).min(kept / 2);
            batch.response_bytes.min(kept.saturating_sub(problems))
        });
        let has_room = self.has_room_to_wait(payload.body().len().saturating_add(head.block_bytes()));
        let Some(run) = self.jobs.runs.all.get(at) else { return };
        let terms = BatchTerms {
            most,
            until: now.plus(run.timeout).min(run.ends_by),
            peer: head.get(PEER).map(Rc::from),
            is_job: true,
        };
        let step = if has_room {
            self.stats.count("jobs", "started");
            match self.run_batch(head, payload.body(), terms) {
                Ok(batch) => Step::InParts(InParts { batch, told: None, told_at: Timestamp::default() }),
                Err(why) => {
                    let id = run_id(&self.jobs.runs, at);
                    let content = batch_problem(400, &why);
                    let how = self.answer_of_job(id, 400, b"application/problem+json", &content);
                    Step::Over { how, told_at: None }
                }
            }
        } else {
            Step::Over { how: How::Back { pause: BUSY }, told_at: None }
        };
        if let Some(run) = self.jobs.runs.all.get_mut(at) {
            run.step = step;
        }
    }

    /// Those that have all their answers are over.
    pub(super) fn end_batches_of_jobs(&mut self) {
        for at in 0..self.jobs.runs.all.len() {
            let Some(run) = self.jobs.runs.all.get(at) else { continue };
            let Step::InParts(parts) = &run.step else { continue };
            if parts.batch.borrow().is_open() {
                continue;
            }
            let id = run.id;
            let (content, form): (Vec<u8>, Form) = parts.batch.borrow_mut().take_answer();
            let how = self.answer_of_job(id, 200, form.media_type(), &content);
            if let Some(run) = self.jobs.runs.all.get_mut(at) {
                run.step = Step::Over { how, told_at: None };
            }
        }
    }

    fn answer_of_job(&self, id: u128, status: u16, kind: &[u8], content: &[u8]) -> How {
        let mut block = FieldBlock::new();
        block.push(b":status", status.to_string().as_bytes());
        block.push(b"content-type", kind);
        let mut head = Vec::new();
        block.write_with(&[], &mut head);
        let fits = content.len() <= self.policy.remote.object_bytes;
        let payload = fits.then(|| self.sealed("r", id, &head, content));
        let ttl = self.policy.jobs.as_ref().map_or_else(Duration::default, |jobs| jobs.result_ttl);
        How::Done { status, payload, ttl }
    }
}

fn run_id(runs: &Runs, at: usize) -> u128 {
    runs.all.get(at).map_or(0, |run| run.id)
}

/// How often Redis is told how far a run is, at most.
const TELLS_PROGRESS: Duration = Duration::from_millis(250);
/// How often it is told though nothing has changed: the answer says whether the job was cancelled.
const ASKS_AGAIN: Duration = Duration::from_secs(2);
/// Bytes of what is said of a part that has no answer.
const LONGEST_PROBLEM: usize = 1 << 10;
