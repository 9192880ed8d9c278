//! What must hold of limits: no window admits more than quota and burst, whichever workers are asked, and nobody is refused
//! who has rested. And no client is told of another's quota.

use std::collections::BTreeMap;

use selvage_engine::fields::Fields;

use crate::streams::Phase;
use crate::world::World;

/// What clients of all nodes have asked for.
#[derive(Default)]
pub struct Quotas {
    /// By limit, node and key.
    asked: BTreeMap<(usize, usize, u64), Asked>,
}

#[derive(Default)]
struct Asked {
    admitted: Vec<u64>,
    /// When a request was last admitted or refused.
    last: Option<u64>,
}

impl World {
    /// A request was admitted by the limits that count all, or those that count what goes to the origin.
    pub fn note_counted(&mut self, id: usize, forwarded: bool) {
        let stream = &mut self.streams[id];
        if forwarded && std::mem::replace(&mut stream.counted, true) || stream.purge.is_some() {
            return;
        }
        let (node, key) = (stream.vm.node, stream.ask.key);
        for at in 0..self.setting.crowd.limits.len() {
            let limit = &self.setting.crowd.limits[at];
            if limit.forwarded != forwarded {
                continue;
            }
            // What comes in while one clock is still where another has been is everybody's.
            let apart = self.setting.crowd.apart * self.setting.workers as u64;
            let window = limit.window;
            let most = (limit.burst + limit.quota + (limit.quota * apart).div_ceil(window)) as usize;
            let asked = self.quotas.asked.entry((at, node, if limit.by_key { key } else { 0 })).or_default();
            asked.admitted.push(self.now);
            asked.last = Some(self.now);
            let within = asked.admitted.iter().rev().take_while(|at| **at + window >= self.now).count();
            if within > most {
                let text = format!("{within} of key {key} within {window} ms on node {node}, at most {most}");
                self.violate(QUOTA, text);
            }
        }
    }

    /// A request has been refused by a limit.
    fn note_limited(&mut self, id: usize) {
        self.summary.limited += 1;
        let (node, key) = (self.streams[id].vm.node, self.streams[id].ask.key);
        let limits = &self.setting.crowd.limits;
        // Of several, nobody says which.
        let alone = limits.len() == 1;
        let (mut rested, now) = (false, self.now);
        for (at, limit) in limits.iter().enumerate() {
            let asked = self.quotas.asked.entry((at, node, if limit.by_key { key } else { 0 })).or_default();
            rested |= asked.last.is_none_or(|last| last + limit.rest() < now);
            asked.last = Some(now);
        }
        if alone && rested {
            self.violate(RESTED, format!("stream {id} of key {key} on node {node}"));
        }
    }

    /// The cache has answered a request: whether it refuses, and says why.
    pub fn check_refusal(&mut self, id: usize, status: u16, fields: &Fields<'_>, line: &str) -> bool {
        let (limited, overload) = (line.contains("detail=limited"), line.contains("detail=overload"));
        if overload {
            // Before it met the pool, it was counted.
            self.note_counted(id, true);
        }
        if limited {
            self.note_limited(id);
            self.streams[id].limited = true;
        }
        let refuses = limited || overload && status == 503;
        if !refuses {
            return false;
        }
        self.summary.overloaded += u64::from(overload);
        let crowd = &self.setting.crowd;
        let asked = if limited { !crowd.limits.is_empty() && status == 429 } else { crowd.pool.is_some() };
        let value = |name: &[u8]| String::from_utf8_lossy(fields.get(name).unwrap_or_default()).into_owned();
        let seconds = value(b"retry-after").parse::<u64>().unwrap_or(0);
        if !asked || seconds == 0 || value(b"cache-control") != "no-store" {
            let text = format!("stream {id} got {status}: {line}, again in {seconds} s");
            self.violate(REFUSAL, text);
        }
        true
    }

    /// What a store has answered says nothing of anybody else's quota.
    pub fn check_told(&mut self, id: usize, was: Phase, fields: &Fields<'_>) {
        let limits = &self.setting.crowd.limits;
        if limits.is_empty() || was != Phase::Held || self.streams[id].purge.is_some() {
            return;
        }
        let told: Vec<String> = fields
            .iter()
            .filter(|(name, _)| *name == b"ratelimit")
            .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
            .collect();
        let origins =
            fields.get(QUOTA_LEFT.as_bytes()).is_some() || told.iter().any(|line| line.contains("origin"));
        // Who was not counted has nothing to be told.
        let counted = self.streams[id].counted || limits.iter().any(|limit| !limit.forwarded);
        if origins || told.len() > 1 || !told.is_empty() && !counted && !self.streams[id].limited {
            self.violate(TOLD, format!("stream {id} is told {told:?}"));
        }
    }
}

/// A field in which the origin tells each client of its quota.
pub const QUOTA_LEFT: &str = "x-ratelimit-remaining";

const QUOTA: &str = "no window admits more than quota and burst";
const RESTED: &str = "nobody is refused who has rested";
const REFUSAL: &str = "a refusal says why, and when to come again";
const TOLD: &str = "nobody is told of another's quota";
