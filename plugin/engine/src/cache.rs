//! The cache of one worker: its policy, its stores, and what it knows of the others.
//!
//! Here is what it is made of. A request is answered by `finding`, a response put away by `storing`, and `room` sees to it
//! that all of it fits; the other modules each have one of the things that the cache does beside that.

#[cfg(feature = "foresight")]
mod adapting;
mod alerts;
mod asked;
mod asked_purges;
#[cfg(feature = "batch")]
mod batching;
#[cfg(all(feature = "limits", feature = "llm"))]
mod budgeting;
mod claims;
mod coding;
mod coherence;
mod failures;
mod filling;
mod fills;
mod finding;
#[cfg(feature = "foresight")]
mod foresight;
mod handed;
mod holdings;
mod insight;
mod invalidating;
mod invalidations;
mod job_call;
#[cfg(feature = "jobs")]
mod jobs;
mod joined_call;
#[cfg(feature = "llm")]
mod joining;
mod kept;
mod limiting;
mod origins;
#[cfg(feature = "limits")]
mod peeking;
#[cfg(feature = "pools")]
mod pools;
#[cfg(feature = "foresight")]
mod predicting;
mod purging;
mod refresh;
mod refreshes;
mod remembered;
mod remote;
mod revalidation;
mod room;
#[cfg(feature = "sessions")]
mod sessions;
mod signing;
mod spaces;
mod storing;
#[cfg(feature = "llm")]
mod tokens;
mod unshared;
mod usable;
mod warmable;
mod warming;
#[cfg(not(feature = "batch"))]
mod without_batch;
#[cfg(not(feature = "foresight"))]
mod without_foresight;
#[cfg(not(feature = "jobs"))]
mod without_jobs;
#[cfg(not(feature = "llm"))]
mod without_llm;
#[cfg(not(feature = "pools"))]
mod without_pools;
#[cfg(not(feature = "sessions"))]
mod without_sessions;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

#[cfg(feature = "foresight")]
pub(crate) use adapting::Adapting;
pub use alerts::Alert;
#[cfg(feature = "batch")]
pub use batching::PartTask;
#[cfg(feature = "batch")]
pub(crate) use batching::{
    PartEnd, PartPlace, SharedBatch, Terms as BatchTerms, answer_of as batch_answer, problem as batch_problem,
};
#[cfg(all(feature = "limits", feature = "llm"))]
pub(crate) use budgeting::shown as shown_of_budget;
pub(crate) use claims::{Claim, ClaimOf};
pub use failures::{AnsweredBy, Failure};
pub use filling::GrowingBody;
pub use fills::{FillEnd, FillId, Pace, Turn};
pub use finding::{Found, Tier};
pub use holdings::Holdings;
pub use job_call::{JobCall, JobCounts};
#[cfg(feature = "jobs")]
pub(crate) use jobs::Told as ToldOfJob;
pub use joined_call::JoinedCall;
#[cfg(feature = "llm")]
pub(crate) use joining::Joined;
pub use kept::Kept;
pub use origins::{Admitted, OriginNews, OriginOpen, OriginTurn};
#[cfg(feature = "pools")]
pub(crate) use pools::{Admit, Entry, Shed, Slot as OriginSlot, entry_of};
pub use purging::Telling;
pub use refresh::Refresh;
pub use remote::Under;

pub(crate) use invalidations::Mark;
pub(crate) use refresh::{Awaited, Errand, Fleet, StaleResponse, Version};

use invalidations::Invalidations;
use remembered::Remembered;
pub use revalidation::Revalidation;
pub use room::Load;
#[cfg(feature = "llm")]
pub(crate) use tokens::Used;
pub use unshared::{Asker, Extent};
pub(crate) use usable::{Usable, usable, within};
pub(crate) use warmable::{head_to_warm, unfit_to_warm};
pub(crate) use warming::{LATE, Warmed};
#[cfg(not(feature = "foresight"))]
pub(crate) use without_foresight::Adapting;

use crate::breaker::Latency;
use crate::cache_status::Detail;
use crate::host::Host;
pub use crate::insight::admission::PoolFigures;
use crate::limits::{self, Limits};
use crate::lines::Lines;
use crate::policy::Policy;
use crate::purge::admin_auth::AdminAuth;
use crate::purge::guesses::Guesses;
use crate::purge::log::Log;
use crate::purge::ring::Ring;
use crate::purge::spread::Spread;
use crate::remote::queue::Queue;
use crate::remote::seal::Seal;
use crate::stats::Stats;
use crate::store::Slot;
use crate::store::inflated::Inflated;
use crate::store::node::{NodeLimits, NodeStore};
use crate::store::table::Table;
use crate::time::Timestamp;

