//! Lookups of one moment go to the remote store as one call, and so do writes.

use selvage_host::{Callout, Gateway, Headers, Stream};

use crate::remote::{calls, only};
use crate::{assert_hit, cache_status, fresh};

const PLAIN: &str = r#"{"remote":{"enabled":true},"defaults":{"coalesce":{"fleet":false}}}"#;

fn gateway(configuration: &str) -> Gateway {
    let gateway =
        Gateway::with(configuration).workers(1).cluster("redis").origin(|_| fresh("content")).start();
    gateway.tick();
    for call in calls(&gateway) {
        call.respond(200, Headers::new(), r#"{"PING":[true,"PONG"]}"#);
    }
    gateway
}

/// Requests for `/0`, `/1` … that wait for the remote store.
fn waiting(gateway: &Gateway, numbers: std::ops::Range<usize>) -> Vec<Stream> {
    let open = |number| {
        let stream = gateway.get(&format!("/{number}")).open(0);
        stream.request_headers();
        assert!(stream.is_paused(), "/{number}");
        stream
    };
    numbers.map(open).collect()
}

/// An array of strings as Redis sends it.
fn array(elements: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", elements.len()).into_bytes();
    for element in elements {
        bytes.extend_from_slice(format!("${}\r\n", element.len()).as_bytes());
        bytes.extend_from_slice(element);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// The keys of a call by a script, and its arguments.
#[allow(clippy::indexing_slicing)] // A call of another form must stop the test.
fn words(call: &Callout) -> (Vec<String>, Vec<String>) {
    let path = call.path();
    let path = path.strip_suffix(".raw").expect("an answer as bytes is wanted");
    let words: Vec<String> = path.split('/').skip(3).map(str::to_owned).collect();
    let count: usize = words[0].parse().unwrap();
    (words[1..=count].to_vec(), words[count + 1..].to_vec())
}

/// What was written for each of these requests, in order of their keys' first appearance.
#[allow(clippy::indexing_slicing)] // As above.
fn records(gateway: &Gateway, streams: &[Stream]) -> Vec<Vec<u8>> {
    for stream in streams {
        let head = [(":status", "200"), ("cache-control", "max-age=60"), ("content-type", "text/plain")];
        stream.respond_with_body(Headers::from(head));
        stream.last_body("content");
    }
    gateway.tick();
    let call = only(calls(gateway));
    assert!(call.path().starts_with("/EVAL/"), "{}", call.path());
    let (keys, arguments) = words(&call);
    let (body, mut at) = (call.body().to_vec(), 1);
    let mut records = Vec::new();
    for pair in arguments.chunks(2) {
        let length: usize = pair[1].parse().unwrap();
        records.push(body[at..at + length].to_vec());
        at += length;
    }
    assert_eq!((keys.len(), at), (records.len(), body.len()));
    call.respond(200, Headers::new(), array(&vec![&b"+"[..]; keys.len()]));
    records
}

#[test]
fn the_lookups_of_one_moment_are_one_call_and_a_lone_one_does_not_wait() {
    let gateway = gateway(PLAIN);
    let first = waiting(&gateway, 0..1).pop().unwrap();
    let lone = only(calls(&gateway));
    assert!(lone.path().starts_with("/GET/selvage:v1:"), "{}", lone.path());
    // While it is under way others are expected.
    let others = waiting(&gateway, 1..4);
    assert_eq!(calls(&gateway).len(), 1, "they wait for each other");
    gateway.run();
    let batch = calls(&gateway).pop().unwrap();
    let (keys, arguments) = words(&batch);
    assert_eq!((keys.len(), arguments.join(" ")), (3, "- 0 - 0 - 0".to_owned()));
    batch.respond(200, Headers::new(), array(&[b"", b"no record", b"-ERR of this key"]));
    lone.respond(404, Headers::new(), "");
    assert!(!first.is_paused() && others.iter().all(|stream| !stream.is_paused()));
    let mut all = others;
    all.push(first);
    let records = records(&gateway, &all);
    gateway.tick();
    assert_eq!(gateway.metric("selvage.remote.batches"), Some(2));

    // In another Envoy they answer, each its own request.
    let other = self::gateway(PLAIN);
    let lone = waiting(&other, 9..10);
    let streams = waiting(&other, 1..4);
    other.run();
    let batch = calls(&other).into_iter().find(|call| call.path().starts_with("/EVAL/")).unwrap();
    batch.respond(200, Headers::new(), array(&[&records[0], &records[1], b""]));
    assert_hit(&streams[0], "content");
    assert_hit(&streams[1], "content");
    assert!(cache_status(&streams[0]).contains("detail=remote"));
    assert!(!streams[2].is_paused() && lone[0].is_paused());
    // What lies under another's key is nobody's.
    let streams = waiting(&other, 4..6);
    other.run();
    let batch = calls(&other).into_iter().find(|call| call.path().starts_with("/EVALSHA/")).unwrap();
    batch.respond(200, Headers::new(), array(&[&records[2], &records[3]]));
    assert!(streams.iter().all(|stream| !stream.is_paused()));
    assert_eq!(other.origin().fetches(), 0);
}

#[test]
fn eight_go_as_one_call_and_the_rest_in_the_next_turns() {
    let gateway = gateway(PLAIN);
    let streams = waiting(&gateway, 0..40);
    gateway.run();
    let sizes: Vec<usize> = calls(&gateway)
        .iter()
        .filter(|call| call.path().contains("EVAL"))
        .map(|call| words(call).0.len())
        .collect();
    assert_eq!(sizes, [8, 8, 8, 8, 7]);
    for call in calls(&gateway) {
        call.synthesise(504);
    }
    assert!(streams.iter().all(|stream| !stream.is_paused()));
    gateway.tick();
    assert_eq!(gateway.metric("selvage.remote.timeout"), Some(40));
}

#[test]
fn a_store_that_refuses_scripts_is_asked_one_by_one_within_the_same_time() {
    for refusal in [
        "-CROSSSLOT Keys in request don't hash to the same slot\r\n",
        "-NOPERM this user has no permissions to run the 'eval' command\r\n",
        "-ERR unknown command 'EVAL'\r\n",
    ] {
        let gateway = gateway(PLAIN);
        let _lone = waiting(&gateway, 0..1);
        let streams = waiting(&gateway, 1..3);
        gateway.run();
        gateway.clock().advance(std::time::Duration::from_millis(20));
        let batch = calls(&gateway).into_iter().find(|call| call.path().starts_with("/EVAL/")).unwrap();
        batch.respond(200, Headers::new(), refusal);
        let mut again: Vec<Callout> =
            calls(&gateway).into_iter().filter(|call| call.timeout_milliseconds() == 30).collect();
        assert_eq!(again.len(), 2, "{refusal}");
        for call in again.drain(..) {
            assert!(call.path().starts_with("/GET/"), "{}", call.path());
            call.respond(404, Headers::new(), "");
        }
        assert!(streams.iter().all(|stream| !stream.is_paused()));
        let told = gateway.logs().iter().filter(|line| line.message.contains("each goes alone")).count();
        assert_eq!(told, 1, "{refusal}");
        // And so are the next ones.
        let _more = waiting(&gateway, 3..6);
        assert!(calls(&gateway).iter().all(|call| !call.path().contains("EVAL")));
    }
}

#[test]
fn a_script_that_redis_has_forgotten_is_sent_again() {
    let gateway = gateway(PLAIN);
    let _lone = waiting(&gateway, 0..1);
    let first = waiting(&gateway, 1..3);
    gateway.run();
    let by = |path: &str| calls(&gateway).into_iter().find(|call| call.path().starts_with(path)).unwrap();
    by("/EVAL/").respond(200, Headers::new(), array(&[b"", b""]));
    assert!(first.iter().all(|stream| !stream.is_paused()));
    let streams = waiting(&gateway, 3..5);
    gateway.run();
    by("/EVALSHA/").respond(200, Headers::new(), "-NOSCRIPT No matching script. Please use EVAL.\r\n");
    assert!(streams.iter().all(Stream::is_paused));
    by("/EVAL/").respond(200, Headers::new(), array(&[b"", b""]));
    assert!(streams.iter().all(|stream| !stream.is_paused()));
}

#[test]
fn what_cannot_be_read_or_does_not_come_is_a_miss_for_each() {
    for failure in 0..5 {
        let gateway = gateway(PLAIN);
        let _lone = waiting(&gateway, 0..1);
        let streams = waiting(&gateway, 1..4);
        gateway.run();
        let batch = calls(&gateway).into_iter().find(|call| call.path().starts_with("/EVAL/")).unwrap();
        match failure {
            0 => batch.respond(200, Headers::new(), array(&[b"", b""])),
            1 => batch.respond(200, Headers::new(), "*3\r\n$5\r\nab"),
            2 => batch.respond(500, Headers::new(), "oops"),
            3 => batch.fail(),
            _ => batch.respond(200, Headers::new(), "-LOADING Redis is loading the dataset in memory\r\n"),
        }
        assert!(streams.iter().all(|stream| !stream.is_paused()), "failure {failure}");
    }
}

#[test]
fn claims_go_with_lookups_and_are_taken_back_for_clients_that_have_left() {
    let gateway = gateway(r#"{"remote":{"enabled":true}}"#);
    let _lone = waiting(&gateway, 0..1);
    let mut streams = waiting(&gateway, 1..3);
    gateway.run();
    let batch = calls(&gateway).into_iter().find(|call| call.path().starts_with("/EVAL/")).unwrap();
    let (keys, arguments) = words(&batch);
    assert!(arguments.iter().step_by(2).all(|claim| claim.starts_with("claim:")), "{arguments:?}");
    streams.remove(0).disconnect();
    batch.respond(200, Headers::new(), array(&[b"", b""]));
    assert!(!streams[0].is_paused());
    gateway.tick();
    let deletes = |call: &Callout| call.path() == format!("/DEL/{}", keys[0]);
    assert!(calls(&gateway).iter().any(deletes), "nobody fetches what the first has claimed");
}

#[test]
fn one_a_call_is_one_a_call() {
    let gateway = gateway(r#"{"remote":{"enabled":true,"batch":1},"defaults":{"coalesce":{"fleet":false}}}"#);
    let _streams = waiting(&gateway, 0..5);
    assert_eq!(calls(&gateway).iter().filter(|call| call.path().starts_with("/GET/")).count(), 5);
}

#[test]
fn lookups_whose_turn_never_comes_go_with_the_next_tick() {
    let gateway = gateway(PLAIN);
    let _lone = waiting(&gateway, 0..1);
    let _streams = waiting(&gateway, 1..3);
    gateway.tick();
    assert!(calls(&gateway).iter().any(|call| call.path().starts_with("/EVAL/")));
}
