//! What a client must have got: the origin's answer, or one from the stores that is HTTP for this request.

use selvage_engine::coding::gzip::inflate;

use super::site::expected;
use crate::crowd::Answer;

/// A request, as far as its answer depends on it.
pub struct Asked {
    /// The number of its path.
    pub number: usize,
    /// Its `Accept-Language`.
    pub language: &'static str,
    /// It was a HEAD.
    pub head: bool,
    /// It had a `Range`.
    pub range: bool,
    /// It had a condition.
    pub condition: bool,
    /// It wanted nothing but what is stored.
    pub only_stored: bool,
}

/// What was right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// What the origin says, whoever answered.
    Origins,
    /// A forged response that is well-formed, out of the stores.
    Accepted,
}

impl Asked {
    /// Whether this answers it.
    ///
    /// # Errors
    /// What is wrong, in words that many answers may share.
    pub fn judge(&self, answer: &Answer) -> Result<Right, String> {
        let head = Head::read(answer.head())?;
        let status = answer.status;
        if !(200..600).contains(&status) {
            return Err(format!("status {status}"));
        }
        self.framing(&head, answer)?;
        // What one cache said stands last. Forged members are before it.
        let lines = head.all("cache-status");
        let own = lines.last().and_then(|line| line.rsplit(", ").next()).unwrap_or_default();
        let said = |word: &str| own.split("; ").any(|part| part == word);
        if !own.starts_with("Selvage") {
            return Err("no Cache-Status of the cache's own".to_owned());
        }
        // After a 304 it is the stored response that is sent, whatever becomes of it.
        let confirmed = said("fwd-status=304") || own.contains("detail=stale");
        let stored = said("hit") || said("collapsed") || confirmed;
        match status {
            206 if !self.range => return Err("206 for a request without Range".to_owned()),
            304 if !self.condition => return Err("304 for a request without condition".to_owned()),
            _ => {}
        }
        if status == 206 {
            part(&head, answer.body().len(), self.head)?;
        }
        if self.is_of_the_origin(&head, answer) {
            return Ok(Right::Origins);
        }
        match status {
            _ if stored => Ok(Right::Accepted),
            504 if self.only_stored => Ok(Right::Origins),
            // The length of what is stored is what a range is judged by.
            416 if self.range => Ok(Right::Accepted),
            304 => Ok(Right::Origins),
            200 | 404 => Err("content that neither the origin nor a store has".to_owned()),
            _ => Err(format!("status {status} of Envoy's own")),
        }
    }

    /// Whether status and content are what the origin has.
    fn is_of_the_origin(&self, head: &Head<'_>, answer: &Answer) -> bool {
        let (status, content) = expected(self.number, self.language);
        if answer.status == 206 {
            let from = head
                .all("content-range")
                .first()
                .and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.parse::<usize>().ok());
            let body = answer.body();
            return from.and_then(|from| content.get(from..from + body.len())) == Some(body);
        }
        if answer.status != status {
            return false;
        }
        if self.head {
            return true;
        }
        match head.all("content-encoding").as_slice() {
            ["gzip"] => inflate(answer.body(), content.len()).is_ok_and(|inflated| inflated == content),
            _ => answer.body() == content,
        }
    }

    /// One way to say where the content ends, and it ends there.
    fn framing(&self, head: &Head<'_>, answer: &Answer) -> Result<(), String> {
        let (lengths, codings) = (head.all("content-length"), head.all("transfer-encoding"));
        let bodiless = self.head || matches!(answer.status, 204 | 304);
        match (lengths.as_slice(), codings.as_slice()) {
            ([], []) if bodiless => Ok(()),
            ([], ["chunked"]) => Ok(()),
            ([length], []) => match length.parse::<usize>() {
                Ok(length) if bodiless || length == answer.body().len() => Ok(()),
                Ok(_) => Err("content of another length".to_owned()),
                Err(_) => Err("a Content-Length that is no number".to_owned()),
            },
            _ => Err(format!("{} lengths and {} codings", lengths.len(), codings.len())),
        }
    }
}

/// Whether a 206 has what its `Content-Range` says.
fn part(head: &Head<'_>, length: usize, bodiless: bool) -> Result<(), String> {
    let wrong = || "a Content-Range that is not so".to_owned();
    let ranges = head.all("content-range");
    let [range] = ranges.as_slice() else { return Err(wrong()) };
    let range = range.strip_prefix("bytes ").and_then(|range| range.split_once('/')).ok_or_else(wrong)?;
    let ((first, last), whole) = (range.0.split_once('-').ok_or_else(wrong)?, range.1);
    let number = |text: &str| text.parse::<usize>().map_err(|_| wrong());
    let (first, last, whole) = (number(first)?, number(last)?, number(whole)?);
    let sound = first <= last && last < whole && (bodiless || last - first + 1 == length);
    sound.then_some(()).ok_or_else(wrong)
}

