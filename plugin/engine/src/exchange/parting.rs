//! A part of a batch: a request that comes from no stream, and whose way to the origin is a call.
//!
//! All that becomes of it is an [`Exchange`]'s affair, as with a request of its own.

use std::rc::Rc;
use std::time::Duration;

use super::refetching::reply;
use super::{Directive, Event, Exchange, Fetched, RemoteAnswer, RequestEdit, Wake};
use crate::admission::rule_of;
use crate::cache::{Cache, Moment, PartEnd, PartPlace, PartTask};
use crate::fields::{FieldBlock, Fields, content_length, status_of};
use crate::request::Request;
use crate::storability::is_bodiless;
use crate::time::Timestamp;

/// One part, until it has its answer.
pub struct Part {
    exchange: Exchange,
    /// Its head, as a field block with its pseudo-headers.
    head: Vec<u8>,
    /// Its bytes, which count as long as it is there.
    _kept: crate::cache::Kept,
    place: PartPlace,
    timeout: Duration,
    /// What is done to its head, whatever becomes of it.
    edits: Vec<RequestEdit>,
    /// The call that is under way is one that the exchange has asked for.
    fetches: bool,
}

/// What is to be done for a part. Exactly one for each event.
pub enum PartStep {
    /// Make a call, and tell [`Part::called`] what has come of it.
    Call {
        /// The cluster to call.
        cluster: Rc<str>,
        /// The request's head, as a field block with its pseudo-headers.
        request: Vec<u8>,
        /// Its body.
        body: Vec<u8>,
        /// How long the answer may take.
        timeout: Duration,
    },
    /// As [`Directive::AwaitFill`].
    AwaitFill {
        /// The hash.
        hash: u128,
        /// When it has waited enough.
        until: Timestamp,
    },
    /// As [`Directive::AskRemote`].
    AskRemote {
        /// The hash.
        hash: u128,
        /// Leave a claim that lasts so long if nothing is there.
        claim: Option<Duration>,
    },
    /// As [`Directive::AwaitMoment`].
    AwaitMoment {
        /// The moment.
        at: Timestamp,
    },
    /// As [`Directive::AwaitSlot`].
    AwaitSlot {
        /// The ticket.
        ticket: u64,
    },
    /// It has its answer.
    Done,
}

/// What has come of the call for a part.
#[derive(Clone, Copy)]
pub enum Called<'a> {
    /// An answer: the origin's, or the host's in its place, as [`Host::origin_answered`](crate::host::Host::origin_answered) says.
    Answer {
        /// Its head.
        head: Fields<'a>,
        /// Its content.
        content: &'a [u8],
    },
    /// Something that is not whole.
    CutOff,
    /// It could not be made.
    NotMade,
}

impl Part {
    /// Begins with a part.
    pub fn begin(task: PartTask, cache: &mut Cache, moment: &mut Moment<'_>) -> (Self, PartStep) {
        let PartTask { head, place, timeout, kept, is_job, .. } = task;
        #[cfg_attr(not(feature = "pools"), expect(unused_mut, reason = "no others wait"))]
        let mut exchange = Exchange::new();
        #[cfg(feature = "pools")]
        {
            exchange.aside.is_for_later = is_job;
        }
        let mut part =
            Self { exchange, head, _kept: kept, place, timeout, edits: Vec::new(), fetches: false };
        let event = Event::Request { head: part.head.clone(), end_of_stream: true };
        let directive = part.exchange.on(event, cache, moment);
        let step = part.meets(directive, cache, moment);
        (part, step)
    }

    /// Ends one that waits for the remote store while nobody waits for it any more: what it has it gives back. Whether it has.
    pub fn leaves_remote(&mut self, cache: &mut Cache, moment: &mut Moment<'_>) -> bool {
        if self.place.is_wanted() || !self.exchange.awaits_remote() {
            return false;
        }
        self.exchange.on(Event::Ended, cache, moment);
        true
    }

