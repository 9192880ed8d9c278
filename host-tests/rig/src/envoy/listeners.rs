//! Listeners that Envoy reads from a file, and reads again whenever it becomes another (LDS).

use std::{fs, path::PathBuf};

use super::bootstrap::{launch, read, substituted};
use super::{Builder, Gateway, Refused, scratch_file};
use selvage_wasm_target::artifact;

/// One listener: its name, its port of 127.0.0.1, and the configuration of its filter.
pub type Listener<'a> = (&'a str, u16, &'a str);

/// The file, which is removed with this.
pub struct Listeners {
    file: PathBuf,
    /// The listener of the local bootstrap as a resource of its own.
    template: String,
}

/// The local bootstrap, the bridge included if there is one, whose listeners are these. The first one is where the gateway's
/// requests go, and is called `selvage`.
pub(super) fn start(builder: &Builder, listeners: &[Listener]) -> Result<(Gateway, Listeners), Refused> {
    let mut text = read("local.yaml");
    let bridge = builder.bridge.map(|port| port.to_string());
    if bridge.is_some() {
        text = text.replace("#redis ", "");
    }
    let (head, rest) = text.split_once("  listeners:\n").unwrap();
    let (own, clusters) = rest.split_once("\n  clusters:\n").unwrap();
    let kind = "type.googleapis.com/envoy.config.listener.v3.Listener";
    let lines: String =
        own.lines().map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or(line))).collect();
    let template = lines.replacen(
        "- name: selvage\n",
        &format!("- \"@type\": {kind}\n  name: selvage # SELVAGE_NAME\n"),
        1,
    );
    let listeners_file = Listeners { file: scratch_file("").with_extension("lds.yaml"), template };
    listeners_file.push(listeners);
    let file = listeners_file.file.display();
    let (head, statics) = head.rsplit_once("static_resources:\n").unwrap();
    let text = format!(
        "{head}node: {{ id: selvage, cluster: selvage }}\n\
         dynamic_resources: {{ lds_config: {{ path_config_source: {{ path: {file} }} }} }}\n\
         static_resources:\n{statics}  clusters:\n{clusters}"
    );
    let values: Vec<_> = bridge.iter().map(|port| ("BRIDGE_PORT", port.as_str())).collect();
    let gateway = launch(builder, &text, "", &values)?;
    Ok((gateway, listeners_file))
}

impl Listeners {
    /// Writes others. Envoy takes them in a moment later, and counts it as `listener_manager.lds.version`'s change.
    pub fn push(&self, listeners: &[Listener]) {
        let module = artifact().unwrap_or_else(|problem| panic!("{problem}"));
        let mut text = String::from("resources:\n");
        for (name, port, configuration) in listeners {
            let (port, configuration) = (port.to_string(), format!("{configuration:?}"));
            let values = [
                ("NAME", *name),
                ("PORT", port.as_str()),
                ("WASM", module.to_str().unwrap()),
                ("CONFIG", configuration.as_str()),
            ];
            for line in self.template.lines() {
                text.push_str(&substituted(line, &values));
                text.push('\n');
            }
        }
        // Envoy looks at files that are moved, not at those that are written.
        let next = scratch_file(&text);
        let named = next.with_extension("yaml");
        fs::rename(next, &named).unwrap();
        fs::rename(named, &self.file).unwrap();
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}
