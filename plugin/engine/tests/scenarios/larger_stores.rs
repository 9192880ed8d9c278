//! Of how much use a larger store would be (`foresight.stores`).

use selvage_engine::cache::Moment;
use selvage_engine::purge::admin_auth::AdminAuth;
use serde_json::{Value, json};

use crate::gateway::{Gateway, fresh_for, moment, origin};

/// Workers with stores of about a hundred responses of ten thousand bytes each.
fn start(count: usize, node: &str) -> Gateway {
    let config = format!(
        r#"{{"foresight":{{"anomalies":false,"stores":true}},"worker":{{"bytes":"1MiB"}},"node":{{"bytes":{node}}}}}"#
    );
    with(count, &config)
}

fn with(count: usize, config: &str) -> Gateway {
    let mut gateway = Gateway::of_workers(count, config);
    gateway.workers.iter_mut().for_each(|worker| worker.set_admin_auth(AdminAuth::Open));
    gateway
}

fn tick(gateway: &mut Gateway, at: u64) {
    gateway.exports();
    for worker in &mut gateway.workers {
        let mut moment = Moment { now: moment(at * 1000), host: &mut gateway.shared };
        worker.keep_history(&mut moment);
    }
}

fn body(nth: usize) -> Vec<u8> {
    (0..10_000_usize).map(|at| (at.wrapping_mul(31) ^ nth.wrapping_mul(17) ^ (at >> 5)) as u8).collect()
}

/// So many paths, one after the other, again and again; each is fresh for so long.
fn rounds(gateway: &mut Gateway, paths: usize, rounds: usize, seconds: u64) -> u64 {
    let workers = gateway.workers.len();
    let mut at = 0;
    for nth in 0..paths * rounds {
        at = nth as u64 / 10;
        let call = gateway.get(&format!("/{}", nth % paths)).worker(nth % workers).at(at);
        let (sent, gateway) = call.sent_by();
        sent.or_answers(gateway, at, fresh_for(seconds).body(body(nth % paths)));
        tick(gateway, at);
    }
    at + 10
}

fn told(gateway: &mut Gateway, at: u64) -> Value {
    tick(gateway, at);
    let answer = gateway.get("/.selvage/forecast").at(at).answered().status(200);
    let told: Value = serde_json::from_slice(answer.bytes()).unwrap();
    told["stores"].clone()
}

fn points(told: &Value) -> Vec<f64> {
    told["steps"].as_array().unwrap().iter().map(|step| step["points"].as_f64().unwrap()).collect()
}

#[test]
fn a_store_that_holds_two_thirds_of_what_goes_round_is_told_to_be_half_as_large_again() {
    let mut gateway = start(1, "0");
    let end = rounds(&mut gateway, 135, 20, 100_000);
    let told = told(&mut gateway, end);
    assert_eq!(
        (&told["watched"], &told["of"], &told["bytes"]),
        (&json!(true), &json!("worker"), &json!(1 << 20))
    );
    let points = points(&told);
    assert!(points[0] < points[2] && points[2] > 20.0, "{told}");
    let missed = 1.0 - told["hit_rate"].as_f64().unwrap();
    assert!(points[3] / 100.0 <= missed, "no more than was missed: {told}");
    assert!(told["enough"]["bytes"].as_u64().unwrap() <= 524_288, "{told}");
}

#[test]
fn what_is_asked_for_once_or_fits_makes_no_larger_store_worth_while() {
    for (paths, times) in [(1500, 1), (60, 25)] {
        let mut gateway = start(1, "0");
        let end = rounds(&mut gateway, paths, times, 100_000);
        let told = told(&mut gateway, end);
        assert_eq!((points(&told), &told["enough"]), (vec![0.0; 4], &Value::Null), "{told}");
    }
}

#[test]
fn what_would_have_expired_in_a_larger_store_too_does_not_count() {
    let mut gateway = start(1, "0");
    // It takes 13 seconds until each comes again.
    let end = rounds(&mut gateway, 135, 20, 5);
    assert_eq!(points(&told(&mut gateway, end)), [0.0; 4]);
}

