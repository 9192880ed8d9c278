//! Requests that are accepted as jobs and run, told by what is asked of Redis and what the cluster is called for.

use selvage_engine::cache::{JobCall, Moment};
use selvage_engine::exchange::{Directive, Event, Exchange, Fetched, RemoteAnswer, Wake};
use selvage_engine::fields::Fields;
use selvage_engine::jobs::question::{Does, How, JobAnswer, JobRequest, Standing, State, Taken, Took};
use selvage_engine::limits::NoAnswer;
use selvage_engine::purge::admin_auth::AdminAuth;
use selvage_engine::remote::asked::{Asked, Told};

use crate::gateway::{Gateway, Origin, block, fresh_for, moment, origin};

fn gateway(jobs: &str, more: &str) -> Gateway {
    let mut gateway = Gateway::with(&format!(
        r#"{{"remote":{{"enabled":true}},"jobs":{{"cluster":"c","by":["header:x-user"],"attempts":2{jobs}}},
            "defaults":{{"jobs":"prefer"}}{more}}}"#
    ));
    gateway.workers[0].seed_jobs(|| 7);
    gateway
}

/// What Redis is asked next about jobs.
pub fn asked(gateway: &mut Gateway, millis: u64) -> Option<JobRequest> {
    match gateway.workers[0].next_asked(moment(millis))? {
        Asked::Job(request) => Some(request),
        other => panic!("{other:?}"),
    }
}

pub fn tells(gateway: &mut Gateway, request: &JobRequest, told: Result<JobAnswer, NoAnswer>, millis: u64) {
    let mut moment = Moment { now: moment(millis), host: &mut gateway.shared };
    gateway.workers[0].was_told(&Asked::Job(request.clone()), told.map(Told::Job), &mut moment);
    gateway.workers[0].take_decided_leases();
}

pub fn calls(gateway: &mut Gateway, millis: u64) -> Option<JobCall> {
    gateway.workers[0].next_job_call(&mut Moment { now: moment(millis), host: &mut gateway.shared })
}

/// The payload of a request that is accepted.
pub fn payload(request: &JobRequest) -> (u128, Vec<u8>) {
    let Does::Accept { id, payload, .. } = &request.does else { panic!("{request:?}") };
    // As it would come back from Redis.
    let line = format!("took {:x} 0 0 0 0 0 1 0 0\n{id:032x} 1 1 ", request.question);
    let taking = Does::Take(selvage_engine::jobs::question::Taking {
        most: 1,
        room: 0,
        lease: std::time::Duration::ZERO,
        attempts: 1,
        ttl: std::time::Duration::ZERO,
    });
    let text = [line.as_bytes(), payload].concat();
    let read = JobRequest { does: taking, ..request.clone() }.read(&text);
    let Some(JobAnswer::Took(took)) = read else { panic!("{read:?}") };
    (*id, took.jobs[0].payload.clone())
}

/// Accepts one, and gives what Redis keeps of it.
fn accepts(gateway: &mut Gateway, path: &str, millis: u64) -> (u128, Vec<u8>) {
    let waiter = gateway
        .post(path)
        .header("prefer", "respond-async")
        .header("x-user", "a")
        .chunk("body")
        .at_millis(millis)
        .waits();
    let request = asked(gateway, millis).unwrap();
    let (id, payload) = payload(&request);
    tells(gateway, &request, Ok(JobAnswer::Accepted { id, again: false }), millis);
    let answer = gateway.wakes(waiter, Wake::Slot, millis / 1000).answered().status(202).detail("job");
    answer.has("location", &format!("/jobs/{id:032x}")).has("preference-applied", "respond-async");
    (id, payload)
}

