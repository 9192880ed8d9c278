//! Ages and lifetimes as arithmetic that can be checked by hand.

use std::time::Duration;

use crate::cache_control::ResponseDirectives;
use crate::fields::Fields;
use crate::freshness::{Freshness, InitialAge, Lifetime, LifetimeSource, Schedule};
use crate::policy::{FieldName, Rule};
use crate::store::response::{StoredResponse, Terms};
use crate::time::Timestamp;

/// A time in seconds, with as many decimals as it has milliseconds.
pub(super) fn seconds(time: Duration) -> String {
    match (time.as_secs(), time.subsec_millis()) {
        (u64::MAX, _) => "any time".into(),
        (whole, 0) => format!("{whole} s"),
        (whole, millis) => {
            let fraction = format!("{millis:03}");
            format!("{whole}.{} s", fraction.trim_end_matches('0'))
        }
    }
}

/// The field whose directives count: a targeted one (RFC 9213), else `Cache-Control`.
pub(super) fn directives_field<'r>(response: Fields<'_>, rule: &'r Rule) -> &'r str {
    let counts = |name: &&FieldName| ResponseDirectives::read(response, std::slice::from_ref(*name)).targeted;
    let found = rule.targeted.iter().find(counts);
    found.and_then(|name| std::str::from_utf8(name).ok()).unwrap_or("cache-control")
}

/// A lifetime and where it comes from.
pub(super) fn lifetime(
    lifetime: &Lifetime,
    status: u16,
    response: Fields<'_>,
    rule: &Rule,
) -> (String, &'static str) {
    let field = directives_field(response, rule);
    let said = seconds(lifetime.uncapped);
    let whole = lifetime.uncapped.as_secs();
    let (source, word) = match lifetime.source {
        LifetimeSource::SMaxage => (format!("s-maxage={whole} of {field}"), "s-maxage"),
        LifetimeSource::MaxAge => (format!("max-age={whole} of {field}"), "max-age"),
        LifetimeSource::Expires => ("Expires minus Date (RFC 9111 §5.3)".into(), "expires"),
        #[cfg(feature = "foresight")]
        source if rule.adapts(source) => ("ttl.adaptive of the rule".into(), "ttl.adaptive"),
        LifetimeSource::Override => ("ttl.override of the rule".into(), "ttl.override"),
        LifetimeSource::Status => (format!("ttl.statuses of the rule for {status}"), "ttl.statuses"),
        LifetimeSource::Default => ("ttl.default of the rule".into(), "ttl.default"),
        LifetimeSource::Heuristic => {
            let percent = rule.ttl.heuristic_percent;
            let most = seconds(rule.ttl.heuristic_max);
            (
                format!("{percent} % of Date minus Last-Modified, at most {most} (RFC 9111 §4.2.2)"),
                "heuristic",
            )
        }
        LifetimeSource::None => {
            ("nobody: no max-age, no Expires, no ttl.default, no heuristic".into(), "none")
        }
    };
    let text = match lifetime.length == lifetime.uncapped {
        true => format!("{said} from {source}"),
        false => format!("{}: {said} from {source}, cut by ttl.max", seconds(lifetime.length)),
    };
    (text, word)
}

/// The age of a response that has just arrived.
pub(super) fn initial_age(age: &InitialAge) -> String {
    let InitialAge { apparent, field, delay } = *age;
    format!(
        "{} = the greater of {} since Date and {} in Age plus {} on the way (RFC 9111 §4.2.3)",
        seconds(age.corrected()),
        seconds(apparent),
        seconds(field),
        seconds(delay),
    )
}

/// The age of a stored response.
pub(super) fn age(schedule: &Schedule, now: Timestamp) -> String {
    let arrived = schedule.received.since(schedule.born);
    let stayed = now.since(schedule.received);
    format!(
        "{} = {} when it was received + {} in the cache (RFC 9111 §4.2.3)",
        seconds(schedule.age(now)),
        seconds(arrived),
        seconds(stayed)
    )
}

/// Lifetime minus age.
pub(super) fn freshness(stored: &StoredResponse, now: Timestamp) -> String {
    let schedule = &stored.schedule;
    let sum = format!("lifetime {} - age {}", seconds(schedule.lifetime), seconds(schedule.age(now)));
    match stored.freshness(now) {
        Freshness::Fresh { remaining } => format!("fresh for {} = {sum}", seconds(remaining)),
        Freshness::Stale { .. } if stored.terms.contains(Terms::ALWAYS_VALIDATE) => {
            "never fresh: no-cache, so it is validated before every use (RFC 9111 §5.2.2.4)".into()
        }
        Freshness::Stale { by } => format!(
            "stale for {} = age {} - lifetime {}",
            seconds(by),
            seconds(schedule.age(now)),
            seconds(schedule.lifetime)
        ),
    }
}

/// What it may be used for past its lifetime.
pub(super) fn stale_windows(schedule: &Schedule) -> String {
    let Schedule { while_revalidate, if_error, disconnected, .. } = schedule;
    format!(
        "{} while it is renewed (RFC 5861 §3), {} for an error (RFC 5861 §4), {} for an origin out of reach",
        seconds(*while_revalidate),
        seconds(*if_error),
        seconds(*disconnected)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_seconds() {
        for (millis, text) in [(0, "0 s"), (1000, "1 s"), (1500, "1.5 s"), (59_007, "59.007 s")] {
            assert_eq!(seconds(Duration::from_millis(millis)), text);
        }
        assert_eq!(seconds(Duration::MAX), "any time");
    }
}
