//! What the release module tells operators of: the sums over all workers, and the history that they share.

use selvage_host::Gateway;
use serde_json::Value;

use crate::{assert_hit, fresh};

const OPEN: &str = r#"{"admin":{"open":true,"hosts":["cache.test"]}}"#;

fn told(gateway: &Gateway, endpoint: &str, worker: usize) -> Value {
    let answer = gateway.get(&format!("/.selvage/{endpoint}")).send(worker);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    serde_json::from_str(&answer.text()).unwrap()
}

#[test]
fn any_worker_tells_the_sums_of_all() {
    let gateway = Gateway::with(OPEN).workers(3).origin(|_| fresh("a")).start();
    gateway.get("/a").send(0);
    for worker in 0..3 {
        for _ in 0..=worker {
            assert_hit(&gateway.get("/a").send(worker), "a");
        }
    }
    gateway.tick();
    for worker in 0..3 {
        let report = told(&gateway, "report", worker);
        assert_eq!(
            (&report["requests"], &report["outcomes"]["hit"]),
            (&7.into(), &6.into()),
            "worker {worker}"
        );
        assert_eq!(report["tiers"]["worker"]["entries"], 3);
        let counters = &told(&gateway, "stats", worker)["counters"];
        assert_eq!(counters["requests.hit.node"], 2);
        assert_eq!(counters["requests.hit.worker"], 4);
    }
    // What a worker has defined to read it is what it counts with.
    assert_hit(&gateway.get("/a").send(1), "a");
    gateway.tick();
    assert_eq!(gateway.metric("selvage.requests.hit.worker"), Some(5));
    assert_eq!(told(&gateway, "report", 2)["outcomes"]["hit"], 7);
}

#[test]
fn a_worker_that_is_gone_leaves_the_history_and_its_counts() {
    let gateway = Gateway::with(OPEN).workers(2).origin(|_| fresh("a")).start();
    gateway.tick();
    for _ in 0..3 {
        gateway.get("/a").send(0);
        gateway.tick();
        gateway.advance(10);
    }
    gateway.tick();
    gateway.kill_worker(0);
    let points = told(&gateway, "report", 1)["history"]["points"].as_array().unwrap().clone();
    assert_eq!(points.len(), 3, "{points:?}");
    let all = |name: &str| points.iter().map(|point| point[name].as_u64().unwrap()).sum::<u64>();
    assert_eq!((all("requests"), all("hits"), all("origin")), (3, 2, 1));
}

#[test]
fn what_is_held_for_a_waiting_stream_shows_and_grows_old() {
    let gateway = Gateway::with(OPEN).workers(1).origin(|_| fresh("a")).start();
    let streams = [0, 1].map(|_| gateway.get("/slow").open(0));
    for stream in &streams {
        stream.request_headers();
    }
    gateway.tick();
    gateway.advance(3);
    gateway.tick();
    let told = told(&gateway, "resources", 0);
    assert_eq!(told["waiters"]["alive"], 1, "{told}");
    assert_eq!(told["waiters"]["oldest_ms"], 3000);
    assert_eq!(told["fills"]["oldest_ms"], 3000);
    assert_eq!(told["contexts"]["oldest_ms"], 3000);
}
