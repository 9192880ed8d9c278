//! Workers that spend of a budget, with a ledger in the place of Redis that answers late, not at all, or has lost everything.

use std::collections::BTreeMap;

use super::ledger::{Entry, Ledger};
use super::question::LedgerRequest;
use super::*;
use crate::config::Config;
use crate::fields::FieldBlock;
use crate::request::Request;
use crate::store::node::fake::Fake;

fn budget(members: &str) -> Budget {
    let config = format!(
        r#"{{"remote":{{"enabled":true}},"budgets":[{{"name":"b","by":["header:x-team"],"window":"day",{members}}}]}}"#
    );
    Config::parse(config.as_bytes()).unwrap().budgets.remove(0)
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn key(budget: &Budget, team: &str, now: u64) -> Keyed {
    let block: FieldBlock = [(&b"x-team"[..], team.as_bytes())].into_iter().collect();
    let request = Request::read(block.fields(), false);
    let mut asking = crate::callers::Asking { request: &request, rule: "r", peer: &mut || None };
    keyed((0, budget), &mut asking, &mut None, now)
}

fn worker(seed: u64) -> Budgets {
    let mut worker = Budgets::default();
    worker.begin(seed, std::time::Duration::from_millis(100));
    worker
}

/// What may be used: so much input, and an answer of at most so much, if anything bounds it.
const fn tokens(input: u64, output: Option<u64>) -> Reserve {
    Reserve { input, output }
}

struct Fleet {
    budget: Budget,
    workers: Vec<Budgets>,
    ledgers: BTreeMap<u128, Ledger>,
    data: Fake,
}

impl Fleet {
    fn new(members: &str, workers: u64) -> Self {
        let workers = (1..=workers).map(worker).collect();
        Self { budget: budget(members), workers, ledgers: BTreeMap::new(), data: Fake::default() }
    }

    fn ask(&mut self, nth: usize, team: &str, wanted: Reserve, ticket: Option<u64>, now: u64) -> Reserved {
        let keyed = key(&self.budget, team, now);
        let cost = |usage: &Usage| Some(usage.total());
        let patience = if ticket.is_some() { Patience::Until(at(now + 50)) } else { Patience::New };
        self.workers[nth].reserve(
            &self.budget,
            &Wanted { keyed: &keyed, reserve: &wanted, cost: &cost },
            (ticket, patience),
            at(now),
            &mut self.data,
        )
    }

    fn questions(&mut self, nth: usize, now: u64) -> Vec<LedgerRequest> {
        let budgets = std::slice::from_ref(&self.budget);
        std::iter::from_fn(|| self.workers[nth].next_question(budgets, at(now))).collect()
    }

    fn answer(&mut self, nth: usize, request: &LedgerRequest, now: u64) {
        let balance = self.ledgers.entry(request.key).or_default().enter(&request.entry, now);
        self.workers[nth].answered(request, Some(&balance), at(now));
    }

    fn answer_all(&mut self, nth: usize, now: u64) {
        for _ in 0..4 {
            for question in self.questions(nth, now) {
                self.answer(nth, &question, now);
            }
        }
    }

    /// Asks, and waits for the answer.
    fn reserve(&mut self, nth: usize, team: &str, wanted: Reserve, now: u64) -> Result<Reservation, Refused> {
        let mut reserved = self.ask(nth, team, wanted, None, now);
        if let Reserved::Waits { ticket, .. } = reserved {
            self.answer_all(nth, now);
            assert!(self.workers[nth].take_decided().contains(&ticket));
            reserved = self.ask(nth, team, wanted, Some(ticket), now);
        }
        match reserved {
            Reserved::Yes(reservation) => Ok(reservation),
            Reserved::No(refused) => Err(refused),
            other => panic!("{other:?}"),
        }
    }

    fn settle(&mut self, nth: usize, reservation: &Reservation, used: u64, now: u64) {
        self.workers[nth].settle(&self.budget, reservation, used, at(now), &mut self.data);
        self.answer_all(nth, now);
    }

    fn tick(&mut self, nth: usize, now: u64) {
        self.workers[nth].tidy(std::slice::from_ref(&self.budget), at(now), &mut self.data);
        self.answer_all(nth, now);
    }

    fn spent(&self, now: u64) -> u64 {
        self.ledgers.values().map(|ledger| ledger.at(now).0).sum()
    }
}

const FLEET: &str = r#""tokens":1000,"scope":"fleet""#;
const NODE: &str = r#""tokens":1000"#;

#[test]
fn what_is_reserved_is_gone_for_all_and_what_was_not_used_comes_back() {
    for members in [FLEET, NODE] {
        let mut fleet = Fleet::new(members, 2);
        let first = fleet.reserve(0, "a", tokens(100, Some(500)), 0).unwrap();
        assert_eq!(first.amount(), 600);
        let refused = fleet.reserve(1, "a", tokens(1, Some(400)), 1).unwrap_err();
        assert_eq!((refused.why, refused.wait_ms), (Why::Reserved, SOON_MS), "{members}");
        // Another team has its own.
        fleet.reserve(1, "b", tokens(1, Some(400)), 1).unwrap();
        fleet.settle(0, &first, 150, 2);
        let second = fleet.reserve(1, "a", tokens(1, Some(400)), 1_100).unwrap();
        fleet.settle(1, &second, 401, 1_101);
        let refused = fleet.reserve(0, "a", tokens(50, Some(400)), 2_200).unwrap_err();
        assert_eq!((refused.why, refused.wait_ms), (Why::Spent, 86_400_000 - 2_200), "{members}");
        // The next day all of it is there again.
        fleet.reserve(0, "a", tokens(500, Some(500)), 86_400_000).unwrap();
    }
}

#[test]
fn those_who_ask_at_the_same_time_never_spend_more_than_there_is_if_they_bound_their_answers() {
    for seed in 1..=200u64 {
        let mut random = seed;
        let members = if seed % 2 == 0 { FLEET } else { NODE };
        let mut fleet = Fleet::new(members, 4);
        let mut under_way: Vec<(usize, Reservation)> = Vec::new();
        let mut admitted = 0u64;
        for now in 1..300 {
            let roll = chance::next(&mut random);
            let nth = (roll % 4) as usize;
            if roll >> 8 & 3 == 0 && !under_way.is_empty() {
                let (nth, reservation) = under_way.swap_remove((roll >> 16) as usize % under_way.len());
                let used = reservation.amount() * (roll >> 24 & 7) / 7;
                admitted += used;
                fleet.settle(nth, &reservation, used, now);
            } else if let Ok(reservation) = fleet.reserve(nth, "a", tokens(10, Some(roll >> 32 & 127)), now) {
                under_way.push((nth, reservation));
            }
            let reserved: u64 = under_way.iter().map(|(_, reservation)| reservation.amount()).sum();
            assert!(admitted + reserved <= 1_000, "seed {seed} at {now}: {admitted} and {reserved}");
        }
        for (nth, reservation) in std::mem::take(&mut under_way) {
            admitted += reservation.amount();
            fleet.settle(nth, &reservation, reservation.amount(), 400);
        }
        if members == FLEET {
            assert_eq!(fleet.spent(400), admitted, "seed {seed}");
        }
    }
}

#[test]
fn a_worker_that_dies_holds_nothing_after_half_a_minute_and_one_that_lives_holds_it_as_long_as_it_takes() {
    for members in [FLEET, NODE] {
        let mut fleet = Fleet::new(members, 3);
        fleet.reserve(0, "a", tokens(1, Some(400)), 0).unwrap();
        let held = fleet.reserve(1, "a", tokens(1, Some(400)), 0).unwrap();
        fleet.workers[0] = worker(9);
        for now in (100..=30_000).step_by(100) {
            fleet.tick(1, now);
        }
        assert_eq!(fleet.reserve(2, "a", tokens(1, Some(300)), 30_000).unwrap_err().why, Why::Reserved);
        fleet.reserve(2, "a", tokens(1, Some(300)), 30_001).unwrap();
        for now in (30_100..200_000).step_by(100) {
            fleet.tick(1, now);
        }
        assert_eq!(fleet.reserve(0, "a", tokens(1, Some(600)), 200_000).unwrap_err().why, Why::Reserved);
        fleet.settle(1, &held, 0, 200_001);
        fleet.reserve(0, "a", tokens(1, Some(600)), 200_002).unwrap();
    }
}

#[test]
fn what_was_not_heard_is_said_again_and_what_redis_has_lost_is_there_again() {
    let mut fleet = Fleet::new(FLEET, 2);
    let first = fleet.reserve(0, "a", tokens(100, Some(0)), 0).unwrap();
    fleet.workers[0].settle(&fleet.budget, &first, 100, at(1), &mut fleet.data);
    // Redis has heard it, and its answer is lost.
    let [question] = &fleet.questions(0, 1)[..] else { panic!() };
    fleet.ledgers.get_mut(&question.key).unwrap().enter(&question.entry, 1);
    fleet.workers[0].answered(question, None, at(2));
    fleet.tick(0, 200);
    assert_eq!(fleet.spent(200), 100);
    let second = fleet.reserve(1, "a", tokens(300, Some(0)), 201).unwrap();
    fleet.settle(1, &second, 300, 202);
    fleet.ledgers.clear();
    for nth in [0, 1] {
        let reservation = fleet.reserve(nth, "a", tokens(1, Some(0)), 2_000).unwrap();
        fleet.settle(nth, &reservation, 1, 2_001);
    }
    assert_eq!(fleet.spent(2_001), 402);
}

#[test]
fn while_redis_cannot_be_asked_each_keeps_to_its_share_or_nothing_or_all_is_refused() {
    let down = |fleet: &mut Fleet, now| {
        let mut went = 0;
        while went < 100 {
            match fleet.ask(0, "a", tokens(100, Some(0)), None, now) {
                Reserved::Yes(reservation) => {
                    fleet.workers[0].settle(&fleet.budget, &reservation, 100, at(now), &mut fleet.data);
                    went += 1;
                }
                Reserved::No(refused) => return (went, Some(refused.why)),
                other => panic!("{other:?}"),
            }
        }
        (went, None)
    };
    for (word, went) in
        [("share", (4, Some(Why::Reserved))), ("closed", (0, Some(Why::Unavailable))), ("open", (100, None))]
    {
        let mut fleet = Fleet::new(&format!(r#"{FLEET},"on_failure":"{word}""#), 2);
        for nth in [1, 0] {
            let first = fleet.reserve(nth, "a", tokens(100, Some(0)), 0).unwrap();
            fleet.settle(nth, &first, 100, 1);
        }
        fleet.workers[0].leave_redis_alone(at(5_000));
        assert_eq!(down(&mut fleet, 10), went, "{word}");
        for question in fleet.questions(0, 10) {
            fleet.workers[0].answered(&question, None, at(110));
        }
        // It hears of all of it once it is back.
        fleet.tick(0, 5_100);
        assert_eq!(fleet.spent(5_100), 200 + 100 * went.0, "{word}");
    }
    // A call that is lost counts as none, for all who wait for it.
    let mut fleet = Fleet::new(FLEET, 1);
    let waits: Vec<Reserved> = (0..3).map(|_| fleet.ask(0, "a", tokens(100, Some(0)), None, 0)).collect();
    let questions = fleet.questions(0, 0);
    assert_eq!(questions.iter().map(|question| question.entry.needs.len()).sum::<usize>(), 3);
    fleet.workers[0].answered(&questions[0], None, at(100));
    for waits in waits {
        let Reserved::Waits { ticket, .. } = waits else { panic!("{waits:?}") };
        assert!(matches!(fleet.ask(0, "a", tokens(100, Some(0)), Some(ticket), 100), Reserved::Yes(_)));
    }
}

#[test]
fn who_leaves_while_it_waits_or_has_just_been_answered_leaves_nothing_behind() {
    let mut fleet = Fleet::new(FLEET, 1);
    let ticket_of = |reserved: Reserved| match reserved {
        Reserved::Waits { ticket, .. } => ticket,
        other => panic!("{other:?}"),
    };
    let before = ticket_of(fleet.ask(0, "a", tokens(900, Some(0)), None, 0));
    fleet.workers[0].leave(before);
    let asked = ticket_of(fleet.ask(0, "a", tokens(900, Some(0)), None, 0));
    let questions = fleet.questions(0, 0);
    assert_eq!(questions[0].entry.needs.len(), 1);
    fleet.workers[0].leave(asked);
    fleet.answer(0, &questions[0], 1);
    fleet.answer_all(0, 2);
    let answered = ticket_of(fleet.ask(0, "a", tokens(900, Some(0)), None, 3));
    fleet.answer_all(0, 3);
    fleet.workers[0].leave(answered);
    fleet.answer_all(0, 4);
    assert_eq!(fleet.workers[0].take_decided(), [0; 0]);
    assert_eq!((fleet.workers[0].waiting(), fleet.workers[0].verdicts.len()), (0, 0));
    fleet.reserve(0, "a", tokens(1_000, Some(0)), 5).unwrap();
}

#[test]
fn one_that_waits_too_long_goes_on_without() {
    let mut fleet = Fleet::new(FLEET, 1);
    let Reserved::Waits { ticket, until } = fleet.ask(0, "a", tokens(9, Some(0)), None, 0) else { panic!() };
    assert_eq!(until, at(100));
    fleet.workers[0].look_again(at(99));
    assert!(!fleet.workers[0].has_decided());
    fleet.workers[0].look_again(at(100));
    assert_eq!(fleet.workers[0].take_decided(), [ticket]);
    assert!(matches!(fleet.ask(0, "a", tokens(9, Some(0)), Some(ticket), 100), Reserved::Yes(_)));
}

#[test]
fn a_budget_that_refuses_nothing_counts_and_thresholds_are_told_once() {
    let mut fleet = Fleet::new(&format!(r#"{FLEET},"hard":false,"soft":[50,100]"#), 2);
    for nth in [0, 1, 0, 1] {
        let reservation = fleet.reserve(nth, "a", tokens(300, Some(0)), 0).unwrap();
        fleet.settle(nth, &reservation, 300, 1);
    }
    let crossed: Vec<u32> =
        fleet.workers.iter_mut().flat_map(Budgets::take_crossed).map(|crossed| crossed.percent).collect();
    assert_eq!(crossed, [50, 100]);
    let tallies: Vec<Tally> =
        fleet.workers.iter_mut().map(|worker| worker.take_counts().by_budget[0]).collect();
    let sum = |of: fn(&Tally) -> u64| tallies.iter().map(of).sum::<u64>();
    assert_eq!((sum(|one| one.beyond), sum(|one| one.spent), sum(|one| one.thresholds)), (1, 1_200, 2));
}

#[test]
fn what_nothing_bounds_is_reserved_by_what_the_largest_has_cost_and_one_by_one_at_the_end() {
    let mut fleet = Fleet::new(&format!(r#"{FLEET},"reserve_output":10"#), 1);
    let first = fleet.reserve(0, "a", tokens(5, None), 0).unwrap();
    assert_eq!(first.amount(), 15);
    fleet.settle(0, &first, 200, 1);
    let next = fleet.reserve(0, "a", tokens(5, None), 2).unwrap();
    assert_eq!(next.amount(), 200);
    // 600 are left: fewer than four such.
    assert_eq!(fleet.reserve(0, "a", tokens(5, None), 3).unwrap_err().why, Why::Reserved);
    fleet.settle(0, &next, 210, 4);
    fleet.reserve(0, "a", tokens(5, None), 5).unwrap();
}

#[test]
fn the_board_shows_what_all_workers_know_and_where_it_will_stand() {
    let mut fleet = Fleet::new(NODE, 2);
    let noon = 43_200_000;
    for nth in [0, 1] {
        let reservation = fleet.reserve(nth, "a", tokens(125, Some(25)), noon).unwrap();
        fleet.settle(nth, &reservation, 125, noon);
        fleet.reserve(nth, "b", tokens(7, Some(0)), noon).unwrap();
        fleet.tick(nth, noon + 1_000);
    }
    let lines = board::read(&fleet.budget, noon + 2_000, &mut fleet.data);
    let of = |team: &str| (key(&fleet.budget, team, noon).who >> 64) as u64;
    let shown: Vec<_> = lines.iter().map(|line| (line.who, line.spent, line.reserved)).collect();
    assert_eq!(shown, [(of("a"), 250, 0), (of("b"), 0, 14)]);
    let ahead = lines[0].forecast.unwrap();
    assert!((450..=500).contains(&ahead.expected), "{ahead:?}");
}

#[test]
fn accounts_are_bounded_and_those_of_a_window_that_has_ended_are_forgotten() {
    let mut fleet = Fleet::new(NODE, 1);
    let mut kept = 0;
    for team in 0..MOST_ACCOUNTS + 100 {
        let reserved = fleet.ask(0, &team.to_string(), tokens(1, Some(1)), None, 0);
        kept += usize::from(matches!(reserved, Reserved::Yes(_)));
    }
    // Some places of the node are full before that.
    assert!(kept > 3_000 && fleet.workers[0].usage().0 <= MOST_ACCOUNTS, "{kept}");
    let counts = fleet.workers[0].take_counts();
    assert!(counts.crowded > 0);
    let mut fleet = Fleet::new(NODE, 1);
    let reservation = fleet.reserve(0, "a", tokens(1, Some(1)), 0).unwrap();
    fleet.settle(0, &reservation, 1, 1);
    for now in [100_000, 86_400_000, 86_500_000] {
        fleet.tick(0, now);
    }
    assert_eq!(fleet.workers[0].usage().0, 0);
}

#[test]
fn an_entry_and_a_ledger_agree_on_any_words_that_a_worker_says() {
    // What no worker says: the ledger takes it all the same.
    let huge = Entry {
        amount: ledger::MOST,
        teller: u64::MAX,
        turn: u64::MAX,
        spent: u64::MAX,
        reserved: u64::MAX,
        largest: u64::MAX,
        needs: vec![Need { amount: u64::MAX, is_guess: true }],
        soft: [100].into(),
    };
    let mut ledger = Ledger::default();
    let first = ledger.enter(&huge, u64::MAX);
    assert_eq!((first.granted.as_slice(), first.crossed), (&[false][..], 100));
    let second = ledger.enter(&Entry { teller: 1, ..huge }, 0);
    assert_eq!((second.spent, second.reserved), (2 * ledger::MOST, 2 * ledger::MOST));
}

/// A worker that Redis has not heard for long is forgotten there, and what it has spent counts once all the same.
#[test]
fn who_was_cut_off_for_an_hour_counts_once() {
    let mut fleet = Fleet::new(&format!(r#"{FLEET},"on_failure":"open""#), 2);
    let [first, held] = [100, 50].map(|input| fleet.reserve(0, "a", tokens(input, Some(0)), 0).unwrap());
    fleet.settle(0, &first, 100, 1);
    let other = fleet.reserve(1, "a", tokens(30, Some(0)), 2).unwrap();
    fleet.settle(1, &other, 30, 3);
    let hour = 3_600_000;
    fleet.workers[0].leave_redis_alone(at(hour));
    let Reserved::Yes(meanwhile) = fleet.ask(0, "a", tokens(7, Some(0)), None, hour / 2) else { panic!() };
    fleet.workers[0].settle(&fleet.budget, &meanwhile, 7, at(hour / 2), &mut fleet.data);
    for now in (300_000..hour).step_by(300_000) {
        fleet.tick(1, now);
    }
    for now in [hour + 100, hour + 400_000, 2 * hour] {
        fleet.tick(0, now);
        fleet.tick(1, now);
        assert_eq!(fleet.spent(now), 137, "{now}");
    }
    fleet.settle(0, &held, 50, 2 * hour);
    assert_eq!(fleet.spent(2 * hour), 187);
    assert_eq!(fleet.ledgers.values().next().unwrap().at(2 * hour).1, 0);
}
