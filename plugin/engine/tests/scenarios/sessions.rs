//! A cookie becomes request fields: what the origin, the key and the limits see is what Redis says, and never what a client does.

use std::collections::BTreeMap;

use selvage_engine::cache::Moment;
use selvage_engine::exchange::{Event, Exchange, Wake};
use selvage_engine::fields::Fields;
use selvage_engine::limits::NoAnswer;
use selvage_engine::purge::admin_auth::AdminAuth;
use selvage_engine::remote::asked::Asked;

use crate::gateway::{Answer, Call, Flight, Gateway, Sent, block, fresh_for, moment, origin};

/// Sessions by their ids, which nobody signs.
fn config(session: &str, defaults: &str, more: &str) -> String {
    format!(
        r#"{{"remote":{{"enabled":true}},
            "sessions":[{{"name":"web","cookie":"sid","signed":false,
                "fields":{{"x-user-id":"/user","x-plan":"/plan"}}{session}}}],
            "defaults":{{"session":"web","remote":false{defaults}}}{more}}}"#
    )
}

/// What lies in Redis.
type Records<'r> = BTreeMap<&'r str, &'r str>;

const ANN: &str = r#"{"user":"ann","plan":"gold"}"#;
const BOB: &str = r#"{"user":"bob","plan":"gold"}"#;
const EVE: &str = r#"{"user":"eve","plan":"free"}"#;

fn records() -> Records<'static> {
    [("a", ANN), ("b", BOB), ("e", EVE)].into()
}

/// Redis answers what a worker asks, or not at all. Gives how often it was asked.
fn answers(gateway: &mut Gateway, worker: usize, records: Option<&Records<'_>>, millis: u64) -> usize {
    let mut asked = 0;
    while let Some(question) = gateway.workers[worker].next_asked(moment(millis)) {
        asked += 1;
        let (key, words) = (key_of(&question), question.arguments());
        let number = words.last().unwrap();
        let told = records.map(|records| match records.get(key.trim_start_matches("sess:")) {
            Some(record) => format!("{number} v-1 - {record}"),
            None => format!("{number} n"),
        });
        let told = told.map(|text| question.read(text.as_bytes()).unwrap()).ok_or(NoAnswer::NotAsked);
        let mut moment = Moment { now: moment(millis), host: &mut gateway.shared };
        gateway.workers[worker].was_told(&question, told, &mut moment);
    }
    gateway.workers[worker].take_decided_leases();
    asked
}

fn key_of(question: &Asked) -> String {
    selvage_engine::remote::dialect::asked_key("selvage", 0, question)
}

/// A request of a session goes where it goes once Redis has answered, if it must be asked.
fn asks(call: Call<'_>, at: u64, records: Option<&Records<'_>>) -> Sent {
    let (sent, gateway) = call.at(at).sent_by();
    match sent {
        Sent::Waits(waiter) => {
            answers(gateway, 0, records, at * 1000);
            gateway.wakes(waiter, Wake::Slot, at)
        }
        sent => sent,
    }
}

/// A field of a request as it goes to the origin: what it is given, `-` if it is taken away, `=` if it is left as it came.
fn told(flight: &Flight, name: &str) -> String {
    match flight.field(name) {
        Some(Some(value)) => value,
        Some(None) => "-".to_owned(),
        None => "=".to_owned(),
    }
}

fn both(flight: &Flight) -> [String; 2] {
    [told(flight, "x-user-id"), told(flight, "x-plan")]
}

