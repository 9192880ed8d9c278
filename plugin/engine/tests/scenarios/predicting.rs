//! What will be asked for after it has expired is renewed before it does (`warm.predict`).

use selvage_engine::cache::{Moment, Refresh};
use selvage_engine::fields::Fields;
use selvage_engine::purge::admin_auth::AdminAuth;
use serde_json::{Value, json};

use crate::gateway::{Gateway, Origin, fresh_for, moment, origin, unreachable};

const DAY: u64 = 86_400;
/// When what is learnt from expires: in the third day.
const END: u64 = 2 * DAY + 3600;

fn config(warm: &str, more: &str) -> String {
    format!(
        r#"{{"warm":{{"predict":true{warm}}},"foresight":{{"anomalies":false}},"defaults":{{"refresh":{{"cluster":"origin"}}{more}}}}}"#
    )
}

fn start(workers: usize, warm: &str, more: &str) -> Gateway {
    with(workers, &config(warm, more))
}

fn with(workers: usize, config: &str) -> Gateway {
    let mut gateway = Gateway::of_workers(workers, config);
    gateway.workers.iter_mut().for_each(|worker| worker.set_admin_auth(AdminAuth::Open));
    gateway
}

/// A tick of each worker.
fn tick(gateway: &mut Gateway, at: u64) {
    for worker in &mut gateway.workers {
        let mut moment = Moment { now: moment(at * 1000), host: &mut gateway.shared };
        worker.tick_warming(&mut moment);
        worker.keep_history(&mut moment);
    }
}

/// Two days and a little, to ten minutes before the end, in which each path is asked for every so many minutes.
fn learn(gateway: &mut Gateway, asked: &[(&str, u64)], from: u64, to: u64) {
    let workers = gateway.workers.len();
    for minute in from / 60..to / 60 {
        for (path, every) in asked {
            if minute % every == 0 {
                let worker = (minute / every) as usize % workers;
                gateway.get(path).worker(worker).at(minute * 60).hit();
            }
        }
        tick(gateway, minute * 60);
    }
}

/// The paths are stored until the end, and asked for so often.
fn learnt(gateway: &mut Gateway, asked: &[(&str, u64)]) {
    store(gateway, asked, &fresh_for(END).header("etag", "\"1\"").body("old"));
    learn(gateway, asked, 0, END - 600);
}

fn store(gateway: &mut Gateway, asked: &[(&str, u64)], answer: &Origin) {
    asked.iter().for_each(|(path, _)| _ = gateway.get(path).at(0).miss(answer.clone()));
}

fn path(refresh: &Refresh) -> String {
    let fields = Fields::parse(&refresh.request).unwrap();
    String::from_utf8(fields.get(b":path").unwrap().to_vec()).unwrap()
}

/// What is fetched from one second to another, with the second; the origin answers at once.
fn fetched(gateway: &mut Gateway, seconds: std::ops::Range<u64>, answer: &Origin) -> Vec<(u64, String)> {
    let mut all = Vec::new();
    for at in seconds {
        tick(gateway, at);
        for worker in 0..gateway.workers.len() {
            while let Some(fetch) = gateway.next_refresh(worker, at) {
                all.push((at, path(&fetch)));
                let mut moment = Moment { now: moment(at * 1000), host: &mut gateway.shared };
                fetch.sent(&mut gateway.workers[worker]);
                gateway.workers[worker].learn(&mut moment);
                gateway.renews(worker, fetch, at, answer.clone());
            }
        }
    }
    all
}

fn told(gateway: &mut Gateway, at: u64) -> Value {
    gateway.exports();
    let answer = gateway.get("/.selvage/forecast").at(at).answered().status(200);
    let told: Value = serde_json::from_slice(answer.bytes()).unwrap();
    told["warm"].clone()
}

fn counts(told: &Value) -> [u64; 9] {
    let words = ["sent", "renewed", "elsewhere", "unstored", "failed", "left", "late", "gained", "unasked"];
    words.map(|word| told[word].as_u64().unwrap())
}