/// The field lines of a head.
struct Head<'a> {
    lines: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> Head<'a> {
    /// Reads them strictly (RFC 9112 §5).
    fn read(head: &'a [u8]) -> Result<Self, String> {
        let head = head.strip_suffix(b"\r\n\r\n").ok_or("no end of the head")?;
        let mut lines = Vec::new();
        for line in head.split(|byte| *byte == b'\n').skip(1) {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let colon = line.iter().position(|byte| *byte == b':').ok_or("a line without a colon")?;
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
                return Err("a name that is none".to_owned());
            }
            if value.iter().any(|byte| matches!(byte, b'\r' | b'\0')) {
                return Err("a value with what ends lines".to_owned());
            }
            if name.eq_ignore_ascii_case(b"x-injected") {
                return Err("a line out of a value".to_owned());
            }
            if name.eq_ignore_ascii_case(b"connection") && !value.eq_ignore_ascii_case(b"close") {
                return Err("a Connection of another".to_owned());
            }
            lines.push((name, value));
        }
        // The first line is Envoy's, and each line feed but the last stood behind a carriage return.
        let bare =
            head.iter().enumerate().any(|(at, byte)| *byte == b'\n' && (at == 0 || head[at - 1] != b'\r'));
        if bare { Err("a bare line feed".to_owned()) } else { Ok(Self { lines }) }
    }

    /// The values of the lines of a name, in lower case, that are text.
    fn all(&self, name: &str) -> Vec<&'a str> {
        let lines = self.lines.iter().filter(|(line, _)| line.eq_ignore_ascii_case(name.as_bytes()));
        lines.map(|(_, value)| std::str::from_utf8(value).unwrap_or("?")).collect()
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crowd::whole;

    const ASKED: Asked =
        Asked { number: 0, language: "", head: false, range: false, condition: false, only_stored: false };

    fn judged(asked: &Asked, head: &str, body: &str) -> Result<Right, String> {
        asked.judge(&whole(&format!("HTTP/1.1 {head}\r\ncache-status: {}\r\n\r\n{body}", "Selvage; hit")))
    }

    #[test]
    fn what_is_forged_must_be_http_for_the_request() {
        assert_eq!(judged(&ASKED, "200 OK\r\ncontent-length: 2", "ab"), Ok(Right::Accepted));
        assert_eq!(judged(&ASKED, "503 No\r\ncontent-length: 2", "ab"), Ok(Right::Accepted));
        let origins = expected(0, "").1;
        let length = format!("200 OK\r\ncontent-length: {}", origins.len());
        assert_eq!(judged(&ASKED, &length, &String::from_utf8(origins).unwrap()), Ok(Right::Origins));
        for head in [
            "200 OK\r\ncontent-length: 2\r\ncontent-length: 2",
            "200 OK\r\ncontent-length: 2\r\nx-a: 1\r\nx-injected: 1",
            "200 OK\r\ncontent-length: 2\r\nx a: 1",
            "200 OK\r\ncontent-length: 2\r\nx-a: 1\nx-b: 2",
            "200 OK\r\ncontent-length: 2\r\nconnection: upgrade",
            "206 Part\r\ncontent-length: 2\r\ncontent-range: bytes 0-1/5",
        ] {
            assert!(judged(&ASKED, head, "ab").is_err(), "{head}");
        }
        assert!(judged(&ASKED, "304 Same", "").is_err());
        let ranged = Asked { range: true, ..ASKED };
        assert_eq!(
            judged(&ranged, "206 Part\r\ncontent-length: 2\r\ncontent-range: bytes 0-1/5", "ab"),
            Ok(Right::Accepted)
        );
        assert!(
            judged(&ranged, "206 Part\r\ncontent-length: 2\r\ncontent-range: bytes 0-2/5", "ab").is_err()
        );
    }

    #[test]
    fn what_no_store_has_must_be_the_origins() {
        let judged = |head: &str, body: &str| {
            let text =
                format!("HTTP/1.1 {head}\r\ncache-status: a; hit, Selvage; fwd=uri-miss\r\n\r\n{body}");
            ASKED.judge(&whole(&text))
        };
        assert!(judged("200 OK\r\ncontent-length: 2", "ab").is_err());
        assert!(judged("503 No\r\ncontent-length: 2", "ab").is_err());
    }
}