#[test]
fn the_origin_is_told_what_redis_says_and_each_user_has_an_answer_of_their_own() {
    let mut gateway = Gateway::with(&config("", "", ""));
    let records = records();
    let flight = asks(gateway.get("/a").header("cookie", "sid=a"), 0, Some(&records)).left();
    assert_eq!(both(&flight), ["ann", "gold"]);
    gateway.answers(flight, 0, fresh_for(60).body("for ann")).not_stored("authorization");
    let flight = asks(gateway.get("/a").header("cookie", "sid=b"), 1, Some(&records)).left();
    assert_eq!(both(&flight), ["bob", "gold"]);
    gateway.answers(flight, 1, fresh_for(60).body("for bob"));
    // Who shows none is told apart from who does.
    let flight = gateway.get("/a").at(1).leaves();
    assert_eq!(both(&flight), ["=", "="]);
    gateway.answers(flight, 1, fresh_for(60).body("for all")).stored();
    gateway.get("/a").at(2).hit().content("for all");
    asks(gateway.get("/a").header("cookie", "sid=a"), 2, Some(&records)).left();
    assert_eq!(gateway.counted(0, "sessions", "found"), 2);
    assert_eq!(gateway.counted(0, "sessions", "copy"), 1);
}

#[test]
fn users_of_one_plan_share_where_the_plan_is_all_that_the_key_has() {
    let session = r#","fields":{"x-plan":"/plan"}"#;
    let config = config("", r#","cookies":"ignore","key":{"headers":["x-plan"]}"#, "")
        .replace(r#""fields":{"x-user-id":"/user","x-plan":"/plan"}"#, &session[1..]);
    let mut gateway = Gateway::with(&config);
    let records = records();
    let flight = asks(gateway.get("/a").header("cookie", "sid=a"), 0, Some(&records)).left();
    gateway.answers(flight, 0, fresh_for(60).body("gold")).stored();
    asks(gateway.get("/a").header("cookie", "sid=b"), 1, Some(&records)).answered().content("gold");
    // The other plan has its own, and so have those without a session, whatever they send.
    let flight = asks(gateway.get("/a").header("cookie", "sid=e"), 1, Some(&records)).left();
    gateway.answers(flight, 1, fresh_for(60).body("free")).stored();
    for spoof in ["x-plan", "x_plan"] {
        let flight = gateway.get("/a").header(spoof, "gold").at(2).leaves();
        assert_eq!(told(&flight, spoof), "-", "{spoof}");
        gateway.goes_away(flight, 2);
    }
    asks(gateway.get("/a").header("cookie", "sid=e").header("x-plan", "gold"), 2, Some(&records))
        .answered()
        .content("free");
}

#[test]
fn a_user_that_the_key_does_not_have_is_a_credential() {
    let mut gateway = Gateway::with(&config("", r#","cookies":"ignore","key":{"headers":["x-plan"]}"#, ""));
    let records = records();
    let flight = asks(gateway.get("/a").header("cookie", "sid=a"), 0, Some(&records)).left();
    gateway.answers(flight, 0, fresh_for(60).body("ann's")).not_stored("authorization");
    // The origin says that it is for all of the plan.
    let flight = asks(gateway.get("/b").header("cookie", "sid=a"), 0, Some(&records)).left();
    let shared = origin(200).header("cache-control", "public, max-age=60").body("gold");
    gateway.answers(flight, 0, shared).stored();
    asks(gateway.get("/b").header("cookie", "sid=b"), 1, Some(&records)).answered().content("gold");
    asks(gateway.get("/b").header("cookie", "sid=e"), 1, Some(&records)).left();
}

#[test]
fn what_clients_say_goes_on_no_path() {
    let rules = r#","rules":[
        {"name":"out","match":{"paths":["/out"]},"bypass":true},
        {"name":"off","match":{"paths":["/off"]},"bypass":true,"cache_status":"off","session":null},
        {"name":"watch","match":{"paths":["/watch"]},"shadow":true},
        {"name":"other","match":{"paths":["/other"]},"session":null}]"#;
    let mut gateway = Gateway::with(&config("", "", rules));
    gateway.get("/other").at(0).miss(fresh_for(60)).stored();
    let spoofs = ["x-user-id", "x_user_id", "x-user_id", "x.user.id", "x-plan"];
    for (method, path) in [
        ("GET", "/a"),
        ("HEAD", "/a"),
        ("POST", "/a"),
        ("OPTIONS", "/a"),
        ("GET", "/out"),
        ("POST", "/out"),
        ("GET", "/off"),
        ("GET", "/watch"),
        ("POST", "/other"),
        ("GET", "/other?b"),
    ] {
        for spoof in spoofs {
            let flight = gateway.request(method, path).header(spoof, "root").at(1).leaves();
            assert_eq!(told(&flight, spoof), "-", "{method} {path} {spoof}");
            gateway.goes_away(flight, 1);
            // Nor where the cookie names no session, or Redis says nothing.
            for records in [Some(Records::new()), None] {
                let call = gateway.request(method, path).header(spoof, "root").header("cookie", "sid=no");
                let flight = asks(call, 1, records.as_ref()).left();
                assert_eq!(told(&flight, spoof), "-", "{method} {path} {spoof}");
                gateway.goes_away(flight, 1);
            }
        }
    }
    let upgrade = gateway.get("/a").header("upgrade", "websocket").header("connection", "Upgrade, X-User-Id");
    let flight = upgrade.at(1).leaves();
    assert_eq!(told(&flight, "connection"), "Upgrade");
    gateway.goes_away(flight, 1);
    let flight = gateway.get("/a?q").header("connection", "x_plan").at(1).leaves();
    assert_eq!(told(&flight, "connection"), "-");
    gateway.goes_away(flight, 1);
    assert!(gateway.counted(0, "sessions", "stripped") > 0);
    // Names that only begin alike are nobody's business.
    let flight = gateway.get("/a?r").header("x-user-ids", "1").header("x-user", "2").at(1).leaves();
    assert_eq!([told(&flight, "x-user-ids"), told(&flight, "x-user")], ["=", "="]);
    gateway.goes_away(flight, 1);
    gateway.assert_no_room_is_taken();
}

#[test]
fn a_renewal_in_the_background_carries_nobodys_fields_but_those_of_its_key() {
    let defaults = r#","cookies":"ignore","key":{"headers":["x-plan"]},
        "refresh":{"cluster":"origin"},"stale":{"while_revalidate":"1h"}"#;
    let mut gateway = Gateway::with(&config("", defaults, ""));
    let records = records();
    let shared = || origin(200).header("cache-control", "public, max-age=10").header("etag", "\"1\"");
    let flight = asks(gateway.get("/a").header("cookie", "sid=a"), 0, Some(&records)).left();
    gateway.answers(flight, 0, shared()).stored();
    // What a user asks for is not asked for in the name of nobody.
    asks(gateway.get("/a").header("cookie", "sid=b"), 20, Some(&records)).answered();
    gateway.refreshes_nothing(0, 20);
    let config = config("", defaults, "").replace(r#""x-user-id":"/user","#, "");
    let mut gateway = Gateway::with(&config);
    let flight = asks(gateway.get("/a").header("cookie", "sid=a"), 0, Some(&records)).left();
    gateway.answers(flight, 0, shared()).stored();
    let call = gateway.get("/a").header("cookie", "sid=b").header("x_plan", "free");
    asks(call, 20, Some(&records)).answered();
    let refresh = gateway.refreshes(0, 20);
    let sent = Fields::parse(&refresh.request).unwrap();
    assert_eq!(sent.all(b"x-plan").collect::<Vec<_>>(), [b"gold"]);
    assert_eq!(sent.get(b"x_plan"), None);
    gateway.renews(0, refresh, 21, shared());
    gateway.assert_no_room_is_taken();
}

#[test]
fn limits_know_who_asks_by_what_redis_says() {
    for by in ["header:x-user-id", "session:x-user-id"] {
        only_one_each(by);
    }
}

fn only_one_each(by: &str) {
    let more = r#","limits":[{"name":"each","by":["BY"],"quota":1,"window":"1h","burst":1}]"#;
    let mut gateway = Gateway::with(&config("", r#","limits":["each"]"#, &more.replace("BY", by)));
    let records = records();
    for (cookie, spoof, is_admitted) in [
        ("sid=a", "", true),
        ("sid=a", "another", false),
        ("sid=b", "ann", true),
        ("sid=b", "", false),
        ("", "ann", true),
        ("", "bob", false),
        // A cookie that names no session is no other caller.
        ("sid=none", "", false),
        ("sid=x", "eve", false),
    ] {
        let mut call = gateway.get("/a");
        if !cookie.is_empty() {
            call = call.header("cookie", cookie);
        }
        if !spoof.is_empty() {
            call = call.header("x-user-id", spoof);
        }
        match asks(call, 0, Some(&records)) {
            Sent::Left(flight) => {
                assert!(is_admitted, "{cookie} {spoof}");
                gateway.goes_away(flight, 0);
            }
            sent => {
                assert!(!is_admitted, "{cookie} {spoof}");
                sent.answered().status(429);
            }
        }
    }
}

/// The tier, too, is one that no client can choose.
#[test]
fn tiers_are_those_of_the_session() {
    let more = r#","limits":[{"name":"each","by":["session:x-user-id"],"quota":1,"window":"1h","burst":1,
        "tiers":{"by":"session:x-plan","quota":{"gold":3}}}]"#;
    let mut gateway = Gateway::with(&config("", r#","limits":["each"]"#, more));
    let records = records();
    let mut admitted = |cookie: &str| {
        let asks = (0..5).filter(|_| {
            let call = gateway.get("/a").header("cookie", cookie).header("x-plan", "gold");
            match asks(call, 0, Some(&records)) {
                Sent::Left(flight) => {
                    gateway.goes_away(flight, 0);
                    true
                }
                _ => false,
            }
        });
        asks.count()
    };
    assert_eq!(["sid=a", "sid=e", "sid=none"].map(&mut admitted), [3, 1, 1]);
}

/// Who may see a job is who has the session, however often that is renewed, and nobody who only says so.
#[cfg(feature = "jobs")]
#[test]
pub fn jobs_belong_to_who_has_the_session() {
    use selvage_engine::jobs::question::Does;

    for by in ["header:x-user-id", "session:x-user-id"] {
        let jobs = r#","jobs":{"cluster":"origin","by":["BY"]}"#.replace("BY", by);
        let config = config("", r#","jobs":"prefer""#, &jobs);
        let owner = |fields: &[(&str, &str)]| {
            let mut gateway = Gateway::with(&config);
            gateway.workers[0].seed_jobs(|| 7);
            let records = Records::from([("a", ANN), ("a-again", ANN), ("b", BOB)]);
            let mut call = gateway.get("/report").header("prefer", "respond-async");
            for (name, value) in fields {
                call = call.header(name, value);
            }
            // Without a cookie Redis is asked for no session.
            match fields.iter().any(|(name, _)| *name == "cookie") {
                true => drop(asks(call, 0, Some(&records)).waiting()),
                false => drop(call.at(0).waits()),
            }
            let Some(Asked::Job(request)) = gateway.workers[0].next_asked(moment(0)) else {
                panic!("no job")
            };
            let Does::Accept { owner, .. } = request.does else { panic!("{request:?}") };
            owner
        };
        let ann = owner(&[("cookie", "sid=a")]);
        assert_eq!(ann, owner(&[("cookie", "sid=a-again"), ("x-user-id", "root")]), "{by}");
        let others = [&[("cookie", "sid=b"), ("x-user-id", "ann")][..], &[("x-user-id", "ann")], &[]];
        let [bob, spoofs, nobody] = others.map(owner);
        assert!(ann != bob && ann != nobody && spoofs == nobody, "{by}");
    }
}

/// The class of a request, and its lane, are what its session says.
#[cfg(feature = "pools")]
#[test]
fn pools_go_by_what_the_session_says() {
    let more = r#","pools":[{"name":"p","fixed":1}]"#;
    let defaults = r#","bypass":true,"admission":{"pool":"p","priority_header":"x-class","fair_by":["session:x-user-id"]}"#;
    let config = config("", defaults, more).replace(r#""x-plan":"/plan""#, r#""x-class":"/class""#);
    let mut gateway = Gateway::with(&config);
    let records =
        Records::from([("high", r#"{"user":"h","class":"high"}"#), ("low", r#"{"user":"l","class":"low"}"#)]);
    let flight = asks(gateway.get("/1").header("cookie", "sid=low"), 0, Some(&records)).left();
    // Who only says so is not of a higher class.
    let claims = gateway.get("/2").header("cookie", "sid=low").header("x-class", "high").at(0).waits();
    let high = asks(gateway.get("/3").header("cookie", "sid=high"), 0, Some(&records)).waiting();
    gateway.answers(flight, 0, origin(200));
    assert_eq!(gateway.workers[0].take_decided_tickets().len(), 1);
    let flight = gateway.wakes(high, Wake::Slot, 0).left();
    gateway.answers(flight, 0, origin(200));
    gateway.workers[0].take_decided_tickets();
    let flight = gateway.wakes(claims, Wake::Slot, 0).left();
    gateway.answers(flight, 0, origin(200));
}

/// Who has a session that cannot be found out is not nobody: neither is a job theirs, nor is theirs a stranger's.
#[cfg(feature = "jobs")]
#[test]
fn nobody_has_jobs_while_sessions_cannot_be_found_out() {
    let jobs = r#","jobs":{"cluster":"c","by":["session:x-user-id"]FAILURE}"#;
    let mut gateway = Gateway::with(&config("", r#","jobs":"prefer""#, &jobs.replace("FAILURE", "")));
    let path = format!("/jobs/{:032x}", 7);
    let call = gateway.get(&path).header("cookie", "sid=a");
    asks(call, 0, None).answered().status(503).has("retry-after", "1");
    let call = gateway.get("/a").header("cookie", "sid=a").header("prefer", "respond-async");
    asks(call, 0, None).answered().status(503);
    let forwards = jobs.replace("FAILURE", r#","on_failure":"forward""#);
    let mut gateway = Gateway::with(&config("", r#","jobs":"prefer""#, &forwards));
    let call = gateway.get("/a").header("cookie", "sid=a").header("prefer", "respond-async");
    let flight = asks(call, 0, None).left();
    gateway.goes_away(flight, 0);
    gateway.assert_no_room_is_taken();
}

#[test]
fn who_has_no_session_is_let_through_or_told_so() {
    let mut gateway = Gateway::with(&config(r#","missing":"401""#, "", ""));
    let answer = gateway.get("/a").at(0).answered();
    let wanted = "Cookie cookie-name=\"sid\"";
    answer.status(401).detail("no-session").has("www-authenticate", wanted).has("cache-control", "no-store");
    asks(gateway.post("/a").header("cookie", "sid=no"), 0, Some(&Records::new())).answered().status(401);
    assert_eq!(gateway.counted(0, "detail", "no-session"), 2);
    // A browser sends no cookies where it only asks if it may.
    let call = gateway.request("OPTIONS", "/a").header("access-control-request-method", "PUT");
    let flight = call.at(0).leaves();
    gateway.goes_away(flight, 0);
    // Nothing is known of a session while Redis is away: that is not to say that there is none.
    let flight = asks(gateway.get("/a").header("cookie", "sid=a"), 0, None).left();
    assert_eq!(both(&flight), ["=", "="]);
    gateway.goes_away(flight, 0);
    let mut gateway = Gateway::with(&config(r#","on_failure":"503""#, "", ""));
    let answer = asks(gateway.get("/a").header("cookie", "sid=a"), 0, None).answered();
    answer.status(503).detail("session-unknown").has("retry-after", "1");
    let flight = gateway.get("/a").at(0).leaves();
    gateway.goes_away(flight, 0);
    gateway.assert_no_room_is_taken();
}

#[test]
fn a_purge_of_a_session_is_heard_by_the_other_worker() {
    let mut gateway = Gateway::of_workers(2, &config("", "", ""));
    gateway.workers.iter_mut().for_each(|worker| worker.set_admin_auth(AdminAuth::Open));
    let mut records = records();
    for worker in 0..2 {
        let waiter = gateway.get("/a").header("cookie", "sid=a").worker(worker).at(0).waits();
        assert_eq!(answers(&mut gateway, worker, Some(&records), 0), 1);
        let flight = gateway.wakes(waiter, Wake::Slot, 0).left();
        gateway.goes_away(flight, 0);
    }
    records.remove("a");
    let purge = gateway.post("/.selvage/purge").at(1).chunk(r#"{"tags":["session:a"]}"#).sent();
    let answer = match purge {
        Sent::Waits(waiter) => gateway.wakes(waiter, Wake::Poll, 2).answered(),
        sent => sent.answered(),
    };
    answer.status(200);
    gateway.learns(1, 1);
    for worker in 0..2 {
        let waiter = gateway.get("/a").header("cookie", "sid=a").worker(worker).at(2).waits();
        answers(&mut gateway, worker, Some(&records), 2_000);
        let flight = gateway.wakes(waiter, Wake::Slot, 2).left();
        assert_eq!(both(&flight), ["=", "="], "{worker}");
        gateway.goes_away(flight, 2);
    }
}

#[test]
fn who_has_written_reads_what_was_written() {
    let mut gateway = Gateway::with(&config("", r#","bypass":true"#, ""));
    let mut records = records();
    let user = |gateway: &mut Gateway, at: u64, records: &Records<'_>| {
        let flight = asks(gateway.get("/a").header("cookie", "sid=a"), at, Some(records)).left();
        let seen = both(&flight);
        gateway.answers(flight, at, origin(200));
        seen[1].clone()
    };
    assert_eq!(user(&mut gateway, 0, &records), "gold");
    // What is only read leaves the copy alone.
    records.insert("a", EVE);
    assert_eq!(user(&mut gateway, 1, &records), "gold");
    for (method, response, is_dropped) in [
        ("POST", origin(204), true),
        ("PATCH", origin(500), true),
        ("GET", origin(200).header("set-cookie", "sid=; Max-Age=0"), true),
        ("GET", origin(200).header("set-cookie", "sid=a; HttpOnly"), false),
        ("GET", origin(200).header("clear-site-data", "\"cookies\""), true),
        ("OPTIONS", origin(204), false),
    ] {
        records.insert("a", ANN);
        gateway.workers[0].stats.count("sessions", "found");
        let flight = asks(gateway.post("/forget").header("cookie", "sid=a"), 1, Some(&records)).left();
        gateway.answers(flight, 1, origin(200));
        assert_eq!(user(&mut gateway, 1, &records), "gold");
        records.insert("a", EVE);
        let flight = asks(gateway.request(method, "/b").header("cookie", "sid=a"), 1, Some(&records)).left();
        gateway.answers(flight, 1, response);
        assert_eq!(user(&mut gateway, 1, &records), if is_dropped { "free" } else { "gold" }, "{method}");
    }
}

#[test]
fn a_client_that_leaves_while_it_waits_leaves_nothing_behind() {
    let mut gateway = Gateway::with(&config("", "", ""));
    let waiter = gateway.get("/a").header("cookie", "sid=a").at(0).waits();
    assert!(gateway.workers[0].has_waiting_leases());
    gateway.goes_away(waiter, 0);
    assert!(!gateway.workers[0].has_waiting_leases());
    answers(&mut gateway, 0, Some(&records()), 0);
    assert!(!gateway.workers[0].has_decided_leases());
    gateway.assert_no_room_is_taken();
}

#[test]
fn a_record_is_read_once_for_all_who_wait_for_it() {
    let mut gateway = Gateway::with(&config("", r#","bypass":true"#, ""));
    let waiters: Vec<_> = (0..5).map(|_| gateway.get("/a").header("cookie", "sid=a").at(0).waits()).collect();
    assert_eq!(answers(&mut gateway, 0, Some(&records()), 0), 1);
    for waiter in waiters {
        let flight = gateway.wakes(waiter, Wake::Slot, 0).left();
        assert_eq!(both(&flight), ["ann", "gold"]);
        gateway.goes_away(flight, 0);
    }
    gateway.assert_no_room_is_taken();
}

#[test]
fn what_would_become_of_a_request_is_explained() {
    let mut gateway = Gateway::with(&config(r#","missing":"401""#, "", ""));
    gateway.workers[0].set_admin_auth(AdminAuth::Open);
    let explain = |gateway: &mut Gateway, message: &str| -> String {
        let answer: Answer = gateway.post("/.selvage/explain").at(0).chunk(message).answered();
        String::from_utf8(answer.bytes().to_vec()).unwrap()
    };
    let text = explain(&mut gateway, r#"{"url":"https://example.com/a"}"#);
    assert!(text.contains("answered with 401") && text.contains("the cookie sid is not there"), "{text}");
    let text = explain(&mut gateway, r#"{"url":"https://example.com/a","headers":{"cookie":"sid=a"}}"#);
    assert!(text.contains("not looked up here") && !text.contains("401"), "{text}");
    let flight = asks(gateway.get("/a").header("cookie", "sid=a"), 0, Some(&records())).left();
    gateway.goes_away(flight, 0);
    let text = explain(&mut gateway, r#"{"url":"https://example.com/a","headers":{"cookie":"sid=a"}}"#);
    assert!(text.contains("names a session that is known here"), "{text}");
}

#[test]
pub fn every_kind_of_request_waits_and_goes_on_as_it_would_have() {
    const BODY: Event<'static> = Event::RequestBody { chunk: b"q", end_of_stream: true };
    let more = r#","limits":[{"name":"fleet","by":["path"],"quota":100,"window":"1s","burst":20,"scope":"fleet"}],
        "pools":[{"name":"api","fixed":1}],
        "rules":[{"name":"out","match":{"paths":["/out"]},"bypass":true},
            {"name":"off","match":{"paths":["/off"]},"bypass":true,"cache_status":"off","tags":{"strip":false}},
            {"name":"limited","match":{"paths":["/limited"]},"limits":["fleet"]},
            {"name":"placed","match":{"paths":["/placed"]},"bypass":true,"admission":{"pool":"api"}}]"#;
    let defaults = r#","key":{"body":{"methods":["QUERY"]}}"#;
    let config = config("", defaults, more).replace(r#""remote":false,"#, "");
    let mut gateway = Gateway::with(&config);
    gateway.get("/hit").at(0).forwarded(origin(200).header("cache-control", "public, max-age=600"));
    let begin = |gateway: &mut Gateway, method: &str, path: &str, end_of_stream: bool| {
        let fields = [
            (":method", method),
            (":scheme", "https"),
            (":authority", "example.com"),
            (":path", path),
            ("cookie", "sid=no"),
        ];
        let mut exchange = Exchange::new();
        gateway.feed(0, &mut exchange, 60_000, Event::Request { head: block(&fields), end_of_stream });
        exchange
    };
    let mut kinds: Vec<Exchange> = [
        ("POST", "/a", false),
        ("GET", "/out", true),
        ("GET", "/off", true),
        ("QUERY", "/q", false),
        ("GET", "/b", true),
        ("GET", "/b", true),
        ("GET", "/limited", true),
        ("GET", "/placed", true),
        ("GET", "/placed", true),
        ("GET", "/hit", true),
        ("GET", "/gone", true),
    ]
    .into_iter()
    .map(|(method, path, is_all)| begin(&mut gateway, method, path, is_all))
    .collect();
    assert!(kinds.iter().all(Exchange::awaits_lease));
    gateway.feed(0, &mut kinds[3], 60_000, BODY);
    // Somebody has woken it in vain: it asks again.
    gateway.feed(0, &mut kinds[0], 60_000, Event::Woken(Wake::Slot));
    assert!(kinds[0].awaits_lease());
    let mut gone = kinds.pop().unwrap();
    gateway.feed(0, &mut gone, 60_000, Event::Ended);
    assert_eq!(answers(&mut gateway, 0, Some(&Records::new()), 60_000), 1);
    let states: Vec<&str> = kinds
        .iter_mut()
        .map(|exchange| {
            gateway.feed(0, exchange, 60_000, Event::Woken(Wake::Slot));
            exchange.state_name()
        })
        .collect();
    let expected = [
        "forwarding",
        "passing",
        "relaying",
        "awaiting body",
        "looking up",
        "waiting",
        "leasing",
        "passing",
        "queued",
        "finished",
    ];
    assert_eq!(states, expected);
}
