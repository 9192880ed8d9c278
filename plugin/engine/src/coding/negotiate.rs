//! Chooses between gzip and identity for a client: `Accept-Encoding`, RFC 9110 §12.5.3.

use crate::fields::Fields;
use crate::vary::weight_of;

/// How much a client wants the two codings that we have, in thousandths: 0 is not acceptable, 1000 is `q=1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acceptable {
    /// The weight of `gzip`, also called `x-gzip`. 0 for a client that does not ask for it.
    pub gzip: u16,
    /// The weight of no coding at all. The least one, 1, for a client that does not speak of it.
    pub identity: u16,
}

impl Acceptable {
    /// Reads all lines of `Accept-Encoding`.
    ///
    /// Without the field anything is acceptable by the RFC; a coding that was not asked for is not sent
    /// nevertheless. A member that is malformed is ignored; of several members about the same coding the
    /// first stands.
    pub fn parse(request: Fields<'_>) -> Self {
        let (mut gzip, mut identity, mut any) = (None, None, None);
        for (coding, weight) in request.members(b"accept-encoding").filter_map(member) {
            let slot = match coding {
                b"*" => &mut any,
                _ if is(coding, b"gzip") || is(coding, b"x-gzip") => &mut gzip,
                _ if is(coding, b"identity") => &mut identity,
                _ => continue,
            };
            slot.get_or_insert(weight);
        }
        Self { gzip: gzip.or(any).unwrap_or(0), identity: identity.or(any).unwrap_or(LEAST) }
    }

    /// What to send. Gzip if it is acceptable and wanted no less than identity.
    ///
    /// Identity also if neither is acceptable: the RFC allows that, and an answer serves the client better
    /// than a 415.
    pub fn choose(self) -> Choice {
        if self.gzip > 0 && self.gzip >= self.identity { Choice::Gzip } else { Choice::Identity }
    }
}

/// The coding in which a response is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The stored bytes, with `Content-Encoding: gzip`.
    Gzip,
    /// The content itself.
    Identity,
}

/// A member's coding and its weight; `None` if the weight is malformed.
fn member(member: &[u8]) -> Option<(&[u8], u16)> {
    let Some(at) = member.iter().position(|byte| *byte == b';') else { return Some((member, 1000)) };
    let (coding, parameter) = member.split_at_checked(at)?;
    Some((coding.trim_ascii(), weight_of(parameter.get(1..)?.trim_ascii())?))
}

fn is(coding: &[u8], name: &[u8]) -> bool {
    coding.eq_ignore_ascii_case(name)
}

/// Less than any other acceptable weight: of two acceptable codings the one asked for is sent.
const LEAST: u16 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::FieldBlock;

    fn parsed(lines: &[&str]) -> Acceptable {
        let block: FieldBlock = lines.iter().map(|line| (&b"accept-encoding"[..], line.as_bytes())).collect();
        Acceptable::parse(block.fields())
    }

    #[test]
    fn weights_are_read_from_all_lines() {
        for (lines, gzip, identity) in [
            (&[][..], 0, 1),
            (&[""], 0, 1),
            (&["gzip"], 1000, 1),
            (&["x-gzip"], 1000, 1),
            (&["GZip"], 1000, 1),
            (&["gzip, deflate, br, zstd"], 1000, 1),
            (&["br", "deflate, gzip;q=0.8"], 800, 1),
            (&["br"], 0, 1),
            (&["*"], 1000, 1000),
            (&["*;q=0"], 0, 0),
            (&["*;q=0.5, gzip"], 1000, 500),
            (&["gzip;q=0, *"], 0, 1000),
            (&["gzip, *;q=0"], 1000, 0),
            (&["identity, *;q=0"], 0, 1000),
            (&["identity;q=0"], 0, 0),
            (&["identity;q=0, gzip;q=0.001"], 1, 0),
            (&["gzip;q=0"], 0, 1),
            (&["gzip;q=0.5, identity;q=0.7"], 500, 700),
            (&["gzip ; Q=1.000 , identity;\tq=0.25"], 1000, 250),
            (&["gzip;q=0.", "identity;q=1."], 0, 1000),
            (&["gzip;q=0.5, x-gzip;q=0.9"], 500, 1),
            (&["gzipped, sgzip"], 0, 1),
        ] {
            assert_eq!(parsed(lines), Acceptable { gzip, identity }, "{lines:?}");
        }
    }

    #[test]
    fn a_member_with_a_malformed_weight_is_ignored() {
        for weight in [
            "", "q", "q=", "q=a", "q=2", "q=1.1", "q=1.001", "q=0.1234", "q=-1", "q=.5", "q =1", "q= 1",
            "q=01", "q=1;q=1", "q=0,5x", "level=9", "q=\"1\"", "q=0.5 x",
        ] {
            let read = parsed(&[&format!("gzip;{weight}"), "identity;q=0.3"]);
            assert_eq!(read, Acceptable { gzip: 0, identity: 300 }, "{weight:?}");
        }
    }

    #[test]
    fn gzip_is_chosen_if_it_is_wanted_no_less_than_identity() {
        for (lines, choice) in [
            (&[][..], Choice::Identity),
            (&[""], Choice::Identity),
            (&["gzip"], Choice::Gzip),
            (&["gzip;q=0.001"], Choice::Gzip),
            (&["*"], Choice::Gzip),
            (&["identity, gzip"], Choice::Gzip),
            (&["identity, gzip;q=0.9"], Choice::Identity),
            (&["identity;q=0.5, gzip;q=0.5"], Choice::Gzip),
            (&["gzip;q=0"], Choice::Identity),
            (&["identity;q=0, gzip"], Choice::Gzip),
            (&["identity;q=0"], Choice::Identity),
            (&["br, *;q=0"], Choice::Identity),
            (&["br, *;q=0.1"], Choice::Gzip),
        ] {
            assert_eq!(parsed(lines).choose(), choice, "{lines:?}");
        }
    }
}
