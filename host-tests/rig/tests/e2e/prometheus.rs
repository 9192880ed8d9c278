//! The dashboard and the alerts that come with the filter, by the programs that read them.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use selvage_rig::envoy::{Gateway, repository};
use selvage_rig::prometheus::{Prometheus, check_expressions, promtool};
use selvage_rig::redis::free_port;
use selvage_rig::scripted::{Answer, Origin};

#[test]
fn the_alerts_pass_their_own_tests() {
    let folder = repository().join("envoy/alerts");
    for arguments in [["check", "rules", "selvage.rules.yaml"], ["test", "rules", "selvage.test.yaml"]] {
        promtool(&folder, &arguments).unwrap_or_else(|output| panic!("{arguments:?}:\n{output}"));
    }
}

#[test]
fn each_alert_says_what_to_do() {
    let rules = fs::read_to_string(repository().join("envoy/alerts/selvage.rules.yaml")).unwrap();
    let alerts: Vec<&str> = rules.split("- alert: ").skip(1).collect();
    assert!(alerts.len() >= 10);
    for alert in alerts {
        for member in ["severity: ", "summary: ", "runbook: "] {
            assert!(alert.contains(member), "no {member:?} in {alert}");
        }
    }
}

#[test]
fn prometheus_can_read_what_the_dashboard_asks() {
    let dashboard = fs::read(repository().join("envoy/dashboards/selvage.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_slice(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let expressions: Vec<String> = targets
        .map(|target| target["expr"].as_str().unwrap())
        .map(|text| text.replace("$__rate_interval", "5m").replace("$instance", ".*"))
        .collect();
    assert!(expressions.len() > 30);
    check_expressions(&expressions).unwrap_or_else(|output| panic!("{output}"));
}

#[test]
fn an_alert_fires_when_the_bridge_to_the_remote_store_is_dead() {
    let origin = Origin::start();
    origin.otherwise(|request| Answer::fresh(format!("of {}", request.target)));
    let configuration =
        r#"{ "remote": { "enabled": true, "breaker": { "pause": "5m", "longest_pause": "5m" } } }"#;
    let gateway = Gateway::with(configuration).origin(origin.url()).bridge(free_port()).start();
    let prometheus = Prometheus::scraping(&gateway);
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut asked = 0;
    while !prometheus.firing().contains(&"SelvageBreakerOpen".to_owned()) {
        assert!(
            Instant::now() < deadline,
            "{:?} {:?}",
            prometheus.firing(),
            gateway.stats("selvage.breaker")
        );
        assert_eq!(gateway.get(&format!("/{asked}")).send().status, 200);
        asked += 1;
        thread::sleep(Duration::from_millis(20));
    }
    assert!(
        prometheus
            .value(r#"selvage_requests{result="miss",tier="origin"}"#)
            .is_some_and(|count| count >= 1.0)
    );
    assert!(prometheus.value(r#"selvage_breaker_state{state="open"}"#).is_some_and(|workers| workers >= 1.0));
    assert!(!prometheus.firing().contains(&"SelvageVmReloads".to_owned()), "{:?}", prometheus.firing());
    gateway.assert_sound();
}
