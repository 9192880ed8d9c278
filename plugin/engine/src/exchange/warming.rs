//! What operators warm, `POST /.selvage/warm`, and the request that is sent for each URL.

use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};

use super::lookup::Keyed;
use super::operating::{Told, note};
use super::refreshing;
use crate::admission::{self, rule_of};
use crate::cache::{Cache, Errand, FillEnd, Fleet, Found, Moment, Refresh};
use crate::fields::{FieldBlock, Fields};
use crate::key;
use crate::key::canonical;
use crate::request::Request;
use crate::time::Timestamp;
use crate::url::Url;
use crate::warm::{Added, Item, request};

/// How far the workers have come.
pub(super) fn progress(cache: &mut Cache, moment: &mut Moment<'_>) -> Told {
    let mut body = cache.warming_progress(moment);
    if let Some(body) = body.as_object_mut() {
        body.insert("per_second".into(), json!(cache.policy().warm.per_second));
    }
    Told { status: 200, body }
}

/// A body that says what to warm. This worker does it, after the answer.
pub(super) fn by_body(body: &[u8], cache: &mut Cache, moment: &mut Moment<'_>) -> Told {
    let urls = match request::parse(body) {
        Ok(urls) => urls,
        Err(fault) => {
            cache.stats.count("warm", "refused");
            return Told { status: 400, body: json!({ "error": fault.allowed, "path": fault.path }) };
        }
    };
    let (asked, mut queued, mut already) = (urls.len(), 0, 0);
    let mut refused: Vec<Value> = Vec::new();
    for (at, url) in urls.into_iter().enumerate() {
        let why = match refusal(&url, cache, moment.now) {
            Some(why) => why,
            None => match cache.warm(url, false, moment.now) {
                Added::Queued => {
                    queued += 1;
                    continue;
                }
                Added::Already => {
                    already += 1;
                    continue;
                }
                Added::Full => "queue-full",
            },
        };
        cache.refuse_to_warm(why);
        refused.push(json!({ "path": format!("urls[{at}]"), "reason": why }));
    }
    let what = json!({ "urls": asked, "queued": queued, "already": already, "refused": refused.len() });
    note("warm", what, cache, moment);
    Told { status: 202, body: json!({ "queued": queued, "already": already, "refused": refused }) }
}

/// Why a URL is not to be warmed, before anything is looked up.
fn refusal(url: &Url, cache: &Cache, now: Timestamp) -> Option<&'static str> {
    let head = head_of(url);
    let Some(fields) = Fields::parse(&head) else { return Some("url") };
    let request = Request::read(fields, false);
    let (rule_index, rule) = rule_of(cache.policy(), &request);
    if rule.bypass {
        return Some("rule");
    }
    if let Some(vector) = admission::refusal(&request, rule) {
        return Some(vector.as_str());
    }
    cache.refresh_cluster(rule_index, rule, now).is_none().then_some("no-cluster")
}

/// What is to be done about a URL whose turn it is.
pub(super) enum Prepared {
    /// To be sent.
    Fetch(Box<Refresh>),
    /// A fresh response is stored.
    Fresh,
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
    if let Some(why) = refusal(&item.url, cache, now) {
        return Prepared::Refused(why);
    }
    let head = head_of(&item.url);
    let Some(fields) = Fields::parse(&head) else { return Prepared::Refused("url") };
    let request = Request::read(fields, false);
    let policy = Rc::clone(cache.policy());
    let (rule_index, rule) = rule_of(&policy, &request);
    let mut key = Vec::new();
    let scope = policy.scope(rule_index);
    let changed = canonical(&request, request.target, &rule.key, scope, None, &mut key);
    let hash = key::hash(&key);
    let stale = match cache.find(&key, hash, &request, rule, moment) {
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
    if !cache.may_warm(moment) {
        return Prepared::TooFast;
    }
    let keyed = Keyed { request: &request, rule_index, rule, key: &key, hash, changed, sampled: false };
    let fleet = Fleet::of_warmed(rule, &policy);
    let Some(leads) = cache.turn_to_renew(turn, fleet.lasts(rule.refresh.timeout), moment) else {
        return Prepared::Later(BUSY);
    };
    let Ok(admitted) = cache.admit_origin(rule_index, rule, moment) else {
        if let Some(id) = leads {
            cache.end_fill(id, FillEnd::Died, moment);
        }
        return Prepared::Later(ORIGIN_OPEN);
    };
    cache.begin_refresh(turn);
    let errand = Errand::Warm { item: item.clone(), key: key.clone() };
    let mut fetch = refreshing::fetch(&keyed, stale, leads, admitted, cluster, errand, cache, moment);
    fetch.fleet = fleet;
    Prepared::Fetch(Box::new(fetch))
}

/// The request of a client that has nothing to tell.
fn head_of(url: &Url) -> Vec<u8> {
    let mut block = FieldBlock::new();
    block.push(b":method", b"GET");
    block.push(b":scheme", url.scheme.as_bytes());
    block.push(b":authority", &url.authority);
    block.push(b":path", &url.target);
    block.push(b"accept-encoding", b"gzip");
    let mut head = Vec::new();
    block.write_with(&[], &mut head);
    head
}

/// Until somebody else's fetch is looked at again.
const BUSY: Duration = Duration::from_millis(500);
/// Until an origin that is left alone is looked at again.
const ORIGIN_OPEN: Duration = Duration::from_secs(1);
