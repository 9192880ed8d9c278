//! What operators are told of the cache, and what they have it do.

use selvage_engine::cache::Moment;
use selvage_engine::insight::held::{AdapterUsage, Held};
use selvage_engine::purge::admin_auth::AdminAuth;
use selvage_engine::remote::writes::{self, IN_A_ROW, Reason, Sort, State, Writes};
use serde_json::{Value, json};
use std::time::Duration;

use crate::gateway::{Gateway, fresh_for, moment, origin, unreachable};

fn open(count: usize, config: &str) -> Gateway {
    let mut gateway = Gateway::of_workers(count, config);
    gateway.workers.iter_mut().for_each(|worker| worker.set_admin_auth(AdminAuth::Open));
    gateway
}

#[track_caller]
fn ask(gateway: &mut Gateway, endpoint: &str, at: u64) -> Value {
    asked(gateway, endpoint, at, 200)
}

#[track_caller]
fn asked(gateway: &mut Gateway, endpoint: &str, at: u64, status: u16) -> Value {
    gateway.exports();
    let answer = gateway.get(&format!("/.selvage/{endpoint}")).at(at).answered().status(status);
    let told: Value = serde_json::from_slice(answer.bytes()).unwrap();
    assert_eq!(told["version"], 1, "{endpoint}: {told}");
    told
}

fn optimize(gateway: &mut Gateway, at: u64, body: &Value, status: u16) -> Value {
    let answer = gateway.post("/.selvage/optimize").at(at).chunk(body.to_string()).answered().status(status);
    serde_json::from_slice(answer.bytes()).unwrap()
}

