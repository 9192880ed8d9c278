//! What each path answers.

use std::time::{Duration, SystemTime};

use crate::date::http_date;
use crate::message::{Framing, Request, Response};

/// The paths and what they show, as `/` lists them.
const INDEX: &str = "\
/fresh              fresh for a minute, with an ETag and the tag `demo`
/stale              fresh for a second, then usable while revalidating or when the origin fails
/vary               one variant for each Accept-Language
/private            for one user only
/nostore            never to be stored
/cookie             sets a cookie
/large?bytes=N      1 MiB, or N bytes up to 8 MiB; &chunked=1 without a length
/say?FIELD=VALUE    a response with these fields, such as cache-control=max-age%3D60&vary=*; status=N
/error?status=N     500, or a status from 400 to 599
/slow?ms=N          waits a second, or N milliseconds up to 5 s
/count              how many requests have reached this origin; itself not counted
";

const MIB: u64 = 1024 * 1024;
const MAX_LARGE_BYTES: u64 = 8 * MIB;
const MAX_DELAY_MS: u64 = 5_000;

/// How long the request has to wait for its response.
pub fn delay(request: &Request) -> Duration {
    let ms = if request.path == "/slow" { request.number("ms").unwrap_or(1_000) } else { 0 };
    Duration::from_millis(ms.min(MAX_DELAY_MS))
}

/// Whether the request is one that the counter counts.
pub fn counts(request: &Request) -> bool {
    request.path != "/count"
}

/// The response to a request, the `count`th that this process has seen.
pub fn respond(request: &Request, count: u64) -> Response {
    let page = page(request, count);
    let mut fields = vec![
        ("date", http_date(SystemTime::now())),
        ("content-type", "text/plain; charset=utf-8".to_owned()),
        ("x-origin-count", count.to_string()),
    ];
    fields.extend(page.fields.iter().map(|(name, value)| (*name, (*value).to_owned())));
    if request.path == "/say" {
        fields.extend(said(request));
    }
    let entity_tag = page.fields.iter().find(|(name, _)| *name == "etag").map(|(_, value)| *value);
    let known = matches!(request.method.as_str(), "GET" | "HEAD")
        && entity_tag.zip(request.field("if-none-match")).is_some_and(|(tag, asked)| matches(tag, asked));
    if known {
        return Response { status: 304, fields, body: Vec::new(), framing: Framing::Length };
    }
    Response { status: page.status, fields, body: page.body, framing: page.framing }
}

struct Page {
    status: u16,
    fields: &'static [(&'static str, &'static str)],
    body: Vec<u8>,
    framing: Framing,
}

fn page(request: &Request, count: u64) -> Page {
    let told = |what: &str| format!("{what}\nrequests at the origin: {count}\n").into_bytes();
    let of = |fields, what: &str| Page { status: 200, fields, body: told(what), framing: Framing::Length };
    match request.path.as_str() {
        "/" => of(&[("cache-control", "max-age=60")], INDEX),
        // The tags are weak: the counter in the body may move while they stay.
        "/fresh" => of(
            &[("cache-control", "max-age=60"), ("etag", "W/\"fresh\""), ("surrogate-key", "demo")],
            "fresh for a minute",
        ),
        "/stale" => of(
            &[
                ("cache-control", "max-age=1, stale-while-revalidate=30, stale-if-error=300"),
                ("etag", "W/\"stale\""),
            ],
            "fresh for a second",
        ),
        "/vary" => {
            let language = request.field("accept-language").unwrap_or("none");
            of(
                &[("cache-control", "max-age=60"), ("vary", "Accept-Language")],
                &format!("accept-language: {language}"),
            )
        }
        "/private" => of(&[("cache-control", "private, max-age=60")], "for one user only"),
        "/nostore" => of(&[("cache-control", "no-store")], "never stored"),
        "/cookie" => {
            of(&[("cache-control", "max-age=60"), ("set-cookie", "visited=yes; Path=/")], "sets a cookie")
        }
        "/slow" => of(&[("cache-control", "max-age=60")], "slow"),
        "/large" => large(request),
        "/count" => {
            Page { body: format!("{count}\n").into_bytes(), ..of(&[("cache-control", "no-store")], "") }
        }
        "/say" => {
            let asked = request.number("status").and_then(|status| u16::try_from(status).ok());
            let status = asked.filter(|status| (200..600).contains(status)).unwrap_or(200);
            Page { status, ..of(&[], "as you say") }
        }
        "/error" => {
            let asked = request.number("status").and_then(|status| u16::try_from(status).ok());
            let status = asked.filter(|status| (400..600).contains(status)).unwrap_or(500);
            Page { status, ..of(&[], &format!("error {status}")) }
        }
        _ => Page { status: 404, ..of(&[], "nothing here; / lists the paths") },
    }
}

/// The fields that the query names, of those that tell caches something.
fn said(request: &Request) -> impl Iterator<Item = (&'static str, String)> {
    let parts = request.query.split('&').filter_map(|part| part.split_once('='));
    parts.filter_map(|(name, value)| {
        let name = SAYABLE.into_iter().find(|known| *known == name)?;
        Some((name, decoded(value)))
    })
}

