//! The session of a request: what its cookie shows, and what is known of it without asking Redis.

use super::{Case, Explanation, Fact, Part, Passage, reasons};
use crate::cache::{Cache, Moment};
use crate::cache_status::Detail;
use crate::policy::SessionMissing;
use crate::sessions::cookie::Shown;
use crate::sessions::is_preflight;

/// Notes the session. Whether the request is answered for want of one.
pub(super) fn note(
    case: &Case<'_>,
    cache: &mut Cache,
    moment: &mut Moment<'_>,
    explanation: &mut Explanation,
) -> bool {
    let request = case.subject.request;
    let policy = std::rc::Rc::clone(cache.policy());
    let found = case.rule.sessioned.and_then(|kind| Some((kind, policy.sessions.get(kind)?)));
    let Some((kind, session)) = found else { return false };
    let cookie = String::from_utf8_lossy(&session.cookie);
    let (said, is_there) = match cache.shown_session(kind, request) {
        Shown::Nothing => ("is not there", Some(false)),
        Shown::Unsigned => ("is not signed", Some(false)),
        Shown::Forged => ("has a signature that none of the secrets makes", Some(false)),
        Shown::Session { id, .. } => match cache.peek_session(kind, &id, moment) {
            Some(true) => ("names a session that is known here", Some(true)),
            Some(false) => ("names a session that Redis did not have", Some(false)),
            None => ("names a session, which is not looked up here", None),
        },
    };
    let given = session.fields.iter().map(|(name, _)| name);
    let given =
        given.filter(|name| request.fields.get(name.as_bytes()).is_some()).map(|name| (**name).to_owned());
    let given: Vec<String> = given.collect();
    let mut text = format!("\"{}\": the cookie {cookie} {said}", session.name);
    if !given.is_empty() {
        text.push_str(&format!("; the request has {}, which clients cannot send", given.join(", ")));
    }
    let note = explanation.note(Part::Request, "session", text);
    note.with("name", Fact::Text((*session.name).into())).with("fields", Fact::Texts(given));
    if let Some(is_there) = is_there {
        note.flag("known", is_there);
    }
    let wanted = session.missing == SessionMissing::Refuse && !is_preflight(request);
    let (status, detail) = match case.subject.passage {
        Passage::Ahead if wanted && is_there == Some(false) => (401, Detail::NoSession),
        Passage::Refused(detail @ (Detail::NoSession | Detail::SessionUnknown), status) => (status, detail),
        _ => return false,
    };
    let outcome = if status == 401 { "answered with 401" } else { "answered with 503" };
    explanation.verdict("request", outcome, &reasons::of_detail(detail));
    true
}
