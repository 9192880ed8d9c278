//! Claims: what lies under a record's key while an Envoy of the fleet fetches it.

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
}
