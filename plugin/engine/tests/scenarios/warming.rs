//! URLs are fetched through the cache before a client asks for them, at a bounded pace, and an operator sees how far it is.

use selvage_engine::cache::Refresh;
use selvage_engine::exchange::{NotSent, Wake};
use selvage_engine::fields::Fields;
use selvage_engine::purge::admin_auth::AdminAuth;
use serde_json::{Value, json};

use crate::gateway::{Answer, Gateway, Origin, fresh_for, origin, unreachable};

const WARM: &str = "/.selvage/warm";

/// Workers that may call the origin and where everybody is an operator.
fn open(count: usize, warm: &str) -> Gateway {
    let config = format!(r#"{{"warm":{{{warm}}},"defaults":{{"refresh":{{"cluster":"origin"}}}}}}"#);
    with(count, &config)
}

fn with(count: usize, config: &str) -> Gateway {
    let mut gateway = Gateway::of_workers(count, config);
    gateway.workers.iter_mut().for_each(|worker| worker.set_admin_auth(AdminAuth::Open));
    gateway
}

fn post(gateway: &mut Gateway, at: u64, urls: &[&str]) -> Value {
    let answer = gateway.post(WARM).at(at).chunk(json!({ "urls": urls }).to_string()).answered().status(202);
    serde_json::from_slice(answer.bytes()).unwrap()
}

fn progress(gateway: &mut Gateway, worker: usize, at: u64) -> Value {
    let answer: Answer = gateway.get(WARM).worker(worker).at(at).answered().status(200);
    serde_json::from_slice(answer.bytes()).unwrap()
}

fn path(refresh: &Refresh) -> String {
    let fields = Fields::parse(&refresh.request).unwrap();
    let field = |name: &str| String::from_utf8(fields.get(name.as_bytes()).unwrap().to_vec()).unwrap();
    assert_eq!(field("accept-encoding"), "gzip");
    format!("{}://{}{}", field(":scheme"), field(":authority"), field(":path"))
}

/// Lets a worker fetch at this second all that it may, and the origin answers at once. Which URLs it asked for.
fn fetches(gateway: &mut Gateway, worker: usize, at: u64, answer: &Origin) -> Vec<String> {
    gateway.ticks(worker, at);
    let mut asked = Vec::new();
    while let Some(fetch) = gateway.next_refresh(worker, at) {
        asked.push(path(&fetch));
        gateway.renews(worker, fetch, at, answer.clone());
    }
    asked
}

#[test]
fn what_is_posted_is_fetched_and_then_hit_by_clients_of_every_worker() {
    let mut gateway = open(2, "");
    let told = post(&mut gateway, 0, &["https://example.com/a?x", "https://Example.com:443/b#f"]);
    assert_eq!(told, json!({ "queued": 2, "already": 0, "refused": [] }));
    assert_eq!(post(&mut gateway, 0, &["https://example.com/b"])["already"], 1);
    assert_eq!(progress(&mut gateway, 1, 0)["queued"], 0, "this one has not been told yet");
    gateway.ticks(0, 0);
    assert_eq!(progress(&mut gateway, 1, 0)["queued"], 2);
    let asked = fetches(&mut gateway, 0, 1, &fresh_for(60).body("warm"));
    assert_eq!(asked, ["https://example.com/a?x", "https://example.com/b"]);
    for (worker, path) in [(0, "/a?x"), (1, "/a?x"), (1, "/b")] {
        gateway.get(path).worker(worker).at(2).hit().content("warm");
    }
    gateway.get("/b").scheme("http").at(2).miss(fresh_for(60));
    gateway.ticks(0, 2);
    let seen = progress(&mut gateway, 1, 2);
    let done = json!({ "queued": 0, "under_way": 0, "stored": 2, "fresh": 0, "unstored": {}, "failed": 0,
        "refused": {}, "per_second": 10 });
    assert_eq!(seen, done);
    assert_eq!((gateway.counted(0, "warm", "queued"), gateway.counted(0, "warm", "stored")), (2, 2));
    assert_eq!(gateway.counted(0, "refresh", "stored"), 0);
    let notes: Vec<Value> =
        gateway.shared.notes.iter().map(|note| serde_json::from_str(note).unwrap()).collect();
    assert_eq!(
        (&notes[0]["event"], &notes[0]["urls"], &notes[0]["queued"]),
        (&json!("warm"), &json!(2), &json!(2))
    );
    gateway.assert_nobody_waits();
    gateway.assert_no_room_is_taken();
}

#[test]
fn what_is_fresh_is_not_fetched_and_what_is_stale_is_validated() {
    let mut gateway = open(1, "");
    let page = |seconds| fresh_for(seconds).header("etag", "\"1\"").body("one");
    gateway.get("/fresh").at(0).miss(page(60));
    gateway.get("/stale").at(0).miss(page(5));
    post(&mut gateway, 10, &["https://example.com/fresh", "https://example.com/stale"]);
    gateway.ticks(0, 10);
    let fetch = gateway.refreshes(0, 10);
    let fields = Fields::parse(&fetch.request).unwrap();
    assert_eq!(fields.get(b"if-none-match"), Some(&b"\"1\""[..]));
    gateway.renews(0, fetch, 10, origin(304).header("cache-control", "max-age=60"));
    gateway.get("/stale").at(11).hit().ttl(59);
    let seen = progress(&mut gateway, 0, 11);
    assert_eq!((&seen["fresh"], &seen["stored"]), (&json!(1), &json!(1)));
}

#[test]
fn clients_wait_for_a_warm_fetch_and_a_warm_fetch_for_clients() {
    let mut gateway = open(2, "");
    post(&mut gateway, 0, &["https://example.com/a", "https://example.com/b"]);
    let client = gateway.get("/b").worker(1).at(0).leaves();
    gateway.ticks(0, 0);
    let fetch = gateway.refreshes(0, 0);
    gateway.refreshes_nothing(0, 0);
    let waiter = gateway.get("/a").at(0).waits();
    gateway.renews(0, fetch, 1, fresh_for(60).body("warm"));
    assert!(gateway.is_woken(0, &waiter));
    gateway.wakes(waiter, Wake::Ended, 1).answered().content("warm").says("collapsed");
    gateway.answers(client, 1, fresh_for(60).body("client's"));
    gateway.learns(0, 1);
    assert!(fetches(&mut gateway, 0, 2, &fresh_for(60)).is_empty());
    assert_eq!(progress(&mut gateway, 0, 2)["fresh"], 1);
    gateway.assert_nobody_waits();
}

#[test]
fn why_something_is_not_stored_is_told_in_the_words_of_cache_status() {
    let config = r#"{"defaults":{"refresh":{"cluster":"origin"}},"rules":[
        {"name":"admin","match":{"paths":["/admin"]},"bypass":true},
        {"name":"far","match":{"paths":["/far"]},"refresh":{"cluster":null}}]}"#;
    let mut gateway = with(1, config);
    let urls = ["/admin", "/far", "/a"].map(|path| format!("https://example.com{path}"));
    let told = post(&mut gateway, 0, &urls.each_ref().map(String::as_str));
    let refused =
        json!([{ "path": "urls[0]", "reason": "rule" }, { "path": "urls[1]", "reason": "no-cluster" }]);
    assert_eq!((&told["queued"], &told["refused"]), (&json!(1), &refused));
    let secret = origin(200).header("cache-control", "no-store").body("secret");
    assert_eq!(fetches(&mut gateway, 0, 1, &secret).len(), 1);
    gateway.get("/a").at(2).miss(fresh_for(60));
    let seen = progress(&mut gateway, 0, 2);
    assert_eq!(seen["unstored"], json!({ "no-store": 1 }));
    assert_eq!(seen["refused"], json!({ "rule": 1, "no-cluster": 1 }));
    gateway.assert_nobody_waits();
}

