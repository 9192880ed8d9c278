//! Who stands before the origin.

use selvage_rig::envoy::{Gateway, own_filter};

/// One that is measured.
#[derive(Clone, PartialEq, Eq)]
pub enum Subject {
    /// Selvage with a pool that has these members beside its name, and requests with these beside the pool's name.
    Pool { members: String, admission: String },
    /// Selvage without a pool.
    Selvage,
    /// Envoy's `adaptive_concurrency`, which measures the least latency every ten seconds.
    Adaptive,
    /// Envoy, and nothing else.
    Unlimited,
}

impl Subject {
    /// A pool whose limit is found, with all else as it is by default.
    pub fn found() -> Self {
        Self::pool("", "")
    }

    /// A pool with a limit that stays.
    pub fn fixed(limit: u32) -> Self {
        Self::pool(&format!(r#", "fixed": {limit}"#), "")
    }

    /// A pool with these members and admission, each with a comma before it.
    pub fn pool(members: &str, admission: &str) -> Self {
        Self::Pool { members: members.to_owned(), admission: admission.to_owned() }
    }

    /// Whether it has a pool of ours.
    pub fn has_pool(&self) -> bool {
        matches!(self, Self::Pool { .. })
    }

    /// Starts it before this origin.
    pub fn start(&self, origin: &str) -> Result<Gateway, String> {
        let configuration = match self {
            Self::Pool { members, admission } => format!(
                r#"{{ "pools": [ {{ "name": "origin"{members} }} ],
                     "defaults": {{ "admission": {{ "pool": "origin", "priority_header": "x-class"{admission} }} }} }}"#
            ),
            _ => "{}".to_owned(),
        };
        let builder = Gateway::with(&configuration).origin(origin);
        let started = match self {
            Self::Pool { .. } | Self::Selvage => builder.try_start_edited(&[]),
            Self::Adaptive => builder.try_start_edited(&[(&own_filter(), ADAPTIVE)]),
            Self::Unlimited => builder.try_start_edited(&[(&own_filter(), "")]),
        };
        started.map_err(|refused| format!("Envoy did not start:\n{}", refused.output))
    }
}

/// Settings that the documentation of Envoy shows; every ten seconds instead of every minute, as origins change.
const ADAPTIVE: &str = r#"                  - name: envoy.filters.http.adaptive_concurrency
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.adaptive_concurrency.v3.AdaptiveConcurrency
                      gradient_controller_config:
                        sample_aggregate_percentile: { value: 50 }
                        concurrency_limit_params: { concurrency_update_interval: 0.1s }
                        min_rtt_calc_params: { jitter: { value: 10 }, interval: 10s, request_count: 50 }
"#;
