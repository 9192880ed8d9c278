//! What has come of batches, for operators: the node's figures.

use serde_json::Value;

use crate::host::Host;
use crate::policy::Policy;

/// Batches and their parts, of all workers together; `null` where none are configured.
#[cfg(feature = "batch")]
pub fn batches(host: &mut dyn Host, policy: &Policy) -> Value {
    use crate::members::members;

    if policy.batch.is_none() {
        return Value::Null;
    }
    let [answered, late, refused, left] =
        ["answered", "late", "refused", "left"].map(|word| host.metric(("batch", word)));
    let mut of = |word| host.metric(("batch_parts", word));
    let (whole, unasked, failed) = (of("answered"), of("refused"), of("failed"));
    let (overdue, unfit) = (of("late"), of("too-large") + of("waiting-limit"));
    members! {
        "answered": answered, "late": late, "refused": refused, "left": left;
        "parts" => members! {
            "answered": whole, "refused": unasked, "failed": failed, "late": overdue, "no_room": unfit,
        }
    }
}

/// None are known.
#[cfg(not(feature = "batch"))]
pub fn batches(_host: &mut dyn Host, _policy: &Policy) -> Value {
    Value::Null
}
