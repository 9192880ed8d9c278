//! What the driver asks of sessions, where there are none.

use super::Cache;
use crate::config::ConfigError;

impl Cache {
    /// Nothing is signed.
    ///
    /// # Errors
    /// None.
    pub fn read_session_secrets(
        &mut self,
        _variable: &dyn Fn(&str, &str) -> Result<String, ConfigError>,
    ) -> Result<(), ConfigError> {
        Ok(())
    }
}
