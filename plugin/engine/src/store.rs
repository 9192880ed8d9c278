//! Where responses are kept: the worker's own table, and the node store that all workers of an Envoy share.
//!
//! [`response`] is what is kept, [`variants`] tells apart several responses of one URI, [`record`] is the form
//! both take outside the worker's memory. [`table`] and [`node`] keep them, by hash, within their budgets.

pub mod eviction;
pub mod form;
pub mod inflated;
pub mod node;
pub mod record;
pub mod response;
pub mod table;
pub mod variants;

use std::rc::Rc;

use response::StoredResponse;
use variants::VariantIndex;

use crate::time::Timestamp;

/// What a key leads to.
#[derive(Clone, Debug)]
pub enum Slot {
    /// The one response of a URI, or one variant.
    Response(Rc<StoredResponse>),
    /// The variants of a URI.
    Index(Rc<VariantIndex>),
}

impl Slot {
    /// The canonical key it belongs to: compared on every use, since only the hash led here.
    pub fn key(&self) -> &[u8] {
        match self {
            Self::Response(stored) => &stored.key,
            Self::Index(index) => &index.key,
        }
    }

    /// When the response was received, or the index begun.
    pub fn made(&self) -> Timestamp {
        match self {
            Self::Response(stored) => stored.schedule.received,
            Self::Index(index) => Timestamp::from_millis(index.generation),
        }
    }
}

/// What left a store to make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departed {
    /// Its hash.
    pub hash: u128,
    /// Its weight.
    pub bytes: u32,
    /// When it was stored, in seconds.
    pub since: u32,
}

/// What has left a store, if somebody wants to know.
#[derive(Debug, Default)]
pub struct DepartedList(Option<Vec<Departed>>);

impl DepartedList {
    /// Somebody wants to know from now on.
    pub fn watch(&mut self) {
        self.0.get_or_insert_default();
    }

    /// One has left. Where too many leave before anybody asks, the rest is not known of.
    #[inline]
    pub fn note(&mut self, departed: Departed) {
        if let Some(known) = &mut self.0
            && known.len() < MOST_DEPARTED
        {
            known.push(departed);
        }
    }

    /// Those that have left since the last call, in this order.
    pub fn take(&mut self) -> Vec<Departed> {
        self.0.as_mut().map(std::mem::take).unwrap_or_default()
    }
}

/// Between two ticks, 32 bytes each.
const MOST_DEPARTED: usize = 4096;

impl table::Weigh for Slot {
    fn since(&self) -> u32 {
        u32::try_from(self.made().as_secs()).unwrap_or(u32::MAX)
    }

    fn weight(&self) -> usize {
        match self {
            Self::Response(stored) => stored.weight(),
            Self::Index(index) => index.weight(),
        }
    }
}
