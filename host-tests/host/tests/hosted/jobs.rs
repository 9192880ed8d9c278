//! Jobs through the module: how Redis is asked, what the cluster is called for, and that a client waits for nothing else.

use selvage_host::{Callout, Gateway, Headers, OriginResponse, Stream};

use crate::remote::{calls, only};

fn gateway(jobs: &str, workers: usize) -> Gateway {
    let config = format!(
        r#"{{"remote":{{"enabled":true}},"jobs":{{"cluster":"work"{jobs}}},"rules":[{{"name":"all","jobs":"prefer"}}]}}"#
    );
    started(&config, workers)
}

fn started(config: &str, workers: usize) -> Gateway {
    let gateway = Gateway::with(config)
        .workers(workers)
        .cluster("redis")
        .cluster("work")
        .cluster("origin")
        .shows_bodies()
        .origin(|_: &_| OriginResponse::status(200).chunk("at once"))
        .start();
    gateway.tick();
    for call in calls(&gateway) {
        if call.path() == "/PING" {
            call.respond(200, Headers::new(), r#"{"PING":[true,"PONG"]}"#);
        } else {
            take(call, "");
        }
    }
    gateway
}

/// The words of a question behind the script's key; the first is the name of what is done.
fn words(call: &Callout) -> Vec<String> {
    let path = call.path();
    let path = path.strip_suffix(".bin").expect("an answer as bytes is wanted");
    let mut words = path.split('/').skip(4).map(str::to_owned);
    let key = words.next().expect("a key");
    assert!(key.starts_with("selvage:v1:%7Bq:") && key.ends_with("%7D"), "{key}");
    words.collect()
}

fn word(call: &Callout, nth: usize) -> String {
    words(call).into_iter().nth(nth).expect("so many words")
}

fn asked(gateway: &Gateway, op: &str) -> Vec<Callout> {
    let is_script = |call: &Callout| call.path().starts_with("/EVAL");
    calls(gateway).into_iter().filter(|call| is_script(call) && word(call, 0) == op).collect()
}

/// These jobs are taken.
fn take(call: Callout, jobs: &str) {
    let question = word(&call, 1);
    call.respond(200, Headers::new(), format!("took {question} 0 0 0 0 0 1 0 0{jobs}"));
}

/// Whoever asks for jobs gets none.
fn take_nothing(gateway: &Gateway) {
    asked(gateway, "take").into_iter().for_each(|call| take(call, ""));
}

fn open(gateway: &Gateway, worker: usize) -> Stream {
    let stream = gateway.post("/report").header("prefer", "respond-async").body("body").open(worker);
    stream.request_headers();
    stream.request_rest();
    stream
}

#[test]
fn a_job_is_written_down_before_its_client_hears_of_it_and_done_after_that() {
    let gateway = gateway("", 1);
    let stream = open(&gateway, 0);
    assert!(stream.is_paused());
    let call = only(asked(&gateway, "accept"));
    let accept = words(&call);
    let (payload, id) = (call.body().to_vec(), accept[2].clone());
    assert_eq!((id.len(), accept[4].as_str()), (32, "-"));
    assert!(payload.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(byte)));
    call.respond(200, Headers::new(), format!("new {} {id}", accept[1]));
    gateway.run();
    assert_eq!((stream.status(), stream.header("location")), (202, Some(format!("/jobs/{id}"))));
    // It is taken at once.
    let payload = String::from_utf8(payload).unwrap();
    take(only(asked(&gateway, "take")), &format!("\n{id} 1 1 {payload}"));
    gateway.run();
    let call = only(calls(&gateway).into_iter().filter(|call| call.path() == "/report").collect());
    assert_eq!((call.body(), call.headers().get("x-selvage-job").as_deref()), (&b"body"[..], Some(&*id)));
    let fields = Headers::new().with("x-envoy-upstream-service-time", "1").with("x-made", "yes");
    call.respond(200, fields, "made");
    let call = only(asked(&gateway, "end"));
    assert_eq!(words(&call)[2..5], [id, "1".into(), "done".into()]);
    let question = word(&call, 1);
    call.respond(200, Headers::new(), format!("ended {question}"));
    gateway.run();
}

