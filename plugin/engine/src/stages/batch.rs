//! Answers a `POST` to `batch.path` with the answers to the GETs in its body.
//!
//! Each part is a request of its own: it goes through everything that such a one of this client would, and its answer says for
//! itself what has become of it. Only what may not be asked for in a batch is refused here.

use std::rc::Rc;

use super::{Held, Seen, Then, Until, answer};
use crate::admission::rule_of;
use crate::batch::answer::{Form, is_json_type};
use crate::batch::requests::{self, Get};
use crate::cache::{Cache, Moment, PartEnd, SharedBatch, batch_answer, batch_problem};
use crate::cache_status::{Detail, Outcome};
use crate::fields::{FieldBlock, Fields, content_length};
use crate::policy::{self, Policy, Rule};
use crate::request::Request;

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
    let Seen { request, rule, rule_index, end_of_stream, .. } = *seen;
    // What limits have said of it goes with a request that goes on, and this one does not.
    #[cfg(feature = "limits")]
    super::limits::take(cache);
    let most = cache.policy().batch.as_ref().map_or(0, |batch| batch.request_bytes);
    let fields = request.fields;
    if fields.get(b"content-encoding").is_some() || !fields.get(b"content-type").is_some_and(is_json_type) {
        return refuse(415, "the body is JSON, and says so by its content-type", rule, cache);
    }
    if end_of_stream {
        return refuse(400, "no JSON: there is no body", rule, cache);
    }
    if content_length(fields).is_some_and(|told| told > most) {
        return refuse(413, &format!("at most {most} bytes"), rule, cache);
    }
    if !cache.has_room_to_wait(fields.block_bytes()) {
        return refuse(503, "too much waits at this moment", rule, cache);
    }
    let mut head = Vec::new();
    FieldBlock::copy_of(fields).write_with(&[], &mut head);
    Then::Await(Held::Batching(Batching::Reading { head, rule: rule_index, body: Vec::new() }), Until::Body)
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
        match run(&head, &body, settings, &policy, cache, moment) {
            Ok(batch) => wait(rule_index, batch, cache),
            Err(why) => refuse(400, &why, rule, cache),
        }
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

/// Begins the batch that a body asks for, on behalf of who has sent this head.
///
/// # Errors
/// Why nothing of it is asked for.
pub(crate) fn run(
    head: &[u8],
    body: &[u8],
    settings: &policy::Batch,
    policy: &Policy,
    cache: &mut Cache,
    moment: &mut Moment<'_>,
) -> Result<SharedBatch, String> {
    let fields = Fields::parse(head).unwrap_or_default();
    let parts = requests::read(body, settings)?;
    let ids = parts.iter().map(|part| part.id.clone()).collect();
    let until = moment.now.plus(settings.timeout);
    let batch = cache.begin_batch(ids, Form::wanted(fields), settings.response_bytes, until);
    let peer: Option<Rc<[u8]>> = moment.host.peer().map(Rc::from);
    for (nth, part) in parts.into_iter().enumerate() {
        match part.get {
            Ok(get) => {
                let head = head_of(fields, &get);
                let request = Fields::parse(&head).map(|fields| Request::read(fields, false));
                if request.is_some_and(|request| rule_of(policy, &request).1.batch) {
                    cache.ask_for_part(&batch, nth, head, settings.part_timeout, peer.clone());
                } else {
                    let why = "url: its rule is not for batches";
                    cache.end_part_of(&batch, nth, &PartEnd::Refused(403, why));
                }
            }
            Err(refused) => {
                cache.end_part_of(&batch, nth, &PartEnd::Refused(refused.status, &refused.why));
            }
        }
    }
    Ok(batch)
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
fn refuse(status: u16, why: &str, rule: &Rule, cache: &mut Cache) -> Then {
    cache.stats.count("batch", "refused");
    let fields: [(&[u8], &[u8]); 3] = [
        (b"content-type", b"application/problem+json"),
        (b"cache-control", b"no-store"),
        (b"retry-after", b"1"),
    ];
    let fields = if status == 503 { &fields[..] } else { &fields[..2] };
    answer(status, Detail::BatchRefused, fields, &batch_problem(status, why), rule, cache)
}

/// The head of a part: what the batch's says of its client, and what is the part's own.
fn head_of(batch: Fields<'_>, get: &Get) -> Vec<u8> {
    let own = |name: &[u8]| get.fields.iter().any(|(known, _)| known.as_bytes() == name);
    let connection = |name: &[u8]| batch.members(b"connection").any(|named| named.eq_ignore_ascii_case(name));
    let mut block = FieldBlock::new();
    block.push(b":method", b"GET");
    for name in [&b":scheme"[..], b":authority"] {
        block.push(name, batch.get(name).unwrap_or_default());
    }
    block.push(b":path", get.target.as_bytes());
    for (name, value) in
        batch.iter().filter(|(name, _)| !is_of_the_batch(name) && !own(name) && !connection(name))
    {
        block.push(name, value);
    }
    // What is coded cannot stand in JSON as it is.
    if !own(b"accept-encoding") {
        block.push(b"accept-encoding", b"identity");
    }
    for (name, value) in &get.fields {
        block.push(name.as_bytes(), value.as_bytes());
    }
    let mut head = Vec::new();
    block.write_with(&[], &mut head);
    head
}

/// Whether a field says something of the request for the batch, and nothing of its client.
fn is_of_the_batch(name: &[u8]) -> bool {
    name.first() == Some(&b':')
        || name.starts_with(b"content-")
        || name.starts_with(b"if-")
        || matches!(
            name,
            b"accept"
                | b"accept-encoding"
                | b"cache-control"
                | b"connection"
                | b"expect"
                | b"idempotency-key"
                | b"keep-alive"
                | b"origin"
                | b"pragma"
                | b"prefer"
                | b"proxy-authorization"
                | b"proxy-connection"
                | b"range"
                | b"selvage-explain"
                | b"te"
                | b"trailer"
                | b"transfer-encoding"
                | b"upgrade"
                | b"x-request-id"
        )
}
