//! Budgets at their edge, with Envoys that are killed and a Redis that dies, and money beside a sum that another program makes.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use selvage_measure::targets::Row;
use selvage_rig::envoy::{Gateway, Response, repository};
use selvage_rig::provider::json;
use selvage_rig::redis::{Bridge, signal};
use selvage_rig::scripted::{Answer, Gate, Origin};

use crate::Report;
use crate::site::PATH;

/// Requests that come at once.
const AT_ONCE: usize = 64;
/// Budgets that are spent to their end, each by others.
const ROUNDS: usize = 20;
/// What a bounded question reserves, and its answer costs.
const EACH: u64 = 100;
/// What a dead Envoy has reserved is free after this.
const FREE_AFTER: Duration = Duration::from_secs(30);
/// How often it is looked whether it is.
const LOOKS: Duration = Duration::from_millis(250);

fn config(budget: &str) -> String {
    format!(
        r#"{{ "remote": {{ "enabled": true, "timeout": "2s", "breaker": {{ "pause": "100ms" }} }},
            "budgets": [ {{ "name": "team", "by": ["header:x-team"], "tokens": 1000, "scope": "fleet", "soft": [], {budget} }} ],
            "rules": [ {{ "name": "chat", "match": {{ "paths": ["/v1/*"] }}, "budgets": ["team"],
                          "llm": {{ "api": "openai", "cache": {{ "when": "all", "coalesce": "none" }} }} }} ] }}"#
    )
}

fn fleet(budget: &str, origin: &Origin, bridge: &Bridge) -> Result<[Gateway; 2], String> {
    let start = || {
        let builder = Gateway::with(&config(budget)).origin(origin.url()).bridge(bridge.port());
        builder.try_start().map_err(|refused| format!("Envoy did not start:\n{}", refused.output))
    };
    Ok([start()?, start()?])
}

fn answer() -> Answer {
    json(
        r#"{"id":"c","model":"gpt-t","choices":[{"index":0,"message":{"role":"assistant","content":"a"},"finish_reason":"length"}],"usage":{"prompt_tokens":60,"completion_tokens":40}}"#,
    )
}

