//! The request that is sent for each URL that is to be warmed.

use std::rc::Rc;
use std::time::Duration;

use super::lookup::LookupRequest;
use super::refreshing;
use crate::admission::rule_of;
use crate::cache::{
    Cache, Errand, FillEnd, Fleet, Found, LATE, Moment, Refresh, head_to_warm, unfit_to_warm,
};
use crate::fields::Fields;
use crate::key;
use crate::key::canonical;
use crate::request::Request;
use crate::warm::Item;

/// What is to be done about a URL whose turn it is.
pub(super) enum Prepared {
    /// To be sent.
    Fetch(Box<Refresh>),
    /// A fresh response is stored.
    Fresh,
    /// It was to be renewed, and is renewed already, or gone.
    Overtaken,
    /// It cannot be fetched.
    Refused(&'static str),
    /// Somebody fetches it, or the origin is left alone: after a pause.
    Later(Duration),
    /// Enough was sent for now.
    TooFast,
}

/// Looks a URL up, and takes the lead of its fetch unless that is needless.
pub(super) fn prepare(item: &Item, cache: &mut Cache, moment: &mut Moment<'_>) -> Prepared {
    let now = moment.now;
    if item.ahead.is_some_and(|ahead| ahead.expires <= now) {
        return Prepared::Refused(LATE);
    }
    if let Some(why) = unfit_to_warm(&item.url, cache, now) {
        return Prepared::Refused(why);
    }
    let head = head_to_warm(&item.url);
    let Some(fields) = Fields::parse(&head) else { return Prepared::Refused("url") };
    let request = Request::read(fields, false);
    let policy = Rc::clone(cache.policy());
    let (rule_index, rule) = rule_of(&policy, &request);
    let mut key = Vec::new();
    let scope = policy.scope(rule_index);
    let changed = canonical(&request, request.target, &rule.key, scope, None, &mut key);
    let hash = key::hash(&key);
    let stale = match cache.find(&key, hash, &request, rule, moment) {
        Found::Response { stored, hash, .. } if item.ahead.is_some() => {
            let still = item
                .ahead
                .is_some_and(|ahead| (ahead.hash, ahead.received) == (hash, stored.schedule.received));
            if !still || cache.is_renewed_in_node(hash, &stored, moment) {
                return Prepared::Overtaken;
            }
            Some((stored, hash))
        }
        _ if item.ahead.is_some() => return Prepared::Overtaken,
        Found::Response { stored, .. } if !stored.freshness(now).is_stale() => return Prepared::Fresh,
        Found::Response { stored, hash, .. } => Some((stored, hash)),
        _ => None,
    };
    let Some(cluster) = cache.refresh_cluster(rule_index, rule, now) else {
        return Prepared::Refused("no-cluster");
    };
    if cache.origin_open(rule_index, rule, now).is_some() {
        return Prepared::Later(ORIGIN_OPEN);
    }
    let turn = stale.as_ref().map_or(hash, |(_, hash)| *hash);
    if cache.is_refreshing(turn) {
        return Prepared::Later(BUSY);
    }
    let keyed = LookupRequest {
        request: &request,
        rule_index,
        rule,
        key: &key,
        hash,
        changed,
        sampled: false,
        inputs: None,
    };
    let fleet = match &stale {
        // All Envoys of a fleet have it, and foretell the same of it.
        Some((stored, _)) if item.ahead.is_some() => Fleet::of(stored, rule, &policy),
        _ => Fleet::of_warmed(rule, &policy),
    };
    let Some(leads) = cache.turn_to_renew(turn, fleet.lasts(rule.refresh.timeout), moment) else {
        return Prepared::Later(BUSY);
    };
    // Last: what another worker fetches takes nothing of the pace.
    if !cache.may_warm(moment) {
        if let Some(id) = leads {
            cache.end_fill(id, FillEnd::Abandoned, moment);
        }
        return Prepared::TooFast;
    }
    let Ok(admitted) = cache.admit_origin(rule_index, rule, moment) else {
        if let Some(id) = leads {
            cache.end_fill(id, FillEnd::Abandoned, moment);
        }
        return Prepared::Later(ORIGIN_OPEN);
    };
    cache.begin_refresh(turn);
    let errand = Errand::Warm { item: item.clone(), key: key.clone() };
    let mut fetch = refreshing::fetch(&keyed, stale, leads, admitted, cluster, errand, cache, moment);
    fetch.fleet = fleet;
    Prepared::Fetch(Box::new(fetch))
}

/// Until somebody else's fetch is looked at again.
const BUSY: Duration = Duration::from_millis(500);
/// Until an origin that is left alone is looked at again.
const ORIGIN_OPEN: Duration = Duration::from_secs(1);
