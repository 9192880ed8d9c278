//! What Envoy's `/stats/prometheus` says, as numbers: for whoever watches an Envoy without a Prometheus.

use std::collections::BTreeMap;

use crate::envoy::{Ask, Gateway};

/// All series at one moment.
pub struct Scrape {
    series: Vec<Series>,
}

struct Series {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Scrape {
    /// Asks this Envoy now; `None` if it does not answer.
    pub fn of(gateway: &Gateway) -> Option<Self> {
        let answer = Ask::new(gateway.admin_address(), "GET", "/stats/prometheus").try_send().ok()?;
        (answer.status == 200 && answer.complete).then(|| Self::read(&answer.text()))
    }

    /// Reads Prometheus' text format. What is no line of a series is passed over.
    pub fn read(text: &str) -> Self {
        Self { series: text.lines().filter_map(series).collect() }
    }

    /// The sum of the series of this name that have all of these labels; 0 if there are none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |series: &&Series| {
            labels.iter().all(|(label, value)| series.labels.get(*label).is_some_and(|is| is == value))
        };
        self.series.iter().filter(|series| series.name == name).filter(has).map(|series| series.value).sum()
    }

    /// The sums of the series of this name by the value of a label.
    pub fn by(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for series in self.series.iter().filter(|series| series.name == name) {
            if let Some(value) = series.labels.get(label) {
                *sums.entry(value.clone()).or_default() += series.value;
            }
        }
        sums
    }
}

/// `name{label="value",…} number`.
fn series(line: &str) -> Option<Series> {
    let (series, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((name, rest)) = series.split_once('{') else {
        return (!line.starts_with('#')).then(|| Series {
            name: series.to_owned(),
            labels: BTreeMap::new(),
            value,
        });
    };
    let mut labels = BTreeMap::new();
    let mut rest = rest.strip_suffix('}')?;
    while let Some((label, after)) = rest.split_once("=\"") {
        // A quote in a value is escaped.
        let escaped = |end: &usize| after[..*end].ends_with('\\');
        let end = after.match_indices('"').map(|(at, _)| at).find(|end| !escaped(end))?;
        labels.insert(label.trim_start_matches(',').to_owned(), after[..end].to_owned());
        rest = &after[end + 1..];
    }
    Some(Series { name: name.to_owned(), labels, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_summed_over_the_labels_that_are_not_asked_for() {
        let text = "# TYPE selvage_live gauge\nselvage_live{what=\"contexts\",a=\"x{,=\\\"y\"} 2\nselvage_live{what=\"held\"} 1\n\
                    envoy_server_memory_allocated{} 1.5e3\nplain 4\nno number\n";
        let scrape = Scrape::read(text);
        assert_eq!(scrape.sum("selvage_live", &[]), 3.0);
        assert_eq!(scrape.sum("selvage_live", &[("what", "contexts")]), 2.0);
        assert_eq!(scrape.sum("selvage_live", &[("what", "contexts"), ("a", "y")]), 0.0);
        assert_eq!(scrape.sum("envoy_server_memory_allocated", &[]), 1500.0);
        assert_eq!(scrape.sum("plain", &[]), 4.0);
        let by = scrape.by("selvage_live", "what");
        assert_eq!(by, BTreeMap::from([("contexts".to_owned(), 2.0), ("held".to_owned(), 1.0)]));
    }
}
