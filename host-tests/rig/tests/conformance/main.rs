//! http-cache-tests, the public suite for caches, through the real Envoy with two workers.
//!
//! The outcome of each test is compared with the committed `fixtures/conformance.md`. A test that passed and no longer does
//! fails this one; `SELVAGE_RENEW_CONFORMANCE=1` writes the file anew. The suite measures time, so `run.mjs` runs the tests
//! that failed once more before they count as failed. This run's table is left in `target/conformance.md`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // A broken test must stop loudly.

use std::{
    collections::BTreeMap,
    env,
    fmt::Write,
    fs,
    net::TcpListener,
    path::PathBuf,
    process::{Command, Stdio},
};

use selvage_rig::envoy::{Gateway, Running, repository};

/// How one test of the suite ended.
struct Outcome {
    id: String,
    kind: String,
    verdict: String,
    message: String,
    retried: bool,
}

#[test]
fn no_test_of_the_suite_that_passed_has_ceased_to() {
    let package = repository().join(".node/node_modules/http-cache-tests");
    assert!(package.is_dir(), "http-cache-tests is not installed: run `./host-tests/run conformance`");
    let fixtures = repository().join("host-tests/fixtures");
    let configuration = fs::read_to_string(fixtures.join("conformance.json")).unwrap();
    let (_server, origin) = suite_server(&package);
    let gateway = Gateway::with(&configuration).origin(origin).start();
    let outcomes = run(&package, &format!("http://{}", gateway.address()));
    gateway.assert_sound();
    for outcome in &outcomes {
        if outcome.retried && matches!(outcome.verdict.as_str(), "pass" | "yes") {
            println!("{} passed only when it was run again", outcome.id);
        }
        if outcome.kind != "check" && outcome.verdict != "pass" {
            println!("{} ({}): {} {}", outcome.id, outcome.kind, outcome.verdict, outcome.message);
        }
    }
    let table = table(&outcomes);
    println!(
        "{}",
        table.lines().take_while(|line| !line.starts_with("| test")).collect::<Vec<_>>().join("\n")
    );
    fs::create_dir_all(repository().join("target")).unwrap();
    fs::write(repository().join("target/conformance.md"), &table).unwrap();
    let committed = fixtures.join("conformance.md");
    if env::var_os("SELVAGE_RENEW_CONFORMANCE").is_some() {
        fs::write(&committed, &table).unwrap();
    }
    let now = verdicts(&table);
    let worse: Vec<String> = verdicts(&fs::read_to_string(&committed).unwrap())
        .into_iter()
        .filter(|(_, verdict)| matches!(verdict.as_str(), "pass" | "yes"))
        .filter(|(id, verdict)| now.get(id) != Some(verdict))
        .map(|(id, verdict)| {
            format!("{id}: was {verdict}, is {}", now.get(&id).map_or("gone", String::as_str))
        })
        .collect();
    assert!(worse.is_empty(), "{}", worse.join("\n"));
}

/// Starts the suite's server; gives its address.
fn suite_server(package: &PathBuf) -> (Running, String) {
    // The server cannot say which free port it took.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new("node");
    command.arg("server/server.mjs").current_dir(package);
    let id_file = env::temp_dir().join(format!("selvage-conformance-{}", std::process::id()));
    let settings =
        [("protocol", "http"), ("port", &port.to_string()), ("pidfile", id_file.to_str().unwrap())];
    for (name, value) in settings {
        command.env(format!("npm_config_{name}"), value);
    }
    let started =
        Running::start(&command).ready(|server| server.output().contains("Listening on").then_some(()));
    let (server, ()) = started.unwrap_or_else(|refused| panic!("the suite's server: {}", refused.output));
    let _ = fs::remove_file(id_file);
    (server, format!("http://localhost:{port}"))
}

fn run(package: &PathBuf, address: &str) -> Vec<Outcome> {
    let script = repository().join("host-tests/rig/tests/conformance/run.mjs");
    let output = Command::new("node")
        .arg("--no-warnings")
        .arg(script)
        .arg(package)
        .arg(address)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "run.mjs ended with {}", output.status);
    let text = String::from_utf8(output.stdout).unwrap();
    let outcomes: Vec<Outcome> = text
        .lines()
        .map(|line| {
            let columns: Vec<String> = line.split('\t').map(str::to_owned).collect();
            let [id, kind, verdict, retried, message] = <[String; 5]>::try_from(columns).unwrap();
            Outcome { id, kind, verdict, message, retried: retried == "true" }
        })
        .collect();
    assert!(outcomes.len() > 300, "only {} outcomes", outcomes.len());
    outcomes
}

/// The committed form: the tally, then one line for each test.
fn table(outcomes: &[Outcome]) -> String {
    let mut text = String::from(
        "# http-cache-tests 0.4.5 through Envoy with two workers\n\n\
         Written by `SELVAGE_RENEW_CONFORMANCE=1 ./host-tests/run conformance`; with `conformance.json` as configuration.\n\
         `setup` and `dependency`: what the test builds on did not hold, so it says nothing.\n\n",
    );
    for kind in ["required", "optimal", "check"] {
        let mut tally = BTreeMap::<&str, usize>::new();
        for outcome in outcomes.iter().filter(|outcome| outcome.kind == kind) {
            *tally.entry(&outcome.verdict).or_default() += 1;
        }
        let tally: Vec<String> = tally.iter().map(|(verdict, count)| format!("{count} {verdict}")).collect();
        writeln!(text, "- {kind}: {}", tally.join(", ")).unwrap();
    }
    text.push_str("\n| test | kind | outcome |\n|---|---|---|\n");
    let mut rows: Vec<&Outcome> = outcomes.iter().collect();
    rows.sort_by_key(|outcome| &outcome.id);
    for Outcome { id, kind, verdict, .. } in rows {
        writeln!(text, "| {id} | {kind} | {verdict} |").unwrap();
    }
    text
}

/// The verdict of each test in a table.
fn verdicts(table: &str) -> BTreeMap<String, String> {
    let rows = table.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let cells = rows.map(|row| row.split(" | ").collect::<Vec<_>>()).filter(|cells| cells.len() == 3);
    cells.filter(|cells| cells[0] != "test").map(|cells| (cells[0].to_owned(), cells[2].to_owned())).collect()
}
