//! The Envoy and the origin that all rows share.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use selvage_rig::{
    envoy::{Gateway, Refused},
    scripted::Origin,
};
use serde_json::{Value, json};

use super::{row::Row, table::ROWS};

/// Envoy with a rule for each row that has one.
pub struct Edge {
    /// What is behind it.
    pub origin: Origin,
    /// The running Envoy.
    pub gateway: Gateway,
    /// What the filter said of rules that it does not take; the rows that need them fail, and the others run.
    refused: BTreeMap<String, String>,
}

/// Started by the first row that runs.
pub static EDGE: LazyLock<Edge> = LazyLock::new(start);

impl Edge {
    /// Why a row's rule is not there.
    pub fn refusal(&self, row: &Row) -> Option<&str> {
        self.refused.get(&text_of(row)?).map(String::as_str)
    }
}

/// Fails if Envoy was started and has come to harm.
pub fn assert_sound() {
    if let Some(edge) = LazyLock::get(&EDGE) {
        edge.gateway.assert_sound();
    }
}

fn start() -> Edge {
    let origin = Origin::start();
    let mut refused = BTreeMap::new();
    loop {
        let rules = rules(&refused);
        match try_start(&origin, &rules) {
            Ok(gateway) => return Edge { origin, gateway, refused },
            Err(Refused { output, .. }) => {
                let faults = faults(&output);
                assert!(!faults.is_empty(), "Envoy did not start:\n{output}");
                for (place, fault) in faults {
                    refused.insert(rules[place].0.clone(), fault);
                }
            }
        }
    }
}

/// Rows wait for what their gates let through, never for a waiter's patience to end: it is longer than the gates'.
fn try_start(origin: &Origin, rules: &[(String, Vec<String>)]) -> Result<Gateway, Refused> {
    let written = rules.iter().enumerate().map(|(place, (rule, paths))| {
        let mut rule: Value = serde_json::from_str(rule).unwrap();
        rule["name"] = json!(format!("rule-{place}"));
        rule["match"] = json!({ "paths": paths });
        rule
    });
    let configuration = json!({
        "admin": { "open": true, "hosts": ["example.test"] },
        "defaults": { "coalesce": { "wait": "20s" } },
        "rules": written.collect::<Vec<_>>(),
    });
    Gateway::with(&configuration.to_string()).origin(origin.url()).try_start_with("local.yaml", &[])
}

/// The rules that are left, each with the paths of its rows: there may not be as many rules as rows.
fn rules(refused: &BTreeMap<String, String>) -> Vec<(String, Vec<String>)> {
    let mut rules = BTreeMap::<String, Vec<String>>::new();
    for row in ROWS.iter() {
        if let Some(rule) = text_of(row).filter(|rule| !refused.contains_key(rule)) {
            rules.entry(rule).or_default().push(row.path.clone());
        }
    }
    rules.into_iter().collect()
}

fn text_of(row: &Row) -> Option<String> {
    row.rule.as_ref().map(Value::to_string)
}

/// The places of the rules that the filter names as faulty, with its words.
fn faults(output: &str) -> BTreeSet<(usize, String)> {
    let named = output.lines().filter_map(|line| {
        let fault = &line[line.find("rules[")?..];
        let place = fault["rules[".len()..].split(']').next()?.parse().ok()?;
        Some((place, fault.to_owned()))
    });
    named.collect()
}
