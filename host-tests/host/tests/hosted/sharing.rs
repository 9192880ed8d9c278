//! What one worker does and the others see.

use selvage_host::{Gateway, Headers, OriginRequest, OriginResponse};

use crate::{assert_hit, fresh, gateway};

#[test]
fn a_response_stored_by_one_worker_is_served_by_all() {
    let gateway = gateway(|_| fresh("shared"));
    gateway.get("/a").send(0);
    gateway.run();
    assert_hit(&gateway.get("/a").send(1), "shared");
    assert_hit(&gateway.get("/a").send(0), "shared");
    assert_eq!(gateway.origin().fetches(), 1);
}

#[test]
fn an_invalidation_by_one_worker_reaches_the_other() {
    let gateway = gateway(|request| match request.method().as_str() {
        "POST" => OriginResponse::status(204),
        _ => fresh("old"),
    });
    gateway.get("/a").send(0);
    gateway.run();
    assert_hit(&gateway.get("/a").send(1), "old");
    gateway.post("/a").body("change").send(0);
    gateway.advance(1);
    gateway.tick();
    gateway.origin().next(fresh("new"));
    assert_eq!(gateway.get("/a").send(1).text(), "new");
    assert_hit(&gateway.get("/a").send(1), "new");
}

#[test]
fn a_failed_unsafe_request_invalidates_nothing() {
    let gateway = gateway(|request| match request.method().as_str() {
        "POST" => OriginResponse::status(500),
        _ => fresh("old"),
    });
    gateway.get("/a").send(0);
    gateway.post("/a").body("change").send(0);
    gateway.advance(1);
    gateway.tick();
    assert_hit(&gateway.get("/a").send(0), "old");
    assert_hit(&gateway.get("/a").send(1), "old");
}

#[test]
fn a_vm_that_dies_anywhere_in_an_update_leaves_the_store_right() {
    for call in ["proxy_set_shared_data", "proxy_get_shared_data"] {
        let mut deaths = 0;
        for step in 0..8 {
            let gateway = gateway(|_| fresh("a"));
            gateway.get("/other").send(0);
            gateway.worker(0).die_at(call, step);
            gateway.get("/a").send(0);
            gateway.worker(0).spare();
            if gateway.worker(0).is_dead() {
                deaths += 1;
                gateway.restart_worker(0);
            }
            for worker in [1, 0, 1] {
                let stream = gateway.get("/a").send(worker);
                if stream.is_paused() {
                    // The dead worker was to fetch it for all: nobody waits for longer than a rule's bound.
                    gateway.advance(5);
                    gateway.tick();
                }
                assert_eq!((stream.status(), stream.text().as_str()), (200, "a"), "{call} {step}");
            }
            assert_hit(&gateway.get("/a").send(1), "a");
        }
        assert!(deaths > 2, "{call}: {deaths} deaths");
    }
}

#[test]
fn a_restarted_worker_serves_what_the_node_kept() {
    let gateway = gateway(|_| fresh("kept"));
    gateway.get("/a").send(0);
    gateway.kill_worker(0);
    gateway.restart_worker(0);
    assert_hit(&gateway.get("/a").send(0), "kept");
    assert_eq!(gateway.origin().fetches(), 1);
}

#[test]
fn torn_shared_data_is_a_miss() {
    let gateway = gateway(|_| fresh("true"));
    gateway.get("/a").send(0);
    for key in gateway.shared_keys() {
        let mut torn = gateway.shared_data(&key).unwrap();
        torn.truncate(torn.len() / 2);
        torn.iter_mut().for_each(|byte| *byte ^= 0x5a);
        gateway.set_shared_data(&key, &torn);
    }
    let stream = gateway.get("/a").send(1);
    assert_eq!((stream.status(), stream.text().as_str()), (200, "true"));
}

#[test]
fn a_new_configuration_keeps_the_store_and_serves_on() {
    let gateway = gateway(|_| fresh("a"));
    gateway.get("/a").send(0);
    gateway.reconfigure(r#"{"name": "Edge"}"#).unwrap();
    let stream = gateway.get("/a").send(0);
    assert_eq!(stream.text(), "a");
    assert!(stream.header("cache-status").unwrap().starts_with("Edge"));
}

#[test]
fn a_slow_response_is_not_stored_over_an_invalidation_by_another_worker() {
    let gateway = gateway(|request| match request.method().as_str() {
        "POST" => OriginResponse::status(204),
        _ => fresh("new"),
    });
    let slow = gateway.get("/a").open(0);
    slow.request_headers();
    slow.respond_with_body(Headers::from([(":status", "200"), ("cache-control", "max-age=60")]));
    slow.body("o");
    gateway.advance(1);
    gateway.post("/a").body("change").send(1);
    // The call that wakes the first worker is still waiting when the last byte comes.
    slow.last_body("ld");
    assert_eq!(slow.text(), "old");
    for worker in [0, 1] {
        let next = gateway.get("/a").header("cache-control", "only-if-cached").send(worker);
        assert_eq!(next.status(), 504, "worker {worker}: {}", next.text());
    }
    // What is asked for in the millisecond of an invalidation is not stored either.
    gateway.advance(1);
    assert_eq!(gateway.get("/a").send(0).text(), "new");
    assert_hit(&gateway.get("/a").send(1), "new");
}

#[test]
fn a_slow_variant_is_not_stored_over_an_invalidation_by_another_worker() {
    let gateway = gateway(|request| match request.method().as_str() {
        "POST" => OriginResponse::status(204),
        _ => fresh("old").header("vary", "x-a"),
    });
    for worker in [0, 1] {
        gateway.get("/a").header("x-a", "known").send(worker);
    }
    let slow = gateway.get("/a").header("x-a", "slow").open(0);
    slow.request_headers();
    let head = [(":status", "200"), ("cache-control", "max-age=60"), ("vary", "x-a")];
    slow.respond_with_body(Headers::from(head));
    gateway.advance(1);
    gateway.post("/a").body("change").send(1);
    slow.last_body("old");
    for value in ["known", "slow"] {
        for worker in [0, 1] {
            let call = gateway.get("/a").header("x-a", value).header("cache-control", "only-if-cached");
            assert_eq!(call.send(worker).status(), 504, "{value}, worker {worker}");
        }
    }
}

#[test]
fn without_a_node_store_an_invalidation_still_reaches_the_other_worker() {
    let origin = |request: &OriginRequest| match request.method().as_str() {
        "POST" => OriginResponse::status(204),
        _ => fresh("old"),
    };
    let gateway = Gateway::with(r#"{"node": {"bytes": 0}}"#).workers(2).origin(origin).start();
    for worker in [0, 1] {
        gateway.get("/a").send(worker);
        assert_hit(&gateway.get("/a").send(worker), "old");
    }
    assert_eq!(gateway.origin().fetches(), 2, "each worker has its own");
    gateway.post("/a").body("change").send(0);
    gateway.advance(1);
    gateway.tick();
    gateway.origin().next(fresh("new"));
    assert_eq!(gateway.get("/a").send(1).text(), "new");
    assert_hit(&gateway.get("/a").send(1), "new");
}
