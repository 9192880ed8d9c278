//! What a request passes before the cache sees it: one stage for each capability.
//!
//! The exchange asks them in the order of `enter`, and is the only one that keeps a request's state. A stage lets the request
//! go on, answers it, or takes it: then it says what it waits for, is told of each such event, and answers in the end. What
//! a stage has taken never goes to the origin.
//!
//! A stage that is not configured costs the test of one flag, and one that was not built nothing. `plugin/docs/capability.md`
//! shows how to add one.

#[cfg(feature = "batch")]
pub(crate) mod batch;
#[cfg(feature = "jobs")]
pub(crate) mod jobs;
#[cfg(feature = "limits")]
pub(crate) mod limits;
#[cfg(feature = "maintenance")]
mod maintenance;
#[cfg(feature = "operators")]
pub(crate) mod operators;
#[cfg(feature = "sessions")]
pub(crate) mod sessions;
#[cfg(feature = "teapot")]
mod teapot;
#[cfg(feature = "uploads")]
pub(crate) mod uploads;

#[cfg(any(feature = "sessions", feature = "limits"))]
use crate::admission::reads_body;
use crate::cache::{Cache, Moment};
use crate::cache_status::{Detail, Outcome};
#[cfg(any(feature = "sessions", feature = "limits"))]
use crate::policy::Policy;
use crate::policy::Rule;
use crate::reply::Reply;
use crate::request::Request;
use crate::time::Timestamp;

/// A request at its beginning, as the stages see it.
pub(crate) struct Seen<'a> {
    /// Its head.
    pub request: &'a Request<'a>,
    /// It has no body.
    pub end_of_stream: bool,
    /// Its rule.
    pub rule: &'a Rule,
    /// The rule's index.
    pub rule_index: usize,
    /// Its session has been found out.
    #[cfg(feature = "sessions")]
    pub is_identified: bool,
    /// It goes on without its session because nobody could say what that is.
    #[cfg(feature = "jobs")]
    pub is_of_unknown_session: bool,
}

/// What a stage does with a request that it has taken.
pub(crate) enum Then {
    /// This is the answer.
    Respond(Reply),
    /// It waits, and keeps this.
    Await(Held, Until),
    /// It goes through the stages again once its ticket has been decided.
    #[cfg(feature = "limits")]
    Wait {
        /// The ticket.
        ticket: u64,
        /// When it has waited enough.
        until: Timestamp,
    },
    /// The same, once Redis has said what its session is.
    #[cfg(feature = "sessions")]
    Identify {
        /// The ticket.
        ticket: u64,
        /// When it has waited enough.
        until: Timestamp,
    },
    /// It goes through the stages again with the fields of its session.
    #[cfg(feature = "sessions")]
    Identified(sessions::Identified),
    /// It goes on after all, past the stages.
    #[cfg(feature = "jobs")]
    Go(Box<jobs::Onward>),
}

/// What a stage waits for.
pub(crate) enum Until {
    /// The next part of the request's body.
    Body,
    /// This moment.
    Moment(Timestamp),
    /// What this ticket stands for.
    #[cfg(any(feature = "batch", feature = "jobs"))]
    Ticket(u64),
}

/// Asks the stages in their order. `None` if all let the request go on.
#[inline]
pub(crate) fn enter(seen: &Seen<'_>, cache: &mut Cache, moment: &mut Moment<'_>) -> Option<Then> {
    #[cfg(feature = "operators")]
    if let Some(then) = operators::enter(seen, cache, moment) {
        return Some(then);
    }
    #[cfg(feature = "maintenance")]
    if let Some(then) = maintenance::enter(seen, cache, moment.now) {
        return Some(then);
    }
    #[cfg(feature = "sessions")]
    if let Some(then) = sessions::enter(seen, cache, moment) {
        return Some(then);
    }
    #[cfg(feature = "limits")]
    if let Some(then) = limits::enter(seen, cache, moment) {
        return Some(then);
    }
    #[cfg(feature = "jobs")]
    if let Some(then) = jobs::enter(seen, cache, moment) {
        return Some(then);
    }
    #[cfg(feature = "batch")]
    if let Some(then) = batch::enter(seen, cache) {
        return Some(then);
    }
    #[cfg(feature = "teapot")]
    if let Some(then) = teapot::enter(seen, cache) {
        return Some(then);
    }
    None
}

/// What becomes of the body of a request that waits for Redis, once it goes on.
#[cfg(any(feature = "sessions", feature = "limits"))]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyUse {
    /// It goes to the origin as it comes.
    Passes,
    /// It is counted on its way.
    Counted,
    /// It is checked on its way.
    Checked,
    /// It is read as a whole, and may be changed.
    Gathered,
}

#[cfg(any(feature = "sessions", feature = "limits"))]
impl BodyUse {
    /// By what comes behind the stages that wait for Redis.
    pub(crate) fn of(seen: &Seen<'_>, policy: &Policy) -> Self {
        let gathers = reads_body(seen.request, seen.rule);
        #[cfg(feature = "jobs")]
        let gathers =
            gathers || policy.jobs.is_some() && crate::jobs::asking::would_accept(seen.request, seen.rule);
        #[cfg(feature = "batch")]
        let gathers = gathers
            || policy
                .batch
                .as_ref()
                .is_some_and(|batch| batch.is_asked_for(seen.request.method, seen.request.path()));
        #[cfg(not(any(feature = "jobs", feature = "batch")))]
        let _ = policy;
        if gathers {
            return Self::Gathered;
        }
        #[cfg(feature = "uploads")]
        if let Some(upload) = &seen.rule.upload
            && let Ok(Some(guard)) = crate::uploads::Guard::of(seen.request, seen.rule_index, upload)
        {
            return if guard.only_counts() { Self::Counted } else { Self::Checked };
        }
        Self::Passes
    }
}

