//! `Range` from a stored response.

use selvage_rig::{envoy::Response, scripted::Answer};

use crate::{EDGE, assert_hit, assert_not_stored, fetches, get, on};

fn range(target: &str, range: &str) -> Response {
    EDGE.gateway.get(target).header("range", range).send()
}

#[test]
fn a_part_is_cut_from_the_stored_response() {
    on("/partial/part", |_| {
        Answer::fresh("0123456789").header("etag", "\"v1\"").header("content-type", "text/x")
    });
    get("/partial/part");
    for (asked, first, last) in
        [("bytes=2-4", 2, 4), ("bytes=7-", 7, 9), ("bytes=-3", 7, 9), ("bytes=0-99", 0, 9)]
    {
        let part = range("/partial/part", asked);
        assert_eq!(part.status, 206, "{asked}: {}", part.cache_status());
        assert!(part.is_hit());
        assert_eq!(part.text(), "0123456789"[first..=last]);
        assert_eq!(part.all("content-range"), [format!("bytes {first}-{last}/10")]);
        assert_eq!(part.all("content-length"), [(last - first + 1).to_string()]);
        assert_eq!(part.all("content-type"), ["text/x"]);
        assert_eq!(part.all("etag"), ["\"v1\""]);
    }
    assert_eq!(fetches("/partial/part"), 1);
}

#[test]
fn a_part_past_the_end_is_416_with_the_length() {
    on("/partial/past", |_| Answer::fresh("0123456789"));
    get("/partial/past");
    let past = range("/partial/past", "bytes=10-");
    assert_eq!((past.status, past.text().as_str()), (416, ""));
    assert_eq!(past.header("content-range").as_deref(), Some("bytes */10"));
    assert!(past.is_hit());
}

#[test]
fn what_is_not_one_range_gets_the_whole() {
    on("/partial/whole", |_| Answer::fresh("0123456789"));
    get("/partial/whole");
    for asked in ["bytes=4-2", "lines=1-2", "bytes=", "bytes=a-b"] {
        assert_hit(&range("/partial/whole", asked), "0123456789");
    }
}

#[test]
fn if_range_decides_between_the_part_and_the_whole() {
    on("/partial/if", |_| {
        Answer::fresh("0123456789")
            .header("etag", "\"v1\"")
            .header("last-modified", "Sat, 01 Nov 2025 00:00:00 GMT")
    });
    get("/partial/if");
    for (condition, status) in [
        ("\"v1\"", 206),
        ("\"v2\"", 200),
        ("W/\"v1\"", 200),
        ("Sat, 01 Nov 2025 00:00:00 GMT", 206),
        ("Sun, 02 Nov 2025 00:00:00 GMT", 200),
    ] {
        let answer =
            EDGE.gateway.get("/partial/if").header("range", "bytes=0-0").header("if-range", condition).send();
        assert_eq!(answer.status, status, "{condition}");
        assert!(answer.is_hit());
    }
}

#[test]
fn a_part_from_the_origin_is_passed_on_and_not_stored() {
    on("/partial/origin", |request| match request.header("range") {
        Some(_) => Answer::new(206)
            .header("cache-control", "max-age=60")
            .header("content-range", "bytes 0-1/10")
            .body("01"),
        None => Answer::fresh("0123456789"),
    });
    for _ in 0..2 {
        let part = range("/partial/origin", "bytes=0-1");
        assert_eq!((part.status, part.text().as_str()), (206, "01"));
        assert_not_stored(&part, "partial");
    }
    assert_eq!(get("/partial/origin").text(), "0123456789");
    assert_hit(&get("/partial/origin"), "0123456789");
}
