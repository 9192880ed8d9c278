//! What has become of cookies that may name a session, for the report.

use serde_json::Value;

use crate::host::Host;
use crate::members::{Members, members};
use crate::policy::Policy;

/// What the node has made of cookies, and of each kind of sessions how many this worker remembers and their bytes, as `usage` says;
/// `null` without `sessions`.
pub fn sessions(host: &mut dyn Host, policy: &Policy, usage: &dyn Fn(usize) -> (usize, usize)) -> Value {
    if policy.sessions.is_empty() {
        return Value::Null;
    }
    let kind = |(kind, name): (usize, &str)| {
        let (sessions, bytes) = usage(kind);
        members! { "name": name, "sessions": sessions, "bytes": bytes }
    };
    let names = policy.sessions.iter().map(|session| &*session.name);
    let remembered: Vec<Value> = names.enumerate().map(kind).collect();
    let mut events = Members::default();
    for (name, event) in EVENTS {
        events.put(name, &host.metric(("sessions", event)));
    }
    members! { "of": "worker"; "remembered" => remembered.into(), "events" => events.end() }
}

/// What is shown of the family `sessions`, as the report calls it.
const EVENTS: [(&str, &str); 10] = [
    ("no_cookie", "no-cookie"),
    ("unsigned", "unsigned"),
    ("forged", "forged"),
    ("copy", "copy"),
    ("found", "found"),
    ("absent", "absent"),
    ("failed", "failed"),
    ("not_asked", "not-asked"),
    ("dropped", "dropped"),
    ("stripped", "stripped"),
];
