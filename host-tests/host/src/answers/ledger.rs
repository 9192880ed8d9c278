//! What is counted, beside what should be.

use std::collections::BTreeMap;

use selvage_llm::formats::Usage;

use crate::Gateway;

/// The model that questions name.
pub(super) const ASKED: &str = "asked";

/// An entry of `models`. Prices in 10⁻⁹ of the currency for a million tokens.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    name: &'static str,
    input: u64,
    cached: u64,
    cache_write: u64,
    output: u64,
}

const fn entry(name: &'static str, input: u64, cached: u64, cache_write: u64, output: u64) -> Entry {
    Entry { name, input, cached, cache_write, output }
}

/// All of them. Some prices are no whole number of 10⁻⁹ for a token, so that costs are rounded.
pub(super) static MODELS: [Entry; 5] = [
    entry("gpt-4o", 2_500_000_000, 1_250_000_000, 3_125_000_000, 10_000_000_000),
    entry("deepseek", 140_000_007, 2_800_001, 140_000_007, 280_000_003),
    entry("gpt-5", 1_250_000_000, 125_000_000, 1_250_000_000, 10_000_000_000),
    entry("claude", 3_000_000_001, 300_000_001, 3_750_000_001, 15_000_000_001),
    entry(ASKED, 1_000_000_000, 500_000_000, 1_500_000_000, 2_000_000_000),
];

/// All other models.
pub(super) static OTHER: Entry = entry("other", 0, 0, 0, 0);

impl Entry {
    /// That of a model's name.
    pub(super) fn of(model: &str) -> &'static Self {
        MODELS.iter().find(|entry| model.starts_with(entry.name)).expect("an entry for each model")
    }

    pub(super) fn configuration(&self) -> String {
        let price = |nanos: u64| format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
        format!(
            r#"{{"name":"{}","input":{},"cached":{},"cache_write":{},"output":{}}}"#,
            self.name,
            price(self.input),
            price(self.cached),
            price(self.cache_write),
            price(self.output)
        )
    }

    /// In 10⁻⁹ of the currency, rounded up.
    fn cost(&self, usage: &Usage) -> u64 {
        let own = usage.input - usage.cached - usage.cache_write;
        let parts = [
            (own, self.input),
            (usage.cached, self.cached),
            (usage.cache_write, self.cache_write),
            (usage.output, self.output),
        ];
        let sum: u128 = parts.iter().map(|(tokens, price)| u128::from(*tokens) * u128::from(*price)).sum();
        u64::try_from(sum.div_ceil(1_000_000)).expect("a cost")
    }
}

/// What an answer should be counted as.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Spent {
    /// It is an error.
    Nothing,
    /// The provider has told all of it.
    Told(&'static Entry, Usage),
    /// It has not.
    Estimated(&'static Entry, Usage),
    /// It is estimated; nobody can say how. An error may be seen as such.
    Somehow { may_be_free: bool },
}

impl Spent {
    pub(super) const fn kind(&self) -> Option<&'static str> {
        match self {
            Self::Nothing => None,
            Self::Told(..) => Some("told"),
            Self::Estimated(..) | Self::Somehow { .. } => Some("estimated"),
        }
    }
}

/// What was counted until now.
pub(super) struct Ledger(BTreeMap<String, i64>);

impl Ledger {
    pub(super) fn open(gateway: &Gateway) -> Self {
        Self(counters(gateway))
    }

    /// What has been added since the last time.
    fn added(&mut self, gateway: &Gateway) -> BTreeMap<String, i64> {
        let now = counters(gateway);
        let added = now.iter().filter_map(|(name, value)| {
            let by = value - self.0.get(name).copied().unwrap_or_default();
            (by != 0).then(|| (name.clone(), by))
        });
        let added = added.collect();
        self.0 = now;
        added
    }

    /// Whether an answer that has come was counted so.
    pub(super) fn compare(&mut self, gateway: &Gateway, wanted: &Spent) -> Result<(), String> {
        let added = self.added(gateway);
        let expected = match wanted {
            Spent::Nothing => BTreeMap::new(),
            Spent::Told(entry, usage) => entries(entry, usage, ("told", "tokens", "spent")),
            Spent::Estimated(entry, usage) => entries(entry, usage, ("estimated", "tokens", "spent")),
            Spent::Somehow { may_be_free } => {
                let of = |word: &str| {
                    let counted = added
                        .iter()
                        .filter(|(name, _)| name.contains(".llm_requests.") && name.ends_with(word));
                    counted.map(|(_, by)| by).sum::<i64>()
                };
                let is_right = of("told") == 0 && (of("estimated") == 1 || *may_be_free && added.is_empty());
                return if is_right { Ok(()) } else { Err(format!("counted {added:?}")) };
            }
        };
        same(&added, &expected)
    }

    /// Whether an answer from a store was counted so; none is to be counted without one.
    pub(super) fn compare_saved(
        &mut self,
        gateway: &Gateway,
        wanted: Option<&(&'static Entry, Usage)>,
    ) -> Result<(), String> {
        let added = self.added(gateway);
        let expected = wanted.map(|(entry, usage)| entries(entry, usage, ("saved", "saved_tokens", "saved")));
        same(&added, &expected.unwrap_or_default())
    }
}

fn same(added: &BTreeMap<String, i64>, expected: &BTreeMap<String, i64>) -> Result<(), String> {
    if added == expected { Ok(()) } else { Err(format!("counted {added:?}, not {expected:?}")) }
}

/// The counters that one answer moves.
fn entries(entry: &Entry, usage: &Usage, (known, family, cost): (&str, &str, &str)) -> BTreeMap<String, i64> {
    let name = entry.name;
    let tokens = [
        ("input", usage.input - usage.cached - usage.cache_write),
        ("cached", usage.cached),
        ("cache-write", usage.cache_write),
        ("output", usage.output - usage.reasoning),
        ("reasoning", usage.reasoning),
    ];
    let tokens = tokens.map(|(word, count)| (format!("selvage.llm_{family}.{name}.{word}"), count));
    let others = [
        (format!("selvage.llm_requests.{name}.{known}"), 1),
        (format!("selvage.llm_cost_nanos.{name}.{cost}"), entry.cost(usage)),
    ];
    let moved = tokens.into_iter().chain(others).filter(|(_, by)| *by > 0);
    moved.map(|(name, by)| (name, i64::try_from(by).expect("a count"))).collect()
}

fn counters(gateway: &Gateway) -> BTreeMap<String, i64> {
    let families = ["requests", "tokens", "saved_tokens", "cost_nanos"];
    let counts = |name: &str| {
        let word = name.strip_prefix("selvage.llm_").unwrap_or_default();
        families.iter().any(|family| word.strip_prefix(family).is_some_and(|rest| rest.starts_with('.')))
    };
    gateway.metrics().into_iter().filter(|(name, _)| counts(name)).collect()
}
