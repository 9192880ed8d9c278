//! Accepts requests as jobs, and tells their clients of them.
//!
//! A request that is accepted is read to its end, written down in Redis, and answered 202 once Redis has said that it is there. Only who
//! accepted a job sees it: to others it is not there at all.

use std::rc::Rc;

use serde_json::Value;

#[cfg(feature = "batch")]
use super::batch::{self, is_sound};
use super::{Held, Seen, Then, Until, answer};
use crate::cache::{Cache, Moment, ToldOfJob};
use crate::cache_status::Detail;
use crate::config::By;
use crate::fields::{FieldBlock, Fields, content_length, status_of};
use crate::jobs::asking::{idempotency_key, prefers_async, would_accept};
use crate::jobs::digest;
use crate::jobs::head::of_request;
use crate::jobs::question::{Does, JobAnswer, Standing, State, id_of};
use crate::jobs::stored::Payload;
use crate::limits::NoAnswer;
use crate::members::Members;
use crate::policy::{Jobs, JobsOnFailure, Policy};
use crate::request::Request;
#[cfg(feature = "limits")]
use crate::stages::limits::{self, Limited};
use crate::time::Timestamp;

/// A request that goes on to the origin after it has waited.
pub(crate) struct Onward {
    /// Its head, as it came.
    pub(crate) head: Vec<u8>,
    /// It has no body.
    pub(crate) end_of_stream: bool,
    /// What limits have said of it.
    #[cfg(feature = "limits")]
    limited: Option<Box<Limited>>,
}

impl Onward {
    /// It passes the cache now.
    pub(crate) fn goes(&mut self, cache: &mut Cache) {
        #[cfg(feature = "limits")]
        {
            cache.scratch.limited = self.limited.take();
        }
    }
}

/// What is kept of a request that waits for its body, or for Redis.
pub(crate) struct Asking {
    onward: Onward,
    rule: usize,
    about: About,
    /// Bytes of what is written down, as long as it is.
    bytes: usize,
    /// It waits for Redis: with this ticket, for this, until then.
    ticket: Option<(u64, ToldOfJob, Timestamp)>,
}

enum About {
    /// It is to be accepted. A batch is done here if it is not.
    Accept { body: Vec<u8>, preferred: bool, is_batch: bool },
    /// It asks for a job, and for its response with `content`.
    Look { id: u128, content: bool },
    /// It cancels one.
    Cancel { id: u128 },
}

/// Takes a request that becomes a job, or is about one.
#[inline]
pub(super) fn enter(seen: &Seen<'_>, cache: &mut Cache, moment: &mut Moment<'_>) -> Option<Then> {
    // All that a cache without jobs costs.
    cache.policy().jobs.as_ref()?;
    take(seen, cache, moment)
}

