//! The pools of this worker: which request may go to its origin, and who waits for that.

use xxhash_rust::xxh3::xxh3_64;

use super::{Cache, Moment, PoolFigures};
use crate::callers::{Asking, value_of};
use crate::policy::{Admission, By, Policy, Pool, Rule};
use crate::pools::controller::Bounds;
use crate::pools::gate::{Decision, Enter, Gate, Outlook, Terms};
use crate::pools::queue::{Class, LANES, Room};
use crate::pools::shared::Heard;
use crate::request::Request;
use crate::sized::write_sized;
use crate::time::Timestamp;

/// Gates by the index of their pool.
#[derive(Default)]
pub(super) struct Pools {
    gates: Vec<Gate>,
    /// Another for every cache of a worker, so that none takes another's slot back.
    series: u64,
}

/// Where a request stands that goes through a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Index of its pool.
    pub(crate) pool: usize,
    /// Its class.
    pub(crate) class: Class,
    /// Its lane within the class.
    pub(crate) lane: u8,
    /// Nothing waits and nothing is refused.
    pub(crate) shadow: bool,
}

/// A slot that a request has. To be given back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pool: usize,
    series: u64,
    /// When it went, in microseconds by the host's clock.
    went: u64,
    /// Its answer has been timed.
    timed: bool,
}

/// Whether a request may go to its origin.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admit {
    /// It may.
    Goes(Slot),
    /// It waits, with this ticket.
    Waits(u64),
    /// The queue is full. Shown what to tell the client: after how many seconds it may come again.
    Full(u64),
}

/// Why a request does not go to its origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shed {
    /// The queue is full.
    Full,
    /// What waits keeps as many bytes as it may.
    Memory,
    /// It has waited enough.
    Waited,
    /// Another had its place.
    Displaced,
}

impl Shed {
    /// As metrics call it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Memory => "memory",
            Self::Waited => "waited",
            Self::Displaced => "displaced",
        }
    }
}

impl Pools {
    pub(super) fn new(policy: &Policy) -> Self {
        Self::seeded(policy, 0)
    }

    fn seeded(policy: &Policy, series: u64) -> Self {
        let gate = |pool: &Pool| {
            let key = format!("sv1/p/{:016x}/{}", policy.namespace, pool.name);
            Gate::new(terms(pool), key, series ^ u64::from(pool.max))
        };
        Self { gates: policy.pools.iter().map(gate).collect(), series }
    }

    /// The gate that a slot is of; `None` once another configuration has followed.
    fn gate_of(&mut self, slot: &Slot) -> Option<&mut Gate> {
        self.gates.get_mut(slot.pool).filter(|_| slot.series == self.series)
    }
}

fn terms(pool: &Pool) -> Terms {
    let Pool { min, max, start, fixed, ref queue, low_share, .. } = *pool;
    Terms {
        bounds: Bounds { min, max, start, fixed },
        room: Room { requests: queue.requests, low_share },
        wait: [queue.wait.high, queue.wait.normal, queue.wait.low],
    }
}

/// How a request goes through its rule's pool.
pub(crate) fn entry_of(
    request: &Request<'_>,
    rule: &Rule,
    admission: &Admission,
    moment: &mut Moment<'_>,
) -> Option<Entry> {
    let said = admission.priority_header.as_deref().and_then(|name| request.fields.get(name));
    let class = said.and_then(|said| Class::of_word(said.trim_ascii())).unwrap_or(admission.priority);
    let lane =
        if admission.fair_by.is_empty() { 0 } else { lane_of(request, rule, &admission.fair_by, moment) };
    Some(Entry { pool: rule.pool?, class, lane, shadow: admission.shadow })
}

fn lane_of(request: &Request<'_>, rule: &Rule, fair_by: &[By], moment: &mut Moment<'_>) -> u8 {
    let mut peer = || moment.host.peer();
    let mut asking = Asking { request, rule: &rule.name, peer: &mut peer };
    let (mut text, mut address) = (Vec::new(), None);
    for by in fair_by {
        let mut value = Vec::new();
        value_of(by, &mut asking, &mut address, &mut value);
        write_sized(&value, &mut text);
    }
    u8::try_from(xxh3_64(&text) % u64::from(LANES)).unwrap_or_default()
}

impl Cache {
    /// Makes the gates of this worker others than those of the other workers.
    pub fn seed_pools(&mut self, random: u64) {
        self.pools = Pools::seeded(&self.policy, random);
    }

    /// A request wants to go to its origin.
    pub(crate) fn admit(&mut self, entry: Entry, moment: &mut Moment<'_>) -> Option<Admit> {
        let gate = self.pools.gates.get_mut(entry.pool)?;
        let admit = match gate.enter(entry.class, entry.lane, moment.host, moment.now) {
            Enter::Goes => Admit::Goes(self.slot(entry.pool, moment)),
            Enter::Waits(ticket) => Admit::Waits(ticket),
            Enter::Full => Admit::Full(gate.retry_after()),
        };
        Some(admit)
    }

    /// What would become of a request that wanted to go to its origin now.
    pub(crate) fn outlook(&self, entry: Entry, now: Timestamp) -> Option<Outlook> {
        Some(self.pools.gates.get(entry.pool)?.outlook(entry.class, now))
    }

