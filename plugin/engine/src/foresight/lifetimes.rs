//! What a node has seen of how often its responses change and are asked for, in shared data: a fixed number of values with a few entries
//! each, since nothing there can be deleted.
//!
//! ```text
//! sv1/f/l/NNN   entries: tag u32 · content u16 · changes u16, in 256ths · confirmed u32, in 64 ms · seconds, delay, lifetime f32
//! sv1/f/r/…     a rule: changes, seconds, delay, answers, weight, spent f32
//! ```

use super::change::{OfRule, RESOLUTION, Seen, Wanted};
use super::words::{put_f32, put_u32, take_f32};
use crate::host::wire::{take, take_u32};
use crate::host::{ABSENT, SharedData};

/// What is known of one response.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Entry {
    tag: u32,
    /// A digest of what was last seen.
    content: u16,
    /// When it was last known to be that, as [`moment`] tells it.
    at: u32,
    seen: Seen,
}

/// What was found at the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// A response with this content.
    Content(u16),
    /// The content that is stored, which was stored or confirmed at a moment, in milliseconds since 1970.
    Same(u16, u64),
    /// A response with this content, after the one before it was purged.
    AfterPurge(u16),
}

/// What is known of how often a response changes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Known {
    /// Of itself.
    pub own: Seen,
    /// Of all of its rule.
    pub rule: OfRule,
}

/// What is known of a response.
pub fn known(data: &mut dyn SharedData, rule: &str, hash: u128) -> Known {
    let (entries, _) = read(data, &bucket(hash));
    let own = entries.iter().find(|entry| entry.tag == tag(hash)).map(|entry| entry.seen);
    Known { own: own.unwrap_or_default(), rule: read_rule(data, rule).0 }
}

/// Takes in what was found at the origin at a moment, in milliseconds since 1970. Gives what is known then, with the lifetime. Where others
/// are first again and again, one look is lost.
pub fn note(
    data: &mut dyn SharedData,
    rule: &str,
    hash: u128,
    look: Look,
    now_ms: u64,
    wanted: &Wanted,
) -> Known {
    let (key, now) = (bucket(hash), moment(now_ms));
    let (mut of_rule, rule_cas) = read_rule(data, rule);
    let mut own = Seen::default();
    for _ in 0..TRIES {
        let (mut entries, cas) = read(data, &key);
        let place = entries.iter().position(|entry| entry.tag == tag(hash));
        let before = place.map(|place| entries.swap_remove(place));
        let mut rule_then = of_rule;
        let entry = looked(before, tag(hash), look, now, &mut rule_then, wanted);
        own = entry.seen;
        if entries.len() >= ENTRIES
            && let Some(oldest) =
                (0..entries.len()).max_by_key(|at| entries.get(*at).map(|entry| now.wrapping_sub(entry.at)))
        {
            entries.swap_remove(oldest);
        }
        entries.push(entry);
        if data.set(&key, &encode(&entries), cas).is_ok() {
            of_rule = rule_then;
            break;
        }
    }
    // Of many looks at a rule those that another worker's came between may be lost.
    let mut out = Vec::with_capacity(24);
    let OfRule { changes, seconds, delay, answers, weight, spent } = of_rule;
    [changes, seconds, delay, answers, weight, spent]
        .into_iter()
        .for_each(|number| put_f32(&mut out, number));
    let _ = data.set(&rule_key(rule), &out, rule_cas);
    Known { own, rule: of_rule }
}

/// What an entry becomes, with the lifetime that its response gets.
fn looked(
    before: Option<Entry>,
    tag: u32,
    look: Look,
    now: u32,
    rule: &mut OfRule,
    wanted: &Wanted,
) -> Entry {
    let (content, since) = match look {
        Look::Content(content) | Look::AfterPurge(content) => (content, None),
        Look::Same(content, since) => (content, Some(moment(since))),
    };
    let mut seen = before.as_ref().map(|before| before.seen).unwrap_or_default();
    let changed = match look {
        Look::Content(content) => before.as_ref().is_some_and(|before| before.content != content),
        Look::AfterPurge(_) => true,
        Look::Same(..) => false,
    };
    // What was stored before it was noted here: all that is known is when. An answer of a cache on the way that is older than what is
    // known says nothing, and nor does a clock that was set back.
    let from = before.as_ref().map(|before| before.at).or(since);
    let passed = from.map(|from| now.wrapping_sub(from)).filter(|passed| (1..=A_LONG_TIME).contains(passed));
    if let Some(passed) = passed {
        wanted.look(&mut seen, rule, changed, passed as f32 * RESOLUTION);
    }
    seen.lifetime = wanted.lifetime(&seen, rule) as f32;
    let is_back = from.is_some_and(|from| now.wrapping_sub(from) > A_LONG_TIME);
    let at = if is_back && !changed { from.unwrap_or(now) } else { now };
    Entry { tag, content, at, seen }
}

/// A moment in 64 ms; it begins anew every nine years, and only differences count.
fn moment(millis: u64) -> u32 {
    (millis / 64) as u32
}