#[test]
fn a_url_whose_origin_fails_is_tried_twice_more() {
    for failure in [unreachable(), origin(500).body("x")] {
        let mut gateway = open(1, "");
        post(&mut gateway, 0, &["https://example.com/a"]);
        for at in [0, 1, 3] {
            assert_eq!(fetches(&mut gateway, 0, at, &failure).len(), 1, "{at}");
        }
        assert!(fetches(&mut gateway, 0, 60, &failure).is_empty());
        assert_eq!(progress(&mut gateway, 0, 60)["failed"], 1);
        gateway.assert_nobody_waits();
    }
    let mut gateway = open(1, "");
    post(&mut gateway, 0, &["https://example.com/a"]);
    gateway.ticks(0, 0);
    let fetch = gateway.refreshes(0, 0);
    gateway.cannot_send(0, fetch, NotSent::UnknownCluster, 0);
    assert_eq!(progress(&mut gateway, 0, 0)["refused"], json!({ "unknown-cluster": 1 }));
    gateway.assert_nobody_waits();
}

#[test]
fn the_pace_is_the_nodes_and_calls_under_way_are_bounded() {
    let mut gateway = open(2, r#""per_second":1,"in_flight":2"#);
    let urls: Vec<String> = (0..9).map(|n| format!("https://example.com/{n}")).collect();
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    let (first, second) = urls.split_at(6);
    post(&mut gateway, 0, first);
    let body = json!({ "urls": second }).to_string();
    gateway.post(WARM).worker(1).at(0).chunk(body).answered().status(202);
    let mut sent = Vec::new();
    for at in 0..4 {
        for worker in [0, 1] {
            gateway.ticks(worker, at);
            sent.extend(std::iter::from_fn(|| gateway.next_refresh(worker, at)).map(|fetch| (worker, fetch)));
        }
        assert_eq!(sent.len() as u64, at + 1);
    }
}

#[test]
fn while_the_origin_is_left_alone_nothing_is_fetched() {
    let config = r#"{"defaults":{"refresh":{"cluster":"origin"},
        "origin_breaker":{"enabled":true,"least_calls":5,"pause":"10s"}}}"#;
    let mut gateway = with(1, config);
    for n in 0..5 {
        gateway.get(&format!("/{n}")).at(0).forwarded(unreachable());
    }
    post(&mut gateway, 1, &["https://example.com/a"]);
    assert!(fetches(&mut gateway, 0, 1, &fresh_for(60)).is_empty());
    assert!(fetches(&mut gateway, 0, 5, &fresh_for(60)).is_empty());
    assert_eq!(progress(&mut gateway, 0, 5)["queued"], 1);
    assert_eq!(fetches(&mut gateway, 0, 60, &fresh_for(60)).len(), 1);
}

