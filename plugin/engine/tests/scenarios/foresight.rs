//! What the node tells of what is not usual, from the counters that it has.

use selvage_engine::cache::Moment;
use selvage_engine::host::SharedData;
use selvage_engine::purge::admin_auth::AdminAuth;
use serde_json::{Value, json};

use crate::gateway::{Gateway, fresh_for, moment, origin};

fn open(count: usize, config: &str) -> Gateway {
    let mut gateway = Gateway::of_workers(count, config);
    gateway.workers.iter_mut().for_each(|worker| worker.set_admin_auth(AdminAuth::Open));
    gateway
}

fn ask(gateway: &mut Gateway, endpoint: &str, at: u64) -> Value {
    let answer = gateway.get(&format!("/.selvage/{endpoint}")).at(at).answered().status(200);
    serde_json::from_slice(answer.bytes()).unwrap()
}

fn series(gateway: &mut Gateway, name: &str, at: u64) -> Value {
    let report = ask(gateway, "report", at);
    let series = report["anomalies"]["series"].as_array().unwrap();
    series.iter().find(|series| series["name"] == name).unwrap().clone()
}

/// Ten seconds in which so many of a hundred requests are hits, shared by the workers; then all of them tick. Gives what they
/// write into the log.
fn pass(gateway: &mut Gateway, period: u64, hits: u64) -> Vec<String> {
    let workers = gateway.workers.len();
    let worker = &mut gateway.workers[period as usize % workers];
    worker.stats.add("requests", "hit.node", hits);
    worker.stats.add("requests", "miss.origin", 100 - hits);
    gateway.exports();
    let mut lines = Vec::new();
    for worker in 0..workers {
        let mut moment = Moment { now: moment(period * 10_000 + worker as u64), host: &mut gateway.shared };
        gateway.workers[worker].keep_history(&mut moment);
        lines.extend(gateway.workers[worker].take_alerts().into_iter().map(|alert| alert.line));
    }
    lines
}

fn is_told(gateway: &Gateway, worker: usize, series: &str) -> bool {
    gateway.workers[worker].anomalies().any(|(word, is_open)| word == ("anomaly", series) && is_open)
}

/// Half an hour in which nothing happens that is not usual.
fn half_an_hour(gateway: &mut Gateway) {
    for period in 0..180 {
        assert_eq!(pass(gateway, period, 88 + period % 5), [""; 0], "{period}");
    }
}

#[test]
fn half_of_the_hits_are_missed_within_a_minute_and_it_is_told_everywhere() {
    let mut gateway = open(2, "{}");
    half_an_hour(&mut gateway);
    let usual = series(&mut gateway, "hit-rate", 1800);
    assert_eq!(
        (&usual["value"], &usual["anomaly"], &usual["since_ms"]),
        (&json!(0.92), &json!(false), &Value::Null)
    );
    assert_eq!((&usual["usual"]["value"], &usual["usual"]["basis"]), (&json!(0.9), &json!("last-two-hours")));
    let lines: Vec<Vec<String>> = (180..184).map(|period| pass(&mut gateway, period, 45)).collect();
    let told = "anomaly: hit-rate is not usual: 0.45 of 1, usual is 0.9 of 1 by last-two-hours, too far is below 0.675; for 30 s, 300 requests";
    let told = told.replace("0.9 of 1 by", "0.9 by");
    assert_eq!(lines, [vec![], vec![], vec![told], vec![]]);
    let health = ask(&mut gateway, "health", 1840);
    assert_eq!(health["status"], "degraded");
    let reasons = json!([{ "code": "anomaly", "text": "hit-rate: 0.45 of 1, usual is 0.9 by last-two-hours, too far is below 0.675" }]);
    assert_eq!(health["reasons"], reasons);
    let now = series(&mut gateway, "hit-rate", 1840);
    assert_eq!((&now["anomaly"], &now["usual"]["too_low"]), (&json!(true), &json!(0.675)));
    assert_eq!(now["since_ms"], json!(moment(1_800_000).as_millis()));
    assert!(is_told(&gateway, 0, "hit-rate") && is_told(&gateway, 1, "hit-rate"), "any of them may speak");
    // What is in between ends nothing, and begins nothing anew.
    for period in 184..200 {
        assert_eq!(pass(&mut gateway, period, 72), [""; 0], "{period}");
    }
    let lines: Vec<String> = (200..210).flat_map(|period| pass(&mut gateway, period, 89)).collect();
    assert_eq!(
        lines,
        [
            "anomaly: hit-rate is usual again: 0.89 of 1, usual is 0.9 by last-two-hours, too far is below 0.675"
        ]
    );
    assert_eq!(ask(&mut gateway, "health", 2101)["status"], "ok");
    assert!(!is_told(&gateway, 0, "hit-rate") && !is_told(&gateway, 1, "hit-rate"));
}

#[test]
fn two_bad_buckets_are_no_anomaly_nor_is_a_site_that_nobody_visits() {
    let mut gateway = open(1, "{}");
    half_an_hour(&mut gateway);
    for period in 180..182 {
        assert_eq!(pass(&mut gateway, period, 10), [""; 0]);
    }
    for period in 182..300 {
        assert_eq!(pass(&mut gateway, period, 90), [""; 0]);
    }
    // One request a minute, and none of them a hit.
    for period in 300..360 {
        gateway.workers[0].stats.add("requests", "miss.origin", u64::from(period % 6 == 0));
        gateway.exports();
        let mut moment = Moment { now: moment(period * 10_000), host: &mut gateway.shared };
        gateway.workers[0].keep_history(&mut moment);
        let lines: Vec<String> =
            gateway.workers[0].take_alerts().into_iter().map(|alert| alert.line).collect();
        assert!(lines.iter().all(|line| line.starts_with("anomaly: requests ")), "{lines:?}");
    }
}

