//! What an operator purges is not served any more, whatever stored it, and costs the same however much it covers.

use selvage_engine::exchange::Wake;
use selvage_engine::purge::admin_auth::AdminAuth;
use selvage_engine::remote::writes::{self, IN_A_ROW, Reason, Sort, State, Writes};

use crate::gateway::{ALONE, Answer, Gateway, Sent, fresh_for, moment, origin, unreachable};

const JSON: &str = "/.selvage/purge";

/// Workers where everybody may purge.
fn open(count: usize, config: &str) -> Gateway {
    let mut gateway = Gateway::of_workers(count, config);
    gateway.workers.iter_mut().for_each(|worker| worker.set_admin_auth(AdminAuth::Open));
    gateway
}

/// What the answer to `POST /.selvage/purge` says.
fn purge(gateway: &mut Gateway, at: u64, body: &str) -> Answer {
    let answer = match gateway.post(JSON).at(at).chunk(body).sent() {
        // Nobody tells the fleet meanwhile.
        Sent::Waits(waiter) => {
            let answer = gateway.wakes(waiter, Wake::Poll, at + 1).answered();
            assert!(String::from_utf8_lossy(answer.bytes()).contains(r#""fleet":"pending""#), "{answer:?}");
            answer
        }
        sent => sent.answered(),
    };
    answer.status(200)
}

#[test]
fn a_url_is_purged_by_its_method_in_every_worker_whatever_the_scheme() {
    let mut gateway = open(2, "{}");
    for path in ["/a?x", "/b"] {
        gateway.get(path).worker(0).at(0).miss(fresh_for(60).body("old")).stored();
        gateway.get(path).worker(1).at(0).hit();
    }
    let answer = gateway.request("PURGE", "/a?x").scheme("http").at(1).answered();
    answer
        .status(200)
        .content(r#"{"fleet":"off","purged":1,"soft":false}"#)
        .has("content-type", "application/json");
    assert!(gateway.workers[0].take_changes_to_tell());
    gateway.learns(1, 1);
    gateway.get("/a?x").worker(1).at(2).miss(fresh_for(60).body("new")).detail("purged").stored();
    gateway.get("/a?x").worker(0).at(2).hit().content("new");
    gateway.get("/b").worker(1).at(2).hit().content("old");
    assert_eq!(gateway.counted(0, "purge", "url"), 1);
    gateway.assert_nobody_waits();
}

#[test]
fn a_page_of_another_site_changes_nothing_where_no_token_is_asked_for() {
    let all = r#"{"all":true}"#;
    let foreign = [("origin", "https://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site")];
    let own = [("origin", "https://example.com"), ("sec-fetch-site", "same-origin")];
    let mut gateway = open(1, "{}");
    gateway.get("/a").at(0).miss(fresh_for(60)).stored();
    for (name, value) in foreign {
        gateway.post(JSON).at(1).header(name, value).chunk(all).answered().status(403);
        gateway.request("PURGE", "/a").at(1).header(name, value).answered().status(403);
        gateway.get("/a").at(1).hit();
        // The browser keeps from the other site what this tells.
        gateway.get("/.selvage/stats").at(1).header(name, value).answered().status(200);
    }
    assert_eq!(gateway.counted(0, "purge", "refused"), 6);
    for (name, value) in own {
        gateway.post(JSON).at(2).header(name, value).chunk(all).answered().status(200);
        gateway.get("/a").at(2).miss(fresh_for(60)).stored();
    }
    // A page does not know the token.
    let gate = || AdminAuth::Token { name: "T".into(), token: (*b"secret").into() };
    let mut gateway = Gateway::with("{}");
    gateway.workers[0].set_admin_auth(gate());
    for (name, value) in foreign {
        let call = gateway.post(JSON).at(1).header(name, value).header("authorization", "Bearer secret");
        call.chunk(all).answered().status(200);
    }
}

#[test]
fn each_way_to_purge_covers_what_it_says() {
    let pages = [("a.test", "/x/1", "red"), ("a.test", "/y", "red blue"), ("b.test", "/x/2", "blue")];
    for (body, gone) in [
        (r#"{"tags":["red"]}"#, [true, true, false]),
        (r#"{"tags":["blue","green"]}"#, [false, true, true]),
        (r#"{"prefixes":["a.test/x/"]}"#, [true, false, false]),
        (r#"{"prefixes":["a.test"]}"#, [true, true, false]),
        (r#"{"urls":["https://b.test/x/2","http://a.test/y"]}"#, [false, true, true]),
        (r#"{"all":true}"#, [true, true, true]),
    ] {
        let mut gateway = open(1, "{}");
        for (host, path, tags) in pages {
            let page = fresh_for(60).header("surrogate-key", tags);
            gateway.get(path).authority(host).at(0).miss(page).lacks("x-none").stored();
        }
        purge(&mut gateway, 1, body);
        for ((host, path, _), gone) in pages.into_iter().zip(gone) {
            let call = gateway.get(path).authority(host).at(2);
            if gone {
                call.miss(fresh_for(60)).detail("purged").stored();
                gateway.get(path).authority(host).at(3).hit();
            } else {
                call.hit();
            }
        }
    }
}

#[test]
fn all_variants_of_a_url_are_purged() {
    let mut gateway = open(1, "{}");
    for language in ["de", "en"] {
        let page = fresh_for(60).header("vary", "accept-language");
        gateway.get("/a").header("accept-language", language).at(0).miss(page).stored();
    }
    gateway.request("PURGE", "/a").at(1).answered().status(200);
    for language in ["de", "en"] {
        let page = fresh_for(60).header("vary", "accept-language");
        let call = gateway.get("/a").header("accept-language", language).at(2);
        call.miss(page).says("fwd=uri-miss").detail("purged").stored();
        gateway.get("/a").header("accept-language", language).at(3).hit();
    }
}

#[test]
fn a_url_is_purged_as_its_rule_keys_it() {
    let rule = r#"{"defaults":{"key":{"query":{"except":["utm_*"],"order":"sort"}}}}"#;
    let mut gateway = open(1, rule);
    gateway.get("/a?b=1&a=2&utm_x=3").at(0).miss(fresh_for(60)).stored();
    purge(&mut gateway, 1, r#"{"urls":["example.com/%61?a=2&b=1&utm_y=4"]}"#);
    gateway.get("/a?b=1&a=2").at(2).miss(fresh_for(60)).detail("purged");
}

#[test]
fn a_soft_purge_makes_stale() {
    let mut gateway = open(2, "{}");
    let page = || fresh_for(60).header("etag", "\"1\"").body("one");
    let swr = page().header("cache-control", "stale-while-revalidate=30");
    gateway.get("/a").worker(0).at(0).miss(swr.clone()).stored();
    gateway.get("/b").worker(0).at(0).miss(page()).stored();
    gateway.get("/a").worker(1).at(0).hit();
    for path in ["/a", "/b"] {
        let call = gateway.request("PURGE", path).header("selvage-purge", "soft").at(10);
        call.answered().content(r#"{"fleet":"off","purged":1,"soft":true}"#);
    }
    gateway.learns(1, 10);
    gateway.get("/a").worker(1).at(12).hit().ttl(-2).detail("stale-while-revalidate").content("one");
    gateway.get("/a").worker(1).at(13).validates(origin(304)).says("fwd=stale").detail("validated");
    gateway.get("/a").worker(0).at(14).hit().content("one");
    gateway.get("/b").worker(0).at(12).validates(unreachable()).detail("disconnected").content("one");
    gateway.get("/b").worker(1).at(13).validates(fresh_for(60).body("two")).says("fwd=stale").stored();
    gateway.get("/b").worker(0).at(14).hit().content("two");
}

#[test]
fn a_hard_purge_leaves_nothing_for_errors() {
    let mut gateway = open(1, "{}");
    let page = fresh_for(1).header("etag", "\"1\"").header("cache-control", "stale-if-error=60").body("old");
    gateway.get("/a").at(0).miss(page).stored();
    let validating = gateway.get("/a").at(5).leaves();
    gateway.request("PURGE", "/a").at(6).answered();
    gateway.answers(validating, 7, origin(503)).status(503).content("");
    gateway.get("/a").at(8).miss(origin(503)).status(503);
}

#[test]
fn what_was_asked_for_before_the_purge_is_not_stored_and_its_waiters_fetch_anew() {
    let mut gateway = open(1, "{}");
    let slow = gateway.get("/a").at(0).leaves();
    let waiter = gateway.get("/a").at(1).waits();
    purge(&mut gateway, 2, r#"{"tags":["t"]}"#);
    gateway.answers(slow, 3, fresh_for(60).header("xkey", "t").body("old")).content("old");
    let next = gateway.wakes(waiter, selvage_engine::exchange::Wake::Ended, 3).left();
    gateway.answers(next, 4, fresh_for(60).header("xkey", "t").body("new")).stored();
    gateway.get("/a").at(5).hit().content("new");
    gateway.assert_nobody_waits();
    gateway.assert_no_room_is_taken();
}

#[test]
fn tags_are_kept_from_clients_on_hits_and_misses_and_a_304_may_name_more() {
    let mut gateway = open(1, "{}");
    let page = fresh_for(10)
        .headers("surrogate-key: a | cache-tag: b | xkey: c | cache-groups: \"d\" | etag: \"1\"");
    let miss = gateway.get("/a").at(0).miss(page).stored();
    let hit = gateway.get("/a").at(1).hit();
    for name in ["surrogate-key", "cache-tag", "xkey", "cache-groups"] {
        assert_eq!((miss.value(name), hit.value(name)), (None, None), "{name}");
    }
    let validated = gateway.get("/a").at(20).validates(origin(304).header("xkey", "e"));
    validated.detail("validated").lacks("xkey");
    for (n, tag) in ["a", "e"].into_iter().enumerate() {
        let at = 21 + n as u64 * 10;
        purge(&mut gateway, at, &format!(r#"{{"tags":["{tag}"]}}"#));
        let page = fresh_for(60).header("surrogate-key", "e");
        gateway.get("/a").at(at + 1).miss(page).detail("purged").stored();
    }
    gateway.get("/no").at(60).miss(origin(500).header("xkey", "a")).lacks("xkey");

    let mut gateway = Gateway::with(r#"{"defaults":{"tags":{"headers":["x-tags"],"strip":false}}}"#);
    gateway.workers[0].set_admin_auth(AdminAuth::Open);
    let page = || fresh_for(60).header("x-tags", "a,b").header("xkey", "c");
    gateway.get("/a").at(0).miss(page()).has("x-tags", "a,b").has("xkey", "c");
    gateway.get("/a").at(1).hit().has("x-tags", "a,b");
    purge(&mut gateway, 2, r#"{"tags":["c"]}"#);
    gateway.get("/a").at(3).hit();
    purge(&mut gateway, 4, r#"{"tags":["b"]}"#);
    gateway.get("/a").at(5).miss(page());
}

#[test]
fn an_unsafe_response_purges_groups_of_its_own_host() {
    let mut gateway = Gateway::with("{}");
    let grouped = || fresh_for(60).header("cache-groups", r#""one", "two""#);
    for host in ["a.test", "b.test"] {
        gateway.get("/x").authority(host).at(0).miss(grouped()).stored();
    }
    let change = || origin(204).header("cache-group-invalidation", r#""two""#);
    gateway.get("/other").authority("a.test").at(1).forwarded(change());
    gateway.get("/x").authority("a.test").at(1).hit();
    gateway
        .post("/other")
        .authority("a.test")
        .at(1)
        .forwarded(origin(500).header("cache-group-invalidation", r#""two""#));
    gateway.get("/x").authority("a.test").at(1).hit();
    gateway.post("/other").authority("a.test").at(2).forwarded(change());
    gateway.get("/x").authority("a.test").at(3).miss(grouped()).detail("purged").stored();
    gateway.get("/x").authority("b.test").at(3).hit();
}

#[test]
fn without_a_gate_operators_requests_are_like_any_other() {
    let mut gateway = Gateway::with("{}");
    gateway.request("PURGE", "/a").at(0).forwarded(origin(405)).says("fwd=method");
    gateway.post(JSON).at(0).chunk(r#"{"all":true}"#).forwarded(origin(404)).says("fwd=method");
}

#[test]
fn only_the_token_opens_and_nothing_leaks() {
    let mut gateway = Gateway::with("{}");
    gateway.workers[0]
        .set_admin_auth(AdminAuth::Token { name: "PURGE_TOKEN".into(), token: (*b"secret").into() });
    gateway.get("/a").at(0).miss(fresh_for(60)).stored();
    for method in ["PURGE", "POST", "GET"] {
        let path = if method == "PURGE" { "/a" } else { JSON };
        let none =
            gateway.request(method, path).at(1).answered().status(401).has("www-authenticate", "Bearer");
        let call = gateway.request(method, path).header("authorization", "Bearer wrong").at(1);
        let wrong = call.answered().status(403);
        for answer in [none, wrong] {
            let body = String::from_utf8_lossy(answer.bytes()).into_owned();
            assert!(!body.contains("secret") && !body.contains("TOKEN") && body.len() < 60, "{body}");
        }
    }
    gateway.get("/a").at(2).hit();
    let put = gateway.request("PUT", JSON).header("authorization", "Bearer secret").at(2);
    put.answered().status(405).has("allow", "GET, HEAD, POST");
    gateway.request("PURGE", "/a").header("authorization", "Bearer secret").at(3).answered().status(200);
    gateway.get("/a").at(4).miss(fresh_for(60)).detail("purged");
    assert_eq!(gateway.counted(0, "purge", "refused"), 7);
    let [refused, note] = &gateway.shared.notes[..] else { panic!("{:?}", gateway.shared.notes) };
    assert!(refused.contains(r#""event":"refused""#) && refused.contains(r#""path":"/a""#), "{refused}");
    assert!(!refused.contains("secret"), "{refused}");
    assert!(note.contains(r#""token":"PURGE_TOKEN""#) && note.contains("example.com/a"), "{note}");
    assert!(!note.contains("secret"), "{note}");
}

#[test]
pub fn a_body_that_cannot_be_read_purges_nothing() {
    let mut gateway = open(1, "{}");
    gateway.get("/a").at(0).miss(fresh_for(60)).stored();
    for (body, told) in [
        (r#"{"all":true,"tags":[7]}"#, r#""path":"tags[0]""#),
        ("{", r#""path":"body""#),
        (r#"{"urls":["https://a.test/ b"]}"#, r#""path":"urls[0]""#),
    ] {
        let answer = gateway.post(JSON).at(1).chunk(body).answered().status(400);
        assert!(String::from_utf8_lossy(answer.bytes()).contains(told), "{answer:?}");
    }
    let long = " ".repeat(200_000);
    gateway.post(JSON).at(1).chunk(&long).chunk(&long).answered().status(413);
    gateway.post(JSON).at(1).answered().status(400);
    gateway.get("/a").at(2).hit();
}

#[test]
fn a_hit_costs_no_call_of_the_host_and_a_tag_on_many_entries_is_one_mark() {
    let mut gateway = open(1, r#"{"node":{"bytes":0}}"#);
    for n in 0..1000 {
        gateway.get(&format!("/{n}")).at(0).miss(fresh_for(60).header("xkey", "shop")).stored();
    }
    gateway.get("/other").at(0).miss(fresh_for(60).header("xkey", "blog")).stored();
    purge(&mut gateway, 1, r#"{"tags":["shop"]}"#);
    let before = gateway.shared.gets;
    gateway.get("/other").at(2).hit();
    assert_eq!(gateway.shared.gets, before);
    for n in 0..1000 {
        gateway.get(&format!("/{n}")).at(2).miss(fresh_for(60)).detail("purged");
    }
}

#[test]
fn a_worker_that_starts_late_knows_what_was_purged_before() {
    let mut gateway = open(3, "{}");
    gateway.get("/a").worker(0).at(0).miss(fresh_for(60).header("xkey", "t")).stored();
    purge(&mut gateway, 1, r#"{"tags":["t"]}"#);
    gateway.learns(2, 2);
    gateway.get("/a").worker(2).at(2).miss(fresh_for(60)).detail("purged");
    // More than the ring holds.
    gateway.get("/b").worker(0).at(3).miss(fresh_for(60)).stored();
    for n in 0..5 {
        let urls: Vec<String> = (0..256).map(|m| format!(r#""x.test/{n}/{m}""#)).collect();
        purge(&mut gateway, 4, &format!(r#"{{"urls":[{}]}}"#, urls.join(",")));
    }
    gateway.get("/b").worker(0).at(5).hit();
    gateway.learns(1, 6);
    gateway.get("/b").worker(1).at(6).miss(fresh_for(60)).detail("purged").stored();
}

#[test]
fn other_namespaces_are_not_meant() {
    let mut gateway = open(1, r#"{"namespace":"one"}"#);
    gateway.get("/a").at(0).miss(fresh_for(60)).stored();
    let policy = crate::gateway::policy(r#"{"namespace":"two"}"#);
    let mut other = selvage_engine::cache::Cache::new(policy);
    other.set_admin_auth(AdminAuth::Open);
    gateway.workers.push(other);
    gateway.post(JSON).worker(1).at(1).chunk(r#"{"all":true}"#).answered().status(200);
    gateway.learns(0, 1);
    gateway.get("/a").at(2).hit();
}

#[test]
pub fn records_of_the_fleet_that_are_older_than_a_purge_are_not_used_and_the_clocks_get_some_slack() {
    let config = r#"{"remote":{"enabled":true},"purge":{"skew":"2s"}}"#;
    let mut one = open(1, config);
    one.get("/a").at(0).miss(fresh_for(60).header("xkey", "t").body("old")).stored();
    one.sends();
    let mut two = open(1, config);
    two.redis = one.redis.clone();
    purge(&mut two, 1, r#"{"tags":["t"]}"#);
    two.get("/a").at(2).miss(fresh_for(60).header("xkey", "t").body("new")).detail("purged").stored();
    // What the other stored within the slack may be older by the other's clock.
    let mut three = open(1, config);
    one.get("/b").at(11).miss(fresh_for(60).header("xkey", "t")).stored();
    one.get("/c").at(13).miss(fresh_for(60).header("xkey", "t")).stored();
    one.sends();
    three.redis = one.redis.clone();
    purge(&mut three, 10, r#"{"tags":["t"]}"#);
    three.get("/b").at(14).miss(fresh_for(60));
    three.get("/c").at(14).hit().detail("remote");
}

#[test]
fn the_slack_of_the_clocks_is_not_for_what_this_envoy_has_asked_for_itself() {
    let mut gateway = open(1, r#"{"remote":{"enabled":true},"purge":{"skew":"2s"}}"#);
    let page = || fresh_for(60).header("xkey", "t").header("etag", "\"1\"");
    gateway.get("/a").at(0).miss(page()).stored();
    purge(&mut gateway, 10, r#"{"tags":["t"]}"#);
    gateway.get("/a").at(11).miss(page()).detail("purged").stored();
    gateway.sends();
    purge(&mut gateway, 12, r#"{"tags":["t"],"soft":true}"#);
    gateway.get("/a").at(13).validates(origin(304)).detail("validated");
}

/// Gives all that a node has to say or to ask about purges to the store.
pub fn exchanges_purges(gateway: &mut Gateway, store: &mut Purges, millis: u64) {
    use selvage_engine::cache::Moment;
    use selvage_engine::purge::spread::Step;
    use selvage_engine::remote::dialect::Answer;
    let now = crate::gateway::moment(millis);
    for worker in 0..gateway.workers.len() {
        let mut moment = Moment { now, host: &mut gateway.shared };
        gateway.workers[worker].tick_purges("sv1/f/x", &mut moment);
        while let Some(step) = gateway.workers[worker].next_purge_step(now) {
            store.asked += 1;
            let value =
                |found: Option<String>| found.map_or(Answer::Absent, |text| Answer::Value(text.into_bytes()));
            let written = gateway.workers[worker].signed_step(&step, now).into_owned();
            let answer = match &step {
                Step::Add { number, .. } if store.entries.contains_key(number) => Answer::Absent,
                Step::Add { number, .. } => {
                    store.entries.insert(*number, written);
                    Answer::Done
                }
                Step::Read { .. } | Step::Last { .. } if !store.strays.is_empty() => {
                    value(Some(store.strays.remove(0)))
                }
                Step::Read { number, .. } => value(store.entries.get(number).cloned()),
                Step::Last { .. } => value(store.hint.clone()),
                Step::Hint { .. } => {
                    store.hint = Some(written);
                    Answer::Done
                }
            };
            let mut moment = Moment { now, host: &mut gateway.shared };
            gateway.workers[worker].purge_step_ended(&step, Ok(answer), &mut moment);
        }
    }
}

/// The log of purges in the remote store.
#[derive(Default)]
pub struct Purges {
    pub entries: std::collections::BTreeMap<u64, String>,
    pub hint: Option<String>,
    /// Answers to other calls, that the next calls get.
    pub strays: Vec<String>,
    /// Calls that it was asked to answer.
    pub asked: usize,
}

#[test]
fn an_idle_node_asks_for_purges_once_by_tick_or_as_seldom_as_it_is_told_to_and_misses_none() {
    for (poll, most) in [("100ms", 101), ("1s", 23)] {
        let config = format!(r#"{{"remote":{{"enabled":true}},"node":{{"poll":"{poll}"}}}}"#);
        let (mut one, mut two) = (open(1, &config), open(1, &config));
        let mut store = Purges::default();
        (0..100).for_each(|tick| exchanges_purges(&mut one, &mut store, tick * 100));
        assert!(store.asked <= most, "{poll}: {} calls in ten seconds", store.asked);
        one.get("/a").at(10).miss(fresh_for(60).header("xkey", "t")).stored();
        purge(&mut two, 11, r#"{"tags":["t"]}"#);
        exchanges_purges(&mut two, &mut store, 11_000);
        // Nobody has set the hint.
        store.hint = None;
        (0..=10).for_each(|tick| exchanges_purges(&mut one, &mut store, 11_100 + tick * 100));
        one.get("/a").at(13).miss(fresh_for(60)).detail("purged");
    }
}

#[test]
fn an_answer_that_belongs_to_another_call_loses_no_purge_and_takes_nothing_for_purged() {
    let config = r#"{"remote":{"enabled":true}}"#;
    let (mut one, mut two) = (open(1, config), open(1, config));
    let mut store = Purges::default();
    for node in [&mut one, &mut two] {
        exchanges_purges(node, &mut store, 0);
        for path in ["/a", "/b", "/c"] {
            node.get(path).at(1).miss(fresh_for(600).header("xkey", path)).stored();
        }
    }
    purge(&mut one, 2, r#"{"tags":["/a"]}"#);
    exchanges_purges(&mut one, &mut store, 2_000);
    exchanges_purges(&mut two, &mut store, 3_000);
    two.get("/a").at(3).miss(fresh_for(600)).detail("purged");
    purge(&mut one, 4, r#"{"tags":["/b"]}"#);
    exchanges_purges(&mut one, &mut store, 4_000);
    let first = store.entries[&1].clone();
    for (n, stray) in [&first, r#"{"SETEX":[true,"OK"]}"#, "0", "", "claim:1"].into_iter().enumerate() {
        store.strays = vec![stray.to_owned()];
        exchanges_purges(&mut two, &mut store, 5_000 + 100 * n as u64);
        store.strays = vec![stray.to_owned(), first.clone(), stray.to_owned()];
        exchanges_purges(&mut two, &mut store, 6_000 + 2_000 * n as u64);
    }
    store.strays.clear();
    exchanges_purges(&mut two, &mut store, 20_000);
    two.get("/b").at(20).miss(fresh_for(600)).detail("purged");
    two.get("/c").at(20).hit();
    assert_eq!(two.counted(0, "purge", "received"), 2);
    assert_eq!((two.counted(0, "event", "purges-lost"), two.counted(0, "event", "bad-purge")), (0, 0));
    // What is there twice is there.
    store.entries.insert(3, first);
    exchanges_purges(&mut two, &mut store, 21_000);
    two.get("/c").at(21).hit();
    exchanges_purges(&mut two, &mut store, 21_100);
    two.get("/c").at(22).miss(fresh_for(600)).detail("purged");
    assert_eq!(two.counted(0, "event", "bad-purge"), 1);
}

#[test]
fn the_answer_to_a_purge_says_what_the_fleet_knows_of_it() {
    let mut store = Purges::default();
    let mut gateway = open(1, r#"{"remote":{"enabled":true}}"#);
    let pending = |gateway: &mut Gateway, at| -> serde_json::Value {
        serde_json::from_slice(gateway.get(JSON).at(at).answered().status(200).bytes()).unwrap()
    };
    assert_eq!(pending(&mut gateway, 0)["fleet"], "told");
    // Its entry is written while it waits.
    let waiter = gateway.post(JSON).at(1).chunk(r#"{"tags":["a"]}"#).sent().waiting();
    assert_eq!(pending(&mut gateway, 1)["here"], 1);
    exchanges_purges(&mut gateway, &mut store, 1_000);
    let told = gateway.wakes(waiter, Wake::Poll, 1).answered();
    told.content(r#"{"fleet":"told","purged":1,"soft":false}"#);
    assert_eq!(pending(&mut gateway, 1)["list"], serde_json::json!([]));
    // A store that takes no writes is not waited for.
    let place = writes::place(&gateway.workers[0].policy().remote);
    for n in 0..IN_A_ROW {
        let refused = (Sort::Entries, State::Refusing(Reason::Oom));
        Writes::default().note(refused, 0, &mut gateway.shared, &place, moment(u64::from(n)));
    }
    for n in 0..150 {
        let body = format!(r#"{{"tags":["{n}"],"soft":true}}"#);
        let answer = gateway.post(JSON).at(2).chunk(body).answered();
        answer.content(r#"{"fleet":"pending","purged":1,"soft":true}"#);
    }
    let told = pending(&mut gateway, 3);
    assert_eq!((&told["fleet"], &told["here"]), (&"pending".into(), &150.into()));
    let list = told["list"].as_array().unwrap();
    assert_eq!((list.len(), &list[0]["what"], &list[0]["soft"]), (100, &"tag".into(), &true.into()));
    exchanges_purges(&mut gateway, &mut store, 4_000);
    assert_eq!(
        (&pending(&mut gateway, 4)["here"], pending(&mut gateway, 4)["fleet"].as_str()),
        (&0.into(), Some("told"))
    );
}

#[test]
fn a_purge_on_one_node_reaches_every_worker_of_the_other_once() {
    let config = r#"{"remote":{"enabled":true}}"#;
    let mut store = Purges::default();
    let mut nodes = [open(2, config), open(2, config)];
    for node in &mut nodes {
        exchanges_purges(node, &mut store, 0);
        node.get("/a").worker(0).at(1).miss(fresh_for(60).header("xkey", "t")).stored();
        node.get("/a").worker(1).at(1).hit();
    }
    let [one, two] = &mut nodes;
    purge(one, 2, r#"{"tags":["t"],"soft":false}"#);
    exchanges_purges(one, &mut store, 2000);
    exchanges_purges(two, &mut store, 2100);
    for worker in [0, 1] {
        two.learns(worker, 3);
    }
    two.get("/a")
        .worker(1)
        .at(4)
        .miss(fresh_for(60).header("xkey", "t").body("new"))
        .detail("purged")
        .stored();
    two.get("/a").worker(0).at(4).hit().content("new");
    assert_eq!(two.counted(0, "purge", "received") + two.counted(1, "purge", "received"), 1);
    // It does not hear of its own again, nor the other one twice.
    one.get("/a").worker(0).at(4).miss(fresh_for(60).header("xkey", "t").body("new")).stored();
    for millis in [5000, 5100, 5200] {
        exchanges_purges(one, &mut store, millis);
        exchanges_purges(two, &mut store, millis);
    }
    one.get("/a").worker(0).at(6).hit();
    two.get("/a").worker(0).at(6).hit();
    // A node that starts later knows it too.
    let mut three = open(1, config);
    one.sends();
    three.redis = one.redis.clone();
    exchanges_purges(&mut three, &mut store, 7000);
    purge(one, 8, r#"{"all":true}"#);
    exchanges_purges(one, &mut store, 8000);
    exchanges_purges(&mut three, &mut store, 8100);
    three.get("/a").at(9).miss(fresh_for(60)).detail("purged");
}

#[test]
fn a_purge_by_method_is_no_more_than_that_while_requests_do_not_wait() {
    let mut gateway = open(1, ALONE);
    gateway.get("/a").at(0).miss(fresh_for(60)).stored();
    gateway.request("PURGE", "/none").at(1).answered().status(200);
    gateway.get("/a").at(2).hit();
}

#[test]
fn how_long_a_purge_takes_to_the_other_workers_is_measured() {
    let mut gateway = open(2, "{}");
    purge(&mut gateway, 1, r#"{"all":true}"#);
    for worker in [0, 1, 1] {
        gateway.learns(worker, 3);
    }
    let samples = |worker: usize| {
        let samples = &gateway.workers[worker].stats.samples;
        samples.iter().filter(|(word, _)| word.0 == "propagation_ms").copied().collect::<Vec<_>>()
    };
    assert_eq!((samples(0), samples(1)), (vec![], vec![(("propagation_ms", "worker"), 2000)]));
}

#[test]
fn a_response_may_have_a_thousand_tags_and_says_when_it_has_too_many() {
    let tagged = |count: usize| {
        let tags: Vec<String> = (0..count).map(|n| format!("t{n}")).collect();
        fresh_for(60).header("surrogate-key", &tags.join(" ")).body("x")
    };
    let mut gateway = open(1, "{}");
    gateway.get("/a").at(0).miss(tagged(1000)).says_nothing_of("detail");
    purge(&mut gateway, 1, r#"{"tags":["other"]}"#);
    gateway.get("/a").at(2).hit();
    purge(&mut gateway, 3, r#"{"tags":["t999"]}"#);
    gateway.get("/a").at(4).forwarded(tagged(2049)).stored().detail("many-tags");
    gateway.get("/a").at(5).hit();
    purge(&mut gateway, 6, r#"{"tags":["other"]}"#);
    gateway.get("/a").at(7).forwarded(tagged(1));
}