/// An answer to a client, with these fields beside `Cache-Status`. Counted as `refused`, and under its word in `detail`.
pub(crate) fn answer(
    status: u16,
    detail: Detail,
    fields: &[(&[u8], &[u8])],
    content: &[u8],
    rule: &Rule,
    cache: &mut Cache,
) -> Then {
    let outcome = Outcome { detail: Some(detail), ..Outcome::under(rule) };
    cache.stats.record(&outcome);
    cache.scratch.refused = Some((detail, status));
    let name = cache.policy().cache_status_name.as_bytes();
    Then::Respond(Reply::saying(status, &outcome, name, fields, content))
}

/// What a stage keeps of a request that it has taken.
pub(crate) enum Held {
    #[cfg(feature = "operators")]
    /// An operator's request whose body is still coming.
    Operating(operators::Operating),
    #[cfg(feature = "operators")]
    /// A purge of which the fleet has yet to hear.
    Purging(operators::Purging),
    #[cfg(feature = "batch")]
    /// Several GETs.
    Batching(batch::Batching),
    #[cfg(all(feature = "jobs", feature = "operators"))]
    /// An operator who waits for what Redis says of jobs.
    Inquiring(operators::Inquiring),
    #[cfg(feature = "jobs")]
    /// A request that becomes a job, or is about one.
    Job(Box<jobs::Asking>),
}

impl Held {
    /// A part of the request's body has come.
    pub(crate) fn on_chunk(
        self,
        chunk: &[u8],
        end_of_stream: bool,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> Then {
        match self {
            #[cfg(feature = "operators")]
            Self::Operating(operating) => operating.on_chunk(chunk, end_of_stream, cache, moment),
            #[cfg(feature = "operators")]
            held @ Self::Purging(_) => Then::Await(held, Until::Body),
            #[cfg(feature = "batch")]
            Self::Batching(batching) => batching.on_chunk(chunk, end_of_stream, cache, moment),
            #[cfg(all(feature = "jobs", feature = "operators"))]
            held @ Self::Inquiring(_) => Then::Await(held, Until::Body),
            #[cfg(feature = "jobs")]
            Self::Job(asking) => asking.on_chunk(chunk, end_of_stream, cache, moment),
        }
    }

    /// The moment that it waited for has come.
    pub(crate) fn on_wake(self, cache: &mut Cache, moment: &mut Moment<'_>) -> Then {
        match self {
            #[cfg(feature = "operators")]
            Self::Purging(purging) => purging.look(cache, moment),
            #[cfg(feature = "operators")]
            held @ Self::Operating(_) => Then::Await(held, Until::Body),
            #[cfg(feature = "batch")]
            Self::Batching(batching) => batching.on_wake(cache),
            #[cfg(all(feature = "jobs", feature = "operators"))]
            Self::Inquiring(inquiring) => inquiring.on_wake(cache, moment),
            #[cfg(feature = "jobs")]
            Self::Job(asking) => asking.on_wake(cache, moment),
        }
    }

    /// Whether it may go on to the origin after all.
    pub(crate) const fn may_go_on(&self) -> bool {
        #[cfg(feature = "jobs")]
        return matches!(self, Self::Job(_));
        #[cfg(not(feature = "jobs"))]
        false
    }

    /// Whether it waits for the request's body.
    pub(crate) const fn awaits_body(&self) -> bool {
        match *self {
            #[cfg(feature = "operators")]
            Self::Operating(_) => true,
            #[cfg(feature = "operators")]
            Self::Purging(_) => false,
            #[cfg(feature = "batch")]
            Self::Batching(ref batching) => batching.awaits_body(),
            #[cfg(all(feature = "jobs", feature = "operators"))]
            Self::Inquiring(_) => false,
            #[cfg(feature = "jobs")]
            Self::Job(ref asking) => asking.awaits_body(),
        }
    }

    /// Bytes of the request that it keeps, as far as they grow with what the client sends.
    pub(crate) fn kept_bytes(&self) -> usize {
        match *self {
            #[cfg(feature = "operators")]
            Self::Operating(ref operating) => operating.kept_bytes(),
            #[cfg(feature = "operators")]
            Self::Purging(ref purging) => purging.kept_bytes(),
            #[cfg(feature = "batch")]
            Self::Batching(ref batching) => batching.kept_bytes(),
            #[cfg(all(feature = "jobs", feature = "operators"))]
            Self::Inquiring(_) => 0,
            #[cfg(feature = "jobs")]
            Self::Job(ref asking) => asking.kept_bytes(),
        }
    }

    /// As the table of transitions calls it.
    pub(crate) const fn name(&self) -> &'static str {
        match *self {
            #[cfg(feature = "operators")]
            Self::Operating(_) => "operating",
            #[cfg(feature = "operators")]
            Self::Purging(_) => "purging",
            #[cfg(feature = "batch")]
            Self::Batching(_) => "batching",
            #[cfg(all(feature = "jobs", feature = "operators"))]
            Self::Inquiring(_) => "inquiring",
            #[cfg(feature = "jobs")]
            Self::Job(_) => "asking",
        }
    }
}
