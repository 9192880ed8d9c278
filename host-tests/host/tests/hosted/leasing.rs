//! Limits that count for the fleet: what a request does while Redis is asked, and whatever Redis answers.

use std::time::Duration;

use selvage_host::{Callout, Gateway, Headers, Stream};

use crate::fresh;
use crate::remote::{calls, only};

/// A limit of so much, which all clients share.
fn gateway(limit: &str, workers: usize) -> Gateway {
    let config = format!(
        r#"{{"remote":{{"enabled":true}},"limits":[{{"name":"all","by":[],"scope":"fleet",{limit}}}],
            "defaults":{{"bypass":true,"limits":["all"]}}}}"#
    );
    let gateway =
        Gateway::with(&config).workers(workers).cluster("redis").origin(|_| fresh("content")).start();
    gateway.tick();
    for call in calls(&gateway) {
        call.respond(200, Headers::new(), r#"{"PING":[true,"PONG"]}"#);
    }
    gateway
}

const BUSY: &str = r#""quota":1000,"window":"1s""#;
const STRICT: &str = r#""quota":60,"window":"1m","burst":2"#;

fn open(gateway: &Gateway, worker: usize) -> Stream {
    let stream = gateway.get("/a").open(worker);
    stream.request_headers();
    stream
}

/// The calls about limits.
fn leases(gateway: &Gateway) -> Vec<Callout> {
    calls(gateway).into_iter().filter(|call| call.path().contains(":limit:")).collect()
}

/// What a call asks for: the words after the key.
fn words(call: &Callout) -> Vec<String> {
    let path = call.path();
    let path = path.strip_suffix(".bin").expect("an answer as bytes is wanted");
    path.split('/').skip(5).map(str::to_owned).collect()
}

/// Grants so much, by the script's answer.
pub fn grant(call: Callout, granted: u32) {
    let question = words(&call).pop().unwrap();
    call.respond(200, Headers::new(), format!("{granted} 0 1 7 1 {question}"));
}

fn refuse(call: Callout, retry: u32) {
    let question = words(&call).pop().unwrap();
    call.respond(200, Headers::new(), format!("0 {retry} 1 7 0 {question}"));
}

fn counted(gateway: &Gateway, word: &str) -> i64 {
    gateway.advance(1);
    gateway.tick();
    gateway.metric(&format!("selvage.limit_events.{word}")).unwrap_or_default()
}

#[test]
fn who_comes_first_waits_for_the_answer_and_the_next_ones_for_nothing() {
    let gateway = gateway(BUSY, 1);
    let first = open(&gateway, 0);
    assert!(first.is_paused());
    let call = only(leases(&gateway));
    assert!(call.path().starts_with("/EVAL/local%20t"), "{}", call.path());
    assert_eq!(call.timeout_milliseconds(), 50);
    assert_eq!(words(&call)[..9].join(" "), "1000 1000 100 1 2 0 0 0 0");
    grant(call, 3);
    assert!(!first.is_paused());
    let more: Vec<Stream> = (0..2).map(|_| open(&gateway, 0)).collect();
    assert!(more.iter().all(|stream| !stream.is_paused()));
    // More was asked for before there was none, by the name of the script that Redis knows now.
    let call = only(leases(&gateway));
    assert!(call.path().starts_with("/EVALSHA/"), "{}", call.path());
    assert_eq!(words(&call)[3], "0");
    grant(call, 1);
    assert_eq!((counted(&gateway, "fleet-asked"), counted(&gateway, "fleet-granted")), (2, 2));
    assert_eq!((counted(&gateway, "fleet-waited"), counted(&gateway, "fleet-failed")), (1, 0));
}

#[test]
fn several_who_wait_share_a_call_and_who_has_left_is_forgotten() {
    let gateway = gateway(BUSY, 1);
    let streams: Vec<Stream> = (0..4).map(|_| open(&gateway, 0)).collect();
    assert!(streams.iter().all(Stream::is_paused));
    streams[3].disconnect();
    let call = only(leases(&gateway));
    grant(call, 3);
    gateway.run();
    assert!(streams[..3].iter().all(|stream| !stream.is_paused()));
    assert!(!gateway.worker(0).is_dead());
}

#[test]
fn workers_wait_for_the_answer_that_one_of_them_gets() {
    let gateway = gateway(BUSY, 2);
    let streams = [open(&gateway, 0), open(&gateway, 1)];
    assert!(streams.iter().all(Stream::is_paused));
    grant(only(leases(&gateway)), 3);
    gateway.run();
    assert!(streams.iter().all(|stream| !stream.is_paused()));
}

