//! The texts of a configuration that must have a form: names, hosts, paths, methods.
//!
//! Each kind is a pair: the words for what is allowed, and the parser that decides it.

use super::limits::{HOST_CHARS, NAME_CHARS, PATH_CHARS};
use super::{By, DEFAULT_RULE, FieldName, QueryName};
use crate::uri::ipv6;
use crate::url::Url;

pub(super) const CACHE_NAME: &str = "1 to 128 printable ASCII characters";

/// The cache's identifier in `Cache-Status`: what a structured-field string can hold (RFC 9651 §3.3.3).
pub(super) fn cache_name(text: &str) -> Option<Box<str>> {
    (bounded(text, NAME_CHARS) && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))).then(|| text.into())
}

pub(super) const RULE_NAME: &str =
    r#"a name of 1 to 128 letters, digits, "-", "_" and ".", other than "default""#;

/// The name of a rule. Metric names are made of it, hence few characters.
pub(super) fn rule_name(text: &str) -> Option<Box<str>> {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    (bounded(text, NAME_CHARS) && plain && text != DEFAULT_RULE).then(|| text.into())
}

pub(super) const NAMESPACE: &str = r#"a name of 1 to 128 letters, digits, "-", "_" and "."#;

/// A namespace of keys.
pub(super) fn namespace(text: &str) -> Option<Box<str>> {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    (bounded(text, NAME_CHARS) && plain).then(|| text.into())
}

pub(super) const BY: &str = r#""ip", "host", "path", "rule", "header:NAME" with a request field, "session:NAME" with one that a session gives, or "cookie:NAME""#;

/// What tells requests apart.
pub(super) fn by(text: &str) -> Option<By> {
    match text {
        "ip" => Some(By::Ip),
        "host" => Some(By::Host),
        "path" => Some(By::Path),
        "rule" => Some(By::Rule),
        _ => match text.split_once(':')? {
            ("header", name) => field(name).map(By::Header),
            ("cookie", name) => cookie(name).map(By::Cookie),
            ("session", name) => field(name).map(By::Session),
            _ => None,
        },
    }
}

pub(super) const CLUSTER: &str = "1 to 128 visible ASCII characters";

/// The name of a cluster, an authority, or a token: something without white space.
pub(super) fn visible(text: &str) -> Option<Box<str>> {
    (bounded(text, NAME_CHARS) && text.bytes().all(|byte| matches!(byte, b'!'..=b'~'))).then(|| text.into())
}

pub(super) const VARIABLE: &str =
    r#"the name of an environment variable, 1 to 128 letters, digits and "_", no digit first"#;

/// The name of an environment variable (POSIX XBD §8.1).
pub(super) fn variable(text: &str) -> Option<Box<str>> {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let begins = !text.starts_with(|first: char| first.is_ascii_digit());
    (bounded(text, NAME_CHARS) && plain && begins).then(|| text.into())
}

pub(super) const FIELD: &str = "a request field name such as \"accept-language\", not \"host\", \"*\", a pseudo-header or a hop-by-hop field";

/// A field name that may take part in a key or in `Vary`. Hop-by-hop fields (RFC 9110 §7.6.1) do not reach the
/// origin, and the host is in every key.
pub(super) fn field(text: &str) -> Option<FieldName> {
    let lower = text.to_ascii_lowercase();
    let usable = bounded(text, NAME_CHARS) && is_token(text) && text != "*";
    (usable && !UNUSABLE_FIELDS.contains(&lower.as_str())).then(|| lower.into_bytes().into())
}

pub(super) const TARGETED: &str =
    r#"a targeted field name such as "cdn-cache-control", not "cache-control" itself"#;

/// The name of a targeted cache-control field (RFC 9213 §2).
pub(super) fn targeted(text: &str) -> Option<FieldName> {
    field(text).filter(|name| **name != *b"cache-control")
}

pub(super) const MEMBER: &str = "the name of a member, 1 to 128 printable ASCII characters";

/// The name of a member of a JSON body.
pub(super) fn member(text: &str) -> Option<Box<str>> {
    (bounded(text, NAME_CHARS) && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))).then(|| text.into())
}

pub(super) const COOKIE: &str = "a cookie name of 1 to 128 token characters (RFC 6265 §4.1.1)";

