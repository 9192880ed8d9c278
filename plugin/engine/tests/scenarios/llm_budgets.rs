//! Budgets of language models: what a request may cost is reserved when it goes to the model, and settled by its answer.

use std::collections::BTreeMap;

use selvage_engine::budgets::ledger::Ledger;
use selvage_engine::cache::Moment;
use selvage_engine::exchange::Wake;
use selvage_engine::limits::NoAnswer;
use selvage_engine::remote::asked::{Asked, Told};

use crate::gateway::{Call, Gateway, Origin, Sent, moment, origin, unreachable};

const CHAT: &str = "/v1/chat/completions";

/// 0.001 of the currency, which is 1,000 tokens of the model `m`.
fn open(budget: &str, rule: &str, more: &str) -> Gateway {
    Gateway::with(&format!(
        r#"{{"models":[{{"name":"m","input":1,"output":1}}],
            "budgets":[{{"name":"team","by":["header:x-team"],"money":"0.001","window":"day","reserve_output":100{budget}}}],
            "rules":[{{"name":"chat","budgets":["team"],"llm":{{"api":"openai","cache":{{"share":[]}}}}{rule}}}]{more}}}"#
    ))
}

/// A question of 300 bytes, which are 100 tokens at most, with `max_tokens` if there is any.
fn question(nth: usize, max_tokens: Option<u64>) -> String {
    let most = max_tokens.map_or_else(String::new, |most| format!(r#""max_tokens":{most},"#));
    let begin = format!(r#"{{"model":"m","temperature":0,{most}"nth":{nth},"messages":""#);
    let rest = 300 - begin.len() - 2;
    format!("{begin}{}\"}}", "x".repeat(rest))
}

fn ask<'g>(gateway: &'g mut Gateway, team: &str, body: &str) -> Call<'g> {
    gateway.post(CHAT).header("x-team", team).header("content-length", &body.len().to_string()).chunk(body)
}

/// An answer that has used so many tokens.
fn used(tokens: u64) -> Origin {
    let input = tokens / 2;
    origin(200).header("content-type", "application/json").body(format!(
        r#"{{"model":"m","choices":[{{"index":0,"message":{{"content":"a"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":{input},"completion_tokens":{}}}}}"#,
        tokens - input
    ))
}

/// How much a team has left: as much as one more request could cost.
fn left(gateway: &mut Gateway, team: &str, nth: usize) -> u64 {
    let (mut least, mut most) = (0_u64, 1001);
    while most - least > 1 {
        let tried = (least + most) / 2;
        // Of these 100 are for the question itself.
        match ask(gateway, team, &question(1000 + nth, Some(tried.saturating_sub(100)))).at(0).send() {
            Sent::Left(flight) => {
                gateway.answers(flight, 0, origin(503));
                least = tried;
            }
            other => {
                other.answered().status(429).detail("budget");
                most = tried;
            }
        }
    }
    least
}

#[test]
fn what_a_request_may_cost_is_reserved_and_what_it_has_cost_is_spent() {
    let mut gateway = open("", "", "");
    let flights: Vec<_> =
        (0..5).map(|nth| ask(&mut gateway, "a", &question(nth, Some(100))).at(0).leaves()).collect();
    let refused = ask(&mut gateway, "a", &question(9, Some(100))).at(0).answered();
    let refused = refused.status(429).detail("budget").has("retry-after", "2").has("x-should-retry", "true");
    assert!(String::from_utf8_lossy(refused.bytes()).contains("rate_limit_exceeded"));
    let other = ask(&mut gateway, "b", &question(9, Some(100))).at(0).leaves();
    gateway.answers(other, 0, used(50));
    for flight in flights {
        gateway.answers(flight, 0, used(20));
    }
    assert_eq!((left(&mut gateway, "a", 0), left(&mut gateway, "b", 1)), (900, 950));
    // What a store answers costs nothing, however much is left.
    let flight = ask(&mut gateway, "a", &question(5, Some(800))).at(0).leaves();
    gateway.answers(flight, 0, used(900));
    for _ in 0..50 {
        ask(&mut gateway, "a", &question(0, Some(100))).at(0).hit();
    }
    let refused = ask(&mut gateway, "a", &question(6, Some(1))).at(0).answered().status(429);
    let refused = refused.has("x-should-retry", "false").has("content-type", "application/json");
    assert!(String::from_utf8_lossy(refused.bytes()).contains("insufficient_quota"));
    // A day later all of it is there again.
    let flight = ask(&mut gateway, "a", &question(7, Some(900))).at(86_400).leaves();
    gateway.answers(flight, 86_400, used(1));
    gateway.assert_no_room_is_taken();
}

#[test]
fn whatever_becomes_of_it_nothing_is_kept_that_was_not_spent() {
    let failed = [
        origin(500),
        origin(429).header("content-type", "application/json").body("{}"),
        origin(200).header("content-type", "application/json").body(r#"{"error":{"message":"busy"}}"#),
        unreachable(),
    ];
    let mut gateway = open("", "", "");
    for (nth, response) in failed.into_iter().enumerate() {
        let flight = ask(&mut gateway, "a", &question(nth, Some(800))).at(0).leaves();
        gateway.answers(flight, 0, response);
        assert_eq!(left(&mut gateway, "a", nth), 1000, "{nth}");
    }
    // Who leaves before the head has its question counted.
    let flight = ask(&mut gateway, "b", &question(0, Some(800))).at(0).leaves();
    gateway.goes_away(flight, 1);
    assert_eq!(left(&mut gateway, "b", 1), 900);
    // What cannot be read may have cost all of it.
    let flight = ask(&mut gateway, "d", &question(0, Some(800))).at(0).leaves();
    let coded = origin(200).header("content-encoding", "br").header("content-type", "application/json");
    gateway.answers(flight, 0, coded.body("?"));
    assert_eq!(left(&mut gateway, "d", 3), 100);
    // Who waits for a place and leaves has cost nothing.
    let pools = r#","pools":[{"name":"p","fixed":1}]"#;
    let mut gateway = open("", r#","admission":{"pool":"p"}"#, pools);
    let first = ask(&mut gateway, "a", &question(0, Some(100))).at(0).leaves();
    let waits = ask(&mut gateway, "b", &question(1, Some(800))).at(0).waits();
    gateway.goes_away(waits, 0);
    gateway.answers(first, 0, used(10));
    assert_eq!(left(&mut gateway, "b", 2), 1000);
}

#[test]
fn models_without_a_price_cost_nothing_and_the_one_that_answers_is_the_one_that_costs() {
    let mut gateway = open("", "", "");
    let free = question(0, Some(5_000)).replace(r#""model":"m""#, r#""model":"n""#);
    let flight = ask(&mut gateway, "a", &free).at(0).leaves();
    let answer = used(400);
    gateway.answers(flight, 0, answer);
    assert_eq!(left(&mut gateway, "a", 0), 600);
}

/// What nobody can price before it is asked for is refused once all is spent, and has a say in what is reserved until then.
#[test]
fn a_model_that_nobody_knows_is_no_way_around_a_budget_that_is_spent() {
    let mut gateway = open("", "", "");
    let alias = |nth| question(nth, Some(10)).replace(r#""model":"m""#, r#""model":"best""#);
    let flight = ask(&mut gateway, "a", &alias(0)).at(0).leaves();
    // It is one of those that have a price that answers.
    gateway.answers(flight, 0, used(400));
    assert_eq!(left(&mut gateway, "a", 1), 600);
    let flight = ask(&mut gateway, "a", &alias(1)).at(0).leaves();
    assert_eq!(left(&mut gateway, "a", 2), 200);
    gateway.answers(flight, 0, used(600));
    ask(&mut gateway, "a", &alias(2)).at(0).answered().status(429).has("x-should-retry", "false");
    // One that is free by an entry of its own goes.
    let mut gateway = Gateway::with(
        r#"{"models":[{"name":"free","input":0,"output":0}],"budgets":[{"name":"none","money":0}],
            "rules":[{"name":"chat","budgets":["none"],"llm":{"api":"openai","cache":{"share":[]}}}]}"#,
    );
    let free = question(0, None).replace(r#""model":"m""#, r#""model":"free""#);
    let flight = ask(&mut gateway, "a", &free).at(0).leaves();
    gateway.answers(flight, 0, origin(200));
}

/// A request on two budgets and a limit is on all of them or on none.
#[test]
fn what_one_budget_refuses_is_given_back_to_the_others() {
    let mut gateway = Gateway::with(
        r#"{"budgets":[{"name":"team","by":["header:x-team"],"tokens":1000},{"name":"all","tokens":300}],
            "limits":[{"name":"tpm","by":["header:x-team"],"unit":"tokens","quota":5000,"window":"1h","burst":5000}],
            "rules":[{"name":"chat","limits":["tpm"],"budgets":["team","all"],"llm":{"api":"openai","cache":{"share":[]}}}]}"#,
    );
    for nth in 0..10 {
        ask(&mut gateway, "a", &question(nth, Some(300))).at(0).answered().status(429).detail("budget");
    }
    let flight = ask(&mut gateway, "a", &question(0, Some(200))).at(0).leaves();
    gateway.answers(flight, 0, used(1));
    gateway.exports();
    let counted = |gateway: &Gateway, budget: &str, word: &'static str| {
        let word = ("budget_requests", word);
        gateway.shared.rule_metrics.get(&(budget.into(), word)).copied().unwrap_or_default()
    };
    assert_eq!((counted(&gateway, "all", "refused"), counted(&gateway, "all", "admitted")), (10, 1));
    // Of the limit nothing is gone but the one token.
    let flight = gateway.post("/v1/messages").at(0).leaves();
    gateway.answers(flight, 0, origin(200));
    gateway.assert_no_room_is_taken();
}

/// What a worker asks Redis is answered by a ledger.
struct Redis(BTreeMap<u128, Ledger>);

impl Redis {
    fn answers(&mut self, gateway: &mut Gateway, is_there: bool, millis: u64) -> usize {
        let mut asked = 0;
        while let Some(question) = gateway.workers[0].next_asked(moment(millis)) {
            asked += 1;
            let told = match &question {
                Asked::Ledger(request) if is_there => {
                    let ledger = self.0.entry(request.key).or_default();
                    Ok(Told::Ledger(ledger.enter(&request.entry, millis)))
                }
                _ => Err(NoAnswer::Lost),
            };
            let mut moment = Moment { now: moment(millis), host: &mut gateway.shared };
            gateway.workers[0].was_told(&question, told, &mut moment);
        }
        gateway.workers[0].take_decided_leases();
        asked
    }
}

const FLEET: &str = r#","remote":{"enabled":true}"#;

#[test]
fn who_waited_is_admitted_or_refused_as_redis_says() {
    let coalesce = r#","coalesce":{"fleet":false},"remote":false"#;
    let mut gateway = open(r#","scope":"fleet""#, coalesce, FLEET);
    let mut redis = Redis(BTreeMap::new());
    let waiter = ask(&mut gateway, "a", &question(0, Some(500))).at(0).waits();
    assert!(gateway.workers[0].has_waiting_leases());
    assert_eq!(redis.answers(&mut gateway, true, 0), 1);
    let flight = gateway.wakes(waiter, Wake::Slot, 0).left();
    let waiter = ask(&mut gateway, "a", &question(1, Some(500))).at(0).waits();
    redis.answers(&mut gateway, true, 0);
    let refused = gateway.wakes(waiter, Wake::Slot, 0).answered();
    refused.status(429).detail("budget").has("x-should-retry", "true");
    gateway.answers(flight, 0, used(5));
    redis.answers(&mut gateway, true, 0);
    let waiter = ask(&mut gateway, "a", &question(1, Some(895))).at(0).waits();
    redis.answers(&mut gateway, true, 0);
    let flight = gateway.wakes(waiter, Wake::Slot, 0).left();
    gateway.goes_away(flight, 0);
    redis.answers(&mut gateway, true, 0);
    assert_eq!(redis.0.values().next().unwrap().at(0), (5_000 + 100_000, 0));
    gateway.assert_no_room_is_taken();
}

/// Of two budgets in a fleet the first has answered when the client leaves.
#[test]
fn who_leaves_between_two_budgets_has_spent_of_neither() {
    let mut gateway = Gateway::with(
        r#"{"remote":{"enabled":true},
            "budgets":[{"name":"one","tokens":1000,"scope":"fleet"},{"name":"two","tokens":1000,"scope":"fleet"}],
            "rules":[{"name":"chat","budgets":["one","two"],"remote":false,"coalesce":{"fleet":false},"llm":{"api":"openai","cache":{"share":[]}}}]}"#,
    );
    let mut redis = Redis(BTreeMap::new());
    for leaves in [true, false] {
        let waiter = ask(&mut gateway, "a", &question(0, Some(500))).at(0).waits();
        redis.answers(&mut gateway, true, 0);
        let waiter = gateway.wakes(waiter, Wake::Slot, 0).waiting();
        if leaves {
            gateway.goes_away(waiter, 0);
        } else {
            redis.answers(&mut gateway, true, 0);
            let flight = gateway.wakes(waiter, Wake::Slot, 0).left();
            gateway.answers(flight, 0, used(10));
        }
        redis.answers(&mut gateway, true, 0);
        let spent = if leaves { 0 } else { 10 };
        assert!(redis.0.values().all(|ledger| ledger.at(0) == (spent, 0)), "{:?}", redis.0);
        assert_eq!(redis.0.len(), 2);
    }
    gateway.assert_no_room_is_taken();
}

#[test]
fn without_redis_it_is_as_on_failure_says_and_who_leaves_while_waiting_leaves_nothing_behind() {
    for (on_failure, goes) in [("open", true), ("share", true), ("closed", false)] {
        let budget = format!(r#","scope":"fleet","on_failure":"{on_failure}""#);
        let mut gateway = open(&budget, r#","coalesce":{"fleet":false},"remote":false"#, FLEET);
        let mut redis = Redis(BTreeMap::new());
        let waiter = ask(&mut gateway, "a", &question(0, Some(500))).at(0).waits();
        redis.answers(&mut gateway, false, 0);
        match gateway.wakes(waiter, Wake::Slot, 0) {
            Sent::Left(flight) if goes => drop(gateway.answers(flight, 0, used(5))),
            other => drop(other.answered().status(503).detail("budget")),
        }
        let waiter = ask(&mut gateway, "b", &question(1, Some(500))).at(1).waits();
        gateway.goes_away(waiter, 1);
        assert!(!gateway.workers[0].has_waiting_leases());
        redis.answers(&mut gateway, true, 1_000);
        assert!(!gateway.workers[0].has_decided_leases());
        gateway.assert_no_room_is_taken();
    }
}
