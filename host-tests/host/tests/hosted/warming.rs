//! Warming in the release module: by calls from the root context at the tick, for all workers, once.

use selvage_host::{Callout, Gateway, Headers, OriginResponse};

use crate::{assert_hit, fresh};

const LIST: &str = r#"{"admin":{"open":true,"hosts":["cache.test"]},"defaults":{"refresh":{"cluster":"origin"}},
    "warm":{"urls":["http://cache.test/a","http://cache.test/b","http://cache.test/c"],"per_second":20}}"#;

fn gateway(workers: usize) -> Gateway {
    Gateway::with(LIST).workers(workers).cluster("origin").origin(|_| fresh("client's")).start()
}

fn answer(call: Callout) {
    assert_eq!((call.cluster(), call.headers().get("accept-encoding").as_deref()), ("origin", Some("gzip")));
    call.respond(200, Headers::new().with("cache-control", "max-age=60"), "warm");
}

/// All calls that are made within two seconds are answered. Returns what they asked for.
fn calls(gateway: &Gateway) -> Vec<String> {
    let mut paths = Vec::new();
    for _ in 0..3 {
        gateway.tick();
        for call in gateway.callouts() {
            paths.push(call.path());
            answer(call);
        }
        gateway.advance(1);
    }
    paths
}

#[test]
fn a_list_is_called_for_once_whatever_the_number_of_workers_and_configurations() {
    let gateway = gateway(3);
    assert_eq!(calls(&gateway), ["/a", "/b", "/c"]);
    for worker in 0..3 {
        for path in ["/a", "/b", "/c"] {
            assert_hit(&gateway.get(path).send(worker), "warm");
        }
    }
    assert_eq!(gateway.origin().fetches(), 0);
    let notes =
        gateway.logs().into_iter().filter(|line| line.message.contains(r#""event":"warmed""#)).count();
    assert_eq!(notes, 1);
    assert_eq!(gateway.metric("selvage.warm.stored"), Some(3));
    assert_eq!(gateway.metric("selvage.refresh.sent"), None);
    let told = gateway.get("/.selvage/warm").send(1);
    assert_eq!(told.status(), 200);
    assert!(told.text().contains(r#""stored":3"#), "{}", told.text());
    gateway.reconfigure(LIST).unwrap();
    assert!(calls(&gateway).is_empty(), "a new configuration has the same list");
}

#[test]
fn another_worker_goes_on_with_the_list_when_the_first_dies() {
    let gateway = gateway(2);
    gateway.tick();
    let mut under_way = gateway.callouts();
    assert_eq!(under_way.len(), 3);
    answer(under_way.remove(0));
    drop(under_way);
    gateway.kill_worker(0);
    gateway.advance(9);
    let mut paths = calls(&gateway);
    paths.sort_unstable();
    assert_eq!(paths, ["/b", "/c"]);
}

const PREDICT: &str = r#"{"admin":{"open":true,"hosts":["cache.test"]},"defaults":{"refresh":{"cluster":"origin"}},
    "warm":{"predict":true},"foresight":{"anomalies":false}}"#;

/// Minutes in which both workers are asked for a page every now and then. Gives the minutes in which it was renewed.
fn asked_for(gateway: &Gateway, minutes: std::ops::Range<usize>) -> Vec<usize> {
    let mut renewed = Vec::new();
    for minute in minutes {
        if minute.is_multiple_of(3) {
            assert_hit(&gateway.get("/page").send(minute / 3 % 2), "client's");
        }
        // As often as in an Envoy that is idle.
        for _ in 0..6 {
            gateway.advance(10);
            gateway.tick();
            gateway.tick();
        }
        for call in gateway.callouts() {
            renewed.push(minute);
            call.respond(200, Headers::new().with("cache-control", "max-age=86400"), "client's");
        }
    }
    renewed
}

#[test]
fn what_earlier_days_say_will_be_asked_for_is_renewed_by_one_worker_before_it_expires() {
    let lasts = "max-age=176400";
    let origin = move |_: &_| OriginResponse::ok("client's").header("cache-control", lasts);
    let gateway = Gateway::with(PREDICT).workers(2).cluster("origin").origin(origin).start();
    gateway.get("/page").send(0);
    // 49 hours; a new configuration in between forgets nothing.
    let mut renewed = asked_for(&gateway, 0..1440);
    gateway.reconfigure(&PREDICT.replace("true}", "true,\"in_flight\":2}")).unwrap();
    renewed.extend(asked_for(&gateway, 1440..2938));
    assert_eq!(renewed.len(), 1, "{renewed:?}");
    assert!((2934..=2938).contains(&renewed[0]), "{renewed:?}");
    assert_eq!(gateway.origin().fetches(), 1);
    let told = gateway.get("/.selvage/forecast").send(0);
    let told: serde_json::Value = serde_json::from_str(&told.text()).unwrap();
    assert_eq!((&told["warm"]["sent"], &told["warm"]["renewed"]), (&1.into(), &1.into()), "{told}");
}
