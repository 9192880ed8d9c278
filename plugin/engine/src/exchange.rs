//! One request and its response, as the cache sees them: events in, directives out.
//!
#![doc = include_str!("exchange/transitions.md")]

#[cfg(feature = "pools")]
mod admitting;
#[cfg(feature = "llm")]
mod answering;
mod aside;
mod awaiting_body;
#[cfg(feature = "llm")]
mod calling;
mod claiming;
mod conditions;
mod deciding;
mod entering;
#[cfg(feature = "operators")]
mod explaining;
#[cfg(feature = "llm")]
mod falling_back;
mod filling;
mod forwarding;
#[cfg(feature = "llm")]
mod gateway_only;
#[cfg(feature = "uploads")]
mod guarding;
#[cfg(feature = "sessions")]
mod identifying;
#[cfg(feature = "llm")]
mod injecting;
mod invalidating;
#[cfg(feature = "llm")]
mod joining;
#[cfg(feature = "limits")]
mod leasing;
mod looking_up;
mod lookup;
#[cfg(feature = "batch")]
mod parting;
mod passing;
#[cfg(feature = "llm")]
mod pieces;
mod polling;
mod queues;
mod recasting;
mod refetching;
mod refreshing;
mod reply;
mod shadowing;
mod storing;
#[cfg(feature = "llm")]
mod streaming;
mod validating;
mod waiting;
mod warming;

use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use crate::admission::asked;
use crate::cache::{Admitted, Cache, Claim, FillEnd, FillId, Kept, Moment, StaleResponse};
use crate::cache_status::{Detail, Forward};
use crate::credentials::identity_of;
use crate::fields::Fields;
#[cfg(feature = "llm")]
use crate::llm::Inputs;
use crate::policy::FieldName;
pub use crate::reply::{ContentTypeFix, Reply};
use crate::request::MethodKind;
#[cfg(any(feature = "sessions", feature = "limits"))]
use crate::stages::BodyUse;
use crate::stages::{Held, Then, Until};
use crate::storability::Asked;
use crate::store::Slot;
use crate::time::Timestamp;

#[cfg(feature = "pools")]
use admitting::Queued;
use aside::Aside;
use awaiting_body::AwaitingBody;
#[cfg(feature = "llm")]
use calling::Calling;
#[cfg(feature = "uploads")]
use guarding::Guarding;
#[cfg(feature = "sessions")]
use identifying::Identifying;
#[cfg(feature = "llm")]
use joining::Joining;
#[cfg(feature = "limits")]
use leasing::Leasing;
use looking_up::LookingUp;
use lookup::LookupRequest;
#[cfg(feature = "llm")]
use pieces::Pieces;
use polling::Polling;
pub use refreshing::NotSent;
use shadowing::{Comparing, Would};
use storing::Storing;
use waiting::Waiting;
pub use waiting::Wake;

#[cfg(feature = "batch")]
pub use parting::{Called, Part, PartStep};
pub use passing::Passing;
pub use recasting::Recast;
pub use refetching::Fetched;
use refetching::Refetching;

/// The life of one request. Feed events, obey directives.
#[derive(Default)]
pub struct Exchange {
    state: State,
    aside: Aside,
    /// What the state keeps of the request, counted against the worker's bound.
    kept: Option<Kept>,
}

/// What happened to the stream.
pub enum Event<'a> {
    /// The request's head, as a field block with its pseudo-headers.
    Request {
        /// The block.
        head: Vec<u8>,
        /// No body follows.
        end_of_stream: bool,
    },
    /// A part of the request's body.
    RequestBody {
        /// The part.
        chunk: &'a [u8],
        /// It is the last.
        end_of_stream: bool,
    },
    /// Parts of the request's body of which only the length is wanted ([`Exchange::counts_body`]).
    RequestBytes {
        /// The length.
        count: usize,
        /// It is the last.
        end_of_stream: bool,
    },
    /// The request need not wait any more, after [`Directive::AwaitFill`].
    Woken(Wake),
    /// What the remote store said to [`Directive::AskRemote`].
    Remote(RemoteAnswer),
    /// The response's head.
    Response {
        /// Its fields, `:status` among them.
        head: Fields<'a>,
        /// No body follows.
        end_of_stream: bool,
    },
    /// What came of the call after [`Directive::Fetch`].
    Fetched(Fetched<'a>),
    /// A part of the response's body.
    Body {
        /// The part.
        chunk: &'a [u8],
        /// It is the last.
        end_of_stream: bool,
    },
    /// The response's trailers, which end it.
    Trailers,
    /// The stream has ended, however it ended.
    Ended,
}