#[test]
fn of_the_workers_of_a_node_one_asks_while_there_is_nothing_to_do() {
    let gateway = gateway("", 3);
    for _ in 0..8 {
        gateway.advance(1);
        gateway.tick();
        take(only(asked(&gateway, "take")), "");
    }
}

#[test]
fn whatever_comes_in_the_place_of_an_answer_is_none() {
    type Failure = fn(Callout);
    let failures: [Failure; 6] = [
        |call| call.respond(200, Headers::new(), "-OOM command not allowed when used memory > 'maxmemory'."),
        |call| call.respond(200, Headers::new(), "new 0 00000000000000000000000000000001"),
        |call| call.respond(200, Headers::new(), ""),
        |call| call.respond(404, Headers::new(), ""),
        |call| call.synthesise(504),
        Callout::fail,
    ];
    for (nth, failure) in failures.into_iter().enumerate() {
        for on_failure in ["503", "forward"] {
            let gateway = gateway(&format!(r#","on_failure":"{on_failure}""#), 1);
            let stream = open(&gateway, 0);
            failure(only(asked(&gateway, "accept")));
            gateway.run();
            // What Redis has surely not taken goes on: it has refused, or was not there.
            let goes = on_failure == "forward" && matches!(nth, 0 | 3);
            assert_eq!(
                (stream.is_paused(), stream.status()),
                (false, if goes { 0 } else { 503 }),
                "{nth} {on_failure}"
            );
        }
    }
}

/// Its parts are called for by the worker that has taken it, and Redis hears how many have their answers.
#[test]
fn a_batch_that_is_taken_is_asked_for_in_parts() {
    let config = r#"{"remote":{"enabled":true},"jobs":{"cluster":"work"},"batch":{},
        "defaults":{"jobs":"prefer","batch":true,"remote":false,"refresh":{"cluster":"origin"}}}"#;
    let gateway = started(config, 2);
    let body = r#"{"requests":[{"id":"1","method":"GET","url":"/a"},{"id":"2","method":"GET","url":"/b"}]}"#;
    let ask = gateway.post("/batch").header("prefer", "respond-async").header("authorization", "Basic YTpi");
    let stream = ask.header("content-type", "application/json").body(body).open(0);
    stream.request_headers();
    stream.request_rest();
    let call = only(asked(&gateway, "accept"));
    let (accept, payload) = (words(&call), String::from_utf8(call.body().to_vec()).unwrap());
    let id = accept[2].clone();
    call.respond(200, Headers::new(), format!("new {} {id}", accept[1]));
    gateway.run();
    assert_eq!((stream.status(), stream.header("preference-applied")), (202, Some("respond-async".into())));
    take(only(asked(&gateway, "take")), &format!("\n{id} 1 1 {payload}"));
    gateway.run();
    let part = |path: &str| only(calls(&gateway).into_iter().filter(|call| call.path() == path).collect());
    let call = part("/a");
    let sent = |name: &str| call.headers().get(name);
    assert_eq!((call.cluster(), sent("authorization").as_deref()), ("origin", Some("Basic YTpi")));
    assert_eq!((sent("prefer"), sent("x-selvage-job"), sent(":peer")), (None, None, None));
    let hears = |parts: [&str; 2]| {
        let call = only(asked(&gateway, "progress"));
        assert_eq!(words(&call)[2..], [&*id, "1", parts[0], parts[1]]);
        let question = word(&call, 1);
        call.respond(200, Headers::new(), format!("ended {question}"));
        gateway.run();
    };
    hears(["0", "2"]);
    call.respond(200, Headers::new().with("x-envoy-upstream-service-time", "1"), "made");
    gateway.advance(1);
    gateway.tick();
    take_nothing(&gateway);
    hears(["1", "2"]);
    part("/b").respond(404, Headers::new().with("x-envoy-upstream-service-time", "1"), "none");
    let call = only(asked(&gateway, "end"));
    assert_eq!(words(&call)[2..5], [id, "1".into(), "done".into()]);
    let question = word(&call, 1);
    call.respond(200, Headers::new(), format!("ended {question}"));
    gateway.run();
}
