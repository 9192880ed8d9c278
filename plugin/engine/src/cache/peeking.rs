//! What the limits of this worker would say to a request, for who wants that explained.

use super::{Cache, Moment};
use crate::callers::Asking;
use crate::limits::{Keyed, Peeked, keys_of};
use crate::policy::{LimitCounts, Rule};
use crate::request::Request;

impl Cache {
    /// What each limit of a rule that counts such requests would say, with the key that the request has for it. Nothing is taken.
    pub(crate) fn peek_limits(
        &mut self,
        request: &Request<'_>,
        rule: &Rule,
        counts: LimitCounts,
        moment: &mut Moment<'_>,
    ) -> Vec<(usize, Keyed, Peeked)> {
        let limits = &self.policy.limits;
        let mut peer = || moment.host.peer();
        let mut asking = Asking { request, rule: &rule.name, peer: &mut peer };
        let keys = keys_of(limits, &rule.limited, counts, None, &mut asking).into_iter();
        let peeked = keys.map(|(at, keyed)| (at, keyed, self.limits.peek(&keyed, moment.now, moment.host)));
        peeked.collect()
    }
}