/// What the remote store said.
pub enum RemoteAnswer {
    /// What [`Cache::read_remote`] made of the record.
    Found(Slot),
    /// It has nothing, failed, or was too slow: all the same to a request.
    Nothing,
    /// It had nothing, and has the claim of this request now.
    Claimed {
        /// When the claim ends.
        until: Timestamp,
    },
    /// Another Envoy fetches it.
    Fetching,
    /// Another Envoy has found that it is not to be stored.
    NotStorable,
}

/// What becomes of the stream now. Exactly one for each event.
#[derive(Debug, PartialEq)]
pub enum Directive {
    /// Let it pass as it is.
    Pass,
    /// Hold the request until its body has come.
    AwaitBody,
    /// Hold the request until the fetch for this hash has ended (see [`Cache::take_ended_fills`]), or this moment has come.
    AwaitFill {
        /// The hash.
        hash: u128,
        /// When it has waited enough.
        until: Timestamp,
    },
    /// Hold the request and ask the remote store for the record under this hash.
    AskRemote {
        /// The hash.
        hash: u128,
        /// Leave a claim that lasts so long if nothing is there.
        claim: Option<Duration>,
    },
    /// Hold the request and wake it at this moment with [`Wake::Poll`]: to ask the remote store again, or a stage.
    AwaitMoment {
        /// The moment.
        at: Timestamp,
    },
    /// Hold the request until its ticket is decided (see [`Cache::take_decided_tickets`] and
    /// [`Cache::take_decided_leases`]), and wake it with [`Wake::Slot`].
    AwaitSlot {
        /// The ticket.
        ticket: u64,
    },
    /// Send the request on, with these changes.
    Forward(Vec<RequestEdit>),
    /// Send the response's head on, with these fields added.
    Relay {
        /// The value of `Cache-Status`; `None` adds none.
        cache_status: Option<Vec<u8>>,
        /// `Vary: Accept-Encoding` too.
        vary: bool,
        /// Fields that the client does not get.
        strip: Vec<FieldName>,
        /// Further fields that the client gets.
        add: Added,
        /// The client gets another form of it.
        recast: Option<Box<Recast>>,
    },
    /// Send this on in the place of the part of the response's body that has just come.
    Replace(Vec<u8>),
    /// Answer in the origin's place.
    Respond(Reply),
    /// Hold the request, or the response if that has come, and call the origin.
    Fetch {
        /// The cluster to call.
        cluster: Rc<str>,
        /// The request's head, as a field block with its pseudo-headers.
        request: Vec<u8>,
        /// Its body.
        body: Vec<u8>,
        /// How long the answer may take.
        timeout: Duration,
    },
}

/// What is looked up input by input: nothing.
#[cfg(not(feature = "llm"))]
enum Inputs {}

#[cfg(not(feature = "llm"))]
impl Inputs {
    fn kept_bytes(&self) -> usize {
        match *self {}
    }
}

