//! What operators ask to be explained: a URL in a query, or a request, and perhaps its response, in JSON.

use serde_json::{Map, Value};

use super::{Answer, Passage, Subject, explain};
use crate::cache::{Cache, Moment};
use crate::fields::FieldBlock;
use crate::purge::request::Fault;
use crate::request::Request;
use crate::uri::{octet, split_path};

/// A request, and perhaps a response, that somebody wants to be explained.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// The request's head.
    pub head: FieldBlock,
    /// The request's content; empty if it has none.
    pub body: Vec<u8>,
    /// The response's head, and the length of its content if that is known.
    pub response: Option<(FieldBlock, Option<usize>)>,
}

impl Question {
    /// Reads the query of an operator's own request, `url=…&method=…`. What the URL lacks is taken from that request.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of_query(operators: &Request<'_>) -> Result<Self, Fault> {
        let (_, query) = split_path(operators.target);
        let (mut url, mut method) = (None, b"GET".to_vec());
        for parameter in query.unwrap_or_default().split(|byte| *byte == b'&') {
            let mut halves = parameter.splitn(2, |byte| *byte == b'=');
            match (halves.next(), halves.next().map(decoded)) {
                (Some(b"url"), Some(value)) => url = Some(value),
                (Some(b"method"), Some(value)) => method = value,
                _ => return fault("query", "url=URL, %-encoded, and method=METHOD"),
            }
        }
        let Some(url) = url else { return fault("query.url", URL) };
        Ok(Self { head: head(&method, &url, operators)?, ..Self::default() })
    }

    /// Reads JSON: `url`, and as they apply `method`, `headers`, `body`, and `response` with `status`, `headers`, `bytes`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of_json(json: &[u8]) -> Result<Self, Fault> {
        let Ok(Value::Object(members)) = serde_json::from_slice::<Value>(json) else {
            return fault("body", "a JSON object");
        };
        const MEMBERS: [&str; 5] = ["url", "method", "headers", "body", "response"];
        if members.keys().any(|name| !MEMBERS.contains(&name.as_str())) {
            return fault("body", "the members url, method, headers, body and response");
        }
        let text = |name: &'static str, default| match members.get(name) {
            None => Ok(default),
            Some(Value::String(text)) => Ok(text.as_str()),
            Some(_) => fault(name, "a text"),
        };
        let url = text("url", "")?;
        let nobody = Request { scheme: b"https", ..Request::default() };
        let mut head = head(text("method", "GET")?.as_bytes(), url.as_bytes(), &nobody)?;
        push_headers(&members, "headers", &mut head)?;
        let response = match members.get("response") {
            None => None,
            Some(Value::Object(response)) => {
                let status = response.get("status").and_then(Value::as_u64).unwrap_or(200);
                let mut head = FieldBlock::new();
                head.push(b":status", status.to_string().as_bytes());
                push_headers(response, "headers", &mut head)?;
                let bytes = response.get("bytes").and_then(Value::as_u64);
                Some((head, bytes.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX))))
            }
            Some(_) => return fault("response", "an object with status, headers and bytes"),
        };
        Ok(Self { head, body: text("body", "")?.as_bytes().to_vec(), response })
    }

    /// The answer, as JSON.
    pub fn answer(&self, cache: &mut Cache, moment: &mut Moment<'_>) -> Value {
        let request = Request::read(self.head.fields(), !self.body.is_empty());
        let response = self.response.as_ref().map(|(head, length)| Answer {
            head: head.fields(),
            length: *length,
            requested: moment.now,
            by_origin: true,
        });
        let passage = Passage::Ahead;
        let subject = Subject { request: &request, body: Some(&self.body), response, passage };
        explain(&subject, cache, moment).to_json()
    }
}

/// The head of a request for a URL: one with a scheme, one that begins with a host, or one that begins with `/`.
fn head(method: &[u8], url: &[u8], operators: &Request<'_>) -> Result<FieldBlock, Fault> {
    let url = url.split(|byte| *byte == b'#').next().unwrap_or_default();
    let separator = url.windows(3).position(|window| window == b"://");
    // Schemes are read in either case (RFC 3986 §3.1).
    let known = |scheme: &[u8]| matches!(scheme, b"http" | b"https");
    let scheme = separator.and_then(|at| url.get(..at)).map(<[u8]>::to_ascii_lowercase);
    let scheme = scheme.as_deref().filter(|scheme| known(scheme));
    let rest = scheme.and_then(|scheme| url.get(scheme.len() + 3..)).unwrap_or(url);
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let (authority, target) = rest.split_at_checked(end).unwrap_or_default();
    if rest.is_empty() || authority.is_empty() && (scheme.is_some() || operators.authority.is_empty()) {
        return fault("url", URL);
    }
    let authority = if authority.is_empty() { operators.authority } else { authority };
    let target = if target.first() == Some(&b'/') { target.to_vec() } else { [b"/", target].concat() };
    let mut block = FieldBlock::new();
    block.push(b":method", method);
    block.push(b":scheme", scheme.unwrap_or(operators.scheme));
    block.push(b":authority", authority);
    block.push(b":path", &target);
    Ok(block)
}

