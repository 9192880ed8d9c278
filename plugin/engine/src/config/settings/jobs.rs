//! Requests that are accepted at once and done later.

use std::time::Duration;

use super::by::By;
use super::kinds::{Words, duration, text, whole, word};
use super::nested::{list, required};
use super::remote::Remote;
use super::rule::Rule;
use super::section;
use super::texts::{Caller, Cluster, Target};
use crate::config::limits::{
    JOBS_LEASE, JOBS_PAUSE, JOBS_POLL, JOBS_RESULT, JOBS_RUNNING, JOBS_TIMEOUT, JOBS_TRIES, JOBS_WAITING,
};
use crate::config::names;
use crate::config::reader::{Object, Place};
use crate::config::reference::Least::Empty;

/// How requests are done later that a rule has accepted as jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jobs {
    /// The cluster that does them.
    pub cluster: Box<str>,
    /// Under which path clients ask for them. Default: `/jobs`.
    pub path: Box<[u8]>,
    /// What tells those apart who may see a job. Default: `Authorization`.
    pub by: Vec<By>,
    /// What becomes of a request while Redis cannot be asked. Default: [`JobsOnFailure::Refuse`].
    pub on_failure: JobsOnFailure,
    /// How often one is tried. Default: 10.
    pub attempts: u32,
    /// How long the first pause between two tries is; each further one is twice as long. Default: 1 s.
    pub pause: Duration,
    /// The longest pause, never shorter than the first. Default: 10 min.
    pub longest_pause: Duration,
    /// How long the cluster may take to answer. Default: 30 s.
    pub timeout: Duration,
    /// How long a job belongs to the Envoy that has taken it. Default: 60 s.
    pub lease: Duration,
    /// How long what came of it is kept. Default: a day.
    pub result_ttl: Duration,
    /// Most jobs of a worker under way at once. Default: 16.
    pub running: usize,
    /// Most jobs of the fleet that wait. Default: 100,000.
    pub waiting: u64,
    /// How often an Envoy asks for jobs when it has nothing to do. Default: 250 ms.
    pub poll: Duration,
}

section! {
    Jobs check fits {
        cluster = Box::default(), required(text::<Cluster>(), names::CLUSTER),
            "Required. The cluster of Envoy's that does the jobs: the origin, mostly.";
        path = (*b"/jobs").into(), text::<Target>(),
            "Under which path clients ask for their jobs: `PATH/ID` and `PATH/ID/result`, at every host.";
        by = vec![By::Header((*b"authorization").into())], list(Empty, text::<Caller>()),
            "What tells those apart who may see a job, as in `limits`, but neither `path` nor `rule`; `[]`: whoever knows its ID.";
        on_failure = JobsOnFailure::default(), word(JOBS_ON_FAILURE),
            "While Redis cannot be asked: 503, or the request goes to the origin at once.";
        attempts = 10, whole(JOBS_TRIES), "How often a job is tried before it counts as dead.";
        pause = Duration::from_secs(1), duration(JOBS_PAUSE),
            "The pause after the first try; each further one is twice as long, and up to half of it is left off at random.";
        longest_pause = Duration::from_secs(600), duration(JOBS_PAUSE),
            "How long a pause is at most, and what a `Retry-After` of the origin is cut to; `pause` or longer.";
        timeout = Duration::from_secs(30), duration(JOBS_TIMEOUT), "How long the cluster may take to answer.";
        lease = Duration::from_secs(60), duration(JOBS_LEASE),
            "How long a job belongs to the Envoy that has taken it: if that dies another takes it then. Never less than a second more than `timeout`.";
        result_ttl = Duration::from_secs(86_400), duration(JOBS_RESULT),
            "How long what came of a job is kept, also of one that is dead.";
        running = 16, whole(JOBS_RUNNING), "Most jobs of a worker under way at once.";
        waiting = 100_000, whole(JOBS_WAITING), "Most jobs of the fleet that wait; further ones are answered 503.";
        poll = Duration::from_millis(250), duration(JOBS_POLL),
            "How often an Envoy asks Redis for jobs when it has nothing to do.";
    }
}

fn fits(jobs: &mut Jobs, object: &mut Object<'_, '_>) {
    jobs.longest_pause = jobs.longest_pause.max(jobs.pause);
    jobs.lease = jobs.lease.max(jobs.timeout.saturating_add(JOBS_MARGIN));
    for (index, by) in jobs.by.iter().enumerate() {
        if matches!(by, By::Path | By::Rule) {
            let found = if *by == By::Path { "\"path\"" } else { "\"rule\"" };
            object
                .place_of("by")
                .item(index)
                .refuse::<()>(found, "what is the same for the request and for who asks for its job");
        }
    }
}

impl Jobs {
    /// What stands before the ID in the path of a job, without `/` at its end.
    pub fn prefix(&self) -> &[u8] {
        let path = self.path.split(|byte| *byte == b'?').next().unwrap_or_default();
        path.strip_suffix(b"/").unwrap_or(path)
    }
}

/// What becomes of a request while Redis cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JobsOnFailure {
    /// 503.
    #[default]
    Refuse,
    /// It goes to the origin.
    Forward,
}

const JOBS_ON_FAILURE: Words<JobsOnFailure> =
    &[("503", JobsOnFailure::Refuse), ("forward", JobsOnFailure::Forward)];

/// Which requests of a rule become jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RuleJobs {
    /// None.
    #[default]
    Off,
    /// Those that say `Prefer: respond-async` (RFC 7240 §4.1).
    Prefer,
    /// All.
    Always,
}

pub(crate) const RULE_JOBS: Words<RuleJobs> =
    &[("off", RuleJobs::Off), ("prefer", RuleJobs::Prefer), ("always", RuleJobs::Always)];

/// Refuses the jobs of a rule where none can be accepted.
pub(crate) fn refuse_without_jobs(rule: &Rule, jobs: Option<&Jobs>, place: Place<'_>) {
    if rule.jobs != RuleJobs::Off && jobs.is_none() {
        let found = if rule.jobs == RuleJobs::Prefer { "\"prefer\"" } else { "\"always\"" };
        place.refuse::<()>(found, "\"off\", or `jobs` at the top level, which says who does them");
    }
}

/// Refuses jobs without a Redis to keep them in.
pub(crate) fn refuse_without_redis(remote: &Remote, place: Place<'_>) {
    if !remote.enabled {
        place.refuse::<()>("jobs without `remote`", "`remote.enabled`: jobs are kept in Redis");
    }
}

/// How much longer a lease is than what it is for, at least.
const JOBS_MARGIN: Duration = Duration::from_secs(1);
