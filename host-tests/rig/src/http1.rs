//! HTTP/1.1 messages as they come: every field line in order, and whether the content was complete. hyper itself would put
//! the lines in an order of its own and pass over what is wrong, so only the parser is its own.

use std::io::{self, BufRead, Read};

use httparse::{EMPTY_HEADER, Header, Status, parse_chunk_size};

use crate::{envoy::Response, scripted::Received};

type Fields = Vec<(String, Vec<u8>)>;

/// Nobody sends more field lines in a head.
const MOST_FIELDS: usize = 1024;

/// Reads one request. One that breaks off in its content is told as far as it came.
///
/// # Errors
/// The stream ended before the head did, or it is not HTTP/1.1.
pub fn read_request(from: &mut impl BufRead) -> io::Result<Received> {
    let bytes = read_block(from)?;
    let mut lines = [EMPTY_HEADER; MOST_FIELDS];
    let mut head = httparse::Request::new(&mut lines);
    let parsed = head.parse(&bytes).map_err(io::Error::other)?;
    let (Status::Complete(_), Some(method), Some(target)) = (parsed, head.method, head.path) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let (fields, mut body) = (owned(head.headers), Vec::new());
    if value(&fields, "transfer-encoding").or(value(&fields, "content-length")).is_some() {
        let _ = read_content(from, &fields, &mut body);
    }
    let text = |(name, value): (String, Vec<u8>)| (name, String::from_utf8_lossy(&value).into_owned());
    let fields = fields.into_iter().map(text).collect();
    Ok(Received { method: method.to_owned(), target: target.to_owned(), fields, body, before: 0 })
}

/// Reads one response, passing over interim ones. One to HEAD is `bodiless`, whatever its length says.
///
/// # Errors
/// The stream ended before its head did, or is not HTTP/1.1.
pub fn read_response(from: &mut impl BufRead, bodiless: bool) -> io::Result<Response> {
    let mut interim = Vec::new();
    loop {
        let bytes = read_block(from)?;
        let mut lines = [EMPTY_HEADER; MOST_FIELDS];
        let mut head = httparse::Response::new(&mut lines);
        let parsed = head.parse(&bytes);
        let (Ok(Status::Complete(_)), Some(status), Some(1)) = (parsed, head.code, head.version) else {
            return Err(io::Error::other(String::from_utf8_lossy(&bytes)));
        };
        if (100..200).contains(&status) {
            interim.push(status);
            continue;
        }
        let (fields, mut body) = (owned(head.headers), Vec::new());
        let without = bodiless || status == 204 || status == 304;
        let complete = without || read_content(from, &fields, &mut body).is_ok();
        return Ok(Response { status, fields, body, complete, interim });
    }
}

/// Lines up to an empty one.
fn read_block(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while !matches!(read_line(from, &mut bytes)?, b"\r\n" | b"\n") {}
    Ok(bytes)
}

/// Adds the next line, and gives it with its end.
fn read_line<'a>(from: &mut impl BufRead, bytes: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
    let before = bytes.len();
    from.read_until(b'\n', bytes)?;
    let line = &bytes[before..];
    if line.ends_with(b"\n") { Ok(line) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn owned(lines: &[Header<'_>]) -> Fields {
    lines.iter().map(|line| (line.name.to_ascii_lowercase(), line.value.to_vec())).collect()
}

fn value(fields: &Fields, name: &str) -> Option<String> {
    let (_, value) = fields.iter().find(|(line, _)| line == name)?;
    Some(String::from_utf8_lossy(value).to_ascii_lowercase())
}

fn read_content(from: &mut impl BufRead, fields: &Fields, body: &mut Vec<u8>) -> io::Result<()> {
    if value(fields, "transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
        loop {
            let mut line = Vec::new();
            let parsed = parse_chunk_size(read_line(from, &mut line)?);
            match parsed.map_err(|_| io::ErrorKind::InvalidData)? {
                // Trailers, if any, and the empty line.
                Status::Complete((_, 0)) => return read_block(from).map(drop),
                Status::Complete((_, length)) => read_exactly(from, length, body)?,
                Status::Partial => return Err(io::ErrorKind::InvalidData.into()),
            }
            line.clear();
            if read_line(from, &mut line)? != b"\r\n" {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
    }
    match value(fields, "content-length") {
        Some(length) => read_exactly(from, length.parse().map_err(io::Error::other)?, body),
        None => from.read_to_end(body).map(drop),
    }
}

fn read_exactly(from: &mut impl BufRead, length: u64, body: &mut Vec<u8>) -> io::Result<()> {
    let read = from.take(length).read_to_end(body)?;
    if read as u64 == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_is_read_after_the_other() {
        let mut stream = &b"POST /a?b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nhi\r\n0\r\nt: 1\r\n\r\n\
            PUT /c HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /d HTTP/1.1\r\n\r\n"[..];
        let mut next = || read_request(&mut stream);
        let first = next().unwrap();
        assert_eq!((first.target.as_str(), first.body.as_slice()), ("/a?b", &b"hi"[..]));
        assert_eq!(first.header("host").as_deref(), Some("x"));
        assert_eq!(next().unwrap().body, b"abc");
        assert_eq!(next().unwrap().target, "/d");
        assert_eq!(next().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_response_tells_its_lines_in_order_and_whether_it_was_whole() {
        let text = "HTTP/1.1 103 Early\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\nB: 1\r\nA: \u{fc}\r\nb: 2\r\nContent-Length: 4\r\n\r\nabcd";
        let response = read_response(&mut text.as_bytes(), false).unwrap();
        assert_eq!(
            (response.status, response.interim.as_slice(), response.complete),
            (200, &[103][..], true)
        );
        let names: Vec<&str> = response.fields.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["b", "a", "b", "content-length"]);
        let broken = read_response(&mut &text.as_bytes()[..text.len() - 1], false).unwrap();
        assert_eq!((broken.body.as_slice(), broken.complete), (&b"abc"[..], false));
        assert!(read_response(&mut &b"HTTP/1.1 200 OK\r\nno field\r\n\r\n"[..], false).is_err());
    }
}
