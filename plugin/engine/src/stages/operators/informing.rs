//! What operators are told of the cache, and what they may have it do at once. `plugin/openapi.json` describes the answers.

use serde_json::{Map, Value};

use super::{Answer, note};
#[cfg(all(feature = "limits", feature = "llm"))]
use crate::cache::shown_of_budget;
use crate::cache::{Cache, Moment};
use crate::config::refusal;
use crate::host::Host;
#[cfg(feature = "foresight")]
use crate::insight::anomalies;
use crate::insight::health::{self, Status};
use crate::insight::history::Point;
use crate::insight::numbers::{self, Requests, Tier, share};
use crate::insight::{admission, advice, batches, budgets, held, history, models, shadow};
use crate::members::{Members, members};
use crate::policy::effective;
use crate::remote::writes::{self, Reason};
use crate::stats::Word;

/// Of the interface: a change that a program which reads it would have to know gets another one.
const VERSION: u64 = 1;

/// Whether the cache does its work. 503 where nothing can be stored.
pub(super) fn health(cache: &mut Cache, moment: &mut Moment<'_>) -> Answer {
    let leaks = held::leaks(cache.held_outside(), &cache.held_here(moment), cache.policy());
    let reasons = health::reasons(moment.host, cache.policy(), &leaks);
    let status = reasons.iter().map(|reason| reason.status).max().unwrap_or_default();
    let reasons =
        reasons.iter().map(|reason| members! { "code": reason.code, "text": reason.text }).collect();
    let code = if status == Status::Failing { 503 } else { 200 };
    told(code, members! { "status": status.as_str(); "reasons" => reasons }, moment)
}

/// Every counter and gauge.
pub(super) fn stats(cache: &mut Cache, moment: &mut Moment<'_>) -> Answer {
    let named = |((family, word), value): (Word, u64)| ([family, ".", word].concat(), Value::from(value));
    let mut counters = Value::Object(numbers::counters(moment.host).map(named).collect());
    let plugin = &cache.policy().label;
    let gauges = Value::Object(numbers::gauges(moment.host, plugin).map(named).collect());
    if let Some(counters) = counters.as_object_mut() {
        let by_rule = shadow::counters(moment.host, cache.policy());
        counters.extend(by_rule.into_iter().map(|(name, value)| (name, value.into())));
    }
    told(200, members! { ; "counters" => counters, "gauges" => gauges }, moment)
}

/// How well the cache does.
pub(super) fn report(cache: &mut Cache, moment: &mut Moment<'_>) -> Answer {
    let budgets = budgets_of(cache, moment);
    let jobs = jobs_of(cache, moment);
    let (sessions, uploads) = (sessions_of(cache, moment), uploads_of(cache, moment));
    let host = &mut *moment.host;
    let plugin = &*cache.policy().label;
    let requests = Requests::read(host);
    let (from_stores, bytes) = numbers::served_bytes(host);
    let (calls, failures) = numbers::remote_calls(host);
    let seen = cache.seen(moment.now);
    let top = cache.busiest(TOP).into_iter();
    let top = top
        .map(|key| members! { "key": key.url, "requests": key.requests, "at_least": key.at_least })
        .collect();
    let points = history::points(host).iter().map(point).collect();
    let writes = writes::read(host, &cache.policy().remote);
    let figures = cache.pool_figures();
    let useful = requests.all() - requests.bypass - requests.refused;
    let body = members! {
        "hit_rate": share(requests.from_store(), requests.all()),
        "byte_hit_rate": share(from_stores, bytes),
        "efficiency": share(requests.from_store(), useful),
        "requests": requests.all(),
        "top_of": "worker";
        "outcomes" => members! {
            "hit": requests.hit,
            "stale": requests.stale,
            "collapsed": requests.collapsed,
            "validated": requests.validated,
            "miss": requests.miss,
            "bypass": requests.bypass,
            "refused": requests.refused,
        },
        "bytes" => members! { "from_stores": from_stores, "all": bytes },
        "tiers" => members! {
            ;
            "worker" => tier(&Tier::read(host, plugin, "worker")),
            "node" => tier(&Tier::read(host, plugin, "node"))
        },
        "top" => top,
        "latency" => members! {
            "of": "worker";
            "origin" => mean(seen.origin_us),
            "remote" => mean(seen.remote_us)
        },
        "remote" => members! {
            "enabled": cache.policy().remote.enabled,
            "ready": numbers::is_remote_ready(host, plugin),
            "breaker": numbers::remote_breaker(host, plugin),
            "writes": writes.as_str(),
            "refused_for": writes.reason().map(Reason::as_str),
            "calls": calls,
            "failures": failures,
        },
        "origin" => members! { "open": numbers::origins_open(host, plugin) },
        "shadow" => shadow::show(host, cache.policy(), cache.mismatches()),
        "pools" => admission::pools(host, &figures),
        "limits" => admission::limits(host, cache.policy(), cache.refusals()),
        "anomalies" => anomalies_of(host, cache),
        "forecast" => forecast_of(host, cache),
        "models" => models::models(host, cache.policy()),
        "budgets" => budgets,
        "jobs" => jobs,
        "sessions" => sessions,
        "uploads" => uploads,
        "streams" => models::streams(host, cache.policy()),
        "batches" => batches::batches(host, cache.policy()),
        "history" => members! { "resolution_ms": history::RESOLUTION_MS; "points" => points }
    };
    told(200, body, moment)
}