#[inline(never)]
fn take(seen: &Seen<'_>, cache: &mut Cache, moment: &mut Moment<'_>) -> Option<Then> {
    let policy = Rc::clone(cache.policy());
    let (settings, request) = (policy.jobs.as_ref()?, seen.request);
    // Who has an unknown session is not nobody, whose jobs are other people's.
    let is_of_session = |by: &By| match by {
        By::Session(_) => true,
        #[cfg(feature = "sessions")]
        By::Header(name) => policy.reserved.has(name),
        _ => false,
    };
    let is_unknown = seen.is_of_unknown_session && settings.by.iter().any(is_of_session);
    if let Some((id, content)) = named(request.path(), settings) {
        let methods: (&[&[u8]], &[u8]) = match content {
            true => (&[b"GET", b"HEAD"], b"GET, HEAD"),
            false => (&[b"GET", b"HEAD", b"DELETE"], b"GET, HEAD, DELETE"),
        };
        if !methods.0.contains(&request.method) {
            let allow = [(&b"allow"[..], methods.1)];
            return Some(problem(405, "A job is not asked for in this way", &allow, seen.rule_index, cache));
        }
        if is_unknown {
            return Some(unavailable(seen.rule_index, cache));
        }
        let about = match request.method {
            b"DELETE" => About::Cancel { id },
            _ => About::Look { id, content },
        };
        let owner = cache.owner_of_job(request, settings, moment);
        let does = match about {
            About::Cancel { id } => Does::Cancel { id, owner, ttl: settings.result_ttl },
            _ => Does::Look { id, owner, content },
        };
        return Some(asking(seen, about, cache).ask(does, cache, moment));
    }
    if !would_accept(request, seen.rule) {
        return None;
    }
    if is_unknown && settings.on_failure == JobsOnFailure::Forward {
        cache.stats.count("jobs", "forwarded");
        return None;
    }
    if is_unknown {
        return Some(unavailable(seen.rule_index, cache));
    }
    let preferred = prefers_async(request.fields);
    if idempotency_key(request.fields).is_err() {
        let title = "Idempotency-Key is not one text of 1 to 255 visible characters";
        return Some(problem(400, title, &[], seen.rule_index, cache));
    }
    #[cfg(feature = "uploads")]
    if let Err(refused) = checked(request, None, (seen.rule_index, seen.rule), cache) {
        return Some(refused);
    }
    let is_batch = asks_for_batch(request, &policy);
    #[cfg(feature = "batch")]
    if is_batch && let Some(refused) = batch::refused_by_head(seen, cache) {
        return Some(refused);
    }
    let length = content_length(request.fields).unwrap_or_default();
    if length > policy.remote.object_bytes {
        return Some(too_large(seen.rule_index, cache));
    }
    if !cache.has_room_to_wait(request.fields.block_bytes().saturating_add(length)) {
        return Some(unavailable(seen.rule_index, cache));
    }
    let asking = asking(seen, About::Accept { body: Vec::new(), preferred, is_batch }, cache);
    Some(match seen.end_of_stream {
        true => asking.accept(cache, moment),
        false => Then::Await(Held::Job(Box::new(asking)), Until::Body),
    })
}

/// Whether a request asks for a batch, whose parts are asked for when it is done.
fn asks_for_batch(request: &Request<'_>, policy: &Policy) -> bool {
    #[cfg(feature = "batch")]
    return policy.batch.as_ref().is_some_and(|batch| batch.is_asked_for(request.method, request.path()));
    #[cfg(not(feature = "batch"))]
    false
}

/// Whether the rule's `upload` takes what a request says of its body, or the body. Else what is answered.
#[cfg(feature = "uploads")]
fn checked(
    request: &Request<'_>,
    body: Option<&[u8]>,
    (rule_index, rule): (usize, &crate::policy::Rule),
    cache: &mut Cache,
) -> Result<(), Then> {
    use super::uploads::{Asked, refuse};
    use crate::uploads::{Guard, Verdict};

    let Some(upload) = rule.upload.as_ref().filter(|_| !rule.shadow) else { return Ok(()) };
    let objection = match (Guard::of(request, rule_index, upload), body) {
        (Err(objection), _) => Some(objection),
        (Ok(Some(mut guard)), Some(body)) => match guard.on_chunk(body, true, upload) {
            Verdict::Refused(objection) => Some(objection),
            _ => None,
        },
        _ => None,
    };
    let asked = Asked { is_patch: request.method == b"PATCH", is_counted: false };
    match objection {
        Some(objection) => Err(Then::Respond(refuse(objection, asked, upload, rule, cache))),
        None => Ok(()),
    }
}

/// The job that a path names, and whether its response is meant.
fn named(path: &[u8], settings: &Jobs) -> Option<(u128, bool)> {
    let rest = path.strip_prefix(settings.prefix())?.strip_prefix(b"/")?;
    let (id, content) = rest.strip_suffix(b"/result").map_or((rest, false), |id| (id, true));
    Some((id_of(id)?, content))
}

fn asking(seen: &Seen<'_>, about: About, cache: &mut Cache) -> Asking {
    let mut head = Vec::new();
    FieldBlock::copy_of(seen.request.fields).write_with(&[], &mut head);
    let onward = Onward {
        head,
        end_of_stream: seen.end_of_stream,
        #[cfg(feature = "limits")]
        limited: limits::take(cache),
    };
    Asking { onward, rule: seen.rule_index, about, bytes: 0, ticket: None }
}

