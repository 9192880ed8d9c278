//! Budgets of language models on the real Envoy, counted in the node and in a real Redis.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::thread;

use selvage_engine::budgets::ledger::{Entry, Ledger, Need};
use selvage_engine::budgets::question::{HOURS, HoursRequest, LEDGER, LedgerRequest};
use selvage_rig::envoy::{Gateway, Response};
use selvage_rig::provider::{Provider, json};
use selvage_rig::redis::{Bridge, Redis};
use selvage_rig::scripted::{Answer, Gate, Origin};
use serde_json::Value;

use super::{assert_says, becomes};

/// A fleet's budget in money, of which an answer costs 0.001: 60 tokens of input at 5 and 40 of output at 17.5 for a million.
fn config(budget: &str) -> String {
    format!(
        r#"{{ "admin": {{ "open": true }}, "remote": {{ "enabled": true, "timeout": "2s", "breaker": {{ "pause": "100ms" }} }},
            "models": [ {{ "name": "gpt-t", "input": 5, "output": "17.5" }} ],
            "budgets": [ {{ "name": "team", "by": ["header:x-team"], {budget} }} ],
            "rules": [ {{ "name": "chat", "match": {{ "paths": ["/v1/*"] }}, "budgets": ["team"],
                          "llm": {{ "api": "openai", "cache": {{ "when": "all", "coalesce": "none" }} }} }} ] }}"#
    )
}