/// It is taken by this worker.
pub fn takes(gateway: &mut Gateway, (id, payload): (u128, Vec<u8>), attempt: u32, millis: u64) {
    let mut leads = Moment { now: moment(millis), host: &mut gateway.shared };
    gateway.workers[0].look_after_jobs(false, &mut leads);
    let request = asked(gateway, millis).unwrap();
    assert!(matches!(request.does, Does::Take(_)), "{request:?}");
    let token = u64::from(attempt);
    let took = Took { jobs: vec![Taken { id, attempt, token, payload }], ..Took::default() };
    tells(gateway, &request, Ok(JobAnswer::Took(took)), millis);
}

fn answers(gateway: &mut Gateway, call: &JobCall, origin: Option<Origin>, millis: u64) -> How {
    let head = origin.map(|origin| origin.head());
    let mut moment = Moment { now: moment(millis), host: &mut gateway.shared };
    let answer = match head.as_deref().and_then(Fields::parse) {
        Some(head) => Ok((head, Some(&b"made"[..]))),
        None => Err(504),
    };
    gateway.workers[0].job_answered(call.number, answer, &mut moment);
    let request = asked(gateway, millis).unwrap();
    let Does::End { how, .. } = request.does.clone() else { panic!("{request:?}") };
    tells(gateway, &request, Ok(JobAnswer::Ended), millis);
    how
}

#[test]
fn what_is_accepted_is_called_for_without_what_is_its_clients_own() {
    let mut gateway = gateway("", "");
    let kept = accepts(&mut gateway, "/report?a", 0);
    takes(&mut gateway, kept.clone(), 1, 0);
    let call = calls(&mut gateway, 0).unwrap();
    let fields = Fields::parse(&call.request).unwrap();
    assert_eq!((&*call.cluster, &*call.body, call.timeout.as_secs()), ("c", &b"body"[..], 30));
    assert_eq!((fields.get(b":method"), fields.get(b":path")), (Some(&b"POST"[..]), Some(&b"/report?a"[..])));
    assert_eq!((fields.get(b"prefer"), fields.get(b"x-user")), (None, Some(&b"a"[..])));
    assert_eq!(fields.get(b"x-selvage-job"), Some(format!("{:032x}", kept.0).as_bytes()));
    assert!(fields.get(b"cdn-loop").is_some_and(|line| line.starts_with(b"selvage-")));
    assert!(calls(&mut gateway, 0).is_none());
    let how =
        answers(&mut gateway, &call, Some(origin(201).header("connection", "x-hop").header("x-hop", "1")), 9);
    assert!(matches!(how, How::Done { status: 201, payload: Some(_), .. }), "{how:?}");
    for word in ["accepted", "started", "succeeded"] {
        assert_eq!(gateway.counted(0, "jobs", word), 1, "{word}");
    }
    assert_eq!(gateway.workers[0].jobs_running(), 0);
    gateway.assert_no_room_is_taken();
}

