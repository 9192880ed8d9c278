//! What sessions make of a request: fields that only they may set are taken off what clients send, and those of the session are
//! put there; and a request that waits for Redis to say which these are.

use super::aside::Aside;
use super::entering;
use super::{Directive, RequestEdit, State};
use crate::cache::{Cache, Moment};
use crate::fields::{FieldBlock, Fields};
use crate::policy::Policy;
use crate::sessions::Known;
use crate::sessions::cookie::is_replaced;
use crate::stages::BodyUse;
use crate::stages::sessions::{Identified, Named};
use crate::time::Timestamp;

/// What has been done to a request.
#[derive(Default)]
pub(super) struct Identity {
    /// Its session has been found out, or it has none: its head has what it is given.
    pub(super) is_known: bool,
    /// Nobody could say what its session is, and it goes on without.
    pub(super) is_unknown: bool,
    /// To be done to the request at the host.
    edits: Vec<RequestEdit>,
    /// The session, while what the origin answers may end what is known of it.
    named: Option<Named>,
    has_answer: bool,
}

impl Identity {
    /// What is to be done to the request at the host, once.
    pub(super) fn take_edits(&mut self) -> Vec<RequestEdit> {
        std::mem::take(&mut self.edits)
    }

    /// Whether the head of the response is to be seen.
    pub(super) fn awaits_head(&self) -> bool {
        self.named.is_some() && !self.has_answer
    }

    /// Whether the end of the stream is.
    pub(super) fn awaits_end(&self) -> bool {
        self.named.as_ref().is_some_and(|named| named.may_change)
    }

    /// The head of the response has come.
    pub(super) fn head_came(&mut self, head: Fields<'_>, cache: &mut Cache) {
        self.has_answer = true;
        let Some(Named { kind, id, sent, may_change }) = &self.named else { return };
        let cookie = cache.policy().sessions.get(*kind).map(|session| session.cookie.clone());
        if *may_change || cookie.is_some_and(|cookie| is_replaced(head, &cookie, sent)) {
            cache.drop_session(*kind, id);
        }
    }

    /// The stream has ended. An application may have written the session after it had begun to answer.
    pub(super) fn ended(&mut self, cache: &mut Cache) {
        if let Some(Named { kind, id, may_change: true, .. }) = self.named.take() {
            cache.drop_session(kind, &id);
        }
    }
}

/// Takes off a request's head what only sessions may set.
pub(super) fn stripped(head: Vec<u8>, aside: &mut Aside, policy: &Policy, cache: &mut Cache) -> Vec<u8> {
    let reserved = &policy.reserved;
    if reserved.is_empty() || aside.identity.as_ref().is_some_and(|identity| identity.is_known) {
        return head;
    }
    let Some(fields) = Fields::parse(&head) else {
        // It goes on as it is, as far as that can be.
        let edits = reserved.names().iter().map(|name| RequestEdit::Field(name.clone(), None));
        aside.identity.get_or_insert_default().edits.extend(edits);
        return head;
    };
    if !reserved.are_in(fields) { head } else { without_reserved(fields, aside, policy, cache) }
}

#[cold]
fn without_reserved(fields: Fields<'_>, aside: &mut Aside, policy: &Policy, cache: &mut Cache) -> Vec<u8> {
    cache.stats.count("sessions", "stripped");
    let identity = aside.identity.get_or_insert_default();
    let mut kept = FieldBlock::new();
    let is_named = fields.members(b"connection").any(|name| policy.reserved.has(&name.to_ascii_lowercase()));
    for (name, value) in fields.iter() {
        if policy.reserved.has(name) {
            identity.edits.push(RequestEdit::Field(name.into(), None));
        } else if !(is_named && name == b"connection") {
            kept.push(name, value);
        }
    }
    if is_named {
        let others =
            fields.members(b"connection").filter(|name| !policy.reserved.has(&name.to_ascii_lowercase()));
        let others = others.collect::<Vec<_>>().join(&b", "[..]);
        let value = (!others.is_empty()).then_some(others);
        if let Some(value) = &value {
            kept.push(b"connection", value);
        }
        identity.edits.push(RequestEdit::Field((*b"connection").into(), value));
    }
    let mut head = Vec::new();
    kept.write_with(&[], &mut head);
    head
}

/// A request's head with the fields of its session.
pub(super) fn identified(head: &[u8], found: Identified, aside: &mut Aside) -> Vec<u8> {
    let identity = aside.identity.get_or_insert_default();
    identity.is_known = true;
    identity.is_unknown = found.is_unknown;
    identity.named = found.named;
    let block = FieldBlock::copy_of(Fields::parse(head).unwrap_or_default());
    let given: Vec<(&[u8], &[u8])> =
        found.fields.iter().map(|(name, value)| (name.as_bytes(), &**value)).collect();
    let mut out = Vec::new();
    block.write_with(&given, &mut out);
    let edits = given.iter().map(|(name, value)| RequestEdit::Field((*name).into(), Some(value.to_vec())));
    identity.edits.extend(edits);
    out
}

/// A request that waits for what Redis says of its session.
pub(super) struct Identifying {
    head: Vec<u8>,
    end_of_stream: bool,
    body_use: BodyUse,
    ticket: u64,
    until: Timestamp,
}

impl Identifying {
    /// The state of a request that waits.
    pub(super) fn begin(
        head: Vec<u8>,
        (end_of_stream, body_use): (bool, BodyUse),
        ticket: u64,
        until: Timestamp,
    ) -> (State, Directive) {
        let waits = Self { head, end_of_stream, body_use, ticket, until };
        (State::Identifying(Box::new(waits)), Directive::AwaitSlot { ticket })
    }

    /// Bytes of the request that it keeps.
    pub(super) const fn kept_bytes(&self) -> usize {
        self.head.capacity()
    }

    /// What may become of its body.
    pub(super) const fn body_use(&self) -> BodyUse {
        self.body_use
    }

    /// Redis has answered, or it has waited enough, or nobody knows of it under another configuration.
    pub(super) fn on_wake(
        self,
        aside: &mut Aside,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> (State, Directive) {
        let known = cache.take_session(self.ticket);
        cache.leave_session(self.ticket);
        cache.scratch.session = known.or_else(|| (moment.now >= self.until).then_some(Known::Unknown));
        let step = entering::begin(self.head, self.end_of_stream, aside, cache, moment);
        // Of another configuration it may have passed without being asked.
        cache.scratch.session = None;
        step
    }

    /// Its stream is gone.
    pub(super) fn abandon(&self, cache: &mut Cache) {
        cache.leave_session(self.ticket);
    }
}
