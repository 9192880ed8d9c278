//! What requests to language models have used and cost, for operators: the node's figures.

use serde_json::Value;

use crate::host::Host;
use crate::policy::Policy;

/// Each model that has been asked where tokens are counted, of all workers together.
#[cfg(feature = "llm")]
pub fn models(host: &mut dyn Host, policy: &Policy) -> Value {
    use selvage_llm::money::Money;

    use crate::members::{Show, members};

    let shown = (0..=policy.models.len()).filter(|_| policy.counts_tokens()).filter_map(|place| {
        let label = policy.models.label(place);
        let mut of = |family, word| host.metric_of(label, (family, word));
        let [told, estimated, saved] = ["told", "estimated", "saved"].map(|word| of("llm_requests", word));
        if told + estimated + saved == 0 {
            return None;
        }
        let [used, spared] = ["llm_tokens", "llm_saved_tokens"].map(|family| {
            let [input, cached, cache_write, output, reasoning] =
                ["input", "cached", "cache-write", "output", "reasoning"].map(|word| of(family, word));
            members! {
                "input": input, "cached": cached, "cache_write": cache_write, "output": output, "reasoning": reasoning,
            }
        });
        let [spent, spared_cost] = ["spent", "saved"].map(|word| Money::from_nanos(of("llm_cost_nanos", word)).show());
        Some(members! {
            "model": label;
            "requests" => members! { "told": told, "estimated": estimated, "saved": saved },
            "tokens" => used,
            "saved_tokens" => spared,
            "cost" => spent,
            "saved_cost" => spared_cost
        })
    });
    shown.collect()
}

/// The streams that have passed where tokens are counted, of all workers together; `null` where none are.
#[cfg(feature = "llm")]
pub fn streams(host: &mut dyn Host, policy: &Policy) -> Value {
    use crate::members::members;

    if !policy.counts_tokens() {
        return Value::Null;
    }
    let open = host.metric_of(&policy.label, ("live", "llm-streams"));
    let mut of = |family, word| host.metric((family, word));
    let [whole, origin, client, timeout] =
        ["whole", "origin", "client", "timeout"].map(|word| of("llm_streams", word));
    let [content, other] = ["content", "other"].map(|word| of("llm_events", word));
    members! {
        "open": open;
        "ended" => members! { "whole": whole, "origin": origin, "client": client, "timeout": timeout },
        "events" => members! { "content": content, "other": other }
    }
}

/// No stream is known.
#[cfg(not(feature = "llm"))]
pub fn streams(_host: &mut dyn Host, _policy: &Policy) -> Value {
    Value::Null
}

/// No model is known.
#[cfg(not(feature = "llm"))]
pub fn models(_host: &mut dyn Host, _policy: &Policy) -> Value {
    Value::Array(Vec::new())
}