/// Fields that a response is given on its way to the client.
pub type Added = Vec<(&'static str, Vec<u8>)>;

/// One change to a request on its way to the origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestEdit {
    /// The field gets this one value.
    Set(&'static str, Vec<u8>),
    /// The field goes.
    Remove(&'static str),
    /// A field that the configuration names gets this one value, or goes. Routes are chosen by it.
    Field(FieldName, Option<Vec<u8>>),
    /// These bytes of its body, which has come and is held, give way to those, and its length is told anew.
    Splice(Range<usize>, Vec<u8>),
}

/// What becomes of a request that a stage has taken.
fn then(said: Then) -> (State, Directive) {
    match said {
        Then::Respond(reply) => (State::Finished, Directive::Respond(reply)),
        Then::Await(held, Until::Body) => (State::Held(Box::new(held)), Directive::AwaitBody),
        Then::Await(held, Until::Moment(at)) => (State::Held(Box::new(held)), Directive::AwaitMoment { at }),
        #[cfg(any(feature = "batch", feature = "jobs"))]
        Then::Await(held, Until::Ticket(ticket)) => {
            (State::Held(Box::new(held)), Directive::AwaitSlot { ticket })
        }
        // Its state is made where what it waits with is known.
        #[cfg(feature = "limits")]
        Then::Wait { .. } => (State::Relaying, Directive::Pass),
        #[cfg(feature = "sessions")]
        Then::Identify { .. } | Then::Identified(_) => (State::Relaying, Directive::Pass),
        #[cfg(feature = "jobs")]
        Then::Go(_) => (State::Relaying, Directive::Pass),
    }
}

impl Cache {
    /// Takes back the block of a reply that has been sent, for the next one.
    pub fn recycle(&mut self, mut fields: Vec<u8>) {
        fields.clear();
        if fields.capacity() > self.scratch.reply.capacity() && fields.capacity() <= LARGEST_KEPT_BUFFER {
            self.scratch.reply = fields;
        }
    }
}

#[derive(Default)]
enum State {
    #[default]
    Start,
    AwaitingBody(Box<AwaitingBody>),
    LookingUp(Box<LookingUp>),
    Waiting(Box<Waiting>),
    Polling(Box<Polling>),
    /// A stage before the cache has taken the request.
    Held(Box<Held>),
    /// It waits until something is known of its body.
    #[cfg(feature = "uploads")]
    Guarding(Box<Guarding>),
    /// It waits for its turn to go to the origin.
    #[cfg(feature = "pools")]
    Queued(Box<Queued>),
    /// It waits for what Redis says of a quota.
    #[cfg(feature = "limits")]
    Leasing(Box<Leasing>),
    /// It waits for what Redis says of its session.
    #[cfg(feature = "sessions")]
    Identifying(Box<Identifying>),
    Forwarding(Box<Plan>),
    /// Its inputs that are missing are being asked for.
    #[cfg(feature = "llm")]
    Calling(Box<Calling>),
    /// It is to be asked together with others.
    #[cfg(feature = "llm")]
    Joining(Box<Joining>),
    /// The request went on, and nothing of its response need be read.
    Passing(Box<Passing>),
    Refetching(Box<Refetching>),
    Storing(Box<Storing>),
    Comparing(Box<Comparing>),
    Relaying,
    Finished,
}

impl State {
    /// Bytes of the request that it keeps, as far as they grow with what the client sends.
    fn kept_bytes(&self) -> usize {
        let of_plan = Plan::kept_bytes;
        let of_held = looking_up::Held::kept_bytes;
        match self {
            Self::Start | Self::Passing(_) | Self::Relaying | Self::Finished => 0,
            Self::AwaitingBody(waiting) => waiting.kept_bytes(),
            Self::LookingUp(waiting) => of_held(&waiting.held),
            Self::Waiting(waiting) => of_held(&waiting.held),
            Self::Polling(polling) => of_held(polling.held()),
            Self::Held(held) => held.kept_bytes(),
            #[cfg(feature = "uploads")]
            Self::Guarding(guarding) => guarding.kept_bytes(),
            #[cfg(feature = "pools")]
            Self::Queued(queued) => queued.kept_bytes(),
            #[cfg(feature = "limits")]
            Self::Leasing(leasing) => leasing.kept_bytes(),
            #[cfg(feature = "sessions")]
            Self::Identifying(waiting) => waiting.kept_bytes(),
            Self::Forwarding(plan) => of_plan(plan),
            #[cfg(feature = "llm")]
            Self::Calling(calling) => calling.kept_bytes(),
            #[cfg(feature = "llm")]
            Self::Joining(joining) => joining.kept_bytes(),
            Self::Refetching(waiting) => of_plan(waiting.plan()),
            Self::Storing(storing) => of_plan(storing.plan()),
            Self::Comparing(comparing) => of_plan(comparing.plan()),
        }
    }
}

/// What is known of a request that was sent on, for when the response comes.
struct Plan {
    /// Index of its rule.
    rule: usize,
    /// Its head, for the selecting fields of a `Vary` still to come.
    head: Vec<u8>,
    /// Whether a response may be stored at all.
    role: Role,
    /// Canonical key and its hash; empty where nothing can be stored.
    key: Vec<u8>,
    hash: u128,
    /// The hash of what it brings, as far as that is known: the variant's.
    turn: u128,
    /// A hash of the credentials that its client shows.
    identity: Option<u64>,
    /// The origin was asked without the client's conditions, or for the whole in place of the client's part.
    unasked: bool,
    /// The origin was told the client's entity-tags beside ours.
    tags_added: bool,
    requested: Timestamp,
    /// The response is not stored if its key was invalidated at or after this moment.
    valid_from: Timestamp,
    asked: Asked,
    forward: Forward,
    detail: Option<Detail>,
    /// The stale response it would freshen or replace.
    stale: Option<StaleResponse>,
    /// Others may wait for what it fetches.
    leads: Option<FillId>,
    /// So may other Envoys.
    claim: Option<Claim>,
    purpose: Purpose,
    /// What the origin's breaker is to hear of.
    admitted: Option<Admitted>,
    /// What a rule that only watches would have answered with.
    would: Option<Would>,
    /// So many responses its bytes stand for, most of which nobody reads.
    weight: u64,
    /// The inputs that are asked for, where their answers are stored one by one.
    inputs: Option<Rc<Inputs>>,
    /// How it is asked for, if not by going to the origin itself.
    #[cfg(feature = "llm")]
    call: Option<Box<Call>>,
}

/// How a request for embeddings is asked for in the place of going to the origin.
#[cfg(feature = "llm")]
enum Call {
    /// Those of its inputs that are missing.
    Missing(Pieces),
    /// Together with others that have one input too.
    Together,
}

impl Plan {
    /// For a client's request that found nothing; its head is still to be given.
    fn of(keyed: &LookupRequest<'_>, now: Timestamp) -> Self {
        let LookupRequest { request, rule_index, rule, key, hash, inputs, .. } = *keyed;
        Self {
            inputs: inputs.cloned(),
            key: key.to_vec(),
            hash,
            turn: hash,
            identity: identity_of(request, rule),
            asked: asked(request, rule),
            ..Self::unkeyed(rule_index, if request.is_head() { Role::Head } else { Role::Fill }, now)
        }
    }

    /// For a client's request whose response is not to be stored, or not under a key that is known already.
    fn unkeyed(rule: usize, role: Role, now: Timestamp) -> Self {
        Self {
            rule,
            head: Vec::new(),
            role,
            key: Vec::new(),
            hash: 0,
            turn: 0,
            identity: None,
            unasked: false,
            tags_added: false,
            requested: now,
            valid_from: now,
            asked: Asked::default(),
            forward: Forward::UriMiss,
            detail: None,
            stale: None,
            leads: None,
            claim: None,
            purpose: Purpose::Client,
            admitted: None,
            would: None,
            weight: 1,
            inputs: None,
            #[cfg(feature = "llm")]
            call: None,
        }
    }

    /// The largest response to it that is stored, in bytes. One that is stored in parts may be larger than each of those.
    fn largest_of(&self, cache: &Cache) -> usize {
        let largest = cache.largest_object();
        if self.inputs.is_some() { largest.max(LARGEST_IN_PARTS) } else { largest }
    }

    /// Bytes of the request that it keeps.
    fn kept_bytes(&self) -> usize {
        let inputs = self.inputs.as_ref().map_or(0, |inputs| inputs.kept_bytes());
        self.head.capacity().saturating_add(self.key.capacity()).saturating_add(inputs)
    }
}

/// Whom a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// A client.
    Client,
    /// The store alone.
    Store,
}

/// What the response to a forwarded request can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Be stored.
    Fill,
    /// Freshen or invalidate the stored response to GET (RFC 9111 §4.3.5).
    Head,
    /// Invalidate (§4.4).
    Invalidate,
    /// Nothing.
    Bystander,
}

