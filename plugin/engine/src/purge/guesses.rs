//! Slows those who guess the operators' token, and keeps their tries from filling the log.
//!
//! Each worker counts by itself, by the address that Envoy gives for the client. After [`TRIES`] wrong tokens within
//! [`WINDOW`] nothing from that address is let in until the window is over, not even the right token: otherwise guessing
//! would go on, and the answer would tell which guess was right. Refusals of that kind do not lengthen it.

use std::time::Duration;

use crate::lines::Lines;
use crate::time::Timestamp;

/// Wrong tokens that an address may show in a window.
pub const TRIES: u32 = 10;
/// How long they are remembered, from the first on.
pub const WINDOW: Duration = Duration::from_secs(60);
/// Most addresses that are remembered.
pub const ADDRESSES: usize = 256;

/// Who has been wrong.
#[derive(Debug, Default)]
pub struct Guesses {
    places: Vec<Place>,
    refusals: Lines,
}

#[derive(Debug)]
struct Place {
    from: Box<[u8]>,
    tries: u32,
    until: Timestamp,
}

impl Guesses {
    /// How long this client is kept out.
    pub fn kept_out(&self, peer: &[u8], now: Timestamp) -> Option<Duration> {
        let from = whose(peer);
        let place = self.places.iter().find(|place| *place.from == *from)?;
        (place.tries >= TRIES && place.until > now).then(|| place.until.since(now))
    }

    /// This client has shown a wrong token. Whether it is kept out from now on.
    pub fn note(&mut self, peer: &[u8], now: Timestamp) -> bool {
        let from = whose(peer);
        let at = self.places.iter().position(|place| *place.from == *from);
        let fresh = Place { from, tries: 0, until: now.plus(WINDOW) };
        let at = at.or_else(|| (self.places.len() >= ADDRESSES).then(|| self.least(now)).flatten());
        let place = match at.and_then(|at| self.places.get_mut(at)) {
            Some(place) if place.from == fresh.from && place.until > now => place,
            Some(place) => {
                *place = fresh;
                place
            }
            None => self.places.push_mut(fresh),
        };
        place.tries = place.tries.saturating_add(1);
        place.tries == TRIES
    }

    /// Whose place is taken when there is none: one that is over, else the one with the fewest tries.
    fn least(&self, now: Timestamp) -> Option<usize> {
        let order = |place: &Place| (place.until > now, place.tries, place.until);
        (0..self.places.len()).min_by_key(|at| self.places.get(*at).map(order))
    }

    /// Whether a refusal is to be written down, and how many were not since the last.
    pub fn line(&mut self, now: Timestamp) -> Option<u64> {
        self.refusals.line(now)
    }
}

/// Whom an address stands for: it without the port, and of IPv6 the network, of which everybody has 2^64 addresses.
fn whose(peer: &[u8]) -> Box<[u8]> {
    let (host, _) = crate::uri::split_port(peer);
    match crate::uri::ipv6(host) {
        Some(address) if address.to_ipv4_mapped().is_none() => {
            address.octets().first_chunk::<8>().map_or_else(Box::default, |network| (*network).into())
        }
        _ => host.get(..host.len().min(LONGEST_ADDRESS)).unwrap_or_default().into(),
    }
}

/// Of an address, in bytes; that of a pipe is a path.
const LONGEST_ADDRESS: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    #[test]
    fn an_address_is_kept_out_until_its_window_is_over_whatever_its_port() {
        let mut guesses = Guesses::default();
        for n in 1..TRIES {
            assert!(!guesses.note(format!("192.0.2.1:{n}").as_bytes(), at(5)));
        }
        assert_eq!(guesses.kept_out(b"192.0.2.1:9", at(5)), None);
        assert!(guesses.note(b"192.0.2.1:1", at(15)));
        assert_eq!(guesses.kept_out(b"192.0.2.1:77", at(15)), Some(Duration::from_secs(50)));
        assert_eq!(guesses.kept_out(b"192.0.2.2:77", at(15)), None);
        assert_eq!(guesses.kept_out(b"192.0.2.1:77", at(65)), None);
        assert!(!guesses.note(b"192.0.2.1:1", at(65)), "a new window");
    }

    #[test]
    fn addresses_of_a_network_count_together_and_the_table_is_bounded() {
        let mut guesses = Guesses::default();
        for n in 0..TRIES {
            guesses.note(format!("[2001:db8::{n:x}]:1").as_bytes(), at(0));
        }
        assert!(guesses.kept_out(b"[2001:db8::ffff:1]:2", at(1)).is_some());
        assert!(guesses.kept_out(b"[2001:db8:0:1::1]:2", at(1)).is_none());
        for n in 0..10_000_u32 {
            guesses.note(format!("10.0.{}.{}:1", n >> 8, n & 255).as_bytes(), at(2));
        }
        assert_eq!(guesses.places.len(), ADDRESSES);
        assert!(guesses.kept_out(b"[2001:db8::1]:2", at(3)).is_some(), "who has tried most stays known");
    }

    #[test]
    fn there_is_a_line_now_and_then() {
        let mut guesses = Guesses::default();
        let lines: Vec<_> = [0, 1, 9, 10, 30].map(|second| guesses.line(at(100 + second))).into();
        assert_eq!(lines, [Some(0), None, None, Some(2), Some(0)]);
    }
}
