//! Content: whole or not at all, of any size, however it is framed.

use selvage_rig::scripted::{Answer, Gate};

use crate::{EDGE, assert_hit, assert_not_stored, assert_says, fetches, get, on};

#[test]
fn a_body_shorter_than_promised_is_not_stored() {
    on("/bodies/short", |request| match request.before {
        0 => Answer::fresh("only the beginning").claiming(1000),
        _ => Answer::fresh("whole"),
    });
    let broken = get("/bodies/short");
    assert!(!broken.complete);
    assert_eq!(get("/bodies/short").text(), "whole");
    assert_hit(&get("/bodies/short"), "whole");
    assert_eq!(fetches("/bodies/short"), 2);
}

#[test]
fn a_body_that_breaks_off_is_not_stored() {
    for (path, chunked, bytes) in [
        ("/bodies/cut-length", false, 70_000),
        ("/bodies/cut-chunked", true, 70_000),
        ("/bodies/cut-head", false, 0),
    ] {
        on(path, move |request| {
            let whole = Answer::fresh(vec![b'x'; 100_000]);
            let whole = if chunked { whole.chunked(5000, &[]) } else { whole };
            if request.before == 0 { whole.breaks_after(bytes) } else { whole }
        });
        let broken = EDGE.gateway.get(path).send();
        assert!(!broken.complete, "{path}");
        let whole = get(path);
        assert_says(&whole, "fwd=uri-miss");
        assert_eq!((whole.complete, whole.body.len()), (true, 100_000));
        assert_eq!(get(path).body.len(), 100_000);
        assert_eq!(fetches(path), 2, "{path}");
    }
}

#[test]
fn chunks_and_trailers_are_stored_as_one_body() {
    on("/bodies/chunked", |_| {
        Answer::fresh("0123456789".repeat(5000))
            .chunked(777, &[("x-checksum", "abc"), ("server-timing", "db")])
    });
    let first = get("/bodies/chunked");
    assert_says(&first, "stored");
    for _ in 0..10 {
        let hit = get("/bodies/chunked");
        assert_hit(&hit, &"0123456789".repeat(5000));
        assert_eq!(hit.all("content-length"), ["50000"]);
    }
    assert_eq!(fetches("/bodies/chunked"), 1);
}

#[test]
fn a_body_that_ends_with_the_connection_may_be_stored() {
    on("/bodies/close", |_| Answer::fresh("until the end").until_close());
    assert_eq!(get("/bodies/close").text(), "until the end");
    assert_eq!(get("/bodies/close").text(), "until the end");
}

#[test]
fn a_body_above_the_limit_passes_whole_and_is_not_stored() {
    let large: Vec<u8> = (0..6_000_000u32).map(|number| (number % 251) as u8).collect();
    for (path, chunked) in [("/bodies/large", false), ("/bodies/large-chunked", true)] {
        let content = large.clone();
        on(path, move |_| {
            let answer = Answer::fresh(&content);
            if chunked { answer.chunked(60_000, &[]) } else { answer }
        });
        for _ in 0..2 {
            let answer = get(path);
            assert!(answer.complete && answer.body == large, "{path}");
            assert!(!answer.is_hit());
            if !chunked {
                assert_not_stored(&answer, "too-large");
            }
        }
        assert_eq!(fetches(path), 2);
    }
}

#[test]
fn a_body_too_large_for_a_worker_but_not_for_the_node_is_a_hit_everywhere() {
    let large: Vec<u8> = (0..3_000_000u32).map(|number| (number % 241) as u8).collect();
    let content = large.clone();
    on("/bodies/node", move |_| Answer::fresh(&content));
    get("/bodies/node");
    for _ in 0..10 {
        let hit = get("/bodies/node");
        assert!(hit.is_hit() && hit.body == large, "{}", hit.cache_status());
    }
    assert_eq!(fetches("/bodies/node"), 1);
}

#[test]
fn binary_content_and_empty_content_come_back_as_they_were() {
    let every: Vec<u8> = (0..=255).cycle().take(4096).collect();
    let content = every.clone();
    on("/bodies/binary", move |_| Answer::fresh(&content).header("content-type", "application/octet-stream"));
    on("/bodies/empty", |_| Answer::fresh(""));
    for _ in 0..4 {
        assert_eq!(get("/bodies/binary").body, every);
        assert_eq!(get("/bodies/empty").body, b"");
    }
    assert_eq!((fetches("/bodies/binary"), fetches("/bodies/empty")), (1, 1));
}

#[test]
fn a_slow_response_is_not_held_against_other_requests() {
    let gate = Gate::new();
    let slow = gate.clone();
    on("/bodies/slow", move |_| Answer::fresh("slow").waits_for(&slow));
    on("/bodies/quick", |_| Answer::fresh("quick"));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| get("/bodies/slow"));
        while fetches("/bodies/slow") == 0 {
            std::thread::yield_now();
        }
        for _ in 0..20 {
            assert_eq!(get("/bodies/quick").text(), "quick");
        }
        gate.open();
        assert_eq!(waiting.join().unwrap().text(), "slow");
    });
    assert_hit(&get("/bodies/slow"), "slow");
}
