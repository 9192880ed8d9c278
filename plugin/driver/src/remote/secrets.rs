//! What the configuration names and must not hold: credentials and secrets of the environment.

use selvage_engine::config::ConfigError;
use selvage_engine::policy;
use selvage_engine::remote::dialect::Dialect;
use selvage_engine::remote::seal::Seal;

use crate::environment::{refused, variable};

/// The dialect with the credentials that the configuration names.
pub(super) fn dialect(settings: &policy::Remote) -> Result<Dialect, ConfigError> {
    let member = "remote.credentials_env";
    let Some(name) = &settings.credentials_env else {
        return Dialect::new(settings.dialect, None).map_err(|allowed| refused(member, "nothing", allowed));
    };
    let found = format!("{name:?}, whose value cannot be sent");
    Dialect::new(settings.dialect, Some(variable(member, name)?))
        .map_err(|allowed| refused(member, &found, allowed))
}

/// What signs what is written, if the configuration names a secret.
///
/// # Errors
/// It is not there, or is none. The error does not have it.
pub fn seal(settings: &policy::Remote) -> Result<Option<Seal>, ConfigError> {
    let member = "remote.secret_env";
    let Some(name) = &settings.secret_env else { return Ok(None) };
    let allowed = "a secret of 16 to 1024 bytes, or two with a comma or white space between them";
    let refused = |why: &str| refused(member, &format!("{name:?}, whose value is {why}"), allowed);
    Seal::new(&variable(member, name)?).map(Some).map_err(refused)
}
