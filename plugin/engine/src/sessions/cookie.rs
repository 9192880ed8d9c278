//! The cookie that names a session: read as express-session and its parser of cookies do, so that both see the same one.

use super::signature::Secrets;
use crate::fields::Fields;

/// What a request shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown<'r> {
    /// No such cookie.
    Nothing,
    /// One that is not signed, where it must be.
    Unsigned,
    /// One that nobody with a secret has signed, or that no application makes.
    Forged,
    /// The session of this id.
    Session {
        /// The id.
        id: Box<str>,
        /// The cookie's value as it was sent.
        sent: &'r [u8],
    },
}

/// Reads the cookie of this name. `None` for the secrets: it need not be signed.
pub fn shown<'r>(request: Fields<'r>, name: &[u8], secrets: Option<&Secrets>) -> Shown<'r> {
    let Some(sent) = value_of(request, name).filter(|value| !value.is_empty()) else {
        return Shown::Nothing;
    };
    if sent.len() > LONGEST_COOKIE || !sent.is_ascii() {
        return Shown::Forged;
    }
    let Some(value) = decoded(sent) else { return Shown::Forged };
    let id = match secrets {
        None => value,
        Some(secrets) => {
            let Some(signed) = value.strip_prefix("s:") else { return Shown::Unsigned };
            match signed.rsplit_once('.') {
                Some((id, signature)) if secrets.verify(id.as_bytes(), signature.as_bytes()) => id.to_owned(),
                _ => return Shown::Forged,
            }
        }
    };
    match id.len() {
        1..=LONGEST_ID => Shown::Session { id: id.into(), sent },
        _ => Shown::Forged,
    }
}

/// The value of the first cookie of this name, without quotation marks around it: of several, that is the one that counts.
fn value_of<'r>(request: Fields<'r>, name: &[u8]) -> Option<&'r [u8]> {
    for line in request.all(b"cookie") {
        for pair in line.split(|byte| *byte == b';') {
            if let Some((known, value)) = split(pair)
                && known == name
            {
                let unquoted = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
                return Some(unquoted.unwrap_or(value));
            }
        }
    }
    None
}

/// A pair's name and value. What has no `=` is none.
fn split(pair: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = pair.iter().position(|byte| *byte == b'=')?;
    let (name, value) = pair.split_at_checked(at)?;
    Some((name.trim_ascii(), value.get(1..)?.trim_ascii()))
}

/// The text that a value stands for: percent-decoded, or as it is where that cannot be. `None` if that is no text.
fn decoded(value: &[u8]) -> Option<String> {
    let as_it_is = || String::from_utf8(value.to_vec()).ok();
    if !value.contains(&b'%') {
        return as_it_is();
    }
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digit = |nth: usize| rest.get(nth).and_then(|byte| char::from(*byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(0), digit(1)) else { return as_it_is() };
        bytes.push(u8::try_from(high << 4 | low).unwrap_or_default());
        rest = rest.get(2..).unwrap_or_default();
    }
    String::from_utf8(bytes).ok().or_else(as_it_is)
}

/// Whether a response gives its client another value of this cookie than the one that it has sent, or takes it away.
pub fn is_replaced(response: Fields<'_>, name: &[u8], sent: &[u8]) -> bool {
    let clears = |line: &[u8]| line.split(|byte| *byte == b',').any(|part| is_clearing(part.trim_ascii()));
    let set = |line: &[u8]| {
        let pair = line.split(|byte| *byte == b';').next().unwrap_or_default();
        split(pair).is_some_and(|(known, value)| known == name && value != sent)
    };
    response.all(b"set-cookie").any(set) || response.all(b"clear-site-data").any(clears)
}

fn is_clearing(part: &[u8]) -> bool {
    matches!(part, b"\"cookies\"" | b"\"*\"")
}

