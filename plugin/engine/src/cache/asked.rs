//! What this worker's limits, budgets, sessions and jobs ask Redis, and who waits for the answers.

use super::{Cache, Moment};
use crate::limits::NoAnswer;
use crate::remote::asked::{Asked, Told};
use crate::time::Timestamp;

impl Cache {
    /// What is to be asked of Redis next. To be given back with [`Cache::was_told`].
    #[inline]
    pub fn next_asked(&mut self, now: Timestamp) -> Option<Asked> {
        if let Some(lease) = self.next_lease() {
            return Some(Asked::Lease(lease));
        }
        #[cfg(all(feature = "limits", feature = "llm"))]
        if self.budgets.has_questions() {
            let ledger = self.budgets.next_question(&self.policy.budgets, now).map(Asked::Ledger);
            if let Some(asked) = ledger.or_else(|| self.budgets.next_hours().map(Asked::Hours)) {
                return Some(asked);
            }
        }
        #[cfg(feature = "sessions")]
        if self.sessions.has_questions()
            && let Some(asked) = self.sessions.next_question(&self.policy.sessions, now).map(Asked::Session)
        {
            return Some(asked);
        }
        #[cfg(feature = "jobs")]
        return self.next_job_question(now).map(Asked::Job);
        #[cfg(not(feature = "jobs"))]
        None
    }

    /// Whether Redis is to be told what something has cost.
    #[inline]
    pub fn has_to_tell(&self) -> bool {
        #[cfg(all(feature = "limits", feature = "llm"))]
        return self.budgets.has_questions();
        #[cfg(not(all(feature = "limits", feature = "llm")))]
        false
    }

    /// Redis has answered, or has not.
    pub fn was_told(&mut self, asked: &Asked, told: Result<Told, NoAnswer>, moment: &mut Moment<'_>) {
        match (asked, told) {
            (Asked::Lease(request), Ok(Told::Lease(answer))) => {
                self.lease_answered(request, Ok(answer), moment);
            }
            (Asked::Lease(request), told) => {
                self.lease_answered(request, Err(told.err().unwrap_or(NoAnswer::Lost)), moment);
            }
            #[cfg(all(feature = "limits", feature = "llm"))]
            (Asked::Ledger(request), told) => {
                let balance = match &told {
                    Ok(Told::Ledger(balance)) => Some(balance),
                    _ => None,
                };
                self.budgets.answered(request, balance, moment.now);
            }
            #[cfg(all(feature = "limits", feature = "llm"))]
            (Asked::Hours(request), Ok(Told::Hours(hours))) => {
                self.budgets.told_hours(request, &hours, moment.now);
            }
            #[cfg(all(feature = "limits", feature = "llm"))]
            (Asked::Hours(_), _) => {}
            #[cfg(feature = "sessions")]
            (Asked::Session(request), told) => self.session_answered(request, told, moment),
            #[cfg(feature = "jobs")]
            (Asked::Job(request), told) => {
                let told = told.and_then(|told| match told {
                    Told::Job(answer) => Ok(answer),
                    _ => Err(NoAnswer::Lost),
                });
                self.told_of_job(request, told, moment);
            }
        }
    }

    /// Redis is not to be asked such things before this moment. What refuses these need not refuse others.
    pub fn leave_alone(&mut self, asked: &Asked, until: Timestamp) {
        match asked {
            #[cfg(feature = "sessions")]
            Asked::Session(_) => self.sessions.leave_redis_alone(until),
            #[cfg(feature = "jobs")]
            Asked::Job(_) => self.leave_jobs_alone(until),
            _ => self.leave_limits_alone(until),
        }
    }

    fn leave_limits_alone(&mut self, until: Timestamp) {
        self.limits.leave_redis_alone(until);
        #[cfg(all(feature = "limits", feature = "llm"))]
        self.budgets.leave_redis_alone(until);
    }

    /// Requests that wait for answers of other workers look whether these have come; who has waited enough goes on.
    #[inline]
    pub fn look_after_leases(&mut self, now: Timestamp) {
        if self.limits.waiting() > 0 {
            self.limits.look_again(now);
        }
        #[cfg(all(feature = "limits", feature = "llm"))]
        if self.budgets.waiting() > 0 {
            self.budgets.look_again(now);
        }
        #[cfg(feature = "sessions")]
        if self.sessions.waiting() > 0 {
            self.sessions.look_again(now);
        }
    }

    /// Whether requests wait for Redis to say what is left of a quota or a budget.
    #[inline]
    pub const fn has_waiting_leases(&self) -> bool {
        #[cfg(all(feature = "limits", feature = "llm"))]
        if self.budgets.waiting() > 0 {
            return true;
        }
        #[cfg(feature = "sessions")]
        if self.sessions.waiting() > 0 {
            return true;
        }
        #[cfg(feature = "jobs")]
        if self.waiting_for_jobs() > 0 {
            return true;
        }
        self.limits.waiting() > 0
    }

    /// A request that waited for Redis is gone.
    pub(crate) fn leave_lease(&mut self, ticket: u64) {
        self.limits.leave(ticket);
        #[cfg(all(feature = "limits", feature = "llm"))]
        self.budgets.leave(ticket);
    }

    /// Tickets that were decided since this was last asked.
    pub fn take_decided_leases(&mut self) -> Vec<u64> {
        let decided: Vec<u64> = self.limits.take_decided();
        #[cfg(all(feature = "limits", feature = "llm"))]
        let decided: Vec<u64> = decided.into_iter().chain(self.budgets.take_decided()).collect();
        #[cfg(feature = "sessions")]
        let decided: Vec<u64> = decided.into_iter().chain(self.sessions.take_decided()).collect();
        #[cfg(feature = "jobs")]
        let decided = decided.into_iter().chain(self.take_decided_jobs()).collect();
        decided
    }

    /// Whether there are tickets whose holders are to be woken.
    #[inline]
    pub const fn has_decided_leases(&self) -> bool {
        #[cfg(all(feature = "limits", feature = "llm"))]
        if self.budgets.has_decided() {
            return true;
        }
        #[cfg(feature = "sessions")]
        if self.sessions.has_decided() {
            return true;
        }
        #[cfg(feature = "jobs")]
        if self.has_decided_jobs() {
            return true;
        }
        self.limits.has_decided()
    }

    /// Makes the numbers of this worker's questions others than those of the other workers.
    pub fn seed_limits(&mut self, random: u64) {
        self.limits.begin_leasing(random, self.policy.remote.timeout);
        #[cfg(all(feature = "limits", feature = "llm"))]
        self.budgets.begin(crate::chance::mixed(random), self.policy.remote.timeout);
        #[cfg(feature = "sessions")]
        self.sessions.seed(!random);
    }
}
