//! What Envoy offers to the driver, simulated.
//!
//! A call into a VM runs between [`enter`] and [`leave`]. What the driver asks for and Envoy would do when the call has
//! ended (answer, resume, call, ring) is an [`Effect`], and the simulation does it then.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use selvage_driver::{Buffer, Calls, Level, Map, Metric, NotCalled};
use selvage_engine::fields::Fields;
use selvage_engine::host::{CasMismatch, SharedData};

use crate::shared::Shared;

/// A VM on a simulated host.
pub type Vm = selvage_driver::Vm<Simulated>;

/// The host as the engine sees it.
pub type Envoy = selvage_driver::Envoy<Simulated>;

/// What the driver has asked for, in the order in which it did.
#[derive(Debug)]
pub enum Effect {
    /// A stream is answered.
    Reply {
        context: u32,
        status: u16,
        fields: Vec<u8>,
        body: Vec<u8>,
    },
    /// A held request goes on.
    Resume {
        context: u32,
    },
    /// A field of a map of the effective context gets one value (`Some`), or goes.
    Field {
        context: u32,
        map: Map,
        name: String,
        value: Option<Vec<u8>>,
    },
    Call(Call),
    /// Something enters a queue.
    Ring {
        queue: u32,
    },
    /// The driver acts for a stream that is there.
    ActsFor {
        context: u32,
    },
    /// The driver acts for one that is gone.
    ActsForGone {
        context: u32,
    },
    Log {
        level: Level,
        message: String,
    },
}

/// A call to a cluster.
#[derive(Debug)]
pub struct Call {
    /// The context that was effective.
    pub context: u32,
    pub token: u32,
    pub cluster: String,
    pub headers: Vec<u8>,
    pub body: Vec<u8>,
    pub timeout: u64,
}

/// What is at hand while a callback runs.
#[derive(Debug, Default)]
pub struct Given {
    pub node: usize,
    pub worker: usize,
    /// The context that the callback is for.
    pub context: u32,
    pub request: Vec<u8>,
    pub response: Vec<u8>,
    /// The head of the answer to a call, and its body.
    pub answer: Vec<u8>,
    /// The part of a body at hand, or the configuration.
    pub body: Vec<u8>,
    /// The host has made the response.
    pub unreachable: bool,
}

/// All that the simulated hosts have, of all nodes.
#[derive(Default)]
pub struct Hosts {
    /// Milliseconds since 1970.
    pub now: u64,
    /// One for each node.
    pub shared: Vec<Shared>,
    /// By so much the clock of a worker is behind that of the one before it.
    pub apart: u64,
    /// Calls of a thousand that cannot be made.
    pub refused: u64,
    /// Streams that exist.
    pub streams: BTreeSet<u32>,
    /// The tick that the VM has asked for in this callback.
    tick: Option<u64>,
    last_token: u32,
    given: Given,
    effects: Vec<Effect>,
    metrics: Vec<String>,
    /// How often a callback has shown how late it heard of a purge.
    heard: u64,
    /// What counters of the family `coalesce` have been increased by during the callback, as (metric, by).
    counted: Vec<(u32, i64)>,
}

thread_local! {
    static HOSTS: RefCell<Hosts> = RefCell::default();
}

/// Looks at, or changes, the hosts between callbacks.
pub fn with<R>(f: impl FnOnce(&mut Hosts) -> R) -> R {
    HOSTS.with(|hosts| f(&mut hosts.borrow_mut()))
}

/// A callback begins.
pub fn enter(given: Given) {
    with(|hosts| {
        hosts.given = given;
        hosts.effects.clear();
        hosts.tick = None;
        hosts.heard = 0;
        hosts.counted.clear();
    });
}

/// What a callback has left.
pub struct Left {
    pub effects: Vec<Effect>,
    /// The sum of a counter's increments.
    pub counted: i64,
    /// How often it has shown how late it heard of a purge.
    pub heard: u64,
    /// The tick that the VM wants from now on.
    pub tick: Option<u64>,
}

/// The callback has returned.
pub fn leave(counter: impl Fn(&str) -> bool) -> Left {
    with(|hosts| {
        let counted = hosts.counted.iter().filter(|(id, _)| counter(&hosts.metrics[*id as usize]));
        let counted = counted.map(|(_, by)| by).sum();
        let effects = std::mem::take(&mut hosts.effects);
        Left { effects, counted, heard: hosts.heard, tick: hosts.tick.take() }
    })
}

impl Hosts {
    /// Those of another run. Metrics stay: VMs of one thread know their ids from the run before.
    pub fn renew(&mut self, now: u64, shared: Vec<Shared>, refused: u64) {
        let metrics = std::mem::take(&mut self.metrics);
        *self = Self { now, shared, refused, metrics, ..Self::default() };
    }

    fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    fn here(&mut self) -> &mut Shared {
        &mut self.shared[self.given.node]
    }
}

/// The host of a simulated Envoy.
pub struct Simulated;

impl Calls for Simulated {
    fn log(level: Level, message: &str) {
        with(|hosts| hosts.push(Effect::Log { level, message: message.to_owned() }));
    }

    fn nanoseconds() -> u64 {
        with(|hosts| {
            let behind = hosts.apart * hosts.given.worker as u64;
            hosts.now.saturating_sub(behind).saturating_mul(1_000_000)
        })
    }

    fn memory_bytes() -> usize {
        0
    }

    fn random() -> u64 {
        with(|hosts| hosts.here().dice.number())
    }

    fn set_tick_period(milliseconds: u32) {
        with(|hosts| hosts.tick = Some(u64::from(milliseconds)));
    }