    /// A slot for a request that would have one at this moment, if any is free. Nobody waits for it.
    pub(crate) fn try_admit(&mut self, entry: Entry, moment: &mut Moment<'_>) -> Option<Slot> {
        let gate = self.pools.gates.get_mut(entry.pool)?;
        gate.take(entry.class, moment.host, moment.now).then(|| self.slot(entry.pool, moment))
    }

    fn slot(&self, pool: usize, moment: &mut Moment<'_>) -> Slot {
        Slot { pool, series: self.pools.series, went: moment.host.micros(), timed: false }
    }

    /// What became of a ticket. `Err` has the reason and the seconds after which its client may come again; `Ok(None)`: nothing is known of
    /// it, since another configuration has followed.
    pub(crate) fn settle_ticket(
        &mut self,
        pool: usize,
        ticket: u64,
        moment: &mut Moment<'_>,
    ) -> Result<Option<Slot>, (Shed, u64)> {
        let Some(gate) = self.pools.gates.get_mut(pool) else { return Ok(None) };
        match gate.settle(ticket) {
            Some(Decision::Goes) => Ok(Some(self.slot(pool, moment))),
            Some(Decision::WaitedEnough) => Err((Shed::Waited, gate.retry_after())),
            Some(Decision::GaveWay) => Err((Shed::Displaced, gate.retry_after())),
            None if gate.give_back(ticket, moment.now) => Err((Shed::Waited, gate.retry_after())),
            None => Ok(None),
        }
    }

    /// A request of a pool was not let go to its origin.
    pub(crate) fn count_shed(&mut self, entry: Entry, why: Shed) {
        self.stats.add_for_owner(entry.pool, ("pool_shed", entry.class.word()), 1);
        self.stats.add_for_owner(entry.pool, ("pool_shed_for", why.word()), 1);
    }

    /// A request that waited is gone.
    pub(crate) fn give_ticket_back(&mut self, pool: usize, ticket: u64, now: Timestamp) {
        if let Some(gate) = self.pools.gates.get_mut(pool) {
            gate.give_back(ticket, now);
        }
    }

    /// A request is done at its origin.
    pub(crate) fn free_slot(&mut self, slot: &Slot, now: Timestamp) {
        if let Some(gate) = self.pools.gate_of(slot) {
            gate.free(now);
        }
    }

    /// The origin has begun to answer, or ended, whichever its pool times.
    pub(crate) fn time_answer(&mut self, slot: &mut Slot, micros: u64) {
        if !std::mem::replace(&mut slot.timed, true)
            && let Some(gate) = self.pools.gate_of(slot)
        {
            gate.note_answer(micros.saturating_sub(slot.went));
        }
    }

    /// The origin has not answered, or says that it cannot.
    pub(crate) fn note_origin_failure(&mut self, slot: &mut Slot) {
        // What it says at once is no measure of what its answers take.
        slot.timed = true;
        if let Some(gate) = self.pools.gate_of(slot) {
            gate.note_failure();
        }
    }

    /// The origin says that it has too much to do.
    pub(crate) fn note_origin_strain(&mut self, slot: &Slot) {
        if let Some(gate) = self.pools.gate_of(slot) {
            gate.note_strain();
        }
    }

    /// The pool of a slot, as it is set.
    pub(crate) fn pool_of(&self, slot: &Slot) -> Option<&Pool> {
        self.policy.pools.get(slot.pool)
    }

    /// Tickets that were decided since this was last asked.
    pub fn take_decided_tickets(&mut self) -> Vec<u64> {
        #[cfg_attr(not(feature = "jobs"), expect(unused_mut, reason = "no others wait"))]
        let mut decided = self.pools.gates.iter_mut().flat_map(Gate::take_decided).collect();
        #[cfg(feature = "jobs")]
        self.note_places_of_jobs(&mut decided);
        decided
    }

    /// Whether there are tickets whose holders are to be woken.
    #[inline]
    pub fn has_decided_tickets(&self) -> bool {
        self.pools.gates.iter().any(Gate::has_decided)
    }

    /// Whether somebody waits for a slot, or has one, so that ticks are to come often.
    #[inline]
    pub fn has_active_pools(&self) -> bool {
        self.pools.gates.iter().any(Gate::is_active)
    }

    /// Does what is due now and then: who has waited enough, and what the workers tell each other. `late` says that the tick
    /// itself has come late.
    pub fn look_after_pools(&mut self, late: bool, moment: &mut Moment<'_>) {
        for gate in &mut self.pools.gates {
            if late && gate.is_active() {
                gate.note_strain();
            }
            gate.tick(moment.host, moment.now);
        }
    }

    /// What this worker knows of each pool, for gauges and the operators' view. Empty where there are none.
    pub fn pool_figures(&self) -> Vec<PoolFigures> {
        let gates = self.policy.pools.iter().zip(&self.pools.gates);
        let figures = gates.map(|(pool, gate)| {
            let waiting = Class::ALL.map(|class| gate.queue().waiting(class));
            let Heard { limit, share, in_flight, base, latency, .. } = *gate.heard();
            PoolFigures {
                name: pool.name.clone(),
                limit: pool.fixed.unwrap_or(limit),
                share,
                in_flight: gate.in_flight(),
                in_flight_of_all: in_flight,
                waiting,
                base,
                latency,
            }
        });
        figures.collect()
    }
}