pub(super) fn cookie(text: &str) -> Option<Box<[u8]>> {
    (bounded(text, NAME_CHARS) && is_token(text)).then(|| text.as_bytes().into())
}

pub(super) const METHOD: &str = r#"a method in upper case such as "GET""#;

/// A method. Methods are case-sensitive (RFC 9110 §9.1), and a lower-case one would silently match nothing.
pub(super) fn method(text: &str) -> Option<Box<[u8]>> {
    let upper = !text.bytes().any(|byte| byte.is_ascii_lowercase());
    (bounded(text, NAME_CHARS) && is_token(text) && upper).then(|| text.as_bytes().into())
}

pub(super) const BODY_METHOD: &str = r#"a method with a body such as "POST" or "QUERY""#;

/// A method whose body may be in the key. A body on `GET` or `HEAD` has no meaning (RFC 9110 §9.3.1).
pub(super) fn body_method(text: &str) -> Option<Box<[u8]>> {
    method(text).filter(|name| !matches!(&**name, b"GET" | b"HEAD"))
}

pub(super) const HOST: &str = r#"a host without port such as "example.com", or "*.example.com" for all below it, or "*" for every host"#;

/// A host pattern in lower case.
pub(super) fn host(text: &str) -> Option<Box<[u8]>> {
    let lower = text.to_ascii_lowercase();
    let name = lower.strip_prefix("*.").unwrap_or(&lower);
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let fits = match address {
        Some(address) => {
            name.len() == lower.len()
                && address.bytes().all(|byte| byte.is_ascii_hexdigit() || b":.".contains(&byte))
                && !address.is_empty()
        }
        None => name.split('.').all(|label| {
            let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
            !label.is_empty() && plain
        }),
    };
    (lower == "*" || fits && bounded(&lower, HOST_CHARS)).then(|| lower.into_bytes().into())
}

pub(super) const ADMIN_HOST: &str = r#"a host without port such as "admin.example.com", "10.0.0.5" or "[fd00::1]", or "*.example.com" for all below it"#;

/// A host of operators in lower case: not all at once, for where no token is asked for the host is what keeps pages out.
pub(super) fn admin_host(text: &str) -> Option<Box<[u8]>> {
    let is_address = |host: &[u8]| !host.starts_with(b"[") || ipv6(host).is_some();
    host(text).filter(|host| **host != *b"*" && is_address(host))
}

pub(super) const PATH: &str =
    r#"a path without query such as "/exact" or "/api/*", where "*" stands for any run of characters"#;

/// A path pattern. A `?`, `#`, space or non-ASCII character is never in the path that patterns are matched with, so
/// such a pattern would silently match nothing.
pub(super) fn path(text: &str) -> Option<Box<[u8]>> {
    let begins = text.starts_with('/') || text.starts_with('*');
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte));
    (bounded(text, PATH_CHARS) && begins && plain).then(|| text.as_bytes().into())
}

pub(super) const TARGET: &str = r#"a path that begins with "/", with its query if it has one"#;

/// The target of a request of our own.
pub(super) fn target(text: &str) -> Option<Box<[u8]>> {
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    (bounded(text, PATH_CHARS) && text.starts_with('/') && plain).then(|| text.as_bytes().into())
}

pub(super) const QUERY_NAME: &str =
    r#"a parameter name as it stands in the URL, such as "id", or its beginning and "*", such as "utm_*""#;

/// The name of a query parameter or its beginning, as requests spell it: nothing is decoded.
pub(super) fn query_name(text: &str) -> Option<QueryName> {
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"&=#".contains(&byte));
    let (name, prefix) = text.strip_suffix('*').map_or((text, false), |name| (name, true));
    let usable = bounded(text, NAME_CHARS) && plain && !name.contains('*');
    usable.then(|| match prefix {
        true => QueryName::Prefix(name.as_bytes().into()),
        false => QueryName::Exact(name.as_bytes().into()),
    })
}

pub(super) const MEDIA_TYPE: &str =
    r#"a media type without parameters such as "application/json", "text/*", or a suffix such as "+json""#;

