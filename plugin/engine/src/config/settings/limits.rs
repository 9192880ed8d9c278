//! How much of something a client may ask for within a window of time.

use std::time::Duration;

use super::by::By;
use super::kinds::{Words, duration, switch, text, whole, word};
#[cfg(feature = "limits")]
use super::nested::refuse_unknown_name;
use super::nested::{by_name, list, nullable, object, refuse_known_name, required};
use super::section;
use super::texts::{Caller, Field, LimitName};
use crate::config::limits::{LIMIT_COST, LIMIT_QUOTA, LIMIT_WINDOW, LIST};
use crate::config::reader::{Object, Place};
use crate::config::reference::Least::Empty;
use crate::config::written::Written;
#[cfg(all(feature = "limits", feature = "llm"))]
use crate::config::written::quote;
use crate::config::{FieldName, names};

/// A limit: whom it tells apart, and what each of them may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Unique.
    pub name: Box<str>,
    /// What tells those apart who have a quota each. Default: the client's address. Empty: all share one.
    pub by: Vec<By>,
    /// How much each may ask for within the window.
    pub quota: u64,
    /// In how much time the quota comes back.
    pub window: Duration,
    /// How much of it may be asked for at once. Default `None`: a tenth of the quota, at least 5 of it.
    pub burst: Option<u64>,
    /// Over which Envoys it counts. Default: [`LimitScope::Node`].
    pub scope: LimitScope,
    /// Which requests count. Default: [`LimitCounts::Requests`].
    pub counts: LimitCounts,
    /// What a request counts as. Default: [`LimitUnit::Requests`].
    #[cfg(feature = "llm")]
    pub unit: LimitUnit,
    /// What a request counts as. Default: 1.
    pub cost: u32,
    /// The field of a response that says what its request has cost instead.
    pub cost_header: Option<FieldName>,
    /// Other quotas for some.
    pub tiers: Option<Tiers>,
    /// What holds while Redis cannot be asked. Default: [`LimitOnFailure::Share`].
    pub on_failure: LimitOnFailure,
    /// Which responses tell a client of its quota. Default: [`LimitHeaders::All`].
    pub headers: LimitHeaders,
    /// It only counts what it would refuse. Default: false.
    pub shadow: bool,
}

section! {
    Limit check burst_fits {
        name = Box::default(), required(text::<LimitName>(), names::NAMESPACE),
            "Required and unique; clients are told it.";
        by = vec![By::Ip], list(Empty, text::<Caller>()),
            "What tells those apart who have a quota each: `ip` (an IPv6 address by its /64), `header:NAME`, `cookie:NAME`, `session:NAME` with a field that a session gives, `host`, `path`, `rule`. Requests without any of the values share one quota; `[]`: all share one.";
        quota = 0, required(whole(LIMIT_QUOTA), "a whole number, 1 to 1000000000"),
            "Required. How much each may ask for within the window.";
        window = Duration::ZERO, required(duration(LIMIT_WINDOW), "a duration, 100ms to 31d"),
            "Required. In how much time the quota comes back, evenly.";
        burst = None, nullable(whole(LIMIT_QUOTA)),
            "How much of it may be asked for at once. No window admits more than `quota` and `burst` together. `null`: a tenth of the quota, at least 5 of it.";
        scope = LimitScope::default(), word(LIMIT_SCOPE),
            "Whether it counts over the workers of one Envoy, or over the fleet by Redis (`remote`).";
        counts = LimitCounts::default(), word(LIMIT_COUNTS),
            "Whether all requests count, or those only that a store cannot answer.";
        #[cfg(feature = "llm")]
        unit = LimitUnit::default(), word(LIMIT_UNIT),
            "`requests`: each counts as `cost`. `tokens`: as the tokens that a language model uses for it (`llm`); those that it may use are taken when it goes there, and settled by its answer.";
        cost = 1, whole(LIMIT_COST),
            "What a request counts as; in tokens, what its answer may use if the request does not say it.";
        cost_header = None, nullable(text::<Field>()),
            "The field of a response that says in a whole number what its request has cost; what is more than `cost` is owed.";
        tiers = None, nullable(object()), "Other quotas for some.";
        on_failure = LimitOnFailure::default(), word(LIMIT_ON_FAILURE),
            "While Redis cannot be asked: each Envoy keeps to its share of the quota, nothing is refused, or all is (503).";
        headers = LimitHeaders::default(), word(LIMIT_HEADERS),
            "Which responses have `RateLimit` and `RateLimit-Policy`.";
        shadow = false, switch(), "It refuses nothing, and counts what it would refuse.";
    }
}