/// A value out of a query, without what has no place in a field.
fn decoded(value: &str) -> String {
    let mut bytes = value.bytes();
    let mut out = String::new();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'+' => b' ',
            b'%' => {
                let digits: Vec<u8> = bytes.by_ref().take(2).collect();
                let digits = String::from_utf8(digits).unwrap_or_default();
                u8::from_str_radix(&digits, 16).unwrap_or(b'%')
            }
            other => other,
        };
        if matches!(byte, b' '..=b'~') {
            out.push(char::from(byte));
        }
    }
    out
}

const SAYABLE: [&str; 12] = [
    "age",
    "cache-control",
    "cdn-cache-control",
    "content-location",
    "etag",
    "expires",
    "last-modified",
    "location",
    "pragma",
    "set-cookie",
    "surrogate-key",
    "vary",
];

/// The same bytes for every request of the same size, so that a strong validator is true. Only the field has the counter.
fn large(request: &Request) -> Page {
    let size = usize::try_from(request.number("bytes").unwrap_or(MIB).min(MAX_LARGE_BYTES)).unwrap_or(0);
    let framing = if request.number("chunked") == Some(1) { Framing::Chunked } else { Framing::Length };
    let body = b"0123456789abcde\n".iter().copied().cycle().take(size).collect();
    let fields = &[("cache-control", "max-age=60"), ("etag", "\"large\"")];
    Page { status: 200, fields, body, framing }
}

/// Weak comparison of a list of entity tags with one (RFC 9110 §13.1.2).
fn matches(tag: &str, asked: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    asked.trim() == "*" || asked.split(',').any(|one| opaque(one) == opaque(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(target: &str, fields: &str) -> Response {
        let text = format!("GET {target} HTTP/1.1\r\n{fields}\r\n");
        respond(&Request::read(&mut text.as_bytes()).unwrap().unwrap(), 7)
    }

    fn field<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
        response.fields.iter().find(|(other, _)| *other == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn a_response_says_what_it_is_told_and_no_more() {
        let said = get(
            "/say?cache-control=max-age%3D60,+public&vary=*&x-other=1&etag=%22a%22%0d%0aevil:1&status=404",
            "",
        );
        assert_eq!(said.status, 404);
        assert_eq!(field(&said, "cache-control"), Some("max-age=60, public"));
        assert_eq!((field(&said, "vary"), field(&said, "x-other")), (Some("*"), None));
        assert_eq!(field(&said, "etag"), Some("\"a\"evil:1"));
        assert_eq!(get("/say?status=101", "").status, 200);
        assert_eq!(field(&get("/fresh?vary=*", ""), "vary"), None);
    }

    #[test]
    fn every_response_tells_the_count() {
        for target in
            ["/", "/fresh", "/stale", "/vary", "/private", "/large", "/error", "/cookie", "/nostore", "/x"]
        {
            assert_eq!(field(&get(target, ""), "x-origin-count"), Some("7"), "{target}");
        }
        assert!(String::from_utf8(get("/fresh", "").body).unwrap().contains("requests at the origin: 7"));
        assert_eq!(get("/count", "").body, b"7\n");
    }

    #[test]
    fn a_matching_tag_is_answered_304_without_a_body() {
        let response = get("/fresh", "If-None-Match: \"x\", \"fresh\"\r\n");
        assert_eq!((response.status, response.body.len()), (304, 0));
        assert_eq!(field(&response, "etag"), Some("W/\"fresh\""));
        assert_eq!(get("/fresh", "If-None-Match: \"other\"\r\n").status, 200);
        assert_eq!(get("/private", "If-None-Match: *\r\n").status, 200);
    }

    #[test]
    fn variants_differ_by_language() {
        assert_ne!(
            get("/vary", "Accept-Language: de\r\n").body,
            get("/vary", "Accept-Language: fr\r\n").body
        );
        assert_eq!(field(&get("/vary", ""), "vary"), Some("Accept-Language"));
    }

    #[test]
    fn sizes_statuses_and_delays_are_bounded() {
        assert_eq!(get("/large", "").body.len(), 1_048_576);
        assert_eq!(get("/large?bytes=99999999999", "").body.len(), 8 * 1_048_576);
        assert_eq!(get("/large?bytes=3&chunked=1", "").framing, Framing::Chunked);
        assert_eq!(get("/error", "").status, 500);
        assert_eq!(get("/error?status=503", "").status, 503);
        assert_eq!(get("/error?status=200", "").status, 500);
        let request = |target: &str| {
            Request::read(&mut format!("GET {target} HTTP/1.1\r\n\r\n").as_bytes()).unwrap().unwrap()
        };
        assert_eq!(delay(&request("/slow?ms=60000")), Duration::from_secs(5));
        assert_eq!(delay(&request("/fresh?ms=60000")), Duration::ZERO);
    }
}
