//! What must hold of limits: no window admits more than quota and burst, whichever workers are asked, and nobody is refused
//! who has rested. And no client is told of another's quota.

use std::collections::BTreeMap;

use selvage_engine::fields::Fields;

use crate::crowd::Limit;
use crate::events::VmId;
use crate::streams::{Phase, Stream, context_of};
use crate::world::World;

/// What clients of all nodes have asked for.
pub struct Quotas {
    /// By limit, node (none of them: the fleet) and key.
    asked: BTreeMap<(usize, Option<usize>, u64), Asked>,
    /// Calls to Redis were late or lost, or garbled, or may be refused: nodes share without it then.
    pub unsure: bool,
}

impl Quotas {
    pub const fn new(unsure: bool) -> Self {
        Self { asked: BTreeMap::new(), unsure }
    }

    /// What was asked of a limit, whose number is `at`, by those who share its quota with a client.
    fn of(&mut self, at: usize, limit: &Limit, node: usize, key: u64) -> &mut Asked {
        let node = (!limit.fleet).then_some(node);
        self.asked.entry((at, node, if limit.by_key { key } else { 0 })).or_default()
    }
}

#[derive(Default)]
struct Asked {
    admitted: Vec<u64>,
    /// When a request has begun to wait, or was admitted or refused, and which.
    asked: Vec<(u64, usize)>,
}

impl Asked {
    /// Whether no other request has asked within a time.
    fn is_rested(&self, id: usize, rest: u64, now: u64) -> bool {
        self.asked.iter().rev().find(|(_, by)| *by != id).is_none_or(|(at, _)| at + rest < now)
    }
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
            let most = limit.burst + limit.quota + (limit.quota * apart).div_ceil(window);
            // Redis that was emptied has full buckets again. Without it each node has its share, or all if it knows of no other.
            let (emptied, nodes) = (self.summary.flushed * limit.burst, self.setting.nodes as u64);
            let more = match (limit.fleet, self.quotas.unsure) {
                (false, _) => 0,
                (true, false) => emptied,
                (true, true) => emptied + nodes * most,
            };
            let most = (most + more) as usize;
            let whom = if limit.fleet { "the fleet".to_owned() } else { format!("node {node}") };
            let asked = self.quotas.of(at, limit, node, key);
            asked.admitted.push(self.now);
            asked.asked.push((self.now, id));
            let within = asked.admitted.iter().rev().take_while(|at| **at + window >= self.now).count();
            self.note(|_| format!("stream {id} of key {key} is the number {within} of {most} of limit {at}"));
            if within > most {
                let text = format!("{within} of key {key} within {window} ms on {whom}, at most {most}");
                self.violate(QUOTA, text);
            }
        }
    }

    /// Whether it is for what Redis says of a quota that a request waits.
    pub fn waits_for_quota(&self, id: usize) -> bool {
        self.leases(id).is_some()
    }

    fn leases(&self, id: usize) -> Option<bool> {
        let vm = self.streams[id].vm;
        if !self.lives(vm) {
            return None;
        }
        self.nodes[vm.node].workers[vm.worker].vm.leases(context_of(id))
    }

    /// The call of a VM is over: who waits for a quota by now, and who does no more.
    pub fn note_leases(&mut self, vm: VmId) {
        if !self.setting.crowd.limits.iter().any(|limit| limit.fleet) || !self.lives(vm) {
            return;
        }
        let first = self.streams.len() - self.recent().count();
        for id in first..self.streams.len() {
            let Stream { vm: of, leases, uncounted, .. } = &self.streams[id];
            if *of != vm {
                continue;
            }
            let (had, uncounted) = (*leases, *uncounted);
            if let (Some(past_cache), false) = (self.leases(id), had) {
                self.note(|_| format!("stream {id} waits for a quota"));
                self.summary.leased += 1;
                self.streams[id].leases = true;
                let (now, key) = (self.now, self.streams[id].ask.key);
                let limits = self.setting.crowd.limits.iter().enumerate();
                for (at, limit) in limits.filter(|(_, limit)| limit.fleet) {
                    self.quotas.of(at, limit, vm.node, key).asked.push((now, id));
                }
                // One that has asked Redis for a record leads since then.
                if past_cache && self.streams[id].turn.is_none() {
                    self.begins_to_ask(id);
                }
            }
            if uncounted {
                self.count_if_let_in(id);
            }
        }
    }

    /// Limits before the cache have let a request in, unless it is refused or still waits for what Redis says.
    pub fn count_if_let_in(&mut self, id: usize) {
        let Stream { uncounted, limited, client_gone, .. } = &self.streams[id];
        if *uncounted && !limited && !client_gone && self.leases(id) != Some(false) {
            self.streams[id].uncounted = false;
            self.note_counted(id, false);
        }
    }

    /// A request has been refused by a limit.
    fn note_limited(&mut self, id: usize) {
        self.summary.limited += 1;
        let (node, key) = (self.streams[id].vm.node, self.streams[id].ask.key);
        let (limits, unsure) = (&self.setting.crowd.limits, self.quotas.unsure);
        // Of several, nobody says which.
        let alone = limits.len() == 1;
        let (mut rested, now) = (false, self.now);
        for (at, limit) in limits.iter().enumerate() {
            let asked = self.quotas.of(at, limit, node, key);
            rested |= !(limit.fleet && unsure) && asked.is_rested(id, limit.rest(), now);
            asked.asked.push((now, id));
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