/// Longest value of the cookie, in bytes.
const LONGEST_COOKIE: usize = 1024;
/// Longest id, in bytes.
const LONGEST_ID: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::FieldBlock;

    const ID: &str = "nBpLGVRjEFrmQlNA9t-5Y9iWXTFlz3tN";

    fn signature() -> String {
        include_str!("signature.rs").split(ID).nth(1).unwrap().split('"').nth(2).unwrap().to_owned()
    }

    fn secrets() -> Secrets {
        Secrets::new(["another one", "keyboard cat"].into_iter()).unwrap_or_default()
    }

    #[track_caller]
    fn read(lines: &[&str], expected: &str) {
        let block: FieldBlock = lines.iter().map(|line| (&b"cookie"[..], line.as_bytes())).collect();
        let found = match shown(block.fields(), b"connect.sid", Some(&secrets())) {
            Shown::Nothing => "nothing".to_owned(),
            Shown::Unsigned => "unsigned".to_owned(),
            Shown::Forged => "forged".to_owned(),
            Shown::Session { id, .. } => id.into(),
        };
        assert_eq!(found, expected, "{lines:?}");
    }

    #[test]
    fn the_first_cookie_of_the_name_counts_as_its_signature_says() {
        let good = format!("s:{ID}.{}", signature());
        let escaped = good.replace(':', "%3A").replace('+', "%2B").replace('/', "%2F");
        for value in [&good, &escaped, &escaped.replace("%3A", "%3a"), &format!("\"{escaped}\"")] {
            read(&[&format!("connect.sid={value}")], ID);
            read(&[&format!("a=b; connect.sid = {value} ;c")], ID);
            read(&["a=b", &format!("connect.sid={value}")], ID);
            // As the middleware does: it does not look for one that is better.
            read(&[&format!("connect.sid=x; connect.sid={value}")], "unsigned");
            read(&[&format!("connect.sid={value}; connect.sid=s:x.y")], ID);
        }
        read(&[], "nothing");
        read(&["connect.sid="], "nothing");
        read(&["connect.sid"], "nothing");
        read(&["xconnect.sid=a; Connect.sid=b"], "nothing");
        for unsigned in [ID, "j:{}", "s%253Aabc.def", "S:a.b", "%"] {
            read(&[&format!("connect.sid={unsigned}")], "unsigned");
        }
        let other = good.replace("nBpL", "nBpl");
        for forged in [
            "s:",
            "s:a",
            "s:.",
            &format!("s:{ID}"),
            &format!("s:{ID}."),
            &other,
            &format!("{good}="),
            &format!("{good}%"),
        ] {
            read(&[&format!("connect.sid={forged}")], "forged");
        }
        read(&[&format!("connect.sid={}", "x".repeat(1025))], "forged");
        read(&["connect.sid=s:\u{e9}.x"], "forged");
    }

    #[test]
    fn what_need_not_be_signed_is_the_id() {
        for (value, id) in
            [("abc", "abc"), ("a%2Fb", "a/b"), ("a%zz", "a%zz"), ("%ff", "%ff"), ("%C3%BC", "\u{fc}")]
        {
            let block: FieldBlock =
                [(&b"cookie"[..], format!("connect.sid={value}").as_bytes())].into_iter().collect();
            let found = shown(block.fields(), b"connect.sid", None);
            assert!(
                matches!(&found, Shown::Session { id: found, .. } if **found == *id),
                "{value} {found:?}"
            );
        }
    }

    #[test]
    fn a_response_that_sets_another_cookie_or_clears_all_ends_what_is_known() {
        for (name, value, ends) in [
            ("set-cookie", "connect.sid=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT", true),
            ("set-cookie", "connect.sid=other; HttpOnly", true),
            ("set-cookie", "connect.sid=mine; HttpOnly", false),
            ("set-cookie", "theme=dark", false),
            ("clear-site-data", "\"cache\", \"cookies\"", true),
            ("clear-site-data", "\"*\"", true),
            ("clear-site-data", "\"cache\"", false),
        ] {
            let block: FieldBlock = [(name.as_bytes(), value.as_bytes())].into_iter().collect();
            assert_eq!(is_replaced(block.fields(), b"connect.sid", b"mine"), ends, "{value}");
        }
    }
}
