//! What the driver asks of pools, where there are none.

use super::{Cache, Moment, PoolFigures};

impl Cache {
    /// Nothing to seed.
    pub const fn seed_pools(&mut self, _random: u64) {}

    /// No ticket is ever decided.
    pub const fn take_decided_tickets(&mut self) -> Vec<u64> {
        Vec::new()
    }

    /// None.
    pub const fn has_decided_tickets(&self) -> bool {
        false
    }

    /// None.
    pub const fn has_active_pools(&self) -> bool {
        false
    }

    /// None.
    pub const fn pool_figures(&self) -> Vec<PoolFigures> {
        Vec::new()
    }

    /// There is nothing to do.
    pub const fn look_after_pools(&mut self, _late: bool, _moment: &mut Moment<'_>) {}
}
