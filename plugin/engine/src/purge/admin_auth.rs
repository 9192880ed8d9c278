//! Who is an operator: whoever has the token, or everybody where only operators come.

use crate::fields::Fields;
use crate::request::Request;

/// The door to the operators' paths. Not `Debug`: it holds a token.
#[derive(Clone, Default)]
pub enum AdminAuth {
    /// There is none: what operators would send is passed to the origin like any other request.
    #[default]
    Absent,
    /// Only operators reach this listener.
    Open,
    /// Whoever has the token may.
    Token {
        /// What the log calls it: the variable that holds it.
        name: Box<str>,
        /// The token.
        token: Box<[u8]>,
    },
}

/// What the gate says about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Granted,
    /// It shows no token: 401 (RFC 9110 §15.5.2).
    Unauthorized,
    /// It shows another one: 403.
    Forbidden,
}

impl AdminAuth {
    /// Whether there is a door at all.
    pub const fn is_there(&self) -> bool {
        !matches!(self, Self::Absent)
    }

    /// Judges the credentials of a request: `Authorization: Bearer` (RFC 6750 §2.1).
    pub fn admit(&self, request: Fields<'_>) -> Admission {
        let token = match self {
            Self::Absent => return Admission::Forbidden,
            Self::Open => return Admission::Granted,
            Self::Token { token, .. } => token,
        };
        let mut lines = request.all(b"authorization");
        let (Some(line), None) = (lines.next(), lines.next()) else { return Admission::Unauthorized };
        let Some((scheme, shown)) = line.split_at_checked(7) else { return Admission::Unauthorized };
        if !scheme.eq_ignore_ascii_case(b"bearer ") {
            return Admission::Unauthorized;
        }
        if same(shown.trim_ascii(), token) { Admission::Granted } else { Admission::Forbidden }
    }

    /// Whether a browser might come through it on behalf of another site: it shows no token, but reaches what its user does.
    pub fn lets_sites_in(&self, request: &Request<'_>) -> bool {
        matches!(self, Self::Open) && is_of_another_site(request)
    }

    /// Whether this is the token; where only operators come, everything is.
    pub fn is_token(&self, shown: &[u8]) -> bool {
        match self {
            Self::Absent => false,
            Self::Open => true,
            Self::Token { token, .. } => same(shown.trim_ascii(), token),
        }
    }

    /// What the log calls the credentials.
    pub fn credentials(&self) -> Option<&str> {
        match self {
            Self::Token { name, .. } => Some(name),
            Self::Absent | Self::Open => None,
        }
    }
}

/// Whether a browser says that a page of another site sends this (Fetch Metadata; RFC 6454 §7). What says nothing is no
/// browser, or one that is sent there by its user.
fn is_of_another_site(request: &Request<'_>) -> bool {
    let fields = request.fields;
    let own = |site: &[u8]| matches!(site, b"same-origin" | b"none");
    let here = without_port(request.scheme, request.authority);
    let is_here = |origin: &[u8]| {
        let split =
            origin.windows(3).position(|bytes| bytes == b"://").and_then(|at| origin.split_at_checked(at));
        split.is_some_and(|(scheme, rest)| {
            let authority = rest.get(3..).unwrap_or_default();
            !authority.is_empty() && without_port(scheme, authority).eq_ignore_ascii_case(here)
        })
    };
    !fields.all(b"sec-fetch-site").all(|site| own(site.trim_ascii()))
        || !fields.all(b"origin").all(|origin| is_here(origin.trim_ascii()))
}

/// An authority without the port that its scheme has anyway.
fn without_port<'a>(scheme: &[u8], authority: &'a [u8]) -> &'a [u8] {
    let port: &[u8] = if scheme.eq_ignore_ascii_case(b"https") { b":443" } else { b":80" };
    authority.strip_suffix(port).unwrap_or(authority)
}

/// Compares in a time that depends on what is shown alone, so that nobody finds a token byte by byte.
fn same(shown: &[u8], token: &[u8]) -> bool {
    let mut different = u8::from(shown.len() != token.len()) | u8::from(token.is_empty());
    let mut wanted = token.iter().cycle();
    for byte in shown {
        different |= byte ^ wanted.next().copied().unwrap_or_default();
    }
    std::hint::black_box(different) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::FieldBlock;

    #[test]
    fn only_the_whole_token_opens_the_gate() {
        let gate = AdminAuth::Token { name: "T".into(), token: (*b"secret").into() };
        for (line, admission) in [
            (Some("Bearer secret"), Admission::Granted),
            (Some("bearer secret"), Admission::Granted),
            (Some("Bearer secre"), Admission::Forbidden),
            (Some("Bearer secretsecret"), Admission::Forbidden),
            (Some("Bearer Secret"), Admission::Forbidden),
            (Some("Bearer "), Admission::Forbidden),
            (Some("Basic secret"), Admission::Unauthorized),
            (Some("Bearer"), Admission::Unauthorized),
            (None, Admission::Unauthorized),
        ] {
            let fields: FieldBlock =
                line.iter().map(|line| (&b"authorization"[..], line.as_bytes())).collect();
            assert_eq!(gate.admit(fields.fields()), admission, "{line:?}");
            assert_eq!(AdminAuth::Open.admit(fields.fields()), Admission::Granted);
            assert_eq!(AdminAuth::Absent.admit(fields.fields()), Admission::Forbidden);
        }
        let empty = AdminAuth::Token { name: "T".into(), token: Box::default() };
        let fields: FieldBlock = [(&b"authorization"[..], &b"Bearer "[..])].into_iter().collect();
        assert_eq!(empty.admit(fields.fields()), Admission::Forbidden);
    }

    #[test]
    fn pages_of_other_sites_do_not_come_in_where_no_token_is_asked_for() {
        let gate = AdminAuth::Token { name: "T".into(), token: (*b"secret").into() };
        for (site, origin, refused) in [
            (None, None, false),
            (Some("none"), None, false),
            (Some("same-origin"), Some("http://cache.test:8080"), false),
            (None, Some("HTTP://Cache.Test:8080"), false),
            (Some("same-site"), None, true),
            (Some("cross-site"), Some("http://cache.test:8080"), true),
            (None, Some("http://evil.example"), true),
            (None, Some("http://cache.test"), true),
            (None, Some("http://cache.test:8080.evil.example"), true),
            (None, Some("null"), true),
            (None, Some(""), true),
            (None, Some("http://"), true),
        ] {
            let site = site.map(|site| (&b"sec-fetch-site"[..], site.as_bytes()));
            let origin = origin.map(|origin| (&b"origin"[..], origin.as_bytes()));
            let mut block: FieldBlock =
                [(&b":scheme"[..], &b"http"[..]), (b":authority", b"cache.test:8080")].into_iter().collect();
            site.into_iter().chain(origin).for_each(|(name, value)| block.push(name, value));
            let request = Request::read(block.fields(), false);
            assert_eq!(AdminAuth::Open.lets_sites_in(&request), refused, "{site:?} {origin:?}");
            assert!(!gate.lets_sites_in(&request), "a page has no token");
        }
        for (scheme, authority, origin) in [
            ("https", "cache.test", "https://cache.test:443"),
            ("https", "cache.test:443", "https://cache.test"),
            ("http", "cache.test", "http://cache.test:80"),
        ] {
            let block: FieldBlock = [(":scheme", scheme), (":authority", authority), ("origin", origin)]
                .iter()
                .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
                .collect();
            assert!(!AdminAuth::Open.lets_sites_in(&Request::read(block.fields(), false)), "{origin}");
        }
    }
}
