//! The steps of a scene, one after the other, on one store.

use std::rc::Rc;
use std::time::Duration;

use selvage_engine::cache::{Cache, Moment};
use selvage_engine::exchange::{Directive, Event, Exchange, Fetched, NotSent, RemoteAnswer, Wake};
use selvage_engine::explain::Explanation;
use selvage_engine::explain::message::Message;
use selvage_engine::explain::saved::Saved;
use selvage_engine::fields::{FieldBlock, Fields, status_of};
use selvage_engine::policy::Policy;
use selvage_engine::purge::request::Asked;
use selvage_engine::time::Timestamp;
use serde_json::{Value, json};

use crate::host::Alone;
use crate::origin;
use crate::scene::{Act, Scene};

/// How often one request may be made to wait.
const MOST_WAITS: usize = 16;
/// Requests of the cache's own after one step.
const MOST_OWN: usize = 8;
const CHUNK: usize = 64 << 10;

/// One worker and its host.
pub struct Stage {
    cache: Cache,
    host: Alone,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The head that the client gets.
    pub head: FieldBlock,
    /// Bytes of content.
    pub bytes: usize,
    /// A word for it.
    pub kind: Kind,
    /// The head of the request that the origin was sent, and its status; 0 if it could not be reached.
    pub asked: Vec<(FieldBlock, u16)>,
}

/// In one word what became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Answered from the store, which is fresh.
    Fresh,
    /// Answered from the store, which is stale.
    Stale,
    /// The origin has confirmed what is stored.
    Validated,
    /// The origin's response.
    Origin,
    /// The cache has refused it.
    Refused,
    /// The origin could not be reached, and nothing stands in for it.
    Failed,
}

impl Kind {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::Validated => "validated",
            Self::Origin => "origin",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// Of each step what is said of it before, and what became of it.
pub fn played(scene: &Scene, policy: &Rc<Policy>) -> Value {
    let mut stage = Stage::new(policy);
    let steps: Vec<Value> = scene
        .steps
        .iter()
        .map(|step| {
            let now = scene.moment(step.at);
            let mut told = match &step.act {
                Act::Unreadable(problem) => json!({ "problem": problem }),
                Act::Exchange(saved) => stage.exchange_told(saved, now),
                Act::Purge(asked) => {
                    stage.purge(asked, now);
                    json!({ "purged": asked.items.len() })
                }
            };
            if let Some(members) = told.as_object_mut() {
                members.insert("at".into(), json!(step.at.as_secs_f64()));
            }
            told
        })
        .collect();
    json!({ "zero": scene.zero.to_http_date(), "steps": steps })
}

impl Stage {
    /// With an empty store.
    pub fn new(policy: &Rc<Policy>) -> Self {
        Self { cache: Cache::new(Rc::clone(policy)), host: Alone::default() }
    }

    /// Does what a step says, and tells of it only what became of the client.
    pub fn act(&mut self, act: &Act, now: Timestamp) -> Option<Outcome> {
        match act {
            Act::Unreadable(_) => None,
            Act::Purge(asked) => {
                self.purge(asked, now);
                None
            }
            Act::Exchange(saved) => {
                let outcome = self.exchange(saved, now).ok();
                self.own_requests(saved.response.as_ref(), now);
                outcome
            }
        }
    }

    /// What would become of a request.
    pub fn explain(&mut self, saved: &Saved, now: Timestamp) -> Explanation {
        self.host.unreachable = false;
        saved.explain(&mut self.cache, &mut Moment { now, host: &mut self.host })
    }

    fn purge(&mut self, asked: &Asked, now: Timestamp) {
        self.cache.purge_asked(asked, &mut Moment { now, host: &mut self.host });
    }

    fn exchange_told(&mut self, saved: &Saved, now: Timestamp) -> Value {
        let explanation = self.explain(saved, now);
        let mut told = match self.exchange(saved, now) {
            Ok(outcome) => shown(&outcome),
            Err(problem) => json!({ "problem": problem }),
        };
        if let Some(members) = told.as_object_mut() {
            let own = self.own_requests(saved.response.as_ref(), now);
            members.insert("own".into(), own.iter().map(asked_shown).collect());
            members.insert("text".into(), explanation.to_text().into());
            members.insert("explanation".into(), explanation.to_json());
        }
        told
    }

