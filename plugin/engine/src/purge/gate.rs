//! Who is an operator: whoever has the token, or everybody where only operators come.

use crate::fields::Fields;

/// The door to the operators' paths. Not `Debug`: it holds a token.
#[derive(Clone, Default)]
pub enum Gate {
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

impl Gate {
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
        let gate = Gate::Token { name: "T".into(), token: (*b"secret").into() };
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
            assert_eq!(Gate::Open.admit(fields.fields()), Admission::Granted);
            assert_eq!(Gate::Absent.admit(fields.fields()), Admission::Forbidden);
        }
        let empty = Gate::Token { name: "T".into(), token: Box::default() };
        let fields: FieldBlock = [(&b"authorization"[..], &b"Bearer "[..])].into_iter().collect();
        assert_eq!(empty.admit(fields.fields()), Admission::Forbidden);
    }
}
