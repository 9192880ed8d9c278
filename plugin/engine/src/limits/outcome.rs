//! What becomes of a request at its limits, and what is counted of it.

use super::Keyed;
use super::bucket::Rate;
use crate::config::LimitScope;
use crate::time::Timestamp;

/// What happened since it was last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Questions to the node's pool.
    pub asked: u64,
    /// Requests whose key shares a bucket with others, since there is no room for one of its own.
    pub crowded: u64,
    /// Requests that were refused because other workers were first again and again.
    pub contended: u64,
    /// Keys whose tokens were given back.
    pub returned: u64,
    /// Questions to Redis.
    pub fleet_asked: u64,
    /// Those to which it lent something.
    pub fleet_granted: u64,
    /// Those that it did not answer, or with something else.
    pub fleet_failed: u64,
    /// Requests that waited for Redis.
    pub fleet_waited: u64,
}

/// Requests of a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Admitted.
    pub admitted: u64,
    /// Refused.
    pub refused: u64,
    /// Admitted, though a limit that only watches would have refused them.
    pub shadowed: u64,
}

/// What a client has left of the tightest of its quotas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which limit of the policy.
    pub limit: usize,
    /// Its rate.
    pub rate: Rate,
    /// Tokens that are left, as far as this worker knows.
    pub left: u64,
    /// Milliseconds until none is missing.
    pub full_in: u64,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Which limit of the policy.
    pub limit: usize,
    /// Its rate.
    pub rate: Rate,
    /// Milliseconds until it would be admitted.
    pub wait: u64,
    /// What counts for the fleet cannot be asked.
    pub unavailable: bool,
}

/// Why a request is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// A limit refuses it.
    Refused(Refused),
    /// Redis will say: it is to ask again once its ticket has been decided.
    Waits {
        /// The ticket.
        ticket: u64,
        /// When it has waited enough.
        until: Timestamp,
    },
}

/// Why one limit does not admit it.
pub(super) enum Not {
    Refused(Refused),
    /// The key in Redis.
    Yet(u128),
}

impl From<Refused> for Not {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

/// What a request was admitted on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admitted {
    /// The tightest quota of which clients are told.
    pub standing: Option<Standing>,
    /// Limits that wait for what the response says it has cost.
    pub(super) owing: Vec<Owing>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owing {
    pub limit: usize,
    pub keyed: Keyed,
    pub scope: LimitScope,
    pub took: Took,
}

/// Tokens that were taken for a request to a language model, until its answer says what it has used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserved(pub(super) Vec<Owing>);

impl Standing {
    /// Of a limit that has so many tokens left.
    pub(super) fn of(limit: usize, rate: Rate, left: u64) -> Self {
        let left = left.min(rate.burst());
        let missing = rate.full().saturating_sub(rate.units(left));
        Self { limit, rate, left, full_in: rate.time_for(missing) }
    }
}

impl Admitted {
    /// Whether there is nothing to do with the response.
    pub const fn is_over(&self) -> bool {
        self.standing.is_none() && self.owing.is_empty()
    }

    /// Takes out what is settled by the answer of a language model, if anything is.
    #[cfg(all(feature = "llm", feature = "limits"))]
    pub(crate) fn take_reserved(&mut self) -> Option<Reserved> {
        let settles = |owing: &Owing| owing.keyed.settles;
        let (reserved, owing) = std::mem::take(&mut self.owing).into_iter().partition(settles);
        self.owing = owing;
        let reserved: Vec<Owing> = reserved;
        (!reserved.is_empty()).then_some(Reserved(reserved))
    }

    /// The same after further limits.
    pub(super) fn note(&mut self, standing: Standing) {
        // By the time that is missing to the full burst, compared by parts of it.
        let missing = |standing: &Standing| {
            u128::from(standing.rate.burst().saturating_sub(standing.left)) * 1_000_000
                / u128::from(standing.rate.burst())
        };
        if self.standing.is_none_or(|other| missing(&standing) > missing(&other)) {
            self.standing = Some(standing);
        }
    }
}

/// How tokens were taken, to give them back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Took {
    Slice,
    Pool,
    Stock,
    Share,
    Nothing,
}

impl Refused {
    pub(super) const fn new(limit: usize, keyed: &Keyed, wait: u64) -> Self {
        Self { limit, rate: keyed.rate, wait, unavailable: false }
    }
}