    /// A request and what the client gets.
    fn exchange(&mut self, saved: &Saved, now: Timestamp) -> Result<Outcome, String> {
        let (mut exchange, mut now) = (Exchange::new(), now);
        let request = &saved.request;
        let head = block(&request.head);
        let end_of_stream = request.body.is_empty();
        self.host.unreachable = false;
        let mut directive = self.on(&mut exchange, Event::Request { head, end_of_stream }, now);
        if !end_of_stream {
            let held = directive == Directive::AwaitBody;
            let event = Event::RequestBody { chunk: &request.body, end_of_stream: true };
            let next = self.on(&mut exchange, event, now);
            if held {
                directive = next;
            }
        }
        let mut calls = Vec::new();
        for _ in 0..MOST_WAITS {
            directive = match directive {
                Directive::Respond(reply) => {
                    self.on(&mut exchange, Event::Ended, now);
                    return Ok(outcome_of_reply(reply.status, &reply.fields, reply.content().len(), calls));
                }
                Directive::Forward(edits) => {
                    let sent = origin::asked(&request.head, &edits);
                    let mut outcome = self.forwarded(exchange, sent, saved.response.as_ref(), now)?;
                    outcome.asked.splice(0..0, calls);
                    return Ok(outcome);
                }
                // A call for a part of what is asked for.
                Directive::Fetch { request, .. } => {
                    let (next, call) = self.called(&mut exchange, &request, saved.response.as_ref(), now);
                    calls.push(call);
                    next
                }
                Directive::Pass => {
                    return self.forwarded(exchange, request.head.clone(), saved.response.as_ref(), now);
                }
                // There is no Redis here, which has nothing to say.
                Directive::AskRemote { .. } => {
                    self.on(&mut exchange, Event::Remote(RemoteAnswer::Nothing), now)
                }
                Directive::AwaitMoment { at } => {
                    now = now.max(at);
                    self.on(&mut exchange, Event::Woken(Wake::Poll), now)
                }
                Directive::AwaitFill { until, .. } => {
                    now = now.max(until);
                    self.on(&mut exchange, Event::Woken(Wake::Enough), now)
                }
                Directive::AwaitSlot { .. } => {
                    now = now.plus(PATIENCE);
                    self.on(&mut exchange, Event::Woken(Wake::Slot), now)
                }
                Directive::AwaitBody | Directive::Relay { .. } | Directive::Replace(_) => break,
            };
        }
        self.on(&mut exchange, Event::Ended, now);
        Err("the request waits for what the playground has not".into())
    }

    /// The origin answers, or cannot be reached.
    fn forwarded(
        &mut self,
        mut exchange: Exchange,
        sent: FieldBlock,
        response: Option<&Message>,
        now: Timestamp,
    ) -> Result<Outcome, String> {
        let answer = match response {
            Some(response) => origin::answered(sent.fields(), response),
            // As Envoy answers in its place.
            None => Message { head: unreachable(), body: Vec::new() },
        };
        self.host.unreachable = response.is_none();
        let status = status_of(answer.head.fields());
        let mut asked = vec![(sent, if response.is_some() { status } else { 0 })];
        let head = block(&answer.head);
        let head = Fields::parse(&head).ok_or("the response has more fields than a block takes")?;
        let event = Event::Response { head, end_of_stream: answer.body.is_empty() };
        let mut directive = self.on(&mut exchange, event, now);
        if let Directive::Fetch { request, .. } = &directive {
            let whole = Fields::parse(request).map(FieldBlock::copy_of).unwrap_or_default();
            let answer = response.map(|response| origin::answered(whole.fields(), response));
            let head = answer.as_ref().map(|answer| block(&answer.head)).unwrap_or_default();
            let fetched = match (&answer, Fields::parse(&head)) {
                (Some(answer), Some(head)) => Fetched::Answer { head, body: &answer.body },
                _ => Fetched::Nothing,
            };
            let status = answer.as_ref().map_or(0, |answer| status_of(answer.head.fields()));
            asked.push((whole, status));
            directive = self.on(&mut exchange, Event::Fetched(fetched), now);
        }
        let relayed = match directive {
            Directive::Respond(reply) => {
                self.on(&mut exchange, Event::Ended, now);
                return Ok(outcome_of_reply(reply.status, &reply.fields, reply.content().len(), asked));
            }
            Directive::Relay { cache_status, vary, strip, add, recast } => {
                let gone = |name: &[u8]| {
                    strip.iter().any(|strip| **strip == *name)
                        || recast.as_ref().is_some_and(|recast| {
                            let set = recast.set.iter().map(|(set, _)| *set);
                            name == b":status"
                                || recast
                                    .remove
                                    .iter()
                                    .copied()
                                    .chain(set)
                                    .any(|gone| gone.as_bytes() == name)
                        })
                };
                let mut fields = FieldBlock::new();
                let mut bytes = answer.body.len();
                if let Some(recast) = &recast {
                    fields.push(b":status", recast.status.to_string().as_bytes());
                    bytes = recast.window.len();
                }
                head.iter()
                    .filter(|(name, _)| !gone(name))
                    .for_each(|(name, value)| fields.push(name, value));
                let set = recast.iter().flat_map(|recast| &recast.set);
                set.chain(&add).for_each(|(name, value)| fields.push(name.as_bytes(), value));
                if vary {
                    fields.push(b"vary", b"Accept-Encoding");
                }
                cache_status.iter().for_each(|line| fields.push(b"cache-status", line));
                (fields, bytes)
            }
            _ => (answer.head.clone(), answer.body.len()),
        };
        let mut chunks = answer.body.chunks(CHUNK).peekable();
        while let Some(chunk) = chunks.next() {
            let end_of_stream = chunks.peek().is_none();
            self.on(&mut exchange, Event::Body { chunk, end_of_stream }, now);
        }
        self.on(&mut exchange, Event::Ended, now);
        let kind = if response.is_none() { Kind::Failed } else { Kind::Origin };
        Ok(Outcome { head: relayed.0, bytes: relayed.1, kind, asked })
    }

