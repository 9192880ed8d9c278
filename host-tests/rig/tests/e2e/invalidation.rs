//! Unsafe methods drop what they change, on every worker.

use selvage_rig::scripted::Answer;

use crate::{EDGE, assert_hit, assert_says, becomes, get, on};

/// Answers GET with the number of the request, fresh for an hour, and everything else with `other`.
fn counting(path: &str, other: impl Fn() -> Answer + Send + Sync + 'static) {
    on(path, move |request| match request.method.as_str() {
        "GET" => Answer::fresh(format!("answer {}", request.before)),
        _ => other(),
    });
}

/// Both workers have it.
#[track_caller]
fn spread(path: &str) -> String {
    let first = get(path).text();
    for _ in 0..20 {
        assert_hit(&get(path), &first);
    }
    first
}

/// No worker gives the old response any more.
#[track_caller]
fn assert_gone(path: &str, old: &str) {
    becomes(|| get(path), |answer| answer.text() != old);
    // The other worker learns it within a moment.
    becomes(|| get(path), |_| (0..20).all(|_| get(path).text() != old));
}

#[test]
fn a_successful_post_put_delete_or_patch_drops_the_stored_response() {
    for method in ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH"] {
        let path = format!("/invalidation/{method}");
        counting(&path, || Answer::new(204));
        let old = spread(&path);
        let changed = EDGE.gateway.ask(method, &path).send();
        assert_eq!(changed.status, 204, "{method}");
        assert_says(&changed, "fwd=method");
        assert_gone(&path, &old);
    }
}

#[test]
fn a_failed_or_safe_request_drops_nothing() {
    counting("/invalidation/failed", || Answer::new(409));
    let old = spread("/invalidation/failed");
    for method in ["POST", "DELETE"] {
        EDGE.gateway.ask(method, "/invalidation/failed").send();
    }
    on("/invalidation/failed", |_| Answer::new(200));
    EDGE.gateway.ask("OPTIONS", "/invalidation/failed").send();
    for _ in 0..20 {
        assert_hit(&get("/invalidation/failed"), &old);
    }
}

#[test]
fn location_and_content_location_of_the_same_origin_are_dropped_too() {
    for field in ["location", "content-location"] {
        let (list, item) = (format!("/invalidation/{field}"), format!("/invalidation/{field}/item"));
        let (named, elsewhere) = (item.clone(), format!("http://other.test{item}"));
        counting(&item, || Answer::new(204));
        on(&list, move |request| match request.header("x-elsewhere") {
            Some(_) => Answer::new(201).header(field, &elsewhere),
            None => Answer::new(201).header(field, &named),
        });
        let old = spread(&item);
        EDGE.gateway.ask("POST", &list).header("x-elsewhere", "1").send();
        assert_hit(&get(&item), &old);
        EDGE.gateway.ask("POST", &list).send();
        assert_gone(&item, &old);
    }
}

#[test]
fn all_variants_are_dropped() {
    on("/invalidation/variants", |request| match request.method.as_str() {
        "GET" => Answer::fresh(format!("answer {}", request.before)).header("vary", "x-kind"),
        _ => Answer::new(204),
    });
    let ask = |kind: &str| EDGE.gateway.get("/invalidation/variants").header("x-kind", kind).send();
    assert_eq!((ask("a").text().as_str(), ask("b").text().as_str()), ("answer 0", "answer 1"));
    for _ in 0..10 {
        assert!(ask("a").is_hit() && ask("b").is_hit());
    }
    EDGE.gateway.ask("DELETE", "/invalidation/variants").send();
    for (kind, old) in [("a", "answer 0"), ("b", "answer 1")] {
        becomes(|| ask(kind), |_| (0..20).all(|_| ask(kind).text() != old));
    }
}
