//! What has come of uploads, for the report: the node's figures.

use serde_json::Value;

use crate::host::Host;
use crate::members::{Members, members};
use crate::policy::Policy;

/// Uploads that were checked, and why some were refused; `null` where no rule has `upload`.
pub fn uploads(host: &mut dyn Host, policy: &Policy) -> Value {
    if policy.rules().all(|rule| rule.upload.is_none()) {
        return Value::Null;
    }
    let mut refused_for = Members::default();
    for (name, detail) in DETAILS {
        refused_for.put(name, &host.metric(("detail", detail)));
    }
    let [passed, refused, shadow] =
        ["passed", "refused", "shadow"].map(|result| host.metric(("uploads", result)));
    members! { "passed": passed, "refused": refused, "shadow": shadow; "refused_for" => refused_for.end() }
}

/// Why one is refused, as the report calls it, and the word of `detail`.
const DETAILS: [(&str, &str); 5] = [
    ("length", "upload-too-large"),
    ("type", "upload-type"),
    ("content", "upload-content"),
    ("coding", "upload-coding"),
    ("form", "upload-form"),
];