impl Limit {
    /// The burst of a quota where none is written.
    pub const fn burst_of(quota: u64) -> u64 {
        let tenth = quota / 10;
        let few = if quota < 5 { quota } else { 5 };
        if tenth > few { tenth } else { few }
    }

    /// Whether it counts the tokens of language models.
    pub const fn counts_tokens(&self) -> bool {
        #[cfg(feature = "llm")]
        return matches!(self.unit, LimitUnit::Tokens);
        #[cfg(not(feature = "llm"))]
        false
    }

    /// The quota and burst for those of a tier, or of none.
    pub fn rate_of(&self, tier: Option<&str>) -> (u64, u64) {
        let of_tier = |tiers: &Tiers| {
            let named = tiers.quota.iter().find(|(name, _)| Some(&**name) == tier);
            named.map(|(_, quota)| *quota)
        };
        match self.tiers.as_ref().and_then(of_tier) {
            // A burst that is written is in proportion to the quota that is.
            Some(quota) => {
                let in_proportion = |burst: u64| {
                    let burst = u128::from(burst) * u128::from(quota) / u128::from(self.quota.max(1));
                    u64::try_from(burst).unwrap_or(u64::MAX).clamp(1, *LIMIT_QUOTA.end())
                };
                (quota, self.burst.map_or_else(|| Self::burst_of(quota), in_proportion))
            }
            None => (self.quota, self.burst.unwrap_or_else(|| Self::burst_of(self.quota))),
        }
    }
}

/// Redis counts in numbers that are exact up to here; so do all levels.
const MOST_UNITS: u128 = 1 << 53;

fn burst_fits(limit: &mut Limit, object: &mut Object<'_, '_>) {
    if limit.counts_tokens() {
        // What a store answers uses none.
        for (name, written) in
            [("counts", limit.counts == LimitCounts::Requests), ("cost_header", limit.cost_header.is_some())]
        {
            if object.has(name) && written {
                let allowed = "none with `\"unit\": \"tokens\"`: answers of models say what they have used";
                object.place_of(name).refuse::<()>("a setting", allowed);
            }
        }
        limit.counts = LimitCounts::Forwarded;
    }
    let tiers = limit.tiers.iter().flat_map(|tiers| &tiers.quota).map(|(name, _)| Some(&**name));
    for tier in std::iter::once(None).chain(tiers) {
        let (quota, burst) = limit.rate_of(tier);
        if u128::from(burst.max(quota)) * limit.window.as_millis() > MOST_UNITS {
            let found = format!("{} times {} ms", burst.max(quota), limit.window.as_millis());
            let allowed = "quota, and burst, times the window's milliseconds at most 9007199254740992";
            object.place_of("window").refuse::<()>(found, allowed);
            return;
        }
        if u64::from(limit.cost) > burst {
            let found = format!("{} with a burst of {burst}", limit.cost);
            let allowed = "no more than the burst: it would never be admitted";
            object.place_of("cost").refuse::<()>(found, allowed);
            return;
        }
    }
}

/// Other quotas for some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tiers {
    /// What says whose tier it is. Default: the field `x-tier`.
    pub by: By,
    /// The quota of each, in ascending order of name. Who is in none has that of the limit.
    pub quota: Vec<(Box<str>, u64)>,
}