/// The surroundings of one event.
pub struct Moment<'a> {
    /// The time of the event.
    pub now: Timestamp,
    /// The host.
    pub host: &'a mut dyn Host,
}

/// The cache of one worker.
pub struct Cache {
    policy: Rc<Policy>,
    table: Table<Slot>,
    /// What it was before another configuration followed, as far as it is still held.
    leaving: Option<Table<Slot>>,
    node: NodeStore,
    /// Identity forms of compressed responses.
    inflated: Inflated,
    /// What requests keep while they wait.
    kept: kept::Sum,
    /// Counters since they were last taken.
    pub stats: Stats,
    /// Evictions from the table that have been counted.
    evictions_counted: u64,
    /// Bytes of bodies that are being stored at this moment.
    filling: filling::Filling,
    /// Stale responses that were served, by hash: `Some` while a request validates one.
    revalidations: BTreeMap<u128, Option<Timestamp>>,
    invalidations: Invalidations,
    /// Keys that this worker put into the node store since it last learnt of changes.
    put_since_learning: Vec<u128>,
    next_audit: Timestamp,
    remote_queue: Queue,
    /// What signs what the remote store is given, if anything does.
    seal: Option<Seal>,
    unsigned: Lines,
    /// How long the origin takes to begin its answers to GET; the remote store should be faster.
    origin_latency: Latency,
    /// What the remote store has just given, while its request is settled: no other store need have taken it.
    adopted: Vec<(u128, Slot)>,
    /// What it gave to a request that others wait for, for these.
    handed: handed::Handed,
    /// Keys for which no response was storable lately, whoever asked.
    unstorable: Remembered,
    /// Keys of what is too long to be fetched whole for a part.
    unfillable: Remembered,
    /// What marks the requests of this cache's key space.
    space: Option<spaces::Space>,
    changes_to_tell: bool,
    /// What was purged, and how far the other workers' purges were read.
    purges: Log,
    purge_ring: Ring,
    /// Purges for and of the other nodes.
    spread: Spread,
    purge_ids: purging::Ids,
    gate: AdminAuth,
    guesses: Guesses,
    fills: fills::Fills,
    /// Keys for which the origin failed lately, each at the place its hash gives it.
    failures: Vec<(u128, Timestamp, Failure)>,
    origins: origins::Origins,
    #[cfg(feature = "pools")]
    pools: pools::Pools,
    /// What is fetched before a client asks for it.
    warming: warming::Warming,
    refreshes: VecDeque<Refresh>,
    /// Refreshes about which the remote store is to be asked.
    questions: VecDeque<Refresh>,
    /// Keys that this worker renews.
    refreshing: BTreeSet<u128>,
    /// Keys that another worker renews, for a moment.
    renewed_elsewhere: Remembered,
    insight: insight::Insight,
    #[cfg(feature = "foresight")]
    foresight: foresight::Foresight,
    /// The last of the random numbers that decide on early refreshes.
    draws: u64,
    limits: Limits,
    #[cfg(all(feature = "limits", feature = "llm"))]
    budgets: crate::budgets::Budgets,
    #[cfg(feature = "sessions")]
    sessions: crate::sessions::Sessions,
    /// What stored answers of language models have used.
    #[cfg(feature = "llm")]
    tokens: tokens::Known,
    /// Streams of language models that are passing and counted.
    #[cfg(feature = "llm")]
    pub(crate) streams_open: usize,
    /// Requests to language models that are asked together.
    #[cfg(feature = "llm")]
    joins: joining::Joins,
    /// Several GETs of one request.
    #[cfg(feature = "batch")]
    batches: batching::Batches,
    /// Requests that are done later.
    #[cfg(feature = "jobs")]
    jobs: jobs::Jobs,
    /// Buffers that requests pass on to each other, so that a hit takes no memory.
    pub(crate) scratch: Scratch,
}

/// Buffers used again from request to request.
#[derive(Default)]
pub(crate) struct Scratch {
    pub key: Vec<u8>,
    pub variant: Vec<u8>,
    pub status: Vec<u8>,
    pub reply: Vec<u8>,
    /// With which word and status the request at hand was refused, for who wants it explained.
    pub refused: Option<(Detail, u16)>,
    /// What the limits have said of the request at hand, until its exchange takes it.
    pub limited: Option<Box<limits::Admitted>>,
    /// How long the request at hand may yet wait for them, if it has waited.
    pub patience: Option<Timestamp>,
    /// What has become known of its session, if it has waited for that.
    #[cfg(feature = "sessions")]
    pub session: Option<crate::sessions::Known>,
}

