//! How far the workers of a node have come with warming, in shared data, so that whoever is asked can answer for all.
//!
//! ```text
//! magic "svp1" · number of workers u8 · each: id u32 · at u64 ms · queued u32 · under way u32
//!              · number of words u8   · each: length u8 · word, or word/reason · count u64, since the node's start
//! ```

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::TRIES;
use crate::host::wire::{take, take_u32, take_u64};
use crate::host::{ABSENT, SharedData};
use crate::time::Timestamp;

/// One worker's share.
#[derive(Debug, Default)]
pub struct Progress {
    /// What this worker is called in shared data.
    id: Option<u32>,
    shown: Timestamp,
    left: Left,
    /// Not in shared data yet.
    done: Words,
}

/// What is left to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// URLs that wait.
    pub queued: usize,
    /// URLs under way.
    pub under_way: usize,
}

impl Progress {
    /// Counts what came of a URL: a word, and the reason where there is one.
    pub fn count(&mut self, word: &str, reason: &str) {
        let name = if reason.is_empty() { word.to_owned() } else { [word, reason].join("/") };
        self.done.add(&name, 1);
    }

    /// Shows how far this worker has come, if that is news or the others have to see that it is still there.
    pub fn show(&mut self, data: &mut dyn SharedData, key: &str, left: Left, now: Timestamp) {
        let busy = left != Left::default();
        let due = busy && now.since(self.shown) >= SHOWN_EVERY;
        if self.done.0.is_empty() && left == self.left && !due {
            return;
        }
        for _ in 0..TRIES {
            let (mut all, cas) = read(data, key);
            let id = self.id.unwrap_or(cas);
            all.workers.retain(|worker| worker.id != id && worker.is_there(now));
            if busy && all.workers.len() < MOST {
                all.workers.push(Worker { id, at: now.as_millis(), left });
            }
            for (name, count) in &self.done.0 {
                all.done.add(name, *count);
            }
            if data.set(key, &all.encode(), cas).is_ok() {
                (self.id, self.shown, self.left) = (Some(id), now, left);
                self.done.0.clear();
                return;
            }
        }
    }

    /// What an operator is told of the whole node.
    pub fn tell(data: &mut dyn SharedData, key: &str, now: Timestamp) -> Value {
        let (all, _) = read(data, key);
        let (mut queued, mut under_way) = (0, 0);
        for worker in all.workers.iter().filter(|worker| worker.is_there(now)) {
            queued += worker.left.queued;
            under_way += worker.left.under_way;
        }
        let reasons = |word: &str| {
            let mut reasons = Map::new();
            for (name, count) in &all.done.0 {
                if let Some(("", reason)) = name.strip_prefix(word).and_then(|rest| rest.split_once('/')) {
                    reasons.insert(reason.to_owned(), Value::from(*count));
                }
            }
            reasons
        };
        json!({ "queued": queued, "under_way": under_way, "stored": all.done.get("stored"),
            "fresh": all.done.get("fresh"), "unstored": reasons("unstored"), "failed": all.done.get("failed"),
            "refused": reasons("refused") })
    }
}

/// The name of the progress in shared data.
pub fn key(namespace: u64) -> String {
    format!("sv1/g/{namespace:016x}")
}

/// Words and how often; there are fewer than [`MOST`].
#[derive(Debug, Default)]
struct Words(Vec<(Box<str>, u64)>);

impl Words {
    fn add(&mut self, name: &str, count: u64) {
        if let Some((_, sum)) = self.0.iter_mut().find(|(known, _)| **known == *name) {
            *sum = sum.saturating_add(count);
        } else if self.0.len() < MOST {
            self.0.push((name.into(), count));
        }
    }

    fn get(&self, name: &str) -> u64 {
        self.0.iter().find(|(known, _)| **known == *name).map_or(0, |(_, count)| *count)
    }
}

#[derive(Default)]
struct All {
    workers: Vec<Worker>,
    done: Words,
}

struct Worker {
    id: u32,
    at: u64,
    left: Left,
}

impl Worker {
    /// Whether one that showed itself then still lives.
    fn is_there(&self, now: Timestamp) -> bool {
        now.as_millis().abs_diff(self.at) < SILENT_FOR.as_millis() as u64
    }
}

