//! Why, by which rule, and what would change it: one entry for each word of `Cache-Status`.

use crate::cache_status::{Detail, Forward};
use crate::firewall::Vector;
use crate::storability::Refusal;
#[cfg(feature = "uploads")]
use crate::uploads::Objection;

/// What there is to say about a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The word.
    pub word: &'static str,
    /// What it means, in one line.
    pub why: &'static str,
    /// Where that is laid down; empty where the cache decides for itself.
    pub reference: &'static str,
    /// The configuration or the header that would change it; empty where nothing needs to be changed.
    pub change: &'static str,
}

/// The reason behind a detail.
pub fn of_detail(detail: Detail) -> Reason {
    let (why, reference, change) = match detail {
        Detail::Worker => ("it is in this worker's store", "RFC 9111 §4", ""),
        Detail::Node => ("it is in the store of all workers", "RFC 9111 §4", ""),
        Detail::Remote => ("it is in the store of the fleet", "RFC 9111 §4", ""),
        Detail::Validated => ("the origin has confirmed it with 304", "RFC 9111 §4.3.4", ""),
        Detail::StaleWhileRevalidate => (
            "it is stale and served while it is renewed: by a call (refresh.clusters), else by the next request",
            "RFC 5861 §3",
            "stale-while-revalidate of the origin, or stale.while_revalidate",
        ),
        Detail::StaleIfError => (
            "it is stale and stands in for an error of the origin",
            "RFC 5861 §4",
            "stale-if-error of the origin, or stale.if_error and stale.error_statuses",
        ),
        Detail::Disconnected => (
            "it is stale and stands in for an origin that cannot be reached",
            "RFC 9111 §4.2.4",
            "stale.disconnected, or must-revalidate of the origin",
        ),
        Detail::MaxStale => (
            "it is stale and the client accepts that",
            "RFC 9111 §5.2.1.2",
            "request_directives: \"ignore\", or must-revalidate of the origin",
        ),
        Detail::OnlyIfCached => (
            "the client wants only what is stored, and nothing is that it may have",
            "RFC 9111 §5.2.1.7",
            "the request without only-if-cached, or request_directives: \"ignore\"",
        ),
        Detail::OriginOpen => (
            "the origin fails or is slow and is left alone for a while",
            "",
            "mend the origin; origin_breaker says when and for how long",
        ),
        Detail::Rule => ("the rule bypasses the cache", "", "bypass: false in the rule, or a rule before it"),
        Detail::Shadow => (
            "a store has it, but the rule only watches what would be served",
            "",
            "shadow: false in the rule, once its comparisons show no mismatch",
        ),
        Detail::Cookie => (
            "the request has a cookie and the rule bypasses those",
            "",
            "cookies: \"isolate\" or \"ignore\" in the rule",
        ),
        Detail::Precondition => (
            "only the origin can judge If-Match and If-Unmodified-Since",
            "RFC 9110 §13.1",
            "the request without them",
        ),
        Detail::Upgrade => {
            ("the client wants another protocol", "RFC 9110 §7.8", "the request without Upgrade")
        }
        Detail::Firewall(vector) => of_vector(vector),
        Detail::NotStored(refusal) => of_refusal(refusal),
        Detail::TooLarge => (
            "it is larger than any store takes",
            "",
            "worker.object_bytes, node.object_bytes or remote.object_bytes (each at most its store's bytes)",
        ),
        Detail::FillingLimit => {
            ("too many bodies are being stored at this moment", "", "worker.filling_bytes")
        }
        Detail::WaitingLimit => (
            "requests that wait keep as many bytes as they may, so this one went to the origin at once",
            "",
            "worker.waiting_bytes",
        ),
        Detail::RequestBodyTooLarge => {
            ("the body that is in the key is longer than the rule allows", "", "key.body.max_bytes")
        }
        Detail::OtherValidator => (
            "the origin's 304 names another ETag or Last-Modified than the stored one",
            "RFC 9111 §4.3.4",
            "304 of the origin with the validator of what it confirms",
        ),
        Detail::ManyTags => (
            "the response has more tags than are kept, so every purge by tag covers it",
            "",
            "at most 2048 tags by response (a group of Cache-Groups counts as two)",
        ),
        #[cfg(feature = "pools")]
        Detail::Overload => (
            "as many requests are at the origin as its pool allows, and the queue is full or has been waited in enough",
            "RFC 9110 §15.6.4",
            "stale.if_error or stale.disconnected serve what is stored instead; admission: null asks it at once",
        ),
        #[cfg(feature = "limits")]
        Detail::Limited => (
            "the client has asked for more than a limit of the rule admits",
            "RFC 6585 §4",
            "limits of the rule, or the quota, window and burst of the limit",
        ),
        #[cfg(all(feature = "limits", feature = "llm"))]
        Detail::Budget => (
            "a budget of the rule is spent, or what is left of it is reserved for other requests",
            "RFC 6585 §4",
            "budgets of the rule, or money or tokens of the budget",
        ),
        #[cfg(feature = "jobs")]
        Detail::Job => (
            "the request is accepted as a job and done later, or asks for one",
            "RFC 7240 §4.1",
            "jobs of the rule, or a request without Prefer: respond-async",
        ),
        #[cfg(feature = "llm")]
        Detail::OtherApi => (
            "the rule stores answers of language models, and this is no POST with a body to a path of their API",
            "",
            "match of the rule, llm.api, or llm.cache: null",
        ),
        #[cfg(feature = "llm")]
        Detail::AmbiguousJson => (
            "the body is no JSON, or two readers could understand it differently: a member twice, half a character, 64 levels",
            "RFC 8259 §4",
            "the request with each member once, as UTF-8",
        ),
        #[cfg(feature = "llm")]
        Detail::NotDeterministic => (
            "the request has neither temperature 0 nor a seed, so the same question need not have the same answer",
            "",
            "llm.cache.when: \"all\", or the request with one of them",
        ),
        #[cfg(feature = "llm")]
        Detail::Stateful => (
            "the request takes part in what the provider keeps: a conversation, a container or a job in the background",
            "",
            "the request without conversation, container and background",
        ),
        #[cfg(feature = "llm")]
        Detail::NoAnswer => (
            "the response is neither JSON nor a stream of events, or has a Content-Encoding or no body",
            "",
            "an answer of the API, as it is, at the origin",
        ),
        #[cfg(feature = "llm")]
        Detail::Fallback => (
            "the model could not be asked or has failed, and another was asked instead; its answer is not stored",
            "",
            "llm.fallback of the rule",
        ),
        #[cfg(feature = "batch")]
        Detail::Batch => {
            ("it asks for several GETs, each of which says for itself what became of it", "", "batch: null")
        }
        #[cfg(feature = "batch")]
        Detail::BatchRefused => (
            "it, or a part of it, is not what may be asked for in a batch; the answer says why",
            "",
            "batch: true in the rule of the part, or batch.part_headers",
        ),
        #[cfg(feature = "batch")]
        Detail::PartFailed => (
            "the call for the part has brought no whole answer",
            "RFC 9110 §15.6.3",
            "an origin that answers whole, and within Envoy's bounds for calls",
        ),
        #[cfg(feature = "batch")]
        Detail::PartLate => ("the part had no answer in time", "RFC 9110 §15.6.5", "batch.timeout"),
        #[cfg(feature = "batch")]
        Detail::PartTooLarge => {
            ("the answers to other parts have left no room for it", "RFC 4918 §11.5", "batch.response_bytes")
        }
        #[cfg(feature = "sessions")]
        Detail::NoSession => (
            "the rule wants a session, and the request has no cookie of one that is signed and known in Redis",
            "RFC 9110 §15.5.2",
            "a request with the cookie of a session, or missing: \"pass\" in sessions",
        ),
        #[cfg(feature = "sessions")]
        Detail::SessionUnknown => (
            "Redis cannot be asked for the session",
            "RFC 9110 §15.6.4",
            "Redis, mended; or \"pass\" in sessions, which lets such requests go on without the fields",
        ),
        #[cfg(feature = "maintenance")]
        Detail::Maintenance => (
            "the rule answers 503 within a window of time",
            "RFC 9110 §15.6.4",
            "maintenance: null in the rule, or another window",
        ),
        #[cfg(feature = "uploads")]
        Detail::Upload(objection) => of_upload(objection),
        #[cfg(feature = "teapot")]
        Detail::Teapot => ("the rule is a teapot", "RFC 2324 §2.3.2", "teapot: false"),
        #[cfg(feature = "llm")]
        Detail::ByInput => (
            "some of its inputs were stored, and only the others were asked for",
            "",
            "llm.embeddings.by_input: false",
        ),
        #[cfg(feature = "llm")]
        Detail::Merged => {
            ("it was asked for together with other requests, by one call", "", "llm.embeddings.merge: null")
        }
        Detail::Purged => {
            ("what was stored has been purged", "", "nothing: the next response is stored anew")
        }
    };
    Reason { word: detail.as_str(), why, reference, change }
}

