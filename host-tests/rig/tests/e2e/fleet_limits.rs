//! Limits that a fleet counts in a real Redis, behind real webdis and behind Upstash's interface.

use std::time::{Duration, Instant};

use selvage_rig::envoy::{Gateway, Response};
use selvage_rig::redis::Bridge;
use selvage_rig::scripted::{Answer, Origin};
use selvage_rig::upstash::Upstash;

use super::{assert_says, becomes};

fn member(origin: &Origin, bridge: u16, remote: &str, limit: &str) -> Gateway {
    let config = format!(
        r#"{{ "remote": {{ "enabled": true, "timeout": "2s" {remote} }},
              "limits": [{{ "name": "all", "by": [], "scope": "fleet", {limit} }}],
              "defaults": {{ "bypass": true, "limits": ["all"] }} }}"#
    );
    Gateway::with(&config).origin(origin.url()).bridge(bridge).start()
}

fn origin() -> Origin {
    let origin = Origin::start();
    origin.otherwise(|_| Answer::ok("content"));
    origin
}

const SLOW: &str = r#""quota": 12, "window": "1h", "burst": 12"#;

fn admitted(answers: &[Response]) -> usize {
    assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 429)), "{answers:?}");
    answers.iter().filter(|answer| answer.status == 200).count()
}

#[test]
fn two_envoys_share_one_quota() {
    let (origin, bridge) = (origin(), Bridge::start());
    let fleet = [(); 2].map(|()| member(&origin, bridge.port(), "", SLOW));
    let answers: Vec<Response> = (0..40).map(|nth| fleet[nth % 2].get("/a").send()).collect();
    assert_eq!(admitted(&answers), 12);
    let refused = answers.last().unwrap();
    assert_says(refused, "detail=limited");
    let seconds: u64 = refused.all("retry-after").concat().parse().unwrap();
    assert!((1..=300).contains(&seconds), "{seconds}");
    // One that joins later finds nothing left, and a key is one of Redis.
    let third = member(&origin, bridge.port(), "", SLOW);
    assert_eq!(third.get("/a").send().status, 429);
    assert_eq!(bridge.keys("selvage:v1:limit:*").len(), 1);
    fleet.iter().for_each(Gateway::assert_sound);
}

#[test]
fn a_busy_quota_is_leased_many_at_a_time() {
    let (origin, bridge) = (origin(), Bridge::start());
    let fast = r#""quota": 1000, "window": "1s""#;
    let fleet = [(); 2].map(|()| member(&origin, bridge.port(), "", fast));
    let begun = Instant::now();
    let mut answers = Vec::new();
    let mut connections = fleet.each_ref().map(Gateway::connect);
    for nth in 0..3_000 {
        let connection = &mut connections[nth % 2];
        let ask = connection.get("/a");
        answers.push(connection.send(ask));
    }
    // No more than the quota brings in the time that it took, and the burst.
    let most = begun.elapsed().as_millis() as usize + 100 + 1;
    let count = admitted(&answers);
    assert!(count <= most, "{count} of {most}");
    let asked: u64 = fleet.iter().map(|member| member.stat("selvage.limit_events.fleet-asked")).sum();
    assert!(asked > 0 && asked < 1_000, "{asked} calls for 3000 requests");
}

#[test]
fn redis_may_die_and_come_back_and_no_client_sees_an_error() {
    let origin = origin();
    let mut bridge = Bridge::start();
    let limit = r#""quota": 100000, "window": "1s""#;
    let fleet =
        [(); 2].map(|()| member(&origin, bridge.port(), r#", "breaker": { "pause": "100ms" }"#, limit));
    let ask =
        |times: usize| -> Vec<Response> { (0..times).map(|nth| fleet[nth % 2].get("/a").send()).collect() };
    assert_eq!(admitted(&ask(20)), 20);
    bridge.end_redis();
    assert_eq!(admitted(&ask(200)), 200);
    let failed = || fleet.iter().map(|member| member.stat("selvage.limit_events.fleet-failed")).sum::<u64>();
    becomes(|| ask(2), |_| failed() > 0);
    bridge.start_redis();
    let granted =
        || fleet.iter().map(|member| member.stat("selvage.limit_events.fleet-granted")).sum::<u64>();
    let before = granted();
    becomes(
        || {
            std::thread::sleep(Duration::from_millis(20));
            admitted(&ask(2))
        },
        |_| granted() > before,
    );
    fleet.iter().for_each(Gateway::assert_sound);
}

#[test]
fn where_nothing_may_pass_uncounted_a_dead_redis_is_503_and_a_living_one_is_not() {
    let origin = origin();
    let mut bridge = Bridge::start();
    let limit = format!(r#"{SLOW}, "on_failure": "closed""#);
    let gateway = member(&origin, bridge.port(), r#", "breaker": { "pause": "100ms" }"#, &limit);
    assert_eq!(gateway.get("/a").send().status, 200);
    bridge.end_redis();
    let answer = becomes(|| gateway.get("/a").send(), |answer| answer.status == 503);
    assert_says(&answer, "detail=limited");
    bridge.start_redis();
    becomes(|| gateway.get("/a").send(), |answer| answer.status == 200);
}

#[test]
fn behind_upstash_it_is_the_same() {
    let (origin, bridge) = (origin(), Bridge::start());
    let upstash = Upstash::start(bridge.redis_port(), "secret-token");
    let remote = r#", "dialect": "upstash", "credentials_env": "SELVAGE_REMOTE_CREDENTIALS""#;
    let start = || {
        let config = format!(
            r#"{{ "remote": {{ "enabled": true, "timeout": "2s" {remote} }},
                  "limits": [{{ "name": "all", "by": [], "scope": "fleet", {SLOW} }}],
                  "defaults": {{ "bypass": true, "limits": ["all"] }} }}"#
        );
        Gateway::with(&config)
            .origin(origin.url())
            .bridge(upstash.port())
            .environment("SELVAGE_REMOTE_CREDENTIALS", "secret-token")
            .start()
    };
    let fleet = [(); 2].map(|()| start());
    let answers: Vec<Response> = (0..30).map(|nth| fleet[nth % 2].get("/a").send()).collect();
    assert_eq!(admitted(&answers), 12);
}

#[test]
fn a_body_that_is_part_of_the_key_is_read_after_the_wait() {
    let (origin, bridge) = (Origin::start(), Bridge::start());
    origin.otherwise(|request| Answer::fresh(&request.body));
    let config = r#"{ "remote": { "enabled": true, "timeout": "2s" },
        "limits": [{ "name": "all", "by": [], "scope": "fleet", "quota": 60, "window": "1m", "burst": 20 }],
        "rules": [{ "name": "q", "limits": ["all"], "key": { "body": { "methods": ["POST"] } } }] }"#;
    let gateway = Gateway::with(config).origin(origin.url()).bridge(bridge.port()).workers(1).start();
    let ask = |body: &str| gateway.ask("POST", "/q").body(body).send();
    for body in ["one", "two"] {
        let answer = ask(body);
        assert_eq!((answer.status, answer.text().as_str()), (200, body));
        assert_says(&answer, "stored");
    }
    for body in ["one", "two"] {
        let answer = ask(body);
        assert_says(&answer, "hit");
        assert_eq!(answer.text(), body);
    }
    // Each of them took a token of Redis, and waited for it.
    becomes(|| gateway.stat("selvage.limit_events.fleet-waited"), |waited| *waited == 4);
}
