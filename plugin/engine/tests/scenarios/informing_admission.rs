//! What operators are told of pools and limits: in the report, the resources and the metrics.

use selvage_engine::cache::Moment;
use selvage_engine::purge::admin_auth::AdminAuth;
use serde_json::{Value, json};

use crate::gateway::{Gateway, fresh_for, moment, origin};

fn open(config: &str) -> Gateway {
    let mut gateway = Gateway::of_workers(2, config);
    gateway.workers.iter_mut().for_each(|worker| worker.set_admin_auth(AdminAuth::Open));
    gateway
}

#[track_caller]
fn ask(gateway: &mut Gateway, endpoint: &str, at: u64) -> Value {
    gateway.exports();
    let answer = gateway.get(&format!("/.selvage/{endpoint}")).at(at).answered().status(200);
    serde_json::from_slice(answer.bytes()).unwrap()
}

#[test]
fn the_report_has_each_pool_with_who_was_shed_and_why() {
    let config = r#"{"pools":[{"name":"api","fixed":1,"queue":{"requests":1,"wait":{"normal":"1s"}}},{"name":"idle"}],
        "defaults":{"admission":{"pool":"api","priority_header":"x-class"}}}"#;
    let mut gateway = open(config);
    let first = gateway.get("/a").at(0).leaves();
    let second = gateway.get("/b").at(0).waits();
    gateway.get("/c").at(0).answered().status(503);
    let _third = gateway.get("/d").header("x-class", "high").at(0).waits();
    gateway.get("/e").header("x-class", "high").at(0).answered().status(503);
    let resources = ask(&mut gateway, "resources", 0);
    let here =
        json!({ "name": "api", "share": 1, "in_flight": 1, "waiting": { "high": 1, "normal": 1, "low": 0 } });
    assert_eq!(resources["pools"][0], here);
    assert_eq!(resources["pools"][1]["in_flight"], 0);
    assert_eq!(resources["limits"], json!({ "keys": 0, "bytes": 0 }));
    // The adapter says how many all workers have.
    for (word, value) in [("in-flight", 7), ("waiting-normal", 5)] {
        gateway.shared.rule_metrics.insert(("api".into(), ("pool", word)), value);
    }
    let mut later = Moment { now: moment(1_000), host: &mut gateway.shared };
    gateway.workers[0].look_after_pools(false, &mut later);
    assert_eq!(gateway.workers[0].take_decided_tickets().len(), 1);
    gateway.wakes(second, selvage_engine::exchange::Wake::Slot, 1).answered().status(503);
    gateway.goes_away(first, 1);
    let report = ask(&mut gateway, "report", 1);
    let pool = &report["pools"][0];
    assert_eq!((&pool["limit"], &pool["in_flight"]), (&json!(1), &json!(7)));
    assert_eq!(pool["waiting"], json!({ "high": 0, "normal": 5, "low": 0 }));
    assert_eq!(pool["shed"], json!({ "full": 2, "memory": 0, "waited": 1, "displaced": 0 }));
    assert_eq!(pool["shed_by_class"], json!({ "high": 1, "normal": 2, "low": 0 }));
    assert_eq!(report["pools"][1]["limit"], 20);
    assert_eq!(report["limits"]["limits"], json!([]));
}

#[test]
fn a_worker_without_requests_knows_the_limit_that_the_others_have_found() {
    let config = r#"{"pools":[{"name":"api","max":50}],"defaults":{"admission":{"pool":"api"}}}"#;
    let mut gateway = open(config);
    let limit = |gateway: &Gateway, worker: usize| gateway.workers[worker].pool_figures()[0].limit;
    let mut second = 0;
    // Failures of the origin take a tenth of the limit at a time.
    while limit(&gateway, 0) == 20 && second < 60 {
        second += 1;
        gateway.get(&format!("/{second}")).at(second).forwarded(origin(503));
        let mut at = Moment { now: moment(second * 1000 + 500), host: &mut gateway.shared };
        gateway.workers[0].look_after_pools(false, &mut at);
    }
    assert_eq!(limit(&gateway, 1), 20);
    let mut at = Moment { now: moment(second * 1000 + 900), host: &mut gateway.shared };
    gateway.workers[1].look_after_pools(false, &mut at);
    assert_eq!(limit(&gateway, 1), limit(&gateway, 0));
    assert_ne!(limit(&gateway, 1), 20);
}

#[test]
fn the_report_has_each_limit_with_the_keys_that_it_refuses_most() {
    let config = r#"{"limits":[{"name":"per-key","by":["header:x-key"],"quota":1,"window":"1h","burst":1},
            {"name":"watches","by":[],"quota":1,"window":"1h","burst":1,"shadow":true}],
        "defaults":{"limits":["per-key","watches"]}}"#;
    let mut gateway = open(config);
    gateway.get("/a").header("x-key", "0").at(0).miss(fresh_for(600)).stored();
    for key in 1..20u32 {
        gateway.get("/a").header("x-key", &key.to_string()).at(0).hit();
        for _ in 0..key {
            gateway.get("/a").header("x-key", &key.to_string()).at(0).answered().status(429);
        }
    }
    let limits = ask(&mut gateway, "report", 0)["limits"].clone();
    assert_eq!((&limits["refused_keys_of"], &limits["crowded"]), (&json!("worker"), &json!(0)));
    let [per_key, watches] = limits["limits"].as_array().unwrap().as_slice() else { panic!("{limits}") };
    assert_eq!((&per_key["admitted"], &per_key["refused"]), (&json!(20), &json!(190)));
    assert_eq!((&watches["admitted"], &watches["shadowed"]), (&json!(20), &json!(19)));
    assert_eq!(watches["refused_keys"], json!([]));
    let keys = per_key["refused_keys"].as_array().unwrap();
    let counts: Vec<u64> = keys.iter().map(|key| key["refused"].as_u64().unwrap()).collect();
    assert_eq!(counts, [19, 18, 17, 16, 15, 14, 13, 12, 11, 10]);
    // Explain has the same hash for a request with that key.
    let question = json!({ "url": "https://example.com/a", "headers": { "x-key": "19" } }).to_string();
    let answer = gateway.post("/.selvage/explain").at(0).chunk(question).answered();
    let told: Value = serde_json::from_slice(answer.bytes()).unwrap();
    let notes = told["request"].as_array().unwrap();
    let limit = notes.iter().find(|note| note["about"] == "limit").unwrap();
    assert_eq!(limit["key"], keys[0]["key"], "{told:#}");
}
