//! What is made of the list, and whether it is still so: `SELVAGE_RENEW_METRICS=1 cargo test -p selvage-engine list` renews it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Kind::{Counter, Histogram};
use super::*;
use crate::cache_status::{Detail, Forward};
use crate::firewall::Vector;

#[test]
fn every_family_is_well_made() {
    let mut names = BTreeMap::new();
    for family in FAMILIES {
        assert!(names.insert(family.name, ()).is_none(), "{} stands twice", family.name);
        assert!(family.name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{}", family.name);
        for (nth, word) in family.words.iter().enumerate() {
            assert_eq!(word.split('.').count(), family.labels_of_words().len(), "{}.{word}", family.name);
            assert!(word.chars().all(|c| c.is_ascii_lowercase() || matches!(c, '-' | '.')), "{word}");
            assert!(!family.words[..nth].contains(word), "{}.{word} stands twice", family.name);
        }
        if family.kind == Histogram {
            let ends = ["_us", "_ms", "_per_second"].iter().any(|unit| family.name.ends_with(unit));
            assert!(ends, "{} has no unit", family.name);
        }
    }
}

#[test]
fn every_word_of_cache_status_is_in_the_list() {
    use Forward::*;
    for forward in [Bypass, Method, UriMiss, VaryMiss, Request, Stale, Partial] {
        assert!(has(Counter, "fwd", forward.as_str()), "{forward:?}");
    }
    for detail in Detail::all() {
        assert!(has(Counter, "detail", detail.as_str()), "{detail:?}");
    }
    for vector in Vector::ALL {
        assert!(has(Counter, "firewall", vector.as_str()), "{vector:?}");
    }
}

#[test]
fn the_table_of_metrics_is_as_the_list() {
    let mut table = String::from(HEAD);
    for family in FAMILIES {
        let Family { name, unit, meaning, .. } = family;
        let kind = format!("{:?}", family.kind).to_lowercase();
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        table.push_str(&format!("| `{name}` | {kind} | {unit} | {} | {meaning} |\n", labels.join(", ")));
    }
    table.push_str("\n## The words\n\n");
    for family in FAMILIES {
        let words: Vec<String> = family.words.iter().map(|word| format!("`{word}`")).collect();
        table.push_str(&format!("- **{}**: {}\n", family.name, words.join(" ")));
    }
    is(&repository().join("plugin/METRICS.md"), table);
}

#[test]
fn the_bootstraps_make_labels_of_the_words() {
    for name in [
        "bootstrap/local.yaml",
        "bootstrap/redis-tls.yaml",
        "examples/llm.yaml",
        "examples/routes.yaml",
        "examples/compose/envoy.yaml",
        "examples/envoy-gateway.yaml",
        "examples/istio.yaml",
    ] {
        let path = repository().join("envoy").join(name);
        let text = std::fs::read_to_string(&path).unwrap();
        let (before, rest) = text.split_once(BLOCK_BEGINS).unwrap();
        // In a resource of Kubernetes it stands further to the right.
        let indent = before.rsplit('\n').next().unwrap();
        let block = stats_config().replace('\n', &format!("\n{indent}"));
        let with = format!("{before}{}\n\n{}", block.trim_end(), rest.split_once("\n\n").unwrap().1);
        is(&path, with);
    }
}

#[test]
fn dashboards_and_alerts_name_only_what_is_in_the_list() {
    for file in ["dashboards/selvage.json", "alerts/selvage.rules.yaml", "alerts/selvage.test.yaml"] {
        let text = std::fs::read_to_string(repository().join("envoy").join(file)).unwrap();
        if file.ends_with(".json") {
            serde_json::from_str::<serde_json::Value>(&text).unwrap();
        }
        let mut found = 0;
        // Envoy's own metrics about the filter have this in the middle.
        for (at, _) in text.match_indices("selvage_").filter(|(at, _)| !text[..*at].ends_with('_')) {
            let rest = &text[at..];
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
            let (name, rest) = rest.split_at(end);
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let family = FAMILIES.iter().find(|family| {
                family.prometheus() == name || family.kind == Histogram && Some(&*family.prometheus()) == base
            });
            let family = family.unwrap_or_else(|| panic!("{file}: {name} is not in the list"));
            found += 1;
            // In JSON, quotes have a backslash before them.
            let rest = rest.replace("\\\"", "\"");
            let selector =
                rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map(|(inside, _)| inside);
            for matcher in selector.into_iter().flat_map(matchers) {
                let (label, values) = matcher;
                if OTHERS.contains(&label) || family.kind == Histogram && label == "le" {
                    continue;
                }
                assert!(family.labels.contains(&label), "{file}: {name} has no label {label}");
                // Rules and plugins are called as their owners like.
                let known = family.labels_of_words().contains(&label);
                for value in values.split('|').filter(|_| known) {
                    assert!(family.values(label).contains(&value), "{file}: {name} has no {label}={value}");
                }
            }
        }
        assert!(found > 10, "{file}: {found}");
    }
}

/// The labels and values in a selector.
fn matchers(selector: &str) -> Vec<(&str, &str)> {
    let parts = selector.split(',').filter_map(|part| part.split_once('='));
    parts
        .map(|(label, value)| (label.trim().trim_end_matches('!'), value.trim_matches(['"', '~', ' '])))
        .collect()
}

/// The part of a bootstrap that is the same in each.
fn stats_config() -> String {
    const PART: &str = "[a-z-]+";
    // As a rule may be called.
    const RULE: &str = "[A-Za-z0-9_.-]+";
    const PLUGIN: &str = "[A-Za-z0-9_-]+";
    let mut labels: Vec<&str> = Vec::new();
    for label in FAMILIES.iter().flat_map(|family| family.labels) {
        if !labels.contains(label) {
            labels.push(label);
        }
    }
    let mut block = String::from(BLOCK_BEGINS);
    block.push_str("\nstats_config:\n  stats_tags:\n");
    for label in labels {
        let mut before = Vec::new();
        let mut more = "";
        for family in FAMILIES {
            let Some(at) = family.labels.iter().position(|own| *own == label) else { continue };
            let parts = family.labels.iter().take(at);
            let parts = parts.map(|one| match *one {
                "rule" => format!("\\.{RULE}"),
                "plugin" => format!("(?:\\.{PLUGIN})?"),
                "pool" | "limit" | "budget" | "model" => format!("\\.{RULE}"),
                _ => format!("\\.{PART}"),
            });
            before.push(format!("{}{}", family.name, parts.collect::<String>()));
            if at + 1 < family.labels.len() {
                more = if ["rule", "plugin", "pool", "limit", "budget", "model"].contains(&label) {
                    r"\.[a-z-]+"
                } else {
                    r"(?:\.[a-z-]+)?"
                };
            }
        }
        let before = match before.as_slice() {
            [one] => one.clone(),
            several => format!("(?:{})", several.join("|")),
        };
        let part = match label {
            "rule" | "pool" | "limit" | "budget" | "model" => RULE,
            "plugin" => PLUGIN,
            _ => PART,
        };
        block.push_str(&format!(
            "    - {{ tag_name: {label}, regex: '^wasmcustom\\.selvage\\.{before}(\\.({part})){more}$' }}\n"
        ));
    }
    block.push_str("  # Upper ends of the histograms' buckets: microseconds, milliseconds and tokens.\n  histogram_bucket_settings:\n");
    for (name, buckets) in BUCKETS {
        assert!(family(name).is_some_and(|family| family.kind == Histogram));
        let buckets: Vec<String> = buckets.iter().map(u32::to_string).collect();
        let buckets = buckets.join(", ");
        block.push_str(&format!(
            "    - match: {{ prefix: wasmcustom.selvage.{name} }}\n      buckets: [{buckets}]\n"
        ));
    }
    assert_eq!(BUCKETS.len(), FAMILIES.iter().filter(|family| family.kind == Histogram).count());
    block
}

/// A file is as it would be written now; writes it where that is asked for.
#[track_caller]
fn is(path: &Path, text: String) {
    if std::env::var_os("SELVAGE_RENEW_METRICS").is_some() {
        std::fs::write(path, text).unwrap();
        return;
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(committed == text, "renew {path:?}: SELVAGE_RENEW_METRICS=1 cargo test -p selvage-engine list");
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Labels that Prometheus and Envoy add.
const OTHERS: [&str; 3] = ["job", "instance", "alertname"];

/// Up to 5 s and 10 s.
const BUCKETS: [(&str, &[u32]); 4] = [
    (
        "duration_us",
        &[
            1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000,
            1_000_000, 5_000_000,
        ],
    ),
    (
        "llm_stream_ms",
        &[10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000],
    ),
    ("llm_tokens_per_second", &[1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000]),
    ("propagation_ms", &[1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 10_000]),
];

const BLOCK_BEGINS: &str =
    "# What Prometheus sees at /stats/prometheus: made of the list of metrics, see plugin/METRICS.md.";

const HEAD: &str = "# Metrics\n
<!-- made by SELVAGE_RENEW_METRICS=1 cargo test -p selvage-engine list -->\n
Envoy's admin interface has them at `/stats?filter=selvage` as `wasmcustom.selvage.<family>.<word>`, and at `/stats/prometheus` as
`selvage_<family>` with labels, where the bootstrap has the `stats_config` of those in `envoy/bootstrap`: `wasmcustom.selvage.requests.hit.worker`
is `selvage_requests{result=\"hit\",tier=\"worker\"}`. Where a family has the label `rule`, each rule has its own, and its name stands
before the word. Where a gauge has the label `plugin`, each plugin with a `name` of its own has its own, in which signs other than
letters, digits, `-` and `_` are written `_`; plugins of one name are added up. A metric is there from the first time that there is something to say, and each is of the
whole Envoy, all workers together. They are brought up to date every `node.poll`, 100 ms at most. Gauges are the workers' shares summed up: a
worker whose VM was reloaded after a fault leaves its last share behind until Envoy is restarted (watch Envoy's own counters of reloads).
Histograms appear in `/stats/prometheus` at Envoy's next flush, every five seconds. A hit of the worker store costs two additions; all else is
done by the tick. What all workers know alike (`tier=\"node\"`, `remote_state`, `remote_writes`) is said by one of them; where another takes that over,
it is 0 for up to a second. A plugin takes its gauges with it when it goes: Envoy goes on showing them, as 0.\n
[`envoy/dashboards/selvage.json`](../envoy/dashboards/selvage.json) shows them in Grafana, and
[`envoy/alerts/selvage.rules.yaml`](../envoy/alerts/selvage.rules.yaml) has alerts with a line for each on what to do.\n
| family | kind | unit | labels | what it says |
|---|---|---|---|---|
";
