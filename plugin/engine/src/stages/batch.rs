//! Answers a `POST` to `batch.path` with the answers to the GETs in its body.
//!
//! Each part is a request of its own: it goes through everything that such a one of this client would, and its answer says for
//! itself what has become of it. Only what may not be asked for in a batch is refused here.

use std::rc::Rc;

use super::{Held, Seen, Then, Until, answer};
use crate::batch::answer::is_json_type;
use crate::cache::{BatchTerms, Cache, Moment, SharedBatch, batch_answer, batch_problem};
use crate::cache_status::{Detail, Outcome};
use crate::fields::{FieldBlock, Fields, content_length};
use crate::policy::Rule;

/// A batch, from the head of its request to its answer.
pub(crate) enum Batching {
    /// Its body is still coming.
    Reading {
        /// The head of its request.
        head: Vec<u8>,
        /// Index of its rule.
        rule: usize,
        /// What has come.
        body: Vec<u8>,
    },
    /// Its parts are asked for.
    Waiting {
        /// Index of its rule.
        rule: usize,
        /// Its parts.
        batch: SharedBatch,
    },
}

/// Takes the request if it asks for a batch.
#[inline]
pub(super) fn enter(seen: &Seen<'_>, cache: &mut Cache) -> Option<Then> {
    // All that it costs where none are configured.
    let settings = cache.policy().batch.as_ref()?;
    if settings.is_asked_for(seen.request.method, seen.request.path()) {
        Some(begin(seen, cache))
    } else {
        None
    }
}

#[cold]
fn begin(seen: &Seen<'_>, cache: &mut Cache) -> Then {
    if let Some(refused) = refused_by_head(seen, cache) {
        return refused;
    }
    let fields = seen.request.fields;
    if !cache.has_room_to_wait(fields.block_bytes()) {
        return refuse(503, "too much waits at this moment", seen.rule, cache);
    }
    let mut head = Vec::new();
    FieldBlock::copy_of(fields).write_with(&[], &mut head);
    let reading = Batching::Reading { head, rule: seen.rule_index, body: Vec::new() };
    Then::Await(Held::Batching(reading), Until::Body)
}

/// The answer to a request whose head says that its body asks for no batch.
pub(super) fn refused_by_head(seen: &Seen<'_>, cache: &mut Cache) -> Option<Then> {
    let most = cache.policy().batch.as_ref().map_or(0, |batch| batch.request_bytes);
    let fields = seen.request.fields;
    if fields.get(b"content-encoding").is_some() || !fields.get(b"content-type").is_some_and(is_json_type) {
        let why = "the body is JSON, and says so by its content-type";
        return Some(refuse(415, why, seen.rule, cache));
    }
    if seen.end_of_stream {
        return Some(refuse(400, "no JSON: there is no body", seen.rule, cache));
    }
    let is_too_long = content_length(fields).is_some_and(|told| told > most);
    is_too_long.then(|| refuse(413, &format!("at most {most} bytes"), seen.rule, cache))
}

/// Whether a body asks for a batch. Else the status and the reason of the answer.
#[cfg(feature = "jobs")]
pub(super) fn is_sound(body: &[u8], settings: &crate::policy::Batch) -> Result<(), (u16, String)> {
    if body.len() > settings.request_bytes {
        return Err((413, format!("at most {} bytes", settings.request_bytes)));
    }
    crate::batch::requests::read(body, settings).map(|_| ()).map_err(|why| (400, why))
}

impl Batching {
    /// A part of the body has come.
    pub(super) fn on_chunk(
        self,
        chunk: &[u8],
        end_of_stream: bool,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> Then {
        let Self::Reading { head, rule: rule_index, mut body } = self else {
            return Then::Await(Held::Batching(self), Until::Body);
        };
        let policy = Rc::clone(cache.policy());
        let rule = policy.rule(rule_index);
        // Another configuration may have followed.
        let Some(settings) = &policy.batch else {
            return refuse(503, "there are no batches any more", rule, cache);
        };
        if body.len().saturating_add(chunk.len()) > settings.request_bytes {
            return refuse(413, &format!("at most {} bytes", settings.request_bytes), rule, cache);
        }
        if !cache.has_room_to_wait(chunk.len()) || body.try_reserve(chunk.len()).is_err() {
            return refuse(503, "too much waits at this moment", rule, cache);
        }
        body.extend_from_slice(chunk);
        if !end_of_stream {
            return Then::Await(Held::Batching(Self::Reading { head, rule: rule_index, body }), Until::Body);
        }
        run(&head, &body, rule_index, cache, moment)
    }

    /// All its parts have their answers, or nothing is known of it any more.
    pub(super) fn on_wake(self, cache: &mut Cache) -> Then {
        match self {
            Self::Waiting { rule, batch } => wait(rule, batch, cache),
            reading @ Self::Reading { .. } => Then::Await(Held::Batching(reading), Until::Body),
        }
    }

    /// Whether it waits for the request's body.
    pub(super) const fn awaits_body(&self) -> bool {
        matches!(self, Self::Reading { .. })
    }

    /// Bytes of the request that it keeps. The answers to its parts are counted apart.
    pub(super) fn kept_bytes(&self) -> usize {
        match self {
            Self::Reading { head, body, .. } => head.capacity().saturating_add(body.capacity()),
            Self::Waiting { .. } => 0,
        }
    }
}

/// Begins the batch that a body asks for, on behalf of who has sent this head, and who waits for the answer.
pub(super) fn run(head: &[u8], body: &[u8], rule: usize, cache: &mut Cache, moment: &mut Moment<'_>) -> Then {
    let policy = Rc::clone(cache.policy());
    // Another configuration may have followed.
    let Some(settings) = &policy.batch else {
        return refuse(503, "there are no batches any more", policy.rule(rule), cache);
    };
    let terms = BatchTerms {
        most: settings.response_bytes,
        until: moment.now.plus(settings.timeout),
        peer: moment.host.peer().map(Rc::from),
        is_job: false,
    };
    match cache.run_batch(Fields::parse(head).unwrap_or_default(), body, terms) {
        Ok(batch) => wait(rule, batch, cache),
        Err(why) => refuse(400, &why, policy.rule(rule), cache),
    }
}

/// The answer, or the wait for it.
fn wait(rule: usize, batch: SharedBatch, cache: &mut Cache) -> Then {
    if batch.borrow().is_open() {
        let ticket = batch.borrow().ticket();
        return Then::Await(Held::Batching(Batching::Waiting { rule, batch }), Until::Ticket(ticket));
    }
    let policy = Rc::clone(cache.policy());
    let outcome = Outcome { detail: Some(Detail::Batch), ..Outcome::under(policy.rule(rule)) };
    cache.stats.count("detail", Detail::Batch.as_str());
    Then::Respond(batch_answer(&mut batch.borrow_mut(), &outcome, policy.cache_status_name.as_bytes()))
}

#[cold]
pub(super) fn refuse(status: u16, why: &str, rule: &Rule, cache: &mut Cache) -> Then {
    cache.stats.count("batch", "refused");
    let fields: [(&[u8], &[u8]); 3] = [
        (b"content-type", b"application/problem+json"),
        (b"cache-control", b"no-store"),
        (b"retry-after", b"1"),
    ];
    let fields = if status == 503 { &fields[..] } else { &fields[..2] };
    answer(status, Detail::BatchRefused, fields, &batch_problem(status, why), rule, cache)
}