#[test]
fn few_requests_say_nothing_and_who_does_not_want_it_keeps_nothing() {
    let mut gateway = start(1, "0");
    let end = rounds(&mut gateway, 135, 3, 100_000);
    let few = told(&mut gateway, end);
    assert_eq!((&few["steps"], &few["hit_rate"], &few["enough"]), (&json!([]), &Value::Null, &Value::Null));
    let mut gateway =
        with(1, r#"{"foresight":{"anomalies":false},"worker":{"bytes":"1MiB"},"node":{"bytes":0}}"#);
    let end = rounds(&mut gateway, 135, 10, 100_000);
    assert_eq!(told(&mut gateway, end), json!({ "watched": false }));
    assert_eq!(gateway.shared.metrics.iter().filter(|((family, _), _)| *family == "ghost").count(), 0);
}

#[test]
fn of_the_nodes_store_all_workers_know_what_left_whoever_put_it_out() {
    let mut gateway = start(3, r#""4MiB""#);
    // The workers' own stores hold a hundred, the node's some three hundred and fifty.
    let end = rounds(&mut gateway, 460, 10, 100_000);
    let told = told(&mut gateway, end);
    assert_eq!(told["of"], "node");
    let points = points(&told);
    assert!(points[3] > 10.0, "{told}");
    assert!(gateway.shared.bytes() < (4 << 20) + 700_000, "{}", gateway.shared.bytes());
}

#[test]
fn what_is_damaged_begins_anew_and_what_only_watches_or_is_not_stored_does_not_count() {
    let mut gateway = start(1, r#""1MiB""#);
    rounds(&mut gateway, 135, 10, 100_000);
    gateway.shared.spoil("sv1/f/g/");
    let told = told(&mut gateway, 10_000);
    assert_eq!(told["steps"], json!([]));
    let mut gateway = start(1, "0");
    for nth in 0..3000 {
        gateway
            .get(&format!("/{}", nth % 135))
            .at(nth / 10)
            .miss(origin(200).header("cache-control", "no-store").body("x"));
        tick(&mut gateway, nth / 10);
    }
    let told = self::told(&mut gateway, 400);
    assert_eq!(points(&told), [0.0; 4]);
}

#[test]
fn what_was_purged_or_made_invalid_since_makes_no_larger_store_worth_while() {
    let known = |gateway: &mut Gateway| {
        gateway.exports();
        let ghosts = gateway.shared.metrics.iter().filter(|((family, _), _)| *family == "ghost");
        ghosts.map(|(_, count)| *count).sum::<u64>()
    };
    for (change, counts) in [("none", true), ("all", false), ("soft", false), ("tag", false), ("post", false)]
    {
        let mut gateway = start(1, "0");
        let page = |nth| fresh_for(100_000).header("cache-tag", "page").body(body(nth));
        let once = |gateway: &mut Gateway, from: u64| {
            for nth in 0..135 {
                let at = from + nth as u64;
                let (sent, gateway) = gateway.get(&format!("/{nth}")).at(at).sent_by();
                sent.or_answers(gateway, at, page(nth));
                tick(gateway, at);
            }
        };
        (0..3).for_each(|round| once(&mut gateway, round * 200));
        let before = known(&mut gateway);
        assert!(before > 0);
        let purge = match change {
            "all" => r#"{"all":true}"#,
            "soft" => r#"{"all":true,"soft":true}"#,
            "tag" => r#"{"tags":["page"]}"#,
            _ => "",
        };
        match change {
            "none" => {}
            "post" => {
                for nth in 0..135 {
                    gateway.post(&format!("/{nth}")).at(700).forwarded(origin(204));
                }
            }
            _ => _ = gateway.post("/.selvage/purge").at(700).chunk(purge).answered().status(200),
        }
        once(&mut gateway, 800);
        assert_eq!(known(&mut gateway) > before, counts, "{change}");
    }
}
