//! An exchange that somebody has saved, explained without the Envoy that it passed.

use std::time::Duration;

use serde_json::Value;

use super::message::{Message, Problem};
use super::{Answer, Explanation, Passage, Subject, explain};
use crate::cache::{Cache, Moment};
use crate::fields::FieldBlock;
use crate::freshness::date_of;
use crate::request::Request;
use crate::time::Timestamp;

/// A request, and perhaps its response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// The request.
    pub request: Message,
    /// The origin's response.
    pub response: Option<Message>,
    /// When whoever saved it says that it was sent.
    pub began: Option<Timestamp>,
}

impl Saved {
    /// When its response came: when that says so itself, not when somebody looks at it.
    pub fn came(&self) -> Option<Timestamp> {
        self.response.as_ref().and_then(|response| date_of(response.fields())).or(self.began)
    }

    /// What the cache would do with it.
    pub fn explain(&self, cache: &mut Cache, moment: &mut Moment<'_>) -> Explanation {
        let body = self.request.body.as_slice();
        let response = self.response.as_ref().map(|response| Answer {
            head: response.fields(),
            // A head alone, as `curl -I` shows it, says nothing about the length.
            length: Some(response.body.len()).filter(|length| *length > 0),
            requested: moment.now,
            by_origin: true,
        });
        let request = Request::read(self.request.fields(), !body.is_empty());
        let subject = Subject { request: &request, body: Some(body), response, passage: Passage::Ahead };
        explain(&subject, cache, moment)
    }

    /// Reads a HAR archive, or one entry of it, as browsers save them: its entries in their order.
    ///
    /// # Errors
    /// What is wrong with the first that cannot be read.
    pub fn of_har(json: &[u8]) -> Result<Vec<Self>, Problem> {
        let archive: Value =
            serde_json::from_slice(json).map_err(|fault| Problem(format!("no JSON: {fault}")))?;
        let entries = match archive.pointer("/log/entries").or_else(|| archive.get("entries")) {
            Some(Value::Array(entries)) => entries.as_slice(),
            Some(_) => return Err(Problem::new("log.entries is no list")),
            None if archive.get("request").is_some() => std::slice::from_ref(&archive),
            None => return Err(Problem::new("no HAR: neither log.entries nor request is there")),
        };
        entries.iter().enumerate().map(|(nth, entry)| of_entry(entry, nth)).collect()
    }
}

fn of_entry(entry: &Value, nth: usize) -> Result<Saved, Problem> {
    let problem = |what: &str| Problem(format!("entry {nth}: {what}"));
    let text = |pointer: &str| entry.pointer(pointer).and_then(Value::as_str);
    let (method, url) = (text("/request/method").unwrap_or("GET"), text("/request/url"));
    let url = url.ok_or_else(|| problem("request.url is missing"))?;
    // A fragment stays in the browser.
    let url = url.split('#').next().unwrap_or_default();
    let head = format!("{method} {url} HTTP/1.1\n");
    let mut request = Message::request(head.as_bytes(), "https").map_err(|fault| problem(&fault.0))?;
    push_fields(entry.pointer("/request/headers"), &mut request.head);
    request.body = text("/request/postData/text").unwrap_or_default().as_bytes().to_vec();
    let status = entry.pointer("/response/status").and_then(Value::as_u64);
    // Of what was blocked or broken off a browser saves the status 0.
    let response = status.filter(|status| (100..1000).contains(status)).map(|status| {
        let mut response = Message::default();
        response.head.push(b":status", status.to_string().as_bytes());
        push_fields(entry.pointer("/response/headers"), &mut response.head);
        let body = text("/response/content/text").filter(|_| text("/response/content/encoding").is_none());
        response.body = body.unwrap_or_default().as_bytes().to_vec();
        let size = entry.pointer("/response/content/size").and_then(Value::as_u64).filter(|size| *size > 0);
        if let (Some(size), true, None) =
            (size, response.body.is_empty(), response.head.fields().get(b"content-length"))
        {
            response.head.push(b"content-length", size.to_string().as_bytes());
        }
        response
    });
    Ok(Saved { request, response, began: text("/startedDateTime").and_then(moment_of) })
}

/// A moment as ISO 8601 has it in archives: with a fraction of a second, and in a zone.
fn moment_of(text: &str) -> Option<Timestamp> {
    let (seconds, rest) = text.split_at_checked(19)?;
    let moment = Timestamp::parse_rfc3339(format!("{seconds}Z").as_bytes())?;
    let (fraction, zone) = rest.split_at(rest.find(['Z', '+', '-']).unwrap_or(rest.len()));
    let digits = fraction.strip_prefix(['.', ',']).unwrap_or_default();
    let millis = format!("{digits:0<3}").get(..3)?.parse().ok()?;
    let moment = moment.plus(Duration::from_millis(millis));
    let apart = |zone: &str| {
        let (hours, minutes) = zone.split_once(':').or_else(|| zone.split_at_checked(2))?;
        let minutes = hours.parse::<u64>().ok()?.checked_mul(60)?.checked_add(minutes.parse().ok()?)?;
        (minutes < 24 * 60).then(|| Duration::from_secs(minutes * 60))
    };
    match (zone.strip_prefix('+'), zone.strip_prefix('-')) {
        (Some(east), _) => Some(moment.minus(apart(east)?)),
        (_, Some(west)) => Some(moment.plus(apart(west)?)),
        _ => Some(moment),
    }
}