impl Role {
    fn of(method: MethodKind) -> Self {
        match method {
            MethodKind::Get => Self::Fill,
            MethodKind::Head => Self::Head,
            MethodKind::OtherSafe => Self::Bystander,
            MethodKind::Unsafe => Self::Invalidate,
        }
    }
}

impl Exchange {
    /// A request that has not begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one event in.
    pub fn on(&mut self, event: Event<'_>, cache: &mut Cache, moment: &mut Moment<'_>) -> Directive {
        #[cfg(feature = "uploads")]
        let event = if self.aside.is_guarded() {
            match self.guard(event, cache, moment) {
                Ok(event) => event,
                Err(directive) => return directive,
            }
        } else {
            event
        };
        #[cfg(feature = "operators")]
        let said =
            self.aside.explaining.as_ref().and_then(|explaining| explaining.on_event(&event, cache, moment));
        self.aside.hear(&event, cache, moment);
        let mut state = std::mem::replace(&mut self.state, State::Finished);
        if self.aside.is_kept() {
            state = self.aside.judge(state, cache, moment);
        }
        let (mut state, mut directive) = match (state, event) {
            (State::Start, Event::Request { head, end_of_stream }) => {
                entering::begin(head, end_of_stream, &mut self.aside, cache, moment)
            }
            #[cfg(feature = "pools")]
            (State::Queued(queued), event @ (Event::Woken(_) | Event::Ended)) => {
                self.aside.wake(*queued, matches!(event, Event::Ended), cache, moment)
            }
            #[cfg(feature = "pools")]
            (State::Queued(queued), Event::RequestBody { .. }) => {
                (State::Queued(queued), Directive::AwaitBody)
            }
            #[cfg(feature = "limits")]
            (State::Leasing(leasing), Event::Woken(_)) => leasing.on_wake(&mut self.aside, cache, moment),
            #[cfg(feature = "limits")]
            (State::Leasing(leasing), Event::RequestBody { .. }) => {
                (State::Leasing(leasing), Directive::AwaitBody)
            }
            #[cfg(feature = "limits")]
            (State::Leasing(leasing), Event::Ended) => {
                leasing.abandon(cache, moment);
                (State::Finished, Directive::Pass)
            }
            #[cfg(feature = "sessions")]
            (State::Identifying(waiting), Event::Woken(_)) => waiting.on_wake(&mut self.aside, cache, moment),
            #[cfg(feature = "sessions")]
            (State::Identifying(waiting), Event::RequestBody { .. }) => {
                (State::Identifying(waiting), Directive::AwaitBody)
            }
            #[cfg(feature = "sessions")]
            (State::Identifying(waiting), Event::Ended) => {
                waiting.abandon(cache);
                (State::Finished, Directive::Pass)
            }
            (State::AwaitingBody(waiting), Event::RequestBody { chunk, end_of_stream }) => {
                waiting.on_chunk(chunk, end_of_stream, &mut self.aside, cache, moment)
            }
            #[cfg(feature = "uploads")]
            (State::Guarding(guarding), Event::RequestBody { chunk, end_of_stream }) => {
                guarding.on_chunk(chunk, end_of_stream, &mut self.aside, cache, moment)
            }
            #[cfg(feature = "uploads")]
            (State::Guarding(guarding), Event::Woken(_)) => guarding.let_go(&mut self.aside, cache, moment),
            (State::Held(held), Event::RequestBody { chunk, end_of_stream }) => {
                then(held.on_chunk(chunk, end_of_stream, cache, moment))
            }
            (State::Held(held), Event::Woken(_)) => match held.on_wake(cache, moment) {
                #[cfg(feature = "jobs")]
                Then::Go(onward) => entering::go_on(*onward, &mut self.aside, cache, moment),
                said => then(said),
            },
            (State::Held(_), Event::Ended) => (State::Finished, Directive::Pass),
            // What a stage has taken is answered by it, and never goes to the origin.
            (state @ State::Held(_), _) => (state, Directive::AwaitBody),
            (State::LookingUp(waiting), Event::Remote(answer)) => waiting.on_answer(answer, cache, moment),
            (State::Waiting(waiting), Event::Woken(wake)) => waiting.on_wake(wake, cache, moment),
            (State::Polling(polling), Event::Woken(_)) => polling.on_wake(cache, moment),
            // The body of a held request waits in the host's buffer.
            (
                state @ (State::LookingUp(_) | State::Waiting(_) | State::Polling(_)),
                Event::RequestBody { .. },
            ) => (state, Directive::AwaitBody),
            (State::Forwarding(plan), Event::Response { head, end_of_stream }) => {
                plan.on_response(self.aside.head_for_client(head), end_of_stream, cache, moment)
            }
            #[cfg(feature = "llm")]
            (state, Event::Fetched(fetched)) if self.aside.awaits_answer() => {
                (state, self.aside.fetched(fetched, cache, moment))
            }
            // What has failed is not for the client, as long as an answer may come.
            #[cfg(feature = "llm")]
            (state, Event::Body { .. } | Event::Trailers) if self.aside.awaits_answer() => {
                (state, Directive::Pass)
            }
            #[cfg(feature = "llm")]
            (State::Calling(calling), Event::Fetched(fetched)) => {
                calling.on_answer(fetched, &mut self.aside, cache, moment)
            }
            #[cfg(feature = "llm")]
            (State::Joining(joining), Event::Woken(_)) => joining.on_wake(&mut self.aside, cache, moment),
            #[cfg(feature = "llm")]
            (state @ (State::Calling(_) | State::Joining(_)), Event::RequestBody { .. }) => {
                (state, Directive::AwaitBody)
            }
            #[cfg(feature = "llm")]
            (State::Calling(calling), Event::Ended) => {
                calling.abandon(cache, moment);
                (State::Finished, Directive::Pass)
            }
            #[cfg(feature = "llm")]
            (State::Joining(joining), Event::Ended) => {
                joining.abandon(cache, moment);
                (State::Finished, Directive::Pass)
            }
            (State::Passing(passing), Event::Response { .. }) => {
                (State::Relaying, passing.relay(cache.policy()))
            }
            (State::Refetching(waiting), Event::Fetched(fetched)) => {
                waiting.on_answer(fetched, cache, moment)
            }
            (State::Refetching(waiting), Event::Ended) => {
                waiting.abandon(cache, moment);
                (State::Finished, Directive::Pass)
            }
            // What the origin has sent is not for the client.
            (state @ State::Refetching(_), Event::Body { .. } | Event::Trailers) => (state, Directive::Pass),
            (State::Storing(storing), Event::Body { chunk, end_of_stream }) => {
                storing.on_chunk(self.aside.part_for_client(chunk), end_of_stream, cache, moment)
            }
            (State::Comparing(comparing), Event::Body { chunk, end_of_stream }) => {
                comparing.on_chunk(self.aside.part_for_client(chunk), end_of_stream, cache, moment)
            }
            (State::Comparing(comparing), Event::Trailers) => comparing.finish(cache, moment),
            (State::Comparing(comparing), Event::Ended) => {
                comparing.abandon(cache, moment);
                (State::Finished, Directive::Pass)
            }
            (State::Storing(storing), Event::Trailers) => storing.finish(cache, moment),
            (State::Storing(storing), Event::Ended) => {
                storing.abandon(FillEnd::Abandoned, cache, moment);
                (State::Finished, Directive::Pass)
            }
            (State::Forwarding(plan), Event::Ended) => {
                plan.abandon(FillEnd::Abandoned, cache, moment);
                (State::Finished, Directive::Pass)
            }
            (State::LookingUp(waiting), Event::Ended) => {
                waiting.abandon(cache, moment);
                (State::Finished, Directive::Pass)
            }
            (State::Polling(polling), Event::Ended) => {
                polling.abandon(cache, moment);
                (State::Finished, Directive::Pass)
            }
            (State::Waiting(waiting), Event::Ended) => {
                waiting.abandon(cache);
                (State::Finished, Directive::Pass)
            }
            // An origin may answer before the request has ended.
            (
                state @ (State::Forwarding(_) | State::Passing(_) | State::Storing(_) | State::Comparing(_)),
                Event::RequestBody { .. },
            ) => (state, Directive::Pass),
            (state @ (State::Relaying | State::Finished), _) => (state, Directive::Pass),
            (_, Event::Ended) => (State::Finished, Directive::Pass),
            (state, _) => {
                cache.stats.count("event", "unexpected");
                match state {
                    State::Storing(storing) => storing.abandon(FillEnd::Abandoned, cache, moment),
                    State::Comparing(comparing) => comparing.abandon(cache, moment),
                    State::Forwarding(plan) => plan.abandon(FillEnd::Abandoned, cache, moment),
                    State::LookingUp(waiting) => waiting.abandon(cache, moment),
                    State::Waiting(waiting) => waiting.abandon(cache),
                    State::Polling(polling) => polling.abandon(cache, moment),
                    State::Refetching(waiting) => waiting.abandon(cache, moment),
                    #[cfg(feature = "llm")]
                    State::Calling(calling) => calling.abandon(cache, moment),
                    #[cfg(feature = "llm")]
                    State::Joining(joining) => joining.abandon(cache, moment),
                    #[cfg(feature = "pools")]
                    State::Queued(queued) => {
                        self.aside.wake(*queued, true, cache, moment);
                    }
                    #[cfg(feature = "limits")]
                    State::Leasing(leasing) => leasing.abandon(cache, moment),
                    #[cfg(feature = "sessions")]
                    State::Identifying(waiting) => waiting.abandon(cache),
                    _ => {}
                }
                (State::Relaying, Directive::Pass)
            }
        };
        if self.aside.is_kept() {
            (state, directive) = self.aside.send((state, directive), cache, moment);
            #[cfg(feature = "llm")]
            {
                (state, directive) = calling::instead(state, directive, cache, moment);
            }
        }
        self.state = state;
        self.note_kept(cache);
        #[cfg(feature = "operators")]
        if let Some(explaining) = &self.aside.explaining {
            explaining.add_to(&mut directive, said, cache, moment);
        }
        directive
    }

