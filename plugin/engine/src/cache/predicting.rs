//! What this worker renews before it expires, because it will be asked for (`warm.predict`).
//!
//! ```text
//! each request ─► counted by key ─► told to the node, a part of the sketch at a tick
//! some slots of the worker store at a tick ─ fresh for five minutes at most, was hit, the chance is above a half ─► due
//! due ─ the likeliest first, when it is time ─► queue of warming ─► pace, breaker, leases, claims, pool as ever
//! ```

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;

use super::warmable::rule_to_warm;
use super::{Cache, Found, LATE, Moment, Warmed, head_to_warm};
use crate::fields::Fields;
use crate::foresight::hours::Hours;
use crate::foresight::parts::{PARTS, half_of, part_of};
use crate::foresight::sketch::Part;
use crate::host::{ABSENT, Host, SharedData};
use crate::members::{Members, members};
use crate::stats::list;
use crate::store::Slot;
use crate::store::response::StoredResponse;
use crate::time::Timestamp;
use crate::url::Url;
use crate::warm::{Added, Ahead};

/// What one worker knows of it.
#[derive(Debug)]
pub(super) struct Predicting {
    /// What its places in shared data begin with.
    key: String,
    /// Requests by key that the node has not been told of, each near the place that its key gives it.
    asked: Vec<(u64, u8)>,
    /// The part of the sketch that is told next.
    part: u8,
    /// Hashes of what was hit, a bit each: lately, and before that.
    hits: [Vec<u64>; 2],
    hits_since: Timestamp,
    hours: Hours,
    /// The last ten seconds that were looked at.
    period: u64,
    /// Where the look at the worker store goes on.
    at: u32,
    due: Vec<Due>,
    /// What was renewed so, each at the place that its hash gives it.
    renewed: Vec<Option<Renewed>>,
    /// What was renewed in vain, and is left alone for a while.
    rests: VecDeque<Rest>,
}

/// What was renewed in vain.
#[derive(Clone, Copy, Debug)]
struct Rest {
    hash: u128,
    /// Its rule, if the origin has failed.
    failed: Option<usize>,
    since: Timestamp,
    until: Timestamp,
}

/// What will be asked for after it has expired.
#[derive(Clone, Debug)]
struct Due {
    url: Url,
    rule: usize,
    ahead: Ahead,
    /// When it is renewed.
    at: Timestamp,
    /// Requests to be expected.
    expected: f64,
}

/// What was renewed before it had expired.
#[derive(Clone, Copy, Debug)]
struct Renewed {
    hash: u128,
    /// When the old one would have expired.
    before: Timestamp,
    /// When it expires itself.
    expires: Timestamp,
    /// It was a hit that the old one would not have been.
    is_gain: bool,
}

impl Predicting {
    pub(super) fn new(namespace: u64) -> Self {
        Self {
            key: format!("sv1/f/w/{namespace:016x}"),
            asked: vec![(0, 0); MOST_ASKED],
            part: 0,
            hits: [vec![0; WORDS], vec![0; WORDS]],
            hits_since: Timestamp::default(),
            hours: Hours::default(),
            period: 0,
            at: 0,
            due: Vec::new(),
            renewed: vec![None; MOST_RENEWED],
            rests: VecDeque::new(),
        }
    }

    fn note_asked(&mut self, hash: u128) {
        let key = half_of(hash);
        let begin = key as usize % MOST_ASKED;
        // Where there is no room, one of many keys that are seldom asked for is not counted.
        let near = self.asked.iter_mut().skip(begin).take(NEAR);
        let mut free = None;
        for place in near {
            if place.1 > 0 && place.0 == key {
                place.1 = place.1.saturating_add(1);
                return;
            }
            if place.1 == 0 && free.is_none() {
                free = Some(place);
            }
        }
        if let Some(place) = free {
            *place = (key, 1);
        }
    }