/// Fields of a HAR message. Pseudo-headers stand in its own members, and Envoy makes `:authority` out of `Host`.
fn push_fields(of: Option<&Value>, head: &mut FieldBlock) {
    for field in of.and_then(Value::as_array).into_iter().flatten() {
        let part = |name: &str| field.get(name).and_then(Value::as_str).unwrap_or_default();
        let (name, value) = (part("name").to_ascii_lowercase(), part("value"));
        if name.is_empty() || name.starts_with(':') || name == "host" {
            continue;
        }
        // Chromium joins the lines of a field with line ends.
        for line in value.split('\n') {
            head.push(name.as_bytes(), line.trim().as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(more: &str) -> String {
        format!(
            r#"{{ "startedDateTime": "2026-12-01T02:00:00.250+02:00",
                 "request": {{ "method": "GET", "url": "https://a.test/x?y#z", "httpVersion": "h2",
                   "headers": [ {{ "name": ":authority", "value": "a.test" }}, {{ "name": "Host", "value": "a.test" }},
                                {{ "name": "Accept", "value": "text/html" }} ] }}{more} }}"#
        )
    }

    const RESPONSE: &str = r#", "response": { "status": 200,
        "headers": [ { "name": "Cache-Control", "value": "max-age=60" }, { "name": "Vary", "value": "a\nb" } ],
        "content": { "size": 7, "text": "aGVsbG8h", "encoding": "base64" } }"#;

    #[test]
    fn an_archive_and_an_entry_of_it_are_read_as_browsers_save_them() {
        let one = entry(RESPONSE);
        let archive = format!(r#"{{ "log": {{ "version": "1.2", "entries": [ {one}, {one} ] }} }}"#);
        assert_eq!(Saved::of_har(archive.as_bytes()).unwrap().len(), 2);
        let saved = Saved::of_har(one.as_bytes()).unwrap().remove(0);
        assert_eq!(saved.request.to_text(0), "GET https://a.test/x?y\naccept: text/html\n");
        assert_eq!(
            saved.response.as_ref().unwrap().to_text(0),
            "HTTP/1.1 200\ncache-control: max-age=60\nvary: a\nvary: b\ncontent-length: 7\n"
        );
        let at = Timestamp::parse_rfc3339(b"2026-12-01T00:00:00Z").unwrap().plus(Duration::from_millis(250));
        assert_eq!((saved.began, saved.came()), (Some(at), Some(at)));
    }

    #[test]
    fn what_was_blocked_has_no_response_and_what_is_no_archive_is_said() {
        for status in ["0", "-999", "\"error\"", "null"] {
            let blocked =
                entry(&format!(r#", "response": {{ "status": {status}, "headers": [], "content": {{}} }}"#));
            assert_eq!(Saved::of_har(blocked.as_bytes()).unwrap().remove(0).response, None, "{status}");
        }
        for (json, said) in [
            ("{", "no JSON: "),
            ("{}", "no HAR: "),
            ("[1]", "no HAR: "),
            (r#"{"log":{"entries":7}}"#, "log.entries is no list"),
            (r#"{"log":{"entries":[{}]}}"#, "entry 0: request.url is missing"),
            (
                r#"{"request":{"url":"about:blank"}}"#,
                "entry 0: the request has no Host, and its target no scheme",
            ),
        ] {
            let problem = Saved::of_har(json.as_bytes()).unwrap_err();
            assert!(problem.0.starts_with(said), "{json}: {problem}");
        }
    }

    #[test]
    fn moments_have_fractions_and_zones() {
        let millis = |text: &str| moment_of(text).map(|at| at.as_millis() - 1_796_090_400_000);
        for (text, after) in [
            ("2026-12-01T02:00:00Z", Some(0)),
            ("2026-12-01T02:00:00.5Z", Some(500)),
            ("2026-12-01T02:00:00.123456Z", Some(123)),
            ("2026-12-01T03:30:00+0130", Some(0)),
            ("2026-12-01T00:00:01-02:00", Some(1000)),
            ("2026-12-01T02:00:00", Some(0)),
            ("2026-12-01T02:00:00+99:00", None),
            ("2026-12-01", None),
            ("2026-12-01T02:00:0\u{e9}Z", None),
        ] {
            assert_eq!(millis(text), after, "{text}");
        }
    }
}
