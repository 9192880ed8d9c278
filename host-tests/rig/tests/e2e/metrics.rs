//! What operators see in Envoy's stats and in Prometheus.

use selvage_engine::stats::list::{self, Kind};
use selvage_rig::scripted::Answer;

use crate::{EDGE, assert_hit, becomes, get, on};

/// Hits so far.
fn hits() -> u64 {
    EDGE.gateway.stats("selvage.requests.hit").iter().map(|(_, value)| value).sum()
}

#[test]
fn envoys_stats_count_what_happened() {
    on("/stats/a", |_| Answer::fresh("a"));
    let before = hits();
    get("/stats/a");
    for _ in 0..20 {
        assert_hit(&get("/stats/a"), "a");
    }
    // Other tests count too, and the counts are exported at each tick.
    becomes(|| get("/stats/a"), |_| hits() >= before + 20);
    let stats = EDGE.gateway.stats("wasmcustom.selvage");
    let own = |name: &str| name.strip_prefix("wasmcustom.selvage.").map(str::to_owned);
    let names: Vec<String> = stats.iter().filter_map(|(name, _)| own(name)).collect();
    for name in ["responses.stored", "fwd.uri-miss", "detail.worker", "bytes.worker", "bytes_limit.node"] {
        assert!(names.contains(&name.to_owned()), "{name} is not in {names:?}");
    }
    for name in names {
        let listed = [Kind::Counter, Kind::Gauge].iter().any(|kind| list::has_name(*kind, &name));
        assert!(listed, "{name} is not in the list");
    }
    EDGE.gateway.assert_sound();
}

#[test]
fn prometheus_sees_labels_and_buckets() {
    on("/stats/prometheus", |_| Answer::fresh("a"));
    for _ in 0..300 {
        get("/stats/prometheus");
    }
    let seen = || EDGE.gateway.admin("/stats/prometheus");
    // A histogram has its values once Envoy has flushed them, every five seconds.
    becomes(
        || get("/stats/prometheus"),
        |_| seen().contains("selvage_duration_us_bucket{step=\"lookup\",le=\"100\"}"),
    );
    let text = seen();
    let line = |start: &str| text.lines().find(|line| line.starts_with(start)).map(str::to_owned);
    for start in [
        "selvage_requests{result=\"hit\",tier=\"worker\"} ",
        "selvage_requests{result=\"miss\",tier=\"origin\"} ",
        "selvage_fwd{reason=\"uri-miss\"} ",
        "selvage_bytes{tier=\"node\"} ",
        "selvage_duration_us_bucket{step=\"store\",le=\"5000000\"} ",
        "selvage_duration_us_bucket{step=\"lookup\",le=\"1\"} ",
        "# TYPE selvage_requests counter",
        "# TYPE selvage_entries gauge",
        "# TYPE selvage_duration_us histogram",
    ] {
        assert!(line(start).is_some(), "no {start:?} among\n{}", ours(&text));
    }
    for line in text.lines().filter(|line| line.starts_with("selvage_")) {
        let (name, labels) = line.split_once(['{', ' ']).unwrap();
        let family = list::FAMILIES.iter().find(|family| {
            let own = family.prometheus();
            let more = ["", "_bucket", "_sum", "_count"];
            more.iter().any(|more| name == format!("{own}{more}"))
        });
        let family = family.unwrap_or_else(|| panic!("{line} is not in the list"));
        // A plugin without a name of its own has no such label.
        for label in family.labels.iter().filter(|label| **label != "plugin") {
            assert!(labels.contains(&format!("{label}=\"")), "{line} has no {label}");
        }
    }
}

fn ours(text: &str) -> String {
    text.lines().filter(|line| line.contains("selvage")).collect::<Vec<_>>().join("\n")
}