section! {
    Tiers {
        by = By::Header((*b"x-tier").into()), text::<Caller>(),
            "What says whose tier it is. A field that clients can send is theirs to choose.";
        quota = Vec::new(), by_name(whole(LIMIT_QUOTA)),
            "The quota of each tier. Who is in none has that of the limit; each tier counts for itself.";
    }
}

/// Over which Envoys a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LimitScope {
    /// The workers of one.
    #[default]
    Node,
    /// All that share a Redis.
    Fleet,
}

pub(super) const LIMIT_SCOPE: Words<LimitScope> = &[("node", LimitScope::Node), ("fleet", LimitScope::Fleet)];

/// Which requests count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LimitCounts {
    /// All.
    #[default]
    Requests,
    /// Those that go to the origin.
    Forwarded,
}

const LIMIT_COUNTS: Words<LimitCounts> =
    &[("requests", LimitCounts::Requests), ("forwarded", LimitCounts::Forwarded)];

/// What a request counts as.
#[cfg(feature = "llm")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LimitUnit {
    /// Its cost.
    #[default]
    Requests,
    /// The tokens that a language model uses for it.
    Tokens,
}

#[cfg(feature = "llm")]
const LIMIT_UNIT: Words<LimitUnit> = &[("requests", LimitUnit::Requests), ("tokens", LimitUnit::Tokens)];

/// What holds while Redis cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LimitOnFailure {
    /// Each Envoy keeps to its share.
    #[default]
    Share,
    /// Nothing is refused.
    Open,
    /// All is refused.
    Closed,
}

pub(super) const LIMIT_ON_FAILURE: Words<LimitOnFailure> =
    &[("share", LimitOnFailure::Share), ("open", LimitOnFailure::Open), ("closed", LimitOnFailure::Closed)];

/// Which responses tell a client of its quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LimitHeaders {
    /// All.
    #[default]
    All,
    /// Those that refuse.
    Refused,
    /// None.
    None,
}

const LIMIT_HEADERS: Words<LimitHeaders> =
    &[("all", LimitHeaders::All), ("refused", LimitHeaders::Refused), ("none", LimitHeaders::None)];

/// Most limits.
pub(crate) const LIMITS: usize = LIST;

/// Reads one of `limits` and adds it to those before it.
pub(crate) fn named_limit(
    place: Place<'_>,
    written: &Written,
    remote: &super::remote::Remote,
    limits: &mut Vec<Limit>,
) {
    let limit = Object::walk(place, written, |object| {
        let mut limit = Limit::default();
        super::Section::fill(&mut limit, object);
        let earlier = limits.iter().map(|earlier| &*earlier.name);
        refuse_known_name(object, &limit.name, earlier, "a name that no other limit has");
        refuse_without_remote(limit.scope, remote, object);
        limit
    });
    limits.extend(limit);
}

/// Refuses to count over a fleet that has no Redis.
pub(super) fn refuse_without_remote(
    scope: LimitScope,
    remote: &super::remote::Remote,
    object: &Object<'_, '_>,
) {
    if scope == LimitScope::Fleet && !remote.enabled {
        let allowed = "\"node\", or \"fleet\" with `remote.enabled`: the fleet counts in Redis";
        object.place_of("scope").refuse::<()>("\"fleet\" without `remote`", allowed);
    }
}

/// Refuses the names in a rule's `limits` that no limit has, and limits in tokens where no tokens are counted.
#[cfg(feature = "limits")]
pub(crate) fn refuse_unknown(rule: &super::rule::Rule, limits: &[Limit], place: &Place<'_>) {
    for (index, name) in rule.limits.iter().enumerate() {
        let known = limits.iter().map(|limit| &*limit.name);
        refuse_unknown_name(place.item(index), name, known, "limits");
        #[cfg(feature = "llm")]
        if rule.llm.is_none() && limits.iter().any(|limit| limit.counts_tokens() && *limit.name == **name) {
            let found = format!("{}, which counts tokens", quote(name));
            place.item(index).refuse::<()>(found, "a limit in requests, or `llm` in the same rule");
        }
    }
}
