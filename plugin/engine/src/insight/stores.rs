//! Of how much use a larger store would be: what left it to make room and is fetched again, by how much has left since.
//!
//! What left lies in shared data where the node has a store, and in the worker's memory where only workers have some.

use serde_json::Value;

use super::numbers::Requests;
use crate::foresight::ghosts::{Ghost, Part, Place};
use crate::foresight::parts::{PARTS, half_of, part_of};
use crate::host::wire::{framed, take_u32, take_u64, unframed};
use crate::host::{ABSENT, CasMismatch, Host, SharedData};
use crate::members::members;
use crate::stats::Word;
use crate::store::Departed;
use crate::time::Timestamp;

/// What one worker knows of it.
#[derive(Debug)]
pub struct Stores {
    /// What its places begin with.
    key: String,
    /// Where the worker's own store is looked at, what left that.
    own: Option<Own>,
    /// The last period that this worker has seen to.
    period: u32,
}

/// Memory of a worker in the place of shared data.
#[derive(Debug, Default)]
struct Own(Vec<(String, Vec<u8>)>);

impl Own {
    fn value(&self, key: &str) -> Option<&Vec<u8>> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }
}

impl SharedData for Own {
    fn get(&mut self, key: &str) -> Option<(Vec<u8>, u32)> {
        self.value(key).map(|value| (value.clone(), 1))
    }

    fn set(&mut self, key: &str, value: &[u8], _cas: u32) -> Result<(), CasMismatch> {
        self.0.retain(|(known, _)| known != key);
        self.0.push((key.to_owned(), value.to_vec()));
        Ok(())
    }
}

impl Stores {
    /// Of the node's store, or of the worker's `own`.
    pub fn new(namespace: u64, own: bool) -> Self {
        Self { key: format!("sv1/f/g/{namespace:016x}"), own: own.then(Own::default), period: 0 }
    }

    /// Whether it is about the worker's store.
    pub const fn is_own(&self) -> bool {
        self.own.is_some()
    }

    fn place<'a>(own: &'a mut Option<Own>, host: &'a mut dyn Host) -> &'a mut dyn SharedData {
        match own {
            Some(own) => own,
            None => host,
        }
    }

    /// These have left, in this order.
    pub fn note_departed(&mut self, departed: &[Departed], host: &mut dyn Host) {
        if departed.is_empty() {
            return;
        }
        let data = Self::place(&mut self.own, host);
        let bytes = departed.iter().fold(0, |sum: u64, one| sum.saturating_add(u64::from(one.bytes)));
        let mut left = None;
        for _ in 0..TRIES {
            let (before, cas) = left_so_far(data, &self.key);
            if data.set(&self.key, &encode_left(before.wrapping_add(bytes)), cas).is_ok() {
                left = Some(before);
                break;
            }
        }
        let Some(mut left) = left else { return };
        let mut ghosts = Vec::with_capacity(departed.len());
        for one in departed {
            ghosts.push(Ghost { tag: half_of(one.hash), place: Place::after(left), since: one.since });
            left = left.wrapping_add(u64::from(one.bytes));
        }
        for nth in 0..PARTS {
            let of_part = |ghost: &&Ghost| part_of(ghost.tag) == nth;
            if !ghosts.iter().any(|ghost| of_part(&ghost)) {
                continue;
            }
            let name = format!("{}/{nth}", self.key);
            for _ in 0..TRIES {
                let (mut part, cas) = read(data, &name);
                ghosts.iter().filter(of_part).for_each(|ghost| part.put(*ghost));
                if data.set(&name, &part.encode(), cas).is_ok() {
                    break;
                }
            }
        }
    }

    /// A response is fetched and stored that is `fresh_for` so many seconds. How many bytes more the store would have had to hold to have
    /// it still, and fresh, and when that was stored; `None`: it has not left lately.
    pub fn note_stored(
        &mut self,
        hash: u128,
        fresh_for: u64,
        now: Timestamp,
        host: &mut dyn Host,
    ) -> Option<(u64, Timestamp)> {
        let tag = half_of(hash);
        let name = format!("{}/{}", self.key, part_of(tag));
        let data = Self::place(&mut self.own, host);
        let mut found = None;
        for _ in 0..TRIES {
            let (mut part, cas) = read(data, &name);
            found = Some(part.take(tag)?);
            if data.set(&name, &part.encode(), cas).is_ok() {
                break;
            }
        }
        let ghost = found?;
        let (left, _) = left_so_far(data, &self.key);
        let is_fresh = u64::from(ghost.since).saturating_add(fresh_for) > now.as_secs();
        let since = Timestamp::from_secs(u64::from(ghost.since));
        is_fresh.then(|| (ghost.place.until(Place::after(left)), since))
    }