const LIST: &str = r#""urls":["https://example.com/a","https://example.com/b"]"#;

#[test]
fn the_list_is_fetched_once_for_the_node() {
    let mut gateway = open(2, LIST);
    assert_eq!(fetches(&mut gateway, 1, 0, &fresh_for(60).body("warm")).len(), 2);
    assert!(fetches(&mut gateway, 0, 0, &fresh_for(60)).is_empty());
    gateway.ticks(1, 1);
    for worker in [0, 1] {
        assert!(fetches(&mut gateway, worker, 90, &fresh_for(60)).is_empty());
    }
    let note: Value = serde_json::from_str(gateway.shared.notes.last().unwrap()).unwrap();
    assert_eq!((&note["event"], &note["stored"], &note["failed"]), (&json!("warmed"), &json!(2), &json!(0)));
    // Workers of a new configuration with the list find it done.
    let mut reloaded = open(1, LIST);
    std::mem::swap(&mut reloaded.shared, &mut gateway.shared);
    assert!(fetches(&mut reloaded, 0, 100, &fresh_for(60)).is_empty());
}

#[test]
fn another_worker_goes_on_with_the_list_if_the_first_dies() {
    let mut gateway = open(2, LIST);
    gateway.ticks(0, 0);
    let first = gateway.refreshes(0, 0);
    gateway.renews(0, first, 0, fresh_for(60));
    drop(gateway.refreshes(0, 0));
    assert!(fetches(&mut gateway, 1, 1, &fresh_for(60)).is_empty());
    assert!(fetches(&mut gateway, 1, 3, &fresh_for(60)).is_empty(), "the dead one still leads a fetch");
    assert_eq!(fetches(&mut gateway, 1, 9, &fresh_for(60)), ["https://example.com/b"]);
    assert_eq!(progress(&mut gateway, 1, 9)["fresh"], 1);
}