#[test]
fn a_strict_limit_is_asked_for_each_token_and_not_while_there_is_none() {
    let gateway = gateway(STRICT, 1);
    for _ in 0..2 {
        let stream = open(&gateway, 0);
        let call = only(leases(&gateway));
        assert_eq!(words(&call)[3..5].join(" "), "1 0");
        grant(call, 1);
        assert!(!stream.is_paused());
    }
    let refused = open(&gateway, 0);
    refuse(only(leases(&gateway)), 1_500);
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.header("retry-after").as_deref(), Some("2"));
    gateway.clock().advance(Duration::from_millis(1_400));
    let refused = open(&gateway, 0);
    assert_eq!((refused.status(), refused.header("retry-after").as_deref()), (429, Some("1")));
    assert!(leases(&gateway).is_empty());
    gateway.clock().advance(Duration::from_millis(200));
    assert!(open(&gateway, 0).is_paused());
}

#[test]
fn a_script_that_redis_has_forgotten_is_sent_again_while_the_client_waits() {
    let gateway = gateway(STRICT, 1);
    let _first = open(&gateway, 0);
    grant(only(leases(&gateway)), 1);
    let second = open(&gateway, 0);
    let call = only(leases(&gateway));
    assert!(call.path().starts_with("/EVALSHA/"));
    gateway.clock().advance(Duration::from_millis(20));
    call.respond(200, Headers::new(), "-NOSCRIPT No matching script. Please use EVAL.");
    assert!(second.is_paused());
    let call = only(leases(&gateway));
    assert!(call.path().starts_with("/EVAL/"));
    assert_eq!(call.timeout_milliseconds(), 30);
    grant(call, 1);
    assert!(!second.is_paused());
}

#[test]
fn whatever_else_comes_the_node_goes_by_its_share_or_as_is_set() {
    type Failure = fn(Callout);
    let failures: [Failure; 8] = [
        |call| call.respond(200, Headers::new(), "-ERR The user executing the script can't run this command"),
        |call| call.respond(200, Headers::new(), "-LOADING Redis is loading the dataset in memory"),
        |call| call.respond(200, Headers::new(), "3 0 1 7 9 0"),
        |call| grant(call, 4_000_000),
        |call| call.respond(200, Headers::new(), ""),
        |call| call.respond(404, Headers::new(), ""),
        |call| call.synthesise(504),
        Callout::fail,
    ];
    for (nth, failure) in failures.into_iter().enumerate() {
        for (on_failure, first, later) in [("share", 0, 429), ("open", 0, 0), ("closed", 503, 503)] {
            let limit = format!(r#"{STRICT},"on_failure":"{on_failure}""#);
            let gateway = gateway(&limit, 1);
            let waits = open(&gateway, 0);
            failure(only(leases(&gateway)));
            gateway.run();
            assert_eq!((waits.is_paused(), waits.status()), (false, first), "{nth} {on_failure}");
            // Nobody waits for a Redis that has just failed. One node alone has the whole burst.
            let told: Vec<u16> = (0..3).map(|_| open(&gateway, 0).status()).collect();
            assert_eq!(*told.last().unwrap(), later, "{nth} {on_failure}: {told:?}");
            assert!(leases(&gateway).is_empty());
            assert_eq!(counted(&gateway, "fleet-failed"), 1);
        }
    }
}

#[test]
fn a_redis_that_refuses_scripts_is_told_of_once() {
    let gateway = gateway(STRICT, 1);
    for _ in 0..3 {
        let _stream = open(&gateway, 0);
        for call in leases(&gateway) {
            call.respond(
                200,
                Headers::new(),
                "-NOPERM this user has no permissions to run the 'eval' command",
            );
        }
        gateway.advance(2);
    }
    let told = gateway.logs().iter().filter(|line| line.message.contains("on_failure holds")).count();
    assert_eq!(told, 1);
}

#[test]
fn a_client_that_leaves_while_it_waits_costs_nobody_anything() {
    let gateway = gateway(STRICT, 1);
    let gone = open(&gateway, 0);
    gone.disconnect();
    grant(only(leases(&gateway)), 1);
    gateway.run();
    assert!(!gateway.worker(0).is_dead());
    // What he waited for is nobody's: the next one asks for himself.
    assert!(open(&gateway, 0).is_paused());
}

#[test]
fn an_answer_that_never_comes_holds_nobody_longer_than_it_may_take() {
    let gateway = gateway(BUSY, 2);
    let _asks = open(&gateway, 0);
    gateway.kill_worker(0);
    let waits = open(&gateway, 1);
    assert!(waits.is_paused());
    gateway.clock().advance(Duration::from_millis(51));
    gateway.tick();
    gateway.run();
    assert_eq!((waits.is_paused(), waits.status()), (false, 0));
}
