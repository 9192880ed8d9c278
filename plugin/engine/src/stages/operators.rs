//! The door for operators: one gate, and behind it a table of paths.
//!
//! A new endpoint is one more line in [`ENDPOINTS`] and a function that answers it. What comes through the door never goes
//! to the origin, for it may show a token; where there is no gate there is no door. Only the page, which holds nothing, is
//! before the gate.

mod explaining;
mod informing;
#[cfg(feature = "jobs")]
mod jobs;
mod page;
mod purging;
mod warming;

#[cfg(feature = "jobs")]
pub(crate) use jobs::Inquiring;
pub(crate) use purging::Purging;

use std::time::Duration;

use serde_json::{Value, json};

use super::{Held, Seen, Then, Until};
use crate::cache::{Cache, Moment};
use crate::fields::FieldBlock;
use crate::purge::admin_auth::Admission;
use crate::purge::guesses::{TRIES, WINDOW};
use crate::purge::request::LONGEST_BODY;
use crate::reply::Reply;
use crate::request::Request;

/// What operators may ask for.
const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        path: b"/.selvage/explain",
        family: "explain",
        methods: &[
            (b"GET", Handler::Ask(explaining::by_query)),
            (
                b"POST",
                Handler::Read(|body, cache, moment| {
                    answered(&explaining::by_body(body, cache, moment), None)
                }),
            ),
        ],
    },
    Endpoint {
        path: b"/.selvage/purge",
        family: "purge",
        methods: &[(b"GET", Handler::Tell(purging::pending)), (b"POST", Handler::Read(purging::by_body))],
    },
    Endpoint {
        path: b"/.selvage/warm",
        family: "warm",
        methods: &[
            (b"GET", Handler::Tell(warming::progress)),
            (
                b"POST",
                Handler::Read(|body, cache, moment| answered(&warming::by_body(body, cache, moment), None)),
            ),
        ],
    },
    Endpoint {
        path: b"/.selvage/health",
        family: "admin",
        methods: &[(b"GET", Handler::Tell(informing::health))],
    },
    Endpoint {
        path: b"/.selvage/stats",
        family: "admin",
        methods: &[(b"GET", Handler::Tell(informing::stats))],
    },
    Endpoint {
        path: b"/.selvage/report",
        family: "admin",
        methods: &[(b"GET", Handler::Tell(informing::report))],
    },
    Endpoint {
        path: b"/.selvage/budgets",
        family: "admin",
        methods: &[(b"GET", Handler::Tell(informing::budgets))],
    },
    #[cfg(feature = "jobs")]
    Endpoint {
        path: b"/.selvage/jobs",
        family: "admin",
        methods: &[(b"GET", Handler::Look(jobs::list)), (b"POST", Handler::Read(jobs::by_body))],
    },
    #[cfg(feature = "foresight")]
    Endpoint {
        path: b"/.selvage/forecast",
        family: "admin",
        methods: &[(b"GET", Handler::Tell(informing::forecast))],
    },
    Endpoint {
        path: b"/.selvage/recommendations",
        family: "admin",
        methods: &[(b"GET", Handler::Tell(informing::recommendations))],
    },
    Endpoint {
        path: b"/.selvage/resources",
        family: "admin",
        methods: &[(b"GET", Handler::Tell(informing::resources))],
    },
    Endpoint {
        path: b"/.selvage/config",
        family: "admin",
        methods: &[(b"GET", Handler::Tell(informing::config))],
    },
    Endpoint {
        path: b"/.selvage/optimize",
        family: "admin",
        methods: &[(
            b"POST",
            Handler::Read(|body, cache, moment| answered(&informing::optimize(body, cache, moment), None)),
        )],
    },
];

/// What all their paths begin with.
const UNDER: &[u8] = b"/.selvage/";

/// One path.
struct Endpoint {
    path: &'static [u8],
    /// Where what is refused is counted, as `refused`.
    family: &'static str,
    methods: &'static [(&'static [u8], Handler)],
}

