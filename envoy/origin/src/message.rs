//! Reading one request and writing one response, within bounds.

use std::io::{self, BufRead, Read, Write};

/// The head of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub query: String,
    fields: Vec<(String, String)>,
    keep_alive_by_default: bool,
}

/// A response before it is framed.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub fields: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    pub framing: Framing,
}

/// How the end of a response body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    Length,
    Chunked,
}

/// Heads of requests, bodies, and lines of a chunked body are bounded in bytes.
const MAX_HEAD_BYTES: u64 = 64 * 1024;
const MAX_BODY_BYTES: u64 = 64 * 1024 * 1024;
const MAX_LINE_BYTES: u64 = 4 * 1024;
const CHUNK_BYTES: usize = 16 * 1024;

impl Request {
    /// Reads the next head. `None` when the client has closed the connection between requests.
    ///
    /// # Errors
    /// `InvalidData` when the head is malformed or too large.
    pub fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut reader = reader.take(MAX_HEAD_BYTES);
        let Some(first) = line(&mut reader)? else { return Ok(None) };
        let mut words = first.split(' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(malformed("request line"));
        };
        if !version.starts_with("HTTP/1.") || method.is_empty() || !target.starts_with(['/', '*']) {
            return Err(malformed("request line"));
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut request = Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            fields: Vec::new(),
            keep_alive_by_default: version != "HTTP/1.0",
        };
        loop {
            let field = line(&mut reader)?.ok_or_else(|| malformed("head"))?;
            if field.is_empty() {
                return Ok(Some(request));
            }
            let (name, value) = field.split_once(':').ok_or_else(|| malformed("field"))?;
            request.fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// The first value of a field; `name` in lower case.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// A number in the query, such as `ms` in `?ms=200`.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.query
            .split('&')
            .filter_map(|part| part.split_once('='))
            .find(|(key, _)| *key == name)?
            .1
            .parse()
            .ok()
    }

    /// Whether the connection stays open after the response (RFC 9112 §9.3).
    pub fn keep_alive(&self) -> bool {
        match self.field("connection").map(str::to_ascii_lowercase) {
            Some(options) if options.contains("close") => false,
            Some(options) if options.contains("keep-alive") => true,
            _ => self.keep_alive_by_default,
        }
    }

    /// Whether the client waits for a 100 before it sends the body.
    pub fn expects_continue(&self) -> bool {
        self.field("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue"))
    }

    /// Reads the body and forgets it, so that the next request on the connection is found.
    ///
    /// # Errors
    /// `InvalidData` when the framing is malformed or the body too large.
    pub fn drain_body(&self, reader: &mut impl BufRead) -> io::Result<()> {
        if let Some(coding) = self.field("transfer-encoding") {
            if !coding.eq_ignore_ascii_case("chunked") || self.field("content-length").is_some() {
                return Err(malformed("framing"));
            }
            return drain_chunks(reader);
        }
        match self.field("content-length").map(str::parse) {
            None => Ok(()),
            Some(Ok(length)) if length <= MAX_BODY_BYTES => skip(reader, length),
            Some(_) => Err(malformed("content-length")),
        }
    }
}

impl Response {
    /// Writes the response. A response to HEAD has the fields of its GET and no body.
    pub fn write(&self, writer: &mut impl Write, request: &Request) -> io::Result<()> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        match self.framing {
            _ if self.status == 304 => {}
            Framing::Length => head.push_str(&format!("content-length: {}\r\n", self.body.len())),
            Framing::Chunked => head.push_str("transfer-encoding: chunked\r\n"),
        }
        if !request.keep_alive() {
            head.push_str("connection: close\r\n");
        }
        head.push_str("\r\n");
        writer.write_all(head.as_bytes())?;
        if request.method != "HEAD" && self.status != 304 {
            self.write_body(writer)?;
        }
        writer.flush()
    }

    fn write_body(&self, writer: &mut impl Write) -> io::Result<()> {
        match self.framing {
            Framing::Length => writer.write_all(&self.body),
            Framing::Chunked => {
                for chunk in self.body.chunks(CHUNK_BYTES) {
                    write!(writer, "{:x}\r\n", chunk.len())?;
                    writer.write_all(chunk)?;
                    writer.write_all(b"\r\n")?;
                }
                writer.write_all(b"0\r\n\r\n")
            }
        }
    }
}

/// The next line without its end, or `None` at the end of the stream.
fn line(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    reader.read_until(b'\n', &mut bytes)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let text = bytes.strip_suffix(b"\n").ok_or_else(|| malformed("line"))?;
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    Ok(Some(String::from_utf8_lossy(text).into_owned()))
}

