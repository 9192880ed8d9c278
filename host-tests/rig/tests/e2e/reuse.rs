//! One fetch for everybody, and the same response each time.

use selvage_rig::scripted::Answer;

use crate::{EDGE, assert_forwarded, assert_hit, assert_says, fetches, get, on};

#[test]
fn the_second_request_and_all_after_it_are_hits() {
    on("/reuse/plain", |_| Answer::fresh("plain"));
    let first = get("/reuse/plain");
    assert_forwarded(&first, "uri-miss", "plain");
    assert_says(&first, "stored");
    assert_says(&first, "fwd-status=200");
    for _ in 0..2 {
        let hit = get("/reuse/plain");
        assert_hit(&hit, "plain");
        assert_eq!(hit.header("age").as_deref(), Some("0"));
        let ttl = hit.cache_status().split("; ").find_map(|part| part.strip_prefix("ttl=")?.parse().ok());
        assert!((3590..=3600).contains(&ttl.unwrap_or(0)), "{}", hit.cache_status());
    }
    assert_eq!(fetches("/reuse/plain"), 1);
}

#[test]
fn fifty_new_connections_need_one_fetch() {
    on("/reuse/fifty", |_| Answer::fresh("fifty"));
    for turn in 0..50 {
        let response = get("/reuse/fifty");
        assert_eq!((response.status, response.text().as_str()), (200, "fifty"));
        assert_eq!(response.is_hit(), turn > 0, "{turn}: {}", response.cache_status());
    }
    assert_eq!(fetches("/reuse/fifty"), 1);
}

#[test]
fn what_one_worker_stored_is_a_hit_on_the_other() {
    on("/reuse/shared", |_| Answer::fresh("shared").header("x-kept", "yes"));
    get("/reuse/shared");
    let hits: Vec<_> = (0..40).map(|_| get("/reuse/shared")).collect();
    for hit in &hits {
        assert_hit(hit, "shared");
        assert_eq!(hit.header("x-kept").as_deref(), Some("yes"));
    }
    // The other worker finds it in the store that they share; both then have it themselves.
    assert!(hits.iter().any(|hit| hit.cache_status().contains("detail=node")), "only one worker was asked");
    assert!(hits.iter().any(|hit| hit.cache_status().contains("detail=worker")));
    assert_eq!(fetches("/reuse/shared"), 1);
}

#[test]
fn head_is_answered_from_the_stored_get_with_its_length() {
    on("/reuse/head", |_| Answer::fresh("four").header("content-type", "text/css"));
    get("/reuse/head");
    for _ in 0..10 {
        let head = EDGE.gateway.ask("HEAD", "/reuse/head").send();
        assert_hit(&head, "");
        assert_eq!(head.header("content-length").as_deref(), Some("4"));
        assert_eq!(head.header("content-type").as_deref(), Some("text/css"));
    }
    assert_eq!(fetches("/reuse/head"), 1);
}

#[test]
fn a_hit_has_the_fields_of_the_stored_response() {
    let date = httpdate::fmt_http_date(std::time::SystemTime::now() - std::time::Duration::from_secs(30));
    let sent = date.clone();
    on("/reuse/fields", move |_| {
        Answer::fresh("fields")
            .header("date", &sent)
            .header("server", "Scripted/1")
            .header("link", "</a>; rel=preload")
            .header("link", "</b>; rel=preload")
            .header("x-latin", b"caf\xe9")
            .header("x-empty", "")
            .header("connection", "x-hop")
            .header("x-hop", "by hop")
    });
    get("/reuse/fields");
    let hit = get("/reuse/fields");
    assert_hit(&hit, "fields");
    assert_eq!(hit.all("date"), [date]);
    assert_eq!(hit.all("server"), ["Scripted/1"]);
    assert_eq!(hit.all("link"), ["</a>; rel=preload", "</b>; rel=preload"]);
    assert_eq!(hit.fields.iter().find(|(name, _)| name == "x-latin").unwrap().1, b"caf\xe9");
    assert_eq!(hit.header("x-empty").as_deref(), Some(""));
    assert_eq!(hit.header("x-hop"), None);
    let age: u64 = hit.header("age").unwrap().parse().unwrap();
    assert!((30..60).contains(&age), "{age}");
}

#[test]
fn no_content_type_stays_none() {
    on("/reuse/untyped", |_| Answer::fresh("untyped"));
    assert_eq!(get("/reuse/untyped").header("content-type"), None);
    for _ in 0..10 {
        let hit = get("/reuse/untyped");
        assert_hit(&hit, "untyped");
        assert_eq!(hit.header("content-type"), None);
    }
}

#[test]
fn an_empty_response_keeps_its_content_type() {
    on("/reuse/empty", |_| Answer::fresh("").header("content-type", "application/json"));
    get("/reuse/empty");
    for _ in 0..10 {
        let hit = get("/reuse/empty");
        assert_hit(&hit, "");
        assert_eq!(hit.header("content-type").as_deref(), Some("application/json"));
    }
}

#[test]
fn every_final_status_with_explicit_freshness_is_reused() {
    for status in [200, 203, 204, 301, 302, 307, 308, 404, 410, 451, 500, 503, 599] {
        let path = format!("/reuse/status-{status}");
        on(&path, move |_| Answer::new(status).header("cache-control", "max-age=60").header("location", "/"));
        let first = get(&path);
        let second = get(&path);
        assert_eq!((first.status, second.status), (status, status));
        assert!(second.is_hit(), "{status}: {}", second.cache_status());
        assert_eq!(fetches(&path), 1);
    }
}
