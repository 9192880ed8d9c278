//! What a lifetime by how often a response changes is worked out from.

use super::{Case, Explanation, Part};
use crate::cache::{Cache, Found, Moment};
use crate::foresight::change::asked;

/// Notes what was seen of a stored response, where its rule goes by that.
pub(super) fn note(
    case: &Case<'_>,
    found: &Found,
    cache: &Cache,
    moment: &mut Moment<'_>,
    explanation: &mut Explanation,
) {
    let (Some(adaptive), Found::Response { hash, .. }) = (&case.rule.ttl.adaptive, found) else { return };
    let known = cache.change_known(case.rule_index, *hash, moment);
    let wanted = adaptive.wanted();
    let (own, rule) = (&known.own, &known.rule);
    let every = (1.0 / wanted.rate(own, rule)).round();
    let asked = 1.0 / asked(own, rule);
    let text = format!(
        "changes every {every:.0} s as far as is known: {:.1} changes in {:.0} s of its own, {:.1} in {:.0} s of all of the rule; \
         asked for every {asked:.1} s; {:.0} s is the best for {} of 100 answers of the rule that may be out of date",
        own.changes,
        own.seconds,
        rule.changes,
        rule.seconds,
        wanted.lifetime(own, rule),
        adaptive.stale_percent,
    );
    let note = explanation.note(Part::Store, "change", text);
    note.number("every_s", every.min(1e15) as usize)
        .number("lifetime_s", wanted.lifetime(own, rule) as usize);
}
