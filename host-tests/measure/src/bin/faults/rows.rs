//! The faults: what is done to the remote store, and how it is undone.

use std::sync::Arc;

use selvage_rig::envoy::Gateway;
use selvage_rig::redis::{Access, Bridge, Part, signal};
use selvage_rig::relay::{Lie, Relay};
use selvage_rig::scripted::Origin;

use crate::load::Mix;

/// One row of the table.
pub struct Row {
    /// For `--row`.
    pub name: &'static str,
    /// What the table says of it.
    pub title: &'static str,
    pub fault: Fault,
    /// How long the fault lasts, of 10: all of what `--seconds` says, a half, or several times that.
    pub tenths: u32,
}

/// What happens in the middle of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is no remote store at all.
    NoRemote,
    /// Nothing happens.
    Healthy,
    /// Killed, then started again on the same port.
    Killed(Part),
    /// Stopped, then let go on.
    Stalled(&'static [Part]),
    /// Redis takes nothing more.
    Full,
    /// Redis answers lookups and refuses writes, while purges come; another Envoy is to hear of them.
    Refuses(Refusal),
    /// The bridge lies.
    Lies(Lie),
    /// webdis has a password that Redis does not take.
    WrongPassword,
    /// A master of the cluster is killed, and a replica takes its place.
    Failover,
}

/// Why Redis refuses writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is at `maxmemory`.
    Full,
    /// It has become a replica.
    Replica,
    /// Its user may only read.
    Rights,
}

/// How one sees that the remote store is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// A client was answered from it.
    Hit,
    /// A record was written to it.
    Written,
    /// One of the two: a store that came back empty has nothing to answer with at first.
    Either,
    /// For a second no call has failed or been refused: where only a part had failed, the rest answers all the time.
    Quiet,
}

const fn row(name: &'static str, title: &'static str, fault: Fault, tenths: u32) -> Row {
    Row { name, title, fault, tenths }
}

/// All rows, in the table's order. The first is what the others are measured against.
pub const ROWS: [Row; 19] = [
    row("baseline", "no Redis configured", Fault::NoRemote, 10),
    row("healthy", "Redis and webdis well", Fault::Healthy, 5),
    row("redis-killed", "Redis killed, then started empty", Fault::Killed(Part::Redis), 10),
    row("webdis-killed", "webdis killed, then started", Fault::Killed(Part::Webdis), 10),
    row("redis-stalled", "Redis stalled (SIGSTOP)", Fault::Stalled(&[Part::Redis]), 10),
    row("webdis-stalled", "webdis stalled (SIGSTOP)", Fault::Stalled(&[Part::Webdis]), 10),
    row("both-stalled", "both stalled (SIGSTOP)", Fault::Stalled(&[Part::Redis, Part::Webdis]), 10),
    row("maxmemory", "Redis at `maxmemory`, `noeviction`", Fault::Full, 5),
    row("full-purges", "Redis full, with purges", Fault::Refuses(Refusal::Full), 60),
    row("replica-purges", "Redis a replica (`READONLY`), with purges", Fault::Refuses(Refusal::Replica), 20),
    row("rights-purges", "writes refused by ACL, with purges", Fault::Refuses(Refusal::Rights), 20),
    row("garbage", "bridge answers garbage", Fault::Lies(Lie::Garbage), 5),
    row("half", "bridge answers half a record", Fault::Lies(Lie::Half), 5),
    row("wrong", "bridge answers another key's record", Fault::Lies(Lie::Wrong), 5),
    row("error-text", "bridge answers 200 with an error text", Fault::Lies(Lie::ErrorText), 5),
    row("drip", "bridge answers 4 MiB at 1 MiB/s", Fault::Lies(Lie::Drip), 5),
    row("endless", "bridge answers without end", Fault::Lies(Lie::Endless), 5),
    row("password", "webdis has a wrong password", Fault::WrongPassword, 5),
    row("failover", "Redis Cluster: a master killed, its replica takes over", Fault::Failover, 10),
];

impl Fault {
    /// What shows that it is over.
    pub fn sign(self) -> Sign {
        match self {
            Self::Full | Self::Refuses(_) => Sign::Written,
            Self::Killed(Part::Redis) => Sign::Either,
            Self::Failover => Sign::Quiet,
            _ => Sign::Hit,
        }
    }
}

/// What runs during a row.
pub struct Stage {
    pub gateway: Gateway,
    /// Another Envoy on the same store.
    pub other: Option<Gateway>,
    bridge: Option<Bridge>,
    relay: Option<Relay>,
    _origin: Origin,
}

const PASSWORD: &str = "sesame";

/// Operators come in without a token, under the name that clients use.
const ADMIN: &str = r#""admin": { "open": true, "hosts": ["fleet.example"] }"#;
/// Stores so small that the remote store is asked all the time.
const STORES: &str = r#""worker": { "bytes": "128KiB" }, "node": { "bytes": "256KiB", "buckets": 64 }"#;