    /// Counts what is kept of the request.
    #[inline]
    fn note_kept(&mut self, cache: &Cache) {
        match self.state.kept_bytes() + self.aside.kept_bytes() {
            0 => self.kept = None,
            bytes => self.kept.get_or_insert_with(|| cache.keep(0)).set(bytes),
        }
    }

    /// Where it stands, as the table of transitions calls it.
    pub const fn state_name(&self) -> &'static str {
        match &self.state {
            State::Start => "start",
            State::AwaitingBody(_) => "awaiting body",
            State::LookingUp(_) => "looking up",
            State::Waiting(_) => "waiting",
            State::Polling(_) => "polling",
            State::Held(held) => held.name(),
            #[cfg(feature = "uploads")]
            State::Guarding(_) => "guarding",
            #[cfg(feature = "pools")]
            State::Queued(_) => "queued",
            #[cfg(feature = "limits")]
            State::Leasing(_) => "leasing",
            #[cfg(feature = "sessions")]
            State::Identifying(_) => "identifying",
            State::Forwarding(_) => "forwarding",
            #[cfg(feature = "llm")]
            State::Calling(_) => "calling",
            #[cfg(feature = "llm")]
            State::Joining(_) => "joining",
            State::Passing(_) => "passing",
            State::Refetching(_) => "refetching",
            State::Storing(_) => "storing",
            State::Comparing(_) => "comparing",
            State::Relaying => "relaying",
            State::Finished => "finished",
        }
    }

    /// Whether nothing of the response need be read but what [`Exchange::wanted_of_head`] says.
    #[inline]
    pub fn is_passing(&self) -> bool {
        match self.state {
            State::Passing(_) | State::Relaying if self.aside.wants_head() => false,
            State::Passing(_) => true,
            State::Relaying => {
                self.aside.has_more_to_say()
                    || self.holds_slot()
                    || self.aside.is_counting()
                    || self.watches_body()
            }
            _ => false,
        }
    }

    /// The fields that are read of the head of a response that passes; `None`: all, as far as any are.
    pub fn wanted_of_head(&self) -> Option<&'static [&'static str]> {
        match (self.holds_slot(), self.aside.has_more_to_say() || self.aside.is_counting()) {
            (_, true) => None,
            (true, false) => Some(&[":status", LOAD]),
            (false, false) => Some(&[]),
        }
    }

    /// What is to be done to a response that [passes](Exchange::is_passing), of whose head these fields were read. The event
    /// of its head is spared then, and nothing can come of further ones but its end.
    #[inline]
    pub fn take_passing(
        &mut self,
        head: Fields<'_>,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> (Option<Box<Passing>>, Added) {
        let passing = match std::mem::take(&mut self.state) {
            State::Passing(passing) => Some(passing),
            _ => None,
        };
        self.state = State::Relaying;
        (passing, self.aside.see_passing(head, cache, moment))
    }

    /// Whether the parts of the response's body are wanted.
    pub fn wants_body(&self) -> bool {
        matches!(self.state, State::Storing(_) | State::Comparing(_)) || self.aside.reads_body()
    }

    /// Whether requests are watched at all.
    pub const WATCHES: bool = cfg!(feature = "uploads");

    /// Whether the parts of the request's body are wanted on their way to the origin too.
    pub fn watches_body(&self) -> bool {
        self.aside.is_guarded()
    }

    /// Whether only the length of those parts is wanted: [`Event::RequestBytes`].
    pub fn counts_body(&self) -> bool {
        #[cfg(feature = "uploads")]
        return self.counts_body_only();
        #[cfg(not(feature = "uploads"))]
        false
    }

    /// Whether the request is held for the beginning of its body, before the cache has seen it. [`Event::Woken`] lets it go
    /// without.
    pub const fn is_guarding(&self) -> bool {
        #[cfg(feature = "uploads")]
        return matches!(self.state, State::Guarding(_));
        #[cfg(not(feature = "uploads"))]
        false
    }

    /// So many of the last bytes that have come of the request's body may not go on yet, whatever else is decided.
    pub fn open_bytes(&self) -> usize {
        #[cfg(feature = "uploads")]
        return self.aside.guard().map_or(0, crate::uploads::Guard::open_bytes);
        #[cfg(not(feature = "uploads"))]
        0
    }

    /// Whether the request is held and its body is read as a whole, now or once it is held no more: the host has to gather it. Of
    /// others it may stop reading.
    pub fn gathers_body(&self) -> bool {
        match &self.state {
            State::AwaitingBody(_) => true,
            State::Held(held) => held.may_go_on() || held.awaits_body(),
            #[cfg(feature = "uploads")]
            State::Guarding(guarding) => guarding.reads_body(),
            #[cfg(feature = "sessions")]
            State::Identifying(waiting) => waiting.body_use() == BodyUse::Gathered,
            #[cfg(feature = "limits")]
            State::Leasing(leasing) => leasing.body_use() == BodyUse::Gathered,
            _ => false,
        }
    }

    /// Whether the body of a request that is held will be checked, and no more: what comes of it meanwhile has to be kept.
    pub fn keeps_body(&self) -> bool {
        #[cfg(any(feature = "sessions", feature = "limits"))]
        return self.body_use() == Some(BodyUse::Checked);
        #[cfg(not(any(feature = "sessions", feature = "limits")))]
        false
    }

    /// Whether only the length of the body of a request that is held will be wanted.
    pub fn will_count_body(&self) -> bool {
        #[cfg(any(feature = "sessions", feature = "limits"))]
        return self.body_use() == Some(BodyUse::Counted);
        #[cfg(not(any(feature = "sessions", feature = "limits")))]
        false
    }

    #[cfg(any(feature = "sessions", feature = "limits"))]
    const fn body_use(&self) -> Option<BodyUse> {
        match &self.state {
            #[cfg(feature = "sessions")]
            State::Identifying(waiting) => Some(waiting.body_use()),
            #[cfg(feature = "limits")]
            State::Leasing(leasing) => Some(leasing.body_use()),
            _ => None,
        }
    }

    /// Whether the request is held for its body.
    pub fn awaits_request_body(&self) -> bool {
        match &self.state {
            State::AwaitingBody(_) => true,
            State::Held(held) => held.awaits_body(),
            #[cfg(feature = "uploads")]
            State::Guarding(_) => true,
            _ => false,
        }
    }

    /// Whether a stage has taken it, so that it must never go to the origin: it may show a token.
    pub const fn is_held(&self) -> bool {
        matches!(self.state, State::Held(_))
    }

    /// Whether the request is held for the remote store.
    pub fn awaits_remote(&self) -> bool {
        matches!(self.state, State::LookingUp(_))
    }

    /// Whether the request is held for what Redis says, and may go on after that.
    pub fn awaits_lease(&self) -> bool {
        match &self.state {
            #[cfg(feature = "sessions")]
            State::Identifying(_) => true,
            #[cfg(feature = "limits")]
            State::Leasing(_) => true,
            State::Held(held) => held.may_go_on() && !held.awaits_body(),
            _ => false,
        }
    }

    /// Whether the request is held for what Redis says of a quota on its way from the cache to the origin; `None` if it is not
    /// held for that.
    pub fn leases_past_cache(&self) -> Option<bool> {
        #[cfg(feature = "sessions")]
        if matches!(self.state, State::Identifying(_)) {
            return Some(false);
        }
        #[cfg(feature = "limits")]
        return match &self.state {
            State::Leasing(leasing) => Some(leasing.is_past_cache()),
            _ => None,
        };
        #[cfg(not(feature = "limits"))]
        None
    }

    /// Whether the request is held for another's fetch, of this Envoy or of the fleet, or by a stage until a moment.
    pub fn awaits_fill(&self) -> bool {
        match &self.state {
            State::Waiting(_) | State::Polling(_) => true,
            #[cfg(feature = "pools")]
            State::Queued(_) => true,
            #[cfg(feature = "limits")]
            State::Leasing(_) => true,
            #[cfg(feature = "sessions")]
            State::Identifying(_) => true,
            #[cfg(feature = "llm")]
            State::Joining(_) => true,
            State::Held(held) => !held.awaits_body(),
            _ => false,
        }
    }

    /// The hash of what the request fetches for all that wait for it, while it is at the origin.
    pub fn leads(&self) -> Option<u128> {
        match &self.state {
            State::Forwarding(plan) => plan.leads.map(|id| id.hash()),
            _ => None,
        }
    }

    /// Whether the request is held for a call to the origin.
    pub const fn awaits_inputs(&self) -> bool {
        #[cfg(feature = "llm")]
        return matches!(self.state, State::Calling(_));
        #[cfg(not(feature = "llm"))]
        false
    }

    /// Whether the response is held for a call to the origin.
    pub fn awaits_fetch(&self) -> bool {
        matches!(self.state, State::Refetching(_)) || self.aside.awaits_answer()
    }

    /// What is done to the request if it has to go on before anything is known of its body.
    pub fn lets_go(&self) -> Vec<RequestEdit> {
        self.aside.lets_go()
    }

    /// What is to be done to the request at once, whatever becomes of it: to be asked after each directive about it.
    #[inline]
    pub fn take_edits(&mut self) -> Vec<RequestEdit> {
        #[cfg(feature = "sessions")]
        return self.aside.identity.as_mut().map_or_else(Vec::new, |identity| identity.take_edits());
        #[cfg(not(feature = "sessions"))]
        Vec::new()
    }

    /// Whether nothing can come of further events.
    pub fn is_over(&self) -> bool {
        match self.state {
            State::Relaying => {
                !self.holds_slot()
                    && !self.aside.has_more_to_say()
                    && !self.aside.is_counting()
                    && !self.aside.awaits_head()
                    && !self.aside.awaits_answer()
                    && !self.watches_body()
            }
            // The copy is stored or let go of, and the answer goes on.
            State::Finished => !self.holds_slot() && !self.aside.reads_body() && !self.aside.awaits_answer(),
            _ => false,
        }
    }

    /// Whether nothing is left to do but to give a slot back, and to tell the client something. For leak watches.
    pub const fn is_settled(&self) -> bool {
        matches!(self.state, State::Relaying | State::Finished)
    }

    /// Whether it has a slot of a pool, which is free again when the stream ends.
    pub fn holds_slot(&self) -> bool {
        self.aside.holds_slot()
    }
}

/// The largest answer that is stored in parts, or that a call for parts may bring, in bytes.
pub const LARGEST_IN_PARTS: usize = 8 << 20;

/// The field in which an origin says what it has to do.
pub const LOAD: &str = "endpoint-load-metrics";

/// A reply buffer that a very large head has grown is not kept.
const LARGEST_KEPT_BUFFER: usize = 64 * 1024;
