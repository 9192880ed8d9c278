//! A real Prometheus that scrapes a gateway, and the tool that checks its rules.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::envoy::{Ask, Gateway, Running, repository, scratch_file};
use crate::redis::free_port;

/// A Prometheus with our alerts, which fire as soon as their condition holds. Stopped and its data removed when dropped.
pub struct Prometheus {
    // Ends before its folder goes.
    _running: Running,
    address: SocketAddr,
    _folder: Folder,
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Prometheus {
    /// Starts one that scrapes this gateway five times a second.
    ///
    /// # Panics
    /// It does not start; the message has what it wrote.
    pub fn scraping(gateway: &Gateway) -> Self {
        let folder = Folder(scratch_file("").with_extension("prometheus"));
        fs::create_dir(&folder.0).unwrap();
        fs::write(folder.0.join("rules.yaml"), impatient_rules()).unwrap();
        let target = gateway.admin_address();
        let configuration = format!(
            "global: {{ scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms }}\n\
             rule_files: [rules.yaml]\n\
             scrape_configs:\n\
             - {{ job_name: envoy, metrics_path: /stats/prometheus, static_configs: [ {{ targets: ['{target}'] }} ] }}\n"
        );
        fs::write(folder.0.join("prometheus.yaml"), configuration).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut command = Command::new("prometheus");
        command.current_dir(&folder.0).args(["--config.file=prometheus.yaml", "--storage.tsdb.path=data"]);
        command.args([&format!("--web.listen-address={address}"), "--log.level=warn"]);
        let running = Running::start(&command);
        let ready = |_: &Running| {
            let answer = Ask::new(address, "GET", "/-/ready").try_send().ok()?;
            (answer.status == 200).then_some(())
        };
        let (running, ()) = running.ready(ready).unwrap_or_else(|refused| panic!("{}", refused.output));
        Self { _running: running, address, _folder: folder }
    }

    /// The names of the alerts that fire.
    pub fn firing(&self) -> Vec<String> {
        let answer = self.api("/api/v1/alerts");
        let alerts = answer["data"]["alerts"].as_array().cloned().unwrap_or_default();
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        firing.filter_map(|alert| alert["labels"]["alertname"].as_str().map(str::to_owned)).collect()
    }

    /// The value of a series now. The query has nothing that a URL would have to escape but what is escaped here.
    pub fn value(&self, query: &str) -> Option<f64> {
        let query: String = query
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == '_' {
                    c.to_string()
                } else {
                    format!("%{:02X}", c as u32)
                }
            })
            .collect();
        let answer = self.api(&format!("/api/v1/query?query={query}"));
        answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }

    fn api(&self, path: &str) -> Value {
        let answer = Ask::new(self.address, "GET", path).send();
        serde_json::from_slice(&answer.body).unwrap_or_default()
    }
}

/// Our alerts, without the time for which they wait.
fn impatient_rules() -> String {
    let rules = fs::read_to_string(repository().join("envoy/alerts/selvage.rules.yaml")).unwrap();
    let lines = rules.lines().map(|line| match line.trim_start().strip_prefix("for: ") {
        Some(_) => "        for: 0s",
        None => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Runs `promtool` in a folder.
///
/// # Errors
/// What it wrote, if it found something wrong.
pub fn promtool(folder: &Path, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("promtool").current_dir(folder).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&text).into_owned()) }
}

/// Checks these expressions as Prometheus would read them.
///
/// # Errors
/// What `promtool` wrote, if one cannot be read.
pub fn check_expressions(expressions: &[String]) -> Result<(), String> {
    let rules: Vec<Value> = expressions
        .iter()
        .enumerate()
        .map(|(nth, expression)| serde_json::json!({ "record": format!("expression:{nth}"), "expr": expression }))
        .collect();
    // JSON is YAML.
    let rules = serde_json::json!({ "groups": [{ "name": "expressions", "rules": rules }] });
    let file = scratch_file(&rules.to_string());
    let result = promtool(repository(), &["check", "rules", &file.to_string_lossy()]);
    let _ = fs::remove_file(file);
    result
}