    /// A fresh response was found. Whether that is owed to its having been renewed.
    fn note_hit(&mut self, hash: u128, stored: &StoredResponse, now: Timestamp) -> bool {
        let [lately, _] = &mut self.hits;
        if let Some(word) = lately.get_mut(word_of(hash)) {
            *word |= 1 << (hash % 64);
        }
        match self.renewed.get_mut(place_of(hash)) {
            Some(Some(renewed))
                if renewed.hash == hash
                    && !renewed.is_gain
                    && now >= renewed.before
                    && stored.schedule.expires() == renewed.expires =>
            {
                renewed.is_gain = true;
                true
            }
            _ => false,
        }
    }

    fn was_hit(&self, hash: u128) -> bool {
        let bit =
            |words: &Vec<u64>| words.get(word_of(hash)).is_some_and(|word| word >> (hash % 64) & 1 == 1);
        self.hits.iter().any(bit)
    }

    /// Every ten seconds: sees to the hours, and to what is remembered. How many were renewed for nobody.
    fn keep(&mut self, data: &mut dyn SharedData, now: Timestamp) -> u64 {
        if now.since(self.hits_since) >= HITS_LAST || now < self.hits_since {
            let [lately, before] = &mut self.hits;
            std::mem::swap(lately, before);
            lately.fill(0);
            self.hits_since = now;
        }
        let (mut hours, cas) = match data.get(&self.key) {
            None => (Hours::default(), ABSENT),
            Some((bytes, cas)) => (Hours::decode(&bytes).unwrap_or_default(), cas),
        };
        if hours.step(u32::try_from(now.as_secs()).unwrap_or(u32::MAX)) {
            // Where another worker was first, it has the same.
            let _ = data.set(&self.key, &hours.encode(), cas);
        }
        self.hours = hours;
        self.rests.retain(|rest| now >= rest.since && now < rest.until);
        let mut unasked = 0;
        for place in &mut self.renewed {
            if let Some(renewed) = place.filter(|renewed| renewed.expires <= now) {
                unasked += u64::from(!renewed.is_gain);
                *place = None;
            }
        }
        unasked
    }

    /// Tells the node of what was asked for, a part at a time.
    fn tell(&mut self, data: &mut dyn SharedData) {
        self.part = (self.part + 1) % PARTS;
        let part = self.part;
        let of_part = |(key, times): &(u64, u8)| *times > 0 && part_of(*key) == part;
        if !self.asked.iter().any(of_part) {
            return;
        }
        for _ in 0..TRIES {
            let (mut counts, cas) = self.read(data, part);
            for (key, times) in self.asked.iter().filter(|one| of_part(one)) {
                counts.count(*key, self.hours.hour(), *times);
            }
            if data.set(&self.name(part), &counts.encode(), cas).is_ok() {
                break;
            }
        }
        self.asked.iter_mut().filter(|one| of_part(one)).for_each(|place| place.1 = 0);
    }

    fn read(&self, data: &mut dyn SharedData, part: u8) -> (Part, u32) {
        let known = data.get(&self.name(part));
        let cas = known.as_ref().map_or(ABSENT, |(_, cas)| *cas);
        let bytes = known.as_ref().map(|(bytes, _)| bytes.as_slice());
        (Part::read(bytes, self.hours.begun(), self.hours.day()), cas)
    }

    fn name(&self, part: u8) -> String {
        format!("{}/{part}", self.key)
    }

    /// How many requests for a key are to be expected while its renewal is of use, within five minutes.
    fn expected(&self, hash: u128, lasts: Duration, data: &mut dyn SharedData) -> f64 {
        let key = half_of(hash);
        let (part, _) = self.read(data, part_of(key));
        let hour = self.hours.hour();
        let of = |hour: u8| part.estimate(key, hour).saturating_sub(part.noise(hour));
        let within = lasts.min(HORIZON).as_secs() as u32;
        self.hours.expected(within, [of(hour), of((hour + 1) % 24)])
    }

    fn plan(&mut self, due: Due) {
        if self.due.len() < MOST_DUE {
            self.due.push(due);
            return;
        }
        let least = self.due.iter_mut().min_by(|one, other| one.expected.total_cmp(&other.expected));
        if let Some(least) = least.filter(|least| least.expected < due.expected) {
            *least = due;
        }
    }

