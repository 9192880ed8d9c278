//! What must hold of a pool: how many are at the origin, how long others wait for that, and who goes first.
//!
//! Slots are counted from outside: a request takes one as it goes to the origin, and gives it back when its stream has ended
//! or, if the pool says so, at the head of its response. What the engine counts must come to the same after every event.

use std::collections::{BTreeMap, BTreeSet};

use selvage_engine::cache::PoolFigures;

use crate::crowd::WOKEN_WITHIN;
use crate::events::VmId;
use crate::streams::{Phase, context_of, stream_of};
use crate::world::World;

/// What is known of the pools of all nodes.
#[derive(Default)]
pub struct Watch {
    /// Requests of a VM that are at the origin.
    holding: BTreeMap<VmId, u32>,
    /// VMs that have ended, and when.
    ended: Vec<(VmId, u64)>,
    turns: BTreeMap<VmId, Turns>,
    /// Since when somebody waits in a VM though there is room.
    idle: BTreeMap<VmId, u64>,
    /// VMs that were called in this event.
    called: BTreeSet<VmId>,
    /// The highest class of those who waited before and after the call of a VM at hand.
    through: Option<usize>,
}

/// Who went while others waited, in one VM.
#[derive(Clone, Copy, Debug, Default)]
struct Turns {
    /// Decisions on requests of the highest class while others waited.
    high: u64,
    /// Those of the middle class that were decided.
    normal: u64,
    /// How often another class went though the highest waited, and the lowest though the middle did.
    before_high: u64,
    before_normal: u64,
}

/// What a call of a VM found.
pub struct Before {
    queued: Vec<u32>,
}

/// What it has left.
pub struct Since {
    through: Option<usize>,
    begun: Vec<usize>,
}

impl World {
    /// A VM is about to be called.
    pub fn before_call(&mut self, vm: VmId) -> Option<Before> {
        self.setting.crowd.pool.as_ref()?;
        self.watch.called.insert(vm);
        Some(Before { queued: self.nodes[vm.node].workers[vm.worker].vm.queued() })
    }

    /// It has returned, and nothing has come of it yet.
    pub fn after_call(&mut self, vm: VmId, before: &Before) -> Since {
        let after = self.nodes[vm.node].workers[vm.worker].vm.queued();
        let streams = |contexts: Vec<u32>| contexts.into_iter().filter_map(stream_of).collect::<Vec<_>>();
        let stay = before.queued.iter().copied().filter(|context| after.contains(context)).collect();
        let decided = before.queued.iter().copied().filter(|context| !after.contains(context)).collect();
        // Some have their place before the call is over, and are told in another.
        let placed = self.nodes[vm.node].workers[vm.worker].vm.placed();
        let is_new = |context: &u32| {
            !before.queued.contains(context)
                && stream_of(*context).is_some_and(|id| self.streams[id].queued.is_none())
        };
        let begun = after.into_iter().chain(placed).filter(is_new).collect();
        let ranks: Vec<usize> = streams(stay).into_iter().map(|id| self.streams[id].ask.rank()).collect();
        let through = ranks.iter().min().copied();
        let decided: Vec<usize> =
            streams(decided).into_iter().filter(|id| self.streams[*id].phase == Phase::Held).collect();
        let lower = |rank: usize| {
            let others = decided.iter().map(|id| self.streams[*id].ask.rank());
            ranks.iter().copied().chain(others).any(|other| other > rank)
        };
        let turns = self.watch.turns.entry(vm).or_default();
        for id in &decided {
            match self.streams[*id].ask.rank() {
                HIGH if lower(HIGH) => turns.high += 1,
                NORMAL => turns.normal += 1,
                _ => {}
            }
        }
        for id in decided {
            let stream = &mut self.streams[id];
            stream.through = through.filter(|rank| *rank < stream.ask.rank());
        }
        let begun = streams(begun);
        for id in &begun {
            // Before they waited, they were counted.
            self.note_counted(*id, true);
        }
        Since { through, begun }
    }

    /// One of the things that have come of it is about to happen, or all have.
    pub fn note_through(&mut self, since: Option<&Since>) {
        self.watch.through = since.and_then(|since| since.through);
    }

    /// All that comes of it has happened.
    pub fn begin_to_queue(&mut self, since: Since) {
        for id in since.begun {
            self.summary.queued += 1;
            self.note(|_| format!("stream {id} waits for a place"));
            self.streams[id].queued = Some(self.now);
            self.begins_to_ask(id);
        }
        self.watch.through = since.through;
    }

