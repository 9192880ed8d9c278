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
    let every = whole(1.0 / wanted.rate(own, rule));
    let lifetime = wanted.lifetime(own, rule);
    let text = format!(
        "changes every {every} s as far as is known: {} changes in {} s of its own, {} in {} s of all of the rule; \
         asked for every {} s; {} s is the best for {} of 100 answers of the rule that may be out of date",
        tenths(own.changes.into()),
        whole(own.seconds.into()),
        tenths(rule.changes.into()),
        whole(rule.seconds.into()),
        tenths(1.0 / asked(own, rule)),
        whole(lifetime),
        adaptive.stale_percent,
    );
    let note = explanation.note(Part::Store, "change", text);
    note.number("every_s", every).number("lifetime_s", lifetime as usize);
}

/// To the nearest whole number.
fn whole(number: f64) -> usize {
    number.round().min(1e15) as usize
}

/// With one digit after the point. Fractions as the standard library writes them would be a fiftieth of the playground.
fn tenths(number: f64) -> String {
    let tenths = whole(number * 10.0);
    format!("{}.{}", tenths / 10, tenths % 10)
}