fn read_rule(data: &mut dyn SharedData, rule: &str) -> (OfRule, u32) {
    let Some((bytes, cas)) = data.get(&rule_key(rule)) else { return (OfRule::default(), ABSENT) };
    let mut bytes = bytes.as_slice();
    let mut next = || take_f32(&mut bytes).map(|number| number.max(0.0));
    let mut read = || {
        let (changes, seconds, delay) = (next()?, next()?, next()?);
        Some(OfRule { changes, seconds, delay, answers: next()?, weight: next()?, spent: next()? })
    };
    (read().unwrap_or_default(), cas)
}

fn read(data: &mut dyn SharedData, key: &str) -> (Vec<Entry>, u32) {
    let Some((bytes, cas)) = data.get(key) else { return (Vec::new(), ABSENT) };
    let mut bytes = bytes.as_slice();
    let mut next = || {
        let tag = take_u32(&mut bytes)?;
        let content = take(&mut bytes).map(u16::from_le_bytes)?;
        let changes = f32::from(take(&mut bytes).map(u16::from_le_bytes)?) / 256.0;
        let at = take_u32(&mut bytes)?;
        let mut number = || take_f32(&mut bytes).map(|number| number.max(0.0));
        let (seconds, delay) = (number()?, number()?);
        Some(Entry { tag, content, at, seen: Seen { changes, seconds, delay, lifetime: number()? } })
    };
    (std::iter::from_fn(&mut next).take(ENTRIES).collect(), cas)
}

fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.len() * 24);
    for Entry { tag, content, at, seen: Seen { changes, seconds, delay, lifetime } } in entries {
        put_u32(&mut out, *tag);
        out.extend_from_slice(&content.to_le_bytes());
        out.extend_from_slice(&((changes * 256.0).round().min(65_535.0) as u16).to_le_bytes());
        put_u32(&mut out, *at);
        [*seconds, *delay, *lifetime].into_iter().for_each(|number| put_f32(&mut out, number));
    }
    out
}

fn rule_key(rule: &str) -> String {
    ["sv1/f/r/", rule].concat()
}

fn bucket(hash: u128) -> String {
    format!("sv1/f/l/{:03x}", hash % BUCKETS)
}

fn tag(hash: u128) -> u32 {
    (hash >> 64) as u32
}

const BUCKETS: u128 = 4096;
/// Of a bucket: with 24 bytes each, 1.5 MiB in all.
const ENTRIES: usize = 16;
const TRIES: usize = 3;
/// Four years.
const A_LONG_TIME: u32 = 0x7fff_ffff;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::node::fake::Fake;

    const WANTED: Wanted = Wanted { min: 10.0, max: 86_400.0, stale: 0.05 };

    #[test]
    fn what_stays_the_same_lives_longer_and_what_changes_shorter() {
        let data = &mut Fake::default();
        let mut now = 1_800_000_000_000;
        let (mut steady, mut restless) = (0.0, 0.0);
        for nth in 0..400_u16 {
            steady = note(data, "r", 1 << 64, Look::Content(7), now, &WANTED).own.lifetime;
            restless = note(data, "r", 2 << 64, Look::Content(nth / 2), now, &WANTED).own.lifetime;
            now += 60_000;
        }
        // Half of all looks at one of them find a change, after a minute each: nearly as short as it may be.
        assert!(steady > 100.0 && restless < 30.0, "{steady} {restless}");
        assert_eq!(known(data, "r", 1 << 64).own.lifetime, steady);
        // What nobody has seen lies between them.
        let other = known(data, "r", 3 << 64);
        let other = WANTED.lifetime(&other.own, &other.rule) as f32;
        assert!(restless <= other && other < steady, "{other}");
    }

    #[test]
    fn a_purge_counts_as_a_change_and_a_confirmation_of_what_was_forgotten_counts() {
        let data = &mut Fake::default();
        let (hash, now) = (5 << 64, 1_800_000_000_000);
        let first = note(data, "r", hash, Look::Same(7, now - 64_000), now, &WANTED);
        assert_eq!((first.own.changes, first.own.seconds), (0.0, 64.0));
        let purged = note(data, "r", hash, Look::AfterPurge(7), now + 64_000, &WANTED);
        assert!(purged.own.changes >= 1.0, "{purged:?}");
        let back = note(data, "r", hash, Look::Content(7), now, &WANTED);
        assert!((back.own.changes - purged.own.changes).abs() < 0.02, "a clock that was set back");
        assert_eq!(back.own.seconds, purged.own.seconds);
    }

    #[test]
    fn a_bucket_is_bounded_and_strange_bytes_are_nothing() {
        let data = &mut Fake::default();
        for nth in 0..100_u128 {
            note(data, "r", nth << 64, Look::Content(1), 1_800_000_000_000 + nth as u64 * 1000, &WANTED);
        }
        assert_eq!(data.get("sv1/f/l/000").unwrap().0.len(), 16 * 24);
        assert_eq!(read(data, "sv1/f/l/000").0.iter().map(|entry| entry.tag).min(), Some(84));
        data.put_raw("sv1/f/l/000", b"nonsense");
        data.put_raw("sv1/f/r/r", &[0xff; 20]);
        assert_eq!(known(data, "r", 0), Known::default());
        note(data, "r", 0, Look::Content(1), 5, &WANTED);
        assert_eq!(read(data, "sv1/f/l/000").0.len(), 1);
    }
}
