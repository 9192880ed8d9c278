//! The fields that only sessions may set, and what they mean for the rules under which they do.

use crate::config::{FieldName, Rule, Session};
use crate::fields::{Fields, same_name};
use crate::firewall::Watched;

/// Fields that clients may not send.
#[derive(Debug, Clone, Default)]
pub struct Reserved {
    names: Box<[FieldName]>,
    watched: Watched,
}

impl Reserved {
    /// Those of all sessions, whichever rule a request falls under: origins believe what they say.
    #[inline(never)]
    pub(super) fn of(sessions: &[Session]) -> Self {
        let mut names: Vec<FieldName> = Vec::new();
        for name in sessions.iter().flat_map(|session| &session.fields).map(|(name, _)| name.as_bytes()) {
            if !names.iter().any(|known| **known == *name) {
                names.push(name.into());
            }
        }
        Self { watched: Watched::of(names.iter()), names: names.into() }
    }

    /// Whether there are none.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether an origin may take this name for one of theirs.
    pub fn has(&self, name: &[u8]) -> bool {
        self.watched.may_have(name) && self.names.iter().any(|listed| same_name(listed, name))
    }

    /// Whether a request has one of them, or names one in `Connection`, by which a proxy on the way would take it off.
    pub fn are_in(&self, request: Fields<'_>) -> bool {
        request.iter().any(|(name, _)| self.has(name))
            || request.members(b"connection").any(|named| self.has(&named.to_ascii_lowercase()))
    }

    /// The names.
    pub fn names(&self) -> &[FieldName] {
        &self.names
    }
}

/// What a session says of a request tells apart who asks: a field of it that the rule does not key is a credential. Nobody but
/// the session sets it, so it is no sign of a poisoned request.
#[inline(never)]
pub(super) fn set_terms(rule: &mut Rule, sessions: &[Session]) {
    let named = rule.session.as_deref();
    rule.sessioned = named.and_then(|name| sessions.iter().position(|session| *session.name == *name));
    let Some(session) = rule.sessioned.and_then(|at| sessions.get(at)) else { return };
    for (name, _) in &session.fields {
        let name: FieldName = name.as_bytes().into();
        rule.tainting_headers.retain(|listed| *listed != name);
        if !rule.credential_headers.contains(&name) {
            rule.credential_headers.push(name);
        }
    }
}
