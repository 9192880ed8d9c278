//! `envoy/load` is short and has no targets here: that it works, not how fast anything is.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};

use selvage_rig::envoy::Gateway;
use selvage_rig::scripted::{Answer, Origin};
use serde_json::Value;

/// Runs the program behind `envoy/load` for a moment.
fn load(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_load"));
    command.args(["--ramp", "0.5", "--connections", "60", "--purges", "1", "--targets", "off"]);
    command.args(arguments).output().unwrap()
}

fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("selvage-load-{}-{name}", std::process::id()))
}

#[test]
fn a_load_of_its_own_is_answered_without_faults_and_saves_its_figures() {
    let file = scratch("figures");
    let output = load(&["--seconds", "2", "--objects", "200", "--save", file.to_str().unwrap()]);
    let (said, progress) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.ends_with("passed\n"), "{said}\n{progress}");
    assert!(progress.contains("answers, p95"), "{progress}");
    let saved: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let _ = fs::remove_file(file);
    let figure = |name: &str| saved["figures"][name].as_f64().unwrap_or_else(|| panic!("no {name}: {saved}"));
    assert!(figure("requests/s") > 10.0 && figure("hit rate") > 10.0, "{saved}");
    assert!(figure("p50") <= figure("p95") && figure("p95") <= figure("longest"), "{saved}");
    assert!(figure("resident memory") > 10.0, "{saved}");
    assert_eq!(figure("failures"), 0.0, "{said}");
}

#[test]
fn a_running_instance_is_measured_left_running_and_compared() {
    let origin = Origin::start();
    origin.on("/load/a", |_| Answer::fresh("a"));
    let gateway = Gateway::with("{}").origin(origin.url()).start();
    let (paths, earlier) = (scratch("paths"), scratch("earlier"));
    fs::write(&paths, "# what is asked\n/load/a?b=1\n/load/a?b=2 12345 times\n").unwrap();
    fs::write(&earlier, r#"{ "selvage_load": 1, "figures": { "requests/s": 1e9, "failures": 0 } }"#).unwrap();
    let url = format!("http://{}", gateway.address());
    let of_it = ["--seconds", "1", "--url", &url, "--paths", paths.to_str().unwrap()];
    let output = load(&[&of_it[..], &["--baseline", earlier.to_str().unwrap()]].concat());
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    // It is not told the token here, so there are no purges.
    assert!(said.contains("; 0 purges.") && said.contains("failed: requests/s was 1000000000"), "{said}");
    assert!(!said.contains("resident memory | unknown"), "{said}");
    let output = load(&[&of_it[..], &["--rate", "100000000"]].concat());
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("| > 100000000 | **missed** |"), "{said}");
    for file in [paths, earlier] {
        let _ = fs::remove_file(file);
    }
    assert_eq!(gateway.get("/load/a").send().text(), "a");
    gateway.assert_sound();
}

#[test]
fn what_is_not_on_this_machine_is_not_loaded() {
    for url in ["http://192.0.2.1:80", "http://example.com", "https://127.0.0.1:1"] {
        let output = load(&["--url", url]);
        assert_eq!(output.status.code(), Some(2), "{url}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("an address of this machine"), "{said}");
    }
}
