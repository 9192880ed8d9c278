//! Every metric there is, in the order in which operators read about them.

mod families;

use super::Word;

pub use families::FAMILIES;

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only goes up.
    Counter,
    /// Goes both ways.
    Gauge,
    /// Counts values by their size.
    Histogram,
}

/// Metrics with one meaning, told apart by words. Envoy calls one `wasmcustom.selvage.<family>.<word>`, and Prometheus sees
/// `selvage_<family>` with a label for each part of the word.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What is counted, or the unit.
    pub unit: &'static str,
    /// What the parts of a word are called, which have dots between them.
    pub labels: &'static [&'static str],
    /// The words.
    pub words: &'static [&'static str],
    /// What it says.
    pub meaning: &'static str,
}

impl Family {
    /// Its name in Prometheus, without what that adds to histograms.
    pub fn prometheus(&self) -> String {
        format!("selvage_{}", self.name)
    }

    /// Whether each rule has its own: Envoy calls one `wasmcustom.selvage.<family>.<rule>.<word>`, and the rule's name is the
    /// first label, which is no part of the words.
    pub fn by_rule(&self) -> bool {
        self.labels.first() == Some(&"rule")
    }

    /// Whether each plugin with a `name` has its own: Envoy calls one `wasmcustom.selvage.<family>.<plugin>.<word>`. One without
    /// has no such label, and neither has what [`is_of_the_vm`].
    pub fn by_plugin(&self) -> bool {
        self.labels.first() == Some(&"plugin")
    }

    /// Whether each pool has its own: Envoy calls one `wasmcustom.selvage.<family>.<pool>.<word>`.
    pub fn by_pool(&self) -> bool {
        self.labels.first() == Some(&"pool")
    }

    /// Whether each limit has its own: Envoy calls one `wasmcustom.selvage.<family>.<limit>.<word>`.
    pub fn by_limit(&self) -> bool {
        self.labels.first() == Some(&"limit")
    }

    /// Whether each entry of `models` has its own: Envoy calls one `wasmcustom.selvage.<family>.<model>.<word>`.
    pub fn by_model(&self) -> bool {
        self.labels.first() == Some(&"model")
    }

    /// Whether each budget has its own: Envoy calls one `wasmcustom.selvage.<family>.<budget>.<word>`.
    pub fn by_budget(&self) -> bool {
        self.labels.first() == Some(&"budget")
    }

    /// Whether each rule, pool, limit, budget or model has its own.
    pub fn is_owned(&self) -> bool {
        self.by_rule() || self.by_pool() || self.by_limit() || self.by_budget() || self.by_model()
    }

    /// The labels that stand in the words.
    pub fn labels_of_words(&self) -> &'static [&'static str] {
        let owned = self.is_owned() || self.by_plugin();
        self.labels.get(usize::from(owned)..).unwrap_or_default()
    }

    /// The values that a label has. Of rules they are not known.
    pub fn values(&self, label: &str) -> Vec<&'static str> {
        let Some(at) = self.labels_of_words().iter().position(|own| *own == label) else { return Vec::new() };
        let mut values: Vec<_> = self.words.iter().filter_map(|word| word.split('.').nth(at)).collect();
        values.dedup();
        values
    }
}

/// Whether a gauge is of the workers' VMs, and not of one of the plugins in them.
pub fn is_of_the_vm(word: Word) -> bool {
    matches!(word, ("heap_bytes", "used") | ("live", "contexts" | "streams" | "held"))
}

/// The family of this name.
pub fn family(name: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| family.name == name)
}

/// Whether there is such a metric.
pub fn has(kind: Kind, name: &str, word: &str) -> bool {
    family(name).is_some_and(|family| family.kind == kind && family.words.contains(&word))
}

/// Whether there is a metric of the name that Envoy has for it, without `wasmcustom.selvage.` before it.
pub fn has_name(kind: Kind, name: &str) -> bool {
    let Some((first, word)) = name.split_once('.') else { return false };
    let last = word.rsplit_once('.').map(|(_, last)| last);
    match family(first) {
        Some(family) if family.is_owned() => last.is_some_and(|word| has(kind, first, word)),
        Some(family) if family.by_plugin() => has(kind, first, last.unwrap_or(word)),
        _ => has(kind, first, word),
    }
}

#[cfg(test)]
mod tests;
