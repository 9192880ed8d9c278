//! Calls for requests to language models that are asked together.

use std::marker::PhantomData;

use hashbrown::HashMap;
use selvage_engine::cache::Cache;
use selvage_engine::time::Timestamp;

use crate::host::Calls;
use crate::stream::BuildIdHasher;

/// Those of one plugin that are under way, by their tokens.
pub struct Joins<H> {
    pending: HashMap<u32, u64, BuildIdHasher>,
    host: PhantomData<H>,
}

impl<H> Default for Joins<H> {
    fn default() -> Self {
        Self { pending: HashMap::default(), host: PhantomData }
    }
}

impl<H: Calls> Joins<H> {
    /// Makes those that are to be made. What cannot be called for goes to the origin.
    pub fn send(&mut self, cache: &mut Cache, now: Timestamp) {
        while let Some(call) = cache.next_joined_call() {
            match H::http_call(&call.cluster, &call.request, &call.body, call.timeout) {
                Ok(token) => {
                    self.pending.insert(token, call.id);
                }
                Err(_) => cache.joined_answered(call.id, None, now),
            }
        }
    }

    /// The number of the call that a token stands for, if it is one of these.
    pub fn take(&mut self, token: u32) -> Option<u64> {
        self.pending.remove(&token)
    }

    /// Calls under way.
    pub fn calls(&self) -> usize {
        self.pending.len()
    }
}