    /// The origin answers a call, or does not. Gives what is done then, and what was asked.
    fn called(
        &mut self,
        exchange: &mut Exchange,
        request: &[u8],
        response: Option<&Message>,
        now: Timestamp,
    ) -> (Directive, (FieldBlock, u16)) {
        let sent = Fields::parse(request).map(FieldBlock::copy_of).unwrap_or_default();
        let answer = response.map(|response| origin::answered(sent.fields(), response));
        let head = answer.as_ref().map(|answer| block(&answer.head)).unwrap_or_default();
        let fetched = match (&answer, Fields::parse(&head)) {
            (Some(answer), Some(head)) => Fetched::Answer { head, body: &answer.body },
            _ => Fetched::Nothing,
        };
        let status = answer.as_ref().map_or(0, |answer| status_of(answer.head.fields()));
        (self.on(exchange, Event::Fetched(fetched), now), (sent, status))
    }

    /// What the cache asks for itself after a step: stale responses are renewed.
    fn own_requests(&mut self, response: Option<&Message>, now: Timestamp) -> Vec<(FieldBlock, u16)> {
        let mut asked = Vec::new();
        self.host.unreachable = response.is_none();
        for _ in 0..MOST_OWN {
            let mut moment = Moment { now, host: &mut self.host };
            let Some(refresh) = self.cache.next_refresh(&mut moment) else { break };
            let sent = Fields::parse(&refresh.request).map(FieldBlock::copy_of).unwrap_or_default();
            let Some(response) = response else {
                refresh.unanswered(503, &mut self.cache, &mut moment);
                asked.push((sent, 0));
                continue;
            };
            let answer = origin::answered(sent.fields(), response);
            let head = block(&answer.head);
            match Fields::parse(&head) {
                Some(head) => refresh.answered(head, &answer.body, &mut self.cache, &mut moment),
                None => refresh.not_sent(NotSent::Unreachable, &mut self.cache, &mut moment),
            }
            asked.push((sent, status_of(answer.head.fields())));
        }
        // Nobody waits for anything here.
        self.cache.take_ended_fills();
        asked
    }

    fn on(&mut self, exchange: &mut Exchange, event: Event<'_>, now: Timestamp) -> Directive {
        exchange.on(event, &mut self.cache, &mut Moment { now, host: &mut self.host })
    }
}

/// How long a request waits for a quota of the fleet, which there is no Redis to ask about.
const PATIENCE: Duration = Duration::from_secs(1);

/// The words for stale responses: one that is stale by less than a second has a `ttl` of 0.
const STALE: [&str; 4] = ["stale-while-revalidate", "stale-if-error", "disconnected", "max-stale"];

/// A block as Envoy hands it over.
fn block(fields: &FieldBlock) -> Vec<u8> {
    let mut block = Vec::new();
    fields.write_with(&[], &mut block);
    block
}

fn unreachable() -> FieldBlock {
    let mut head = FieldBlock::new();
    head.push(b":status", b"503");
    head
}

/// A reply of the cache. What it is says its `Cache-Status`.
fn outcome_of_reply(status: u16, fields: &[u8], bytes: usize, asked: Vec<(FieldBlock, u16)>) -> Outcome {
    let mut head = FieldBlock::new();
    head.push(b":status", status.to_string().as_bytes());
    for (name, value) in Fields::parse(fields).iter().flat_map(Fields::iter) {
        head.push(name, value);
    }
    let line = head.fields().all(b"cache-status").last().unwrap_or_default();
    let line = String::from_utf8_lossy(line).into_owned();
    let outlived = STALE.iter().any(|detail| line.ends_with(&format!("; detail={detail}")));
    let ttl = line.split("; ttl=").nth(1).map(|rest| outlived || rest.starts_with('-'));
    let kind = match (ttl, asked.is_empty()) {
        (Some(true), _) => Kind::Stale,
        (Some(false), false) => Kind::Validated,
        (Some(false), true) => Kind::Fresh,
        // A rule may keep silent about what it does.
        (None, true) if line.is_empty() && status < 400 => Kind::Fresh,
        (None, _) => Kind::Refused,
    };
    Outcome { head, bytes, kind, asked }
}

fn shown(outcome: &Outcome) -> Value {
    let head = outcome.head.fields();
    let line = head.all(b"cache-status").last().map(|line| String::from_utf8_lossy(line).into_owned());
    json!({
        "status": status_of(head),
        "kind": outcome.kind.as_str(),
        "cache_status": line,
        "fields": fields_shown(head),
        "bytes": outcome.bytes,
        "asked": outcome.asked.iter().map(asked_shown).collect::<Vec<Value>>(),
    })
}

fn asked_shown((head, status): &(FieldBlock, u16)) -> Value {
    json!({ "fields": fields_shown(head.fields()), "status": status })
}

fn fields_shown(fields: Fields<'_>) -> Vec<[String; 2]> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    fields.iter().map(|(name, value)| [text(name), text(value)]).collect()
}