#[test]
fn what_will_be_asked_for_is_renewed_before_it_expires_and_what_is_rare_is_not() {
    let mut gateway = start(1, "", "");
    learnt(&mut gateway, &[("/hot", 3), ("/rare", 30)]);
    let renewed = fetched(&mut gateway, END - 600..END + 30, &fresh_for(600).body("new"));
    assert_eq!(renewed, [(END - 240, "/hot".to_owned())]);
    gateway.get("/hot").at(END + 31).hit().content("new");
    gateway.get("/rare").at(END + 31).validates(origin(304).header("cache-control", "max-age=600"));
    let told = told(&mut gateway, END + 31);
    assert_eq!((&told["watched"], &told["hours_known"]), (&json!(true), &json!(24)));
    assert_eq!(counts(&told), [1, 1, 0, 0, 0, 0, 0, 1, 0], "{told}");
    assert_eq!(gateway.shared.metrics.get(&("warm", "sent")), None, "nobody has asked for that");
    gateway.assert_nobody_waits();
    gateway.assert_no_room_is_taken();
}

#[test]
fn it_is_asked_for_with_validators_and_what_is_confirmed_lasts_as_long_again() {
    let mut gateway = start(1, "", "");
    learnt(&mut gateway, &[("/hot", 3)]);
    (END - 400..END - 238).for_each(|at| tick(&mut gateway, at));
    let fetch = gateway.refreshes(0, END - 238);
    let fields = Fields::parse(&fetch.request).unwrap();
    assert_eq!(fields.get(b"if-none-match"), Some(&b"\"1\""[..]));
    assert_eq!(fields.get(b"accept-encoding"), Some(&b"gzip"[..]));
    gateway.renews(0, fetch, END - 238, origin(304).header("cache-control", "max-age=3600"));
    gateway.get("/hot").at(END + 1).hit().content("old").ttl(3600 - 239);
}

