//! HTTP/1 messages out of files: forgiving about line ends, since people write them by hand.

use std::fmt;

use crate::fields::{FieldBlock, Fields};

/// A head as Envoy would hand it over, and the content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The head, with its pseudo-headers.
    pub head: FieldBlock,
    /// The content.
    pub body: Vec<u8>,
}

/// Why something could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem(pub String);

impl Problem {
    /// With this as what is said.
    pub fn new(what: &str) -> Self {
        Self(what.to_owned())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Message {
    /// A request such as `GET /a HTTP/1.1` with `Host`; a target that is a whole URL says scheme and host itself.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn request(bytes: &[u8], scheme: &str) -> Result<Self, Problem> {
        let (first, fields, body) = taken_apart(bytes)?;
        // A space in the target is the client's mistake, and one that the firewall has a word for.
        let line = first.rsplit_once(" HTTP/").map_or(first.as_str(), |(line, _)| line);
        let (method, target) = line.split_once(' ').ok_or_else(|| {
            Problem(format!("{first:?} is no request line, such as GET https://example.com/a"))
        })?;
        let host = fields.iter().find(|(name, _)| name == "host").map(|(_, value)| value.as_str());
        let own = target.split_once("://").and_then(|(own, rest)| {
            // In either case (RFC 3986 §3.1).
            ["http", "https"].into_iter().find(|known| own.eq_ignore_ascii_case(known)).zip(Some(rest))
        });
        let (scheme, authority, target) = match own {
            Some((own, rest)) => {
                let end = rest.find(['/', '?']).unwrap_or(rest.len());
                let (authority, path) = rest.split_at(end);
                let slash = if path.starts_with('/') { "" } else { "/" };
                (own, authority, format!("{slash}{path}"))
            }
            _ => {
                let host =
                    host.ok_or_else(|| Problem::new("the request has no Host, and its target no scheme"))?;
                (scheme, host, target.to_owned())
            }
        };
        let mut head = FieldBlock::new();
        let pseudo =
            [(":method", method), (":scheme", scheme), (":authority", authority), (":path", &target)];
        for (name, value) in pseudo {
            head.push(name.as_bytes(), value.as_bytes());
        }
        // Envoy makes `:authority` out of it.
        for (name, value) in fields.iter().filter(|(name, _)| name != "host") {
            head.push(name.as_bytes(), value.as_bytes());
        }
        Ok(Self { head, body })
    }

    /// A response such as `HTTP/1.1 200 OK`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn response(bytes: &[u8]) -> Result<Self, Problem> {
        let (first, fields, body) = taken_apart(bytes)?;
        let status = first.split(' ').nth(1).filter(|status| status.parse::<u16>().is_ok());
        let status = status
            .filter(|_| first.starts_with("HTTP/"))
            .ok_or_else(|| Problem(format!("{first:?} is no status line")))?;
        let mut head = FieldBlock::new();
        head.push(b":status", status.as_bytes());
        for (name, value) in &fields {
            head.push(name.as_bytes(), value.as_bytes());
        }
        Ok(Self { head, body })
    }

    /// As it is read: a request with the whole URL in its first line. A body of more than `longest` bytes is left out, and
    /// its length told where nothing else does.
    pub fn to_text(&self, longest: usize) -> String {
        let fields = self.head.fields();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(['\r', '\n'], " ");
        let of = |name: &[u8]| text(fields.get(name).unwrap_or_default());
        let mut lines = match fields.get(b":status") {
            Some(status) => format!("HTTP/1.1 {}\n", text(status)),
            None => {
                format!("{} {}://{}{}\n", of(b":method"), of(b":scheme"), of(b":authority"), of(b":path"))
            }
        };
        for (name, value) in fields.iter().filter(|(name, _)| !name.starts_with(b":")) {
            lines.push_str(&format!("{}: {}\n", text(name), text(value)));
        }
        let shown = self.body.len() <= longest;
        if !shown && fields.get(b"content-length").is_none() {
            lines.push_str(&format!("content-length: {}\n", self.body.len()));
        }
        if shown && !self.body.is_empty() {
            lines.push('\n');
            lines.push_str(&String::from_utf8_lossy(&self.body));
        }
        lines
    }

    pub(super) fn fields(&self) -> Fields<'_> {
        self.head.fields()
    }
}

type Parts = (String, Vec<(String, String)>, Vec<u8>);

/// First line, fields with lower-case names, content.
fn taken_apart(bytes: &[u8]) -> Result<Parts, Problem> {
    let mut rest = bytes;
    let mut lines = Vec::new();
    loop {
        let end = rest.iter().position(|byte| *byte == b'\n');
        let (line, tail) = rest.split_at_checked(end.unwrap_or(rest.len())).unwrap_or_default();
        rest = tail.get(1..).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            break;
        }
        lines.push(String::from_utf8_lossy(line).into_owned());
    }
    let mut lines = lines.into_iter();
    let first = lines.next().ok_or_else(|| Problem::new("a message is empty"))?;
    let mut fields = Vec::new();
    for line in lines {
        let Some((name, value)) = line.split_once(':') else {
            return Err(Problem(format!("{line:?} is no field line")));
        };
        fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
    }
    Ok((first, fields, rest.to_vec()))
}
