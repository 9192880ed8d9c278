//! The host itself, with a guest that is built with the proxy-wasm SDK: somebody else's reading of the ABI.

use selvage_host::{Gateway, Headers, Module, OriginResponse};

fn guest() -> Module {
    let path = selvage_wasm_target::guest().unwrap();
    Module::compile(&std::fs::read(path).unwrap())
}

fn gateway() -> Gateway {
    let origin = |_: &_| OriginResponse::ok("one ").header("x-origin", "yes").chunk("two");
    Gateway::module(guest(), "greetings").cluster("known").workers(2).origin(origin).start()
}

#[test]
fn it_is_configured_and_a_configuration_that_it_refuses_is_refused() {
    let refused = Gateway::module(guest(), "").try_start().err().unwrap();
    assert!(refused.text().contains("a greeting is wanted"), "{}", refused.text());
    let gateway = gateway();
    // What a filter answers with passes its own callbacks for responses too.
    let answer = gateway.get("/hello").send(0);
    assert_eq!((answer.status(), answer.text().as_str()), (200, "HELLO"));
    assert_eq!(answer.header("x-guest").as_deref(), Some("greetings"));
    assert_eq!(gateway.origin().fetches(), 0);
}

#[test]
fn fields_and_bodies_are_changed_on_their_way() {
    let gateway = gateway();
    let answer = gateway.get("/a").send(0);
    assert_eq!(answer.text(), "ONE TWO");
    assert_eq!(answer.header("x-origin").as_deref(), Some("yes"));
    assert_eq!(answer.header("x-fields").as_deref(), Some("2"));
    let asked = &gateway.origin().requests()[0];
    assert_eq!(asked.headers.lines().iter().filter(|(name, _)| name == "x-guest").count(), 2);
}

#[test]
fn workers_share_data_and_queues() {
    let gateway = gateway();
    let counted = [0, 1, 0, 1].map(|worker| gateway.get("/count").send(worker).text());
    assert_eq!(counted, ["1", "2", "3", "4"]);
    assert_eq!(gateway.shared_data("guest.count"), Some(4u64.to_le_bytes().to_vec()));
    gateway.get("/say").send(1);
    gateway.run();
    assert_eq!(gateway.metric("guest.heard"), Some(4));
    assert!(gateway.logs().iter().any(|line| line.message.contains("heard said")));
    gateway.tick();
    assert!(gateway.metric("guest.ticks").is_some_and(|ticks| ticks >= 2));
}

#[test]
fn a_stream_waits_for_a_call_and_goes_on() {
    let gateway = gateway();
    let stream = gateway.get("/call").send(0);
    assert!(stream.is_paused());
    let call = gateway.callouts().remove(0);
    assert_eq!((call.cluster(), call.path().as_str()), ("known", "/asked"));
    call.respond(200, Headers::new(), "called");
    gateway.run();
    let asked = &gateway.origin().requests()[0];
    assert_eq!(asked.header("x-called").as_deref(), Some("200 called"));
    assert_eq!(stream.text(), "ONE TWO");

    gateway.refuse_callouts(true);
    assert_eq!(gateway.get("/call").send(1).text(), "NOT SENT");
}