    /// Whether it is a place at the origin that a request waits for.
    pub fn waits_for_place(&self, id: usize) -> bool {
        let vm = self.streams[id].vm;
        self.nodes[vm.node].workers[vm.worker].vm.queued().contains(&context_of(id))
    }

    /// A request that waited for a place is woken.
    pub fn placed(&mut self, id: usize, since: u64) {
        let Some(pool) = &self.setting.crowd.pool else { return };
        let until = since + pool.waits[self.streams[id].ask.rank()] + WOKEN_WITHIN;
        self.note(|_| format!("stream {id} need not wait for a place any more"));
        if self.now > until {
            self.violate(LONG, format!("stream {id} waits since {since} ms, and at most until {until} ms"));
        }
    }

    /// A request takes a place at the origin. `waited`: it has waited for one.
    pub fn take_place(&mut self, id: usize, waited: bool) {
        let (vm, rank) = (self.streams[id].vm, self.streams[id].ask.rank());
        self.streams[id].place = true;
        let passed = if waited { self.streams[id].through } else { self.watch.through };
        let turns = self.watch.turns.entry(vm).or_default();
        turns.normal += u64::from(rank == NORMAL && !waited);
        match passed.filter(|other| *other < rank) {
            Some(HIGH) => turns.before_high += 1,
            Some(_) => turns.before_normal += 1,
            None => {}
        }
        let turns = *turns;
        let share = self.setting.crowd.pool.as_ref().map_or(0, |pool| pool.low_share);
        // What is owed since the last one went for sure may still be due.
        let due = (turns.high + turns.before_high) * share / 100 + if share > 0 { 1 } else { 0 };
        if turns.before_high > due || turns.before_normal * TO_LOW > turns.normal {
            self.violate(ORDER, format!("stream {id} goes before others of {vm:?}: {turns:?}"));
        }
        self.hold(vm);
    }

    /// A request of a VM is at the origin from now on.
    pub fn hold(&mut self, vm: VmId) {
        let Some(pool) = &self.setting.crowd.pool else { return };
        let (most, least) = (pool.most, pool.least);
        *self.watch.holding.entry(vm).or_default() += 1;
        let ended = |other: VmId| self.watch.ended.iter().find(|(ended, _)| *ended == other);
        let counts = |other: VmId| ended(other).is_none_or(|(_, at)| self.now < at + SHOWN);
        let here = self.watch.holding.iter().filter(|(other, _)| other.node == vm.node && counts(**other));
        let there: u32 = here.map(|(_, held)| held).sum();
        // Where there are more workers than places, each one whose requests wait has one.
        let ended = self.watch.ended.iter().filter(|(other, _)| other.node == vm.node).count();
        let workers = (self.setting.workers + ended) as u32;
        let bound = most + if workers > least { workers - 1 } else { 0 };
        if there > bound {
            self.violate(MOST, format!("{there} are at the origin for node {}, {bound} may be", vm.node));
        }
    }

    /// A stream may have a place, which it does not need any more.
    pub fn leave_place(&mut self, id: usize) {
        if std::mem::take(&mut self.streams[id].place) {
            self.let_go(self.streams[id].vm);
        }
    }

    /// One request less of a VM is at the origin.
    pub fn let_go(&mut self, vm: VmId) {
        if let Some(held) = self.watch.holding.get_mut(&vm) {
            *held = held.saturating_sub(1);
        }
    }

    /// The head of a response has come to a filter that is still there.
    pub fn place_after_head(&mut self, id: usize) {
        if self.setting.crowd.pool.as_ref().is_some_and(|pool| pool.release_at_head) {
            self.leave_place(id);
        }
    }

    /// A VM has ended.
    pub fn pool_of_ended(&mut self, vm: VmId) {
        self.watch.ended.push((vm, self.now));
    }

    fn pool_figures_of(&mut self, vm: VmId) -> Option<PoolFigures> {
        let vm = &mut self.nodes[vm.node].workers[vm.worker].vm;
        vm.caches().next().and_then(|cache| cache.pool_figures().into_iter().next())
    }

