//! A call for several requests, as the driver makes it.

use std::rc::Rc;
use std::time::Duration;

/// A call for several requests, to be made now.
#[derive(Debug)]
pub struct JoinedCall {
    /// Its number, for [`Cache::joined_answered`](super::Cache::joined_answered).
    pub id: u64,
    /// The cluster to call.
    pub cluster: Rc<str>,
    /// The request's head, as a field block with its pseudo-headers.
    pub request: Vec<u8>,
    /// Its body.
    pub body: Vec<u8>,
    /// How long the answer may take.
    pub timeout: Duration,
}
