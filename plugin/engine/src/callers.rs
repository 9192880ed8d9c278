//! What tells those apart who ask: a value that each of their requests has.

use std::net::Ipv6Addr;

use crate::admission::matched;
use crate::config::By;
use crate::request::Request;
use crate::sized::write_sized;

/// What of a request's surroundings may tell clients apart. What it takes to know it is done once for a request, and not at all
/// if no limit asks.
pub struct Asking<'a> {
    /// The request.
    pub request: &'a Request<'a>,
    /// The name of its rule.
    pub rule: &'a str,
    /// The address that it came from, with a port.
    pub peer: &'a mut dyn FnMut() -> Option<Vec<u8>>,
}

/// Writes the value of a request, if it has one.
pub fn value_of(by: &By, asking: &mut Asking<'_>, address: &mut Option<Vec<u8>>, out: &mut Vec<u8>) -> bool {
    match by {
        By::Ip => {
            let peer = address.get_or_insert_with(|| (asking.peer)().unwrap_or_default());
            write_network(peer, out);
        }
        By::Header(name) | By::Session(name) => {
            for line in
                asking.request.fields.all(name).map(<[u8]>::trim_ascii).filter(|line| !line.is_empty())
            {
                if !out.is_empty() {
                    out.extend_from_slice(b", ");
                }
                out.extend_from_slice(line);
            }
        }
        By::Cookie(name) => {
            let lines = asking.request.fields.all(b"cookie");
            let pairs = lines.flat_map(|line| line.split(|byte| *byte == b';')).filter_map(|pair| {
                let mut halves = pair.splitn(2, |byte| *byte == b'=');
                (halves.next()?.trim_ascii() == &**name)
                    .then(|| halves.next().unwrap_or_default().trim_ascii())
            });
            // Each value that comes under the name, in the order in which they do: origins differ in which they take.
            for value in pairs.filter(|value| !value.is_empty()) {
                write_sized(value, out);
            }
        }
        // As rules are matched with.
        By::Host => matched(asking.request, |host, _, _| out.extend_from_slice(host)),
        By::Path => matched(asking.request, |_, path, _| out.extend_from_slice(path)),
        By::Rule => out.extend_from_slice(asking.rule.as_bytes()),
    }
    !out.is_empty()
}

/// Writes the values of a request by which it is told apart, so that no two lists of values are written alike. What is absent or
/// empty is one value: who sends none is as all others who do not.
pub fn write_values(all: &[By], asking: &mut Asking<'_>, address: &mut Option<Vec<u8>>, out: &mut Vec<u8>) {
    for by in all {
        let mut value = Vec::new();
        out.push(u8::from(value_of(by, asking, address, &mut value)));
        write_sized(&value, out);
    }
}

/// The address without its port; one of IPv6 by its first 64 bits, of which one client has them all. One of IPv4 that is written as
/// IPv6 is that of IPv4.
fn write_network(peer: &[u8], out: &mut Vec<u8>) {
    let inner = match peer.strip_prefix(b"[") {
        Some(rest) => rest.split(|byte| *byte == b']').next().unwrap_or_default(),
        // Without brackets a second colon belongs to an address of IPv6 that has no port.
        None if peer.iter().filter(|byte| **byte == b':').count() > 1 => peer,
        None => peer.split(|byte| *byte == b':').next().unwrap_or_default(),
    };
    // A zone is this machine's word for an interface.
    let inner = inner.split(|byte| *byte == b'%').next().unwrap_or_default();
    match std::str::from_utf8(inner).ok().and_then(|text| text.parse::<Ipv6Addr>().ok()) {
        Some(address) => match address.to_ipv4_mapped() {
            Some(address) => out.extend_from_slice(address.to_string().as_bytes()),
            None => out.extend_from_slice(address.octets().get(..8).unwrap_or_default()),
        },
        None => out.extend_from_slice(inner),
    }
}
