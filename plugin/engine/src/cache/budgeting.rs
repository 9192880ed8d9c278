//! The budgets of this worker: which requests they admit, what these have cost, and what operators are told of it.

use selvage_llm::formats::Usage;
use selvage_llm::money::Money;
use serde_json::Value;

use super::tokens::Used;
use super::{Alert, Cache, Moment};
use crate::budgets::{Crossed, Keyed, Refused, Reservation, Reserved, Standing, Wanted, Why, keyed};
use crate::callers::Asking;
use crate::fields::FieldBlock;
use crate::host::IN_BROWSER;
use crate::limits::{Patience, Reserve};
use crate::members::{Show, members};
use crate::policy::{Budget, BudgetUnit, Rule};
use crate::request::Request;

impl Cache {
    /// Reserves what a request may cost of one of the budgets that it is on, by its place among them. `None`: there is no such.
    pub(crate) fn reserve_of_budget(
        &mut self,
        (request, rule, nth): (&Request<'_>, &Rule, usize),
        (reserve, model): (&Reserve, Option<&str>),
        (ticket, patience): (Option<u64>, Patience),
        moment: &mut Moment<'_>,
    ) -> Option<Reserved> {
        let policy = std::rc::Rc::clone(&self.policy);
        let place = *rule.budgeted.get(nth)?;
        let budget = policy.budgets.get(place)?;
        let keyed = key_of((place, budget), request, rule, moment);
        let priced = policy.models.place_of(model.as_slice());
        let cost = |usage: &Usage| policy.models.cost(priced, usage).map(Money::nanos);
        let wanted = Wanted { keyed: &keyed, reserve, cost: &cost };
        let reserved = self.budgets.reserve(budget, &wanted, (ticket, patience), moment.now, moment.host);
        #[cfg(feature = "operators")]
        if let Reserved::No(refused) = &reserved {
            self.insight.note_over_budget(refused);
        }
        Some(reserved)
    }

    /// Settles what a request has cost; where nobody knows it, it is what was reserved for it.
    pub(crate) fn settle_budgets(
        &mut self,
        reserved: Vec<Reservation>,
        used: Option<Used>,
        moment: &mut Moment<'_>,
    ) {
        for reservation in reserved {
            // Another configuration may have it in another place, or not at all.
            let is_it = |budget: &&Budget| budget.identity == reservation.identity();
            let Some(budget) = self.policy.budgets.get(reservation.budget()).filter(is_it) else { continue };
            let used = match (used, budget.unit()) {
                (Some(used), BudgetUnit::Money) => used.nanos,
                (Some(used), BudgetUnit::Tokens) => used.tokens,
                (None, _) => reservation.amount(),
            };
            self.budgets.settle(budget, &reservation, used, moment.now, moment.host);
        }
    }

    /// What each budget of a rule has, with the key that a request has for it. Nothing is reserved.
    pub(crate) fn peek_budgets(
        &mut self,
        request: &Request<'_>,
        rule: &Rule,
        moment: &mut Moment<'_>,
    ) -> Vec<(Keyed, Option<Standing>)> {
        let policy = std::rc::Rc::clone(&self.policy);
        let on = rule.budgeted.iter().filter_map(|place| Some((*place, policy.budgets.get(*place)?)));
        let peeked = on.map(|(place, budget)| {
            let keyed = key_of((place, budget), request, rule, moment);
            let known = self.budgets.peek(budget, &keyed, moment.now, moment.host);
            (keyed, known)
        });
        peeked.collect()
    }

    /// Thresholds that were passed since this was last asked.
    pub(super) fn alerts_of_budgets(&mut self) -> Vec<Alert> {
        let crossed = self.budgets.take_crossed();
        let told = crossed
            .iter()
            .filter_map(|crossed| Some(alert(self.policy.budgets.get(crossed.budget)?, crossed)));
        told.collect()
    }

    /// By tick: sees to what is reserved and told.
    pub(super) fn tidy_budgets(&mut self, moment: &mut Moment<'_>) {
        if !IN_BROWSER && !self.policy.budgets.is_empty() {
            self.budgets.tidy(&self.policy.budgets, moment.now, moment.host);
        }
    }

    /// Counts what the budgets did since the last time.
    pub(super) fn count_budgets(&mut self) {
        if IN_BROWSER || self.policy.budgets.is_empty() {
            return;
        }
        let counts = self.budgets.take_counts();
        for (place, tally) in counts.by_budget.into_iter().enumerate() {
            for (word, amount) in [
                (("budget_requests", "admitted"), tally.admitted),
                (("budget_requests", "refused"), tally.refused),
                (("budget_requests", "beyond"), tally.beyond),
                (("budget_units", "spent"), tally.spent),
                (("budget_units", "overrun"), tally.overrun),
            ] {
                self.stats.add_for_owner(place, word, amount);
            }
            self.stats.add("budget_events", "threshold", tally.thresholds);
        }
        for (word, amount) in [
            ("asked", counts.asked),
            ("failed", counts.failed),
            ("waited", counts.waited),
            ("crowded", counts.crowded),
        ] {
            self.stats.add("budget_events", word, amount);
        }
    }

    /// What a client is told of a budget that refuses, for people.
    pub(crate) fn told_of_budget(&self, refused: &Refused) -> String {
        let name = self.policy.budgets.get(refused.budget).map_or("", |budget| &budget.name);
        match refused.why {
            Why::Spent => {
                format!(
                    "The budget \"{name}\" does not cover this request until the time in Retry-After has passed."
                )
            }
            Why::Reserved => format!(
                "What is left of the budget \"{name}\" is reserved for other requests. Try again later."
            ),
            Why::Unavailable => format!("The budget \"{name}\" cannot be checked now. Try again later."),
        }
    }
}

fn key_of(budget: (usize, &Budget), request: &Request<'_>, rule: &Rule, moment: &mut Moment<'_>) -> Keyed {
    let mut peer = || moment.host.peer();
    let mut asking = Asking { request, rule: &rule.name, peer: &mut peer };
    keyed(budget, &mut asking, &mut None, moment.now.as_millis())
}

fn alert(budget: &Budget, crossed: &Crossed) -> Alert {
    let Crossed { percent, who, window, .. } = *crossed;
    let shown = |units: u64| shown(budget, units);
    let (spent, amount) = (shown(crossed.spent), shown(crossed.amount));
    let key = format!("{who:016x}");
    let line = format!(
        "the budget \"{}\" has reached {percent} %: {spent} of {amount} in this {} (key {key})",
        budget.name,
        budget.window.as_str()
    );
    let body = members! {
        "budget": budget.name,
        "key": key,
        "percent": percent,
        "unit": budget.unit().as_str();
        "spent" => spent,
        "amount" => amount,
        "from_ms" => window.from_ms.into(),
        "until_ms" => window.until_ms.into()
    };
    let call = budget.alert.as_ref().map(|alert| {
        let head: FieldBlock = [
            (&b":method"[..], &b"POST"[..]),
            (b":scheme", b"http"),
            (b":authority", alert.cluster.as_bytes()),
            (b":path", &alert.path),
            (b"content-type", b"application/json"),
        ]
        .into_iter()
        .collect();
        let mut block = Vec::new();
        head.write_with(&[], &mut block);
        (alert.cluster.clone(), block, body.to_string().into_bytes())
    });
    Alert { line, call }
}

/// So much of a budget, as it is written in the configuration.
pub(crate) fn shown(budget: &Budget, units: u64) -> Value {
    match budget.unit() {
        BudgetUnit::Money => Money::from_nanos(units).show(),
        BudgetUnit::Tokens => units.into(),
    }
}