impl Asking {
    /// Whether it waits for the request's body.
    pub(super) const fn awaits_body(&self) -> bool {
        self.ticket.is_none()
    }

    /// Bytes of the request that it keeps.
    pub(super) fn kept_bytes(&self) -> usize {
        let body = if let About::Accept { body, .. } = &self.about { body.capacity() } else { 0 };
        self.onward.head.capacity().saturating_add(body).saturating_add(self.bytes)
    }

    /// A part of the body has come.
    pub(super) fn on_chunk(
        mut self: Box<Self>,
        chunk: &[u8],
        end_of_stream: bool,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> Then {
        if let Some((ticket, ..)) = self.ticket {
            return Then::Await(Held::Job(self), Until::Ticket(ticket));
        }
        let most = cache.policy().remote.object_bytes;
        let About::Accept { body, .. } = &mut self.about else {
            return unavailable(self.rule, cache);
        };
        if body.len().saturating_add(chunk.len()) > most {
            return too_large(self.rule, cache);
        }
        if !cache.has_room_to_wait(chunk.len()) || body.try_reserve(chunk.len()).is_err() {
            return unavailable(self.rule, cache);
        }
        body.extend_from_slice(chunk);
        match end_of_stream {
            true => self.accept(cache, moment),
            false => Then::Await(Held::Job(self), Until::Body),
        }
    }

    /// All of it is there.
    fn accept(mut self, cache: &mut Cache, moment: &mut Moment<'_>) -> Then {
        let policy = Rc::clone(cache.policy());
        let About::Accept { body, is_batch, .. } = &mut self.about else {
            return unavailable(self.rule, cache);
        };
        let (body, is_batch) = (std::mem::take(body), *is_batch);
        #[cfg(feature = "batch")]
        if is_batch && let Err(why) = policy.batch.as_ref().map_or(Ok(()), |batch| is_sound(&body, batch)) {
            return batch::refuse(why.0, &why.1, policy.rule(self.rule), cache);
        }
        let fields = Fields::parse(&self.onward.head).unwrap_or_default();
        let request = Request::read(fields, !body.is_empty());
        let Some(settings) = &policy.jobs else { return unavailable(self.rule, cache) };
        #[cfg(feature = "uploads")]
        if let Err(refused) = checked(&request, Some(&body), (self.rule, policy.rule(self.rule)), cache) {
            return refused;
        }
        let owner = cache.owner_of_job(&request, settings, moment);
        let is_known = cache.knows_owner_of_job(&request, settings, moment);
        let once = idempotency_key(fields).ok().flatten().map(|key| {
            let parts = [request.method, request.scheme, request.authority, request.target, &body];
            let owner = owner.to_le_bytes();
            let mut told: Vec<&[u8]> = vec![&owner, key];
            // Those of whom nothing is known must not meet: what else they show tells them apart.
            if !is_known {
                told.extend(fields.all(b"authorization").chain(fields.all(b"cookie")));
            }
            let key = digest("selvage 2026 idempotency key", &told);
            (key, digest("selvage 2026 request of a job", &parts))
        });
        let id = cache.draw_job_id(moment.now);
        // Its parts are asked for as if it had just come.
        let peer = if is_batch { moment.host.peer() } else { None };
        let payload = cache.sealed("q", id, &of_request(&request, peer.as_deref()), &body);
        self.bytes = payload.len();
        if let About::Accept { body: kept, is_batch: true, .. } = &mut self.about {
            *kept = body;
        }
        self.ask(Does::Accept { id, owner, once, most: settings.waiting, payload }, cache, moment)
    }

    fn ask(mut self, does: Does, cache: &mut Cache, moment: &Moment<'_>) -> Then {
        match cache.ask_of_job(does, moment.now) {
            Some((ticket, told)) => {
                let until = moment.now.plus(cache.policy().remote.timeout.saturating_mul(2));
                self.ticket = Some((ticket, told, until));
                Then::Await(Held::Job(Box::new(self)), Until::Ticket(ticket))
            }
            None => unavailable(self.rule, cache),
        }
    }

    /// Redis has answered, or something else has woken it.
    pub(super) fn on_wake(self: Box<Self>, cache: &mut Cache, moment: &mut Moment<'_>) -> Then {
        let Some((ticket, told, until)) = &self.ticket else {
            return Then::Await(Held::Job(self), Until::Body);
        };
        let taken = told.borrow_mut().take();
        let told = match taken {
            Some(told) => told,
            None if moment.now < *until => {
                let ticket = *ticket;
                return Then::Await(Held::Job(self), Until::Ticket(ticket));
            }
            None => Err(NoAnswer::Lost),
        };
        match told {
            Ok(answer) => self.told(answer, cache),
            Err(why) => self.failed(why, cache, moment),
        }
    }

    fn told(mut self, told: JobAnswer, cache: &mut Cache) -> Then {
        let rule = self.rule;
        match (&self.about, told) {
            (About::Accept { preferred, .. }, JobAnswer::Accepted { id, again }) => {
                cache.stats.count("jobs", if again { "repeated" } else { "accepted" });
                let preferred = *preferred;
                self.accepted(id, preferred, cache)
            }
            (About::Accept { .. }, JobAnswer::OtherRequest) => {
                problem(422, "Another request came with this Idempotency-Key", &[], rule, cache)
            }
            (About::Look { id, .. }, JobAnswer::Is(is)) => show(*id, &self.about, *is, rule, cache),
            (About::Cancel { .. }, JobAnswer::Gone { was_open }) => {
                if was_open {
                    cache.stats.count("jobs", "cancelled");
                }
                let fields = [(&b"cache-control"[..], &b"no-store"[..])];
                said(204, &fields, b"", rule, cache)
            }
            (About::Look { .. } | About::Cancel { .. }, JobAnswer::None) => not_found(rule, cache),
            _ => unavailable(rule, cache),
        }
    }

    fn accepted(&mut self, id: u128, preferred: bool, cache: &mut Cache) -> Then {
        let policy = Rc::clone(cache.policy());
        let mut place = policy.jobs.as_ref().map(|jobs| jobs.prefix().to_vec()).unwrap_or_default();
        place.extend_from_slice(format!("/{id:032x}").as_bytes());
        let mut fields: Vec<(&[u8], &[u8])> = vec![
            (b"content-type", b"application/json"),
            (b"cache-control", b"no-store"),
            (b"location", &place),
            (b"retry-after", b"1"),
        ];
        if preferred {
            fields.push((b"preference-applied", b"respond-async"));
        }
        #[cfg(feature = "limits")]
        let lines =
            self.onward.limited.take().map(|limited| limits::fields(&limited, cache)).unwrap_or_default();
        #[cfg(feature = "limits")]
        fields.extend(lines.iter().map(|(name, value)| (*name, &**value)));
        let mut content = Members::default();
        content.put("id", &format!("{id:032x}"));
        content.put("state", State::Waiting.as_str());
        said(202, &fields, &bytes(content.end()), self.rule, cache)
    }

    /// Redis could not be asked, or has not answered.
    fn failed(self, why: NoAnswer, cache: &mut Cache, moment: &mut Moment<'_>) -> Then {
        let policy = Rc::clone(cache.policy());
        let forwards = policy.jobs.as_ref().is_some_and(|jobs| jobs.on_failure == JobsOnFailure::Forward);
        // What Redis may have accepted is not done here as well.
        if forwards && why != NoAnswer::Lost && matches!(self.about, About::Accept { .. }) {
            cache.stats.count("jobs", "forwarded");
            #[cfg(feature = "batch")]
            if let About::Accept { body, is_batch: true, .. } = &self.about {
                return batch::run(&self.onward.head, body, self.rule, cache, moment);
            }
            return Then::Go(Box::new(self.onward));
        }
        unavailable(self.rule, cache)
    }
}

/// The state of a job, or its response.
fn show(id: u128, about: &About, mut is: Standing, rule: usize, cache: &mut Cache) -> Then {
    let result = std::mem::take(&mut is.result);
    if !matches!(about, About::Look { content: true, .. }) {
        let fields: [(&[u8], &[u8]); 3] =
            [(b"content-type", b"application/json"), (b"cache-control", b"no-store"), (b"retry-after", b"1")];
        let is_over = !matches!(is.state, State::Waiting | State::Running);
        let fields = fields.get(..if is_over { 2 } else { 3 }).unwrap_or_default();
        return said(200, fields, &bytes(shown(id, &is)), rule, cache);
    }
    match is.state {
        State::Done if !is.has_result => {
            problem(410, "The response was too large to be kept", &[], rule, cache)
        }
        State::Done => match cache.opened("r", id, result).filter(is_response) {
            Some(payload) => {
                let head = payload.fields();
                // It is for who has accepted the job: no cache on the way is told otherwise.
                let is_kept = |name: &[u8]| {
                    name.first() != Some(&b':')
                        && !matches!(
                            name,
                            b"cache-control" | b"expires" | b"cdn-cache-control" | b"surrogate-control"
                        )
                };
                let mut fields: Vec<(&[u8], &[u8])> = head.iter().filter(|(name, _)| is_kept(name)).collect();
                fields.push((b"cache-control", b"private, no-store"));
                said(status_of(head), &fields, payload.body(), rule, cache)
            }
            None => {
                cache.stats.count("jobs", "bad");
                problem(502, "The response that was kept cannot be read", &[], rule, cache)
            }
        },
        State::Waiting | State::Running => {
            problem(409, "The job is not done yet", &[(b"retry-after", b"1")], rule, cache)
        }
        State::Dead => problem(409, "The job was tried often enough, and is dead", &[], rule, cache),
        State::Cancelled => problem(409, "The job was cancelled", &[], rule, cache),
    }
}

fn is_response(payload: &Payload) -> bool {
    (200..=599).contains(&status_of(payload.fields()))
}

/// The state of a job as JSON.
fn shown(id: u128, is: &Standing) -> Value {
    let moment = |millis: u64| Timestamp::from_millis(millis).to_rfc3339();
    let mut json = Members::default();
    json.put("attempt", &is.attempt);
    json.put("created", &moment(is.created));
    json.put("id", &format!("{id:032x}"));
    let is_over = !matches!(is.state, State::Waiting | State::Running);
    json.put(if is_over { "ended" } else { "next" }, &moment(is.next));
    if is.why != "-" {
        json.put("failure", &is.why);
    }
    let (done, of) = is.progress;
    if of > 0 {
        let mut progress = Members::default();
        progress.put("done", &done);
        progress.put("of", &of);
        json.give("progress", progress.end());
    }
    if is.state == State::Done {
        json.put("result", if is.has_result { "kept" } else { "too large" });
        json.put("status", &is.status);
    }
    json.put("state", is.state.as_str());
    json.end()
}

fn bytes(json: Value) -> Vec<u8> {
    let mut text = json.to_string();
    text.push('\n');
    text.into_bytes()
}

fn said(status: u16, fields: &[(&[u8], &[u8])], content: &[u8], rule: usize, cache: &mut Cache) -> Then {
    let policy = Rc::clone(cache.policy());
    answer(status, Detail::Job, fields, content, policy.rule(rule), cache)
}

/// An answer that says what is wrong (RFC 9457).
fn problem(status: u16, title: &str, more: &[(&[u8], &[u8])], rule: usize, cache: &mut Cache) -> Then {
    let mut json = Members::default();
    json.put("status", &status);
    json.put("title", title);
    let mut fields: Vec<(&[u8], &[u8])> =
        vec![(b"content-type", b"application/problem+json"), (b"cache-control", b"no-store")];
    fields.extend_from_slice(more);
    said(status, &fields, &bytes(json.end()), rule, cache)
}

fn not_found(rule: usize, cache: &mut Cache) -> Then {
    problem(404, "There is no such job", &[], rule, cache)
}

fn too_large(rule: usize, cache: &mut Cache) -> Then {
    problem(413, "The request is too large to be done later", &[], rule, cache)
}

/// It cannot be known, or kept, at this moment.
fn unavailable(rule: usize, cache: &mut Cache) -> Then {
    cache.stats.count("jobs", "unavailable");
    problem(503, "Jobs cannot be kept or asked for now", &[(b"retry-after", b"1")], rule, cache)
}
