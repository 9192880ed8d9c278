//! Claims: what lies under a record's key while an Envoy of the fleet fetches it.

use std::time::Duration;

use super::dialect::{DialectError, Kind};
use super::writes;
use crate::time::Timestamp;

/// What the bytes under a record's key say, if they are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// An Envoy fetches it.
    Fetching,
    /// An Envoy has found that it is not to be stored.
    NotStorable,
}

impl Claim {
    /// Reads the bytes; `None` if they are no claim.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        match bytes.strip_prefix(CLAIM)? {
            b"!" => Some(Self::NotStorable),
            _ => Some(Self::Fetching),
        }
    }
}

/// Whether claims may be asked for. A store that has refused one is asked plainly for a while.
#[derive(Clone, Copy, Debug, Default)]
pub struct Claims {
    none_until: Timestamp,
}

impl Claims {
    /// Whether one may be asked for now.
    pub fn may_be_asked_for(&self, now: Timestamp) -> bool {
        now >= self.none_until
    }

    /// The answer to a command of this kind was an error.
    pub fn note(&mut self, kind: Kind, error: &DialectError, now: Timestamp) {
        if kind == Kind::Claim && error.is_refusal() {
            // Redis before 7.0 knows no such command, and a user may lack `SET`.
            let passes = writes::evidence(kind, &Err(error.clone())).is_some();
            self.none_until = now.plus(if passes { FEW_FOR } else { NONE_FOR });
        }
    }
}

/// How long a Redis that refused a claim is not asked for one.
const NONE_FOR: Duration = Duration::from_secs(60);
/// The same of a Redis that takes no writes at all for now.
const FEW_FOR: Duration = Duration::from_secs(2);

/// Whether a claim that Redis lets go at `until` still stands when a write that is sent now has arrived. A later write
/// might meet another Envoy's claim, or what that has stored.
pub fn holds(until: Timestamp, now: Timestamp) -> bool {
    now.plus(MARGIN) < until
}

/// What a write may take to arrive.
const MARGIN: Duration = Duration::from_millis(100);

/// A claim with a number that no other has in practice.
pub fn claim(number: u64) -> String {
    format!("claim:{number:016x}")
}

/// What every claim begins with. No record does: they begin with `SLVG`.
const CLAIM: &[u8] = b"claim:";
/// The claim that says that nothing is to be stored.
pub const CLAIM_NOT_STORABLE: &[u8] = b"claim:!";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_told_from_a_record() {
        assert_eq!(Claim::read(claim(7).as_bytes()), Some(Claim::Fetching));
        assert_eq!(Claim::read(CLAIM_NOT_STORABLE), Some(Claim::NotStorable));
        assert_eq!(Claim::read(b"SLVG..."), None);
        assert_eq!(Claim::read(b""), None);
    }

    #[test]
    fn a_store_that_refused_a_claim_is_asked_plainly_for_a_while() {
        let now = Timestamp::from_secs(100);
        let quiet = |error: DialectError| {
            let mut claims = Claims::default();
            claims.note(Kind::Claim, &error, now);
            (0..100).find(|secs| claims.may_be_asked_for(now.plus(Duration::from_secs(*secs))))
        };
        assert_eq!(quiet(DialectError::RedisError("ERR syntax error".into())), Some(60));
        assert_eq!(quiet(DialectError::Unauthorized), Some(60));
        assert_eq!(quiet(DialectError::RedisError("OOM no memory".into())), Some(2));
        assert_eq!(quiet(DialectError::Timeout), Some(0));
        let mut claims = Claims::default();
        claims.note(Kind::Get, &DialectError::Unauthorized, now);
        assert!(claims.may_be_asked_for(now), "a lookup says nothing of claims");
    }
}
