//! The whole: clock, nodes, origin, Redis, and what happens to them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use selvage_rig::chance::Dice;

use crate::callouts::{Call, Refresh};
use crate::events::{Event, Events, VmId};
use crate::fleet::Fleet;
use crate::host::{self, Given, Vm};
use crate::invariants::Violation;
use crate::limits::Quotas;
use crate::node::{Node, Worker};
use crate::origin::Page;
use crate::pools::Watch;
use crate::purges::Purge;
use crate::redis::{Command, Mood, Redis};
use crate::runs::{Kind, Options, Summary};
use crate::setting::Setting;
use crate::shared::Shared;
use crate::streams::{Phase, ROOT, Stream, context_of};
use crate::tenants::Tenants;

pub struct World {
    pub setting: Setting,
    pub dice: Dice,
    /// Milliseconds since the run began.
    pub now: u64,
    events: Events,
    pub nodes: Vec<Node>,
    pub streams: Vec<Stream>,
    pub refreshes: Vec<Refresh>,
    pub pages: Vec<Page>,
    pub redis: Redis,
    /// Calls on their way to Redis.
    pub calls: BTreeMap<usize, Call>,
    /// Calls to Redis that have not been answered.
    pub unanswered: BTreeSet<(VmId, u32)>,
    /// Those of them that are about limits.
    pub leases: BTreeSet<(VmId, u32)>,
    /// The streams that wait for answers of Redis, by token, and whether they would claim.
    pub lookups: BTreeMap<u32, (Vec<Option<usize>>, Command)>,
    /// Keys of which nobody knows whether Redis has done what it was told, and until when that matters.
    pub unsure: BTreeMap<String, u64>,
    /// When calls to Redis failed, or it forgot everything, or a VM died: until when purges may be late.
    pub trouble: Vec<u64>,
    pub purges: Vec<Purge>,
    /// When each fetch was sent, and when the origin has confirmed what.
    pub sent: Vec<u64>,
    /// When each came to its end, if it did.
    pub came: Vec<Option<u64>>,
    pub confirmed: BTreeMap<String, Vec<u64>>,
    /// Pages that an answer to HEAD may have invalidated (RFC 9111 §4.3.5).
    pub headed: BTreeSet<usize>,
    /// Since when VMs are known to know what selects among the responses of a page.
    pub index_known: BTreeMap<(VmId, usize), u64>,
    /// The streams that claims are of.
    pub claims: BTreeMap<String, usize>,
    /// An answer of Redis is being taken in, and whether it says that another Envoy fetches.
    pub redis_answering: bool,
    /// The VM has acted for other streams since, in the same call.
    pub others_follow: bool,
    /// VMs that are called while what another call has asked for is being done.
    pub depth: usize,
    pub redis_said_fetching: bool,
    /// What is known of pools and limits.
    pub watch: Watch,
    pub quotas: Quotas,
    pub summary: Summary,
    /// What is known of tenants, if this is a world of theirs.
    pub tenants: Option<Tenants>,
    /// What is measured, if this is a fleet that is.
    pub fleet: Option<Box<Fleet>>,
    pub violation: Option<Violation>,
    trace: Option<VecDeque<String>>,
    traced: usize,
}

impl World {
    pub fn new(seed: u64, kind: Kind, options: Options, traced: bool) -> Self {
        let mut dice = Dice::new(if kind == Kind::Tenants { seed ^ TENANTS } else { seed });
        let setting = Setting::random(&mut dice, kind, options.requests);
        let tenants = (kind == Kind::Tenants).then(|| Tenants::random(&mut dice));
        let mut world = Self::with(setting, Page::random, dice, None, options, traced);
        world.tenants = tenants;
        world.plan();
        world
    }