fn codes(told: &Value, list: &str) -> Vec<String> {
    let list = told[list].as_array().unwrap();
    list.iter().map(|one| one["code"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_report_is_of_all_workers_together() {
    let mut gateway = open(2, "{}");
    gateway.get("/a").at(0).miss(fresh_for(60).body("12345"));
    gateway.get("/a").at(1).hit();
    gateway.get("/a").worker(1).at(1).hit();
    gateway.get("/a").worker(1).at(1).hit();
    gateway.post("/b").at(2).forwarded(origin(200));
    let report = ask(&mut gateway, "report", 3);
    let outcomes =
        json!({ "hit": 3, "stale": 0, "collapsed": 0, "validated": 0, "miss": 1, "bypass": 1, "refused": 0 });
    assert_eq!(report["outcomes"], outcomes);
    assert_eq!((&report["requests"], &report["hit_rate"]), (&json!(5), &json!(0.6)));
    assert_eq!(report["efficiency"], json!(0.75));
    assert_eq!(report["bytes"]["from_stores"], json!(15));
    assert_eq!(report["remote"]["enabled"], json!(false));
    assert_eq!(report["remote"]["breaker"], json!("closed"));
    let stats = ask(&mut gateway, "stats", 3);
    assert_eq!(stats["counters"]["requests.hit.worker"], json!(2));
    assert_eq!(stats["counters"]["requests.hit.node"], json!(1));
    assert_eq!(stats["gauges"]["origin_state.open"], json!(0));
}

#[test]
fn the_busiest_keys_are_in_the_report() {
    let mut gateway = open(1, "{}");
    gateway.get("/hot").at(0).miss(fresh_for(600));
    for n in 0..1600 {
        gateway.get("/hot").at(1).hit();
        if n % 4 == 0 {
            gateway.get(&format!("/cold/{n}")).at(1).miss(fresh_for(600));
        }
    }
    let report = ask(&mut gateway, "report", 2);
    let top = report["top"].as_array().unwrap();
    assert!(top.len() <= 20);
    assert_eq!(top[0]["key"], "https://example.com/hot");
    let requests = top[0]["requests"].as_u64().unwrap();
    assert!((1200..=2000).contains(&requests), "{requests}");
}

#[test]
fn a_point_of_the_history_is_written_by_one_worker_and_read_by_all() {
    let mut gateway = open(2, "{}");
    let keep = |gateway: &mut Gateway, worker: usize, second: u64| {
        gateway.exports();
        let mut moment = Moment { now: moment(second * 1000), host: &mut gateway.shared };
        gateway.workers[worker].keep_history(&mut moment);
    };
    keep(&mut gateway, 0, 0);
    gateway.get("/a").at(1).miss(fresh_for(3600));
    gateway.get("/a").at(2).hit();
    gateway.get("/b").at(2).forwarded(unreachable());
    let second = |gateway: &mut Gateway| {
        keep(gateway, 1, 10);
        keep(gateway, 0, 11);
        keep(gateway, 1, 19);
    };
    second(&mut gateway);
    let points = |gateway: &mut Gateway, at| {
        let report = ask(gateway, "report", at);
        assert_eq!(report["history"]["resolution_ms"], 10_000);
        report["history"]["points"].as_array().unwrap().clone()
    };
    let at_ms = moment(10_000).as_millis();
    let point = json!({ "at_ms": at_ms, "requests": 3, "hits": 1, "origin": 2, "errors": 0 });
    assert_eq!(points(&mut gateway, 12), [point]);
    for n in 2..100 {
        gateway.get("/a").at(n * 10).hit();
        keep(&mut gateway, (n % 2) as usize, n * 10);
    }
    let all = points(&mut gateway, 1000);
    assert_eq!(all.len(), 60);
    assert_eq!(all[59]["at_ms"], json!(moment(990_000).as_millis()));
    assert!(all.iter().all(|point| point["hits"] == 1), "{all:?}");
    // A clock that is set back begins anew.
    keep(&mut gateway, 0, 500);
    keep(&mut gateway, 1, 510);
    assert_eq!(points(&mut gateway, 510).len(), 1);
}

#[test]
fn health_says_what_is_wrong() {
    let mut gateway = open(1, "{}");
    let healthy = ask(&mut gateway, "health", 0);
    assert_eq!((&healthy["status"], &healthy["reasons"]), (&json!("ok"), &json!([])));
    gateway.shared.metrics.insert(("origin_state", "open"), 1);
    let told = ask(&mut gateway, "health", 0);
    assert_eq!(
        (&told["status"], codes(&told, "reasons")),
        (&json!("degraded"), vec!["origin-open".to_owned()])
    );
    gateway.workers[0].note_held(AdapterUsage {
        at: moment(0),
        waiters: Held { count: 1, oldest: Duration::from_secs(60) },
        ..AdapterUsage::default()
    });
    assert_eq!(codes(&ask(&mut gateway, "health", 0), "reasons"), ["origin-open", "leak"]);

    let mut gateway = open(1, r#"{"remote":{"enabled":true}}"#);
    gateway.shared.metrics.insert(("remote_state", "not-ready"), 1);
    assert_eq!(codes(&ask(&mut gateway, "health", 0), "reasons"), ["remote-not-ready"]);
    gateway.shared.metrics.insert(("remote_state", "not-ready"), 0);
    assert_eq!(ask(&mut gateway, "health", 0)["status"], "ok");
    gateway.shared.metrics.insert(("breaker_state", "open"), 2);
    assert_eq!(codes(&ask(&mut gateway, "health", 0), "reasons"), ["remote-open"]);

    let mut gateway = open(1, r#"{"remote":{"enabled":true}}"#);
    let place = writes::place(&gateway.workers[0].policy().remote);
    let find = |gateway: &mut Gateway, found| {
        for n in 0..IN_A_ROW {
            let found = (Sort::Entries, found);
            Writes::default().note(found, 0, &mut gateway.shared, &place, moment(u64::from(n)));
        }
    };
    find(&mut gateway, State::Refusing(Reason::Oom));
    let told = ask(&mut gateway, "health", 0);
    assert_eq!(codes(&told, "reasons"), ["remote-writes-refused"]);
    assert!(told["reasons"][0]["text"].as_str().is_some_and(|text| text.contains("OOM")), "{told}");
    let remote = ask(&mut gateway, "report", 0)["remote"].clone();
    assert_eq!((&remote["writes"], &remote["refused_for"]), (&json!("refusing"), &json!("oom")));

    let mut gateway = open(1, r#"{"worker":{"bytes":0},"node":{"bytes":0}}"#);
    let told = asked(&mut gateway, "health", 0, 503);
    assert_eq!((&told["status"], codes(&told, "reasons")), (&json!("failing"), vec!["no-store".to_owned()]));
}

#[test]
fn recommendations_come_with_figures() {
    let mut gateway = open(1, r#"{"defaults":{"stale":{"disconnected":"0s"}}}"#);
    assert_eq!(ask(&mut gateway, "recommendations", 0)["recommendations"], json!([]));
    let page = || fresh_for(1).header("etag", "\"1\"");
    gateway.get("/a").at(0).miss(page());
    for n in 1..=110 {
        gateway.get("/a").at(n * 2).validates(origin(304).header("cache-control", "max-age=1"));
    }
    // Of so many, 64 are counted, whichever they are.
    for n in 0..64 * 16 * 2 {
        let answer = origin(200).header("cache-control", "max-age=9");
        gateway.get(&format!("/search?session={n}")).at(300).miss(answer);
    }
    let told = ask(&mut gateway, "recommendations", 300);
    let list = told["recommendations"].as_array().unwrap();
    let wide = list.iter().find(|one| one["code"] == "key-too-wide").expect("the key is too wide");
    assert_eq!(wide["figures"]["path"], "https://example.com/search");
    assert!(wide["change"].as_str().unwrap().contains("except"));
}

#[test]
fn a_rule_that_is_never_cached_is_cheaper_without_the_filter() {
    let rules = r#"{"rules":[{"name":"account","match":{"paths":["/account"]},"bypass":true},
        {"name":"live","match":{"paths":["/live/*"]}},{"name":"pages","match":{"paths":["/pages/*"]}},
        {"name":"forms","match":{"paths":["/forms"],"methods":["POST"]},"bypass":true}]}"#;
    let mut gateway = open(1, rules);
    let uncached = |gateway: &mut Gateway, at: u64| {
        for n in 0..1000 {
            let no_store = || origin(200).header("cache-control", "no-store");
            gateway.get("/account").at(at).forwarded(origin(200));
            gateway.post("/forms").at(at).forwarded(origin(200));
            gateway.get(&format!("/live/{}", n % 3)).at(at).miss(no_store());
            gateway.get(&format!("/live/{}", n % 3 + 3)).at(at).miss(no_store());
            // Each is asked for once only, but stored: the store may be the better for it later.
            gateway.get(&format!("/pages/{at}/{n}")).at(at).miss(fresh_for(9));
        }
    };
    let idle = |told: &Value| -> Vec<String> {
        let list = told["recommendations"].as_array().unwrap().iter();
        let idle = list.filter(|one| one["code"] == "never-cached");
        idle.map(|one| one["figures"]["rule"].as_str().unwrap().to_owned()).collect()
    };
    uncached(&mut gateway, 0);
    assert_eq!(idle(&ask(&mut gateway, "recommendations", 1)), ["account"], "the origin may only be ill");
    uncached(&mut gateway, 700);
    assert_eq!(idle(&ask(&mut gateway, "recommendations", 701)), ["account", "live"]);
    gateway.get("/live/stored").at(702).miss(fresh_for(60));
    for _ in 0..400 {
        gateway.get("/live/stored").at(703).hit();
    }
    assert_eq!(idle(&ask(&mut gateway, "recommendations", 704)), ["account"]);
}

#[test]
fn resources_are_of_this_worker_and_old_ones_are_leaks() {
    let mut gateway = open(1, "{}");
    let flight = gateway.get("/slow").at(0).leaves();
    let waiter = gateway.get("/slow").at(1).waits();
    let told = ask(&mut gateway, "resources", 3);
    assert_eq!(told["of"], "worker");
    assert_eq!(told["fills"], json!({ "alive": 1, "oldest_ms": 3000 }));
    assert_eq!(told["leaks"], json!([]));
    gateway.workers[0].note_held(AdapterUsage {
        at: moment(20_000),
        heap_bytes: 5 << 20,
        contexts: Held { count: 3, oldest: Duration::ZERO },
        streams: Held { count: 2, oldest: Duration::from_secs(20) },
        waiters: Held { count: 1, oldest: Duration::from_secs(19) },
        ..AdapterUsage::default()
    });
    let told = ask(&mut gateway, "resources", 20);
    assert_eq!(told["contexts"], json!({ "alive": 3, "busy": 2, "oldest_ms": 20_000 }));
    assert_eq!(told["waiters"], json!({ "alive": 1, "oldest_ms": 19_000 }));
    assert_eq!(told["leaks"][0]["what"], "waiters");
    assert_eq!(told["heap_bytes"], json!(5 << 20));
    gateway.goes_away(flight, 21);
    gateway.goes_away(waiter, 21);
    assert_eq!(ask(&mut gateway, "resources", 22)["fills"]["alive"], 0);
}

#[test]
fn the_configuration_in_force_names_where_secrets_are_and_never_what_they_are() {
    let config = r#"{ "admin": { "token_env": "ADMIN" }, "remote": { "credentials_env": "REDIS", "secret_env": "SECRET" },
        "rules": [ { "name": "api", "match": { "paths": ["/api/*"] }, "ttl": { "max": "90s" } } ] }"#;
    let mut gateway = Gateway::with(config);
    gateway.workers[0]
        .set_admin_auth(AdminAuth::Token { name: "ADMIN".into(), token: b"much-of-a-secret"[..].into() });
    gateway.get("/.selvage/config").at(0).answered().status(401);
    let call = gateway.get("/.selvage/config").at(0).header("authorization", "Bearer much-of-a-secret");
    let answer = call.answered().status(200);
    let told: Value = serde_json::from_slice(answer.bytes()).unwrap();
    let config = &told["config"];
    assert_eq!(config["admin"]["token_env"], "ADMIN");
    assert_eq!(config["remote"]["credentials_env"], "REDIS");
    assert_eq!(config["remote"]["secret_env"], "SECRET");
    assert_eq!(config["rules"][0]["ttl"]["max"], "90s");
    assert_eq!(config["rules"][0]["match"], json!({ "paths": ["/api/*"] }));
    assert_eq!(config["defaults"]["coalesce"]["wait"], "5s");
    assert!(!told.to_string().contains("much-of-a-secret"));
}

#[test]
fn an_operator_has_the_cache_tidied_and_that_is_written_down() {
    let config = r#"{"defaults":{"origin_breaker":{"enabled":true,"least_calls":3},"stale":{"disconnected":"0s"},
        "coalesce":{"enabled":false}}}"#;
    let mut gateway = open(1, config);
    for n in 0..10 {
        gateway.get(&format!("/{n}")).at(0).miss(fresh_for(5));
    }
    for _ in 0..20 {
        gateway.get("/bad").at(1).forwarded(unreachable());
        if gateway.workers[0].origins_left_alone(moment(1000)) > 0 {
            break;
        }
    }
    gateway.get("/bad").at(1).answered().status(503);
    let wanted = json!({ "sweep": true, "shrink": true, "reset_breakers": true });
    let told = optimize(&mut gateway, 100_000, &wanted, 200);
    assert_eq!(told["version"], 1);
    assert_eq!(told["done"]["sweep"], json!({ "of": "worker", "dropped": 10 }));
    assert_eq!(told["done"]["reset_breakers"], json!({ "origins": 1, "remote": false }));
    assert!(told["done"]["shrink"]["bytes"].is_u64());
    gateway.get("/bad").at(100_000).forwarded(fresh_for(5));
    let note: Value = serde_json::from_str(gateway.shared.notes.last().unwrap()).unwrap();
    assert_eq!((&note["event"], &note["peer"]), (&json!("optimize"), &json!("192.0.2.1:5")));
    assert_eq!(note["done"]["sweep"]["dropped"], 10);
    for body in
        [json!({}), json!([]), json!({ "sweep": 1 }), json!({ "sweep": false }), json!({ "swep": true })]
    {
        assert_eq!(optimize(&mut gateway, 100_001, &body, 400)["path"], "body", "{body}");
    }
    assert_eq!(gateway.counted(0, "admin", "refused"), 5);
    gateway.get("/.selvage/optimize").at(100_002).answered().status(405);
}
