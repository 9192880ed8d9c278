//! The right of one Envoy of a fleet to fetch something for all of them.

use crate::time::Timestamp;

/// The right of one Envoy to fetch for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// The hash under which it lies.
    pub(crate) hash: u128,
    /// Redis lets it go then, or a little later.
    pub(crate) until: Timestamp,
    /// What is claimed.
    pub(crate) of: ClaimOf,
}

/// What a claim is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClaimOf {
    /// A record that is not there: it takes the claim's place.
    Record,
    /// The renewal of one version of a record. The claim lies beside the record.
    Version,
}
