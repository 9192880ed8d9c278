//! Which hosts operators' requests may come to.
//!
//! Where no token is asked for, the host is what tells an operator from a page whose name was made to point at this
//! listener (DNS rebinding): to a browser such a page is of the same site, but its requests still bear its own name.

use std::net::Ipv4Addr;

use crate::config::Admin;
use crate::uri::{self, ipv6};

/// The hosts, ready to be compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Hosts {
    /// All: a token is asked for.
    #[default]
    Every,
    /// The names and addresses of the machine itself: `localhost` and all below it, `127.0.0.0/8`, `[::1]`.
    Loopback,
    /// These, in lower case, and `*.` with all that is below it.
    Listed(Box<[Box<[u8]>]>),
}

impl Hosts {
    /// As the configuration says.
    pub(crate) fn of(admin: &Admin) -> Self {
        match &admin.hosts {
            Some(listed) => Self::Listed(listed.iter().cloned().collect()),
            None if admin.open => Self::Loopback,
            None => Self::Every,
        }
    }

    /// Whether a request with this authority may be an operator's. The port does not matter.
    pub fn allow(&self, authority: &[u8]) -> bool {
        if *self == Self::Every {
            return true;
        }
        let (host, port) = uri::split_port(authority);
        if !port.unwrap_or_default().iter().all(u8::is_ascii_digit) {
            return false;
        }
        let mut host = host.to_ascii_lowercase();
        // The same name, said to be whole.
        if host.last() == Some(&b'.') {
            host.pop();
        }
        match self {
            Self::Every => true,
            Self::Loopback => is_loopback(&host),
            Self::Listed(listed) => listed.iter().any(|pattern| fits(pattern, &host)),
        }
    }
}

fn is_loopback(host: &[u8]) -> bool {
    if let Some(address) = ipv6(host) {
        return address.is_loopback() || address.to_ipv4_mapped().is_some_and(|mapped| mapped.is_loopback());
    }
    let address = std::str::from_utf8(host).ok().and_then(|text| text.parse::<Ipv4Addr>().ok());
    // RFC 6761 §6.3: all below `localhost` is the machine itself.
    host == b"localhost"
        || host.ends_with(b".localhost")
        || address.is_some_and(|address| address.is_loopback())
}

fn fits(pattern: &[u8], host: &[u8]) -> bool {
    match pattern.strip_prefix(b"*") {
        // With its dot, so that `*.example.com` does not mean `badexample.com`.
        Some(below) => host.len() > below.len() && host.ends_with(below),
        None => pattern == host || ipv6(pattern).is_some_and(|address| ipv6(host) == Some(address)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_list_and_without_a_token_only_the_machine_itself_is_meant() {
        for (authority, allowed) in [
            ("localhost", true),
            ("LocalHost:10000", true),
            ("localhost.", true),
            ("a.localhost:1", true),
            ("127.0.0.1:10000", true),
            ("127.255.3.4", true),
            ("[::1]:10000", true),
            ("[0:0::1]", true),
            ("[::ffff:127.0.0.1]", true),
            ("", false),
            ("evil.test", false),
            ("127.0.0.1.evil.test", false),
            ("localhost.evil.test", false),
            ("evillocalhost", false),
            ("localhost@evil.test", false),
            ("localhost:80@evil.test", false),
            ("localhost:80:evil.test", false),
            ("127.1", false),
            ("2130706433", false),
            ("0.0.0.0", false),
            ("[::]", false),
            ("::1", false),
            ("10.0.0.1", false),
        ] {
            assert_eq!(Hosts::Loopback.allow(authority.as_bytes()), allowed, "{authority}");
            assert!(Hosts::Every.allow(authority.as_bytes()), "{authority}");
        }
    }

    #[test]
    fn a_list_stands_in_the_place_of_the_names_of_the_machine() {
        let listed = ["admin.test", "*.ops.test", "[fd00::1]", "10.0.0.5"];
        let hosts = Hosts::Listed(listed.iter().map(|host| host.as_bytes().into()).collect());
        for (authority, allowed) in [
            ("Admin.Test:8080", true),
            ("a.ops.test", true),
            ("[FD00:0::1]:80", true),
            ("10.0.0.5:1", true),
            ("ops.test", false),
            ("badops.test", false),
            ("x.admin.test", false),
            ("localhost", false),
            ("[fd00::2]", false),
        ] {
            assert_eq!(hosts.allow(authority.as_bytes()), allowed, "{authority}");
        }
    }
}
