//! The budgets that a request to a language model is on, and what they have left.

use super::admission::parts;
use super::{Case, Explanation, Fact, Part, Passage, reasons, times};
use crate::budgets::Standing;
use crate::cache::{Cache, Moment, shown_of_budget};
use crate::cache_status::Detail;

/// Notes the budgets of a request that goes to its origin. Whether one that is spent refuses it, or has refused it.
pub(super) fn note(
    case: &Case<'_>,
    cache: &mut Cache,
    moment: &mut Moment<'_>,
    explanation: &mut Explanation,
) -> bool {
    let (request, rule) = (case.subject.request, case.rule);
    if rule.budgeted.is_empty() {
        return false;
    }
    let policy = std::rc::Rc::clone(cache.policy());
    let mut refuses = false;
    for (keyed, known) in cache.peek_budgets(request, rule, moment) {
        let Some(budget) = policy.budgets.get(keyed.budget) else { continue };
        let shown = |units| shown_of_budget(budget, units).to_string();
        let (key, parts) = (format!("{:016x}", keyed.who >> 64), parts(case, &budget.by, moment));
        let whose = if parts.is_empty() { "all together".to_owned() } else { parts.join(", ") };
        let mut text = format!(
            "\"{}\": {} of {} in this {}, for {whose}; key {key}; ",
            budget.name,
            budget.unit().as_str(),
            shown(keyed.amount),
            budget.window.as_str()
        );
        let is_spent = known.is_some_and(|known| known.spent >= keyed.amount);
        text.push_str(&match known {
            None => "what the fleet has spent is not looked up here".to_owned(),
            Some(Standing { spent, reserved }) => {
                format!("{} spent, {} reserved", shown(spent), shown(reserved))
            }
        });
        if !budget.hard {
            text.push_str("; it refuses nothing (hard)");
        }
        let until = keyed.window.until_ms.saturating_sub(moment.now.as_millis());
        text.push_str(&format!("; ends in {}", times::seconds(std::time::Duration::from_millis(until))));
        refuses |= is_spent && budget.hard;
        let note = explanation.note(Part::Request, "budget", text);
        note.with("name", Fact::Text((*budget.name).into()))
            .with("by", Fact::Texts(parts))
            .with("key", Fact::Text(key));
        note.with("amount", Fact::Number(keyed.amount)).with("until_ms", Fact::Number(keyed.window.until_ms));
        if let Some(Standing { spent, reserved }) = known {
            note.with("spent", Fact::Number(spent)).with("reserved", Fact::Number(reserved));
        }
        note.flag("refuses", is_spent && budget.hard);
    }
    let status = match case.subject.passage {
        Passage::Ahead if refuses => "answered with 429",
        Passage::Refused(Detail::Budget, 503) => "answered with 503",
        Passage::Refused(Detail::Budget, _) => "answered with 429",
        _ => return false,
    };
    explanation.verdict("budget", status, &reasons::of_detail(Detail::Budget));
    true
}
