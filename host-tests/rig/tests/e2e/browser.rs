//! A real browser, as the scripts beside this file drive it.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use selvage_rig::envoy::repository;
use serde_json::Value;

/// What a script saw in the browser at this address.
pub(super) fn look(script: &str, url: &str, arguments: &[&str]) -> Value {
    let output = Command::new("node")
        .arg(repository().join("host-tests/rig/tests/e2e").join(script))
        .arg(chromium())
        .arg(url)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("no node ({error}): ./host-tests/run e2e installs it"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The browser: `CHROMIUM`, or one of the PATH.
fn chromium() -> PathBuf {
    if let Some(named) = env::var_os("CHROMIUM") {
        return named.into();
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path)
        .flat_map(|folder| ["chromium", "chromium-browser"].map(|name| folder.join(name)));
    let found = folders.into_iter().find(|program| program.is_file());
    found.unwrap_or_else(|| panic!("no chromium: ./host-tests/run e2e installs it, or CHROMIUM names it"))
}
