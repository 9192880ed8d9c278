//! What tokens of language models cost, ready to be asked.

use selvage_llm::formats::Usage;
use selvage_llm::money::Money;

use super::as_label;
use crate::config::Model;

/// The entries of `models`.
#[derive(Debug, Clone, Default)]
pub struct Models {
    entries: Box<[(Box<str>, Model)]>,
}

impl Models {
    pub(super) fn new(models: Vec<Model>) -> Self {
        let entries = models.into_iter().map(|model| (as_label(&model.name, &['.']), model));
        Self { entries: entries.collect() }
    }

    /// As they were written.
    pub(super) fn written(&self) -> impl Iterator<Item = &Model> {
        self.entries.iter().map(|(_, model)| model)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entry for the first of these names that has one; the number of entries, which stands for all other models, if none
    /// has.
    pub(crate) fn place_of(&self, names: &[&str]) -> usize {
        let entry_of = |name: &&str| {
            let entries = self.entries.iter().enumerate();
            let fitting = entries.filter(|(_, (_, model))| name.starts_with(&*model.name));
            fitting.max_by_key(|(_, (_, model))| model.name.len()).map(|(place, _)| place)
        };
        names.iter().find_map(entry_of).unwrap_or(self.entries.len())
    }

    /// What metrics call an entry.
    pub fn label(&self, place: usize) -> &str {
        self.entries.get(place).map_or(OTHER, |(label, _)| label)
    }

    /// What a usage costs by an entry; `None` for all other models.
    pub(crate) fn cost(&self, place: usize, usage: &Usage) -> Option<Money> {
        self.entries.get(place).map(|(_, model)| model.price().cost(usage))
    }
}

/// What metrics call the models that have no entry.
const OTHER: &str = "other";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_longest_beginning_of_a_name_decides_and_the_first_name_that_has_one() {
        let config = br#"{"models":[{"name":"gpt-4","input":30,"output":60},{"name":"gpt-4.1:mini","input":0.4,"output":"1.6"}]}"#;
        let models = Models::new(Config::parse(config).unwrap().models);
        for (names, label, cost) in [
            (&["gpt-4-0613"][..], "gpt-4", Some(60_000)),
            (&["gpt-4.1:mini-x"], "gpt-4.1_mini", Some(1600)),
            (&["unknown", "gpt-4"], "gpt-4", Some(60_000)),
            (&["gpt-3"], "other", None),
            (&[], "other", None),
        ] {
            let place = models.place_of(names);
            let cost_of = models.cost(place, &Usage { output: 1, ..Usage::default() });
            assert_eq!((models.label(place), cost_of.map(Money::nanos)), (label, cost), "{names:?}");
        }
    }
}
