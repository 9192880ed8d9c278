//! A configuration as one would have written it, of one in which everything is filled in.

use selvage_engine::config::{Admin, Config};
use selvage_engine::policy::Policy;
use selvage_engine::policy::effective::effective;
use serde_json::{Map, Value};

/// The same configuration in fewer words; `None` if it cannot be had.
pub fn shortened(config: &str) -> Option<String> {
    let config = Config::parse(config.as_bytes()).ok()?;
    // Rules are shown to operators only.
    let admin = Admin { open: config.admin.token_env.is_none(), ..config.admin.clone() };
    let mut whole = effective(&Policy::from(Config { admin, ..config.clone() }));
    if let Some(open) = whole.pointer_mut("/admin/open") {
        *open = config.admin.open.into();
    }
    let usual = effective(&Policy::default());
    // A rule inherits what the defaults say, so it is held against those.
    let inherited = whole.get("defaults").cloned().unwrap_or_default();
    for rule in whole.get_mut("rules").and_then(Value::as_array_mut).into_iter().flatten() {
        leave_out(rule, &inherited);
    }
    leave_out(&mut whole, &usual);
    let short = format!("{whole:#}");
    // What cannot be said by leaving out is said in full.
    (Config::parse(short.as_bytes()).ok()? == config).then_some(short)
}

/// Takes out of an object what another has too.
fn leave_out(of: &mut Value, usual: &Value) {
    let (Value::Object(members), Value::Object(usual)) = (of, usual) else { return };
    let names: Vec<String> = members.keys().cloned().collect();
    for name in names {
        let (Some(member), Some(known)) = (members.get_mut(&name), usual.get(&name)) else { continue };
        if member == known {
            members.remove(&name);
            continue;
        }
        leave_out(member, known);
        if *member == Value::Object(Map::new()) {
            members.remove(&name);
        }
    }
}
