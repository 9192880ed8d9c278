//! Who stands before the origin, and what stands behind it.

use std::time::Duration;

use selvage_measure::crowd::{Origin, Plan};
use selvage_rig::envoy::{Gateway, own_filter};
use selvage_rig::redis::Bridge;

/// How much one may ask for in a second, over all who count together.
pub const QUOTA: f64 = 1_000.0;
/// How much of it at once.
pub const BURST: f64 = 100.0;
/// What is asked for.
pub const TARGET: &str = "/stored";

/// Everything may be stored.
pub fn origin() -> Origin {
    Origin::forgetful(|_| Plan {
        status: 200,
        fields: "cache-control: max-age=3600\r\n".to_owned(),
        body: b"served\n".to_vec(),
        ..Plan::default()
    })
}

/// A limit with these members beside its name.
pub fn limited(members: &str, more: &str) -> String {
    format!(
        r#"{{ {more}"limits": [ {{ "name": "measured", "headers": "refused", {members} }} ],
             "defaults": {{ "limits": ["measured"] }} }}"#
    )
}

/// The limit that counts for a fleet.
pub fn for_fleet() -> String {
    let members = format!(
        r#""by": ["header:x-client"], "quota": {QUOTA}, "burst": {BURST}, "window": "1s", "scope": "fleet""#
    );
    limited(
        &members,
        &format!(r#""remote": {{ "enabled": true, "timeout": "{}ms" }}, "#, TIMEOUT.as_millis()),
    )
}

/// How long a call to Redis may take.
pub const TIMEOUT: Duration = Duration::from_millis(100);

/// Starts ours.
pub fn start(configuration: &str, origin: &Origin, bridge: Option<&Bridge>) -> Result<Gateway, String> {
    let mut builder = Gateway::with(configuration).origin(origin.url());
    if let Some(bridge) = bridge {
        builder = builder.bridge(bridge.port());
    }
    let gateway =
        builder.try_start().map_err(|refused| format!("Envoy did not start:\n{}", refused.output))?;
    // What is asked for is stored, in each worker's store too.
    for _ in 0..64 {
        let response = gateway.get(TARGET).header("x-client", "first").send();
        assert_eq!(response.status, 200, "{}", response.text());
    }
    Ok(gateway)
}

/// Starts Envoy's own filter in our place.
pub fn start_peer(filter: &str, origin: &Origin) -> Result<Gateway, String> {
    let builder = Gateway::with("{}").origin(origin.url());
    let started = builder.try_start_edited(&[(&own_filter(), filter)]);
    started.map_err(|refused| format!("Envoy did not start:\n{}", refused.output))
}
