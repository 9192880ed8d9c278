//! The host tried on small modules written for it.

mod guests;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{Ending, Gateway, GatewayBuilder, Headers, Module, OriginResponse, Request};

fn gateway(guest: &str) -> GatewayBuilder {
    Gateway::module(Module::compile(guest.as_bytes()), "{}")
}

fn complaint(step: impl FnOnce()) -> String {
    let caught = catch_unwind(AssertUnwindSafe(step)).expect_err("the misuse went unnoticed");
    caught.downcast_ref::<String>().cloned().unwrap_or_default()
}

#[test]
fn a_local_reply_reaches_the_client_through_the_filters_own_response_callbacks() {
    let gateway = gateway(&guests::replies_in(&["proxy_on_request_headers"])).start();
    let stream = gateway.get("/").send(0);
    assert_eq!((stream.status(), stream.text().as_str()), (200, "hello"));
    assert_eq!(stream.header("content-type").as_deref(), Some("text/plain"));
    assert_eq!(stream.header("content-length").as_deref(), Some("5"));
    assert_eq!(stream.header("x").as_deref(), Some("yz"));
    assert_eq!(stream.header("date"), Some(gateway.clock().http_date()));
    assert_eq!(stream.ending(), Some(Ending::Complete));
    let callbacks: Vec<_> = stream.trace().iter().map(|trace| trace.callback).collect();
    assert!(callbacks.contains(&"proxy_on_response_body"), "{callbacks:?}");
    assert_eq!(gateway.origin().fetches(), 0);
    assert_eq!(gateway.worker(0).open_streams(), 0);
}

#[test]
fn a_local_reply_to_head_keeps_its_length_and_has_no_body() {
    let gateway = gateway(&guests::replies_in(&["proxy_on_request_headers"])).start();
    let stream = gateway.head("/").send(0);
    assert_eq!((stream.header("content-length").as_deref(), stream.text().as_str()), (Some("5"), ""));
}

#[test]
fn a_reply_in_place_of_an_upstreams_response_goes_straight_to_the_client() {
    let guest = guests::replies_in(&["proxy_on_response_headers"]);
    let gateway = gateway(&guest).origin(|_| OriginResponse::ok("from the origin")).start();
    let stream = gateway.get("/").send(0);
    assert_eq!(stream.text(), "hello");
    let callbacks: Vec<_> = stream.trace().iter().map(|trace| trace.callback).collect();
    assert!(!callbacks.contains(&"proxy_on_response_body"), "{callbacks:?}");
}

#[test]
fn a_broken_upstream_becomes_a_503_that_the_filter_may_replace() {
    let passing = gateway(guests::ADDS_A_HEADER).origin(|_| OriginResponse::reset()).start();
    let stream = passing.get("/").send(0);
    assert_eq!(stream.status(), 503);
    assert_eq!(stream.code_details(), "upstream_reset_before_response_started{connection_termination}");
    assert_eq!(stream.header("x").as_deref(), Some("yz"));

    let replacing = gateway(&guests::replies_in(&["proxy_on_response_headers"]))
        .origin(|_| OriginResponse::reset())
        .start();
    assert_eq!(replacing.get("/").send(0).text(), "hello");
}

#[test]
fn an_upstreams_response_passes_with_the_filters_edits() {
    let gateway = gateway(guests::ADDS_A_HEADER)
        .origin(|_| OriginResponse::status(200).chunk("one ").chunk("two").trailer("t", "1"))
        .start();
    let stream = gateway.post("/p").body("a").body("b").send(0);
    let request = &gateway.origin().requests()[0];
    assert_eq!(
        (request.method(), request.path(), request.body.as_slice()),
        ("POST".into(), "/p".into(), &b"ab"[..])
    );
    assert_eq!(stream.text(), "one two");
    assert_eq!(stream.header("x").as_deref(), Some("yz"));
    assert_eq!(stream.client().trailers, Some(Headers::from([("t", "1")])));
    assert_eq!(stream.code_details(), "via_upstream");
}

#[test]
fn a_response_that_breaks_off_is_seen_as_broken() {
    let gateway = gateway(guests::ADDS_A_HEADER)
        .origin(|_| OriginResponse::ok("half").chunk(" and half").reset_after(1))
        .start();
    let stream = gateway.get("/").send(0);
    assert_eq!((stream.text().as_str(), stream.ending()), ("half", Some(Ending::Reset)));
}

#[test]
fn two_streams_of_a_worker_can_be_interleaved() {
    let gateway = gateway(guests::ADDS_A_HEADER).start();
    let (first, second) = (gateway.get("/1").open(0), gateway.get("/2").open(0));
    first.request_headers();
    second.request_headers();
    second.respond(Headers::from([(":status", "204")]));
    first.respond_with_body(Headers::from([(":status", "200")])).body("x");
    assert_eq!((first.status(), second.status()), (200, 204));
    assert_eq!(gateway.worker(0).open_streams(), 1);
    first.disconnect();
    assert_eq!(first.ending(), Some(Ending::Disconnected));
    assert_eq!(gateway.worker(0).open_streams(), 0);
}

#[test]
fn a_paused_request_goes_on_when_the_queue_wakes_it() {
    let gateway = gateway(guests::PAUSES_UNTIL_WOKEN).origin(|_| OriginResponse::ok("woken")).start();
    let stream = gateway.post("/").body("1").body("2").send(0);
    assert!(stream.is_paused());
    assert_eq!(gateway.origin().fetches(), 0);
    assert_eq!(gateway.queues(), [("q".to_owned(), 1)]);
    gateway.run();
    assert_eq!(stream.text(), "woken");
    assert_eq!(gateway.origin().requests()[0].body, b"12");
    let bodies = stream.trace().iter().filter(|trace| trace.callback == "proxy_on_request_body").count();
    assert_eq!(bodies, 1, "what was held back arrives as one chunk");
}

