//! Answers 413, 415 or 400 to a request that brings what its rule does not take, and sends a guard along with the others.

use super::{Seen, Then};
use crate::cache::Cache;
use crate::cache_status::{Detail, Outcome};
use crate::config::Upload;
use crate::policy::Rule;
use crate::reply::Reply;
use crate::uploads::{Guard, Objection};

/// What becomes of a request whose body is to be checked.
pub(crate) enum Entered {
    /// There is nothing to check, or no more.
    Goes,
    /// This goes with it.
    Guarded(Box<Guard>),
    /// This is the answer.
    Refused(Then),
}

/// Checks what the head says. A rule that only watches refuses nothing.
#[cold]
pub(crate) fn enter(upload: &Upload, seen: &Seen<'_>, cache: &mut Cache) -> Entered {
    let Seen { request, rule, rule_index, .. } = *seen;
    match Guard::of(request, rule_index, upload) {
        Ok(None) => Entered::Goes,
        Ok(Some(mut guard)) => {
            guard.may_hold &= !rule.shadow;
            Entered::Guarded(Box::new(guard))
        }
        Err(_) if rule.shadow => {
            cache.stats.count("uploads", "shadow");
            Entered::Goes
        }
        Err(objection) => {
            let asked = Asked { is_patch: request.method == b"PATCH", is_counted: false };
            Entered::Refused(Then::Respond(refuse(objection, asked, upload, rule, cache)))
        }
    }
}

/// What an answer has to know of the request.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    /// Its method is `PATCH`.
    pub is_patch: bool,
    /// It has gone to the origin, and is counted as having done so.
    pub is_counted: bool,
}

/// The answer to a request that is refused.
#[cold]
pub(crate) fn refuse(
    objection: Objection,
    asked: Asked,
    upload: &Upload,
    rule: &Rule,
    cache: &mut Cache,
) -> Reply {
    cache.stats.count("uploads", "refused");
    let status = objection.status();
    let content = problem(objection, upload);
    let types = upload.types.as_deref().unwrap_or_default().join(&b", "[..]);
    let mut fields: Vec<(&[u8], &[u8])> =
        vec![(b"content-type", b"application/problem+json"), (b"cache-control", b"no-store")];
    match objection {
        // What would have been taken (RFC 9110 §15.5.16, RFC 5789 §2.2). A suffix is no type that could be named.
        Objection::Type if !types.is_empty() && !types.contains(&b'+') => {
            fields.push((if asked.is_patch { b"accept-patch" } else { b"accept" }, &types));
        }
        Objection::Coding => fields.push((b"accept-encoding", b"identity")),
        _ => {}
    }
    let detail = Detail::Upload(objection);
    let outcome = Outcome { detail: Some(detail), ..Outcome::under(rule) };
    if asked.is_counted {
        cache.stats.count("detail", detail.as_str());
    } else {
        cache.stats.record(&outcome);
    }
    cache.scratch.refused = Some((detail, status));
    let name = cache.policy().cache_status_name.as_bytes();
    Reply::saying(status, &outcome, name, &fields, content.as_bytes())
}

/// RFC 9457: the type `about:blank`, of which the title is that of the status.
fn problem(objection: Objection, upload: &Upload) -> String {
    let (title, detail) = match objection {
        Objection::TooLarge => ("Content Too Large", "The content is longer than is taken here."),
        Objection::Type => ("Unsupported Media Type", "Content of this type is not taken here."),
        Objection::Content => ("Unsupported Media Type", "The content is not of the type that is stated."),
        Objection::Coding => ("Unsupported Media Type", "Coded content is not taken here."),
        Objection::Form => ("Bad Request", "The form cannot be read."),
    };
    let most = match (objection, upload.max_bytes) {
        (Objection::TooLarge, Some(most)) => format!(",\"max_bytes\":{most}"),
        _ => String::new(),
    };
    let status = objection.status();
    format!("{{\"status\":{status},\"title\":\"{title}\",\"detail\":\"{detail}\"{most}}}\n")
}
