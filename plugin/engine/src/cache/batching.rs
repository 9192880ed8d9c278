//! Batches under way: their parts that are to be asked for, and what has come of those that were.
//!
//! A batch belongs to who waits for it, and is forgotten with that. Parts that are under way then go on, for what they bring is
//! stored; those that are not yet asked for are not asked for any more.

mod parts;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::time::Duration;

pub(crate) use parts::Terms;

use super::{Cache, Kept};
use crate::batch::answer::{Form, piece, whole};
use crate::cache_status::{Detail, Outcome};
use crate::fields::{FieldBlock, Fields};
use crate::reply::Reply;
use crate::time::Timestamp;

/// All of a worker.
#[derive(Default)]
pub(super) struct Batches {
    queue: VecDeque<PartTask>,
    /// Parts that no client waits for.
    queue_of_jobs: VecDeque<PartTask>,
    open: Vec<(u64, Weak<RefCell<Batch>>, Timestamp)>,
    /// Tickets of those that have all their answers, and whose holders are not told yet.
    decided: Vec<u64>,
    last: u64,
}

/// A batch under way, for who waits for it.
pub(crate) struct Batch {
    ticket: u64,
    form: Form,
    ids: Vec<Box<str>>,
    /// The answers as JSON, in the order of the parts.
    pieces: Vec<Option<Vec<u8>>>,
    missing: usize,
    bytes: usize,
    late: bool,
    kept: Kept,
    terms: Terms,
}

/// A batch under way.
pub(crate) type SharedBatch = Rc<RefCell<Batch>>;

/// A part that is to be asked for.
pub struct PartTask {
    /// The request's head, as a field block with its pseudo-headers.
    pub(crate) head: Vec<u8>,
    pub(crate) place: PartPlace,
    /// How long a call for it may take.
    pub(crate) timeout: Duration,
    /// The address that the batch came from, if it is known.
    pub peer: Option<Rc<[u8]>>,
    /// No client waits for it: it comes after those of clients, and is of the lowest class of its pool.
    pub is_job: bool,
    /// The bytes of its head.
    pub(crate) kept: Kept,
}

/// Where the answer to a part goes.
pub(crate) struct PartPlace {
    batch: Weak<RefCell<Batch>>,
    nth: usize,
}

impl PartPlace {
    /// Whether somebody waits for its answer.
    pub(crate) fn is_wanted(&self) -> bool {
        self.batch.upgrade().is_some_and(|batch| batch.borrow().is_open())
    }
}

/// What has come of a part.
pub(crate) enum PartEnd<'a> {
    /// It is answered as a request of its own would be.
    Answered {
        /// The status.
        status: u16,
        /// The fields.
        fields: Fields<'a>,
        /// The content.
        content: &'a [u8],
    },
    /// It may not be asked for, with this status and for this reason.
    Refused(u16, &'a str),
    /// It has brought no whole answer.
    Failed,
    /// It has brought none in time.
    Late,
}

impl Batch {
    /// Its ticket.
    pub(crate) const fn ticket(&self) -> u64 {
        self.ticket
    }

    /// Whether it waits for something.
    pub(crate) const fn is_open(&self) -> bool {
        self.missing > 0
    }

    /// How many of its parts have their answers, and how many there are.
    #[cfg(feature = "jobs")]
    pub(crate) const fn progress(&self) -> (u64, u64) {
        let of = self.ids.len();
        (of.saturating_sub(self.missing) as u64, of as u64)
    }

    /// Its answers as one. To be asked for once.
    pub(crate) fn take_answer(&mut self) -> (Vec<u8>, Form) {
        let pieces = std::mem::take(&mut self.pieces);
        self.kept.set(0);
        (whole(pieces.iter().flatten().map(Vec::as_slice), self.bytes, self.form), self.form)
    }
}

