//! The engine in a browser: what the cache would do with exchanges that somebody writes or pastes.
//!
//! ```text
//! scene ─ the configuration and the steps, as JSON: all that a link holds
//! play ── the steps on one store, each explained and then done by the engine
//! ahead ─ the same request later, while the origin answers and while it fails: the time line
//! ```
//!
//! Nothing is decided here. What would become of a request is what `selvage_engine::explain` says, and what becomes of it is
//! what `selvage_engine::exchange` does; here stand only the client, the origin, and the clock. Each call begins with an empty
//! store, so that one that fails harms no other. The functions take and give JSON.

mod ahead;
mod completion;
mod host;
mod origin;
mod pasted;
mod play;
mod scene;
mod shortened;

use std::rc::Rc;

use selvage_engine::cache::{Cache, Moment};
use selvage_engine::config::{Config, ConfigError};
use selvage_engine::explain::saved::Saved;
use selvage_engine::host::NullHost;
use selvage_engine::policy::Policy;
use serde_json::{Value, json};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen::prelude::wasm_bindgen;

use scene::Scene;

/// Plays a scene: the faults of its configuration, or of each step what became of it and why.
#[cfg_attr(target_arch = "wasm32", wasm_bindgen)]
pub fn play(scene: &str) -> String {
    answer(Scene::parse(scene).map(|scene| match policy(&scene.config) {
        Ok(policy) => play::played(&scene, &policy),
        Err(faults) => json!({ "faults": faults }),
    }))
}

/// What the request of step `index` would get `seconds` later, and from now to `horizon` seconds later; 0 chooses the horizon.
#[cfg_attr(target_arch = "wasm32", wasm_bindgen)]
pub fn ahead(scene: &str, index: usize, seconds: f64, horizon: f64) -> String {
    answer(Scene::parse(scene).and_then(|scene| match policy(&scene.config) {
        Ok(policy) => ahead::ahead(&scene, index, seconds, horizon, &policy),
        Err(_) => Err("the configuration has faults".into()),
    }))
}

/// What may be written into a configuration between two texts.
#[cfg_attr(target_arch = "wasm32", wasm_bindgen)]
pub fn complete(before: &str, after: &str) -> String {
    completion::complete(before, after).to_string()
}

/// The steps in what somebody pastes: an archive of a browser's, an entry of it, what `curl -v` or `curl -i` shows, or a request.
#[cfg_attr(target_arch = "wasm32", wasm_bindgen)]
pub fn pasted(text: &str) -> String {
    let told = pasted::steps(text).map_err(|problem| problem.0);
    answer(told.map(|(steps, all)| json!({ "steps": steps, "all": all })))
}

/// A configuration without the members that say what is so anyway.
#[cfg_attr(target_arch = "wasm32", wasm_bindgen)]
pub fn shortened(config: &str) -> String {
    shortened::shortened(config).unwrap_or_else(|| config.to_owned())
}

/// Each entry of an archive explained by itself, as `selvage-explain --har --json` does: an object on each line.
#[cfg_attr(target_arch = "wasm32", wasm_bindgen)]
pub fn explain(config: &str, archive: &str) -> String {
    let policy = match policy(config) {
        Ok(policy) => policy,
        Err(faults) => return json!({ "faults": faults }).to_string(),
    };
    let entries = match Saved::of_har(archive.as_bytes()) {
        Ok(entries) => entries,
        Err(problem) => return json!({ "problem": problem.0 }).to_string(),
    };
    let explained = |saved: &Saved| {
        let mut cache = Cache::new(Rc::clone(&policy));
        let now = saved.came().unwrap_or(scene::ZERO);
        format!("{}\n", saved.explain(&mut cache, &mut Moment { now, host: &mut NullHost }).to_json())
    };
    entries.iter().map(explained).collect()
}

fn answer(told: Result<Value, String>) -> String {
    told.unwrap_or_else(|problem| json!({ "problem": problem })).to_string()
}

/// The policy of a configuration, or all its faults.
fn policy(config: &str) -> Result<Rc<Policy>, Vec<Value>> {
    let fault = |ConfigError { path, found, allowed }: &ConfigError| json!({ "path": path, "found": found, "allowed": allowed });
    let read =
        Config::parse(config.as_bytes()).map_err(|faults| faults.iter().map(fault).collect::<Vec<_>>());
    read.map(|config| Rc::new(Policy::from(config)))
}

#[cfg(test)]
mod tests;
