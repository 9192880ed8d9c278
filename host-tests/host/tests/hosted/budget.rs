//! What a request costs, and what a store may hold.

use selvage_host::{Gateway, OriginResponse};

use crate::{assert_hit, fresh, gateway};

#[test]
fn a_worker_store_hit_makes_at_most_three_hostcalls() {
    let gateway = gateway(|_| fresh("a").header("content-type", "text/html"));
    gateway.get("/a").send(0);
    gateway.get("/a").send(0);
    let hit = gateway.get("/a").send(0);
    assert_hit(&hit, "a");
    assert!(hit.hostcalls().len() <= 3, "{:?}", hit.trace());
}

#[test]
fn a_compressed_response_costs_a_client_with_gzip_no_more_hostcalls() {
    let gateway = gateway(|_| fresh(&"text ".repeat(1000)).header("content-type", "text/html"));
    gateway.get("/a").send(0);
    for _ in 0..2 {
        let hit = gateway.get("/a").header("accept-encoding", "gzip").send(0);
        assert_eq!(hit.header("content-encoding").as_deref(), Some("gzip"), "{:?}", hit.trace());
        assert!(hit.hostcalls().len() <= 3, "{:?}", hit.trace());
        assert_hit(&gateway.get("/a").send(0), &"text ".repeat(1000));
    }
}

#[test]
fn a_hit_without_a_type_sheds_the_hosts_own_type_for_one_more_hostcall() {
    let gateway = gateway(|_| fresh("a"));
    gateway.get("/a").send(0);
    let hit = gateway.get("/a").send(0);
    assert_hit(&hit, "a");
    assert_eq!(hit.header("content-type"), None);
    assert!(hit.hostcalls().len() <= 4, "{:?}", hit.trace());
}

#[test]
fn no_request_asks_for_what_its_phase_does_not_offer() {
    let gateway = gateway(|_| fresh("a").header("etag", "\"1\""));
    gateway.get("/a").send(0);
    gateway.head("/a").send(1);
    gateway.post("/a").body("x").send(0);
    gateway.get("/empty").send(0);
    gateway.origin().next(OriginResponse::reset());
    gateway.get("/broken").send(1);
    assert_eq!(gateway.unavailable_reads(), 0);
}

#[test]
fn what_happened_is_counted_for_the_operator_at_each_tick() {
    let gateway = gateway(|_| fresh("a"));
    gateway.get("/a").send(0);
    for worker in [0, 1, 0] {
        assert_hit(&gateway.get("/a").send(worker), "a");
    }
    // Who says what all workers know alike is settled by then.
    for _ in 0..3 {
        gateway.advance(1);
        gateway.tick();
    }
    let metric = |name: &str| gateway.metric(&format!("selvage.{name}")).unwrap_or_default();
    let requests = ["miss.origin", "hit.worker", "hit.node"].map(|word| metric(&format!("requests.{word}")));
    assert_eq!(requests, [1, 2, 1], "{:?}", gateway.metrics());
    let served = ["origin", "worker", "node"].map(|tier| metric(&format!("served_bytes.{tier}")));
    assert_eq!(served, [1, 2, 1]);
    assert_eq!((metric("entries.worker"), metric("bytes_limit.worker")), (2, 2 * (64 << 20)));
    assert!(metric("bytes.worker") > 0 && metric("bytes.node") > 0 && metric("stored_bytes.node") > 0);
    assert_eq!(gateway.samples("selvage.duration_us.store").len(), 1);
    assert_eq!((metric("live.contexts"), metric("live.fills"), metric("live.streams")), (0, 0, 0));
    assert!(
        metric("heap_bytes.used") >= 1 << 20 && metric("heap_bytes.budget") > metric("bytes_limit.worker")
    );
}

#[test]
fn the_clock_is_read_for_few_requests() {
    let gateway = gateway(|_| fresh("a"));
    for _ in 0..640 {
        gateway.get("/a").send(0);
    }
    gateway.advance(1);
    gateway.tick();
    for step in ["key", "lookup"] {
        assert_eq!(gateway.samples(&format!("selvage.duration_us.{step}")).len(), 10, "{step}");
    }
}

#[test]
fn what_is_under_way_is_shown_and_goes_away_with_it() {
    let gateway = gateway(|_| fresh("a"));
    let live = || {
        gateway.advance(1);
        gateway.tick();
        let live = |what: &str| gateway.metric(&format!("selvage.live.{what}")).unwrap_or_default();
        ["contexts", "streams", "fills", "waiters"].map(live)
    };
    let streams = [gateway.get("/a").open(0), gateway.get("/a").open(0)];
    streams.iter().for_each(|stream| {
        stream.request_headers();
    });
    assert_eq!(live(), [2, 2, 1, 1]);
    streams.iter().for_each(|stream| {
        stream.disconnect();
    });
    assert_eq!(live(), [0, 0, 0, 0]);
}

#[test]
fn both_stores_stay_within_their_budgets() {
    let limits = r#"{"node": {"bytes": "1MiB", "buckets": 256}, "worker": {"bytes": "1MiB"}}"#;
    let gateway = Gateway::with(limits).workers(2).origin(|_| fresh(&"x".repeat(2000))).start();
    for index in 0..3000 {
        gateway.get(&format!("/{index}")).send(index % 2);
        // The index of the node store lies beside its budget; its size follows from the number of buckets.
        let bytes = gateway.shared_bytes();
        assert!(bytes <= (1 << 20) + 256 * INDEX_BYTES, "{bytes} bytes of shared data after {index} objects");
    }
    let memory = gateway.worker(0).memory_bytes();
    assert!(memory < 16 << 20, "{memory} bytes of linear memory");
    assert_hit(&gateway.get("/2999").send(0), &"x".repeat(2000));
}

/// One bucket's index with its key, and the keys of its eight ways.
const INDEX_BYTES: usize = 350 + 8 * 96;
