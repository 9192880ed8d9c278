//! The table of transitions that documents `exchange.rs`, against what exchanges do: every scenario of all keeps to it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::LazyLock;

use selvage_engine::exchange::{Directive, Event, Exchange};

use crate::gateway::Gateway;

const PAGE: &str = include_str!("../../src/exchange/transitions.md");

/// State, event, directive and next state.
pub type Step = [String; 4];

/// What the rows say, apart from the last two, which are of all states.
pub static TABLE: LazyLock<BTreeSet<Step>> = LazyLock::new(|| {
    let mut steps = BTreeSet::new();
    for row in PAGE.lines().skip(2) {
        let cells: Vec<Vec<&str>> =
            row.trim_matches('|').split('|').map(|cell| cell.split(',').map(str::trim).collect()).collect();
        let [states, events, directive, next, ..] = cells.as_slice() else { panic!("{row}") };
        if events == &["any"] || events == &["other"] {
            continue;
        }
        for (state, event) in states.iter().flat_map(|state| events.iter().map(move |event| (state, event))) {
            let next = if next == &["same"] { state } else { &next[0] };
            let step = [state, event, &directive[0], next].map(|name| (*name).to_owned());
            assert!(steps.insert(step), "twice: {row}");
        }
    }
    steps
});

thread_local! {
    /// The steps of this thread's exchanges.
    static WALKED: RefCell<BTreeSet<Step>> = RefCell::default();
}

/// The rows of the table that this thread has not walked.
pub fn not_walked() -> Vec<Step> {
    WALKED.with_borrow(|walked| TABLE.difference(walked).cloned().collect())
}

fn is_in_table(step: &Step) -> bool {
    let [from, event, directive, next] = step.each_ref().map(String::as_str);
    match from {
        "relaying" | "finished" => {
            matches!(directive, "pass" | "relay" | "fetch" | "respond") && next == from
                // What still comes of a body that is checked may have to wait, or be refused.
                || event == "request body" && matches!((directive, next), ("await body", _) | ("respond", "finished"))
        }
        _ if TABLE.contains(step) => true,
        _ => {
            let is_expected =
                TABLE.iter().any(|[state, known, ..]| (state.as_str(), known.as_str()) == (from, event));
            !is_expected && (directive, next) == ("pass", "relaying")
        }
    }
}

impl Gateway {
    /// Gives one event to an exchange, and sees that the step is in the table.
    pub fn feed(
        &mut self,
        worker: usize,
        exchange: &mut Exchange,
        millis: u64,
        event: Event<'_>,
    ) -> Directive {
        let (from, event_name) = (exchange.state_name(), name_of_event(&event));
        let directive = self.step(worker, exchange, millis, event);
        let step = [from, event_name, name_of_directive(&directive), exchange.state_name()];
        let step = step.map(str::to_owned);
        assert!(is_in_table(&step), "no row of the table of transitions says {step:?}");
        WALKED.with_borrow_mut(|walked| walked.insert(step));
        directive
    }
}

fn name_of_event(event: &Event<'_>) -> &'static str {
    match event {
        Event::Request { .. } => "request",
        Event::RequestBody { .. } | Event::RequestBytes { .. } => "request body",
        Event::Woken(_) => "woken",
        Event::Remote(_) => "remote",
        Event::Response { .. } => "response",
        Event::Fetched(_) => "fetched",
        Event::Body { .. } => "body",
        Event::Trailers => "trailers",
        Event::Ended => "ended",
    }
}

fn name_of_directive(directive: &Directive) -> &'static str {
    match directive {
        // What passes may pass without a part of it.
        Directive::Pass | Directive::Replace(_) => "pass",
        Directive::AwaitBody => "await body",
        Directive::AwaitFill { .. } => "await fill",
        Directive::AskRemote { .. } => "ask remote",
        Directive::AwaitSlot { .. } => "await slot",
        Directive::AwaitMoment { .. } => "await moment",
        Directive::Forward(_) => "forward",
        Directive::Relay { .. } => "relay",
        Directive::Respond(_) => "respond",
        Directive::Fetch { .. } => "fetch",
    }
}
