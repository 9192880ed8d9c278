//! Holds the table itself to what is said of it.

use std::collections::BTreeSet;

use libtest_mimic::Failed;

use super::row::{Row, Step, Wait};

/// Fewer rows than this, guards not counted, and somebody has thrown some away.
const LEAST_ROWS: usize = 300;

/// The faults of the list that this layer is for.
fn faults() -> impl Iterator<Item = String> {
    let semantics = (1..=28).map(|number| format!("A{number}"));
    // The others need a remote store, an operator or very many clients.
    let security = [1, 2, 3, 4, 5, 6, 10, 12, 13].map(|number| format!("B{number}"));
    semantics.chain(security)
}

/// Checks the rows against one another.
///
/// # Errors
/// Everything that is wrong.
pub fn check(rows: &[Row]) -> Result<(), Failed> {
    let mut faults: Vec<String> = Vec::new();
    let mut titles = BTreeSet::new();
    for row in rows {
        let title = row.title();
        faults.extend(unsound(row).map(|fault| format!("{title}: {fault}")));
        if !titles.insert(title) {
            faults.push(format!("two rows are called {}", row.title()));
        }
    }
    let covered: BTreeSet<&str> = rows.iter().map(|row| row.fault.as_str()).collect();
    faults.extend(
        self::faults()
            .filter(|fault| !covered.contains(fault.as_str()))
            .map(|fault| format!("no row for {fault}")),
    );
    let count = rows.iter().filter(|row| !row.guard).count();
    if count < LEAST_ROWS {
        faults.push(format!("{count} rows are no guards"));
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n").into()) }
}

/// What a row by itself cannot be meant to be.
fn unsound(row: &Row) -> impl Iterator<Item = &'static str> {
    let opened: BTreeSet<&String> = row.steps.iter().flat_map(|step| &step.opens).collect();
    let replies = || row.origin.iter().flat_map(|turn| &turn.0);
    let waits = replies().flat_map(|reply| [&reply.waits, &reply.halts]).flatten();
    let shut = |wait: &Wait| matches!(wait, Wait::Gate(name) if !opened.contains(name));
    let left = |text: &str| text.contains('{') && text.contains('}');
    let joined: Vec<&String> = row.steps.iter().filter_map(|step| step.joins.as_ref()).collect();
    let begun: Vec<&String> = row.steps.iter().filter_map(|step| step.background.as_ref()).collect();
    let says_nothing = |step: &Step| !step.wants.is_anything();
    [
        (row.name.trim().is_empty() || row.source.trim().is_empty(), "no name or no source"),
        (row.origin.is_empty() || row.steps.is_empty(), "no answers or no steps"),
        (waits.clone().any(shut), "a gate that no step opens"),
        (left(&row.name) || replies().any(|reply| left(&reply.body)), "a member that no case has"),
        (joined != begun, "background steps are not joined in their order"),
        (row.steps.last().is_none_or(says_nothing), "the last step wants nothing"),
    ]
    .into_iter()
    .filter_map(|(is_so, fault)| is_so.then_some(fault))
}
