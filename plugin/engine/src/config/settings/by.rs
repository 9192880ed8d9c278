//! What tells requests apart: a value that each has.

use crate::config::reader::{Object, Place};
use crate::config::written::quote;
use crate::config::{Config, FieldName};
use crate::members::Show;

/// What tells requests apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// The address that the request came from.
    Ip,
    /// The value of a field.
    Header(FieldName),
    /// The value of a cookie.
    Cookie(Box<[u8]>),
    /// The value of a field that a session gives, which no client can send.
    Session(FieldName),
    /// The host.
    Host,
    /// The path, without query.
    Path,
    /// The rule.
    Rule,
}

impl Show for By {
    fn show(&self) -> serde_json::Value {
        match self {
            Self::Ip => "ip".into(),
            Self::Header(name) => format!("header:{}", String::from_utf8_lossy(name)).into(),
            Self::Cookie(name) => format!("cookie:{}", String::from_utf8_lossy(name)).into(),
            Self::Session(name) => format!("session:{}", String::from_utf8_lossy(name)).into(),
            Self::Host => "host".into(),
            Self::Path => "path".into(),
            Self::Rule => "rule".into(),
        }
    }
}

/// Sessions, of which there are none where they are not built in.
#[cfg(feature = "sessions")]
pub(crate) type Given = super::sessions::Session;
/// Sessions, of which there are none where they are not built in.
#[cfg(not(feature = "sessions"))]
pub(crate) enum Given {}

/// Refuses the fields of sessions that none gives, wherever they are to tell requests apart but in rules.
pub(crate) fn refuse_unknown_fields(config: &Config, object: &Object<'_, '_>) {
    #[cfg(feature = "sessions")]
    let given = &config.sessions;
    #[cfg(not(feature = "sessions"))]
    let given: &[Given] = &[];
    #[cfg(feature = "limits")]
    for (nth, limit) in config.limits.iter().enumerate() {
        let place = object.place_of("limits").item(nth);
        refuse_unknown(&limit.by, given, &place.member("by"));
        if let Some(tiers) = &limit.tiers {
            refuse(&tiers.by, given, &place.member("tiers").member("by"));
        }
    }
    #[cfg(all(feature = "limits", feature = "llm"))]
    for (nth, budget) in config.budgets.iter().enumerate() {
        refuse_unknown(&budget.by, given, &object.place_of("budgets").item(nth).member("by"));
    }
    #[cfg(feature = "jobs")]
    if let Some(jobs) = &config.jobs {
        refuse_unknown(&jobs.by, given, &object.place_of("jobs").member("by"));
    }
    #[cfg(feature = "pools")]
    if let Some(admission) = &config.defaults.admission {
        let place = object.place_of("defaults").member("admission").member("fair_by");
        refuse_unknown(&admission.fair_by, given, &place);
    }
}

/// Refuses those of a list.
pub(crate) fn refuse_unknown(all: &[By], given: &[Given], place: &Place<'_>) {
    for (nth, by) in all.iter().enumerate() {
        refuse(by, given, &place.item(nth));
    }
}

/// By a field that no session gives nobody would ever be told apart.
fn refuse(by: &By, given: &[Given], place: &Place<'_>) {
    let By::Session(name) = by else { return };
    #[cfg(feature = "sessions")]
    let mut fields = given.iter().flat_map(|session| &session.fields).map(|(field, _)| field.as_bytes());
    #[cfg(not(feature = "sessions"))]
    let mut fields = given.iter().map(|none| match *none {});
    if !fields.any(|field: &[u8]| field == &**name) {
        let found = quote(&format!("session:{}", String::from_utf8_lossy(name)));
        place.refuse::<()>(found, "a field that one of `sessions` gives");
    }
}
