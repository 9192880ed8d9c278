//! Requests of operators: `PURGE` on a URL, and `POST /.selvage/purge`.

use serde_json::{Value, json};

use super::lookup::rule_of;
use super::{Directive, Reply, State};
use crate::cache::{Cache, Moment};
use crate::fields::FieldBlock;
use crate::key::{self, uri};
use crate::purge::gate::Admission;
use crate::purge::request::{self, Asked, Item};
use crate::purge::{Mode, What, hash_of_url};
use crate::request::Request;
use crate::store::response::Body;

/// A request whose body says what to purge.
pub(super) struct Purging {
    body: Vec<u8>,
}

/// Takes an operator's request, if it is one and there is a gate for it.
pub(super) fn begin(
    request: &Request<'_>,
    end_of_stream: bool,
    cache: &mut Cache,
    moment: &mut Moment<'_>,
) -> Option<(State, Directive)> {
    let by_method = request.method == b"PURGE";
    if !cache.gate().is_there() || !by_method && request.path() != request::PATH {
        return None;
    }
    let refused = match cache.gate().admit(request.fields) {
        Admission::Granted => None,
        Admission::Unauthorized => {
            Some((401, "a token is wanted", Some((&b"www-authenticate"[..], &b"Bearer"[..]))))
        }
        Admission::Forbidden => Some((403, "another token is wanted", None)),
    };
    let refused = refused.or_else(|| {
        (!by_method && request.method != b"POST").then_some((
            405,
            "POST is wanted",
            Some((b"allow", b"POST")),
        ))
    });
    if let Some((status, error, field)) = refused {
        cache.stats.count("purge", "refused");
        return Some(answered(status, &json!({ "error": error }), field));
    }
    if by_method {
        let soft = request.fields.get(b"selvage-purge").is_some_and(|mode| mode.trim_ascii() == b"soft");
        let mut authority = Vec::new();
        uri::normalize_authority(request.authority, request.scheme, &mut authority);
        let url = String::from_utf8_lossy(&[&authority[..], request.target].concat()).into_owned();
        let item = Item::Url { authority, target: request.target.to_vec() };
        let asked = Asked { items: vec![item], mode: if soft { Mode::Soft } else { Mode::Hard } };
        return Some(accept(&asked, json!({ "urls": [url] }), cache, moment));
    }
    let purging = Purging { body: Vec::new() };
    Some(match end_of_stream {
        true => purging.finish(cache, moment),
        false => (State::Purging(Box::new(purging)), Directive::AwaitBody),
    })
}

impl Purging {
    /// A part of the body has come.
    pub(super) fn on_chunk(
        mut self: Box<Self>,
        chunk: &[u8],
        end_of_stream: bool,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> (State, Directive) {
        let fits = self.body.len().saturating_add(chunk.len()) <= request::LONGEST_BODY;
        if !fits || self.body.try_reserve(chunk.len()).is_err() {
            cache.stats.count("purge", "refused");
            return answered(413, &json!({ "error": "body: at most 256 KiB" }), None);
        }
        self.body.extend_from_slice(chunk);
        if end_of_stream { self.finish(cache, moment) } else { (State::Purging(self), Directive::AwaitBody) }
    }

    fn finish(&self, cache: &mut Cache, moment: &mut Moment<'_>) -> (State, Directive) {
        match request::parse(&self.body) {
            Ok(asked) => {
                let count = |kind: &str| asked.items.iter().filter(|item| kind_of(item) == kind).count();
                let what = match serde_json::from_slice(&self.body) {
                    Ok(what) if self.body.len() <= LONGEST_NOTE => what,
                    _ => json!({ "urls": count("url"), "tags": count("tag"), "prefixes": count("prefix"),
                                 "all": count("all") }),
                };
                accept(&asked, what, cache, moment)
            }
            Err(fault) => {
                cache.stats.count("purge", "refused");
                let error = json!({ "error": fault.allowed, "path": fault.path });
                answered(400, &error, None)
            }
        }
    }
}

/// Purges, writes down who wanted it, and answers.
fn accept(asked: &Asked, what: Value, cache: &mut Cache, moment: &mut Moment<'_>) -> (State, Directive) {
    let items: Vec<What> = asked.items.iter().map(|item| what_of(item, cache)).collect();
    let purged = items.len();
    let soft = asked.mode == Mode::Soft;
    cache.stats.count("purge", "accepted");
    cache.purge(items, asked.mode, moment);
    let peer = moment.host.peer().map(|peer| String::from_utf8_lossy(&peer).into_owned());
    let note = json!({
        "event": "purge", "at_ms": moment.now.as_millis(), "peer": peer,
        "token": cache.gate().credentials(), "soft": soft, "what": what,
    });
    moment.host.note(&note.to_string());
    answered(200, &json!({ "purged": purged, "soft": soft }), None)
}

/// A URL is purged as the rule that it falls under keys it.
fn what_of(item: &Item, cache: &Cache) -> What {
    let (authority, target) = match item {
        Item::Url { authority, target } => (authority, target),
        Item::Other(what) => return what.clone(),
    };
    let as_get = Request { method: b"GET", authority, target, ..Request::default() };
    let (_, rule) = rule_of(cache.policy(), &as_get);
    let mut canonical = Vec::new();
    key::canonical_target(target, &rule.key.query, &mut canonical);
    What::Url(hash_of_url(authority, &canonical))
}

fn kind_of(item: &Item) -> &'static str {
    match item {
        Item::Url { .. } => "url",
        Item::Other(what) => what.as_str(),
    }
}

fn answered(status: u16, body: &Value, field: Option<(&[u8], &[u8])>) -> (State, Directive) {
    let mut block = FieldBlock::new();
    block.push(b"content-type", b"application/json");
    block.push(b"cache-control", b"no-store");
    if let Some((name, value)) = field {
        block.push(name, value);
    }
    let mut fields = Vec::new();
    block.write_with(&[], &mut fields);
    let body = Body::new(body.to_string().into_bytes());
    let range = 0..body.len();
    (State::Finished, Directive::Respond(Reply { status, fields, body, range, mend: None }))
}

/// A longer body is written down as counts.
const LONGEST_NOTE: usize = 8 << 10;
