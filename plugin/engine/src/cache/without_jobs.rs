//! Of jobs, where there are none: nothing.

use super::{Cache, JobCall, JobCounts, Moment};
use crate::fields::Fields;

impl Cache {
    /// Nothing is drawn.
    pub const fn seed_jobs(&mut self, _random: fn() -> u64) {}

    /// Nothing is under way.
    pub const fn take_over_jobs(&mut self, _before: &mut Self) {}

    /// Nothing is due.
    pub const fn look_after_jobs(&mut self, _rests: bool, _moment: &mut Moment<'_>) {}

    /// No job is to be called for.
    pub const fn has_jobs_to_call(&self) -> bool {
        false
    }

    /// No job is to be called for.
    pub const fn next_job_call(&mut self, _moment: &mut Moment<'_>) -> Option<JobCall> {
        None
    }

    /// No job was called for.
    pub const fn job_answered(
        &mut self,
        _number: u64,
        _answer: Result<(Fields<'_>, Option<&[u8]>), u16>,
        _moment: &mut Moment<'_>,
    ) {
    }

    /// There are none.
    pub const fn jobs_of_fleet(&self) -> Option<JobCounts> {
        None
    }

    /// There are none.
    pub const fn jobs_running(&self) -> usize {
        0
    }
}
