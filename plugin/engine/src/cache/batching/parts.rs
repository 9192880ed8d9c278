//! What a batch asks for, as parts that are to be asked for.

use std::rc::Rc;

use super::{PartEnd, SharedBatch};
use crate::admission::rule_of;
use crate::batch::answer::Form;
use crate::batch::requests::{self, Get};
use crate::cache::Cache;
use crate::fields::{FieldBlock, Fields};
use crate::policy::Policy;
use crate::request::Request;
use crate::time::Timestamp;

/// How far a batch may go, and for whom it is.
pub(crate) struct Terms {
    /// Most bytes of its answers together.
    pub(crate) most: usize,
    /// Parts without an answer are late then.
    pub(crate) until: Timestamp,
    /// The address that it came from, if it is known.
    pub(crate) peer: Option<Rc<[u8]>>,
    /// It is a job: no client waits for its parts.
    pub(crate) is_job: bool,
}

impl Cache {
    /// Begins the batch that a body asks for, on behalf of who has sent this head.
    ///
    /// # Errors
    /// Why nothing of it is asked for.
    pub(crate) fn run_batch(
        &mut self,
        head: Fields<'_>,
        body: &[u8],
        terms: Terms,
    ) -> Result<SharedBatch, String> {
        let policy = Rc::clone(&self.policy);
        let settings = policy.batch.as_ref().ok_or("there are no batches any more")?;
        let parts = requests::read(body, settings)?;
        let ids = parts.iter().map(|part| part.id.clone()).collect();
        let batch = self.begin_batch(ids, Form::wanted(head), terms);
        for (nth, part) in parts.into_iter().enumerate() {
            match part.get {
                Ok(get) => {
                    let head = head_of(head, &get, &policy);
                    let request = Fields::parse(&head).map(|fields| Request::read(fields, false));
                    if request.is_some_and(|request| rule_of(&policy, &request).1.batch) {
                        self.ask_for_part(&batch, nth, head, settings.part_timeout);
                    } else {
                        let why = "url: its rule is not for batches";
                        self.end_part_of(&batch, nth, &PartEnd::Refused(403, why));
                    }
                }
                Err(refused) => {
                    self.end_part_of(&batch, nth, &PartEnd::Refused(refused.status, &refused.why));
                }
            }
        }
        Ok(batch)
    }
}

/// The head of a part: what the batch's says of its client, and what is the part's own. A part has a session by its own rule.
fn head_of(batch: Fields<'_>, get: &Get, policy: &Policy) -> Vec<u8> {
    #[cfg(feature = "sessions")]
    let is_reserved = |name: &[u8]| policy.reserved.has(name);
    #[cfg(not(feature = "sessions"))]
    let is_reserved = |_: &[u8]| {
        let _ = policy;
        false
    };
    let own = |name: &[u8]| get.fields.iter().any(|(known, _)| known.as_bytes() == name);
    let connection = |name: &[u8]| batch.members(b"connection").any(|named| named.eq_ignore_ascii_case(name));
    let mut block = FieldBlock::new();
    block.push(b":method", b"GET");
    for name in [&b":scheme"[..], b":authority"] {
        block.push(name, batch.get(name).unwrap_or_default());
    }
    block.push(b":path", get.target.as_bytes());
    let is_left = |name: &[u8]| is_of_the_batch(name) || own(name) || connection(name) || is_reserved(name);
    for (name, value) in batch.iter().filter(|(name, _)| !is_left(name)) {
        block.push(name, value);
    }
    // What is coded cannot stand in JSON as it is.
    if !own(b"accept-encoding") {
        block.push(b"accept-encoding", b"identity");
    }
    for (name, value) in &get.fields {
        block.push(name.as_bytes(), value.as_bytes());
    }
    let mut head = Vec::new();
    block.write_with(&[], &mut head);
    head
}

/// Whether a field says something of the request for the batch, and nothing of its client.
fn is_of_the_batch(name: &[u8]) -> bool {
    name.first() == Some(&b':')
        || name.starts_with(b"content-")
        || name.starts_with(b"if-")
        || matches!(
            name,
            b"accept"
                | b"accept-encoding"
                | b"cache-control"
                | b"connection"
                | b"expect"
                | b"idempotency-key"
                | b"keep-alive"
                | b"origin"
                | b"pragma"
                | b"prefer"
                | b"proxy-authorization"
                | b"proxy-connection"
                | b"range"
                | b"selvage-explain"
                | b"te"
                | b"trailer"
                | b"transfer-encoding"
                | b"upgrade"
                | b"x-request-id"
        )
}