/// The reason behind a forward.
pub fn of_forward(forward: Forward) -> Reason {
    let (why, reference, change) = match forward {
        Forward::Bypass => ("the cache stays out of it", "RFC 9211 §2.2", ""),
        Forward::Method => (
            "the method is not one that the cache answers",
            "RFC 9110 §9.2.3",
            "key.body.methods with this method, if its responses depend on the request alone; or the origin answers POST with \
             Content-Location and a lifetime, which is stored for GET",
        ),
        Forward::UriMiss => ("nothing is stored under the key", "RFC 9111 §4", ""),
        Forward::VaryMiss => (
            "something is stored under the key, but not for these selecting fields or credentials",
            "RFC 9111 §4.1",
            "vary.ignore for fields that do not matter; public or s-maxage of the origin where cookies and \
             Authorization do not (RFC 9111 §3.5)",
        ),
        Forward::Request => (
            "what is stored is fresh, but the request's Cache-Control asks for more",
            "RFC 9111 §5.2.1",
            "request_directives: \"ignore\"",
        ),
        Forward::Stale => (
            "what is stored is stale",
            "RFC 9111 §4.2",
            "a longer max-age or s-maxage of the origin, ttl.override or ttl.default; stale.while_revalidate to serve it \
             while it is renewed",
        ),
        Forward::Partial => ("a part of what it asks for is stored", "RFC 9211 §2.2", ""),
    };
    Reason { word: forward.as_str(), why, reference, change }
}

