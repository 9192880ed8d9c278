//! A response as it came, of which only what is asked for is looked at.

use selvage_rig::http1::read_response;

/// A whole response.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its head, and its content without transfer coding.
    bytes: Vec<u8>,
    /// Where the content begins.
    content: usize,
}

/// What the beginning of a stream holds.
pub(super) enum Parsed {
    /// A whole response.
    Whole(Answer),
    /// The beginning of one.
    Partial,
    /// Something else.
    Strange,
}

impl Answer {
    /// Takes the response that these bytes are; they are empty then, and as they were otherwise. An answer to a HEAD is
    /// `bodiless`, whatever its length says.
    pub(super) fn take(bytes: &mut Vec<u8>, bodiless: bool) -> Parsed {
        let Some(end) = find(bytes, b"\r\n\r\n") else { return Parsed::Partial };
        let content = end + 4;
        let head = &bytes[..content];
        let Some(status) = status(head) else { return Parsed::Strange };
        if status < 200 {
            bytes.drain(..content);
            return Self::take(bytes, bodiless);
        }
        let length = field(head, b"content-length");
        let length = length.and_then(|length| std::str::from_utf8(length).ok()?.parse::<usize>().ok());
        match length {
            // What comes behind it would be taken for the beginning of the next.
            _ if bodiless || status == 204 || status == 304 => {
                if bytes.len() > content {
                    return Parsed::Strange;
                }
            }
            Some(length) if bytes.len() < content + length => return Parsed::Partial,
            Some(length) if bytes.len() > content + length => return Parsed::Strange,
            Some(_) => {}
            // Chunked, which a cache rarely sends: read at leisure.
            None => match read_response(&mut bytes.as_slice(), false) {
                Ok(response) if response.complete => {
                    bytes.truncate(content);
                    bytes.extend_from_slice(&response.body);
                }
                _ => return Parsed::Partial,
            },
        }
        Parsed::Whole(Self { status, bytes: std::mem::take(bytes), content })
    }

    /// Its head as it came, up to the empty line.
    pub fn head(&self) -> &[u8] {
        &self.bytes[..self.content]
    }

    /// Its content.
    pub fn body(&self) -> &[u8] {
        &self.bytes[self.content..]
    }

    /// The value of a field, the first if there are several; `name` is in lower case.
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        field(&self.bytes[..self.content], name.as_bytes())
    }

    /// The same as text.
    pub fn header(&self, name: &str) -> Option<String> {
        self.field(name).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// What the cache says happened; empty if it says nothing.
    pub fn cache_status(&self) -> String {
        self.header("cache-status").unwrap_or_default()
    }
}

fn status(head: &[u8]) -> Option<u16> {
    let digits = head.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The value of the first field of this name.
fn field<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    head.split(|byte| *byte == b'\n').skip(1).find_map(|line| {
        let (start, rest) = line.split_at_checked(name.len())?;
        let value = rest.strip_prefix(b":")?;
        start.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
    })
}

fn find(bytes: &[u8], piece: &[u8]) -> Option<usize> {
    bytes.windows(piece.len()).position(|window| window == piece)
}

/// The response that a text is.
#[cfg(test)]
pub(crate) fn whole(text: &str) -> Answer {
    match Answer::take(&mut text.as_bytes().to_vec(), false) {
        Parsed::Whole(answer) => answer,
        Parsed::Partial => panic!("partial"),
        Parsed::Strange => panic!("strange"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_whole_with_its_last_byte() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nCache-Status: a; hit\r\n\r\nhello";
        for end in 0..text.len() {
            let mut bytes = text.as_bytes()[..end].to_vec();
            assert!(matches!(Answer::take(&mut bytes, false), Parsed::Partial), "{end}");
            assert_eq!(bytes.len(), end);
        }
        let answer = whole(text);
        assert_eq!((answer.status, answer.body()), (200, &b"hello"[..]));
        assert_eq!(answer.cache_status(), "a; hit");
        assert_eq!(answer.header("content"), None);
    }

    #[test]
    fn chunks_are_joined_and_interim_responses_passed_over() {
        let text = "HTTP/1.1 103 Early\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        assert_eq!(whole(text).body(), b"abcde");
    }

    #[test]
    fn the_answer_to_a_head_has_a_length_and_no_content() {
        let mut bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n".to_vec();
        assert!(matches!(Answer::take(&mut bytes, true), Parsed::Whole(answer) if answer.body().is_empty()));
    }

    #[test]
    fn a_304_has_no_content_and_more_than_promised_is_strange() {
        assert_eq!(whole("HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n").body(), b"");
        for text in [
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nab",
            "HTTP/1.1 204 No Content\r\n\r\na",
            "hello\r\n\r\n",
        ] {
            assert!(matches!(Answer::take(&mut text.as_bytes().to_vec(), false), Parsed::Strange));
        }
    }
}