impl All {
    fn encode(&self) -> Vec<u8> {
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
        let mut out = MAGIC.to_vec();
        out.push(u8::try_from(self.workers.len()).unwrap_or_default());
        for worker in &self.workers {
            out.extend_from_slice(&worker.id.to_le_bytes());
            out.extend_from_slice(&worker.at.to_le_bytes());
            out.extend_from_slice(&number(worker.left.queued));
            out.extend_from_slice(&number(worker.left.under_way));
        }
        out.push(u8::try_from(self.done.0.len()).unwrap_or_default());
        for (name, count) in &self.done.0 {
            out.push(u8::try_from(name.len()).unwrap_or_default());
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(&count.to_le_bytes());
        }
        out
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        if take(bytes)? != MAGIC {
            return None;
        }
        let mut all = Self::default();
        let [workers] = take(bytes)?;
        for _ in 0..workers {
            let (id, at) = (take_u32(bytes)?, take_u64(bytes)?);
            let left = Left { queued: take_u32(bytes)? as usize, under_way: take_u32(bytes)? as usize };
            all.workers.push(Worker { id, at, left });
        }
        let [words] = take(bytes)?;
        for _ in 0..words {
            let [length] = take(bytes)?;
            let (name, rest) = bytes.split_at_checked(usize::from(length))?;
            *bytes = rest;
            all.done.add(std::str::from_utf8(name).ok()?, take_u64(bytes)?);
        }
        Some(all)
    }
}

/// What is not of this form counts as nothing.
fn read(data: &mut dyn SharedData, key: &str) -> (All, u32) {
    let Some((bytes, cas)) = data.get(key) else { return (All::default(), ABSENT) };
    (All::decode(&mut bytes.as_slice()).unwrap_or_default(), cas)
}

const MAGIC: [u8; 4] = *b"svp1";
const SHOWN_EVERY: Duration = Duration::from_secs(1);
const SILENT_FOR: Duration = Duration::from_secs(5);
/// Workers, and words with their reasons.
const MOST: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::node::fake::Fake;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(100_000_000 + millis)
    }

    #[test]
    fn all_workers_are_added_up_and_a_dead_one_leaves_what_it_has_done() {
        let mut data = Fake::default();
        let [mut a, mut b] = [Progress::default(), Progress::default()];
        a.count("stored", "");
        a.show(&mut data, "k", Left { queued: 3, under_way: 1 }, at(0));
        b.count("stored", "");
        b.count("unstored", "no-store");
        b.count("refused", "no-cluster");
        b.show(&mut data, "k", Left { queued: 2, under_way: 0 }, at(10));
        let told = Progress::tell(&mut data, "k", at(20));
        let expected = json!({ "queued": 5, "under_way": 1, "stored": 2, "fresh": 0, "failed": 0,
            "unstored": { "no-store": 1 }, "refused": { "no-cluster": 1 } });
        assert_eq!(told, expected);
        for second in 1..9 {
            b.show(&mut data, "k", Left { queued: 2, under_way: 0 }, at(second * 1000));
        }
        let told = Progress::tell(&mut data, "k", at(8_100));
        assert_eq!((&told["queued"], &told["stored"]), (&json!(2), &json!(2)));
        b.show(&mut data, "k", Left::default(), at(8_200));
        assert_eq!(Progress::tell(&mut data, "k", at(8_200))["queued"], 0);
    }

    #[test]
    fn what_is_no_progress_counts_as_none() {
        for raw in [&b""[..], b"svp1", b"svp1\x01", b"svp1\0\x01\x09x", b"svp1\0\x01\x01\xff12345678", b"[]"]
        {
            let mut data = Fake::default();
            data.put_raw("k", raw);
            assert_eq!(Progress::tell(&mut data, "k", at(0))["stored"], 0);
            let mut progress = Progress::default();
            progress.count("stored", "");
            progress.show(&mut data, "k", Left::default(), at(0));
            assert_eq!(Progress::tell(&mut data, "k", at(0))["stored"], 1);
        }
    }
}
