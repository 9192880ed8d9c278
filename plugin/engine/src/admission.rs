//! What is settled about a request before anything is looked up: its rule, whether the cache takes part, and what it asks of
//! caches.

use crate::cache_control::RequestDirectives;
use crate::cache_status::{Detail, Forward};
use crate::firewall::{self, RequestView, Vector};
use crate::policy::{Cookies, Policy, RequestDirectives as Obey, Rule};
use crate::request::{MethodKind, Request};
use crate::storability::Asked;
use crate::uri;

/// The rule for a request and its index.
pub(crate) fn rule_of<'p>(policy: &'p Policy, request: &Request<'_>) -> (usize, &'p Rule) {
    if !policy.has_rules() {
        return policy.rule_for(b"", b"", b"");
    }
    matched(request, |host, path, method| policy.rule_for(host, path, method))
}

/// Asks with what rules are matched with: host, path and method of a request.
#[inline]
pub(crate) fn matched<R>(request: &Request<'_>, ask: impl FnOnce(&[u8], &[u8], &[u8]) -> R) -> R {
    let host = uri::host_of(request.authority);
    let path = request.path();
    // The path that is keyed and forwarded chooses the rule, not another spelling of it.
    let mut normal = Vec::new();
    let path = if path.contains(&b'%') || path.windows(2).any(|pair| pair == b"/.") {
        uri::normalize_path(path, &mut normal);
        normal.as_slice()
    } else {
        path
    };
    // GET and HEAD share a stored response, so they share a rule.
    let method = if request.is_head() { b"GET" } else { request.method };
    if host.iter().any(u8::is_ascii_uppercase) {
        return ask(&host.to_ascii_lowercase(), path, method);
    }
    ask(host, path, method)
}

/// Whether the key of a request with this method has its body.
#[inline]
fn keys_body(request: &Request<'_>, rule: &Rule) -> bool {
    rule.key.body.as_ref().is_some_and(|body| body.methods.iter().any(|m| **m == *request.method))
}

/// Whether the body of a request may be in its key, or is read for what it asks.
#[cfg(any(feature = "uploads", feature = "sessions", feature = "limits"))]
pub(crate) fn reads_body(request: &Request<'_>, rule: &Rule) -> bool {
    let keyed = !rule.bypass && keys_body(request, rule);
    #[cfg(feature = "llm")]
    return keyed || crate::llm::reads(request, rule);
    #[cfg(not(feature = "llm"))]
    keyed
}

/// Why the cache stays out of a request from the first; if it does not, whether the request's body is in its key. The
/// request is marked by its rule.
#[inline]
pub(crate) fn stays_out(request: &mut Request<'_>, rule: &Rule) -> Result<bool, (Forward, Option<Detail>)> {
    let bypass = |detail| Err((Forward::Bypass, Some(detail)));
    if rule.bypass {
        return bypass(Detail::Rule);
    }
    let body_keyed = keys_body(request, rule);
    #[cfg(feature = "llm")]
    if rule.stores_answers()
        && let Some(detail) = crate::llm::stays_out(request, rule)
    {
        return bypass(detail);
    }
    if !body_keyed && !matches!(request.method_kind(), MethodKind::Get | MethodKind::Head) {
        return Err((Forward::Method, None));
    }
    let (verdict, marks) = firewall::inspect_and_mark(&view_of(request, rule));
    request.mark(marks);
    if let Some(vector) = verdict.vector().or_else(|| scheme_mismatch(request)) {
        // What follows the head of a websocket's request is no body.
        let talks = request.upgrade && vector == Vector::GetWithBody;
        return bypass(if talks { Detail::Upgrade } else { Detail::Firewall(vector) });
    }
    if request.upgrade {
        return bypass(Detail::Upgrade);
    }
    if body_keyed && request.origin_precondition {
        return bypass(Detail::Precondition);
    }
    if rule.cookies == Cookies::Bypass && request.cookie {
        return bypass(Detail::Cookie);
    }
    Ok(body_keyed)
}

/// Why the firewall keeps a request away from the cache.
pub(crate) fn refusal(request: &Request<'_>, rule: &Rule) -> Option<Vector> {
    firewall::inspect(&view_of(request, rule)).vector().or_else(|| scheme_mismatch(request))
}

/// The origin may be told another scheme than the key has.
#[inline]
fn scheme_mismatch(request: &Request<'_>) -> Option<Vector> {
    let told = request.forwarded_proto?;
    (!told.trim_ascii().eq_ignore_ascii_case(request.scheme)).then_some(Vector::SchemeMismatch)
}

/// A request with what its rule makes of its fields.
pub(crate) fn marked<'a>(request: Request<'a>, rule: &Rule) -> Request<'a> {
    request.marked(firewall::inspect_and_mark(&view_of(&request, rule)).1)
}

/// What the firewall sees of a request.
#[inline]
pub(crate) fn view_of<'a>(request: &Request<'a>, rule: &'a Rule) -> RequestView<'a> {
    RequestView {
        method: request.method,
        target: request.target,
        scheme: request.scheme,
        authority: request.authority,
        has_body: request.has_body,
        fields: request.fields,
        tainting: &rule.tainting_headers,
        keyed_headers: &rule.key.headers,
        credentials: &rule.credential_headers,
        switches: &rule.vary.require,
        watched: &rule.watched,
    }
}

/// What storability depends on about a request.
pub(crate) fn asked(request: &Request<'_>, rule: &Rule) -> Asked {
    let credentials_keyed = rule.key.headers.iter().any(|name| **name == *b"authorization");
    Asked {
        // Who asks for an answer of a language model is in its key, as far as the operator wants it.
        authorization: !rule.stores_answers()
            && (request.authorization && !credentials_keyed || request.credentials),
        no_store: request.directives.no_store && rule.request_directives == Obey::Honour
            || asks_for_the_rest(request, rule),
        special: request.range.is_some() || request.expect,
        switches: request.switches,
    }
}

/// Whether a request is for the rest of a stream of which its client has the beginning.
#[cfg(feature = "llm")]
fn asks_for_the_rest(request: &Request<'_>, rule: &Rule) -> bool {
    crate::llm::last_event_id(request, rule).is_some()
}

/// Whether a request brings nothing by which it may get another response than one of the cache's own gets, which has neither
/// credentials nor cookies.
#[inline]
pub(crate) fn is_anonymous(request: &Request<'_>, rule: &Rule) -> bool {
    !(request.authorization || request.credentials || request.cookie && rule.cookies != Cookies::Ignore)
}

/// No stream is known.
#[cfg(not(feature = "llm"))]
const fn asks_for_the_rest(_request: &Request<'_>, _rule: &Rule) -> bool {
    false
}

/// What a request asks of caches, as far as its rule obeys it.
#[inline]
pub(crate) fn asks_of(request: &Request<'_>, rule: &Rule) -> RequestDirectives {
    if rule.request_directives == Obey::Honour { request.directives } else { RequestDirectives::default() }
}