    /// The likeliest of those whose time has come.
    fn take_due(&mut self, now: Timestamp) -> Option<Due> {
        let ready = self.due.iter().enumerate().filter(|(_, due)| due.at <= now);
        let (at, _) = ready.max_by(|(_, one), (_, other)| one.expected.total_cmp(&other.expected))?;
        Some(self.due.swap_remove(at))
    }

    /// It was renewed in vain.
    fn rest(&mut self, hash: u128, failed: Option<usize>, lasts: Duration, now: Timestamp) {
        self.rests.retain(|rest| rest.hash != hash);
        if self.rests.len() >= MOST_RESTS {
            self.rests.pop_front();
        }
        self.rests.push_back(Rest { hash, failed, since: now, until: now.plus(lasts) });
    }

    /// Whether a key rests, or the rule: one key that fails says nothing about the others, two do.
    fn is_resting(&self, hash: u128, rule: usize, now: Timestamp) -> bool {
        let lately = |rest: &&Rest| rest.failed == Some(rule) && now.since(rest.since) < REST;
        self.rests.iter().any(|rest| rest.hash == hash && now < rest.until)
            || self.rests.iter().filter(lately).count() > 1
    }

    fn renewed_of(&self, hash: u128) -> Option<&Renewed> {
        self.renewed.get(place_of(hash))?.as_ref().filter(|renewed| renewed.hash == hash)
    }

    /// Whether a stored response is to be looked at: it expires soon, was hit, and is not on its way already.
    fn is_candidate(&self, hash: u128, stored: &StoredResponse, now: Timestamp) -> bool {
        let remaining = stored.schedule.expires().since(now);
        !stored.freshness(now).is_stale()
            && remaining <= HORIZON
            && lasts(stored) >= SHORTEST
            && self.was_hit(hash)
            // What was renewed for nobody is not renewed again.
            && self.renewed_of(hash).is_none_or(|renewed| renewed.is_gain)
            && !self.due.iter().any(|due| due.ahead.hash == hash)
    }
}

impl Cache {
    /// Whether requests are counted by key.
    #[inline]
    pub(crate) const fn foretells(&self) -> bool {
        self.foresight.predicting.is_some()
    }

    /// A request has come whose key has this hash, and this was found for it.
    #[inline(never)]
    pub(crate) fn note_sought(&mut self, hash: u128, found: &Found, now: Timestamp) {
        let Some(predicting) = &mut self.foresight.predicting else { return };
        predicting.note_asked(hash);
        if let Found::Response { stored, hash, .. } = found
            && !stored.freshness(now).is_stale()
            && predicting.note_hit(*hash, stored, now)
        {
            self.stats.count("foretold", "gained");
        }
    }

    /// By tick: tells the node what was asked for, looks at some of what is stored, and has renewed what is due.
    pub(super) fn predict(&mut self, moment: &mut Moment<'_>) {
        // What another configuration has followed stores next to nothing any more.
        if self.is_resting() {
            return;
        }
        let Some(mut predicting) = self.foresight.predicting.take() else { return };
        let period = moment.now.as_secs() / PERIOD;
        if period != predicting.period {
            predicting.period = period;
            let unasked = predicting.keep(moment.host, moment.now);
            self.stats.add("foretold", "unasked", unasked);
        }
        predicting.tell(moment.host);
        if predicting.hours.known() > 0 {
            self.look_ahead(&mut predicting, moment);
        }
        self.queue_due(&mut predicting, moment.now);
        self.foresight.predicting = Some(predicting);
    }

