//! Plays a row: asks what its clients ask, and looks at what comes.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use libtest_mimic::Failed;
use selvage_rig::envoy::Response;

use super::{
    edge::{EDGE, Edge},
    http2,
    row::{Row, Step, Wait},
    script::{Stage, script, split},
    wants::numbered,
};

type Answers = Vec<Result<Response, String>>;

/// Plays a row to its end, or to the first step that went wrong.
///
/// # Errors
/// The step, what was wanted and what came.
pub fn play(row: &'static Row) -> Result<(), Failed> {
    let edge: &'static Edge = &EDGE;
    if let Some(refusal) = edge.refusal(row) {
        return Err(format!("the filter refuses the rule: {refusal}").into());
    }
    let stage = Arc::<Stage>::default();
    edge.origin.on(&row.path, script(row, &stage));
    let mut underway = BTreeMap::<&str, JoinHandle<Answers>>::new();
    let mut played = Ok(());
    for (place, step) in row.steps.iter().enumerate() {
        thread::sleep(Duration::from_millis(step.pause_ms));
        if step.awaits > 0 {
            stage.wait(&Wait::Requests(step.awaits));
        }
        let answers = match (&step.joins, &step.background) {
            (Some(name), _) => underway.remove(name.as_str()).unwrap().join().unwrap(),
            (None, Some(name)) => {
                underway.insert(name, thread::spawn(move || ask(edge, row, step)));
                continue;
            }
            (None, None) => ask(edge, row, step),
        };
        step.opens.iter().for_each(|gate| stage.open(gate));
        let faults = faults(edge, row, step, &answers, &stage);
        if !faults.is_empty() {
            played = Err(told(edge, row, place, &answers, &faults).into());
            break;
        }
    }
    // Nobody is left behind who would hold the origin's answers back.
    row.steps.iter().flat_map(|step| &step.opens).for_each(|gate| stage.open(gate));
    for (_, clients) in underway {
        let _ = clients.join();
    }
    played
}

/// All of a step's requests: its clients at once, each as often as it says.
fn ask(edge: &'static Edge, row: &'static Row, step: &'static Step) -> Answers {
    let mut answers = Vec::new();
    for time in 0..step.times {
        let client = |number: usize| thread::spawn(move || send(edge, row, step, number));
        let clients: Vec<_> = (0..step.clients).map(|number| client(time * step.clients + number)).collect();
        answers.extend(clients.into_iter().map(|client| client.join().unwrap()));
    }
    answers
}

fn send(edge: &Edge, row: &Row, step: &Step, number: usize) -> Result<Response, String> {
    let lines = step.with.iter().map(|line| split(line));
    let fields: Vec<_> = lines.map(|(name, value)| (name, numbered(value, number))).collect();
    if let Some(scheme) = &step.scheme {
        let address = edge.gateway.address();
        return http2::send(address, scheme, &step.method, &row.path, &fields)
            .map_err(|problem| problem.to_string());
    }
    let mut asked = edge.gateway.ask(&step.method, &row.path);
    for (name, value) in fields {
        asked = asked.header(name, value);
    }
    if let Some(content) = &step.send {
        asked = asked.body(numbered(content, number));
    }
    asked.try_send().map_err(|problem| problem.to_string())
}

/// What is wrong after a step, each with the answer in which it showed.
fn faults(edge: &Edge, row: &Row, step: &Step, answers: &Answers, stage: &Stage) -> Vec<String> {
    let mut faults = Vec::new();
    for (number, answer) in answers.iter().enumerate() {
        let found = match answer {
            Ok(answer) => step.wants.faults_of(answer, number),
            Err(problem) => vec![format!("no answer: {problem}")],
        };
        faults.extend(found.into_iter().map(|fault| match answers.len() {
            1 => fault,
            _ => format!("client {number}: {fault}"),
        }));
    }
    faults.extend(step.wants.faults_at_the_origin(&edge.origin.received(&row.path)));
    faults.extend(stage.in_vain().into_iter().map(|what| format!("the origin waited in vain for {what}")));
    faults
}

/// The failure as it is shown: where, what, and what the cache said.
fn told(edge: &Edge, row: &Row, place: usize, answers: &Answers, faults: &[String]) -> String {
    let mut text = format!("step {} of {} ({}):\n", place + 1, row.steps.len(), row.path);
    // One line a fault; a herd that all went wrong need not be listed to its last member.
    for fault in faults.iter().take(8) {
        let _ = writeln!(text, "  {fault}");
    }
    for answer in answers.iter().flatten().take(3) {
        let _ = writeln!(text, "  {} Cache-Status: {}", answer.status, answer.cache_status());
    }
    for request in edge.origin.received(&row.path).iter().rev().take(3).rev() {
        let conditions = request.fields.iter().filter(|(name, _)| name.starts_with("if-") || name == "range");
        let conditions: Vec<String> = conditions.map(|(name, value)| format!("{name}: {value}")).collect();
        let _ = writeln!(text, "  origin: request {} {} {conditions:?}", request.before, request.method);
    }
    text + "  taught by " + &row.source
}