#[test]
fn a_young_node_foretells_nothing_nor_does_one_that_is_not_told_to() {
    let mut gateway = start(1, "", "");
    store(&mut gateway, &[("/hot", 1)], &fresh_for(DAY + 3600));
    learn(&mut gateway, &[("/hot", 1)], 0, DAY + 3000);
    assert!(fetched(&mut gateway, DAY + 3000..DAY + 3590, &fresh_for(600)).is_empty());
    assert_eq!(told(&mut gateway, DAY + 3590)["hours_known"], 0);
    let off = config("", "").replace(r#""predict":true"#, r#""predict":false"#);
    let mut gateway = with(1, &off);
    let before = gateway.shared.bytes();
    learnt(&mut gateway, &[("/hot", 3)]);
    assert!(fetched(&mut gateway, END - 600..END + 30, &fresh_for(600)).is_empty());
    assert_eq!(told(&mut gateway, END + 31), json!({ "watched": false }));
    assert!(gateway.shared.bytes() < before + 100_000, "{}", gateway.shared.bytes());
}

#[test]
fn the_likeliest_are_first_and_the_pace_is_kept_whatever_is_foretold() {
    let mut gateway = start(1, r#","per_second":1,"in_flight":1"#, "");
    let paths: Vec<String> = (0..40).map(|nth| format!("/{nth}")).collect();
    let mut asked: Vec<(&str, u64)> = paths.iter().map(|path| (&**path, 4)).collect();
    asked[17].1 = 1;
    asked[33].1 = 2;
    learnt(&mut gateway, &asked);
    let renewed = fetched(&mut gateway, END - 600..END + 30, &fresh_for(600));
    assert_eq!(renewed.len(), 40);
    let first: Vec<&str> = renewed.iter().take(2).map(|(_, path)| &**path).collect();
    assert_eq!(first, ["/17", "/33"]);
    let seconds: std::collections::BTreeSet<u64> = renewed.iter().map(|(at, _)| *at).collect();
    assert_eq!(seconds.len(), 40, "one a second: {renewed:?}");
}

#[test]
fn what_the_pace_does_not_allow_is_left_to_expire() {
    let mut gateway = start(1, r#","per_second":1,"in_flight":1"#, "");
    let paths: Vec<String> = (0..40).map(|nth| format!("/{nth}")).collect();
    let asked: Vec<(&str, u64)> = paths.iter().map(|path| (&**path, 1)).collect();
    learnt(&mut gateway, &asked);
    // Nothing was to be had of this worker until shortly before the end.
    let renewed = fetched(&mut gateway, END - 20..END + 30, &fresh_for(600));
    assert!((19..=20).contains(&renewed.len()), "{renewed:?}");
    assert!(renewed.iter().all(|(at, _)| *at < END), "{renewed:?}");
    let told = told(&mut gateway, END + 31);
    assert_eq!(told["late"], json!(40 - renewed.len()), "{told}");
}

#[test]
fn an_origin_that_is_left_alone_or_has_just_failed_is_not_asked() {
    let breaker = r#","origin_breaker":{"enabled":true,"least_calls":5,"pause":"5m"}"#;
    let mut gateway = start(1, "", breaker);
    learnt(&mut gateway, &[("/hot", 3)]);
    for n in 0..5 {
        gateway.get(&format!("/{n}")).at(END - 310).forwarded(unreachable());
    }
    assert!(fetched(&mut gateway, END - 310..END - 200, &fresh_for(600)).is_empty());
    assert_eq!(fetched(&mut gateway, END - 200..END + 30, &fresh_for(600)).len(), 1, "there was still time");
    let mut gateway = start(1, "", "");
    learnt(&mut gateway, &[("/a", 3), ("/b", 3), ("/c", 3)]);
    let renewed = fetched(&mut gateway, END - 600..END - 220, &origin(503).body("x"));
    assert_eq!(renewed.len(), 3, "these were on their way");
    gateway.get("/a").at(END - 220).hit().content("old");
    assert!(
        fetched(&mut gateway, END - 220..END - 212, &fresh_for(600)).is_empty(),
        "it is left alone for a while"
    );
    assert_eq!(told(&mut gateway, END - 212)["failed"], 3);
    assert_eq!(fetched(&mut gateway, END - 212..END + 30, &fresh_for(600)).len(), 3, "it is well again");
    gateway.assert_nobody_waits();
}

#[test]
fn one_key_that_fails_or_an_answer_cut_off_is_no_reason_to_leave_the_others_alone() {
    for cut in [false, true] {
        let mut gateway = start(1, r#","in_flight":1"#, "");
        learnt(&mut gateway, &[("/a", 3), ("/b", 3), ("/c", 3)]);
        let (mut asked, mut done) = (Vec::new(), 0);
        for at in END - 600..END - 200 {
            tick(&mut gateway, at);
            while let Some(fetch) = gateway.next_refresh(0, at) {
                asked.push(path(&fetch));
                done += 1;
                match (done, cut) {
                    (1, false) => gateway.renews(0, fetch, at, origin(503)),
                    (1 | 2, true) => gateway.cuts_off(0, fetch, at),
                    _ => gateway.renews(0, fetch, at, fresh_for(600)),
                }
            }
        }
        let others: std::collections::BTreeSet<&String> = asked.iter().take(3).collect();
        assert_eq!(others.len(), 3, "{asked:?}");
        let told = told(&mut gateway, END - 200);
        let expected = if cut { (json!(0), json!(2)) } else { (json!(1), json!(0)) };
        assert_eq!((&told["failed"], &told["left"]), (&expected.0, &expected.1), "{told}");
        gateway.assert_nobody_waits();
    }
}

#[test]
fn what_is_only_asked_for_with_credentials_or_cookies_is_not_renewed_without_them() {
    for (name, value, more, times) in [
        ("authorization", "Bearer x", "", 0),
        ("cookie", "session=1", "", 0),
        ("x-key", "1", r#","credential_headers":["x-key"]"#, 0),
        ("cookie", "seen=1", r#","cookies":"ignore""#, 1),
    ] {
        let mut gateway = start(1, "", more);
        let public = origin(200).header("cache-control", &format!("public, max-age={END}")).body("old");
        gateway.get("/hot").header(name, value).at(0).miss(public).stored();
        for minute in 0..(END - 600) / 60 {
            if minute % 3 == 0 {
                gateway.get("/hot").header(name, value).at(minute * 60).hit();
            }
            tick(&mut gateway, minute * 60);
        }
        let renewed = fetched(&mut gateway, END - 600..END - 1, &origin(401).body("who are you"));
        assert_eq!(renewed.len(), times, "{name} {renewed:?}");
        gateway.get("/hot").header(name, value).at(END - 1).hit().content("old");
    }
}

#[test]
fn what_answers_the_renewal_otherwise_takes_nothing_away_and_is_asked_for_once() {
    let not_for_all = origin(200).header("cache-control", "private, max-age=60");
    let gone = origin(404).header("cache-control", "max-age=600");
    for answer in [origin(401), origin(403), origin(302).header("location", "/in"), gone, not_for_all] {
        let mut gateway = start(1, "", "");
        learnt(&mut gateway, &[("/hot", 3)]);
        let renewed = fetched(&mut gateway, END - 600..END - 1, &answer.body("other"));
        assert_eq!(renewed.len(), 1, "{renewed:?}");
        gateway.get("/hot").at(END - 1).hit().content("old");
        assert_eq!(counts(&told(&mut gateway, END - 1)), [1, 0, 0, 1, 0, 0, 0, 0, 0]);
        gateway.assert_nobody_waits();
        gateway.assert_no_room_is_taken();
    }
}

#[test]
fn of_two_workers_one_renews_and_the_other_finds_it_done() {
    let mut gateway = start(2, "", "");
    learnt(&mut gateway, &[("/hot", 3)]);
    (END - 600..END - 237).for_each(|at| tick(&mut gateway, at));
    let fetch = gateway.refreshes(1, END - 237);
    gateway.refreshes_nothing(0, END - 237);
    gateway.refreshes_nothing(0, END - 236);
    gateway.renews(1, fetch, END - 236, fresh_for(600).body("new"));
    // It has not heard of it yet: what it has itself is as it was.
    gateway.refreshes_nothing(0, END - 235);
    assert!(fetched(&mut gateway, END - 234..END + 30, &fresh_for(600)).is_empty());
    gateway.get("/hot").at(END + 1).hit().content("new");
    let told = told(&mut gateway, END + 31);
    assert_eq!((&told["renewed"], &told["elsewhere"]), (&json!(1), &json!(1)), "{told}");
    gateway.assert_nobody_waits();
}

#[test]
fn of_two_envoys_with_a_redis_one_renews_and_the_other_takes_it_over() {
    let config = config("", "").replacen('{', r#"{"remote":{"enabled":true},"#, 1);
    let [mut one, mut two] = [with(1, &config), with(1, &config)];
    one.get("/hot").at(0).miss(fresh_for(END).body("old"));
    one.sends();
    two.redis = one.redis.clone();
    let waiter = two.get("/hot").at(0).asks();
    two.remote_answers(waiter, 0).answered().content("old");
    learn(&mut one, &[("/hot", 3)], 0, END - 600);
    learn(&mut two, &[("/hot", 3)], 0, END - 600);
    for at in END - 600..END - 237 {
        tick(&mut one, at);
        tick(&mut two, at);
    }
    let now = END - 237;
    one.refreshes_nothing(0, now);
    one.asks_about_refreshes(0, now * 1000);
    let fetch = one.refreshes(0, now);
    two.redis = one.redis.clone();
    two.refreshes_nothing(0, now);
    two.asks_about_refreshes(0, now * 1000);
    two.refreshes_nothing(0, now);
    one.renews(0, fetch, now + 1, fresh_for(600).body("new"));
    one.sends();
    two.redis = one.redis.clone();
    two.asks_about_refreshes(0, (now + 2) * 1000);
    two.refreshes_nothing(0, now + 2);
    for gateway in [&mut one, &mut two] {
        gateway.get("/hot").at(END + 1).hit().content("new");
        gateway.assert_nobody_waits();
    }
    assert_eq!(told(&mut two, END + 2)["elsewhere"], 1);
}

#[test]
fn what_was_never_hit_is_not_renewed_nor_again_what_was_renewed_for_nobody() {
    let mut gateway = start(1, "", "");
    store(&mut gateway, &[("/hot", 3)], &fresh_for(END));
    for minute in 0..(END - 600) / 60 {
        if minute % 3 == 0 {
            gateway.get("/hot").at(minute * 60).hit();
            gateway.get("/new").at(minute * 60).miss(origin(200).header("cache-control", "no-store"));
        }
        tick(&mut gateway, minute * 60);
    }
    gateway.get("/new").at(END - 550).miss(fresh_for(400));
    let renewed = fetched(&mut gateway, END - 600..END + 400, &fresh_for(600));
    assert_eq!(renewed, [(END - 240, "/hot".to_owned())]);
    assert_eq!(counts(&told(&mut gateway, END + 400))[7..], [0, 1]);
}

#[test]
fn clients_are_served_while_it_is_renewed_and_nobody_renews_it_twice() {
    let early = config("", "").replace(r#"{"cluster":"origin"}"#, r#"{"cluster":"origin","early":10}"#);
    let mut gateway = with(1, &early);
    learnt(&mut gateway, &[("/hot", 3)]);
    (END - 400..END - 238).for_each(|at| tick(&mut gateway, at));
    let fetch = gateway.refreshes(0, END - 238);
    for _ in 0..20 {
        gateway.get("/hot").at(END - 238).hit().content("old");
        tick(&mut gateway, END - 238);
    }
    gateway.refreshes_nothing(0, END - 238);
    gateway.renews(0, fetch, END - 237, fresh_for(600).body("new"));
    gateway.get("/hot").at(END - 236).hit().content("new");
    gateway.assert_nobody_waits();
}

#[test]
fn what_a_cache_on_the_way_has_of_the_same_age_is_asked_for_once() {
    let mut gateway = start(1, "", "");
    learnt(&mut gateway, &[("/hot", 3)]);
    let mut asked = Vec::new();
    for at in END - 600..END + 30 {
        let same = fresh_for(END).header("age", &at.to_string()).body("old");
        asked.extend(fetched(&mut gateway, at..at + 1, &same));
    }
    assert_eq!(asked.len(), 1, "{asked:?}");
    gateway.assert_nobody_waits();
}

#[test]
fn of_what_varies_the_variant_is_renewed_that_warming_fetches() {
    let mut gateway = start(1, "", "");
    let page = |seconds| fresh_for(seconds).header("vary", "accept-language").body("page");
    gateway.get("/a").at(0).miss(page(END));
    gateway.get("/b").header("accept-language", "de").at(0).miss(page(END));
    for minute in 0..(END - 600) / 60 {
        if minute % 3 == 0 {
            gateway.get("/a").at(minute * 60).hit();
            gateway.get("/b").header("accept-language", "de").at(minute * 60).hit();
        }
        tick(&mut gateway, minute * 60);
    }
    let renewed = fetched(&mut gateway, END - 600..END + 30, &page(600));
    assert_eq!(renewed.iter().map(|(_, path)| &**path).collect::<Vec<_>>(), ["/a"]);
}

#[test]
fn what_only_watches_foretells_nothing() {
    let mut gateway = start(1, "", r#","shadow":true"#);
    gateway.get("/hot").at(0).forwarded(fresh_for(END));
    for minute in 0..(END - 600) / 60 {
        gateway.get("/hot").at(minute * 60).forwarded(fresh_for(END));
        tick(&mut gateway, minute * 60);
    }
    assert!(fetched(&mut gateway, END - 600..END + 30, &fresh_for(600)).is_empty());
}

#[test]
fn it_outlives_configurations_and_what_is_damaged_begins_anew() {
    let mut gateway = start(1, "", "");
    learnt(&mut gateway, &[("/hot", 3)]);
    let mut fresh = start(1, "", "");
    std::mem::swap(&mut fresh.shared, &mut gateway.shared);
    // Of the node store.
    fresh.get("/hot").at(END - 590).hit();
    assert_eq!(fetched(&mut fresh, END - 600..END, &fresh_for(600)).len(), 1);
    let mut damaged = start(1, "", "");
    learnt(&mut damaged, &[("/hot", 3)]);
    damaged.shared.spoil("sv1/f/w/");
    assert!(fetched(&mut damaged, END - 600..END + 30, &fresh_for(600)).is_empty());
}

#[test]
fn what_a_purge_queues_is_fetched_though_it_was_to_be_renewed_or_is_just_being_renewed() {
    for is_under_way in [false, true] {
        let mut gateway = start(1, r#","after_purge_all":1"#, "");
        learnt(&mut gateway, &[("/hot", 3)]);
        (END - 400..END - 238).for_each(|at| tick(&mut gateway, at));
        let ahead = is_under_way.then(|| gateway.refreshes(0, END - 238));
        gateway.post("/.selvage/purge").at(END - 237).chunk(r#"{"all":true}"#).answered().status(200);
        if let Some(ahead) = ahead {
            gateway.refreshes_nothing(0, END - 236);
            gateway.renews(0, ahead, END - 236, fresh_for(600).body("from before"));
        }
        let fetch = gateway.refreshes(0, END - 235);
        assert_eq!(path(&fetch), "/hot");
        gateway.renews(0, fetch, END - 235, fresh_for(600).body("new"));
        gateway.get("/hot").at(END - 234).hit().content("new");
        gateway.refreshes_nothing(0, END - 234);
        gateway.assert_nobody_waits();
        gateway.assert_no_room_is_taken();
    }
}

#[test]
fn who_finds_that_another_worker_is_at_it_takes_nothing_of_the_pace() {
    let mut gateway = start(2, r#","per_second":1"#, "");
    learnt(&mut gateway, &[("/hot", 3)]);
    (END - 400..END - 237).for_each(|at| tick(&mut gateway, at));
    let _ahead = gateway.refreshes(1, END - 238);
    gateway.refreshes_nothing(0, END - 236);
    let urls = json!({ "urls": ["https://example.com/other"] }).to_string();
    gateway.post("/.selvage/warm").worker(1).at(END - 236).chunk(urls).answered().status(202);
    assert_eq!(path(&gateway.refreshes(1, END - 236)), "/other");
}