    fn buffer(_kind: Buffer, start: usize, size: usize) -> Option<Vec<u8>> {
        with(|hosts| {
            let body = &hosts.given.body;
            let end = start.saturating_add(size).min(body.len());
            (start < end).then(|| body[start..end].to_vec())
        })
    }

    /// Bodies of the simulation are read by nobody but the filter: what a client gets is judged by its head.
    fn set_buffer(_kind: Buffer, _size: usize, _bytes: &[u8]) -> bool {
        true
    }

    fn set_header_pairs(map: Map, block: &[u8]) {
        let fields = Fields::parse(block).unwrap_or_default();
        let before = with(|hosts| hosts.given.response.clone());
        let before = Fields::parse(&before).unwrap_or_default();
        for (name, _) in before.iter().filter(|(name, _)| map == Map::Response && fields.get(name).is_none())
        {
            Self::remove_header(map, &String::from_utf8_lossy(name));
        }
        for (name, value) in fields.iter() {
            Self::set_header(map, &String::from_utf8_lossy(name), value);
        }
    }

    fn header_pairs(map: Map) -> Option<Vec<u8>> {
        with(|hosts| match map {
            Map::Request => Some(hosts.given.request.clone()),
            Map::Response => Some(hosts.given.response.clone()),
            Map::Answer => Some(hosts.given.answer.clone()),
        })
    }

    fn header(map: Map, name: &str) -> Option<Vec<u8>> {
        let block = Self::header_pairs(map)?;
        Fields::parse(&block)?.get(name.as_bytes()).map(<[u8]>::to_vec)
    }

    fn add_header(map: Map, name: &str, value: &[u8]) {
        Self::set_header(map, name, value);
    }

    fn set_header(map: Map, name: &str, value: &[u8]) {
        with(|hosts| {
            let (context, name, value) = (hosts.given.context, name.to_owned(), Some(value.to_vec()));
            hosts.push(Effect::Field { context, map, name, value });
        });
    }

    fn remove_header(map: Map, name: &str) {
        with(|hosts| {
            let (context, name) = (hosts.given.context, name.to_owned());
            hosts.push(Effect::Field { context, map, name, value: None });
        });
    }

    fn reply(status: u16, _details: &str, fields: &[u8], body: &[u8]) {
        with(|hosts| {
            let context = hosts.given.context;
            hosts.push(Effect::Reply { context, status, fields: fields.to_vec(), body: body.to_vec() });
        });
    }

    fn act_for(context: u32) -> bool {
        with(|hosts| {
            hosts.given.context = context;
            let there = hosts.streams.contains(&context);
            hosts.push(if there { Effect::ActsFor { context } } else { Effect::ActsForGone { context } });
            there
        })
    }

    /// No rule of the simulation holds responses that go on.
    fn resume_response() {}

    fn resume_request() {
        with(|hosts| {
            let context = hosts.given.context;
            hosts.push(Effect::Resume { context });
        });
    }

    fn http_call(cluster: &str, headers: &[u8], body: &[u8], timeout: Duration) -> Result<u32, NotCalled> {
        with(|hosts| {
            if !matches!(cluster, "redis" | "origin") {
                return Err(NotCalled::UnknownCluster);
            }
            let refused = hosts.refused;
            if hosts.here().dice.chance(refused) {
                return Err(NotCalled::Unreachable);
            }
            hosts.last_token += 1;
            let token = hosts.last_token;
            hosts.push(Effect::Call(Call {
                context: hosts.given.context,
                token,
                cluster: cluster.to_owned(),
                headers: headers.to_vec(),
                body: body.to_vec(),
                timeout: timeout.as_millis() as u64,
            }));
            Ok(token)
        })
    }

    fn property(path: &str) -> Option<Vec<u8>> {
        match path {
            "response\0code_details" => {
                let made_here = with(|hosts| hosts.given.unreachable);
                Some(if made_here { b"made here".to_vec() } else { b"via_upstream".to_vec() })
            }
            "xds\0cluster_name" => Some(b"origin".to_vec()),
            _ => None,
        }
    }

    fn shared_data(key: &str) -> Option<(Vec<u8>, u32)> {
        with(|hosts| hosts.here().get(key))
    }

    fn set_shared_data(key: &str, value: &[u8], cas: u32) -> Result<(), CasMismatch> {
        with(|hosts| hosts.here().set(key, value, cas))
    }

    fn register_queue(name: &str) -> Option<u32> {
        with(|hosts| {
            let worker = hosts.given.worker;
            Some(hosts.here().register_queue(name, worker))
        })
    }

    fn ring(queue: u32) {
        with(|hosts| {
            hosts.here().enqueue(queue);
            hosts.push(Effect::Ring { queue });
        });
    }

    fn answer(queue: u32) -> bool {
        with(|hosts| hosts.here().dequeue(queue))
    }

    fn define_metric(_kind: Metric, name: &str) -> Option<u32> {
        with(|hosts| {
            let known = hosts.metrics.iter().position(|metric| metric == name);
            let id = known.unwrap_or_else(|| {
                hosts.metrics.push(name.to_owned());
                hosts.metrics.len() - 1
            });
            Some(id as u32)
        })
    }

    fn increment(id: u32, by: i64) {
        with(|hosts| hosts.counted.push((id, by)));
    }

    fn record(id: u32, _value: u64) {
        with(|hosts| {
            let name = hosts.metrics.get(id as usize);
            hosts.heard += u64::from(name.is_some_and(|name| name.starts_with("selvage.propagation_ms.")));
        });
    }

    /// Nobody asks for figures here.
    fn metric(_id: u32) -> Option<u64> {
        Some(0)
    }
}
