//! Calls for jobs, which clients do not wait for.

use std::marker::PhantomData;

use hashbrown::HashMap;
use selvage_engine::cache::{Cache, Moment};
use selvage_engine::fields::Fields;
use selvage_engine::time::Timestamp;

use crate::host::{Calls, Envoy, Level, NotCalled};
use crate::refreshes::of_envoy;
use crate::stream::BuildIdHasher;

/// Those of one plugin that are under way, by their tokens.
pub struct Jobs<H> {
    pending: HashMap<u32, u64, BuildIdHasher>,
    complained: bool,
    host: PhantomData<H>,
}

impl<H> Default for Jobs<H> {
    fn default() -> Self {
        Self { pending: HashMap::default(), complained: false, host: PhantomData }
    }
}

impl<H: Calls> Jobs<H> {
    /// Makes those that are to be made.
    pub fn send(&mut self, cache: &mut Cache, now: Timestamp) {
        let mut moment = Moment { now, host: &mut Envoy::<H>::new() };
        while let Some(call) = cache.next_job_call(&mut moment) {
            match H::http_call(&call.cluster, &call.request, &call.body, call.timeout) {
                Ok(token) => {
                    self.pending.insert(token, call.number);
                }
                Err(NotCalled::Unreachable) => cache.job_answered(call.number, Err(503), &mut moment),
                Err(NotCalled::UnknownCluster) => {
                    if !std::mem::replace(&mut self.complained, true) {
                        let cluster = &call.cluster;
                        H::log(Level::Warn, &format!("the cluster {cluster:?} of jobs cannot be called"));
                    }
                    cache.job_answered(call.number, Err(0), &mut moment);
                }
            }
        }
    }

    /// The number of the call that a token stands for, if it is one of these.
    pub fn take(&mut self, token: u32) -> Option<u64> {
        if self.pending.is_empty() { None } else { self.pending.remove(&token) }
    }

    /// Takes in the answer. There is no body if it is longer than may be kept.
    pub fn answered(
        number: u64,
        head: Option<&[u8]>,
        body: Option<&[u8]>,
        cache: &mut Cache,
        now: Timestamp,
    ) {
        let answer = match head.and_then(Fields::parse) {
            None => Err(0),
            Some(head) => match of_envoy(head) {
                Some(status) => Err(status),
                None => Ok((head, body)),
            },
        };
        cache.job_answered(number, answer, &mut Moment { now, host: &mut Envoy::<H>::new() });
    }

    /// Goes on with what the configuration before has under way.
    pub fn take_over(&mut self, before: Self) {
        self.pending.extend(before.pending);
    }

    /// Calls under way.
    pub fn calls(&self) -> usize {
        self.pending.len()
    }
}