/// A question of 180 bytes, which are 60 tokens before it is asked.
fn question(nth: usize, bound: &str) -> String {
    let begin = format!(r#"{{"model":"gpt-t",{bound}"n{nth}":1,"messages":[{{"role":"user","content":""#);
    format!("{begin}{}\"}}]}}", "x".repeat(180 - begin.len() - 4))
}

const BOUND: &str = r#""max_tokens":40,"#;

fn ask(gateway: &Gateway, team: &str, body: &str) -> Response {
    gateway.ask("POST", PATH).header("x-team", team).body(body).send()
}

/// Asks what nobody has asked before: it is answered by the provider.
fn at_once(fleet: &[Gateway; 2], team: &str, (first, bound): (usize, &str)) -> Vec<u16> {
    thread::scope(|scope| {
        let clients: Vec<_> = (0..AT_ONCE)
            .map(|nth| {
                let (gateway, body) = (&fleet[nth % 2], question(first + nth, bound));
                scope.spawn(move || ask(gateway, team, &body).status)
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    })
}

fn row(scenario: &'static str, what: &str, target: &str, measured: String, peer: &str, met: bool) -> Row {
    let [what, target, peer] = [what, target, peer].map(str::to_owned);
    Row { scenario, what, target, measured, peer, met }
}

/// Spends budgets to their end.
pub fn at_the_edge(report: &mut Report) -> Result<(), String> {
    let (origin, bridge) = (Origin::start(), Bridge::start());
    origin.otherwise(|_| answer());
    let peer =
        "LiteLLM: budgets by key want Postgres, and are checked before and added to after (its issue 34732)";
    for (bound, what, most) in [
        (
            BOUND,
            "64 at once at 2 Envoys with 2 workers, at the edge of a budget, answers bounded: beyond it",
            0,
        ),
        ("", "the same where nothing bounds the answers, and they cost more than is thought: beyond it", 4),
    ] {
        let fleet = fleet(r#""reserve_output": 20"#, &origin, &bridge)?;
        let (mut worst, mut sum, mut errors) = (0u64, 0u64, 0usize);
        for round in 0..ROUNDS {
            let (team, first) = (format!("{most}-{round}"), 1_000 + 100 * round);
            // Where nothing is bounded one has been answered before: what it has cost is known.
            let mut spent =
                EACH * u64::from(ask(&fleet[round % 2], &team, &question(first, bound)).status == 200);
            let statuses = at_once(&fleet, &team, (first + 1, bound));
            errors += statuses.iter().filter(|status| !matches!(status, 200 | 429)).count();
            spent += EACH * statuses.iter().filter(|status| **status == 200).count() as u64;
            worst = worst.max(spent.saturating_sub(1000));
            sum += spent;
        }
        let part = sum as f64 / (ROUNDS as f64 * 1000.0) * 100.0;
        let measured = format!(
            "{} of a request at most in {ROUNDS} budgets; {part:.0} % of them spent; {errors} errors",
            worst as f64 / EACH as f64
        );
        let target = if most == 0 { "0" } else { "≤ 1 request a worker: 4" };
        let met = worst <= most * EACH && errors == 0;
        report.targets.row(row("C3", what, target, measured, peer, met));
        for member in &fleet {
            member.assert_sound();
        }
    }
    Ok(())
}

/// Kills an Envoy whose requests have reserved all there is.
pub fn killed(report: &mut Report) -> Result<(), String> {
    let (origin, bridge, gate) = (Origin::start(), Bridge::start(), Gate::new());
    let waits = gate.clone();
    origin.on("/v1/held/chat/completions", move |_| answer().waits_for(&waits));
    origin.otherwise(|_| answer());
    let fleet = fleet(r#""reserve_output": 20"#, &origin, &bridge)?;
    let begun = thread::scope(|scope| {
        for nth in 0..10 {
            let (first, body) = (&fleet[0], question(nth, BOUND));
            scope.spawn(move || {
                let held = first.ask("POST", "/v1/held/chat/completions").header("x-team", "a").body(body);
                // Its Envoy is killed meanwhile.
                let _ = held.try_send();
            });
        }
        while origin.count("/v1/held/chat/completions") < 10 {
            thread::sleep(LOOKS);
        }
        assert_eq!(ask(&fleet[1], "a", &question(99, BOUND)).status, 429, "all of it is reserved");
        signal(fleet[0].pid(), "KILL");
        let begun = Instant::now();
        gate.open();
        begun
    });
    let limit = FREE_AFTER + Duration::from_secs(15);
    let mut status = 429;
    while status == 429 && begun.elapsed() < limit {
        thread::sleep(LOOKS);
        status = ask(&fleet[1], "a", &question(99, BOUND)).status;
    }
    let took = begun.elapsed();
    // It had last said something up to a moment before it was killed.
    let met = status == 200 && took <= FREE_AFTER + 4 * LOOKS;
    let what = "an Envoy is killed −9 whose requests have reserved all of a budget: it is there again after";
    let measured = format!("{:.1} s", took.as_secs_f64());
    report.targets.row(row("C3", what, "≤ 30 s, looked at every 0.25 s", measured, "–", met));
    Ok(())
}

/// Takes Redis away while a fleet spends.
pub fn without_redis(report: &mut Report) -> Result<(), String> {
    for (on_failure, allowed) in [("share", [200, 429]), ("open", [200, 200]), ("closed", [200, 503])] {
        let (origin, mut bridge) = (Origin::start(), Bridge::start());
        origin.otherwise(|_| answer());
        let fleet = fleet(&format!(r#""on_failure": "{on_failure}""#), &origin, &bridge)?;
        let mut told: Vec<(u16, u128)> = Vec::new();
        for nth in 0..300 {
            match nth {
                100 => bridge.end_redis(),
                200 => bridge.start_redis(),
                _ => {}
            }
            let team = format!("{}", nth % 50);
            let begun = Instant::now();
            let status = ask(&fleet[nth % 2], &team, &question(nth, BOUND)).status;
            told.push((status, begun.elapsed().as_millis()));
        }
        let strange = told.iter().filter(|(status, _)| !allowed.contains(status)).count();
        let went = told.iter().filter(|(status, _)| *status == 200).count();
        let longest = told.iter().map(|(_, took)| *took).max().unwrap_or_default();
        let what = format!(
            "Redis dies and comes back while a fleet spends, `on_failure: {on_failure}`: answers of another kind"
        );
        let measured = format!("{strange}; {went} of {} went, the longest took {longest} ms", told.len());
        report.targets.row(row("C3", &what, "0", measured, "–", strange == 0));
    }
    Ok(())
}

/// Seeded answers, and what they cost by another program's fractions.
pub fn money(seed: u64, report: &mut Report) -> Result<(), String> {
    const ANSWERS: u64 = 2_000;
    let mut state = seed;
    let mut random = move |most: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % most
    };
    let prices = ["0.150000001", "0.0375", "0.6", "2.5"];
    let origin = Origin::start();
    origin.otherwise(|request| {
        let text = String::from_utf8_lossy(&request.body).into_owned();
        let usage = text.split("USAGE").nth(1).unwrap_or_default().replace('\'', "\"");
        json(format!(
            r#"{{"id":"c","model":"gpt-t-1","choices":[{{"index":0,"message":{{"role":"assistant","content":"a"}},"finish_reason":"stop"}}],"usage":{usage}}}"#
        ))
    });
    let bridge = Bridge::start();
    let config = format!(
        r#"{{ "remote": {{ "enabled": true, "timeout": "2s" }},
            "models": [ {{ "name": "gpt-t", "input": "{}", "cached": "{}", "output": "{}" }}, {{ "name": "gpt", "input": 9, "output": "{}" }} ],
            "budgets": [ {{ "name": "all", "money": 9000000, "scope": "fleet" }} ],
            "rules": [ {{ "name": "chat", "budgets": ["all"], "llm": {{ "api": "openai", "cache": {{ "when": "all" }} }} }} ] }}"#,
        prices[0], prices[1], prices[2], prices[3]
    );
    let builder = Gateway::with(&config).origin(origin.url()).bridge(bridge.port());
    let gateway =
        builder.try_start().map_err(|refused| format!("Envoy did not start:\n{}", refused.output))?;
    let mut sums = String::new();
    let mut connection = gateway.connect();
    for nth in 0..ANSWERS {
        let (input, output) = (random(3_000_000), random(900_000));
        let cached = random(input + 1);
        let usage = format!(
            "{{'prompt_tokens':{input},'completion_tokens':{output},'prompt_tokens_details':{{'cached_tokens':{cached}}}}}"
        );
        let body = format!(r#"{{"model":"gpt-t","max_tokens":1,"n":{nth},"messages":"USAGE{usage}USAGE"}}"#);
        let response = connection.send(gateway.ask("POST", PATH).body(body));
        if response.status != 200 {
            return Err(format!("answer {nth} is {}: {}", response.status, response.text()));
        }
        let _ = writeln!(sums, "{input} {cached} {output}");
    }
    let reference = by_fractions(&sums, &prices)?;
    let spent = || gateway.stat("selvage.budget_units.all.spent");
    let deadline = Instant::now() + Duration::from_secs(20);
    while spent() < reference && Instant::now() < deadline {
        thread::sleep(LOOKS);
    }
    let counted = gateway.stat("selvage.llm_cost_nanos.gpt-t.spent");
    let met = [spent(), counted] == [reference; 2];
    let measured = format!(
        "{reference}·10⁻⁹: budget {:+}, metric {:+}",
        spent() as i128 - i128::from(reference),
        counted as i128 - i128::from(reference)
    );
    let what = format!("money of {ANSWERS} seeded answers, beside fractions of another program");
    report.targets.row(row("C4", &what, "equal", measured, "–", met));
    Ok(())
}

/// What they cost, each rounded up once, by the fractions of Python.
fn by_fractions(sums: &str, prices: &[&str; 4]) -> Result<u64, String> {
    const PROGRAM: &str = "import sys, math\nfrom fractions import Fraction as F\n\
        i, c, o = map(F, sys.argv[1:4])\n\
        each = lambda a, b, d: math.ceil(((a - b) * i + b * c + d * o) * 1000)\n\
        print(sum(each(*map(int, line.split())) for line in sys.stdin))";
    let mut command = Command::new("python3");
    command.args(["-c", PROGRAM]).args(&prices[..3]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("python3: {error}"))?;
    child.stdin.take().unwrap().write_all(sums.as_bytes()).map_err(|error| format!("python3: {error}"))?;
    let output = child.wait_with_output().map_err(|error| format!("python3: {error}"))?;
    String::from_utf8_lossy(&output.stdout).trim().parse().map_err(|error| format!("python3: {error}"))
}

/// What is told of seeded months at their tenth day, by the test of the crate.
pub fn forecast(report: &mut Report) -> Result<(), String> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["test", "--quiet", "--package", "selvage-llm", "--lib", "at_day_ten", "--", "--nocapture"]);
    let output = command.current_dir(repository()).output().map_err(|error| format!("cargo: {error}"))?;
    let said =
        [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    let error = |line: &str| line.split_once(": ")?.1.split_once(" %")?.0.parse::<f64>().ok();
    let errors: Vec<f64> = said.lines().filter_map(error).collect();
    let worst = errors.iter().copied().fold(0.0, f64::max);
    let measured = format!("{worst:.1} % at most in {} kinds of months, 400 of each", errors.len());
    let what = "the forecast at day 10 of seeded months: mean error";
    let met = output.status.success() && !errors.is_empty() && worst <= 10.0;
    report.targets.row(row("C4", what, "≤ 10 %", measured, "–", met));
    Ok(())
}
