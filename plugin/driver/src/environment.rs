//! The environment of the VM, which holds what must not stand in a configuration.

use selvage_engine::config::ConfigError;

/// The value of the variable that a member of the configuration names.
///
/// # Errors
/// It is not there, or is empty.
pub fn variable(member: &str, name: &str) -> Result<String, ConfigError> {
    // What comes from a file often ends with a line break.
    let value = std::env::var(name).ok().map(|value| value.trim().to_owned());
    value.filter(|value| !value.is_empty()).ok_or_else(|| {
        let found = format!("{name:?}, which is empty or not in the environment of the VM");
        refused(member, &found, "a variable that vm_config.environment_variables gives to the VM")
    })
}

/// A member is refused. Nothing that a variable holds may be in `found`.
pub fn refused(member: &str, found: &str, allowed: &str) -> ConfigError {
    ConfigError { path: member.into(), found: found.into(), allowed: allowed.into() }
}