/// Fields of a JSON object: a text, or a list of texts for several lines.
fn push_headers(of: &Map<String, Value>, member: &'static str, block: &mut FieldBlock) -> Result<(), Fault> {
    let Some(headers) = of.get(member) else { return Ok(()) };
    let Value::Object(headers) = headers else { return fault(member, HEADERS) };
    for (name, value) in headers {
        let lines =
            if let Value::Array(lines) = value { lines.as_slice() } else { std::slice::from_ref(value) };
        for line in lines {
            let (Value::String(line), false) = (line, name.is_empty() || name.starts_with(':')) else {
                return fault(member, HEADERS);
            };
            block.push(name.to_ascii_lowercase().as_bytes(), line.as_bytes());
        }
    }
    Ok(())
}

/// A value of a query, its escapes decoded once.
fn decoded(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let [first, tail @ ..] = rest {
        let escaped = match rest {
            [b'%', high, low, after @ ..] => octet(*high, *low).map(|byte| (byte, after)),
            _ => None,
        };
        let (byte, after) = escaped.unwrap_or((*first, tail));
        out.push(byte);
        rest = after;
    }
    out
}

fn fault<T>(path: &str, allowed: &'static str) -> Result<T, Fault> {
    Err(Fault { path: path.into(), allowed })
}

const URL: &str =
    "a URL such as \"https://example.com/a?b\"; in a query also \"/a?b\" for the host that is asked";
const HEADERS: &str = "an object from field names to texts or lists of texts";

#[cfg(test)]
mod tests {
    use super::*;

    fn operators(target: &str) -> Request<'_> {
        Request { scheme: b"http", authority: b"a.test", target: target.as_bytes(), ..Request::default() }
    }

    fn shown(question: &Question) -> String {
        let value = |name: &[u8]| {
            String::from_utf8_lossy(question.head.fields().get(name).unwrap_or_default()).into_owned()
        };
        format!("{} {}://{}{}", value(b":method"), value(b":scheme"), value(b":authority"), value(b":path"))
    }

    #[test]
    fn a_query_names_a_url_that_may_lack_what_the_request_has() {
        for (query, asked) in [
            ("url=https://b.test/x%3Fy%26z", "GET https://b.test/x?y&z"),
            ("url=/x&method=POST", "POST http://a.test/x"),
            ("url=b.test", "GET http://b.test/"),
            ("url=HTTPS://b.test/x", "GET https://b.test/x"),
            ("url=b.test%3Fq", "GET http://b.test/?q"),
            ("url=/a%2520b%25zz%zz%23f", "GET http://a.test/a%20b%zz%zz"),
        ] {
            let target = format!("/.selvage/explain?{query}");
            let question = Question::of_query(&operators(&target)).unwrap();
            assert_eq!(shown(&question), asked, "{query}");
        }
        for query in ["", "url", "url=", "uri=/x", "url=http:///x", "url=/x&y=1"] {
            let target = format!("/.selvage/explain?{query}");
            assert!(Question::of_query(&operators(&target)).is_err(), "{query}");
        }
    }

    #[test]
    fn json_names_a_request_and_perhaps_its_response() {
        let json = br#"{"url":"a.test/x","method":"PUT","headers":{"Accept":"a","X":["1","2"]},"body":"b",
            "response":{"status":404,"headers":{"Vary":"*"},"bytes":7}}"#;
        let question = Question::of_json(json).unwrap();
        assert_eq!(shown(&question), "PUT https://a.test/x");
        let fields = question.head.fields();
        assert_eq!((fields.get(b"accept"), fields.all(b"x").count()), (Some(&b"a"[..]), 2));
        let (response, bytes) = question.response.unwrap();
        assert_eq!((response.fields().get(b":status"), bytes), (Some(&b"404"[..]), Some(7)));
        for (json, place) in [
            ("[]", "body"),
            ("{}", "url"),
            (r#"{"url":7}"#, "url"),
            (r#"{"url":"/x"}"#, "url"),
            (r#"{"url":"/x","uri":""}"#, "body"),
            (r#"{"url":"a/x","headers":[]}"#, "headers"),
            (r#"{"url":"a/x","headers":{":path":"/y"}}"#, "headers"),
            (r#"{"url":"a/x","headers":{"a":1}}"#, "headers"),
            (r#"{"url":"a/x","response":1}"#, "response"),
        ] {
            assert_eq!(Question::of_json(json.as_bytes()).unwrap_err().path, place, "{json}");
        }
    }
}
