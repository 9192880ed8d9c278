//! How much of something may be spent within a window of the calendar.

use selvage_llm::money::Money;

use super::by::By;
use super::kinds::{Words, switch, text, whole, word};
use super::limits::{LimitOnFailure, LimitScope, refuse_without_remote};
use super::llm::amount;
use super::nested::{ascending, list, nullable, object, refuse_known_name, refuse_unknown_name, required};
use super::texts::{Caller, Cluster, LimitName, Target};
use super::{Section, section};
use crate::config::limits::{BUDGET_MONEY, BUDGET_OUTPUT, BUDGET_PERCENT, BUDGET_TOKENS, LIST};
use crate::config::names;
use crate::config::reader::{Object, Place};
use crate::config::reference::Least::Empty;
use crate::config::written::{Written, quote};

/// A budget: who has one, and how much each may spend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// Unique.
    pub name: Box<str>,
    /// What tells those apart who have one each. Default: none, so that all share one.
    pub by: Vec<By>,
    /// How much each may spend within the window, of the currency of `models`. This or `tokens`.
    pub money: Option<Money>,
    /// How many tokens each may use within the window.
    pub tokens: Option<u64>,
    /// Within which window. Default: [`BudgetWindow::Month`].
    pub window: BudgetWindow,
    /// Over which Envoys it counts. Default: [`LimitScope::Node`].
    pub scope: LimitScope,
    /// Percents of it that are told when they are spent, ascending. Default: 80.
    pub soft: Vec<u8>,
    /// Whether what lies beyond it is refused. Default: true.
    pub hard: bool,
    /// Tokens that are reserved for an answer that nothing bounds. Default: 1024.
    pub reserve_output: u64,
    /// What holds while Redis cannot be asked. Default: [`LimitOnFailure::Share`].
    pub on_failure: LimitOnFailure,
    /// Who is told of thresholds. Default `None`: the log alone.
    pub alert: Option<BudgetAlert>,
    /// What tells it from others, of other caches in the VM too. [`Policy`](crate::policy::Policy) works it out.
    pub identity: u64,
}

section! {
    Budget check amount_is_told {
        name = Box::default(), required(text::<LimitName>(), names::NAMESPACE),
            "Required and unique.";
        by = Vec::new(), list(Empty, text::<Caller>()),
            "What tells those apart who have a budget each, as in `limits`; `[]`: all share one.";
        money = None, nullable(amount(BUDGET_MONEY)),
            "How much each may spend within the window, in the currency of `models`: other models cost nothing. This or `tokens` is required.";
        tokens = None, nullable(whole(BUDGET_TOKENS)),
            "How many tokens each may use within the window.";
        window = BudgetWindow::default(), word(BUDGET_WINDOW),
            "A day, a week from Monday on, or a month, in UTC. All of it is there again when the next begins.";
        scope = LimitScope::default(), word(super::limits::LIMIT_SCOPE),
            "Whether it counts over the workers of one Envoy and as long as that runs, or over the fleet by Redis (`remote`).";
        soft = vec![80], ascending(list(Empty, whole(BUDGET_PERCENT))),
            "Percents of it that are told once when they are spent: by a line in the log, by `budget_events`, and to `alert`.";
        hard = true, switch(),
            "What would lie beyond it is refused with 429; `false`: it is only counted.";
        reserve_output = 1024, whole(BUDGET_OUTPUT),
            "Tokens that are reserved for an answer that the request does not bound.";
        on_failure = LimitOnFailure::default(), word(super::limits::LIMIT_ON_FAILURE),
            "While Redis cannot be asked: each worker keeps to its share of what was left, nothing is refused, or all is (503).";
        alert = None, nullable(object()), "Who is told of thresholds, by a POST; `null`: the log alone.";
        identity = 0;
    }
}

impl Budget {
    /// How much each may spend within the window: in 10⁻⁹ of the currency, or in tokens.
    pub fn amount(&self) -> u64 {
        self.money.map(Money::nanos).or(self.tokens).unwrap_or_default()
    }

    /// In what it is told.
    pub const fn unit(&self) -> BudgetUnit {
        if self.money.is_some() { BudgetUnit::Money } else { BudgetUnit::Tokens }
    }
}

fn amount_is_told(budget: &mut Budget, object: &mut Object<'_, '_>) {
    let found = match (budget.money.is_some(), budget.tokens.is_some()) {
        (true, true) => "both",
        (false, false) if !object.has("money") && !object.has("tokens") => "nothing",
        _ => return,
    };
    object
        .place_of("money")
        .refuse::<()>(found, "`money` or `tokens`: how much each may spend within the window");
}

/// Who is told of thresholds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetAlert {
    /// The cluster of Envoy's that is called.
    pub cluster: Box<str>,
    /// The path.
    pub path: Box<[u8]>,
}

section! {
    BudgetAlert {
        cluster = Box::default(), required(text::<Cluster>(), names::CLUSTER),
            "Required. The cluster of Envoy's that is called; it is the authority of the call too.";
        path = (*b"/").into(), text::<Target>(), "The path to which the JSON is POSTed.";
    }
}

/// In what a budget is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BudgetUnit {
    /// What requests cost.
    Money,
    /// What they use.
    Tokens,
}

impl BudgetUnit {
    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Money => "money",
            Self::Tokens => "tokens",
        }
    }
}

/// Within which window it is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BudgetWindow {
    /// A day.
    Day,
    /// A week from Monday on.
    Week,
    /// A month.
    #[default]
    Month,
}

impl BudgetWindow {
    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }
}

const BUDGET_WINDOW: Words<BudgetWindow> =
    &[("day", BudgetWindow::Day), ("week", BudgetWindow::Week), ("month", BudgetWindow::Month)];

/// Most budgets.
pub(crate) const BUDGETS: usize = LIST;

/// Reads one of `budgets` and adds it to those before it.
pub(crate) fn named_budget(
    place: Place<'_>,
    written: &Written,
    remote: &super::remote::Remote,
    budgets: &mut Vec<Budget>,
) {
    let budget = Object::walk(place, written, |object| {
        let mut budget = Budget::default();
        budget.fill(object);
        let earlier = budgets.iter().map(|earlier| &*earlier.name);
        refuse_known_name(object, &budget.name, earlier, "a name that no other budget has");
        refuse_without_remote(budget.scope, remote, object);
        budget
    });
    budgets.extend(budget);
}

/// Refuses the names in a rule's `budgets` that no budget has, and all of them where no tokens are counted.
pub(crate) fn refuse_unknown(rule: &super::rule::Rule, budgets: &[Budget], place: &Place<'_>) {
    for (index, name) in rule.budgets.iter().enumerate() {
        let known = budgets.iter().map(|budget| &*budget.name);
        refuse_unknown_name(place.item(index), name, known, "budgets");
        if rule.llm.is_none() {
            place
                .item(index)
                .refuse::<()>(quote(name), "`llm` in the same rule: it is what its requests cost");
        }
    }
}