#[test]
fn only_the_last_registrant_of_a_queue_hears_it() {
    let gateway =
        gateway(guests::PAUSES_UNTIL_WOKEN).workers(2).origin(|_| OriginResponse::ok("woken")).start();
    let stream = gateway.get("/").send(0);
    gateway.run();
    assert!(stream.is_paused(), "worker 1 registered last");
    assert_eq!(gateway.worker(1).root_trace().last().unwrap().callback, "proxy_on_queue_ready");
}

#[test]
fn shared_data_outlives_the_vm_that_wrote_it() {
    let gateway = gateway(guests::STORES_A_KEY).workers(2).origin(|_| OriginResponse::ok("")).start();
    gateway.get("/").send(0);
    assert_eq!(gateway.shared_data("q"), Some(b"hello".to_vec()));
    gateway.kill_worker(0);
    assert!(gateway.worker(0).is_dead());
    gateway.restart_worker(0);
    assert_eq!(gateway.get("/").send(0).status(), 200);
    assert_eq!(gateway.get("/").send(1).hostcalls(), ["proxy_set_shared_data"]);
    assert_eq!(gateway.shared_keys(), [b"q".to_vec()]);
}

#[test]
fn an_ordered_death_fails_the_stream_but_not_the_test() {
    let gateway = gateway(guests::STORES_A_KEY).origin(|_| OriginResponse::ok("")).start();
    gateway.worker(0).die_at("proxy_set_shared_data", 1);
    assert_eq!(gateway.get("/").send(0).status(), 200);
    let lost = gateway.get("/").send(0);
    assert_eq!((lost.status(), lost.code_details().as_str()), (503, "wasm_fail_stream"));
    assert!(gateway.worker(0).is_dead());
}

#[test]
fn a_refused_configuration_comes_with_its_log() {
    let refused = gateway(guests::REFUSES_ITS_CONFIGURATION).try_start().err().unwrap();
    assert_eq!(refused.text(), "hello");
    assert_eq!(refused.logs[0].source, "canary");
}

#[test]
fn a_callout_is_answered_by_the_test() {
    let gateway = gateway(guests::CALLS_A_CLUSTER).cluster("q").origin(|_| OriginResponse::ok("")).start();
    gateway.get("/").send(0);
    let mut callouts = gateway.callouts();
    assert_eq!((callouts.len(), callouts[0].cluster(), callouts[0].timeout_milliseconds()), (1, "q", 9));
    callouts.remove(0).respond(200, Headers::new(), "answer");
    assert!(gateway.callouts().is_empty());
    assert_eq!(gateway.logs().last().unwrap().message, "answer");
}

#[test]
fn a_second_reply_to_a_stream_is_a_misuse() {
    let both = ["proxy_on_request_headers", "proxy_on_response_headers"];
    let gateway = gateway(&guests::replies_in(&both)).start();
    let complaint = complaint(|| drop(gateway.get("/").send(0)));
    assert!(complaint.contains("a second local reply"), "{complaint}");
}

#[test]
fn a_trap_names_the_callback() {
    let gateway = gateway(guests::TRAPS).start();
    let complaint = complaint(|| drop(gateway.worker(0).send(Request::get("/"))));
    assert!(
        complaint.contains("worker 0: proxy_on_request_headers") && complaint.contains("unreachable"),
        "{complaint}"
    );
}

#[test]
fn resuming_in_the_callback_that_pauses_is_a_misuse() {
    let gateway = gateway(guests::RESUMES_AND_PAUSES).start();
    let complaint = complaint(|| drop(gateway.get("/").send(0)));
    assert!(complaint.contains("returned Pause"), "{complaint}");
}

#[test]
fn an_unknown_import_is_named() {
    let complaint = complaint(|| drop(gateway("(module (import \"env\" \"proxy_guess\" (func)))").start()));
    assert!(complaint.contains("proxy_guess"), "{complaint}");
}

#[test]
fn a_paused_body_gathers_and_is_shown_whole() {
    let gateway = gateway(guests::GATHERS_THE_BODY)
        .origin(|_| OriginResponse::status(200).chunk("a").chunk("b").chunk("c"))
        .start();
    let stream = gateway.get("/").send(0);
    assert_eq!((stream.text().as_str(), stream.ending()), ("helloabc", Some(Ending::Complete)));
}

#[test]
fn metrics_are_the_nodes_and_passed_headers_are_out_of_reach() {
    let gateway =
        gateway(guests::COUNTS_AND_LOOKS_BACK).workers(2).origin(|_| OriginResponse::ok("")).start();
    gateway.get("/").send(0);
    gateway.get("/").send(1);
    assert_eq!(gateway.metric("q"), Some(2));
    assert_eq!(gateway.unavailable_reads(), 2);
}

#[test]
fn a_tick_resumes_a_stream_that_is_alive_and_must_forget_one_that_is_gone() {
    let gateway = gateway(guests::REMEMBERS_A_STREAM).origin(|_| OriginResponse::ok("woken")).start();
    let stream = gateway.get("/").send(0);
    gateway.tick();
    assert_eq!(stream.text(), "woken");
    let complaint = complaint(|| gateway.tick());
    assert!(complaint.contains("which is gone"), "{complaint}");
}

#[test]
fn a_new_configuration_gives_a_new_root_in_the_same_memory() {
    let gateway = gateway(guests::REMEMBERS_A_STREAM).origin(|_| OriginResponse::ok("woken")).start();
    let stream = gateway.get("/").send(0);
    gateway.reconfigure("{}").unwrap();
    gateway.tick();
    assert_eq!(stream.text(), "woken");
}