fn drain_chunks(reader: &mut impl BufRead) -> io::Result<()> {
    let mut left = MAX_BODY_BYTES;
    loop {
        let size = line(&mut reader.by_ref().take(MAX_LINE_BYTES))?.ok_or_else(|| malformed("chunk"))?;
        let digits = size.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(digits, 16).map_err(|_| malformed("chunk size"))?;
        if size == 0 {
            break;
        }
        left = left.checked_sub(size).ok_or_else(|| malformed("body"))?;
        skip(reader, size)?;
        if line(&mut reader.by_ref().take(2))?.is_none_or(|end| !end.is_empty()) {
            return Err(malformed("chunk"));
        }
    }
    let mut trailers = reader.take(MAX_HEAD_BYTES);
    while !line(&mut trailers)?.ok_or_else(|| malformed("trailers"))?.is_empty() {}
    Ok(())
}

fn skip(reader: &mut impl BufRead, length: u64) -> io::Result<()> {
    let skipped = io::copy(&mut reader.take(length), &mut io::sink())?;
    if skipped == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("malformed or oversized {what}"))
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        304 => "Not Modified",
        400 => "Bad Request",
        404 => "Not Found",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Demonstration",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mut text: &[u8]) -> io::Result<Option<Request>> {
        Request::read(&mut text)
    }

    fn one(text: &str) -> Request {
        read(text.as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn a_request_is_read_with_its_query_and_fields() {
        let request = one("GET /slow?ms=20&x=y HTTP/1.1\r\nHost: a\r\nAccept-Language:  de \r\n\r\n");
        assert_eq!((request.method.as_str(), request.path.as_str()), ("GET", "/slow"));
        assert_eq!(request.number("ms"), Some(20));
        assert_eq!(request.number("x"), None);
        assert_eq!(request.field("accept-language"), Some("de"));
        assert!(request.keep_alive());
    }

    #[test]
    fn a_closed_connection_is_no_request_and_a_broken_one_is_an_error() {
        assert_eq!(read(b"").unwrap(), None);
        for broken in
            ["GET /\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n", "GET  / HTTP/1.1\r\n\r\n", "\r\n", "x"]
        {
            assert!(read(broken.as_bytes()).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn an_endless_head_is_refused() {
        let endless = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(MAX_HEAD_BYTES as usize));
        assert!(read(endless.as_bytes()).is_err());
    }

    #[test]
    fn bodies_are_drained_so_that_the_next_request_is_found() {
        let both = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nt: u\r\n\r\n\
                    POST /b HTTP/1.1\r\nContent-Length: 4\r\n\r\nbodyGET /c HTTP/1.1\r\n\r\n";
        let mut reader = both.as_bytes();
        for path in ["/", "/b", "/c"] {
            let request = Request::read(&mut reader).unwrap().unwrap();
            assert_eq!(request.path, path);
            request.drain_body(&mut reader).unwrap();
        }
    }

    #[test]
    fn framing_that_lies_is_refused() {
        for fields in ["Content-Length: -1", "Content-Length: 99999999999", "Transfer-Encoding: gzip"] {
            let request = one(&format!("POST / HTTP/1.1\r\n{fields}\r\n\r\n"));
            assert!(request.drain_body(&mut b"0\r\n\r\n".as_slice()).is_err(), "{fields}");
        }
        let request = one("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
        for body in ["", "zz\r\n", "ffffffffffffffffff\r\n", "3\r\nabcd\r\n0\r\n\r\n", "fffffffff\r\n"] {
            assert!(request.drain_body(&mut body.as_bytes()).is_err(), "{body:?}");
        }
    }

    #[test]
    fn a_head_response_has_the_fields_and_no_body() {
        let response = Response {
            status: 200,
            fields: vec![("a", "b".to_owned())],
            body: b"xy".to_vec(),
            framing: Framing::Length,
        };
        let mut written = Vec::new();
        response.write(&mut written, &one("HEAD / HTTP/1.1\r\nConnection: close\r\n\r\n")).unwrap();
        assert_eq!(
            String::from_utf8(written).unwrap(),
            "HTTP/1.1 200 OK\r\na: b\r\ncontent-length: 2\r\nconnection: close\r\n\r\n"
        );
    }

    #[test]
    fn a_chunked_body_ends_with_its_last_chunk() {
        let response =
            Response { status: 200, fields: vec![], body: b"xy".to_vec(), framing: Framing::Chunked };
        let mut written = Vec::new();
        response.write(&mut written, &one("GET / HTTP/1.1\r\n\r\n")).unwrap();
        assert_eq!(written, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nxy\r\n0\r\n\r\n");
    }
}
