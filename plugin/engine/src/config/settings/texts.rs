//! The forms of texts: each with the words for what is allowed, the parser that decides it, and its pattern for the schema and
//! the page.

use crate::config::limits::{HOST_CHARS, NAME_CHARS, PATH_CHARS};
use crate::config::names;
use crate::config::reference::Pattern;
use crate::config::{By, FieldName, QueryName};
use crate::members::Show;
use crate::url;

/// A form of texts. Its parts stand in the type, so that the pattern is not in the module that Envoy loads.
pub(crate) trait TextForm {
    /// What a text becomes.
    type Value: Show;
    /// The words for what is allowed.
    const ALLOWED: &'static str;
    /// For the schema and the page.
    const PATTERN: Pattern;

    /// `None` for what is not allowed.
    fn parse(text: &str) -> Option<Self::Value>;
}

/// `Form: what a text becomes, words, parser, regular expression, most characters, name on the page;`
macro_rules! forms {
    ($($form:ident: $value:ty, $allowed:expr, $parse:expr, $expression:expr, $chars:expr, $words:literal;)*) => { $(
        pub(crate) struct $form;

        impl TextForm for $form {
            type Value = $value;
            const ALLOWED: &'static str = $allowed;
            const PATTERN: Pattern = Pattern { expression: $expression, chars: $chars, words: $words };

            fn parse(text: &str) -> Option<$value> {
                $parse(text)
            }
        }
    )* };
}

forms! {
    CacheName: Box<str>, names::CACHE_NAME, names::cache_name, "^[ -~]+$", NAME_CHARS, "text";
    RuleName: Box<str>, names::RULE_NAME, names::rule_name, PLAIN, NAME_CHARS, "name";
    PoolName: Box<str>, names::NAMESPACE, names::namespace, PLAIN, NAME_CHARS, "name";
    LimitName: Box<str>, names::NAMESPACE, names::namespace, PLAIN, NAME_CHARS, "name";
    Caller: By, names::BY, names::by,
        "^(ip|host|path|rule|(header|cookie|session):[!#$%&'*+.^_`|~0-9A-Za-z-]+)$", NAME_CHARS + 8, "values";
    Namespace: Box<str>, names::NAMESPACE, names::namespace, PLAIN, NAME_CHARS, "name";
    ModelName: Box<str>, names::CLUSTER, names::visible, "^[!-~]+$", NAME_CHARS, "name";
    Cluster: Box<str>, names::CLUSTER, names::visible, "^[!-~]+$", NAME_CHARS, "name";
    Variable: Box<str>, names::VARIABLE, names::variable, "^[A-Za-z_][A-Za-z0-9_]*$", NAME_CHARS, "name";
    Field: FieldName, names::FIELD, names::field, TOKEN, NAME_CHARS, "field names";
    Targeted: FieldName, names::TARGETED, names::targeted, TOKEN, NAME_CHARS, "field names";
    Member: Box<str>, names::MEMBER, names::member, "^[ -~]+$", NAME_CHARS, "member names";
    Cookie: Box<[u8]>, names::COOKIE, names::cookie, TOKEN, NAME_CHARS, "cookie names";
    Method: Box<[u8]>, names::METHOD, names::method, METHOD, NAME_CHARS, "methods";
    BodyMethod: Box<[u8]>, names::BODY_METHOD, names::body_method, METHOD, NAME_CHARS, "methods";
    Host: Box<[u8]>, names::HOST, names::host,
        r"^(\*|(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*|\[[0-9A-Fa-f:.]+\])$", HOST_CHARS, "hosts";
    AdminHost: Box<[u8]>, names::ADMIN_HOST, names::admin_host,
        r"^((\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*|\[[0-9A-Fa-f:.]+\])$", HOST_CHARS, "hosts";
    Path: Box<[u8]>, names::PATH, names::path, r##"^[/*][!"$->@-~]*$"##, PATH_CHARS, "paths";
    Target: Box<[u8]>, names::TARGET, names::target, r##"^/[!"$-~]*$"##, PATH_CHARS, "path";
    Parameter: QueryName, names::QUERY_NAME, names::query_name,
        r##"^[!"$%'-)+-<>-~]*\*?$"##, NAME_CHARS, "parameter names";
    MediaType: Box<[u8]>, names::MEDIA_TYPE, names::media_type,
        r"^([!#$%&'+.^_`|~0-9A-Za-z-]+/(\*|[!#$%&'+.^_`|~0-9A-Za-z-]+)|\+[!#$%&'+.^_`|~0-9A-Za-z-]+)$",
        NAME_CHARS, "media types";
    Url: url::Url, names::URL, names::url, "^[Hh][Tt][Tt][Pp][Ss]?://[!-~]+$", PATH_CHARS, "URLs";
}

/// A name that stands in keys or metrics.
const PLAIN: &str = "^[A-Za-z0-9._-]+$";
/// A token of RFC 9110 §5.6.2.
const TOKEN: &str = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$";
/// A token without lower-case letters.
const METHOD: &str = "^[!#$%&'*+.^_`|~0-9A-Z-]+$";

impl Show for Box<[u8]> {
    fn show(&self) -> serde_json::Value {
        String::from_utf8_lossy(self).into()
    }
}

impl Show for url::Url {
    /// Without what stands before an `@`, which could be a password.
    fn show(&self) -> serde_json::Value {
        let authority = self.authority.rsplit(|byte| *byte == b'@').next().unwrap_or_default();
        String::from_utf8_lossy(&[self.scheme.as_bytes(), b"://", authority, &self.target].concat()).into()
    }
}

impl Show for QueryName {
    fn show(&self) -> serde_json::Value {
        match self {
            Self::Exact(name) => name.show(),
            Self::Prefix(name) => String::from_utf8_lossy(&[name, &b"*"[..]].concat()).into(),
        }
    }
}
