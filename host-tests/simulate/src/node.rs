//! One simulated Envoy: its VMs, and what the simulation knows about it.

use std::collections::{BTreeMap, BTreeSet};

use selvage_engine::store::node::NodeStore;

use crate::events::VmId;
use crate::host::Vm;

/// The place of one VM.
pub struct Worker {
    pub vm: Vm,
    /// VMs before this one.
    pub life: u32,
    /// Its tick, and how often that was set.
    pub period: u64,
    pub armed: u32,
}

/// One Envoy. Its shared data is with the hosts.
#[derive(Default)]
pub struct Node {
    pub workers: Vec<Worker>,
    /// By page: what unsafe requests have made invalid.
    pub invalidated: BTreeMap<usize, Vec<Invalidation>>,
    /// Fetches that others wait for, by page.
    pub fetches: BTreeMap<usize, Vec<Fetch>>,
    /// When a fetch of each hash last began.
    pub turns: BTreeMap<u128, u64>,
    /// By page and whether that is for those alone who show credentials: until when nobody need wait, since an answer was
    /// not storable.
    pub not_storable: BTreeMap<(usize, bool), u64>,
    /// By page: full answers of the origin, which have taken the place of what was stored.
    pub replaced: BTreeMap<usize, Vec<Replacement>>,
    /// Pages of which a 304 was about something else than what was stored.
    pub denied: BTreeSet<usize>,
    /// By page: versions that came from the origin, and when.
    pub received: BTreeMap<usize, Vec<(u64, usize)>>,
    /// The last restart of one of its workers.
    pub restarted: Option<u64>,
    /// Looks into its store.
    pub reader: Option<NodeStore>,
}

impl Node {
    pub fn vm(&self, node: usize, worker: usize) -> VmId {
        VmId { node, worker, life: self.workers[worker].life }
    }
}

/// A fetch that others wait for.
#[derive(Clone, Copy, Debug)]
pub struct Fetch {
    pub by: By,
    /// The hash of what it brings.
    pub turn: u128,
    /// When it got the lease, and how long that lasts.
    pub since: u64,
    pub lasts: u64,
}

/// Who fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Stream(usize),
    Refresh(usize),
}

/// What a successful unsafe request has done.
#[derive(Clone, Copy, Debug)]
pub struct Invalidation {
    pub at: u64,
    pub worker: usize,
    /// The first version that is valid.
    pub version: usize,
}

/// What of a request selects among the stored responses of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    pub language: u64,
    pub theme: u64,
    pub user: u64,
    pub authorization: bool,
}

/// A full answer of the origin.
#[derive(Clone, Copy, Debug)]
pub struct Replacement {
    /// When its request came in, which may have waited.
    pub begun: u64,
    /// When it was complete.
    pub at: u64,
    pub vm: VmId,
    /// When it was asked for.
    pub sent: u64,
    pub class: Class,
    /// It is stored itself.
    pub stored: bool,
}