    /// It need not wait any more. A wake that is not for it changes nothing, and is `None`. One that nobody waits for any more is over.
    pub fn woken(&mut self, wake: Wake, cache: &mut Cache, moment: &mut Moment<'_>) -> Option<PartStep> {
        if !self.exchange.awaits_fill() {
            return None;
        }
        if !self.place.is_wanted() {
            self.exchange.on(Event::Ended, cache, moment);
            return Some(PartStep::Done);
        }
        let directive = self.exchange.on(Event::Woken(wake), cache, moment);
        Some(self.meets(directive, cache, moment))
    }

    /// What the remote store has said. `None` if it was not asked.
    pub fn told(
        &mut self,
        answer: RemoteAnswer,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> Result<PartStep, RemoteAnswer> {
        if !self.exchange.awaits_remote() {
            return Err(answer);
        }
        let directive = self.exchange.on(Event::Remote(answer), cache, moment);
        Ok(self.meets(directive, cache, moment))
    }

    /// What has come of the call.
    pub fn called(&mut self, called: Called<'_>, cache: &mut Cache, moment: &mut Moment<'_>) -> PartStep {
        let called = match called {
            Called::Answer { head, content } => {
                let told = content_length(head).is_none_or(|told| told <= content.len());
                if told || is_bodiless(status_of(head)) { called } else { Called::CutOff }
            }
            called => called,
        };
        if std::mem::take(&mut self.fetches) {
            let fetched = match called {
                Called::Answer { head, content } => Fetched::Answer { head, body: content },
                Called::CutOff | Called::NotMade => Fetched::Nothing,
            };
            let directive = self.exchange.on(Event::Fetched(fetched), cache, moment);
            return self.meets(directive, cache, moment);
        }
        match called {
            Called::Answer { head, content } => self.answered(head, content, cache, moment),
            Called::CutOff => self.broken(cache, moment),
            Called::NotMade => self.unreachable(cache, moment),
        }
    }

    fn answered(
        &mut self,
        head: Fields<'_>,
        content: &[u8],
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> PartStep {
        let event = Event::Response { head, end_of_stream: content.is_empty() };
        let directive = match self.exchange.on(event, cache, moment) {
            directive @ (Directive::Respond(_) | Directive::Fetch { .. }) => {
                return self.meets(directive, cache, moment);
            }
            directive @ Directive::Relay { .. } => directive,
            // Nothing is done to it.
            _ => Directive::Relay {
                cache_status: None,
                vary: false,
                strip: Vec::new(),
                add: Vec::new(),
                recast: None,
            },
        };
        let mut content = content.to_vec();
        if !content.is_empty() && self.exchange.wants_body() {
            let event = Event::Body { chunk: &content, end_of_stream: true };
            if let Directive::Replace(other) = self.exchange.on(event, cache, moment) {
                content = other;
            }
        }
        let added = match &directive {
            Directive::Relay { add, .. } => add.clone(),
            _ => Vec::new(),
        };
        let mut reply = reply(status_of(head), head, content, directive);
        for (name, value) in &added {
            reply.add(name.as_bytes(), value);
        }
        self.meets(Directive::Respond(reply), cache, moment)
    }

    /// Nobody could be asked: what is stale may stand in, and whoever waits for the same is told.
    fn unreachable(&mut self, cache: &mut Cache, moment: &mut Moment<'_>) -> PartStep {
        let mut block = FieldBlock::new();
        block.push(b":status", b"503");
        block.push(b"content-type", b"application/problem+json");
        let mut head = Vec::new();
        block.write_with(&[], &mut head);
        let content = crate::cache::batch_problem(503, "refresh.cluster of the rule cannot be called");
        match Fields::parse(&head) {
            Some(head) => self.answered(head, &content, cache, moment),
            None => self.broken(cache, moment),
        }
    }

    /// Which side has broken off is not known, so it is nothing against the origin. Whoever waits for the same asks for itself.
    fn broken(&mut self, cache: &mut Cache, moment: &mut Moment<'_>) -> PartStep {
        self.exchange.on(Event::Ended, cache, moment);
        cache.end_part(&self.place, &PartEnd::Failed);
        PartStep::Done
    }

    /// What a directive means for it.
    fn meets(&mut self, directive: Directive, cache: &mut Cache, moment: &mut Moment<'_>) -> PartStep {
        self.edits.extend(self.exchange.take_edits());
        match directive {
            Directive::Respond(reply) => {
                self.exchange.on(Event::Ended, cache, moment);
                let fields = Fields::parse(&reply.fields).unwrap_or_default();
                let content = reply.content();
                let end = PartEnd::Answered { status: reply.status, fields, content };
                cache.end_part(&self.place, &end);
                cache.recycle(reply.fields);
                PartStep::Done
            }
            Directive::Forward(edits) => self.call(&edits, cache, moment),
            // It is let pass as it is.
            Directive::Pass => self.call(&[], cache, moment),
            Directive::Fetch { cluster, request, body, timeout } => {
                self.fetches = true;
                PartStep::Call { cluster, request, body, timeout: timeout.min(self.timeout) }
            }
            Directive::AwaitFill { hash, until } => PartStep::AwaitFill { hash, until },
            Directive::AskRemote { hash, claim } => PartStep::AskRemote { hash, claim },
            Directive::AwaitMoment { at } => PartStep::AwaitMoment { at },
            Directive::AwaitSlot { ticket } => PartStep::AwaitSlot { ticket },
            // It has no body, and no response that is held.
            Directive::AwaitBody | Directive::Relay { .. } | Directive::Replace(_) => {
                self.broken(cache, moment)
            }
        }
    }

    fn call(&mut self, edits: &[RequestEdit], cache: &mut Cache, moment: &mut Moment<'_>) -> PartStep {
        let policy = Rc::clone(cache.policy());
        let fields = Fields::parse(&self.head).unwrap_or_default();
        let (rule_index, rule) = rule_of(&policy, &Request::read(fields, false));
        match cache.refresh_cluster(rule_index, rule, moment.now) {
            Some(cluster) => {
                let request = edited(fields, &[&self.edits, edits].concat());
                PartStep::Call { cluster, request, body: Vec::new(), timeout: self.timeout }
            }
            None => self.unreachable(cache, moment),
        }
    }
}

/// The head of a call: that of the part with what is changed in it on its way to the origin, and nothing that is meant for
/// Envoy.
fn edited(fields: Fields<'_>, edits: &[RequestEdit]) -> Vec<u8> {
    let of = |edit: &'_ RequestEdit| -> Option<(Vec<u8>, Option<Vec<u8>>)> {
        match edit {
            RequestEdit::Set(name, value) => Some((name.as_bytes().to_vec(), Some(value.clone()))),
            RequestEdit::Remove(name) => Some((name.as_bytes().to_vec(), None)),
            RequestEdit::Field(name, value) => Some((name.to_vec(), value.clone())),
            RequestEdit::Splice(..) => None,
        }
    };
    let edits: Vec<_> = edits.iter().filter_map(of).collect();
    // The last word on a field holds.
    let edit_of =
        |name: &[u8]| edits.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_deref());
    let mut block = FieldBlock::new();
    let mut set: Vec<&[u8]> = Vec::new();
    for (name, value) in fields.iter().filter(|(name, _)| !name.starts_with(b"x-envoy-")) {
        match edit_of(name) {
            None => block.push(name, value),
            Some(Some(value)) if !set.contains(&name) => {
                set.push(name);
                block.push(name, value);
            }
            Some(_) => {}
        }
    }
    for (name, _) in &edits {
        if let Some(Some(value)) = edit_of(name)
            && !set.contains(&&**name)
            && name.first() != Some(&b':')
        {
            set.push(name);
            block.push(name, value);
        }
    }
    let mut head = Vec::new();
    block.write_with(&[], &mut head);
    head
}
