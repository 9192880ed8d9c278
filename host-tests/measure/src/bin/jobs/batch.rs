//! F1: a batch of 32 parts beside 32 single GETs: byte for byte the same, and how long either takes.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use selvage_measure::tables::Wanted;
use selvage_measure::targets::{Row, Targets};
use selvage_rig::batches::{Part, body_of, parts, post};
use selvage_rig::envoy::{Ask, Gateway, Response};
use selvage_rig::scripted::{Answer, Origin, Received};

use crate::Report;

/// What a batch has at most by default.
const PARTS: usize = 32;
const ROUNDS: usize = 200;

const CONFIG: &str = r#"{ "batch": {}, "rules": [
    { "name": "api", "match": { "paths": ["/api/*"] }, "batch": true, "refresh": { "cluster": "origin" } } ] }"#;

/// The kinds of answers. Each is asked for under several names.
const KINDS: [&str; 16] = [
    "json",
    "pretty",
    "uncacheable",
    "gzip",
    "binary",
    "text",
    "gone",
    "empty",
    "moved",
    "cookies",
    "vary",
    "large",
    "slow",
    "failing",
    "validated",
    "chunked",
];

/// Those of which each request goes to the origin.
const ASKED_EACH_TIME: [&str; 8] =
    ["uncacheable", "gone", "empty", "moved", "cookies", "failing", "validated", "slow"];

fn tell(request: &Received) -> Answer {
    let kind = request.target.rsplit('/').next().unwrap().split('-').next().unwrap();
    let json = |content: String| Answer::fresh(content).header("content-type", "application/json");
    match kind {
        "json" => json(format!("{{\"path\":\"{}\",\"n\":1.50}}", request.target)),
        "pretty" => {
            json("{\n  \"big\": 123456789012345678901234567890,\r\n\t\"twice\": 1, \"twice\": 2\n}\n".into())
        }
        "uncacheable" => json("[1]".into()).header("cache-control", "no-store"),
        "gzip" => json("not JSON any more".into()).header("content-encoding", "gzip"),
        "binary" => Answer::fresh((0..=255u8).collect::<Vec<_>>()).header("content-type", "image/png"),
        "text" => {
            Answer::fresh("text with \"quotes\" and ä").header("content-type", "text/plain; charset=utf-8")
        }
        "gone" => Answer::new(404)
            .body("none")
            .header("content-type", "text/plain")
            .header("cache-control", "no-cache"),
        "empty" => Answer::new(204).header("cache-control", "no-store"),
        "moved" => Answer::new(302).header("location", "/api/json"),
        "cookies" => Answer::ok("c").header("set-cookie", "a=1; Path=/").header("set-cookie", "b=\"2\""),
        "vary" => {
            json(format!("\"{}\"", request.header("x-kind").unwrap_or_default())).header("vary", "x-kind")
        }
        "large" => Answer::fresh("x".repeat(64 << 10)).header("content-type", "text/plain"),
        "slow" => {
            thread::sleep(Duration::from_millis(200));
            Answer::ok("late").header("content-type", "text/plain").header("cache-control", "no-store")
        }
        "failing" => Answer::new(503).body("{\"error\":1}").header("content-type", "application/json"),
        "validated" => match request.header("if-none-match") {
            Some(_) => Answer::new(304).header("etag", "\"1\"").header("cache-control", "max-age=0"),
            None => Answer::ok("\"same\"")
                .header("etag", "\"1\"")
                .header("cache-control", "max-age=0")
                .header("content-type", "application/json"),
        },
        _ => json("[1, 2, 3]".into()).chunked(4, &[]),
    }
}

fn targets_of(kinds: &[&str]) -> Vec<String> {
    (0..PARTS).map(|nth| format!("/api/{}-{}", kinds[nth % kinds.len()], nth / kinds.len())).collect()
}

fn start() -> Result<(Origin, Gateway), String> {
    let origin = Origin::start();
    origin.otherwise(tell);
    let builder = Gateway::with(CONFIG).workers(1).origin(origin.url());
    let gateway =
        builder.try_start().map_err(|refused| format!("Envoy did not start:\n{}", refused.output))?;
    Ok((origin, gateway))
}

fn single<'g>(gateway: &'g Gateway, target: &str) -> Ask<'g> {
    gateway.get(target).header("accept-encoding", "identity").header("x-kind", "k")
}

/// What both have to have alike.
type Alike = (u64, BTreeMap<String, String>, Vec<u8>);

/// Fields of the connection, and those that Envoy or time change from one response to the next.
const PASSING: [&str; 7] = [
    "age",
    "connection",
    "content-length",
    "date",
    "server",
    "transfer-encoding",
    "x-envoy-upstream-service-time",
];