    /// One whose circumstances are given, and in which nothing is planned.
    pub fn with(
        setting: Setting,
        page: impl Fn(&mut Dice) -> Page,
        mut dice: Dice,
        fleet: Option<Box<Fleet>>,
        options: Options,
        traced: bool,
    ) -> Self {
        let shared = (0..setting.nodes).map(|_| Shared::new(dice.number(), setting.contention)).collect();
        host::with(|hosts| hosts.renew(START, shared, setting.refused));
        host::with(|hosts| hosts.apart = setting.crowd.apart);
        let quotas = Quotas::new(setting.refused > 0);
        let pages = (0..setting.pages).map(|_| page(&mut dice)).collect();
        let mut world = Self {
            redis: Redis::new(setting.old_redis, setting.sharded_redis),
            setting,
            dice,
            now: 0,
            events: Events::default(),
            nodes: Vec::new(),
            streams: Vec::new(),
            refreshes: Vec::new(),
            pages,
            calls: BTreeMap::new(),
            unanswered: BTreeSet::new(),
            leases: BTreeSet::new(),
            lookups: BTreeMap::new(),
            unsure: BTreeMap::new(),
            headed: BTreeSet::new(),
            trouble: Vec::new(),
            purges: Vec::new(),
            sent: Vec::new(),
            came: Vec::new(),
            confirmed: BTreeMap::new(),
            index_known: BTreeMap::new(),
            claims: BTreeMap::new(),
            redis_answering: false,
            others_follow: false,
            depth: 0,
            redis_said_fetching: false,
            watch: Watch::default(),
            quotas,
            summary: Summary::default(),
            tenants: None,
            fleet,
            violation: None,
            trace: traced.then(VecDeque::new),
            traced: options.events.unwrap_or(TRACED).max(1),
        };
        for node in 0..world.setting.nodes {
            world.nodes.push(Node::default());
            for worker in 0..world.setting.workers {
                let place = Worker { vm: Vm::default(), life: 0, period: 0, armed: 0 };
                world.nodes[node].workers.push(place);
                world.start(VmId { node, worker, life: 0 });
            }
        }
        world
    }

    /// A VM starts in its place.
    fn start(&mut self, id: VmId) {
        let body = self.setting.config.clone().into_bytes();
        let size = body.len();
        let given = Given { context: ROOT, body, ..Given::default() };
        let taken = self.enter(id, given, |vm| {
            vm.create(ROOT, 0);
            vm.configure(ROOT, size)
        });
        if !taken {
            self.violate("the configuration is taken", self.setting.config.clone());
        }
    }

    /// Decides what comes from outside, and when.
    fn plan(&mut self) {
        let last = self.setting.last_request;
        let mut left = self.setting.requests;
        while left > 0 {
            let (page, start) = (self.dice.below(self.pages.len() as u64) as usize, self.dice.below(last));
            let many = if self.dice.chance(400) { self.dice.between(2, 40) as usize } else { 1 };
            let over = self.dice.of(&[0, 10, 100, 1000]);
            for _ in 0..many.min(left) {
                let time = start + self.dice.below(over + 1);
                self.schedule(time, Event::Request { page });
            }
            left -= many.min(left);
        }
        for _ in 0..self.setting.edits {
            let page = self.dice.below(self.pages.len() as u64) as usize;
            let time = self.dice.below(last);
            self.schedule(time, Event::Edit { page });
        }
        for _ in 0..self.setting.purges {
            let time = self.dice.below(last);
            self.schedule(time, Event::Purge);
        }
        for _ in 0..self.setting.restarts {
            let (node, worker) = self.any_worker();
            let time = self.dice.below(last);
            self.schedule(time, Event::Restart { node, worker });
        }
        for _ in 0..self.setting.moods {
            let time = self.dice.below(last);
            let mood = self.dice.of(&[Mood::Well, Mood::Well, Mood::Slow, Mood::Dead, Mood::Garbled]);
            self.schedule(time, Event::Mood(mood));
        }
        for _ in 0..self.setting.flushes {
            let time = self.dice.below(last);
            self.schedule(time, Event::Flush);
        }
        self.schedule(last, Event::Mood(Mood::Well));
    }

    pub fn any_worker(&mut self) -> (usize, usize) {
        let node = self.dice.below(self.setting.nodes as u64) as usize;
        (node, self.dice.below(self.setting.workers as u64) as usize)
    }

    pub fn schedule(&mut self, time: u64, event: Event) {
        self.events.at(time, event, &mut self.dice);
    }

    pub fn after(&mut self, delay: u64, event: Event) {
        self.schedule(self.now + delay, event);
    }

    /// Writes something down, if anybody is to read it.
    pub fn note(&mut self, text: impl FnOnce(&Self) -> String) {
        if self.trace.is_some() {
            let line = format!("{:>6} ms  {}", self.now, text(self));
            let most = self.traced;
            let trace = self.trace.get_or_insert_default();
            if trace.len() >= most {
                trace.pop_front();
            }
            trace.push_back(line);
        }
    }