    /// By tick: sees to it that the sums have this period.
    pub fn keep(&mut self, host: &mut dyn Host, now: Timestamp) {
        let period = u32::try_from(now.as_secs() / SECONDS).unwrap_or(u32::MAX);
        if period == self.period {
            return;
        }
        self.period = period;
        let key = format!("{}/s", self.key);
        let (mut sums, cas) = match host.get(&key) {
            None => (Sums::default(), ABSENT),
            Some((bytes, cas)) => (Sums::decode(&bytes).unwrap_or_default(), cas),
        };
        // One long after this period is of a clock that was set back.
        if sums.period >= period && sums.period - period < PERIODS_BACK {
            return;
        }
        sums.step(period, read_counters(host));
        // Where another worker was first, it has the same.
        let _ = host.set(&key, &sums.encode(), cas);
    }

    /// What operators are told of a store of so many bytes.
    pub fn show(&self, bytes: u64, host: &mut dyn Host) -> Value {
        let sums = host.get(&format!("{}/s", self.key)).and_then(|(bytes, _)| Sums::decode(&bytes));
        let sums = sums.unwrap_or_default();
        let [requests, from_stores, ghosts @ ..] = sums.lately;
        let is_known = requests >= FEWEST;
        let reach = self.reach(host);
        let mut within = 0.0;
        let (mut steps, mut enough) = (Vec::new(), Value::Null);
        for (step, ghosts) in STEPS.iter().zip(ghosts).filter(|_| is_known) {
            within += ghosts;
            let more = step.of(bytes);
            let points = (within / requests * 10_000.0).round() / 100.0;
            let told = members! {
                "percent": f64::from(step.per_mille) / 10.0,
                "bytes": more,
                "points": points,
                "at_least": reach.is_some_and(|reach| reach < more),
            };
            if points >= WORTH && enough == Value::Null {
                enough = told.clone();
            }
            steps.push(told);
        }
        members! {
            "watched": true,
            "of": if self.is_own() { "worker" } else { "node" },
            "bytes": bytes,
            "requests": requests.round(),
            "hit_rate": is_known.then(|| (from_stores / requests * 10_000.0).round() / 10_000.0),
            "reach_bytes": reach;
            "steps" => Value::Array(steps),
            "enough" => enough
        }
    }

    /// How much has left since the oldest of which it is still known; `None`: nothing was forgotten.
    fn reach(&self, host: &mut dyn Host) -> Option<u64> {
        let mut of = |name: &str| match &self.own {
            Some(own) => own.value(name).map(|value| (value.clone(), ABSENT)),
            None => host.get(name),
        };
        let (left, _) = decode_left(of(&self.key));
        let parts = (0..PARTS).map(|part| decode(of(&format!("{}/{part}", self.key))).0);
        let full = parts.filter(Part::is_full);
        full.filter_map(|part| Some(part.oldest()?.place.until(Place::after(left)))).min()
    }
}

/// The word of a response that a store would have had which holds so many bytes more than its `budget`.
pub fn word_of(more: u64, budget: u64) -> &'static str {
    let step = STEPS.iter().find(|step| more <= step.of(budget));
    step.map_or("beyond", |step| step.word)
}

/// How much larger a store might be.
struct Step {
    per_mille: u16,
    word: &'static str,
}

impl Step {
    const fn of(&self, bytes: u64) -> u64 {
        bytes.saturating_mul(self.per_mille as u64) / 1000
    }
}

const STEPS: [Step; 4] = [
    Step { per_mille: 125, word: "eighth" },
    Step { per_mille: 250, word: "quarter" },
    Step { per_mille: 500, word: "half" },
    Step { per_mille: 1000, word: "double" },
];

/// Requests, those that stores answered, and those that a larger one would have.
type Counters = [u64; 2 + STEPS.len()];