type Texts = (&'static str, &'static str, &'static str);

#[cfg(feature = "uploads")]
fn of_upload(objection: Objection) -> Texts {
    match objection {
        Objection::TooLarge => {
            ("the content is longer than the rule takes", "RFC 9110 §15.5.14", "upload.max_bytes")
        }
        Objection::Type => (
            "the content, or a file in it, is of a type that the rule does not take, or of none that can be told",
            "RFC 9110 §15.5.16",
            "upload.types, or one Content-Type in the request",
        ),
        Objection::Content => (
            "the first bytes of the content, or of a file in it, are not those of the type that is stated",
            "RFC 9110 §15.5.16",
            "the request with the type that its content is of, or upload.sniff: false",
        ),
        Objection::Coding => (
            "the content has a Content-Encoding, so nobody sees what it is",
            "RFC 9110 §15.5.16",
            "the request without it, or upload.sniff: false",
        ),
        Objection::Form => (
            "the form is broken, or could be read in two ways",
            "RFC 7578 §4.1",
            "the form as browsers send it: a boundary, lines that end with CR LF, one name for each part",
        ),
    }
}

fn of_vector(vector: Vector) -> Texts {
    match vector {
        Vector::GetWithBody => (
            "GET or HEAD with content, which the origin may heed and the key does not have",
            "RFC 9110 §9.3.1",
            "the request without content",
        ),
        Vector::AmbiguousPath => (
            "origins may read the path in another way than the cache: a backslash, a fragment, a broken escape, or a dot \
             segment in disguise",
            "RFC 3986 §3.3",
            "a plain target: backslash, # and % escaped",
        ),
        Vector::ControlBytes => (
            "the target has bytes that no URI has, or an escaped control character in its path",
            "RFC 3986 §2",
            "a target of visible ASCII, everything else escaped",
        ),
        Vector::AmbiguousAuthority => (
            "the authority is not one host with at most one port, or Host contradicts it",
            "RFC 9110 §7.2",
            "one Host that is the authority",
        ),
        Vector::AmbiguousLength => (
            "Content-Length comes twice, is no number, or comes with Transfer-Encoding",
            "RFC 9112 §6.3",
            "one Content-Length of digits",
        ),
        Vector::UnkeyedHeader => (
            "a field that may change the response is not in the key",
            "RFC 9111 §7.1",
            "key.headers with the field, tainting_headers without it, or an Envoy filter that removes it before",
        ),
        Vector::SchemeMismatch => (
            "X-Forwarded-Proto and :scheme disagree, and the origin may go by either",
            "RFC 9111 §7.1",
            "the same scheme in both: the connection manager of Envoy can see to that, or the proxy in front",
        ),
        Vector::MethodOverride => (
            "a field tells the origin to take the request for another method",
            "RFC 9111 §7.1",
            "the request without the field, key.headers with it, or tainting_headers without it",
        ),
    }
}

fn of_refusal(refusal: Refusal) -> Texts {
    match refusal {
        Refusal::RequestNoStore => (
            "the request says no-store, or asks for the rest of an answer (Last-Event-ID)",
            "RFC 9111 §5.2.1.5",
            "the request without it, or request_directives: \"ignore\"",
        ),
        Refusal::NoStore => (
            "the response says no-store",
            "RFC 9111 §5.2.2.5",
            "max-age in place of no-store at the origin, or CDN-Cache-Control beside it for the cache alone (RFC 9213; targeted)",
        ),
        Refusal::Private => (
            "the response is for one user only",
            "RFC 9111 §5.2.2.7",
            "public or s-maxage in place of private at the origin, or CDN-Cache-Control beside it for the cache alone \
             (RFC 9213; targeted)",
        ),
        Refusal::Authorization => (
            "the request has Authorization and the response does not say that it may be shared",
            "RFC 9111 §3.5",
            "public, s-maxage or must-revalidate at the origin; or key.headers: [\"authorization\"], a response for each",
        ),
        Refusal::SetCookie => (
            "the response sets a cookie, which every later client would be given",
            "RFC 9111 §7.3",
            "set_cookie: \"strip\" (stored without it) or \"store\" in the rule, or no Set-Cookie at the origin",
        ),
        Refusal::VaryStar => (
            "Vary is *, has what is no field name, or has more than 16 fields",
            "RFC 9111 §4.1",
            "Vary at the origin with the fields that matter",
        ),
        Refusal::Partial => (
            "206, 304 and 416 are no whole response",
            "RFC 9111 §3.3",
            "a request without Range: parts are served from what is stored whole",
        ),
        Refusal::Status => (
            "the rule does not list the status, a request can provoke it, it is not final, the origin did not make it, or it \
             answers Range or Expect",
            "RFC 9111 §3",
            "statuses or ttl.statuses in the rule",
        ),
        Refusal::MustUnderstand => (
            "must-understand, and the cache does not know the status",
            "RFC 9111 §5.2.2.3",
            "no must-understand at the origin",
        ),
        Refusal::NoFreshness => (
            "nothing says for how long it is fresh, or that is zero, and nothing can validate it",
            "RFC 9111 §3",
            "max-age or s-maxage at the origin, ttl.default or ttl.statuses in the rule, or an ETag or Last-Modified",
        ),
        Refusal::NoCache => (
            "no-cache without ETag or Last-Modified: every use would fetch it again",
            "RFC 9111 §5.2.2.4",
            "an ETag at the origin, or max-age in place of no-cache",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORWARDS: [Forward; 7] = [
        Forward::Bypass,
        Forward::Method,
        Forward::UriMiss,
        Forward::VaryMiss,
        Forward::Request,
        Forward::Stale,
        Forward::Partial,
    ];

    #[test]
    fn every_word_has_its_entry_and_every_refusal_says_what_would_change_it() {
        for detail in Detail::all() {
            let Reason { word, why, change, .. } = of_detail(detail);
            assert_eq!(word, detail.as_str());
            assert!((10..200).contains(&why.len()), "{word}: {why}");
            let served = matches!(detail, Detail::Worker | Detail::Node | Detail::Remote | Detail::Validated);
            assert_eq!(change.is_empty(), served, "{word}");
        }
        for forward in FORWARDS {
            assert!(!of_forward(forward).why.is_empty());
        }
    }

    #[test]
    fn references_are_to_sections_and_changes_name_settings_that_exist() {
        let table = crate::config::reference::markdown();
        let reasons = Detail::all().map(of_detail).chain(FORWARDS.map(of_forward));
        for Reason { word, reference, change, .. } in reasons {
            assert!(
                reference.is_empty() || reference.starts_with("RFC ") && reference.contains(" §"),
                "{word}"
            );
            for named in change.split(|c: char| !(c.is_ascii_lowercase() || c == '.' || c == '_')) {
                if named.contains(['.', '_']) && named.len() > 1 {
                    let exists = ["", "rules[]."].iter().any(|of| table.contains(&format!("`{of}{named}`")));
                    assert!(exists, "{word}: {named} is no setting");
                }
            }
        }
    }
}
