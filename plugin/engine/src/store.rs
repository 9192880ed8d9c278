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

impl table::Weigh for Slot {
    fn weight(&self) -> usize {
        match self {
            Self::Response(stored) => stored.weight(),
            Self::Index(index) => index.weight(),
        }
    }
}