    pub fn take_trace(&mut self) -> Vec<String> {
        self.trace.take().unwrap_or_default().into()
    }

    /// Runs to the end.
    pub fn run(&mut self) -> Result<Summary, Violation> {
        // Everybody has had an answer by then, and every lease has ended by itself.
        let end = self.setting.last_request
            + 1000
            + self.setting.longest_request()
            + 2 * self.setting.wait
            + self.setting.refresh_timeout;
        self.run_until(end)?;
        self.check_end()?;
        Ok(self.summary)
    }

    /// Runs up to a moment, at which nothing has happened yet.
    pub fn run_until(&mut self, end: u64) -> Result<(), Violation> {
        while let Some((time, event)) = self.events.next_until(end) {
            self.now = time;
            host::with(|hosts| hosts.now = START + time);
            self.summary.events += 1;
            self.happens(event);
            self.check_slots();
            if let Some(violation) = self.violation.take() {
                return Err(violation);
            }
        }
        Ok(())
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Request { page } if self.tenants.is_some() => self.tenant_asks(page),
            Event::Request { page } => self.request(page),
            Event::Asks { node } => self.somebody_asks(node),
            Event::Purges => self.somebody_purges(),
            Event::Nested { stream } => self.nested(stream),
            Event::AtOrigin { stream } => self.at_origin(stream),
            Event::Head { stream } => self.head(stream),
            Event::Part { stream, nth } => self.part(stream, nth),
            Event::Sent { stream } => self.complete(stream),
            Event::Leaves { stream } => self.leaves(stream),
            Event::Deadline { stream } => self.check_answered(stream),
            Event::Called { vm, queue } => self.called(vm, queue),
            Event::Tick { vm, armed } => self.tick(vm, armed),
            Event::Restart { node, worker } => self.restart(node, worker),
            Event::AtRedis { call } => self.at_redis(call),
            Event::FromRedis { vm, token, reply } => {
                // What it says of quotas wakes those who wait for who is refused then.
                self.redis_answering = !self.leases.remove(&(vm, token));
                self.redis_answers(vm, token, reply);
                self.redis_answering = false;
            }
            Event::RefreshAtOrigin { refresh } => self.refresh_at_origin(refresh),
            Event::FromOrigin { refresh, reply } => self.refresh_ends(refresh, reply),
            Event::Mood(mood) => {
                self.note(|_| format!("Redis is {mood:?}"));
                self.redis.mood = mood;
            }
            Event::Flush => {
                self.note(|_| "Redis forgets everything".to_owned());
                self.summary.flushed += 1;
                self.trouble.push(self.now);
                self.redis.flush();
            }
            Event::Purge => self.purge(),
            Event::Edit { page } => {
                let version = self.publish(page);
                self.note(|_| format!("the origin has version {version} of page {page}"));
            }
        }
    }

    /// The origin has a new version of a page.
    pub fn publish(&mut self, page: usize) -> usize {
        self.pages[page].published.push(self.now);
        self.pages[page].version()
    }

    /// A VM dies: its streams have no filter any more, and what was held is refused by the host.
    fn restart(&mut self, node: usize, worker: usize) {
        self.note(|_| format!("the VM of node {node} worker {worker} is replaced"));
        self.summary.restarted += 1;
        let dead = self.nodes[node].vm(node, worker);
        for id in 0..self.streams.len() {
            let stream = &mut self.streams[id];
            if stream.vm != dead {
                continue;
            }
            let refetching = stream.refetching && stream.phase == Phase::AtOrigin && stream.answers == 0;
            if stream.phase == Phase::Held || refetching {
                stream.answers += 1;
                stream.phase = Phase::Over;
                host::with(|hosts| hosts.streams.remove(&context_of(id)));
            }
        }
        // Nobody waits for what it fetches any more, but for the leases of the streams that go on.
        let places = &mut self.nodes[node].workers[worker];
        places.life += 1;
        places.vm = Vm::default();
        self.nodes[node].restarted = Some(self.now);
        self.trouble.push(self.now);
        self.forget_fetches(dead);
        self.pool_of_ended(dead);
        self.start(VmId { life: dead.life + 1, ..dead });
    }
}

/// The first moment, in milliseconds since 1970.
const START: u64 = 1_800_000_000_000;
/// Any number will do.
const TENANTS: u64 = 0x7465_6e61_6e74;
/// Events shown of a run that failed.
const TRACED: usize = 60;