impl Cache {
    /// Begins a batch of so many parts.
    fn begin_batch(&mut self, ids: Vec<Box<str>>, form: Form, terms: Terms) -> SharedBatch {
        let batches = &mut self.batches;
        batches.last = batches.last.wrapping_add(1);
        let (missing, ticket) = (ids.len(), batches.last & (OF_BATCHES - 1) | OF_BATCHES);
        let pieces = ids.iter().map(|_| None).collect();
        let (kept, until) = (self.keep(0), terms.until);
        let batch = Batch { ticket, form, ids, pieces, missing, bytes: 0, late: false, kept, terms };
        let batch = Rc::new(RefCell::new(batch));
        self.batches.open.push((ticket, Rc::downgrade(&batch), until));
        batch
    }

    /// A part of it is to be asked for.
    fn ask_for_part(&mut self, batch: &SharedBatch, nth: usize, head: Vec<u8>, timeout: Duration) {
        let place = PartPlace { batch: Rc::downgrade(batch), nth };
        if !self.has_room_to_wait(head.len()) {
            return self.end_part(&place, &PartEnd::Refused(503, "too much waits at this moment"));
        }
        let kept = self.keep(head.len());
        let Terms { peer, is_job, .. } = &batch.borrow().terms;
        let (peer, is_job) = (peer.clone(), *is_job);
        let batches = &mut self.batches;
        let queue = if is_job { &mut batches.queue_of_jobs } else { &mut batches.queue };
        queue.push_back(PartTask { head, place, timeout, peer, is_job, kept });
    }

    /// A part of it need not be asked for.
    fn end_part_of(&mut self, batch: &SharedBatch, nth: usize, end: &PartEnd<'_>) {
        self.end_part(&PartPlace { batch: Rc::downgrade(batch), nth }, end);
    }

    /// Whether parts are to be asked for.
    pub fn has_parts(&self) -> bool {
        !self.batches.queue.is_empty() || !self.batches.queue_of_jobs.is_empty()
    }

    /// The next part that is to be asked for; one of a job if no client waits and such may be begun.
    pub fn next_part(&mut self, may_be_of_job: bool) -> Option<PartTask> {
        let Batches { queue, queue_of_jobs, .. } = &mut self.batches;
        let of_jobs = may_be_of_job.then_some(queue_of_jobs);
        // Nobody waits for the others any more.
        [Some(queue), of_jobs]
            .into_iter()
            .flatten()
            .find_map(|queue| std::iter::from_fn(|| queue.pop_front()).find(|task| task.place.is_wanted()))
    }

    /// What has come of a part goes to who waits for it.
    pub(crate) fn end_part(&mut self, place: &PartPlace, end: &PartEnd<'_>) {
        let Some(batch) = place.batch.upgrade() else { return };
        let mut batch = batch.borrow_mut();
        self.put_piece(&mut batch, place.nth, end);
    }

    fn put_piece(&mut self, batch: &mut Batch, nth: usize, end: &PartEnd<'_>) {
        let (Some(id), Some(None)) = (batch.ids.get(nth), batch.pieces.get(nth)) else { return };
        // What has no room as it is has none in the answer, and is not written for nothing.
        let is_too_large = |content: &[u8]| batch.bytes.saturating_add(content.len()) > batch.terms.most;
        let (mut word, mut made) = match end {
            PartEnd::Answered { content, .. } if is_too_large(content) => ("too-large", Vec::new()),
            PartEnd::Answered { status, fields, content } => {
                ("answered", piece(id, *status, *fields, content, batch.form))
            }
            PartEnd::Refused(status, why) => {
                ("refused", self.problem(id, *status, Detail::BatchRefused, why, batch.form))
            }
            PartEnd::Failed => {
                let why = "the answer has not come whole";
                ("failed", self.problem(id, 502, Detail::PartFailed, why, batch.form))
            }
            PartEnd::Late => {
                ("late", self.problem(id, 504, Detail::PartLate, "no answer in time", batch.form))
            }
        };
        if matches!(end, PartEnd::Answered { .. }) {
            let bytes = batch.bytes.saturating_add(made.len());
            if word == "too-large" || bytes > batch.terms.most {
                let why = "the answers to other parts have left no room";
                (word, made) = ("too-large", self.problem(id, 507, Detail::PartTooLarge, why, batch.form));
            } else if !self.has_room_to_wait(made.len()) {
                let why = "too much waits at this moment";
                (word, made) =
                    ("waiting-limit", self.problem(id, 503, Detail::WaitingLimit, why, batch.form));
            }
        }
        self.stats.count("batch_parts", word);
        batch.late |= matches!(end, PartEnd::Late);
        batch.bytes = batch.bytes.saturating_add(made.len());
        batch.kept.set(batch.bytes);
        if let Some(place) = batch.pieces.get_mut(nth) {
            *place = Some(made);
        }
        batch.missing = batch.missing.saturating_sub(1);
        if batch.missing == 0 {
            self.batches.decided.push(batch.ticket);
            self.batches.open.retain(|(ticket, ..)| *ticket != batch.ticket);
            self.stats.count("batch", "answered");
            self.stats.add("batch", "late", batch.late.into());
        }
    }