/// A media type, all subtypes of a type, or a structured suffix, in lower case.
pub(super) fn media_type(text: &str) -> Option<Box<[u8]>> {
    let lower = text.to_ascii_lowercase();
    let named = |part: &str| is_token(part) && !part.is_empty() && !part.contains('*');
    let fits = match lower.split_once('/') {
        Some((kind, sub)) => named(kind) && (sub == "*" || named(sub)),
        None => lower.strip_prefix('+').is_some_and(named),
    };
    (bounded(text, NAME_CHARS) && fits).then(|| lower.into_bytes().into())
}

pub(super) const URL: &str =
    r#"a URL such as "https://example.com/a?b", at most 1024 visible ASCII characters, with http or https"#;

/// A URL that a client could ask for.
pub(super) fn url(text: &str) -> Option<Url> {
    Url::parse(text.as_bytes()).filter(|_| bounded(text, PATH_CHARS))
}

/// A token of RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn bounded(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len())
}

const UNUSABLE_FIELDS: [&str; 10] = [
    "connection",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_names_are_lowered_and_never_hop_by_hop_or_pseudo() {
        assert_eq!(field("Accept-Language").as_deref(), Some(&b"accept-language"[..]));
        for bad in ["", ":path", "Connection", "TE", "host", "*", "a b", "é", "a:b", &"x".repeat(129)] {
            assert_eq!(field(bad), None, "{bad}");
        }
        assert_eq!(targeted("Cache-Control"), None);
    }

    #[test]
    fn hosts_are_names_addresses_or_all_below_a_name() {
        for good in ["example.com", "*.example.com", "*", "localhost", "127.0.0.1", "[::1]", "a_b.test"] {
            assert!(host(good).is_some(), "{good}");
        }
        assert_eq!(host("EXAMPLE.com").as_deref(), Some(&b"example.com"[..]));
        for bad in
            ["", "example.com:80", "*example.com", "a.*.com", "http://a", "a..b", ".a", "é.com", "*.[::1]"]
        {
            assert_eq!(host(bad), None, "{bad}");
        }
    }

    #[test]
    fn paths_begin_with_a_slash_or_a_star_and_have_no_query() {
        for good in ["/", "/api/*", "*.css", "*", "/a%2Fb", "/a*b*c"] {
            assert!(path(good).is_some(), "{good}");
        }
        for bad in ["", "api", "/a?b", "/a#b", "/a b", "/é", "/\n"] {
            assert_eq!(path(bad), None, "{bad}");
        }
    }

    #[test]
    fn methods_are_upper_case_tokens() {
        assert!(method("M-SEARCH").is_some());
        for bad in ["", "get", "GET ", "Get"] {
            assert_eq!(method(bad), None, "{bad}");
        }
        assert_eq!(body_method("HEAD"), None);
    }

    #[test]
    fn rule_names_are_plain_and_not_the_default_rules() {
        assert!(rule_name("static-v1.2_a").is_some());
        for bad in ["", "default", "a b", "a/b", "é"] {
            assert_eq!(rule_name(bad), None, "{bad}");
        }
    }

    #[test]
    fn media_types_are_whole_or_all_of_a_type_or_a_suffix() {
        for good in ["text/html", "TEXT/*", "+json", "application/vnd.api+json"] {
            assert!(media_type(good).is_some(), "{good}");
        }
        for bad in ["", "text", "*/*", "text/", "/html", "text/html; charset=utf-8", "+", "a/b/c", "te*/x"] {
            assert_eq!(media_type(bad), None, "{bad}");
        }
    }

    #[test]
    fn variables_have_the_names_that_a_shell_takes() {
        assert!(variable("_REDIS_TOKEN2").is_some());
        for bad in ["", "2A", "A-B", "A=B", "A B", "\u{c4}"] {
            assert_eq!(variable(bad), None, "{bad}");
        }
    }

    #[test]
    fn parameter_names_have_their_star_at_the_end() {
        assert_eq!(query_name("utm_*"), Some(QueryName::Prefix(b"utm_"[..].into())));
        assert_eq!(query_name("id"), Some(QueryName::Exact(b"id"[..].into())));
        for bad in ["", "a*b", "**", "a=b", "a&b", "a b", "é"] {
            assert_eq!(query_name(bad), None, "{bad}");
        }
    }
}
