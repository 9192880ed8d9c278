//! What is to happen, in the order of the virtual clock.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use selvage_rig::chance::Dice;

use crate::redis::Mood;

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Event {
    /// A request comes.
    Request {
        page: usize,
    },
    /// Somebody asks a node of a fleet that is measured for a page.
    Asks {
        node: usize,
    },
    /// A page is purged in such a fleet.
    Purges,
    /// A request comes back to a cache of its own key space, as it was sent on.
    Nested {
        stream: usize,
    },
    /// A request reaches the origin.
    AtOrigin {
        stream: usize,
    },
    /// The head of a response comes back.
    Head {
        stream: usize,
    },
    /// A part of its body, or what comes after the last.
    Part {
        stream: usize,
        nth: usize,
    },
    /// The client has all of an answer of the cache.
    Sent {
        stream: usize,
    },
    /// The client leaves.
    Leaves {
        stream: usize,
    },
    /// By now it has its answer.
    Deadline {
        stream: usize,
    },
    /// A VM is called through its queue.
    Called {
        vm: VmId,
        queue: u32,
    },
    /// A tick, of the period that was set last but so many.
    Tick {
        vm: VmId,
        armed: u32,
    },
    /// A VM dies, and another one takes its place.
    Restart {
        node: usize,
        worker: usize,
    },
    /// A call reaches Redis.
    AtRedis {
        call: usize,
    },
    /// The answer to a call to Redis comes back, or what Envoy makes up.
    FromRedis {
        vm: VmId,
        token: u32,
        reply: Reply,
    },
    /// A call of the cache's own reaches the origin.
    RefreshAtOrigin {
        refresh: usize,
    },
    /// Its answer comes back, or what Envoy makes up.
    FromOrigin {
        refresh: usize,
        reply: Reply,
    },
    Mood(Mood),
    /// An operator purges.
    Purge,
    /// Redis forgets everything.
    Flush,
    /// The origin publishes a new version by itself.
    Edit {
        page: usize,
    },
}

/// A VM: another one in the same place is not meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VmId {
    pub node: usize,
    pub worker: usize,
    /// VMs before it in its place.
    pub life: u32,
}

/// The answer to a call.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// With `:status`; none at all if the connection broke.
    pub fields: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    /// An answer that has come from somewhere.
    pub fn came(status: u16, body: &[u8]) -> Self {
        let fields = vec![(":status", status.to_string()), ("x-envoy-upstream-service-time", "1".to_owned())];
        Self { fields, body: body.to_vec() }
    }

    /// What Envoy makes up.
    pub fn made_up(status: u16) -> Self {
        Self { fields: vec![(":status", status.to_string())], body: b"upstream connect error".to_vec() }
    }
}

/// Events by time; those of one millisecond in an order that the seed decides.
#[derive(Default)]
pub struct Events {
    order: BinaryHeap<Reverse<(u64, u64, u64)>>,
    events: BTreeMap<u64, Event>,
    count: u64,
}

impl Events {
    pub fn at(&mut self, time: u64, event: Event, dice: &mut Dice) {
        self.count += 1;
        self.order.push(Reverse((time, dice.number(), self.count)));
        self.events.insert(self.count, event);
    }

    /// The next one, if that is not after `end`.
    pub fn next_until(&mut self, end: u64) -> Option<(u64, Event)> {
        self.order.peek().filter(|Reverse((time, ..))| *time <= end)?;
        let Reverse((time, _, id)) = self.order.pop()?;
        Some((time, self.events.remove(&id)?))
    }
}