fn of_single(response: &Response) -> Alike {
    let mut fields: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in response.fields.iter().filter(|(name, _)| !PASSING.contains(&name.as_str())) {
        let lines = fields.entry(name.clone()).or_default();
        if !lines.is_empty() {
            lines.push_str(", ");
        }
        lines.push_str(&String::from_utf8_lossy(value));
    }
    (response.status.into(), without_ttl(fields), response.body.clone())
}

fn of_part(part: &Part) -> Alike {
    let fields = part.fields.clone().into_iter().filter(|(name, _)| !PASSING.contains(&name.as_str()));
    (part.status, without_ttl(fields.collect()), part.body.clone())
}

/// What is left of a lifetime changes with the second.
fn without_ttl(mut fields: BTreeMap<String, String>) -> BTreeMap<String, String> {
    if let Some(line) = fields.get_mut("cache-status") {
        *line = line.split("; ").filter(|part| !part.starts_with("ttl=")).collect::<Vec<_>>().join("; ");
    }
    fields
}

/// Asks one gateway by batches and another one by single requests.
pub fn run(_: &Wanted, report: &mut Report) -> Result<(), String> {
    compare(&mut report.targets)?;
    time(&mut report.targets)
}

fn compare(report: &mut Targets) -> Result<(), String> {
    let ((batched, by_batch), (asked, by_one)) = (start()?, start()?);
    let targets = targets_of(&KINDS);
    let (mut same, mut odd, mut misses, mut alone) = (0, String::new(), true, "yes".to_owned());
    for _ in 0..3 {
        let told = parts(&post(&by_batch, body_of(&targets)).header("x-kind", "k").send());
        for (part, target) in told.iter().zip(&targets) {
            let response = single(&by_one, target).send();
            if of_part(part) == of_single(&response) {
                same += 1;
            } else if odd.is_empty() {
                odd = format!("; {target}: {:?} and {:?}", of_part(part), of_single(&response));
            }
        }
        // Those that fail, and nobody else.
        for (part, target) in told.iter().zip(&targets) {
            let fails = target.contains("/failing-");
            let failed = (part.status, part.body.as_slice()) == (503, b"{\"error\":1}");
            if fails != failed || part.status >= 500 && !fails {
                alone = format!("no: {target}: {part:?}");
            }
        }
    }
    for target in &targets {
        let each_time = ASKED_EACH_TIME.iter().any(|kind| target.contains(&format!("/{kind}-")));
        let wanted = if each_time { 3 } else { 1 };
        misses &= batched.count(target) == wanted && asked.count(target) == wanted;
    }
    report.row(Row {
        scenario: "F1",
        what: format!("parts of three batches of {PARTS} that are what single GETs are: status, fields, Cache-Status, bytes"),
        target: format!("{}", 3 * PARTS),
        measured: format!("{same}{odd}"),
        peer: "–".to_owned(),
        met: same == 3 * PARTS,
    });
    let misses = if misses { "yes" } else { "no" }.to_owned();
    for (what, told) in [
        ("the origin is asked for the misses, and for each of them as often as by single GETs", misses),
        ("a part that fails fails alone", alone),
    ] {
        report.row(Row {
            scenario: "F1",
            what: what.to_owned(),
            target: "yes".to_owned(),
            met: told == "yes",
            measured: told,
            peer: "–".to_owned(),
        });
    }
    by_batch.assert_sound();
    by_one.assert_sound();
    Ok(())
}

fn time(report: &mut Targets) -> Result<(), String> {
    let (_origin, gateway) = start()?;
    let targets = targets_of(&["json"]);
    let body = body_of(&targets);
    parts(&post(&gateway, &body).send());
    let mut connection = gateway.connect();
    let mut batches = Vec::new();
    let mut singles = Vec::new();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let response = connection.send(post(&gateway, &body));
        batches.push(begun.elapsed());
        assert_eq!(response.status, 200);
        let begun = Instant::now();
        for target in &targets {
            assert!(connection.send(single(&gateway, target)).is_hit());
        }
        singles.push(begun.elapsed());
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64() * 1e3
    };
    let (batch, one_by_one) = (median(&mut batches), median(&mut singles));
    report.row(Row {
        scenario: "F1",
        what: format!(
            "a batch of {PARTS} hits on a kept connection, p50, beside {PARTS} GETs one after the other"
        ),
        target: "less".to_owned(),
        measured: format!("{batch:.2} ms, {one_by_one:.2} ms"),
        peer: "–".to_owned(),
        met: batch < one_by_one,
    });
    Ok(())
}
