//! What has become of jobs, for the report.

use serde_json::Value;

use crate::host::Host;
use crate::members::{Members, members};
use crate::policy::Policy;

/// Jobs of the fleet that Redis has, and what this Envoy has done; `null` without `jobs`.
pub fn jobs(host: &mut dyn Host, policy: &Policy) -> Value {
    if policy.jobs.is_none() {
        return Value::Null;
    }
    let plugin = &*policy.label;
    let mut kept = Members::default();
    for state in ["due", "leased", "dead", "done"] {
        let word = ("jobs_kept", state);
        let count = if plugin.is_empty() { host.metric(word) } else { host.metric_of(plugin, word) };
        kept.put(state, &count);
    }
    let mut events = Members::default();
    for event in EVENTS {
        events.put(event, &host.metric(("jobs", event)));
    }
    members! { ; "kept" => kept.end(), "events" => events.end() }
}

/// What is shown of the family `jobs`.
const EVENTS: [&str; 7] = ["accepted", "started", "succeeded", "retried", "dead", "cancelled", "expired"];
