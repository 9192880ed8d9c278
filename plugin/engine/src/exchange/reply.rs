//! Makes replies out of stored responses: whole, in part, or as 304 (RFC 9111 §4.3.2, RFC 9110 §14, §15.4.5).

use super::{ContentTypeFix, Reply};
use crate::cache::Cache;
use crate::cache_status::Outcome;
use crate::coding::head::ACCEPT_ENCODING;
use crate::fields::FieldBlock;
use crate::freshness::date_of;
use crate::precondition::{self, Outcome as Precondition, Validators};
use crate::range::{self, RangeOutcome};
use crate::request::{MethodKind, Request};
use crate::storability::is_bodiless;
use crate::store::form::{Form, View};
use crate::store::response::StoredResponse;
use crate::time::Timestamp;

/// The form in which a stored response is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// As it is.
    Whole,
    /// As it is, without its content: for HEAD.
    Head,
    /// 304: the client has it.
    NotModified,
    /// 206 with these bytes, first and last.
    Part(usize, usize),
    /// 416: the range is past its end.
    Unsatisfiable,
}

impl Shape {
    /// Judges the request's conditions against the stored response.
    #[inline]
    pub(super) fn for_request(request: &Request<'_>, stored: &StoredResponse, form: &Form) -> Self {
        let whole = if request.is_head() { Self::Head } else { Self::Whole };
        if stored.status != 200
            || !(request.conditional || request.range.is_some())
            || !matches!(request.method_kind(), MethodKind::Get | MethodKind::Head)
        {
            return whole;
        }
        let fields = stored.fields.fields();
        let date = date_of(fields).or(Some(stored.schedule.received));
        let view = View::new(stored, form);
        let validators = Validators { etag: view.etag(), last_modified: stored.last_modified(), date };
        if request.conditional
            && precondition::evaluate(request.fields, validators) == Precondition::NotModified
        {
            return Self::NotModified;
        }
        // The parts of a form that was made here are nothing a client could ask for.
        let ranges = !request.is_head() && !matches!(form, Form::Gzip) && !stored.is_minified();
        let Some(wanted) = request.range.filter(|_| ranges) else { return whole };
        if let Some(if_range) = request.if_range
            && !range::if_range_matches(if_range, view.etag(), stored.last_modified(), date)
        {
            return whole;
        }
        match range::Range::parse(wanted, view.body.len()) {
            RangeOutcome::Ignore => whole,
            RangeOutcome::Satisfiable { first, last } => Self::Part(first, last),
            RangeOutcome::Unsatisfiable => Self::Unsatisfiable,
        }
    }
}

/// A reply from a stored response in this form, with `Age`, `Cache-Status` and the `extra` fields.
#[inline]
pub(super) fn from_store(
    stored: &StoredResponse,
    form: &Form,
    shape: Shape,
    outcome: &Outcome,
    extra: &[(&[u8], &[u8])],
    cache: &mut Cache,
    now: Timestamp,
) -> Reply {
    let mut digits = itoa::Buffer::new();
    let age = digits.format(stored.schedule.age(now).as_secs()).as_bytes();
    let mut status_line = std::mem::take(&mut cache.scratch.status);
    status_line.clear();
    if !outcome.silent {
        outcome.write(cache.policy().cache_status_name.as_bytes(), &mut status_line);
    }
    let mut fields = std::mem::take(&mut cache.scratch.reply);
    fields.clear();
    let view = View::new(stored, form);
    // The outer ones only where they are due.
    let own: [(&[u8], &[u8]); 3] =
        [(b"vary", ACCEPT_ENCODING), (b"age", age), (b"cache-status", &status_line)];
    let (said, own) = match (view.adds_vary, outcome.silent) {
        (true, false) => (&own[2..], &own[..]),
        (false, false) => (&own[2..], &own[1..]),
        (true, true) => (&own[3..], &own[..2]),
        (false, true) => (&own[3..], &own[1..2]),
    };
    let reply = match shape {
        Shape::Head => {
            view.fields.write_with(&[own, extra].concat(), &mut fields);
            for_head(whole(stored.status, view, fields))
        }
        Shape::Whole if extra.is_empty() => {
            view.fields.write_with(own, &mut fields);
            whole(stored.status, view, fields)
        }
        Shape::Whole => {
            view.fields.write_with(&[own, extra].concat(), &mut fields);
            whole(stored.status, view, fields)
        }
        Shape::NotModified => {
            let kept: FieldBlock =
                view.fields.fields().iter().filter(|(name, _)| !describes_content(name)).collect();
            kept.write_with(&[own, extra].concat(), &mut fields);
            Reply::made(304, fields, Vec::new())
        }
        Shape::Part(first, last) => {
            let content_range = range::content_range(first, last, view.body.len());
            let part: [(&[u8], &[u8]); 1] = [(b"content-range", &content_range)];
            let range = first..last.saturating_add(1);
            let whole_only =
                |name: &[u8]| matches!(name, b"content-range" | b"content-md5" | b"content-digest");
            let kept: FieldBlock =
                view.fields.fields().iter().filter(|(name, _)| !whole_only(name)).collect();
            kept.write_with(&[own, &part, extra].concat(), &mut fields);
            Reply { range, ..whole(206, view, fields) }
        }
        Shape::Unsatisfiable => {
            let content_range = range::unsatisfied_range(view.body.len());
            let mut block = FieldBlock::new();
            block.push(b"content-range", &content_range);
            block.write_with(said, &mut fields);
            Reply::made(416, fields, Vec::new())
        }
    };
    cache.scratch.status = status_line;
    reply
}