#[test]
fn what_fails_waits_longer_each_time_and_dies_in_the_end() {
    let mut gateway = gateway(r#","pause":"10s","longest_pause":"1m""#, "");
    let kept = accepts(&mut gateway, "/a", 0);
    takes(&mut gateway, kept.clone(), 1, 0);
    let call = calls(&mut gateway, 0).unwrap();
    let How::Retry { pause, why } = answers(&mut gateway, &call, None, 0) else {
        panic!("it is tried again")
    };
    assert!((5..=10).contains(&pause.as_secs()) && &*why == "timeout", "{pause:?} {why}");
    // Of three tries that have one more, the second is asked to wait.
    takes(&mut gateway, kept.clone(), 1, 1_000);
    let call = calls(&mut gateway, 1_000).unwrap();
    let later = Some(origin(503).header("retry-after", "3600"));
    let How::Retry { pause, why } = answers(&mut gateway, &call, later, 1_000) else { panic!("again") };
    assert_eq!((pause.as_secs(), &*why), (60, "503"));
    takes(&mut gateway, kept, 2, 2_000);
    let call = calls(&mut gateway, 2_000).unwrap();
    assert!(matches!(answers(&mut gateway, &call, Some(origin(429)), 2_000), How::Dead { .. }));
    assert_eq!((gateway.counted(0, "jobs", "retried"), gateway.counted(0, "jobs", "dead")), (2, 1));
}

#[test]
fn redis_is_told_of_an_end_until_it_has_heard_or_the_lease_is_over() {
    let mut gateway = gateway(r#","timeout":"1s","lease":"2s""#, "");
    let kept = accepts(&mut gateway, "/a", 0);
    takes(&mut gateway, kept, 1, 0);
    let call = calls(&mut gateway, 0).unwrap();
    gateway.workers[0].job_answered(
        call.number,
        Err(504),
        &mut Moment { now: moment(500), host: &mut gateway.shared },
    );
    for millis in [500, 1_000, 1_500] {
        let request = asked(&mut gateway, millis).unwrap();
        assert!(matches!(request.does, Does::End { token: 1, .. }), "{request:?}");
        tells(&mut gateway, &request, Err(NoAnswer::Lost), millis);
        assert!(asked(&mut gateway, millis + 499).is_none_or(|next| matches!(next.does, Does::Take(_))));
    }
    let request = asked(&mut gateway, 2_000).unwrap();
    tells(&mut gateway, &request, Err(NoAnswer::Lost), 2_000);
    assert_eq!((gateway.workers[0].jobs_running(), gateway.counted(0, "jobs", "late")), (0, 1));
}

/// A job is of the lowest class, and goes back to Redis if there is no place for it in time.
#[test]
fn a_job_waits_for_its_place_at_the_origin() {
    let pools = r#","pools":[{"name":"p","fixed":1}],"rules":[{"name":"r","admission":{"pool":"p"},"jobs":"prefer"}]"#;
    let mut gateway = gateway("", pools);
    let kept = accepts(&mut gateway, "/a", 0);
    let flight = gateway.get("/other").at(0).leaves();
    takes(&mut gateway, kept.clone(), 1, 0);
    assert!(calls(&mut gateway, 0).is_none());
    gateway.answers(flight, 0, fresh_for(60));
    gateway.workers[0].take_decided_tickets();
    let call = calls(&mut gateway, 10).expect("its place is free");
    answers(&mut gateway, &call, Some(origin(200)), 20);
    let flight = gateway.get("/another").at(1).leaves();
    takes(&mut gateway, kept, 1, 1_000);
    assert!(calls(&mut gateway, 1_000).is_none());
    assert!(calls(&mut gateway, 2_000).is_none(), "it is given back");
    let request = asked(&mut gateway, 2_000).unwrap();
    assert!(matches!(request.does, Does::End { how: How::Back { .. }, .. }), "{request:?}");
    tells(&mut gateway, &request, Ok(JobAnswer::Ended), 2_000);
    assert_eq!(gateway.counted(0, "jobs", "given-back"), 1);
    gateway.answers(flight, 2, fresh_for(60));
    gateway.assert_no_room_is_taken();
}

#[test]
pub fn what_redis_does_not_say_is_503_and_what_it_was_not_asked_goes_on() {
    for (on_failure, why, goes) in [
        ("503", NoAnswer::NotAsked, false),
        ("503", NoAnswer::Lost, false),
        ("forward", NoAnswer::NotAsked, true),
        ("forward", NoAnswer::Unreached, true),
        ("forward", NoAnswer::Lost, false),
    ] {
        let limits = r#","limits":[{"name":"all","by":[],"quota":2,"window":"1h","burst":2}],"rules":[{"name":"r","limits":["all"],"jobs":"prefer"}]"#;
        let mut gateway = gateway(&format!(r#","on_failure":"{on_failure}""#), limits);
        let waiter = gateway.get("/a").header("prefer", "respond-async").at(0).waits();
        let request = asked(&mut gateway, 0).unwrap();
        tells(&mut gateway, &request, Err(why), 0);
        let sent = gateway.wakes(waiter, Wake::Slot, 0);
        if goes {
            // Limits have counted it once, and its client is told of them.
            sent.or_answers(&mut gateway, 0, origin(200)).status(200).has("ratelimit", "\"all\";r=1;t=1800");
        } else {
            sent.answered().status(503).detail("job").has("retry-after", "1");
        }
        gateway.assert_no_room_is_taken();
    }
}

#[test]
fn a_client_that_leaves_holds_nothing_and_its_job_is_accepted_all_the_same() {
    let mut gateway = gateway("", "");
    let waiter = gateway.post("/a").header("prefer", "respond-async").chunk("x").at(0).waits();
    gateway.goes_away(waiter, 0);
    let request = asked(&mut gateway, 0).unwrap();
    let (id, payload) = payload(&request);
    tells(&mut gateway, &request, Ok(JobAnswer::Accepted { id, again: false }), 0);
    gateway.assert_no_room_is_taken();
    takes(&mut gateway, (id, payload), 1, 0);
    assert!(calls(&mut gateway, 0).is_some());
}

#[test]
fn a_signed_fleet_does_nothing_that_it_has_not_written() {
    let mut gateway = gateway("", "");
    let (id, payload) = accepts(&mut gateway, "/a", 0);
    let mut signs = self::gateway("", "");
    let seal = || Some(selvage_engine::remote::seal::Seal::new("0123456789abcdef").unwrap());
    signs.workers[0].set_seal(seal());
    signs.workers[0].seed_jobs(|| 8);
    let (own, signed) = accepts(&mut signs, "/a", 0);
    for (nth, (id, payload)) in
        [(id, payload), (id, signed.clone()), (own, Vec::new())].into_iter().enumerate()
    {
        let millis = 1_000 * (nth as u64 + 1);
        takes(&mut signs, (id, payload), 1, millis);
        assert!(calls(&mut signs, millis).is_none());
        let request = asked(&mut signs, millis).unwrap();
        assert!(matches!(&request.does, Does::End { how: How::Dead { why, .. }, .. } if &**why == "bad"));
        tells(&mut signs, &request, Ok(JobAnswer::Ended), millis);
    }
    takes(&mut signs, (own, signed), 1, 9_000);
    assert!(calls(&mut signs, 9_000).is_some());
}

#[test]
fn what_is_told_of_a_job_is_bounded_by_what_redis_may_say() {
    let mut gateway = gateway("", "");
    let path = format!("/jobs/{:032x}", 5);
    let standing = Standing {
        state: State::Running,
        attempt: 1,
        created: 1_000,
        next: 2_000,
        why: "-".into(),
        status: 0,
        progress: (3, 32),
        has_result: false,
        result: Vec::new(),
    };
    let waiter = gateway.get(&path).at(0).waits();
    let request = asked(&mut gateway, 0).unwrap();
    tells(&mut gateway, &request, Ok(JobAnswer::Is(Box::new(standing.clone()))), 0);
    let answer = gateway.wakes(waiter, Wake::Slot, 0).answered().status(200);
    let text = String::from_utf8_lossy(answer.bytes()).into_owned();
    assert!(
        text.contains(r#""progress":{"done":3,"of":32}"#) && text.contains(r#""state":"running""#),
        "{text}"
    );
    // A response without a status is none.
    let head = block(&[("x", "y")]);
    let result = selvage_engine::jobs::stored::Payload::write(&head, b"x");
    let done = Standing { state: State::Done, has_result: true, result, ..standing };
    let waiter = gateway.get(&format!("{path}/result")).at(0).waits();
    let request = asked(&mut gateway, 0).unwrap();
    tells(&mut gateway, &request, Ok(JobAnswer::Is(Box::new(done))), 0);
    gateway.wakes(waiter, Wake::Slot, 0).answered().status(502);
}

fn begin(gateway: &mut Gateway, method: &str, path: &str, end_of_stream: bool) -> (Exchange, Directive) {
    let fields = [(":method", method), (":scheme", "https"), (":authority", "example.com"), (":path", path)];
    let head = block(&[&fields[..], &[("prefer", "respond-async")]].concat());
    let mut exchange = Exchange::new();
    let directive = gateway.feed(0, &mut exchange, 60_000, Event::Request { head, end_of_stream });
    (exchange, directive)
}

fn wake(gateway: &mut Gateway, exchange: &mut Exchange) -> Directive {
    gateway.feed(0, exchange, 60_000, Event::Woken(Wake::Slot))
}

#[test]
pub fn every_kind_of_request_goes_on_as_it_would_have() {
    let rules = r#","pools":[{"name":"p","fixed":1}],"limits":[{"name":"l","by":[],"quota":9,"window":"1h","scope":"fleet","counts":"forwarded"}],
        "rules":[{"name":"fleet","match":{"paths":["/fleet"]},"jobs":"prefer"},
                 {"name":"out","match":{"paths":["/out"]},"jobs":"prefer","bypass":true},
                 {"name":"unseen","match":{"paths":["/unseen"]},"jobs":"prefer","bypass":true,"cache_status":"off","tags":{"strip":false}},
                 {"name":"pooled","match":{"paths":["/pooled*"]},"jobs":"prefer","remote":false,"admission":{"pool":"p"}},
                 {"name":"limited","match":{"paths":["/limited"]},"jobs":"prefer","remote":false,"limits":["l"]},
                 {"name":"local","jobs":"prefer","remote":false,"key":{"body":{"methods":["QUERY"]}}}]"#;
    let mut gateway = gateway(r#","on_failure":"forward""#, rules);
    let mut goes = |method: &str, path: &str, body: bool| {
        let (mut exchange, directive) = begin(&mut gateway, method, path, !body);
        if body {
            assert_eq!(directive, Directive::AwaitBody);
            let chunk = |chunk, end_of_stream| Event::RequestBody { chunk, end_of_stream };
            assert_eq!(gateway.feed(0, &mut exchange, 60_000, chunk(b"a", false)), Directive::AwaitBody);
            gateway.feed(0, &mut exchange, 60_000, chunk(b"b", true));
        }
        // Whatever else wakes it, it waits on.
        assert!(matches!(wake(&mut gateway, &mut exchange), Directive::AwaitSlot { .. }));
        assert!(exchange.awaits_lease() && exchange.awaits_fill());
        let request = asked(&mut gateway, 60_000).unwrap();
        tells(&mut gateway, &request, Err(NoAnswer::NotAsked), 60_000);
        let directive = wake(&mut gateway, &mut exchange);
        (exchange, directive)
    };
    let (fetching, directive) = goes("GET", "/a", false);
    assert!(matches!(directive, Directive::Forward(_)));
    assert!(matches!(goes("GET", "/a", false).1, Directive::AwaitFill { .. }));
    assert_eq!(goes("QUERY", "/a", true).1, Directive::AwaitBody);
    assert!(matches!(goes("GET", "/fleet", false).1, Directive::AskRemote { .. }));
    assert!(matches!(goes("POST", "/out", true).1, Directive::Forward(_)));
    assert!(matches!(goes("GET", "/out", false).1, Directive::Forward(_)));
    assert!(matches!(goes("GET", "/unseen", false).1, Directive::Forward(_)));
    assert!(matches!(goes("GET", "/pooled", false).1, Directive::Forward(_)));
    assert!(matches!(goes("GET", "/pooled/2", false).1, Directive::AwaitSlot { .. }));
    assert!(matches!(goes("GET", "/limited", false).1, Directive::AwaitSlot { .. }));
    drop(fetching);
}

#[test]
pub fn events_that_nobody_expects_change_nothing() {
    let mut gateway = gateway("", "");
    gateway.workers[0].set_admin_auth(AdminAuth::Open);
    let (coming, _) = begin(&mut gateway, "POST", "/a", false);
    let (waits, _) = begin(&mut gateway, "GET", "/a", true);
    let (looks, _) = begin(&mut gateway, "GET", "/.selvage/jobs", true);
    let (mut retries, _) = begin(&mut gateway, "POST", "/.selvage/jobs", false);
    let body = br#"{"retry":"00000000000000000000000000000001"}"#;
    gateway.feed(0, &mut retries, 60_000, Event::RequestBody { chunk: body, end_of_stream: true });
    let head = block(&[(":status", "200")]);
    let head = || Fields::parse(&head).unwrap();
    for mut held in [coming, waits, looks, retries] {
        assert!(held.is_held());
        for event in [
            Event::Woken(Wake::Poll),
            Event::Request { head: block(&[(":method", "GET")]), end_of_stream: true },
            Event::Response { head: head(), end_of_stream: false },
            Event::Body { chunk: b"", end_of_stream: true },
            Event::Trailers,
            Event::Remote(RemoteAnswer::Nothing),
            Event::Fetched(Fetched::Nothing),
            Event::RequestBody { chunk: b"x", end_of_stream: false },
            Event::Ended,
        ] {
            gateway.feed(0, &mut held, 60_000, event);
        }
    }
    let (mut looks, _) = begin(&mut gateway, "GET", "/.selvage/jobs", true);
    gateway.feed(0, &mut looks, 70_000, Event::Woken(Wake::Slot));
    let (mut coming, _) = begin(&mut gateway, "POST", "/a", false);
    let large = vec![b'x'; (1 << 20) + 1];
    let directive =
        gateway.feed(0, &mut coming, 60_000, Event::RequestBody { chunk: &large, end_of_stream: true });
    assert!(matches!(directive, Directive::Respond(reply) if reply.status == 413));
    gateway.assert_no_room_is_taken();
}

#[cfg(feature = "uploads")]
#[test]
fn what_a_rule_does_not_take_is_no_job_either() {
    let rules = r#","rules":[{"name":"r","jobs":"prefer","upload":{"max_bytes":"1KiB","types":["image/png"],"sniff":true}}]"#;
    let mut gateway = gateway("", rules);
    let mut ask = |kind: &str, body: &[u8]| {
        let call = gateway.post("/a").header("prefer", "respond-async").header("content-type", kind);
        call.chunk(body).at(0).answered()
    };
    ask("text/plain", b"x").status(415);
    ask("image/png", b"GIF89a nothing of that kind").status(415);
    ask("image/png", &[0; 1025]).status(413);
    assert!(asked(&mut gateway, 0).is_none(), "Redis is asked nothing");
}

#[test]
fn what_a_job_has_changed_is_not_served_from_before() {
    let mut gateway =
        gateway("", r#","rules":[{"name":"pages","match":{"paths":["/item"]},"remote":false}]"#);
    gateway.get("/item").at(0).miss(fresh_for(600)).stored();
    let kept = accepts(&mut gateway, "/item", 1000);
    takes(&mut gateway, kept, 1, 1000);
    gateway.get("/item").at(1).hit();
    let call = calls(&mut gateway, 1000).unwrap();
    answers(&mut gateway, &call, Some(origin(200)), 2000);
    gateway.get("/item").at(3).miss(fresh_for(600));
}

#[test]
fn idempotency_keys_of_people_of_whom_nothing_is_known_do_not_meet() {
    let once = |fields: &[(&str, &str)]| {
        let mut gateway = gateway("", "");
        let mut post = gateway.post("/a").header("prefer", "respond-async").header("idempotency-key", "1");
        for (name, value) in fields {
            post = post.header(name, value);
        }
        post.chunk("body").at_millis(0).waits();
        let Does::Accept { once, .. } = asked(&mut gateway, 0).unwrap().does else { panic!() };
        once.unwrap().0
    };
    assert_eq!(once(&[("cookie", "sid=a")]), once(&[("cookie", "sid=a")]));
    assert_ne!(once(&[("cookie", "sid=a")]), once(&[("cookie", "sid=b")]));
    // Who is known goes by that alone.
    assert_eq!(once(&[("x-user", "a"), ("cookie", "1")]), once(&[("x-user", "a"), ("cookie", "2")]));
}
