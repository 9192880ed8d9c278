//! Batches that are accepted as jobs: their parts are asked for by whoever takes the job, and its state counts them.

use serde_json::Value;

use selvage_engine::cache::Moment;
use selvage_engine::exchange::{Exchange, Wake};
use selvage_engine::jobs::question::{Does, How, JobAnswer, JobRequest, Standing, State};
use selvage_engine::jobs::stored::Payload;
use selvage_engine::limits::NoAnswer;

use crate::batches::{Batch, body_of, json_for, statuses};
use crate::gateway::{Gateway, fresh_for, moment, origin};
use crate::jobs::{asked, calls, payload, takes, tells};

/// A gateway with both.
fn gateway(jobs: &str, more: &str) -> Gateway {
    let mut gateway = Gateway::with(&format!(
        r#"{{"remote":{{"enabled":true}},"jobs":{{"cluster":"c","by":["header:x-tenant"]{jobs}}},"batch":{{}},
            "defaults":{{"jobs":"prefer","batch":true,"remote":false,"refresh":{{"cluster":"origin"}}}}{more}}}"#
    ));
    gateway.workers[0].seed_jobs(|| 7);
    gateway
}

/// A batch of these paths that would rather be done later.
fn asks(gateway: &mut Gateway, paths: &[&str]) -> crate::gateway::Waiter {
    let call =
        gateway.post("/batch").header("prefer", "respond-async").header("content-type", "application/json");
    call.header("x-tenant", "a").chunk(body_of(paths)).at(0).waits()
}

/// Accepts it, and gives what Redis keeps of it.
fn accepts(gateway: &mut Gateway, paths: &[&str]) -> (u128, Vec<u8>) {
    let waiter = asks(gateway, paths);
    let request = asked(gateway, 0).unwrap();
    let (id, payload) = payload(&request);
    tells(gateway, &request, Ok(JobAnswer::Accepted { id, again: false }), 0);
    let answer = gateway.wakes(waiter, Wake::Slot, 0).answered().status(202).detail("job");
    answer.has("location", &format!("/jobs/{id:032x}")).has("preference-applied", "respond-async");
    (id, payload)
}

/// This worker takes it, and asks for its parts.
fn runs(gateway: &mut Gateway, kept: (u128, Vec<u8>), attempt: u32, millis: u64) -> Batch {
    takes(gateway, kept, attempt, millis);
    assert!(calls(gateway, millis).is_none(), "its own cluster is not called");
    let mut batch = Batch { exchange: Exchange::new(), parts: Vec::new(), reply: None };
    batch.goes_on(gateway, millis);
    batch
}

/// What Redis is told next of this run.
#[track_caller]
fn says(gateway: &mut Gateway, millis: u64, told: Result<JobAnswer, NoAnswer>) -> Does {
    let request = asked(gateway, millis).expect("Redis is told something");
    tells(gateway, &request, told, millis);
    request.does
}

#[track_caller]
fn says_progress(gateway: &mut Gateway, millis: u64, wanted: (u64, u64)) {
    let does = says(gateway, millis, Ok(JobAnswer::Ended));
    assert!(matches!(does, Does::Progress { parts, .. } if parts == wanted), "{does:?}");
}

/// What Redis is told is its response.
#[track_caller]
fn result(does: Does) -> (u16, Vec<u8>) {
    let Does::End { how: How::Done { status, payload, .. }, .. } = does else { panic!("{does:?}") };
    let bytes = payload.expect("its response is kept");
    let question =
        JobRequest { does: Does::Look { id: 1, owner: 1, content: true }, question: 0, longest: usize::MAX };
    let text = [b"is 0 d 1 0 0 - 200 0 0 ", &*bytes].concat();
    let Some(JobAnswer::Is(standing)) = question.read(&text) else { panic!("it is not read") };
    let payload = Payload::read(standing.result).unwrap();
    assert_eq!(payload.fields().get(b":status"), Some(status.to_string().as_bytes()));
    (status, payload.body().to_vec())
}

#[track_caller]
fn answers_of(does: Does) -> Vec<Value> {
    let (status, body) = result(does);
    assert_eq!(status, 200);
    let told: Value = serde_json::from_slice(&body).unwrap();
    told["responses"].as_array().unwrap().clone()
}

fn nothing_to_say(gateway: &mut Gateway, millis: u64) -> bool {
    asked(gateway, millis).is_none_or(|next| matches!(next.does, Does::Take(_)))
}

