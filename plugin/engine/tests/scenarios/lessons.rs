//! The lessons of the playground, played here without it: what they say becomes of each step is what becomes of it.

use selvage_engine::explain::message::Message;
use selvage_engine::fields::status_of;
use selvage_engine::purge::request;
use serde_json::Value;

use crate::gateway::{Flight, Gateway, Origin, Sent, origin, unreachable};

const LESSONS: &str = include_str!("../../../playground/lessons.json");

fn lessons() -> Vec<Value> {
    let Value::Array(lessons) = serde_json::from_str(LESSONS).unwrap() else { panic!("no list") };
    lessons
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What an origin says that judges `If-None-Match`; the whole response where nothing is asked of its `ETag`.
fn said(response: &Message, asked_of: Option<&str>, method: &str) -> Origin {
    let head = response.head.fields();
    let etag = head.get(b"etag").map(text);
    let confirmed = etag.is_some() && asked_of == etag.as_deref();
    let mut said = origin(if confirmed { 304 } else { status_of(head) });
    for (name, value) in head.iter().filter(|(name, _)| *name != b":status") {
        said = said.header(&text(name), &text(value));
    }
    let has_body = !confirmed && method != "HEAD" && !response.body.is_empty();
    if has_body { said.body(&response.body) } else { said }
}

/// Sends the request of a step.
fn sent(gateway: &mut Gateway, request: &Message, at: u64) -> Sent {
    let fields = request.head.fields();
    let of = |name: &[u8]| text(fields.get(name).unwrap());
    let mut call = gateway.request(&of(b":method"), &of(b":path")).authority(&of(b":authority")).at(at);
    for (name, value) in fields.iter().filter(|(name, _)| !name.starts_with(b":")) {
        call = call.header(&text(name), &text(value));
    }
    call.send()
}

/// The `Cache-Status` of a step.
fn step(gateway: &mut Gateway, step: &Value, latest: &mut Option<Message>) -> String {
    let at = step["at"].as_u64().unwrap();
    if let Some(response) = step["response"].as_str() {
        *latest = Some(Message::response(response.as_bytes()).unwrap());
    }
    let down = step["origin"] == "down";
    let request = Message::request(step["request"].as_str().unwrap().as_bytes(), "https").unwrap();
    let method = text(request.head.fields().get(b":method").unwrap());
    let answer = |flight: Option<&Flight>| match (down, &latest) {
        (true, _) | (_, None) => unreachable(),
        (_, Some(response)) => {
            said(response, flight.and_then(|flight| flight.sets("if-none-match")).as_deref(), &method)
        }
    };
    let line = match sent(gateway, &request, at) {
        Sent::Left(flight) => {
            let origin = answer(Some(&flight));
            gateway.answers(flight, at, origin).cache_status()
        }
        answered => answered.answered().cache_status(),
    };
    while let Some(refresh) = gateway.next_refresh(0, at) {
        gateway.renews(0, refresh, at, answer(None));
    }
    line
}

#[test]
fn each_step_of_each_lesson_ends_as_the_lesson_says() {
    for lesson in lessons() {
        let config = lesson["config"].to_string();
        let (mut gateway, mut latest) = (Gateway::with(&config), None);
        for (nth, of) in lesson["steps"].as_array().unwrap().iter().enumerate() {
            if let Some(purge) = of.get("purge") {
                let asked = request::parse(purge.to_string().as_bytes()).unwrap();
                gateway.purges(&asked, of["at"].as_u64().unwrap());
                continue;
            }
            let line = step(&mut gateway, of, &mut latest);
            assert_eq!(of["expect"]["cache_status"], line.as_str(), "{} step {nth}", lesson["name"]);
        }
    }
}

#[test]
fn there_are_twenty_each_with_a_name_of_its_own_and_words() {
    let lessons = lessons();
    let names: std::collections::BTreeSet<_> =
        lessons.iter().map(|lesson| lesson["name"].as_str().unwrap()).collect();
    assert_eq!((lessons.len(), names.len()), (20, 20));
    for lesson in &lessons {
        let words = lesson["teaches"].as_str().unwrap();
        assert!((80..400).contains(&words.len()), "{}: {}", lesson["name"], words.len());
        assert!(lesson["title"].as_str().unwrap().len() < 60, "{}", lesson["title"]);
    }
}