/// What is to come.
#[cfg(feature = "foresight")]
pub(super) fn forecast(cache: &mut Cache, moment: &mut Moment<'_>) -> Answer {
    let mut body = forecast_of(moment.host, cache);
    if let Some(body) = body.as_object_mut() {
        body.insert("budgets".into(), budgets_of(cache, moment));
    }
    told(200, body, moment)
}

#[cfg(feature = "foresight")]
fn forecast_of(host: &mut dyn Host, cache: &Cache) -> Value {
    let mut told = pools_foretold(host, cache);
    if let Some(told) = told.as_object_mut() {
        told.insert("warm".into(), cache.show_foretold(host));
        told.insert("stores".into(), cache.show_stores(host));
    }
    told
}

#[cfg(not(feature = "foresight"))]
fn forecast_of(_host: &mut dyn Host, _cache: &Cache) -> Value {
    Value::Null
}

#[cfg(all(feature = "foresight", feature = "pools"))]
fn pools_foretold(host: &mut dyn Host, cache: &Cache) -> Value {
    crate::insight::forecast::show(host, cache.policy())
}

#[cfg(all(feature = "foresight", not(feature = "pools")))]
fn pools_foretold(_host: &mut dyn Host, _cache: &Cache) -> Value {
    members! { "watched": false; "pools" => Value::Array(Vec::new()) }
}

/// What is spent of budgets.
pub(super) fn budgets(cache: &mut Cache, moment: &mut Moment<'_>) -> Answer {
    let budgets = budgets_of(cache, moment);
    told(200, members! { ; "budgets" => budgets }, moment)
}

#[cfg(all(feature = "limits", feature = "llm"))]
fn budgets_of(cache: &Cache, moment: &mut Moment<'_>) -> Value {
    let ways = (cache.refused_by_budgets(), shown_of_budget as fn(&_, _) -> _);
    budgets::budgets(moment.host, cache.policy(), ways, moment.now.as_millis())
}

#[cfg(feature = "foresight")]
fn anomalies_of(host: &mut dyn Host, cache: &Cache) -> Value {
    anomalies::show(host, cache.policy())
}

#[cfg(not(feature = "foresight"))]
fn anomalies_of(_host: &mut dyn Host, _cache: &Cache) -> Value {
    Value::Null
}

#[cfg(not(all(feature = "limits", feature = "llm")))]
fn budgets_of(_cache: &Cache, _moment: &mut Moment<'_>) -> Value {
    budgets::none()
}

#[cfg(feature = "jobs")]
fn jobs_of(cache: &Cache, moment: &mut Moment<'_>) -> Value {
    crate::insight::jobs::jobs(moment.host, cache.policy())
}

#[cfg(not(feature = "jobs"))]
const fn jobs_of(_cache: &Cache, _moment: &mut Moment<'_>) -> Value {
    Value::Null
}

#[cfg(feature = "sessions")]
fn sessions_of(cache: &Cache, moment: &mut Moment<'_>) -> Value {
    crate::insight::sessions::sessions(moment.host, cache.policy(), &|kind| cache.session_usage(kind))
}