/// What answers a method of a path.
#[derive(Clone, Copy)]
enum Handler {
    /// At once.
    Tell(fn(&mut Cache, &mut Moment<'_>) -> Answer),
    /// When something outside has answered.
    #[cfg(feature = "jobs")]
    Look(fn(&mut Cache, &mut Moment<'_>) -> Then),
    /// At once, from the request's head.
    Ask(fn(&Request<'_>, &mut Cache, &mut Moment<'_>) -> Answer),
    /// When the request's body has come, or a moment later.
    Read(Reads),
}

type Reads = fn(&[u8], &mut Cache, &mut Moment<'_>) -> Then;

/// An answer to an operator.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
}

/// An operator's request whose body is still coming.
pub(crate) struct Operating {
    body: Vec<u8>,
    family: &'static str,
    reads: Reads,
}

impl Operating {
    /// Bytes of the request that it keeps.
    pub(super) fn kept_bytes(&self) -> usize {
        self.body.capacity()
    }
}

/// Takes an operator's request, if it is one and there is a gate for it.
pub(super) fn enter(seen: &Seen<'_>, cache: &mut Cache, moment: &mut Moment<'_>) -> Option<Then> {
    if !cache.gate().is_there() {
        return None;
    }
    let Seen { request, end_of_stream, .. } = *seen;
    let is_allowed = cache.policy().admin_hosts.allow(request.authority);
    if is_allowed && let Some(page) = page::answer(request) {
        return Some(page);
    }
    let by_method = request.method == b"PURGE";
    let path = request.path();
    if !by_method && !path.starts_with(UNDER) && !page::is_at(path) {
        return None;
    }
    let endpoint = ENDPOINTS.iter().find(|endpoint| endpoint.path == path);
    let family = if by_method { "purge" } else { endpoint.map_or("admin", |endpoint| endpoint.family) };
    let kept_out = kept_out(cache, moment);
    let admission = cache.gate().admit(request.fields);
    // HEAD is GET without the content (RFC 9110 §9.3.2); the host leaves that off.
    let method = if request.is_head() { b"GET" } else { request.method };
    let is_foreign = method != b"GET" && cache.gate().lets_sites_in(request);
    let mut refuse = |status, error: &str, field: Option<(&[u8], &[u8])>| {
        cache.stats.count(family, "refused");
        if matches!(status, 401 | 403 | 421 | 429) {
            note_refusal(status, request, cache, moment);
        }
        Some(answered(&Answer { status, body: json!({ "error": error }) }, field))
    };
    if !is_allowed {
        return refuse(421, "admin.hosts does not list this host", None);
    }
    if let Some(left) = kept_out {
        let seconds = left.as_secs().saturating_add(1).to_string();
        return refuse(
            429,
            "too many wrong tokens from this address",
            Some((b"retry-after", seconds.as_bytes())),
        );
    }
    match admission {
        Admission::Granted => {}
        Admission::Unauthorized => {
            return refuse(401, "a token is wanted", Some((b"www-authenticate", b"Bearer")));
        }
        Admission::Forbidden => {
            let refused = refuse(403, "another token is wanted", None);
            note_guess(cache, moment);
            return refused;
        }
    }
    // What only tells may be asked for: the browser keeps the answer from the other site.
    if is_foreign {
        return refuse(403, "pages of other sites may change nothing here", None);
    }
    if by_method {
        return Some(purging::by_method(request, cache, moment));
    }
    let Some(endpoint) = endpoint else { return refuse(404, "no such path", None) };
    let Some((_, does)) = endpoint.methods.iter().find(|(known, _)| *known == method) else {
        let mut allowed: Vec<&[u8]> = endpoint.methods.iter().map(|(method, _)| *method).collect();
        let error = format!("{} is wanted", String::from_utf8_lossy(&allowed.join(&b" or "[..])));
        if allowed.contains(&&b"GET"[..]) {
            allowed.insert(1, b"HEAD");
        }
        return refuse(405, &error, Some((b"allow", &allowed.join(&b", "[..]))));
    };
    Some(match *does {
        Handler::Tell(tell) => answered(&tell(cache, moment), None),
        #[cfg(feature = "jobs")]
        Handler::Look(look) => look(cache, moment),
        Handler::Ask(ask) => answered(&ask(request, cache, moment), None),
        Handler::Read(reads) if end_of_stream => reads(b"", cache, moment),
        Handler::Read(reads) => {
            let operating = Operating { body: Vec::new(), family, reads };
            Then::Await(Held::Operating(operating), Until::Body)
        }
    })
}

impl Operating {
    /// A part of the body has come.
    pub(super) fn on_chunk(
        mut self,
        chunk: &[u8],
        end_of_stream: bool,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> Then {
        let fits = self.body.len().saturating_add(chunk.len()) <= LONGEST_BODY;
        if !fits || self.body.try_reserve(chunk.len()).is_err() {
            cache.stats.count(self.family, "refused");
            let body = json!({ "error": "body: at most 256 KiB" });
            return answered(&Answer { status: 413, body }, None);
        }
        self.body.extend_from_slice(chunk);
        match end_of_stream {
            true => (self.reads)(&self.body, cache, moment),
            false => Then::Await(Held::Operating(self), Until::Body),
        }
    }
}

/// How long the client is kept out for wrong tokens; counted, as it asks now.
pub(crate) fn kept_out(cache: &mut Cache, moment: &mut Moment<'_>) -> Option<Duration> {
    cache.gate().credentials()?;
    let peer = moment.host.peer().unwrap_or_default();
    let left = cache.guesses().kept_out(&peer, moment.now);
    if left.is_some() {
        cache.stats.count("admin", "kept-out");
    }
    left
}

/// The client has shown a wrong token.
pub(crate) fn note_guess(cache: &mut Cache, moment: &mut Moment<'_>) {
    let peer = moment.host.peer().unwrap_or_default();
    if cache.guesses().note(&peer, moment.now) {
        note("guessing", json!({ "wrong": TRIES, "kept_out_s": WINDOW.as_secs() }), cache, moment);
    }
}

/// Writes down who was refused what, but not each time.
pub(crate) fn note_refusal(status: u16, request: &Request<'_>, cache: &mut Cache, moment: &mut Moment<'_>) {
    let Some(left_out) = cache.guesses().line(moment.now) else { return };
    let shown = |text: &[u8]| {
        String::from_utf8_lossy(text.get(..text.len().min(LONGEST_SHOWN)).unwrap_or_default()).into_owned()
    };
    let what = json!({
        "status": status, "method": shown(request.method), "host": shown(request.authority),
        "path": shown(request.path()), "left_out": left_out,
    });
    note("refused", what, cache, moment);
}

/// Writes down who wanted something, and what.
pub(super) fn note(event: &str, what: Value, cache: &Cache, moment: &mut Moment<'_>) {
    let peer = moment.host.peer().map(|peer| String::from_utf8_lossy(&peer).into_owned());
    let mut note = json!({
        "event": event, "at_ms": moment.now.as_millis(), "peer": peer, "token": cache.gate().credentials(),
    });
    if let (Some(note), Value::Object(what)) = (note.as_object_mut(), what) {
        note.extend(what);
    }
    moment.host.note(&note.to_string());
}

/// Of what a refused request says, in bytes.
const LONGEST_SHOWN: usize = 128;

pub(super) fn answered(told: &Answer, field: Option<(&[u8], &[u8])>) -> Then {
    let mut block = FieldBlock::new();
    block.push(b"content-type", b"application/json");
    block.push(b"cache-control", b"no-store");
    if let Some((name, value)) = field {
        block.push(name, value);
    }
    let mut fields = Vec::new();
    block.write_with(&[], &mut fields);
    let content = told.body.to_string().into_bytes();
    Then::Respond(Reply::made(told.status, fields, content))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Not in the table: the page, which is before the gate.
    const OTHERS: [&str; 2] = ["/.selvage", "/.selvage/"];

    #[test]
    fn the_openapi_document_describes_every_endpoint_and_no_other() {
        let document: Value = serde_json::from_str(include_str!("../../../openapi.json")).unwrap();
        let mut described: Vec<String> = Vec::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            let methods = methods.as_object().unwrap().keys();
            described.extend(methods.map(|method| format!("{path} {}", method.to_uppercase())));
        }
        described.retain(|one| !OTHERS.contains(&one.split(' ').next().unwrap()));
        let methods = |endpoint: &Endpoint| {
            let name = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let path = name(endpoint.path);
            endpoint.methods.iter().map(|(method, _)| format!("{path} {}", name(method))).collect::<Vec<_>>()
        };
        let mut there: Vec<String> = ENDPOINTS.iter().flat_map(methods).collect();
        there.retain(|one| !OTHERS.contains(&one.split(' ').next().unwrap()));
        described.sort_unstable();
        there.sort_unstable();
        assert_eq!(described, there);
    }
}