impl Stage {
    /// Starts all that a row needs.
    pub fn start(fault: Fault, mix: &Arc<Mix>) -> Self {
        let origin = Origin::start();
        mix.serve(&origin);
        let bridge = match fault {
            Fault::NoRemote | Fault::Failover => None,
            Fault::WrongPassword => {
                Some(Bridge::guarded(Access { redis: PASSWORD, webdis: PASSWORD, basic: "" }))
            }
            _ => Some(Bridge::start()),
        };
        let relay = match (&bridge, fault) {
            (Some(bridge), Fault::Lies(_)) => Some(Relay::start(bridge.port())),
            _ => None,
        };
        let configuration = if fault == Fault::NoRemote {
            format!("{{ {STORES} }}")
        } else {
            format!(r#"{{ "remote": {{ "enabled": true, "timeout": "50ms" }}, {ADMIN}, {STORES} }}"#)
        };
        let mut builder = Gateway::with(&configuration).origin(origin.url());
        if fault == Fault::Failover {
            builder = builder.argument("--redis-cluster");
        }
        let port = relay.as_ref().map(Relay::port).or(bridge.as_ref().map(Bridge::port));
        if let Some(port) = port {
            builder = builder.bridge(port);
        }
        let other = matches!(fault, Fault::Refuses(_)).then(|| {
            let other = Gateway::with(&format!(r#"{{ "remote": {{ "enabled": true }}, {ADMIN} }}"#))
                .origin(origin.url());
            other.bridge(bridge.as_ref().unwrap().port()).start()
        });
        Self { gateway: builder.start(), other, bridge, relay, _origin: origin }
    }

    /// Begins the fault.
    pub fn begin(&mut self, fault: Fault) {
        match (fault, &mut self.bridge) {
            (Fault::Killed(part), Some(bridge)) => bridge.kill(part),
            (Fault::Stalled(parts), Some(bridge)) => parts.iter().for_each(|part| bridge.stall(*part)),
            (Fault::Full | Fault::Refuses(Refusal::Full), Some(bridge)) => {
                bridge.command("CONFIG SET maxmemory-policy noeviction");
                // Less than it has: only a bound of zero is none.
                assert_eq!(bridge.command("CONFIG SET maxmemory 1mb"), "+OK");
            }
            (Fault::Refuses(Refusal::Replica), Some(bridge)) => {
                // Of a master that is not there: it keeps what it has, and answers.
                assert_eq!(bridge.command("REPLICAOF 127.0.0.1 1"), "+OK");
            }
            (Fault::Refuses(Refusal::Rights), Some(bridge)) => {
                assert_eq!(bridge.command("ACL SETUSER default -@write"), "+OK");
            }
            (Fault::WrongPassword, Some(bridge)) => {
                bridge.kill(Part::Webdis);
                bridge.start_webdis_with("open");
            }
            (Fault::Lies(lie), _) => self.relay.as_ref().unwrap().set(Some(lie)),
            (Fault::Failover, _) => self.kill_a_master(),
            _ => {}
        }
    }

    /// Undoes it. What has been killed in a cluster stays dead: its replica serves.
    pub fn end(&mut self, fault: Fault) {
        match (fault, &mut self.bridge) {
            (Fault::Killed(Part::Redis), Some(bridge)) => bridge.start_redis(),
            (Fault::Killed(Part::Webdis), Some(bridge)) => bridge.start_webdis(),
            (Fault::Stalled(parts), Some(bridge)) => parts.iter().for_each(|part| bridge.resume(*part)),
            (Fault::Full | Fault::Refuses(Refusal::Full), Some(bridge)) => {
                assert_eq!(bridge.command("CONFIG SET maxmemory 0"), "+OK");
            }
            (Fault::Refuses(Refusal::Replica), Some(bridge)) => {
                assert_eq!(bridge.command("REPLICAOF NO ONE"), "+OK");
            }
            (Fault::Refuses(Refusal::Rights), Some(bridge)) => {
                assert_eq!(bridge.command("ACL SETUSER default +@all"), "+OK");
            }
            (Fault::WrongPassword, Some(bridge)) => {
                bridge.kill(Part::Webdis);
                bridge.start_webdis();
            }
            (Fault::Lies(_), _) => self.relay.as_ref().unwrap().set(None),
            _ => {}
        }
    }

    /// Kills the first master that `envoy/run` named: `redis-node 127.0.0.1:PORT PID master`.
    fn kill_a_master(&self) {
        let log = self.gateway.log();
        let mut nodes = log.lines().filter_map(|line| line.strip_prefix("redis-node "));
        let master = nodes.find(|line| line.ends_with(" master"));
        let master = master.expect("`envoy/run --redis-cluster` names no master");
        signal(master.split_whitespace().nth(1).unwrap().parse().unwrap(), "KILL");
    }
}