    /// The answer to a part that is made here (RFC 9457).
    fn problem(&self, id: &str, status: u16, detail: Detail, why: &str, form: Form) -> Vec<u8> {
        let outcome = Outcome { detail: Some(detail), ..Outcome::default() };
        let (mut line, mut block, mut head) = (Vec::new(), FieldBlock::new(), Vec::new());
        outcome.write(self.policy.cache_status_name.as_bytes(), &mut line);
        block.push(b"content-type", b"application/problem+json");
        block.push(b"cache-control", b"no-store");
        if status == 405 {
            block.push(b"allow", b"GET");
        }
        block.push(b"cache-status", &line);
        block.write_with(&[], &mut head);
        let content = problem(status, why);
        piece(id, status, Fields::parse(&head).unwrap_or_default(), &content, form)
    }

    /// Whether batches wait for their parts.
    pub fn has_open_batches(&self) -> bool {
        !self.batches.open.is_empty()
    }

    /// Sees to those that take too long, and to those whose clients have left.
    pub fn look_after_batches(&mut self, now: Timestamp) {
        // Nobody waits for parts of the others any more.
        let Batches { queue, queue_of_jobs, .. } = &mut self.batches;
        [queue, queue_of_jobs].into_iter().for_each(|queue| queue.retain(|task| task.place.is_wanted()));
        let open = std::mem::take(&mut self.batches.open);
        for (ticket, known, until) in open {
            let Some(shared) = known.upgrade() else {
                self.stats.count("batch", "left");
                continue;
            };
            let mut batch = shared.borrow_mut();
            if now >= until {
                for nth in 0..batch.pieces.len() {
                    self.put_piece(&mut batch, nth, &PartEnd::Late);
                }
            }
            if batch.is_open() {
                self.batches.open.push((ticket, known, until));
            }
        }
    }

    /// The tickets of batches that have all their answers.
    pub fn take_decided_batches(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.batches.decided)
    }

    /// Whether there are any.
    pub fn has_decided_batches(&self) -> bool {
        !self.batches.decided.is_empty()
    }

    /// Another configuration has followed: it goes on with what is under way.
    pub fn take_over_batches(&mut self, before: &mut Self) {
        self.batches = std::mem::take(&mut before.batches);
    }
}

/// What a batch, or a part of one, is told that is refused.
pub(crate) fn problem(status: u16, why: &str) -> Vec<u8> {
    let title = match status {
        400 => "Bad Request",
        403 => "Forbidden",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Insufficient Storage",
    };
    let told = serde_json::json!({ "status": status, "title": title, "detail": why });
    told.to_string().into_bytes()
}

/// A batch as its client gets it.
pub(crate) fn answer_of(batch: &mut Batch, outcome: &Outcome, name: &[u8]) -> Reply {
    let (content, form) = batch.take_answer();
    let fields: [(&[u8], &[u8]); 2] = [(b"content-type", form.media_type()), (b"cache-control", b"no-store")];
    let reply = Reply::saying(200, outcome, name, &fields, b"");
    Reply::made(200, reply.fields, content)
}

/// Tickets of others have other bits.
const OF_BATCHES: u64 = 1 << 59;