    /// Looks at some slots of the worker store.
    fn look_ahead(&mut self, predicting: &mut Predicting, moment: &mut Moment<'_>) {
        let now = moment.now;
        let mut found: Vec<(u128, Slot)> = Vec::new();
        predicting.at = self.table.look(predicting.at, LOOKED_AT, |hash, slot| {
            let is_one = match slot {
                Slot::Response(stored) => predicting.is_candidate(hash, stored, now),
                Slot::Index(index) => index.variants().iter().any(|variant| {
                    predicting.was_hit(variant.hash)
                        && self
                            .variant_of(variant.hash)
                            .is_some_and(|stored| predicting.is_candidate(variant.hash, stored, now))
                }),
            };
            if is_one {
                found.push((hash, slot.clone()));
            }
            found.len() < MOST_FOUND
        });
        for (key_hash, slot) in found {
            let Some(url) = Url::of_key(slot.key()) else { continue };
            let Some((hash, stored)) = self.warmed_of(key_hash, &slot, &url) else { continue };
            if !predicting.is_candidate(hash, &stored, now) || self.is_purged(&stored) {
                continue;
            }
            let (expires, lasts) = (stored.schedule.expires(), lasts(&stored));
            let expected = predicting.expected(key_hash, lasts, moment.host);
            if expected <= LIKELY {
                continue;
            }
            if let Some(rule) = self.rule_to_renew(&url, now) {
                let ahead = Ahead { hash, received: stored.schedule.received, expires };
                let at = expires.minus((lasts / 10).clamp(SHORTEST_LEAD, LONGEST_LEAD));
                predicting.plan(Due { url, rule, ahead, at, expected });
            }
        }
    }

    /// What a request that warms would find in a slot.
    fn warmed_of(&self, hash: u128, slot: &Slot, url: &Url) -> Option<(u128, Rc<StoredResponse>)> {
        let index = match slot {
            Slot::Response(stored) => return Some((hash, Rc::clone(stored))),
            Slot::Index(index) => index,
        };
        let head = head_to_warm(url);
        let selected = index.select(Fields::parse(&head)?, &mut Vec::new()).ok()?;
        self.variant_of(selected).map(|stored| (selected, Rc::clone(stored)))
    }

    fn variant_of(&self, hash: u128) -> Option<&Rc<StoredResponse>> {
        match self.table.peek(hash)? {
            Slot::Response(stored) => Some(stored),
            Slot::Index(_) => None,
        }
    }

    /// The rule of a URL that may be renewed.
    fn rule_to_renew(&self, url: &Url, now: Timestamp) -> Option<usize> {
        rule_to_warm(url, self, now).ok().filter(|rule| !self.policy.rule(*rule).shadow)
    }

    /// Has renewed what is due, as far as there are not enough already.
    fn queue_due(&mut self, predicting: &mut Predicting, now: Timestamp) {
        let mut late = 0;
        predicting.due.retain(|due| {
            let is_late = now >= due.ahead.expires;
            // What was renewed or removed otherwise is not.
            late += u64::from(is_late && is_still(due.ahead, self.table.peek(due.ahead.hash)));
            !is_late
        });
        self.stats.add("foretold", LATE, late);
        if predicting.due.is_empty() {
            return;
        }
        let mut room = self.policy.warm.in_flight.saturating_sub(self.warm_queue().ahead());
        while room > 0
            && let Some(mut due) = predicting.take_due(now)
        {
            let rule = self.policy.rule(due.rule);
            let rests =
                predicting.is_resting(due.ahead.hash, due.rule, now) || self.rests(due.ahead.hash, now);
            if rests || self.origin_open(due.rule, rule, now).is_some() {
                due.at = now.plus(PAUSE);
                predicting.due.push(due);
                continue;
            }
            room -= 1;
            // Who has queued it otherwise is served by that.
            if self.warm_queue().add_ahead(due.url, due.ahead, now) == Added::Full {
                self.stats.count("foretold", "left");
            }
        }
    }

    /// What operators are told.
    pub(crate) fn show_foretold(&self, host: &mut dyn Host) -> Value {
        let Some(predicting) = &self.foresight.predicting else { return members! { "watched": false } };
        let hours =
            host.get(&predicting.key).and_then(|(bytes, _)| Hours::decode(&bytes)).unwrap_or_default();
        let mut told = Members::default();
        told.put("watched", &true);
        told.put("since_ms", &(hours.begun() > 0).then(|| u64::from(hours.begun()) * 1000));
        told.put("hours_known", &hours.known());
        for word in list::family("foretold").map(|family| family.words).unwrap_or_default() {
            told.put(word, &host.metric(("foretold", word)));
        }
        told.end()
    }

