//! Budgets that count for the fleet: what a request does while Redis is asked, and who is told of a threshold.

use selvage_host::{Callout, Gateway, Headers, OriginResponse, Stream};

use crate::remote::{calls, only};

const PATH: &str = "/v1/chat/completions";

/// 60 tokens of input and 40 of output.
const ANSWER: &str = r#"{"model":"m","choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}],"usage":{"prompt_tokens":60,"completion_tokens":40}}"#;

/// 1000 tokens. Nothing of the body is read: one of 300 bytes is 100 tokens, and an answer 100.
fn gateway(budget: &str, workers: usize) -> Gateway {
    let config = format!(
        r#"{{"remote":{{"enabled":true}},"budgets":[{{"name":"all","tokens":1000,"scope":"fleet","reserve_output":100{budget}}}],
            "rules":[{{"name":"chat","budgets":["all"],"bypass":true,"llm":{{"api":"openai"}}}}]}}"#
    );
    let json =
        move |_: &_| OriginResponse::status(200).header("content-type", "application/json").chunk(ANSWER);
    let gateway = Gateway::with(&config)
        .workers(workers)
        .cluster("redis")
        .cluster("hooks")
        .shows_bodies()
        .origin(json)
        .start();
    gateway.tick();
    for call in calls(&gateway) {
        call.respond(200, Headers::new(), r#"{"PING":[true,"PONG"]}"#);
    }
    gateway
}

fn open(gateway: &Gateway, worker: usize) -> Stream {
    let body = format!(r#"{{"model":"m","messages":"{}"}}"#, "x".repeat(300 - 27));
    let stream = gateway.post(PATH).header("content-length", "300").body(body).open(worker);
    stream.request_headers();
    stream
}

fn asked(gateway: &Gateway) -> Vec<Callout> {
    calls(gateway).into_iter().filter(|call| call.path().contains(":budget:")).collect()
}

/// What a call says: the words after the key.
fn words(call: &Callout) -> Vec<String> {
    let path = call.path();
    let path = path.strip_suffix(".bin").expect("an answer as bytes is wanted");
    path.split('/').skip(5).map(str::to_owned).collect()
}

/// Answers: which are granted, what is spent and reserved, and the threshold that is passed.
fn answer(call: Callout, granted: &str, spent: u64, reserved: u64, crossed: u32) {
    let question = words(&call).pop().unwrap();
    call.respond(200, Headers::new(), format!(".{granted} {spent} {reserved} 1 {crossed} 0 {question}"));
}

#[test]
fn who_waits_shares_a_call_and_goes_or_is_refused_by_the_answer() {
    let gateway = gateway("", 1);
    let first = open(&gateway, 0);
    let call = only(asked(&gateway));
    assert!(call.path().starts_with("/EVAL/local%20t"), "{}", call.path());
    assert_eq!(words(&call)[3..8].join(" "), "0 0 g200 80 0");
    // Those who come meanwhile are in the next question, together.
    let others = [open(&gateway, 0), open(&gateway, 0)];
    assert_eq!(asked(&gateway).len(), 1);
    answer(call, "1", 0, 200, 0);
    gateway.run();
    assert!(!first.is_paused());
    let call = only(asked(&gateway));
    assert!(call.path().starts_with("/EVALSHA/"), "{}", call.path());
    assert_eq!(words(&call)[3..6].join(" "), "0 200 g200,g200");
    answer(call, "10", 900, 300, 0);
    gateway.run();
    assert_eq!(
        others.each_ref().map(|stream| (stream.is_paused(), stream.status())),
        [(false, 0), (false, 429)]
    );
    assert_eq!(others[1].header("x-should-retry").as_deref(), Some("false"));
    assert!(others[1].text().contains("insufficient_quota"));
    // What an answer has cost is told at once.
    first.request_rest();
    first.respond_with_body(Headers::new().with(":status", "200").with("content-type", "application/json"));
    first.last_body(ANSWER);
    gateway.run();
    let call = only(asked(&gateway));
    assert_eq!(words(&call)[3..6].join(" "), "100 200 -");
    answer(call, "", 1000, 200, 0);
    // And what is reserved is told again as long as it is.
    gateway.advance(11);
    gateway.tick();
    assert_eq!(words(&only(asked(&gateway)))[3..6].join(" "), "100 200 -");
}

#[test]
fn whatever_else_comes_it_is_as_on_failure_says() {
    type Failure = fn(Callout);
    let failures: [Failure; 7] = [
        |call| call.respond(200, Headers::new(), "-ERR The user executing the script can't run this command"),
        |call| call.respond(200, Headers::new(), ".1 0 200 1 0 0 0"),
        |call| answer(call, "11", 0, 200, 0),
        |call| call.respond(200, Headers::new(), ""),
        |call| call.respond(404, Headers::new(), ""),
        |call| call.synthesise(504),
        Callout::fail,
    ];
    for (nth, failure) in failures.into_iter().enumerate() {
        for (on_failure, first) in [("share", 0), ("open", 0), ("closed", 503)] {
            let gateway = gateway(&format!(r#","on_failure":"{on_failure}""#), 1);
            let waits = open(&gateway, 0);
            failure(only(asked(&gateway)));
            gateway.run();
            assert_eq!((waits.is_paused(), waits.status()), (false, first), "{nth} {on_failure}");
        }
    }
}

#[test]
fn a_client_that_leaves_while_it_waits_holds_nothing() {
    let gateway = gateway("", 1);
    let gone = open(&gateway, 0);
    let call = only(asked(&gateway));
    gone.disconnect();
    answer(call, "1", 0, 200, 0);
    gateway.run();
    let call = only(asked(&gateway));
    assert_eq!(words(&call)[3..6].join(" "), "0 0 -");
    answer(call, "", 0, 0, 0);
    assert!(asked(&gateway).is_empty() && !gateway.worker(0).is_dead());
}

#[test]
fn a_threshold_is_logged_and_told_to_the_hook_whatever_that_answers() {
    let hook = r#","soft":[50],"alert":{"cluster":"hooks","path":"/b?x=1"}"#;
    let gateway = gateway(hook, 1);
    let _waits = open(&gateway, 0);
    answer(only(asked(&gateway)), "1", 612, 200, 50);
    gateway.run();
    gateway.tick();
    let call = only(calls(&gateway).into_iter().filter(|call| call.path() == "/b?x=1").collect());
    let told = String::from_utf8(call.body().to_vec()).unwrap();
    for part in
        [r#""budget":"all""#, r#""percent":50"#, r#""spent":612"#, r#""amount":1000"#, r#""unit":"tokens""#]
    {
        assert!(told.contains(part), "{told}");
    }
    call.respond(500, Headers::new(), "no");
    gateway.run();
    let told =
        gateway.logs().iter().filter(|line| line.message.contains("has reached 50 %: 612 of 1000")).count();
    assert_eq!((told, gateway.worker(0).is_dead()), (1, false));
}