#[cfg(not(feature = "sessions"))]
const fn sessions_of(_cache: &Cache, _moment: &mut Moment<'_>) -> Value {
    Value::Null
}

#[cfg(feature = "uploads")]
fn uploads_of(cache: &Cache, moment: &mut Moment<'_>) -> Value {
    crate::insight::uploads::uploads(moment.host, cache.policy())
}

#[cfg(not(feature = "uploads"))]
const fn uploads_of(_cache: &Cache, _moment: &mut Moment<'_>) -> Value {
    Value::Null
}

fn tier(tier: &Tier) -> Value {
    members! { "entries": tier.entries, "bytes": tier.bytes, "bound": tier.bound }
}

fn mean(micros: Option<u64>) -> Value {
    micros.map_or(Value::Null, |micros| members! { "mean_us": micros })
}

fn point(point: &Point) -> Value {
    members! {
        "at_ms": point.at_ms,
        "requests": point.requests,
        "hits": point.hits,
        "origin": point.origin,
        "errors": point.errors,
    }
}

/// What should be changed.
pub(super) fn recommendations(cache: &mut Cache, moment: &mut Moment<'_>) -> Answer {
    let list = advice::recommendations(moment.host, cache.policy(), &cache.seen(moment.now));
    told(200, members! { ; "recommendations" => list.into() }, moment)
}

/// What this worker holds that must go away again.
pub(super) fn resources(cache: &mut Cache, moment: &mut Moment<'_>) -> Answer {
    let (held, own) = (*cache.held_outside(), cache.held_here(moment));
    let leaks = held::leaks(&held, &own, cache.policy());
    let mut body = held::show(&held, &own, &leaks);
    if let Some(body) = body.as_object_mut() {
        body.insert("version".into(), VERSION.into());
        body.insert("pools".into(), admission::pools_here(&cache.pool_figures()));
        let (keys, bytes) = cache.limit_usage();
        body.insert("limits".into(), members! { "keys": keys, "bytes": bytes });
    }
    Answer { status: 200, body }
}

/// The configuration in force, and why another was refused.
pub(super) fn config(cache: &mut Cache, moment: &mut Moment<'_>) -> Answer {
    let refused = refusal::shown(moment.host, moment.now);
    told(200, members! { ; "config" => effective::effective(cache.policy()), "refused" => refused }, moment)
}

/// What is done at once: `{"sweep":true,"shrink":true,"reset_breakers":true}`, each of which may be left out.
pub(super) fn optimize(body: &[u8], cache: &mut Cache, moment: &mut Moment<'_>) -> Answer {
    let wanted = match serde_json::from_slice(body) {
        Ok(Value::Object(members)) if is_known(&members) => members,
        _ => {
            cache.stats.count("admin", "refused");
            let error = "an object with sweep, shrink or reset_breakers: true or false, and one of them true";
            return Answer { status: 400, body: members! { "error": error, "path": "body" } };
        }
    };
    let is_wanted = |name: &str| wanted.get(name) == Some(&Value::Bool(true));
    let mut done = Members::default();
    if is_wanted("sweep") {
        done.give("sweep", members! { "of": "worker", "dropped": cache.sweep_all(moment) });
    }
    if is_wanted("shrink") {
        done.give("shrink", members! { "of": "worker", "bytes": cache.shrink() });
    }
    if is_wanted("reset_breakers") {
        let origins = cache.reset_breakers(moment);
        let remote = cache.policy().remote.enabled;
        done.give("reset_breakers", members! { "origins": origins, "remote": remote });
    }
    let body = members! { ; "done" => done.end() };
    note("optimize", body.clone(), cache, moment);
    told(200, body, moment)
}

fn is_known(members: &Map<String, Value>) -> bool {
    let known = ["sweep", "shrink", "reset_breakers"];
    members.iter().all(|(name, value)| known.contains(&&**name) && value.is_boolean())
        && members.values().any(|value| *value == Value::Bool(true))
}

fn told(status: u16, mut body: Value, moment: &Moment<'_>) -> Answer {
    if let Some(body) = body.as_object_mut() {
        body.insert("version".into(), VERSION.into());
        body.insert("at_ms".into(), moment.now.as_millis().into());
    }
    Answer { status, body }
}

/// Keys in a report.
const TOP: usize = 20;
