//! Whether the cache does its work.

use super::numbers;
use crate::host::Host;
use crate::policy::Policy;
use crate::remote::writes::{self, State};

/// How bad it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// All is well.
    #[default]
    Ok,
    /// Clients are served, with less than there should be.
    Degraded,
    /// Nothing can be stored.
    Failing,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// How bad that is.
    pub status: Status,
    /// A word for it.
    pub code: &'static str,
    /// A sentence.
    pub text: String,
}

impl Status {
    /// `ok`, `degraded` or `failing`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Failing => "failing",
        }
    }
}

/// What is wrong with the node and with this worker, whose leaks these are.
pub fn reasons(host: &mut dyn Host, policy: &Policy, leaks: &[(&'static str, String)]) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let mut say = |status, code, text: String| reasons.push(Reason { status, code, text });
    if policy.worker.bytes == 0 && policy.node.bytes == 0 {
        say(Status::Failing, "no-store", "worker.bytes and node.bytes are 0: nothing is stored".into());
    }
    if !shared_data_works(host) {
        say(
            Status::Failing,
            "no-shared-data",
            "Envoy's shared data does not keep what is written to it".into(),
        );
    }
    if Vec::<u8>::new().try_reserve_exact(SOME_MEMORY).is_err() {
        say(Status::Failing, "no-memory", "the VM of this worker has no memory left".into());
    }
    if policy.remote.enabled {
        let cluster = &policy.remote.cluster;
        if !numbers::is_remote_ready(host, &policy.label) {
            let text = format!("the remote store behind cluster {cluster:?} has not answered a probe well");
            say(Status::Degraded, "remote-not-ready", text);
        }
        match numbers::remote_breaker(host, &policy.label) {
            "closed" => {}
            state => {
                let text =
                    format!("the breaker for cluster {cluster:?} is {state}: the remote store is left alone");
                say(Status::Degraded, "remote-open", text);
            }
        }
        match writes::read(host, &policy.remote) {
            State::Ok => {}
            State::Refusing(reason) => {
                let text = format!(
                    "the remote store behind cluster {cluster:?} refuses writes ({}); purges wait to reach the fleet",
                    reason.meaning()
                );
                say(Status::Degraded, "remote-writes-refused", text);
            }
            State::Silent => {
                let text = format!(
                    "the remote store behind cluster {cluster:?} answers lookups and no writes; purges wait to reach the fleet"
                );
                say(Status::Degraded, "remote-writes-unanswered", text);
            }
        }
    }
    let open = numbers::origins_open(host, &policy.label);
    if open > 0 {
        say(Status::Degraded, "origin-open", format!("origins are left alone: {open}, all workers together"));
    }
    #[cfg(feature = "foresight")]
    if policy.foresight.anomalies {
        for text in super::anomalies::told(host) {
            say(Status::Degraded, "anomaly", text);
        }
    }
    for (what, text) in leaks {
        say(Status::Degraded, "leak", format!("{what}: {text}"));
    }
    reasons
}

fn shared_data_works(host: &mut dyn Host) -> bool {
    // Without condition: whoever writes, the value is the same.
    host.set(PROBE, PROBED, 0).is_ok() && host.get(PROBE).is_some_and(|(value, _)| value == PROBED)
}

const PROBE: &str = "sv1/t";
const PROBED: &[u8] = b"1";
const SOME_MEMORY: usize = 1 << 20;