#[test]
fn a_batch_that_is_done_later_says_how_many_parts_are_done() {
    let mut gateway = gateway("", "");
    gateway.get("/stored").at(0).miss(json_for(60, "0"));
    let kept = accepts(&mut gateway, &["/stored", "/a", "/a", "/gone"]);
    let mut batch = runs(&mut gateway, kept, 1, 0);
    // Stores come first, and equal parts are one call.
    assert_eq!(batch.calls(), ["/a", "/gone"]);
    assert_eq!((batch.sends("/a", "x-tenant").as_deref(), batch.sends("/a", "prefer")), (Some("a"), None));
    says_progress(&mut gateway, 0, (1, 4));
    assert!(nothing_to_say(&mut gateway, 0));
    batch.origin_says(&mut gateway, "/gone", 0, origin(404).body("none"));
    assert!(nothing_to_say(&mut gateway, 249), "not more often than four times a second");
    says_progress(&mut gateway, 250, (2, 4));
    batch.origin_says(&mut gateway, "/a", 1, json_for(60, "1"));
    let told = answers_of(says(&mut gateway, 1_000, Ok(JobAnswer::Ended)));
    assert_eq!(statuses(&told), [200, 200, 200, 404]);
    assert_eq!((&told[0]["body"], &told[2]["body"]), (&0.into(), &1.into()));
    for word in ["accepted", "started", "succeeded"] {
        assert_eq!(gateway.counted(0, "jobs", word), 1, "{word}");
    }
    assert_eq!((gateway.workers[0].jobs_running(), gateway.counted(0, "batch", "answered")), (0, 1));
    gateway.assert_nobody_waits();
    drop(batch);
    gateway.assert_no_room_is_taken();
}

#[test]
fn without_jobs_the_preference_changes_nothing() {
    let config = r#"{"remote":{"enabled":true},"jobs":{"cluster":"c"},"batch":{},"defaults":{"batch":true,"remote":false,"refresh":{"cluster":"origin"}}}"#;
    let mut gateway = Gateway::with(config);
    let waiter = asks(&mut gateway, &["/a"]);
    assert!(asked(&mut gateway, 0).is_none(), "Redis is asked nothing");
    let mut batch = Batch { exchange: Exchange::new(), parts: Vec::new(), reply: None };
    batch.goes_on(&mut gateway, 0);
    batch.origin_says(&mut gateway, "/a", 0, json_for(60, "1"));
    gateway.wakes(waiter, Wake::Slot, 0).answered().status(200).lacks("preference-applied").detail("batch");
}

#[test]
fn parts_are_asked_for_with_what_its_client_has_shown() {
    let mut gateway = gateway("", "");
    let call =
        gateway.post("/batch").header("prefer", "respond-async").header("content-type", "application/json");
    let call = call.header("authorization", "Basic YTpi").header("cookie", "sid=1");
    call.chunk(body_of(&["/a"])).at(0).waits();
    let request = asked(&mut gateway, 0).unwrap();
    let kept = payload(&request);
    tells(&mut gateway, &request, Ok(JobAnswer::Accepted { id: kept.0, again: false }), 0);
    let batch = runs(&mut gateway, kept, 1, 0);
    assert_eq!(batch.sends("/a", "authorization").as_deref(), Some("Basic YTpi"));
    assert_eq!(batch.sends("/a", "cookie").as_deref(), Some("sid=1"));
}