#[test]
fn after_a_purge_of_everything_the_hottest_are_fetched_anew() {
    let mut gateway = open(2, r#""after_purge_all":2"#);
    for (path, hits) in [("/cold", 0), ("/hot", 5), ("/warm", 3)] {
        gateway.get(path).at(0).miss(fresh_for(600).body("old"));
        for _ in 0..hits {
            gateway.get(path).at(1).hit();
        }
    }
    gateway.post("/.selvage/purge").at(2).chunk(r#"{"tags":["x"]}"#).answered().status(200);
    assert!(fetches(&mut gateway, 0, 3, &fresh_for(60)).is_empty());
    gateway.post("/.selvage/purge").worker(1).at(4).chunk(r#"{"all":true}"#).answered().status(200);
    gateway.learns(0, 4);
    let asked = fetches(&mut gateway, 0, 5, &fresh_for(60).body("new"));
    assert_eq!(asked, ["https://example.com/hot", "https://example.com/warm"]);
    for worker in [0, 1] {
        gateway.get("/hot").worker(worker).at(6).hit().content("new");
    }
    gateway.get("/cold").at(6).miss(fresh_for(60));
}

#[test]
fn keys_that_a_url_alone_does_not_make_are_not_fetched_anew() {
    let config = r#"{"warm":{"after_purge_all":9},"defaults":{"refresh":{"cluster":"origin"},
        "key":{"headers":["x-tenant"]}}}"#;
    let mut gateway = with(1, config);
    gateway.get("/a").header("x-tenant", "1").at(0).miss(fresh_for(60));
    gateway.post("/.selvage/purge").at(1).chunk(r#"{"all":true}"#).answered().status(200);
    assert!(fetches(&mut gateway, 0, 2, &fresh_for(60)).is_empty());
    assert_eq!(gateway.counted(0, "warm", "queued"), 0);
}

#[test]
fn a_url_with_variants_is_fetched_anew_once() {
    let mut gateway = open(1, r#""after_purge_all":9"#);
    let page = || fresh_for(600).header("vary", "accept-language");
    for language in ["de", "en", "fr"] {
        gateway.get("/a").header("accept-language", language).at(0).forwarded(page());
    }
    gateway.post("/.selvage/purge").at(1).chunk(r#"{"all":true}"#).answered().status(200);
    assert_eq!(fetches(&mut gateway, 0, 2, &page().body("no language")), ["https://example.com/a"]);
    gateway.get("/a").at(3).hit().content("no language");
    gateway.get("/a").header("accept-language", "de").at(3).miss(page());
}

#[test]
fn what_is_purged_while_it_is_fetched_is_fetched_again() {
    let mut gateway = open(1, "");
    post(&mut gateway, 0, &["https://example.com/a"]);
    gateway.ticks(0, 0);
    let fetch = gateway.refreshes(0, 0);
    gateway.post("/.selvage/purge").at(1).chunk(r#"{"all":true}"#).answered().status(200);
    gateway.renews(0, fetch, 2, fresh_for(60).body("old"));
    assert_eq!(fetches(&mut gateway, 0, 4, &fresh_for(60).body("new")).len(), 1);
    gateway.get("/a").at(5).hit().content("new");
    assert_eq!(progress(&mut gateway, 0, 5)["stored"], 1);
}

#[test]
fn the_door_says_what_is_behind_it_to_operators_only() {
    let mut gateway = open(1, "");
    let wrong = gateway.post(WARM).at(0).chunk(r#"{"urls":["/a"]}"#).answered().status(400);
    assert!(String::from_utf8_lossy(wrong.bytes()).contains(r#""path":"urls[0]""#));
    gateway.post(WARM).at(0).answered().status(400);
    gateway.request("DELETE", WARM).at(0).answered().status(405).has("allow", "GET, HEAD, POST");
    gateway.get("/.selvage/other").at(0).answered().status(404).has("content-type", "application/json");
    gateway.get("/.selvage/warm/").at(0).answered().status(404);
    let token = AdminAuth::Token { name: "T".into(), token: (*b"secret").into() };
    gateway.workers[0].set_admin_auth(token);
    for path in [WARM, "/.selvage/nothing"] {
        gateway.get(path).at(0).answered().status(401);
        gateway.get(path).header("authorization", "Bearer x").at(0).answered().status(403);
    }
    gateway.get("/.selvage/nothing").header("authorization", "Bearer secret").at(0).answered().status(404);
    gateway.workers[0].set_admin_auth(AdminAuth::Absent);
    gateway.get(WARM).at(0).miss(origin(404));
}

#[test]
fn what_the_remote_store_has_is_not_fetched() {
    let config = r#"{"remote":{"enabled":true},"defaults":{"refresh":{"cluster":"origin"}}}"#;
    let mut one = with(1, config);
    one.get("/a").at(0).miss(fresh_for(60).body("remote"));
    one.get("/old").at(0).miss(fresh_for(5).body("old"));
    one.sends();
    let mut two = with(1, config);
    two.redis = one.redis.clone();
    post(&mut two, 10, &["https://example.com/a", "https://example.com/old", "https://example.com/new"]);
    assert!(fetches(&mut two, 0, 10, &fresh_for(60)).is_empty());
    two.asks_about_refreshes(0, 10_000);
    let asked = fetches(&mut two, 0, 10, &fresh_for(60).body("new"));
    assert_eq!(asked, ["https://example.com/old", "https://example.com/new"]);
    two.get("/a").at(11).hit().content("remote");
    two.get("/old").at(11).hit().content("new");
    let seen = progress(&mut two, 0, 11);
    assert_eq!((&seen["fresh"], &seen["stored"]), (&json!(1), &json!(2)));
    two.assert_nobody_waits();
}
