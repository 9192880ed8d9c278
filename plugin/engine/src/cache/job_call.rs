//! A call for a job, as the driver makes it, and how many jobs there are, as it shows them.

use std::rc::Rc;
use std::time::Duration;

/// A call for a job, to be made now.
#[derive(Debug)]
pub struct JobCall {
    /// Its number, for [`Cache::job_answered`](super::Cache::job_answered).
    pub number: u64,
    /// The cluster to call.
    pub cluster: Rc<str>,
    /// The request's head, as a field block with its pseudo-headers.
    pub request: Vec<u8>,
    /// Its body.
    pub body: Vec<u8>,
    /// How long the answer may take.
    pub timeout: Duration,
}

/// How many jobs a fleet has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobCounts {
    /// That wait.
    pub due: u64,
    /// Under way.
    pub leased: u64,
    /// Dead.
    pub dead: u64,
    /// Done, as long as their results are kept.
    pub done: u64,
}
