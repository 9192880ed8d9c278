//! What a request costs, and what a store may hold.

use selvage_host::{Gateway, OriginRequest, OriginResponse, Stream};

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

/// The hostcalls of a stream once its request has gone on.
fn of_the_response(stream: &Stream) -> Vec<&'static str> {
    let trace = stream.trace();
    let after = trace.iter().skip_while(|call| call.callback != "proxy_on_response_headers");
    after.flat_map(|call| call.hostcalls.clone()).collect()
}

#[test]
fn of_a_response_that_passes_nothing_is_read() {
    let rules = r#"{"rules":[{"name":"out","match":{"paths":["/out"]},"bypass":true},
        {"name":"silent","match":{"paths":["/silent"]},"bypass":true,"cache_status":"off"}]}"#;
    let no_store = |_: &OriginRequest| {
        OriginResponse::ok("a").header("cache-control", "no-store").header("surrogate-key", "a")
    };
    let gateway = Gateway::with(rules).workers(1).origin(no_store).start();
    let read = gateway.get("/a").send(0);
    assert!(of_the_response(&read).contains(&"proxy_get_header_map_pairs"), "{:?}", read.trace());
    for (path, tagged, calls) in [("/out", true, 1), ("/silent", true, 0), ("/a", false, 5)] {
        let passed = gateway.get(path).send(0);
        let made = of_the_response(&passed);
        let edits = ["proxy_add_header_map_value", "proxy_remove_header_map_value"];
        assert!(made.iter().all(|call| edits.contains(call)), "{path}: {made:?}");
        assert_eq!((made.len(), passed.text()), (calls, "a".to_owned()), "{path}");
        assert_eq!(passed.header("surrogate-key").is_some(), tagged, "{path}");
        assert_eq!(passed.header("cache-status").is_some(), path != "/silent", "{path}");
    }
    assert_eq!(gateway.worker(0).open_streams(), 0);
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

/// What objects cost in memory: the table in `plugin/docs/costs.md`, which
/// `cargo test -p selvage-host --test hosted what_an_object_costs -- --nocapture` prints.
#[test]
fn what_an_object_costs_in_memory_is_what_the_store_counts() {
    println!(
        "| body | worker store: held | beyond the body | of that not counted | node store: held | beyond the body |"
    );
    println!("|---|---|---|---|---|---|");
    for (size, count) in [(200usize, 16_000usize), (2_000, 4_000), (20_000, 1_000)] {
        let body = "x".repeat(size);
        let start = |bounds: &str| {
            let body = body.clone();
            let origin = move |_: &selvage_host::OriginRequest| {
                fresh(&body).header("content-type", "image/webp").header("etag", "\"5f8d-1c2b\"")
            };
            Gateway::with(bounds).workers(1).origin(origin).start()
        };
        let fill = |gateway: &Gateway, from: usize, to: usize| {
            for number in from..to {
                gateway.get(&format!("/assets/pictures/{number:06}.webp")).send(0);
            }
        };
        let each = |bytes: usize| bytes as f64 / count as f64;

        let worker = start(r#"{"worker":{"bytes":"256MiB"},"node":{"bytes":0}}"#);
        // What grows once, such as tables of metrics, has grown by then.
        fill(&worker, 0, 500);
        let counted = |gateway: &Gateway| {
            gateway.advance(1);
            gateway.tick();
            gateway.metric("selvage.bytes.worker").unwrap_or_default() as usize
        };
        let before = (worker.worker(0).memory_bytes(), counted(&worker));
        fill(&worker, 500, 500 + count);
        let held = each(worker.worker(0).memory_bytes() - before.0);
        let counted = each(counted(&worker) - before.1);

        let node = start(r#"{"worker":{"bytes":0},"node":{"bytes":"256MiB","buckets":4096}}"#);
        fill(&node, 0, 500);
        let before = (node.shared_bytes(), node.shared_keys().len());
        fill(&node, 500, 500 + count);
        let keys = node.shared_keys().len() - before.1;
        // Envoy's map has so much for a key beside its name and value: `store::node`.
        let shared = each(node.shared_bytes() - before.0 + keys * 80);

        let of = size as f64;
        println!(
            "| {size} B | {held:.0} | {:.0} | {:.0} | {shared:.0} | {:.0} |",
            held - of,
            held - counted,
            shared - of
        );
        assert!(held - of < 700.0 && held - counted < 150.0, "{size}: {held} bytes held, {counted} counted");
        assert!(shared - of < 900.0, "{size}: {shared} bytes held");
    }
}

/// One bucket's index with its key, and the keys of its eight ways.
const INDEX_BYTES: usize = 350 + 8 * 96;