/// Bytes of the body that a reply sends.
#[inline]
pub(super) fn sent(reply: &Reply, request: &Request<'_>) -> usize {
    if request.is_head() { 0 } else { reply.range.len() }
}

/// Bytes of the content that a reply in this shape has.
pub(super) fn length(stored: &StoredResponse, form: &Form, shape: Shape) -> usize {
    match shape {
        Shape::Whole | Shape::Head => View::new(stored, form).body.len(),
        Shape::Part(first, last) => last.saturating_add(1).saturating_sub(first),
        Shape::NotModified | Shape::Unsatisfiable => 0,
    }
}

/// 504 for a client that wants only what is stored.
pub(super) fn gateway_timeout(outcome: &Outcome, cache: &mut Cache) -> Reply {
    Reply::saying(504, outcome, cache.policy().cache_status_name.as_bytes(), &[], b"")
}

/// 503 for a client whose answer the origin has confirmed, and which is not there any more: it has only to ask again.
pub(super) fn nothing_to_send(outcome: &Outcome, cache: &mut Cache) -> Reply {
    origin_open(outcome, 0, cache)
}

/// 503 while the origin is left alone.
pub(super) fn origin_open(outcome: &Outcome, retry_after: u64, cache: &mut Cache) -> Reply {
    let mut digits = itoa::Buffer::new();
    let fields: [(&[u8], &[u8]); 1] = [(b"retry-after", digits.format(retry_after).as_bytes())];
    Reply::saying(503, outcome, cache.policy().cache_status_name.as_bytes(), &fields, b"")
}

/// Without content GET would say so by its length, and so HEAD has to (RFC 9110 §8.6).
fn for_head(mut reply: Reply) -> Reply {
    if reply.body.is_empty() && !is_bodiless(reply.status) {
        let kind = match reply.mend {
            Some(ContentTypeFix::AddContentType(kind)) => Some(kind),
            _ => None,
        };
        reply.mend = Some(ContentTypeFix::AddLength(kind));
    }
    reply
}

fn whole(status: u16, view: View<'_>, fields: Vec<u8>) -> Reply {
    let content_type = view.fields.fields().get(b"content-type");
    let mend = match (content_type, view.body.is_empty()) {
        (None, false) => Some(ContentTypeFix::RemoveContentType),
        (Some(kind), true) => Some(ContentTypeFix::AddContentType(kind.to_vec())),
        _ => None,
    };
    Reply { status, fields, body: view.body.clone(), range: 0..view.body.len(), mend }
}

/// Fields of the content that a 304 leaves out (RFC 9110 §15.4.5).
fn describes_content(name: &[u8]) -> bool {
    matches!(
        name,
        b"content-type"
            | b"content-encoding"
            | b"content-language"
            | b"content-range"
            | b"content-md5"
            | b"content-digest"
    )
}