    /// An event is over: each slot is somebody's.
    pub fn check_slots(&mut self) {
        for vm in std::mem::take(&mut self.watch.called) {
            if !self.lives(vm) {
                continue;
            }
            let Some(figures) = self.pool_figures_of(vm) else { continue };
            let here = &self.nodes[vm.node].workers[vm.worker].vm;
            let queued = here.queued();
            let own =
                here.kept().iter().find(|(word, _)| *word == "refreshes").map_or(0, |(_, count)| *count);
            let granted = |id: &usize| {
                let stream = &self.streams[*id];
                stream.vm == vm && stream.queued.is_some() && stream.phase == Phase::Held
            };
            let first = self.streams.len() - self.recent().count();
            let granted = (first..self.streams.len()).filter(granted);
            let granted = granted.filter(|id| !queued.contains(&context_of(*id))).count();
            let holding = self.watch.holding.get(&vm).copied().unwrap_or(0);
            // Its own requests have theirs before they are sent.
            let most = holding + (granted + own) as u32;
            let counted = figures.in_flight;
            if counted < holding || counted > most {
                let text =
                    format!("{vm:?} counts {counted}, there are {holding}, {granted} that may go, {own} own");
                self.violate(SLOTS, text);
            }
            let waiting: usize = figures.waiting.iter().sum();
            if waiting != queued.len() {
                self.violate(LOST, format!("{vm:?} counts {:?}, {} wait", figures.waiting, queued.len()));
            }
        }
    }

    /// A tick is over.
    pub fn check_queue(&mut self, vm: VmId) {
        let Some(pool) = &self.setting.crowd.pool else { return };
        let waits = pool.waits;
        for id in self.nodes[vm.node].workers[vm.worker].vm.queued().into_iter().filter_map(stream_of) {
            let stream = &self.streams[id];
            let Some(since) = stream.queued else { continue };
            if self.now >= since + waits[stream.ask.rank()] {
                self.violate(LONG, format!("stream {id} waits since {since} ms, and a tick has passed"));
            }
        }
        let Some(figures) = self.pool_figures_of(vm) else { return };
        let PoolFigures { share, in_flight, limit, waiting, .. } = figures;
        let [high, normal, low] = waiting;
        // One is kept for the highest class.
        let kept = if high == 0 && share >= KEEPS_ONE { 1 } else { 0 };
        if high + normal + low > 0 && in_flight + kept < share {
            self.violate(
                STARVES,
                format!("{waiting:?} wait in {vm:?}, and {in_flight} of {share} are there"),
            );
        }
        let others: Vec<VmId> = (0..self.setting.workers)
            .map(|worker| self.nodes[vm.node].vm(vm.node, worker))
            .filter(|other| *other != vm)
            .collect();
        let mut taken = in_flight + kept;
        for other in others {
            // Each that has none may have the next one for sure.
            taken += self.pool_figures_of(other).map_or(0, |other| other.share.max(other.in_flight)) + 1;
        }
        let ended = self.watch.ended.iter().any(|(of, at)| of.node == vm.node && self.now < at + FORGOTTEN);
        if high + normal + low == 0 || taken >= limit || ended {
            self.watch.idle.remove(&vm);
        } else if self.now > *self.watch.idle.entry(vm).or_insert(self.now) + TOLD {
            self.violate(STARVES, format!("{waiting:?} wait in {vm:?}, and {taken} of {limit} are taken"));
        }
    }

    /// Everything is drained.
    pub fn check_pools_at_end(&mut self, vm: VmId) -> Option<String> {
        let figures = self.pool_figures_of(vm)?;
        let nobody = figures.in_flight == 0 && figures.waiting == [0; 3];
        (!nobody).then(|| format!("{figures:?}"))
    }
}

/// Ranks of classes.
const HIGH: usize = 0;
const NORMAL: usize = 1;
/// So many of the middle class go for one of the lowest.
const TO_LOW: u64 = 4;
/// A slot of so many is kept for the highest class.
const KEEPS_ONE: u32 = 4;
/// A worker that has ended has its slots for two seconds after it last told of them.
const SHOWN: u64 = 1800;
const FORGOTTEN: u64 = 2200;
/// Within this time workers have told each other what they want, and have it: two ticks of a few that come each 50 ms.
const TOLD: u64 = 300;

const MOST: &str = "no more are at the origin than the pool allows";
const LONG: &str = "nobody waits longer for a place than his class may";
const ORDER: &str = "who matters more goes first";
const SLOTS: &str = "a place is given back exactly once";
const LOST: &str = "who waits for a place is known to the pool";
const STARVES: &str = "nobody waits while there is a place";
