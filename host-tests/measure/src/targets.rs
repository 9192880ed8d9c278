//! Targets beside what was measured, as a table.

use std::fmt::Write;

/// A target and what was measured.
pub struct Row {
    /// Its name.
    pub scenario: &'static str,
    /// Of what.
    pub what: String,
    /// What is wanted.
    pub target: String,
    /// What it was.
    pub measured: String,
    /// What others make of the same.
    pub peer: String,
    /// Whether that is what is wanted.
    pub met: bool,
}

/// All of them.
#[derive(Default)]
pub struct Targets {
    rows: Vec<Row>,
    unsound: Vec<String>,
}

impl Targets {
    /// Adds one, and says so.
    pub fn row(&mut self, row: Row) {
        let word = if row.met { "ok" } else { "missed" };
        eprintln!("selvage: {}: {}: {} ({}): {word}", row.scenario, row.what, row.measured, row.target);
        self.rows.push(row);
    }

    /// Notes what was wrong with Envoy itself in a run.
    pub fn unsound(&mut self, title: &str, problem: Option<String>) {
        self.unsound.extend(problem.map(|problem| format!("{title}: {problem}")));
    }

    /// Whether nothing was missed.
    pub fn all_met(&self) -> bool {
        self.rows.iter().all(|row| row.met) && self.unsound.is_empty()
    }

    /// The table as Markdown.
    pub fn render(&self) -> String {
        let mut out = "| | what | target | measured | others | |\n|---|---|---|---|---|---|\n".to_owned();
        for Row { scenario, what, target, measured, peer, met } in &self.rows {
            let verdict = if *met { "ok" } else { "**missed**" };
            let _ = writeln!(out, "| {scenario} | {what} | {target} | {measured} | {peer} | {verdict} |");
        }
        for problem in &self.unsound {
            let _ = writeln!(out, "| all | Envoy is sound | yes | {problem} | – | **missed** |");
        }
        out
    }
}