fn read_counters(host: &mut dyn Host) -> Counters {
    let requests = Requests::read(host);
    let mut of = |word: &'static str| -> u64 { host.metric(("ghost", word) as Word) };
    let [a, b, c, d] = STEPS.each_ref().map(|step| of(step.word));
    [requests.all(), requests.from_store(), a, b, c, d]
}

/// What was counted of late: after an hour half of it counts.
#[derive(Clone, Debug, Default, PartialEq)]
struct Sums {
    period: u32,
    before: Counters,
    lately: [f64; 2 + STEPS.len()],
}

impl Sums {
    fn step(&mut self, period: u32, counters: Counters) {
        // Of a long pause it is not known what was watched: requests were counted all the time.
        let gap = period.checked_sub(self.period);
        let begins = self.period == 0 || gap.is_none_or(|gap| gap > PERIODS_BACK);
        if begins {
            self.lately = Default::default();
        }
        let kept = KEPT.powi(gap.unwrap_or_default().min(PERIODS_BACK) as i32);
        let known = self.lately.iter_mut().zip(counters.iter().zip(self.before));
        for (lately, (now, before)) in known.filter(|_| !begins) {
            // Counters that are lower than before began anew.
            let more = now.checked_sub(before).unwrap_or(*now);
            *lately = *lately * kept + more as f64;
        }
        (self.period, self.before) = (period, counters);
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = SUMS_MAGIC.to_vec();
        out.extend_from_slice(&self.period.to_le_bytes());
        self.before.iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
        self.lately.iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
        framed(out)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let body = &mut unframed(bytes, SUMS_MAGIC)?;
        let mut sums = Self { period: take_u32(body)?, ..Self::default() };
        for number in &mut sums.before {
            *number = take_u64(body)?;
        }
        for number in &mut sums.lately {
            *number = Some(f64::from_bits(take_u64(body)?)).filter(|number| number.is_finite())?;
        }
        body.is_empty().then_some(sums)
    }
}

fn left_so_far(data: &mut dyn SharedData, key: &str) -> (u64, u32) {
    decode_left(data.get(key))
}

fn decode_left(known: Option<(Vec<u8>, u32)>) -> (u64, u32) {
    let cas = known.as_ref().map_or(ABSENT, |(_, cas)| *cas);
    let left = known.and_then(|(bytes, _)| take_u64(&mut unframed(&bytes, LEFT_MAGIC)?));
    (left.unwrap_or_default(), cas)
}

fn encode_left(left: u64) -> Vec<u8> {
    let mut out = LEFT_MAGIC.to_vec();
    out.extend_from_slice(&left.to_le_bytes());
    framed(out)
}

fn read(data: &mut dyn SharedData, name: &str) -> (Part, u32) {
    decode(data.get(name))
}

fn decode(known: Option<(Vec<u8>, u32)>) -> (Part, u32) {
    let cas = known.as_ref().map_or(ABSENT, |(_, cas)| *cas);
    (Part::read(known.as_ref().map(|(bytes, _)| bytes.as_slice())), cas)
}

/// Points of the hit rate that are worth a larger store.
const WORTH: f64 = 1.0;
/// Requests of late that say something.
const FEWEST: f64 = 1000.0;
/// Of a period.
const SECONDS: u64 = 10;
/// Of a period ten seconds later: after an hour, a half.
const KEPT: f64 = 0.998_076;
/// Ten minutes.
const PERIODS_BACK: u32 = 60;
const TRIES: usize = 4;
const LEFT_MAGIC: [u8; 4] = *b"svo1";
const SUMS_MAGIC: [u8; 4] = *b"svq1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_a_time_in_which_nobody_watched_are_not_set_against_what_was_seen() {
        let mut sums = Sums::default();
        sums.step(1000, [0; 6]);
        sums.step(1001, [100, 60, 10, 0, 0, 0]);
        assert!((sums.lately[0], sums.lately[2]) == (100.0, 10.0), "{sums:?}");
        sums.step(1001 + PERIODS_BACK + 1, [1_000_000, 60, 10, 0, 0, 0]);
        assert_eq!(sums.lately, [0.0; 6]);
        sums.step(1003 + PERIODS_BACK, [1_000_100, 120, 15, 0, 0, 0]);
        assert_eq!((sums.lately[0], sums.lately[2]), (100.0, 5.0));
    }
}