/// A question with a body of 180 bytes, which are 60 tokens before it is asked.
fn question(nth: usize, bound: &str) -> String {
    let begin = format!(r#"{{"model":"gpt-t",{bound}"n{nth}":1,"messages":[{{"role":"user","content":""#);
    format!("{begin}{}\"}}]}}", "x".repeat(180 - begin.len() - 4))
}

const BOUND: &str = r#""max_tokens":40,"#;

fn answer() -> Answer {
    json(
        r#"{"id":"c","model":"gpt-t","choices":[{"index":0,"message":{"role":"assistant","content":"a"},"finish_reason":"length"}],"usage":{"prompt_tokens":60,"completion_tokens":40}}"#,
    )
}

fn ask(gateway: &Gateway, team: &str, body: &str) -> Response {
    gateway.ask("POST", "/v1/chat/completions").header("x-team", team).body(body).send()
}

fn all_at_once(fleet: &[Gateway], count: usize, bound: &str) -> Vec<Response> {
    thread::scope(|scope| {
        let clients: Vec<_> = (0..count)
            .map(|nth| {
                let (gateway, body) = (&fleet[nth % fleet.len()], question(nth, bound));
                scope.spawn(move || ask(gateway, "a", &body))
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    })
}

fn admitted(answers: &[Response]) -> usize {
    let expected = answers.iter().all(|answer| matches!(answer.status, 200 | 429));
    assert!(expected, "{:?}", answers.iter().map(|answer| answer.status).collect::<Vec<_>>());
    answers.iter().filter(|answer| answer.status == 200).count()
}

fn told(gateway: &Gateway, path: &str) -> Value {
    serde_json::from_str(&gateway.get(path).header("host", "localhost").send().text()).unwrap()
}

/// At the edge, 64 at once at two Envoys with two workers each: no more than there is, to the last 10⁻⁹.
#[test]
fn a_fleet_spends_a_budget_to_the_end_and_not_beyond_it() {
    let (provider, bridge) = (Provider::start(), Bridge::start());
    provider.origin().on("/v1/chat/completions", |_| answer());
    let config = config(r#""money": 0.03, "window": "day", "scope": "fleet""#);
    let fleet = [(); 2].map(|()| Gateway::with(&config).origin(provider.url()).bridge(bridge.port()).start());
    let answers = all_at_once(&fleet, 64, BOUND);
    // What is reserved for an answer is what it costs, so none is refused for what another gives back.
    assert_eq!(admitted(&answers), 30);
    assert_eq!(provider.origin().count("/v1/chat/completions"), 30);
    let spent = || fleet.iter().map(|member| member.stat("selvage.budget_units.team.spent")).sum::<u64>();
    becomes(spent, |spent| *spent == 30 * (60 * 5_000 + 40 * 17_500));
    assert_eq!(fleet.iter().map(|member| member.stat("selvage.budget_units.team.overrun")).sum::<u64>(), 0);
    let refused = ask(&fleet[0], "a", &question(99, BOUND));
    assert_says(&refused, "detail=budget");
    assert_eq!((refused.status, refused.all("x-should-retry")), (429, vec!["false".to_owned()]));
    assert!(refused.text().contains("insufficient_quota"), "{}", refused.text());
    let seconds: u64 = refused.all("retry-after").concat().parse().unwrap();
    assert!((1..=86_400).contains(&seconds), "{seconds}");
    // What is stored is answered all the same, and another team has its own.
    let stored = answers.iter().position(|answer| answer.status == 200).unwrap();
    assert!(ask(&fleet[stored % 2], "a", &question(stored, BOUND)).is_hit());
    assert_eq!(ask(&fleet[1], "b", &question(98, BOUND)).status, 200);
    // Operators see it at each of them.
    for member in &fleet {
        let shown = becomes(
            || told(member, "/.selvage/budgets"),
            |shown| shown["budgets"][0]["accounts"][0]["spent"] == 0.03,
        );
        let account = &shown["budgets"][0]["accounts"][0];
        assert_eq!((&account["left"], &account["reserved"]), (&Value::from(0), &Value::from(0)), "{shown}");
        let key = account["key"].as_str().unwrap();
        let explained =
            member.get("/.selvage/explain?url=http://a.test/v1/x").header("host", "localhost").send().text();
        assert!(!explained.contains(key));
    }
    assert_eq!(bridge.keys("selvage:v1:budget:*").len(), 2);
    fleet.iter().for_each(Gateway::assert_sound);
}

#[test]
fn what_nothing_bounds_overruns_by_no_more_than_one_request_of_each_worker() {
    let (provider, bridge) = (Provider::start(), Bridge::start());
    let gate = Gate::new();
    let waits = gate.clone();
    provider.origin().on("/v1/chat/completions", move |_| answer().waits_for(&waits));
    // An answer is thought to cost a fifth of what it does.
    let config = config(r#""tokens": 1000, "window": "week", "scope": "fleet", "reserve_output": 1"#);
    let fleet = [(); 2].map(|()| Gateway::with(&config).origin(provider.url()).bridge(bridge.port()).start());
    gate.open();
    // Each worker has seen what they cost.
    let mut before = 0;
    while before < 4 {
        before += admitted(&all_at_once(&fleet, 1, ""));
    }
    let answers = all_at_once(&fleet, 64, "");
    let spent = 100 * (before + admitted(&answers)) as u64;
    assert!(spent <= 1000 + 4 * 100, "{spent}");
    let mut nth = 100;
    let again = becomes(
        || {
            nth += 1;
            ask(&fleet[0], "a", &question(nth, ""))
        },
        |answer| answer.status == 429 && answer.text().contains("insufficient_quota"),
    );
    assert_says(&again, "detail=budget");
    fleet.iter().for_each(Gateway::assert_sound);
}

/// What is under way is reserved, and what fails costs nothing.
#[test]
fn the_workers_of_an_envoy_share_a_budget_and_who_fails_or_leaves_gives_it_back() {
    let provider = Provider::start();
    let gate = Gate::new();
    let waits = gate.clone();
    provider.origin().on("/v1/chat/completions", move |request| {
        let text = String::from_utf8_lossy(&request.body).into_owned();
        match text.contains("\"n1\"") {
            true => answer().waits_for(&waits),
            false => Answer::new(500),
        }
    });
    let config = r#"{ "admin": { "open": true }, "budgets": [ { "name": "team", "tokens": 150, "window": "month", "soft": [] } ],
        "rules": [ { "name": "chat", "budgets": ["team"], "llm": { "api": "openai", "cache": { "when": "all" } } } ] }"#;
    let gateway = Gateway::with(config).origin(provider.url()).start();
    for nth in 2..12 {
        assert_eq!(ask(&gateway, "a", &question(nth, BOUND)).status, 500);
    }
    thread::scope(|scope| {
        let first = scope.spawn(|| ask(&gateway, "a", &question(1, BOUND)));
        becomes(|| provider.origin().count("/v1/chat/completions"), |count| *count == 11);
        let refused = becomes(|| ask(&gateway, "a", &question(2, BOUND)), |answer| answer.status == 429);
        assert_eq!(refused.all("x-should-retry"), ["true"]);
        assert!(refused.text().contains("rate_limit_exceeded"), "{}", refused.text());
        gate.open();
        assert_eq!(first.join().unwrap().status, 200);
    });
    assert_eq!(ask(&gateway, "a", &question(3, BOUND)).all("x-should-retry"), ["false"]);
    becomes(
        || told(&gateway, "/.selvage/report")["budgets"][0].clone(),
        |shown| shown["accounts"][0]["spent"] == 100 && shown["refused"].as_u64() >= Some(2),
    );
    gateway.assert_sound();
}

#[test]
fn redis_may_die_and_come_back_and_what_was_spent_meanwhile_is_told() {
    let provider = Provider::start();
    provider.origin().on("/v1/chat/completions", |_| answer());
    let mut bridge = Bridge::start();
    let config = config(r#""money": 1, "scope": "fleet", "soft": []"#);
    let fleet = [(); 2].map(|()| Gateway::with(&config).origin(provider.url()).bridge(bridge.port()).start());
    let mut nth = 0;
    let mut ask_all = |times: usize| {
        for _ in 0..times {
            nth += 1;
            let answer = ask(&fleet[nth % 2], "a", &question(nth, BOUND));
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        nth
    };
    ask_all(40);
    bridge.end_redis();
    ask_all(40);
    bridge.start_redis();
    // Redis was emptied: all that was ever spent is there again, since each worker tells all of it.
    let asked = ask_all(80);
    let spent =
        |member: &Gateway| told(member, "/.selvage/budgets")["budgets"][0]["accounts"][0]["spent"].clone();
    becomes(
        || fleet.each_ref().map(spent),
        |spent| spent.iter().any(|spent| *spent == asked as f64 / 1000.0),
    );
    fleet.iter().for_each(Gateway::assert_sound);
}

#[test]
fn a_threshold_is_told_once_in_the_fleet_by_the_log_a_counter_and_a_call() {
    let (provider, bridge) = (Provider::start(), Bridge::start());
    provider.origin().on("/v1/chat/completions", |_| answer());
    provider.origin().on("/hook", |_| Answer::ok("thanks"));
    let config = config(
        r#""money": 0.01, "scope": "fleet", "soft": [50, 80], "hard": false, "alert": { "cluster": "origin", "path": "/hook?a=b" }"#,
    );
    let fleet = [(); 2].map(|()| Gateway::with(&config).origin(provider.url()).bridge(bridge.port()).start());
    for nth in 0..12 {
        assert_eq!(ask(&fleet[nth % 2], "a", &question(nth, BOUND)).status, 200);
    }
    let calls = becomes(|| provider.origin().received("/hook"), |calls| calls.len() == 2);
    let mut told: Vec<Value> = calls.iter().map(|call| serde_json::from_slice(&call.body).unwrap()).collect();
    told.sort_by_key(|told| told["percent"].as_u64());
    for (told, percent, spent) in [(&told[0], 50, 0.005), (&told[1], 80, 0.008)] {
        assert_eq!(
            (&told["budget"], &told["percent"], &told["spent"], &told["amount"]),
            (&Value::from("team"), &Value::from(percent), &Value::from(spent), &Value::from(0.01))
        );
    }
    let sum = |ending: &str| fleet.iter().map(|member| member.stat(ending)).sum::<u64>();
    becomes(|| sum("selvage.budget_events.threshold"), |count| *count == 2);
    becomes(|| sum("selvage.budget_requests.team.beyond"), |count| *count == 2);
    let lines = || -> usize {
        fleet.iter().map(|member| member.log().matches("the budget \"team\" has reached").count()).sum()
    };
    becomes(lines, |count| *count == 2);
    fleet.iter().for_each(Gateway::assert_sound);
}

#[test]
fn explain_says_what_a_budget_has_left() {
    let origin = Origin::start();
    let config = r#"{ "admin": { "open": true }, "budgets": [ { "name": "none", "tokens": 0 } ],
        "rules": [ { "name": "chat", "budgets": ["none"], "llm": { "api": "openai", "cache": { "when": "all" } } } ] }"#;
    let gateway = Gateway::with(config).origin(origin.url()).start();
    let asked = serde_json::json!({ "method": "POST", "url": "http://a.test/v1/chat/completions",
        "headers": { "content-type": "application/json" }, "body": question(1, BOUND) });
    let explained = gateway
        .ask("POST", "/.selvage/explain")
        .header("host", "localhost")
        .body(asked.to_string())
        .send()
        .text();
    assert!(explained.contains("\"none\\\": tokens of 0 in this month, for all together"), "{explained}");
    assert!(explained.contains("answered with 429"), "{explained}");
    assert_says(&ask(&gateway, "a", &question(1, BOUND)), "detail=budget");
}

/// Runs a script in Redis.
fn eval(stream: &mut TcpStream, text: &str, arguments: &[String]) -> String {
    let words = ["EVAL", text, "1", "k"].into_iter().chain(arguments.iter().map(String::as_str));
    let words: Vec<&str> = words.collect();
    let mut call = format!("*{}\r\n", words.len());
    words.iter().for_each(|word| call.push_str(&format!("${}\r\n{word}\r\n", word.len())));
    stream.write_all(call.as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let length: usize = line.strip_prefix('$').unwrap_or_else(|| panic!("{line}")).trim().parse().unwrap();
    let mut answer = vec![0; length + 2];
    reader.read_exact(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

/// The script in Redis answers what the ledger of a node answers, word for word.
#[test]
fn the_ledger_in_redis_is_the_one_in_the_node() {
    let redis = Redis::start(|_| String::new());
    let mut stream = TcpStream::connect(("127.0.0.1", redis.port())).unwrap();
    // At one moment for both, however long it takes.
    let ledger_script = LEDGER.text.replace("redis.call('TIME')", "{'0', '0'}");
    assert_ne!(ledger_script, LEDGER.text);
    let mut ledger = Ledger::default();
    let mut state = 7u64;
    let mut random = |most: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % most
    };
    // More tellers than are known at a time.
    let mut spent = vec![(0u64, 0u64); 2_300];
    for turn in 0..3_500u64 {
        let teller = match turn {
            ..1_000 => random(9),
            1_000..3_300 => turn - 1_000,
            _ => random(2_300),
        };
        let (own, held) = &mut spent[teller as usize];
        *own += random(1_000_000);
        *held = random(50_000);
        let count = random(4);
        let mut need = |_| Need { amount: random(90_000_000), is_guess: random(2) == 0 };
        let needs: Vec<Need> = (0..count).map(&mut need).collect();
        let entry = Entry {
            amount: 1_000_000_000 + random(2),
            teller: teller + 1,
            // Some come late.
            turn: (turn + 1).saturating_sub(if turn % 7 == 0 { random(40) } else { 0 }),
            spent: *own,
            reserved: *held,
            largest: random(30_000_000),
            needs,
            soft: [10, 50, 80, 95].into(),
        };
        let request = LedgerRequest { key: 1, entry, rest_ms: random(2) * 1_000, question: turn };
        let answer = eval(&mut stream, &ledger_script, &request.arguments());
        let expected = ledger.enter(&request.entry, 0);
        assert_eq!(request.read(answer.as_bytes()), Some(expected), "turn {turn}: {answer}");
    }
    let hour = |nth: u64| 490_000 + nth;
    redis.say("DEL k");
    for nth in 0..1_000 {
        let request = HoursRequest { key: 1, spent: vec![(hour(nth), nth), (hour(nth), 1)], question: nth };
        let answer = eval(&mut stream, HOURS.text, &request.arguments());
        let hours = request.read(answer.as_bytes()).unwrap();
        let oldest = nth.saturating_sub(839);
        assert_eq!((hours.of(hour(nth)), hours.of(hour(oldest))), (nth + 1, oldest + 1), "{answer}");
        assert!(nth < 840 || hours.of(hour(oldest - 1)) == 0);
    }
    // A clock that is far ahead does not end what was known.
    let ahead = HoursRequest { key: 1, spent: vec![(9_000_000, 1)], question: 1 };
    let hours = ahead.read(eval(&mut stream, HOURS.text, &ahead.arguments()).as_bytes()).unwrap();
    assert_eq!((hours.of(hour(999)), hours.of(9_000_000)), (1_000, 0));
}
