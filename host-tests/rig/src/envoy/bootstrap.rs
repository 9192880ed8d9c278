//! Envoy without `envoy/run`: one of our bootstraps, with other values.

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use super::{Ask, Builder, Gateway, Refused, Running, repository, scratch_file};
use selvage_wasm_target::artifact;

/// The local bootstrap with the filter's configuration as a protobuf `Struct`.
pub(super) fn with_struct(builder: &Builder) -> Result<Gateway, Refused> {
    let text = read("local.yaml").replace("google.protobuf.StringValue", "google.protobuf.Struct");
    launch(builder, &text, &builder.configuration, &[])
}

/// The local bootstrap with pieces of its text replaced.
pub(super) fn edited(builder: &Builder, edits: &[(&str, &str)]) -> Result<Gateway, Refused> {
    let mut text = read("local.yaml");
    for (piece, other) in edits {
        assert!(text.contains(piece), "the bootstrap has no {piece:?}");
        text = text.replace(piece, other);
    }
    launch(builder, &text, &format!("{:?}", builder.configuration), &[])
}

/// A bootstrap with the filter's configuration as text, and more values.
pub(super) fn start(builder: &Builder, name: &str, more: &[(&str, &str)]) -> Result<Gateway, Refused> {
    // Rust's quoting of plain text is YAML's too.
    let configuration = format!("{:?}", builder.configuration);
    launch(builder, &read(name), &configuration, more)
}

/// What the file tells its reader to type, in the lines of its first comment that are indented.
pub fn typed(text: &str) -> Vec<&str> {
    let header = text.lines().take_while(|line| line.starts_with('#'));
    header.filter_map(|line| line.strip_prefix("#   ")).collect()
}

/// A file of the repository, started by the very lines that its header has. Only its marked values are others, and what a
/// test needs to find its way is added to the last line.
pub(super) fn by_header(builder: &Builder, file: &str, more: &[(&str, &str)]) -> Result<Gateway, Refused> {
    let text = fs::read_to_string(repository().join(file)).unwrap();
    let configuration = format!("{:?}", builder.configuration);
    let programs = scratch_file("");
    fs::remove_file(&programs).unwrap();
    fs::create_dir(&programs).unwrap();
    symlink(envoy_program(), programs.join("envoy")).unwrap();
    let started = launch_as(builder, &text, &configuration, more, |bootstrap| {
        let lines = typed(&text).join("\n");
        assert!(lines.contains(file), "the header of {file} does not start it");
        let lines = lines.replace(file, bootstrap.to_str().unwrap()).replace("envoy -c", "exec envoy -c");
        let path = format!("{}:{}", programs.display(), env::var("PATH").unwrap());
        let mut command = Command::new("bash");
        command.args(["-c", &format!("{lines} \"$@\""), "header"]).env("PATH", path);
        command
    });
    fs::remove_dir_all(programs).unwrap();
    started
}

pub(super) fn read(name: &str) -> String {
    fs::read_to_string(repository().join("envoy/bootstrap").join(name)).unwrap()
}

pub(super) fn launch(
    builder: &Builder,
    text: &str,
    configuration: &str,
    more: &[(&str, &str)],
) -> Result<Gateway, Refused> {
    launch_as(builder, text, configuration, more, |bootstrap| {
        let mut command = Command::new(envoy_program());
        command.arg("--config-path").arg(bootstrap);
        command
    })
}

/// Starts the command that is made for the file with the bootstrap.
fn launch_as(
    builder: &Builder,
    text: &str,
    configuration: &str,
    more: &[(&str, &str)],
    command: impl FnOnce(&Path) -> Command,
) -> Result<Gateway, Refused> {
    let origin = builder.origin.as_deref().unwrap().strip_prefix("http://").unwrap();
    let (origin_host, origin_port) = origin.split_once(':').unwrap();
    let module = artifact().unwrap_or_else(|problem| panic!("{problem}"));
    let mut values = vec![
        ("PORT", "0"),
        ("ADMIN_PORT", "0"),
        ("WASM", module.to_str().unwrap()),
        ("CONFIG", configuration),
        ("ORIGIN_HOST", origin_host),
        ("ORIGIN_PORT", origin_port),
    ];
    values.extend_from_slice(more);
    let text: Vec<String> = text.lines().map(|line| substituted(line, &values)).collect();
    let file = scratch_file(&text.join("\n"));
    let bootstrap = file.with_extension("yaml");
    fs::rename(&file, &bootstrap).unwrap();
    let address_file = scratch_file("");
    let mut command = command(&bootstrap);
    command.arg("--admin-address-path").arg(&address_file);
    command.args(["--concurrency", &builder.workers.to_string(), "--disable-hot-restart"]);
    command.args(["--log-level", "warning"]).args(&builder.arguments);
    command.envs(builder.environment.iter().map(|(name, value)| (name, value)));
    let ready = |_: &Running| {
        let admin = fs::read_to_string(&address_file).ok()?.trim().parse().ok()?;
        let ready = Ask::new(admin, "GET", "/ready").try_send().ok()?;
        ready.text().starts_with("LIVE").then_some(admin)
    };
    let gateway = Running::start(&command).ready(ready).map(|(running, admin)| {
        let listeners = Ask::new(admin, "GET", "/listeners").send().text();
        let address = listeners.lines().find_map(|line| line.strip_prefix("selvage::")).unwrap();
        Gateway { address: address.parse().unwrap(), admin, running, workers: builder.workers }
    });
    let _ = fs::remove_file(bootstrap);
    let _ = fs::remove_file(address_file);
    gateway
}

pub(super) fn substituted(line: &str, values: &[(&str, &str)]) -> String {
    let marked = values.iter().find(|(name, _)| line.ends_with(&format!(" # SELVAGE_{name}")));
    match (marked, line.split_once(": ")) {
        (Some((_, value)), Some((member, _))) => format!("{member}: {value}"),
        _ => line.to_owned(),
    }
}

/// The Envoy that `host-tests/run` names, else the newest that `envoy/run` has fetched, else the one on the PATH.
pub fn envoy_program() -> PathBuf {
    if let Some(program) = env::var_os("ENVOY_BIN") {
        return program.into();
    }
    let fetched = fs::read_dir(repository().join(".envoy")).into_iter().flatten().flatten();
    let version = |path: &PathBuf| -> Option<Vec<u32>> {
        path.file_name()?.to_str()?.split('.').map(|number| number.parse().ok()).collect()
    };
    let fetched = fetched.map(|entry| entry.path()).filter(|path| path.join("envoy").is_file());
    fetched.max_by_key(version).map_or("envoy".into(), |path| path.join("envoy"))
}