    /// What was to be renewed before it expires is done with.
    pub(super) fn renewed_ahead(&mut self, url: &Url, ahead: Ahead, end: &Warmed, now: Timestamp) {
        let present = self.table.peek(ahead.hash).cloned();
        let is_there = is_still(ahead, present.as_ref());
        let word = match end {
            Warmed::Stored => "renewed",
            Warmed::Fresh | Warmed::Overtaken => "elsewhere",
            Warmed::Unstored(_) | Warmed::NotKept => "unstored",
            Warmed::Failed => "failed",
            Warmed::Refused(LATE) if is_there => LATE,
            Warmed::Refused(LATE) => "elsewhere",
            Warmed::Refused(_) => "left",
        };
        self.stats.count("foretold", word);
        let rule = if word == "failed" { self.rule_to_renew(url, now) } else { None };
        let Some(predicting) = &mut self.foresight.predicting else { return };
        match word {
            "failed" | "left" => predicting.rest(ahead.hash, rule, KEY_RESTS, now),
            // It would be the same again.
            "unstored" => predicting.rest(ahead.hash, None, HORIZON, now),
            _ => {}
        }
        if let (Warmed::Stored, Some(Slot::Response(new))) = (end, present)
            && let Some(place) = predicting.renewed.get_mut(place_of(ahead.hash))
        {
            let (hash, before, expires) = (ahead.hash, ahead.expires, new.schedule.expires());
            *place = Some(Renewed { hash, before, expires, is_gain: false });
        }
    }
}

/// Whether what is stored is still what was to be renewed.
fn is_still(ahead: Ahead, present: Option<&Slot>) -> bool {
    matches!(present, Some(Slot::Response(stored)) if stored.schedule.received == ahead.received)
}

/// How long it was fresh from when it was received: a renewal is expected to be as long.
pub(super) fn lasts(stored: &StoredResponse) -> Duration {
    stored.schedule.expires().since(stored.schedule.received)
}

const fn word_of(hash: u128) -> usize {
    (hash >> 6) as usize % WORDS
}

const fn place_of(hash: u128) -> usize {
    hash as usize % MOST_RENEWED
}

/// What is renewed is asked for within this time, and would expire within it.
const HORIZON: Duration = Duration::from_secs(300);
/// More must be expected: then the chance that one comes is above a half.
const LIKELY: f64 = std::f64::consts::LN_2;
/// The last tenth of a lifetime is the time to renew it; of short ones so much, and of long ones. The likeliest of all that expire together
/// are known by then.
const SHORTEST_LEAD: Duration = Duration::from_secs(2);
const LONGEST_LEAD: Duration = Duration::from_secs(240);
/// What is fresh for less is not renewed ahead.
const SHORTEST: Duration = Duration::from_secs(10);
/// Seconds of a period.
const PERIOD: u64 = 10;
/// Keys that are counted until the node is told of them, and how far from its place one is looked for.
const MOST_ASKED: usize = 4096;
const NEAR: usize = 8;
/// Slots of the worker store that are looked at in a tick, and those among them that are looked at closely.
const LOOKED_AT: usize = 256;
const MOST_FOUND: usize = 8;
/// What waits for its time.
const MOST_DUE: usize = 256;
/// What was renewed and has not expired.
const MOST_RENEWED: usize = 1024;
/// Words of 64 bits that tell what was hit.
const WORDS: usize = 1024;
/// What was hit is known for so long at least.
const HITS_LAST: Duration = Duration::from_hours(1);
/// Until an origin that is left alone is looked at again.
const PAUSE: Duration = Duration::from_secs(1);
/// How long an origin is left alone after such requests for two keys have failed, and a key after its own.
const REST: Duration = Duration::from_secs(30);
const KEY_RESTS: Duration = Duration::from_secs(60);
/// Keys that are known to rest.
const MOST_RESTS: usize = 256;
const TRIES: usize = 4;
