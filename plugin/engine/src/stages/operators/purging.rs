//! What operators purge: `PURGE` on a URL, and `POST /.selvage/purge`.
//!
//! The answer says what is known of the fleet: `told` once the entry is in the log that the other Envoys read, for which it
//! waits a moment, and `pending` if that takes longer, or is known to be in vain for now.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::{Held, Then, Until};
use super::{Answer, answered, note};
use crate::cache::{Cache, Moment, Telling};
use crate::purge::Mode;
use crate::purge::request::{self, Asked, Item};
use crate::request::Request;
use crate::time::Timestamp;
use crate::uri;

/// `PURGE` on a URL.
pub(super) fn by_method(request: &Request<'_>, cache: &mut Cache, moment: &mut Moment<'_>) -> Then {
    let soft = request
        .fields
        .get(b"selvage-purge")
        .is_some_and(|mode| mode.trim_ascii().eq_ignore_ascii_case(b"soft"));
    let mut authority = Vec::new();
    uri::normalize_authority(request.authority, request.scheme, &mut authority);
    if request::is_wildcard(request.target) {
        cache.stats.count("purge", "refused");
        return answered(
            &Answer { status: 400, body: json!({ "error": request::WILDCARD, "path": "url" }) },
            None,
        );
    }
    let url = String::from_utf8_lossy(&[&authority[..], request.target].concat()).into_owned();
    let item = Item::Url { authority, target: request.target.to_vec() };
    let asked = Asked { items: vec![item], mode: if soft { Mode::Soft } else { Mode::Hard } };
    accept(&asked, json!({ "urls": [url] }), cache, moment)
}

/// A body that says what to purge.
pub(super) fn by_body(body: &[u8], cache: &mut Cache, moment: &mut Moment<'_>) -> Then {
    match request::parse(body) {
        Ok(asked) => {
            let count = |kind: &str| asked.items.iter().filter(|item| kind_of(item) == kind).count();
            let what = match serde_json::from_slice(body) {
                Ok(what) if body.len() <= LONGEST_NOTE => what,
                _ => json!({ "urls": count("url"), "tags": count("tag"), "prefixes": count("prefix"),
                             "all": count("all") }),
            };
            accept(&asked, what, cache, moment)
        }
        Err(fault) => {
            cache.stats.count("purge", "refused");
            let body = json!({ "error": fault.allowed, "path": fault.path });
            answered(&Answer { status: 400, body }, None)
        }
    }
}

/// Purges, writes down who wanted it, and answers.
fn accept(asked: &Asked, what: Value, cache: &mut Cache, moment: &mut Moment<'_>) -> Then {
    let purged = asked.items.len();
    let soft = asked.mode == Mode::Soft;
    cache.stats.count("purge", "accepted");
    let telling = cache.purge_asked(asked, moment);
    note("purge", json!({ "soft": soft, "what": what }), cache, moment);
    let Some(telling) = telling else { return done(purged, soft, "off") };
    if !cache.tells_soon(moment) {
        return done(purged, soft, "pending");
    }
    let until = moment.now.plus(PATIENCE);
    Purging { telling, until, purged, soft }.look(cache, moment)
}

fn done(purged: usize, soft: bool, fleet: &str) -> Then {
    answered(&Answer { status: 200, body: json!({ "purged": purged, "soft": soft, "fleet": fleet }) }, None)
}

/// A purge that is done here, while the fleet is told.
pub(crate) struct Purging {
    telling: Telling,
    until: Timestamp,
    purged: usize,
    soft: bool,
}

impl Purging {
    /// Bytes that it keeps, as far as they grow with what the operator sends.
    pub(in crate::stages) fn kept_bytes(&self) -> usize {
        self.telling.bytes()
    }

    /// Answers, or waits a little longer.
    pub(in crate::stages) fn look(self, cache: &Cache, moment: &Moment<'_>) -> Then {
        let fleet = match cache.is_told(&self.telling) {
            true => "told",
            false if moment.now < self.until => {
                let at = moment.now.plus(PAUSE);
                return Then::Await(Held::Purging(self), Until::Moment(at));
            }
            false => "pending",
        };
        done(self.purged, self.soft, fleet)
    }
}

/// What the fleet has not been told of.
pub(super) fn pending(cache: &mut Cache, moment: &mut Moment<'_>) -> Answer {
    let (here, first) = cache.pending_purges(MOST_SHOWN);
    // Each worker shows its share by tick.
    let all = moment.host.metric_of(&cache.policy().label, ("queue", "purge")).max(here as u64);
    let fleet = match cache.policy().remote.enabled {
        false => "off",
        true if all == 0 => "told",
        true => "pending",
    };
    let list: Vec<Value> = first
        .iter()
        .map(|purge| {
            let soft = purge.mode == Mode::Soft;
            json!({ "what": purge.what.as_str(), "soft": soft, "at_ms": purge.at.as_millis() })
        })
        .collect();
    let body = json!({ "fleet": fleet, "pending": all, "of": "worker", "here": here, "list": list });
    Answer { status: 200, body }
}

fn kind_of(item: &Item) -> &'static str {
    match item {
        Item::Url { .. } => "url",
        Item::Other(what) => what.as_str(),
    }
}

/// A longer body is written down as counts.
const LONGEST_NOTE: usize = 8 << 10;
/// How long an answer waits for the fleet to be told.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often it looks.
const PAUSE: Duration = Duration::from_millis(10);
/// Purges in a list of those that are pending.
const MOST_SHOWN: usize = 100;