impl Cache {
    /// An empty cache under `policy`.
    pub fn new(policy: Rc<Policy>) -> Self {
        let worker = &policy.worker;
        let inflated_bytes = worker.inflated_bytes;
        let origins = origins::Origins::new(&policy);
        let remote_queue = Queue::new(policy.remote.queue_bytes, policy.remote.queue_entries);
        let table = room::table(worker, worker.bytes);
        // Without a budget it stores nothing, and still tells the workers what changes.
        let buckets = u32::try_from(policy.node.buckets).unwrap_or(u32::MAX);
        let node = NodeStore::new(NodeLimits::within(policy.node.bytes, policy.node.object_bytes, buckets));
        #[cfg(feature = "pools")]
        let pools = pools::Pools::new(&policy);
        let purges = Log::new(policy.namespace);
        #[cfg(feature = "foresight")]
        let foresight = foresight::Foresight::new(&policy);
        let warming = warming::Warming::new(&policy);
        let limits = limiting::limits(&policy);
        #[cfg(all(feature = "limits", feature = "llm"))]
        let mut budgets = crate::budgets::Budgets::default();
        #[cfg(all(feature = "limits", feature = "llm"))]
        budgets.begin(0, policy.remote.timeout);
        #[cfg(feature = "sessions")]
        let sessions = {
            let remote = &policy.remote;
            crate::sessions::Sessions::new(&policy.sessions, remote.timeout, remote.in_flight)
        };
        let mut cache = Self {
            policy,
            table,
            leaving: None,
            node,
            inflated: Inflated::new(inflated_bytes),
            kept: kept::Sum::default(),
            stats: Stats::default(),
            evictions_counted: 0,
            filling: filling::Filling::default(),
            revalidations: BTreeMap::new(),
            invalidations: Invalidations::default(),
            put_since_learning: Vec::new(),
            next_audit: Timestamp::default(),
            remote_queue,
            seal: None,
            unsigned: Lines::default(),
            origin_latency: Latency::new(ORIGIN_HALF_LIFE),
            adopted: Vec::new(),
            handed: handed::Handed::default(),
            unstorable: Remembered::default(),
            unfillable: Remembered::default(),
            space: None,
            changes_to_tell: false,
            purges,
            purge_ring: Ring::default(),
            spread: Spread::default(),
            purge_ids: purging::Ids::default(),
            gate: AdminAuth::default(),
            guesses: Guesses::default(),
            fills: fills::Fills::default(),
            failures: Vec::new(),
            origins,
            #[cfg(feature = "pools")]
            pools,
            warming,
            refreshes: VecDeque::new(),
            questions: VecDeque::new(),
            refreshing: BTreeSet::new(),
            renewed_elsewhere: Remembered::default(),
            insight: insight::Insight::default(),
            #[cfg(feature = "foresight")]
            foresight,
            draws: 0,
            limits,
            #[cfg(all(feature = "limits", feature = "llm"))]
            budgets,
            #[cfg(feature = "sessions")]
            sessions,
            #[cfg(feature = "llm")]
            tokens: tokens::Known::default(),
            #[cfg(feature = "llm")]
            streams_open: 0,
            #[cfg(feature = "llm")]
            joins: joining::Joins::default(),
            #[cfg(feature = "batch")]
            batches: batching::Batches::default(),
            #[cfg(feature = "jobs")]
            jobs: jobs::Jobs::default(),
            scratch: Scratch::default(),
        };
        cache.watch_departures();
        cache
    }

    /// The policy in force.
    pub fn policy(&self) -> &Rc<Policy> {
        &self.policy
    }

    /// Who is an operator. Nobody, before this is called.
    pub fn set_admin_auth(&mut self, gate: AdminAuth) {
        self.gate = gate;
    }

    /// Who is an operator.
    pub(crate) const fn gate(&self) -> &AdminAuth {
        &self.gate
    }

    /// Who has shown wrong tokens.
    pub(crate) const fn guesses(&mut self) -> &mut Guesses {
        &mut self.guesses
    }
}

/// After this long an answer of the origin counts half as much in its average.
const ORIGIN_HALF_LIFE: Duration = Duration::from_secs(5);
