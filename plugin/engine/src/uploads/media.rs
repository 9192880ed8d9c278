//! What `Content-Type` and `Content-Disposition` say, read so that no other reader could understand something else.
//!
//! What a lenient reader would mend is refused: it could be mended in two ways.

/// A media type (RFC 9110 §8.3.1).
pub(super) struct Media {
    /// Type and subtype, in lower case.
    pub essence: Vec<u8>,
    /// The parameter `boundary`, if it is one that RFC 2046 §5.1.1 allows and all readers read alike.
    pub boundary: Option<Vec<u8>>,
}

/// A parameter.
pub(super) struct Parameter<'a> {
    /// Its name, as written.
    pub name: &'a [u8],
    /// Its value, without quotes.
    pub value: Vec<u8>,
}

impl Media {
    /// `None` for what is no media type.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (essence, parameters) = split(value)?;
        let slash = essence.iter().position(|byte| *byte == b'/')?;
        let (kind, sub) = (essence.get(..slash)?, essence.get(slash + 1..)?);
        if !is_token(kind) || !is_token(sub) {
            return None;
        }
        let mut named = parameters.iter().filter(|one| begins_with(one.name, b"boundary"));
        let boundary = match (named.next(), named.next()) {
            (Some(Parameter { name, value }), None) if name.len() == 8 && is_boundary(value) => {
                Some(value.clone())
            }
            _ => None,
        };
        Some(Self { essence: essence.to_ascii_lowercase(), boundary })
    }
}

/// What stands before the first `;`, and the parameters behind it (RFC 9110 §5.6.6). `None` if they are not of that form.
pub(super) fn split(value: &[u8]) -> Option<(&[u8], Vec<Parameter<'_>>)> {
    let end = value.iter().position(|byte| *byte == b';').unwrap_or(value.len());
    let (first, mut rest) = value.split_at_checked(end)?;
    let mut parameters = Vec::new();
    while let [b';', after @ ..] = rest.trim_ascii_start() {
        let after = after.trim_ascii_start();
        // A `;` too many says nothing.
        if after.is_empty() || after.first() == Some(&b';') {
            rest = after;
            continue;
        }
        let length = after.iter().position(|byte| *byte == b'=')?;
        let (name, [b'=', after @ ..]) = after.split_at_checked(length)? else { return None };
        let (value, after) = parameter(after)?;
        if !is_token(name) || parameters.len() == MOST_PARAMETERS {
            return None;
        }
        parameters.push(Parameter { name, value });
        rest = after;
    }
    rest.trim_ascii().is_empty().then_some((first.trim_ascii(), parameters))
}

/// The value at the beginning, and what follows it.
fn parameter(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let [b'"', quoted @ ..] = text else {
        let end =
            text.iter().position(|byte| *byte == b';' || byte.is_ascii_whitespace()).unwrap_or(text.len());
        let (value, rest) = text.split_at_checked(end)?;
        return is_token(value).then(|| (value.to_vec(), rest));
    };
    let (mut value, mut escaped) = (Vec::new(), false);
    for (at, byte) in quoted.iter().enumerate() {
        match byte {
            0..=8 | 10..=31 | 127 => return None,
            b'\\' if !escaped => escaped = true,
            b'"' if !escaped => return Some((value, quoted.get(at + 1..)?)),
            _ => {
                escaped = false;
                value.push(*byte);
            }
        }
    }
    None
}

/// Whether it is one that no reader cuts short: letters, digits and a few signs.
fn is_boundary(value: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"'+_-./:=?".contains(byte);
    (1..=70).contains(&value.len()) && value.iter().all(plain)
}

/// A token of RFC 9110 §5.6.2.
pub(super) fn is_token(text: &[u8]) -> bool {
    !text.is_empty()
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

/// In whichever case.
pub(super) fn begins_with(text: &[u8], begin: &[u8]) -> bool {
    text.get(..begin.len()).is_some_and(|start| start.eq_ignore_ascii_case(begin))
}

/// More are refused.
const MOST_PARAMETERS: usize = 16;
