//! Holds what came against what a step wants.

use std::fmt::Debug;

use selvage_rig::envoy::Response;
use selvage_rig::scripted::Received;

use super::{row::Wants, script::has};

impl Wants {
    /// What is wrong with the answer to client `number`; empty if nothing is.
    pub fn faults_of(&self, answer: &Response, number: usize) -> Vec<String> {
        let mut faults = Vec::new();
        let body = answer.text();
        if let Some(status) = self.status {
            differ(&mut faults, "status", &status, &answer.status);
        }
        if self.not_status.contains(&answer.status) {
            faults.push(format!("status {} is none that may come", answer.status));
        }
        if let Some(wanted) = &self.body {
            differ(&mut faults, "content", &numbered(wanted, number), &body);
        }
        if self.not_body.as_ref().is_some_and(|unwanted| numbered(unwanted, number) == body) {
            faults.push(format!("content {body:?} may not come"));
        }
        let field = |name: &str| answer.header(name);
        for condition in self.has.iter().map(|condition| numbered(condition, number)) {
            if !has(&condition, field) {
                faults.push(format!("field {condition:?} is not there but {:?}", shown(&condition, field)));
            }
        }
        for name in &self.lacks {
            if has(name, field) {
                faults.push(format!("field {name:?} is there: {:?}", shown(name, field)));
            }
        }
        if let Some(hit) = self.hit {
            differ(&mut faults, "hit", &hit, &answer.is_hit());
        }
        let said = answer.cache_status();
        let says = |parameter: &String| said.split("; ").any(|part| part == parameter);
        faults
            .extend(self.says.iter().filter(|part| !says(part)).map(|part| format!("does not say {part:?}")));
        faults.extend(self.says_not.iter().filter(|part| says(part)).map(|part| format!("says {part:?}")));
        if !answer.complete {
            faults.push("the content broke off".to_owned());
        }
        faults
    }

    /// What is wrong with what the origin has received so far; empty if nothing is.
    pub fn faults_at_the_origin(&self, received: &[Received]) -> Vec<String> {
        let mut faults = Vec::new();
        if let Some(fetches) = self.fetches {
            differ(&mut faults, "requests at the origin", &fetches, &received.len());
        }
        if self.most_fetches.is_some_and(|most| received.len() > most) {
            faults.push(format!("{} requests came to the origin", received.len()));
        }
        let last = received.last();
        if let Some(method) = &self.asked_method {
            differ(&mut faults, "method at the origin", &Some(method), &last.map(|request| &request.method));
        }
        let field = |name: &str| last?.header(name);
        for condition in &self.asked {
            if !has(condition, field) {
                let came = shown(condition, field);
                faults.push(format!("the origin was not asked with {condition:?} but {came:?}"));
            }
        }
        for name in &self.asked_without {
            if has(name, field) {
                faults.push(format!("the origin was asked with {name:?}: {:?}", shown(name, field)));
            }
        }
        faults
    }
}

fn differ<T: PartialEq + Debug>(faults: &mut Vec<String>, what: &str, wanted: &T, came: &T) {
    if wanted != came {
        faults.push(format!("{what}: wanted {wanted:?}, came {came:?}"));
    }
}

fn shown(condition: &str, field: impl Fn(&str) -> Option<String>) -> Option<String> {
    field(&super::script::split(condition).0.to_ascii_lowercase())
}

/// `<i>` replaced by the client's number.
pub fn numbered(text: &str, number: usize) -> String {
    text.replace("<i>", &number.to_string())
}
