//! How many requests may be at an origin at once, and which of them wait for that.

use std::time::Duration;

use super::by::By;
use super::kinds::{Words, duration, switch, text, whole, word};
use super::nested::{list, nullable, object, refuse_known_name, refuse_unknown_name, required};
use super::texts::{Caller, Field, PoolName};
use super::{Section, section};
use crate::config::limits::{PERCENT, POOL_REQUESTS, POOL_SLOTS, POOL_WAIT};
use crate::config::reader::{Object, Place};
use crate::config::reference::Least::Empty;
use crate::config::written::Written;
use crate::config::{FieldName, names};
use crate::pools::queue::Class;

/// A pool: what may be at an origin at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Unique.
    pub name: Box<str>,
    /// The least that the limit may become. Default: 2.
    pub min: u32,
    /// The most. Default: 500.
    pub max: u32,
    /// The first limit. Default: 20.
    pub start: u32,
    /// The limit, where it is not to be found. Default `None`: it is found.
    pub fixed: Option<u32>,
    /// Until when an answer is timed. Default: [`Until::Head`].
    pub sample: Until,
    /// When a request's place is free again. Default: [`Until::End`].
    pub release: Until,
    /// Who waits.
    pub queue: PoolQueue,
    /// Of a hundred places that the others wait for too, HIGH leaves so many. Default: 5.
    pub low_share: u32,
    /// An origin that says it is used more than this, in percent, is given less. Default: 90. `None`: it is not asked.
    pub utilization_percent: Option<u32>,
}

section! {
    Pool check in_order {
        name = Box::default(), required(text::<PoolName>(), names::NAMESPACE), "Required and unique; metrics have it as a label.";
        min = 2, whole(POOL_SLOTS), "The least that the limit may become.";
        max = 500, whole(POOL_SLOTS), "The most that it may become.";
        start = 20, whole(POOL_SLOTS), "The first limit, until answers have told a better one.";
        fixed = None, nullable(whole(POOL_SLOTS)), "The limit, always; `null`: it is found from how long answers take.";
        sample = Until::Head, word(UNTIL),
            "What is timed of an answer: until its head, or until its end.";
        release = Until::End, word(UNTIL),
            "When a request makes place for the next: at the head of its response, for long streams, or at its end.";
        queue = PoolQueue::default(), object(), "Requests for which there is no place wait.";
        low_share = 5, whole(PERCENT),
            "Of a hundred places for which all classes wait, `normal` and `low` have so many for sure.";
        utilization_percent = Some(90), nullable(whole(1..=100)),
            "An origin whose `endpoint-load-metrics` say that its processor or memory is used more than this gets fewer requests; `null`: they are not read.";
    }
}

fn in_order(pool: &mut Pool, object: &mut Object<'_, '_>) {
    // A bound that is not written gives way.
    let written = object.has("min") && object.has("max");
    if pool.min > pool.max && written {
        let allowed = format!("at most `max`, {}", pool.max);
        object.place_of("min").refuse::<()>(pool.min.to_string(), allowed);
    } else if object.has("min") {
        pool.max = pool.max.max(pool.min);
    } else {
        pool.min = pool.min.min(pool.max);
    }
}

/// The queue of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolQueue {
    /// Requests of each class that wait in a worker at most. Default: 256.
    pub requests: usize,
    /// How long they wait at most.
    pub wait: PoolWait,
}

section! {
    PoolQueue {
        requests = 256, whole(POOL_REQUESTS),
            "Requests of each class that wait in a worker at most. Their heads count against `worker.waiting_bytes`.";
        wait = PoolWait::default(), object(), "How long they wait at most.";
    }
}

/// How long requests of each class wait for a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolWait {
    /// Default: 2 s.
    pub high: Duration,
    /// Default: 500 ms.
    pub normal: Duration,
    /// Default: 200 ms.
    pub low: Duration,
}

section! {
    PoolWait {
        high = Duration::from_secs(2), duration(POOL_WAIT), "A request of class `high`.";
        normal = Duration::from_millis(500), duration(POOL_WAIT), "One of class `normal`.";
        low = Duration::from_millis(200), duration(POOL_WAIT), "One of class `low`, as the cache's own are.";
    }
}

/// A part of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Its head has come.
    Head,
    /// It has ended.
    End,
}

const UNTIL: Words<Until> = &[("head", Until::Head), ("end", Until::End)];

/// How the requests of a rule go to the origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// The pool's name.
    pub pool: Box<str>,
    /// Their class. Default: [`Class::Normal`].
    pub priority: Class,
    /// A field that says another class. Default: none.
    pub priority_header: Option<FieldName>,
    /// What tells those apart who are to have equal parts. Default: nothing.
    pub fair_by: Vec<By>,
    /// Nothing waits and nothing is refused; what would be is counted. Default: false.
    pub shadow: bool,
}

section! {
    Admission {
        pool = Box::default(), required(text::<PoolName>(), "the name of one of `pools`"),
            "Required. The name of one of `pools`.";
        priority = Class::Normal, word(CLASS), "The class of the requests.";
        priority_header = None, nullable(text::<Field>()),
            "A request field that says `high`, `normal` or `low` instead. Clients can send it, unless Envoy takes it off or sets it.";
        fair_by = Vec::new(), list(Empty, text::<Caller>()),
            "Those who wait in one class have equal parts by this: `ip`, `header:NAME`, `cookie:NAME`, `session:NAME`, `host`, `path`, `rule`, as in `limits`.";
        shadow = false, switch(), "Nothing waits and nothing is refused; what would be is counted.";
    }
}

const CLASS: Words<Class> = &[("high", Class::High), ("normal", Class::Normal), ("low", Class::Low)];

/// Most pools.
pub(crate) const POOLS: usize = 64;

/// Reads one of `pools` and adds it to those before it.
pub(crate) fn named_pool(place: Place<'_>, written: &Written, pools: &mut Vec<Pool>) {
    let pool = Object::walk(place, written, |object| {
        let mut pool = Pool::default();
        pool.fill(object);
        let earlier = pools.iter().map(|earlier| &*earlier.name);
        refuse_known_name(object, &pool.name, earlier, "a name that no other pool has");
        pool
    });
    pools.extend(pool);
}

/// Refuses a name of a pool that there is not.
pub(crate) fn refuse_unknown_pool(admission: Option<&Admission>, pools: &[Pool], place: Place<'_>) {
    let Some(admission) = admission.filter(|admission| !admission.pool.is_empty()) else { return };
    let known = pools.iter().map(|pool| &*pool.name);
    refuse_unknown_name(place.member("pool"), &admission.pool, known, "pools");
}