#[test]
fn failures_of_the_origin_are_told_whoever_hears_them() {
    let mut gateway = open(2, "{}");
    let serve = |gateway: &mut Gateway, period: u64, every: u64| {
        for nth in 0..50 {
            let (worker, at) = ((nth % 2) as usize, period * 10_000 - 5000 + nth);
            let status = if nth % every == 3 { 503 } else { 200 };
            let path = format!("/{period}/{nth}");
            gateway
                .get(&path)
                .worker(worker)
                .at_millis(at)
                .forwarded(origin(status).header("cache-control", "no-store"));
        }
        pass(gateway, period, 50)
    };
    for period in 1..260 {
        assert_eq!(serve(&mut gateway, period, 1000), [""; 0], "{period}");
    }
    let lines: Vec<String> = (260..266).flat_map(|period| serve(&mut gateway, period, 10)).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("anomaly: errors is not usual: 0.1 of 1, usual is 0"), "{lines:?}");
}

#[test]
fn who_does_not_want_it_is_told_nothing() {
    let mut gateway = open(1, r#"{"foresight":{"anomalies":false}}"#);
    half_an_hour(&mut gateway);
    let lines: Vec<String> = (180..200).flat_map(|period| pass(&mut gateway, period, 10)).collect();
    assert_eq!(lines, [""; 0]);
    assert_eq!(gateway.workers[0].anomalies().count(), 0);
    assert_eq!(ask(&mut gateway, "report", 2000)["anomalies"]["watched"], json!(false));
}

#[test]
fn a_new_configuration_and_a_vm_that_starts_anew_know_what_is_usual() {
    let mut gateway = open(1, "{}");
    half_an_hour(&mut gateway);
    let mut fresh = open(1, r#"{"namespace":"other"}"#);
    std::mem::swap(&mut fresh.shared, &mut gateway.shared);
    let lines: Vec<String> = (180..184).flat_map(|period| pass(&mut fresh, period, 45)).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
}

#[test]
fn a_clock_that_jumps_and_counters_that_begin_anew_are_no_anomalies() {
    let mut gateway = open(1, "{}");
    half_an_hour(&mut gateway);
    // Set back by a minute: that time has been seen. By a day: the last hours are forgotten.
    for period in [174, 175, 176] {
        assert_eq!(pass(&mut gateway, period, 10), [""; 0]);
    }
    let mut damaged = open(1, "{}");
    damaged.shared.set("sv1/f/s", b"svf1 or not", 0).unwrap();
    damaged.shared.set("sv1/f/t", b"?", 0).unwrap();
    damaged.shared.set("sv1/f/a", b"sva1", 0).unwrap();
    half_an_hour(&mut damaged);
    damaged.get("/a").at(1900).miss(fresh_for(60));
    assert_eq!(series(&mut damaged, "hit-rate", 1900)["usual"]["value"], json!(0.9));
}

const POOL: &str = r#"{"foresight":{"anomalies":false,"forecast":true},"pools":[{"name":"api"}],"defaults":{"admission":{"pool":"api"}}}"#;

#[test]
fn what_a_pool_is_asked_for_is_kept_by_day_and_its_last_day_is_foretold() {
    let mut gateway = open(2, POOL);
    let started = moment(0).as_secs() / 10;
    for period in 0..9 * 8640 {
        let (day, of_day) = ((started + period) / 8640 - started / 8640, (started + period) % 8640);
        let worker = &mut gateway.workers[period as usize % 2];
        let peak = if (4000..4600).contains(&of_day) { 300 + 10 * day } else { 50 };
        worker.stats.add_for_rule(0, ("pool_requests", "went"), peak);
        if day == 2 && (6000..6010).contains(&of_day) {
            worker.stats.add_for_rule(0, ("pool_requests", "waited"), 950);
            worker.stats.add_for_rule(0, ("pool_requests", "full"), 400);
        }
        gateway.exports();
        for worker in 0..2 {
            let mut moment =
                Moment { now: moment(period * 10_000 + worker as u64), host: &mut gateway.shared };
            gateway.workers[worker].keep_history(&mut moment);
        }
    }
    let told = ask(&mut gateway, "forecast", 9 * 86_400);
    let pool = &told["pools"][0];
    assert_eq!((&told["watched"], &pool["name"]), (&json!(true), &json!("api")));
    assert_eq!(
        (&pool["capacity"]["per_second"], &pool["capacity"]["too_much"]),
        (&json!(100.0), &json!(80.0))
    );
    assert_eq!((&pool["trend"]["per_day"], &pool["trend"]["weekly"]), (&json!(1.0), &json!(false)));
    let last = pool["peaks"].as_array().unwrap().last().unwrap()["per_second"].as_f64().unwrap();
    assert_eq!(pool["reached"]["days"], json!((80.0 - last).ceil() as u64), "{pool}");
    assert_eq!(told["budgets"], json!([]));
    let report = ask(&mut gateway, "report", 9 * 86_400);
    assert_eq!(report["forecast"]["pools"], told["pools"]);
}

#[test]
fn what_is_not_kept_is_not_foretold() {
    let mut gateway = open(1, r#"{"pools":[{"name":"api"}]}"#);
    pass(&mut gateway, 1, 50);
    let told = ask(&mut gateway, "forecast", 20);
    assert_eq!(told["watched"], json!(false));
    let pool = json!({ "name": "api", "since_ms": null, "capacity": null, "peaks": [], "reached": null, "trend": null });
    assert_eq!(told["pools"], json!([pool]));
}
