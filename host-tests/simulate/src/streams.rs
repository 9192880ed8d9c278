//! One simulated stream.

use crate::client::Ask;
use crate::events::VmId;
use crate::origin::Answer;
use crate::purges::Purge;

/// Where it is, as the host sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The filter holds it.
    Held,
    /// It went to the origin.
    AtOrigin,
    /// Its response passes, the cache's or the origin's.
    Relaying,
    /// Its response is complete, or its client has gone.
    Over,
}

pub struct Stream {
    pub ask: Ask,
    pub vm: VmId,
    pub phase: Phase,
    pub begun: u64,
    /// When it went to the origin.
    pub sent: u64,
    /// How often its client got a response.
    pub answers: u32,
    pub client_gone: bool,
    /// Its head, as it reaches the origin.
    pub head: Vec<(String, Vec<u8>)>,
    /// How often it was woken after another's fetch.
    pub wakes: u32,
    /// When it last began to lead, as far as can be seen from outside.
    pub turn: Option<u64>,
    /// Since when it asks Redis again and again, while another Envoy fetches.
    pub polls_since: Option<u64>,
    /// The same, whatever Redis has said last.
    pub polls_from: Option<u64>,
    /// It waits to ask Redis again.
    pub polls: bool,
    /// What it asks Redis waits for others' questions.
    pub gathered: bool,
    /// Too many waited already.
    pub alone: bool,
    /// The value of `Cache-Status` that its response was given.
    pub cache_status: String,
    pub answer: Option<Answer>,
    /// The number of its fetch, counted over all.
    pub fetch: Option<usize>,
    /// When the head of its response came.
    pub head_at: Option<u64>,
    /// Its response is held for a call of the cache's own.
    pub refetching: bool,
    /// The hash of what it would fetch, when it began to lead.
    pub led: Option<u128>,
    /// Redis had something for it.
    pub adopted: bool,
    /// It has asked Redis again and again.
    pub polled: bool,
    /// The status and the stamp that the filter has given to the response at hand.
    pub made: (Option<u16>, Option<Vec<u8>>),
    /// The version that the origin answered with.
    pub version: usize,
    /// The version that the origin made of its unsafe request.
    pub published: Option<usize>,
    /// An operator's, with what it purges.
    pub purge: Option<Purge>,
    /// Its response has lost the field with its tags.
    pub stripped: bool,
    /// Since when it waits for a place at the origin, until it is woken.
    pub queued: Option<u64>,
    /// It has waited for one.
    pub placed: bool,
    /// It has one.
    pub place: bool,
    /// The highest class of those who went on waiting when it was decided, if that is higher than its own.
    pub through: Option<usize>,
    /// Limits have counted it as one for the origin.
    pub counted: bool,
    /// A limit has refused it.
    pub limited: bool,
    /// It waits for what Redis says of a quota.
    pub leases: bool,
    /// Limits before the cache let it wait, and have not counted it yet.
    pub uncounted: bool,
}

impl Stream {
    pub fn new(ask: Ask, vm: VmId, begun: u64) -> Self {
        Self {
            head: ask.head(),
            ask,
            vm,
            phase: Phase::Held,
            begun,
            sent: begun,
            answers: 0,
            client_gone: false,
            wakes: 0,
            turn: None,
            polls_since: None,
            polls_from: None,
            polls: false,
            gathered: false,
            alone: false,
            cache_status: String::new(),
            answer: None,
            fetch: None,
            head_at: None,
            refetching: false,
            led: None,
            adopted: false,
            polled: false,
            made: (None, None),
            version: 0,
            published: None,
            purge: None,
            stripped: false,
            queued: None,
            placed: false,
            place: false,
            through: None,
            counted: false,
            limited: false,
            leases: false,
            uncounted: false,
        }
    }
}

/// The context of a stream in its VM.
pub const fn context_of(stream: usize) -> u32 {
    stream as u32 + FIRST
}

/// The stream of a context, if it is not a root.
pub const fn stream_of(context: u32) -> Option<usize> {
    match context.checked_sub(FIRST) {
        Some(stream) => Some(stream as usize),
        None => None,
    }
}

/// The root context of every VM.
pub const ROOT: u32 = 1;
const FIRST: u32 = 16;
