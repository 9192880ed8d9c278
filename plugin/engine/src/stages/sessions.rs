//! Finds out the session of a request, before it is keyed, limited or admitted: what it is given comes from there.

use super::{Seen, Then, answer};
use crate::cache::{Cache, Moment};
use crate::cache_status::Detail;
use crate::policy::{SessionMissing, SessionOnFailure};
use crate::request::MethodKind;
use crate::sessions::cookie::Shown;
use crate::sessions::{Known, Look, is_preflight};

/// A request whose session has been found out, or which has none.
pub(crate) struct Identified {
    /// The fields that it is given.
    pub fields: Vec<(Box<str>, Box<[u8]>)>,
    /// Its session, if its cookie names one.
    pub named: Option<Named>,
    /// Nobody could say what that session is.
    pub is_unknown: bool,
}

/// The session that a request names.
pub(crate) struct Named {
    /// Which of the policy's sessions.
    pub kind: usize,
    /// The id.
    pub id: Box<str>,
    /// The cookie's value.
    pub sent: Box<[u8]>,
    /// Whether the request may change it.
    pub may_change: bool,
}

/// Looks the session up, if the rule has any. `None` if it has not, or the request has passed here.
#[inline]
pub(super) fn enter(seen: &Seen<'_>, cache: &mut Cache, moment: &mut Moment<'_>) -> Option<Then> {
    // All that a rule without it costs.
    let kind = seen.rule.sessioned?;
    if seen.is_identified { None } else { Some(identify(kind, seen, cache, moment)) }
}

#[inline(never)]
fn identify(kind: usize, seen: &Seen<'_>, cache: &mut Cache, moment: &mut Moment<'_>) -> Then {
    let request = seen.request;
    let (id, sent) = match cache.shown_session(kind, request) {
        Shown::Session { id, sent } => (id, sent),
        other => {
            cache.stats.count(
                "sessions",
                match other {
                    Shown::Unsigned => "unsigned",
                    Shown::Forged => "forged",
                    _ => "no-cookie",
                },
            );
            return without(kind, None, seen, cache);
        }
    };
    let known = match cache.scratch.session.take() {
        Some(known) => known,
        None => {
            let may_wait = cache.has_room_to_wait(request.fields.block_bytes());
            match cache.look_up_session(kind, &id, may_wait, moment) {
                Look::Known(known) => known,
                Look::Wait { ticket, until } => return Then::Identify { ticket, until },
            }
        }
    };
    let may_change = request.method_kind() == MethodKind::Unsafe;
    let named = Some(Named { kind, id, sent: sent.into(), may_change });
    let policy = std::rc::Rc::clone(cache.policy());
    let Some(session) = policy.sessions.get(kind) else {
        return Then::Identified(Identified { fields: Vec::new(), named, is_unknown: false });
    };
    match known {
        Known::Session(Some(found)) => {
            let given = session.fields.iter().zip(&found.values);
            let fields = given.filter_map(|((name, _), value)| Some((name.clone(), value.clone()?)));
            Then::Identified(Identified { fields: fields.collect(), named, is_unknown: false })
        }
        Known::Session(None) => without(kind, named, seen, cache),
        Known::Unknown if session.on_failure == SessionOnFailure::Refuse => {
            let fields: [(&[u8], &[u8]); 3] = [
                (b"content-type", b"application/problem+json"),
                (b"cache-control", b"no-store"),
                (b"retry-after", b"1"),
            ];
            let problem = b"{\"status\":503,\"title\":\"Service Unavailable\"}\n";
            answer(503, Detail::SessionUnknown, &fields, problem, seen.rule, cache)
        }
        Known::Unknown => Then::Identified(Identified { fields: Vec::new(), named, is_unknown: true }),
    }
}

/// What becomes of a request without a session.
fn without(kind: usize, named: Option<Named>, seen: &Seen<'_>, cache: &mut Cache) -> Then {
    let policy = std::rc::Rc::clone(cache.policy());
    let session = policy.sessions.get(kind);
    let wanted =
        session.filter(|session| session.missing == SessionMissing::Refuse && !is_preflight(seen.request));
    let Some(session) = wanted else {
        return Then::Identified(Identified { fields: Vec::new(), named, is_unknown: false });
    };
    // No scheme is registered for cookies, and there must be one (RFC 9110 §15.5.2).
    let wants = [&b"Cookie cookie-name=\""[..], &session.cookie, b"\""].concat();
    let fields: [(&[u8], &[u8]); 3] = [
        (b"content-type", b"application/problem+json"),
        (b"cache-control", b"no-store"),
        (b"www-authenticate", &wants),
    ];
    answer(
        401,
        Detail::NoSession,
        &fields,
        b"{\"status\":401,\"title\":\"Unauthorized\"}\n",
        seen.rule,
        cache,
    )
}