#[test]
fn what_asks_for_no_batch_is_refused_at_once() {
    let limits = r#","limits":[{"name":"all","by":[],"quota":9,"window":"1h","burst":9}],
        "rules":[{"name":"batch","match":{"paths":["/batch"]},"limits":["all"],"jobs":"prefer"}]"#;
    let mut gateway = gateway("", limits);
    let mut ask = |kind: &str, body: &str| {
        let call = gateway.post("/batch").header("prefer", "respond-async").header("content-type", kind);
        call.chunk(body).at(0).answered().detail("batch-refused").lacks("location")
    };
    ask("text/plain", "{}").status(415);
    ask("application/json", "{").status(400);
    ask("application/json", r#"{"requests":[]}"#).status(400);
    ask("application/json", &" ".repeat((256 << 10) + 1)).status(413);
    assert!(asked(&mut gateway, 0).is_none(), "Redis is asked nothing");
    // What limits have said of those is told to nobody else.
    gateway.get("/else").at(0).miss(fresh_for(1)).lacks("ratelimit");
    gateway.assert_no_room_is_taken();
}

#[test]
fn who_has_cancelled_it_is_asked_for_no_further_parts() {
    let mut gateway = gateway("", "");
    let kept = accepts(&mut gateway, &["/a", "/b"]);
    let mut batch = runs(&mut gateway, kept, 1, 0);
    says_progress(&mut gateway, 0, (0, 2));
    batch.origin_says(&mut gateway, "/a", 1, json_for(60, "1"));
    assert!(matches!(says(&mut gateway, 1_000, Ok(JobAnswer::None)), Does::Progress { .. }));
    assert_eq!((gateway.workers[0].jobs_running(), gateway.counted(0, "jobs", "late")), (0, 1));
    batch.origin_says(&mut gateway, "/b", 2, json_for(60, "2"));
    gateway.workers[0].look_after_batches(moment(3_000));
    assert!(nothing_to_say(&mut gateway, 9_000) && !gateway.workers[0].has_open_batches());
    drop(batch);
    gateway.assert_no_room_is_taken();
}

/// A second run begins anew, and what the first says is not this one's.
#[test]
fn progress_is_told_again_that_redis_has_not_heard_and_with_the_token_of_the_run() {
    let mut gateway = gateway("", "");
    let kept = accepts(&mut gateway, &["/a", "/b"]);
    let mut batch = runs(&mut gateway, kept.clone(), 1, 0);
    assert!(matches!(says(&mut gateway, 0, Err(NoAnswer::Lost)), Does::Progress { token: 1, .. }));
    assert!(nothing_to_say(&mut gateway, 100));
    says_progress(&mut gateway, 250, (0, 2));
    batch.origin_says(&mut gateway, "/a", 1, json_for(60, "1"));
    says_progress(&mut gateway, 1_000, (1, 2));
    // Its lease has run out elsewhere, so it has it once more: what is stored is not asked for again.
    let mut again = runs(&mut gateway, kept, 2, 2_000);
    assert_eq!(again.calls(), [""; 0], "the other one waits for the call that is under way");
    let does = says(&mut gateway, 2_000, Ok(JobAnswer::Ended));
    assert!(matches!(does, Does::Progress { token: 2, parts: (1, 2), .. }), "{does:?}");
    batch.parts.append(&mut again.parts);
    batch.origin_says(&mut gateway, "/b", 2, json_for(60, "2"));
    // Of the first one nobody wants to know any more.
    let late = says(&mut gateway, 2_500, Ok(JobAnswer::Late));
    assert!(matches!(late, Does::End { token: 1, .. }));
    assert_eq!(statuses(&answers_of(says(&mut gateway, 2_500, Ok(JobAnswer::Ended)))), [200, 200]);
}

#[test]
fn it_may_take_as_long_as_a_job_may_and_no_longer_than_its_lease() {
    let mut gateway = gateway(r#","timeout":"25s","lease":"30s""#, "");
    let kept = accepts(&mut gateway, &["/slow", "/a"]);
    let mut batch = runs(&mut gateway, kept, 1, 0);
    batch.origin_says(&mut gateway, "/a", 1, json_for(60, "1"));
    batch.goes_on(&mut gateway, 24_999);
    says_progress(&mut gateway, 24_999, (1, 2));
    batch.goes_on(&mut gateway, 25_000);
    let told = answers_of(says(&mut gateway, 25_000, Ok(JobAnswer::Ended)));
    assert_eq!(statuses(&told), [504, 200]);
}

#[test]
pub fn what_redis_cannot_take_is_answered_at_once_if_that_is_wanted() {
    for (on_failure, why, goes) in [
        ("503", NoAnswer::NotAsked, false),
        ("forward", NoAnswer::NotAsked, true),
        ("forward", NoAnswer::Lost, false),
    ] {
        let mut gateway = gateway(&format!(r#","on_failure":"{on_failure}""#), "");
        let waiter = asks(&mut gateway, &["/a", "/b"]);
        let request = asked(&mut gateway, 0).unwrap();
        tells(&mut gateway, &request, Err(why), 0);
        if !goes {
            gateway.wakes(waiter, Wake::Slot, 0).answered().status(503).detail("job").has("retry-after", "1");
            gateway.assert_no_room_is_taken();
            continue;
        }
        let waiter = gateway.wakes(waiter, Wake::Slot, 0).waiting();
        let mut batch = Batch { exchange: Exchange::new(), parts: Vec::new(), reply: None };
        batch.goes_on(&mut gateway, 0);
        assert_eq!(batch.calls(), ["/a", "/b"]);
        batch.origin_says(&mut gateway, "/a", 0, json_for(60, "1"));
        batch.origin_says(&mut gateway, "/b", 0, json_for(60, "2"));
        let answer = gateway.wakes(waiter, Wake::Slot, 0).answered().status(200).detail("batch");
        answer.lacks("preference-applied").lacks("location");
        drop(batch);
        gateway.assert_no_room_is_taken();
    }
}

/// The parts go where the address of the client counts, though it is long gone.
#[test]
fn each_part_costs_its_own_limits_for_the_client_that_has_asked() {
    let limits = r#","limits":[{"name":"each","by":["ip"],"quota":2,"window":"1h","burst":2}],
        "rules":[{"name":"parts","match":{"paths":["/part/*"]},"limits":["each"],"batch":true,"remote":false,"refresh":{"cluster":"origin"}}]"#;
    let mut gateway = gateway("", limits);
    gateway.shared.peer = Some(b"192.0.2.7:999".to_vec());
    let kept = accepts(&mut gateway, &["/part/1", "/part/2", "/part/3"]);
    // Whoever takes it has other clients at this moment.
    gateway.shared.peer = Some(b"192.0.2.99:1".to_vec());
    let mut batch = runs(&mut gateway, kept, 1, 0);
    assert_eq!(batch.calls(), ["/part/1", "/part/2"]);
    assert_eq!(batch.sends("/part/1", ":peer"), None);
    batch.origin_says(&mut gateway, "/part/1", 0, json_for(60, "1"));
    batch.origin_says(&mut gateway, "/part/2", 0, json_for(60, "2"));
    assert_eq!(statuses(&answers_of(says(&mut gateway, 1_000, Ok(JobAnswer::Ended)))), [200, 200, 429]);
    gateway.get("/part/4").at(1).miss(fresh_for(1));
    gateway.shared.peer = Some(b"192.0.2.7:1".to_vec());
    gateway.get("/part/5").at(1).answered().status(429);
}

/// Parts of a job are of the lowest class, whatever their rule says.
#[test]
fn parts_of_a_job_wait_behind_clients() {
    let pools = r#","pools":[{"name":"p","fixed":1}],
        "rules":[{"name":"pooled","match":{"paths":["/p/*"]},"admission":{"pool":"p","priority":"high"},"batch":true,"remote":false,"refresh":{"cluster":"origin"}}]"#;
    let mut gateway = gateway("", pools);
    let kept = accepts(&mut gateway, &["/p/part"]);
    let flight = gateway.get("/p/now").at(0).leaves();
    let mut batch = runs(&mut gateway, kept, 1, 0);
    assert_eq!(batch.calls(), [""; 0]);
    let waits = gateway.get("/p/client").at(0).waits();
    gateway.answers(flight, 0, fresh_for(60));
    assert_eq!(gateway.workers[0].take_decided_tickets().len(), 1);
    // The client that came later goes first.
    let flight = gateway.wakes(waits, Wake::Slot, 0).left();
    assert_eq!(batch.calls(), [""; 0]);
    gateway.answers(flight, 0, fresh_for(60));
    batch.goes_on(&mut gateway, 0);
    assert_eq!(batch.calls(), ["/p/part"]);
    batch.origin_says(&mut gateway, "/p/part", 0, json_for(60, "1"));
    batch.goes_on(&mut gateway, 0);
    says(&mut gateway, 1_000, Ok(JobAnswer::Ended));
}

#[test]
fn parts_of_clients_are_begun_before_those_of_jobs() {
    let mut gateway = gateway("", "");
    let kept = accepts(&mut gateway, &["/1", "/2"]);
    takes(&mut gateway, kept, 1, 0);
    assert!(calls(&mut gateway, 0).is_none());
    let call = gateway.post("/batch").header("content-type", "application/json").chunk(body_of(&["/3"]));
    let client = call.at(0).waits();
    let mut begun = || gateway.workers[0].next_part(true).map(|task| task.is_job);
    assert_eq!((begun(), begun()), (Some(false), Some(true)));
    assert!(gateway.workers[0].next_part(false).is_none(), "not one of a job");
    assert!(gateway.workers[0].next_part(true).is_some());
    gateway.goes_away(client, 0);
}

#[test]
fn a_part_that_waits_for_a_place_is_not_asked_for_once_its_job_is_cancelled() {
    let pools = r#","pools":[{"name":"p","fixed":1}],
        "rules":[{"name":"pooled","match":{"paths":["/p/*"]},"admission":{"pool":"p"},"batch":true,"remote":false,"refresh":{"cluster":"origin"}}]"#;
    let mut gateway = gateway("", pools);
    let kept = accepts(&mut gateway, &["/p/1", "/p/2"]);
    let flight = gateway.get("/p/now").at(0).leaves();
    let mut batch = runs(&mut gateway, kept, 1, 0);
    says_progress(&mut gateway, 0, (0, 2));
    // Nothing has changed, and yet it is asked after a while whether it is to go on.
    assert!(nothing_to_say(&mut gateway, 1_000));
    assert!(matches!(says(&mut gateway, 2_000, Ok(JobAnswer::None)), Does::Progress { .. }));
    gateway.answers(flight, 2, fresh_for(60));
    batch.goes_on(&mut gateway, 2_000);
    assert_eq!(batch.calls(), [""; 0]);
    drop(batch);
    gateway.assert_no_room_is_taken();
}

#[test]
fn all_that_is_said_of_it_fits_into_a_record() {
    let mut gateway = Gateway::with(
        r#"{"remote":{"enabled":true,"object_bytes":"64KiB"},"jobs":{"cluster":"c","by":["header:x-tenant"]},"batch":{},
            "defaults":{"jobs":"prefer","batch":true,"remote":false,"refresh":{"cluster":"origin"}}}"#,
    );
    gateway.workers[0].seed_jobs(|| 7);
    let paths: Vec<String> = (0..32).map(|nth| format!("/{nth}")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let kept = accepts(&mut gateway, &paths);
    let mut batch = runs(&mut gateway, kept, 1, 0);
    let large = format!("\"{}\"", "x".repeat(10_000));
    for path in &paths {
        batch.origin_says(&mut gateway, path, 0, json_for(60, &large));
    }
    let told = answers_of(says(&mut gateway, 1_000, Ok(JobAnswer::Ended)));
    let (whole, unfit): (Vec<_>, Vec<_>) = statuses(&told).into_iter().partition(|status| *status == 200);
    assert!(!whole.is_empty() && !unfit.is_empty() && unfit.iter().all(|status| *status == 507));
}

/// What is known of a job goes by nothing but what Redis says.
#[test]
fn progress_is_shown_while_it_runs() {
    let mut gateway = gateway("", "");
    let (id, _) = accepts(&mut gateway, &["/a"]);
    let waiter = gateway.get(&format!("/jobs/{id:032x}")).header("x-tenant", "a").at(0).waits();
    let request = asked(&mut gateway, 0).unwrap();
    let standing = Standing {
        state: State::Running,
        attempt: 1,
        created: 0,
        next: 0,
        why: "-".into(),
        status: 0,
        progress: (3, 32),
        has_result: false,
        result: Vec::new(),
    };
    tells(&mut gateway, &request, Ok(JobAnswer::Is(Box::new(standing))), 0);
    let answer = gateway.wakes(waiter, Wake::Slot, 0).answered().status(200).has("cache-control", "no-store");
    let told: Value = serde_json::from_slice(answer.bytes()).unwrap();
    assert_eq!(told["progress"], serde_json::json!({ "done": 3, "of": 32 }));
}

/// A batch that a configuration without batches gets is a request as all others.
#[test]
fn the_address_of_its_client_is_never_sent() {
    let mut gateway = gateway("", "");
    gateway.shared.peer = Some(b"192.0.2.7:999".to_vec());
    let kept = accepts(&mut gateway, &["/a"]);
    let mut other = Gateway::with(
        r#"{"remote":{"enabled":true},"jobs":{"cluster":"c","by":["header:x-tenant"]},"defaults":{"jobs":"prefer"}}"#,
    );
    other.workers[0].seed_jobs(|| 7);
    takes(&mut other, kept, 1, 0);
    let call = calls(&mut other, 0).expect("the cluster is called");
    let fields = selvage_engine::fields::Fields::parse(&call.request).unwrap();
    assert_eq!((fields.get(b":path"), fields.get(b":peer")), (Some(&b"/batch"[..]), None));
    other.workers[0].job_answered(
        call.number,
        Err(504),
        &mut Moment { now: moment(0), host: &mut other.shared },
    );
}
