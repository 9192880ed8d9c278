//! What tells requests apart: a value that each has.

use crate::config::FieldName;
use crate::members::Show;

/// What tells requests apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// The address that the request came from.
    Ip,
    /// The value of a field.
    Header(FieldName),
    /// The value of a cookie.
    Cookie(Box<[u8]>),
    /// The host.
    Host,
    /// The path, without query.
    Path,
    /// The rule.
    Rule,
}

impl Show for By {
    fn show(&self) -> serde_json::Value {
        match self {
            Self::Ip => "ip".into(),
            Self::Header(name) => format!("header:{}", String::from_utf8_lossy(name)).into(),
            Self::Cookie(name) => format!("cookie:{}", String::from_utf8_lossy(name)).into(),
            Self::Host => "host".into(),
            Self::Path => "path".into(),
            Self::Rule => "rule".into(),
        }
    }
}
