//! The origin of one row: what it answers, and what it waits for meanwhile.

use std::{
    collections::BTreeSet,
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

use selvage_rig::scripted::{Answer, Received};

use super::row::{Reply, Row, Turn, Wait};

/// How long the origin waits for what a row says will come. Then it goes on, and the row has failed.
const PATIENCE: Duration = Duration::from_secs(6);

/// What clients and origin of a row have come to.
#[derive(Default)]
pub struct Stage {
    progress: Mutex<Progress>,
    changed: Condvar,
}

#[derive(Default)]
struct Progress {
    requests: usize,
    open: BTreeSet<String>,
    in_vain: Vec<String>,
}

impl Stage {
    /// Opens a gate, for good.
    pub fn open(&self, gate: &str) {
        self.progress.lock().unwrap().open.insert(gate.to_owned());
        self.changed.notify_all();
    }

    /// Waits; what did not come in time is remembered.
    pub fn wait(&self, wait: &Wait) {
        match wait {
            Wait::Ms(milliseconds) => thread::sleep(Duration::from_millis(*milliseconds)),
            Wait::Requests(count) => {
                self.until(
                    |now| now.requests >= *count,
                    |now| format!("request {count} ({} came)", now.requests),
                );
            }
            Wait::Gate(name) => {
                self.until(|now| now.open.contains(name), |_| format!("the step that opens gate {name}"));
            }
        }
    }

    /// What was waited for in vain.
    pub fn in_vain(&self) -> Vec<String> {
        self.progress.lock().unwrap().in_vain.clone()
    }

    fn until(&self, is_so: impl Fn(&Progress) -> bool, what: impl Fn(&Progress) -> String) {
        let now = self.progress.lock().unwrap();
        let (mut now, waited) = self.changed.wait_timeout_while(now, PATIENCE, |now| !is_so(now)).unwrap();
        if waited.timed_out() {
            let what = what(&now);
            now.in_vain.push(what);
        }
    }

    fn arrive(&self) {
        self.progress.lock().unwrap().requests += 1;
        self.changed.notify_all();
    }
}

/// What the origin does with the requests for a row's path.
pub fn script(row: &'static Row, stage: &Arc<Stage>) -> impl Fn(&Received) -> Answer + Send + Sync + 'static {
    let stage = Arc::clone(stage);
    move |request: &Received| {
        stage.arrive();
        let Some(reply) =
            row.origin.get(request.before).or(row.origin.last()).and_then(|turn| choose(turn, request))
        else {
            return Answer::new(500).body("the row has no answer to this request");
        };
        if let Some(wait) = &reply.waits {
            stage.wait(wait);
        }
        answer(row, reply, request, &stage)
    }
}

fn choose<'a>(turn: &'a Turn, request: &Received) -> Option<&'a Reply> {
    turn.0.iter().find(|reply| reply.when.iter().all(|condition| holds(condition, request)))
}

fn holds(condition: &str, request: &Received) -> bool {
    match condition.strip_prefix('!') {
        Some(name) => request.header(&name.to_ascii_lowercase()).is_none(),
        None => has(condition, |name| request.header(name)),
    }
}

/// Whether a field is there, `Name`, is this, `Name: value`, or has this in it, `Name ~ part`.
pub fn has(condition: &str, field: impl Fn(&str) -> Option<String>) -> bool {
    if let Some((name, part)) = condition.split_once(" ~ ") {
        return field(&name.to_ascii_lowercase()).is_some_and(|found| found.contains(part));
    }
    let (name, value) = split(condition);
    let found = field(&name.to_ascii_lowercase());
    found.is_some_and(|found| !condition.contains(':') || found == value)
}

/// A field line's name and value, also where ` ~ ` stands between them.
pub fn split(line: &str) -> (&str, &str) {
    if let Some((name, part)) = line.split_once(" ~ ") {
        return (name, part);
    }
    line.split_once(':').map_or((line, ""), |(name, value)| (name, value.trim()))
}

fn answer(row: &Row, reply: &Reply, request: &Received, stage: &Arc<Stage>) -> Answer {
    let mut answer = Answer::new(reply.status);
    if reply.closes {
        return answer.breaks_before_the_head();
    }
    for line in &reply.fields {
        let (name, value) = split(line);
        answer = answer.header(name, filled(value, row, request));
    }
    let body = filled(&reply.body, row, request);
    let half = body.len() / 2;
    answer = answer.body(body);
    if reply.chunked {
        answer = answer.chunked(usize::MAX, &[]);
    }
    if let Some(wait) = reply.halts.clone() {
        let stage = Arc::clone(stage);
        answer = answer.halts_after(half, move || stage.wait(&wait));
    }
    answer
}

/// `<n>`, `<path>` and `<name>` replaced by what they stand for.
fn filled(text: &str, row: &Row, request: &Received) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('<') {
        let Some((name, after)) = after.split_once('>') else { break };
        out.push_str(before);
        match name {
            "n" => out.push_str(&request.before.to_string()),
            "path" => out.push_str(&row.path),
            _ => out.push_str(&request.header(&name.to_ascii_lowercase()).unwrap_or_default()),
        }
        rest = after;
    }
    out + rest
}
