//! What each path answers.

use std::borrow::Cow;
use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::{ACCEPT_LANGUAGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH};
use hyper::{Method, StatusCode};

/// A request; what its body was is no matter.
pub type Request<B> = hyper::Request<B>;

/// A response with the whole of its body.
pub type Response = hyper::Response<Bytes>;

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
pub fn delay<B>(request: &Request<B>) -> Duration {
    let slow = request.uri().path() == "/slow";
    let ms = if slow { number(request, "ms").unwrap_or(1_000) } else { 0 };
    Duration::from_millis(ms.min(MAX_DELAY_MS))
}

/// Whether the request is one that the counter counts.
pub fn counts<B>(request: &Request<B>) -> bool {
    request.uri().path() != "/count"
}

/// The response to a request, the `count`th that this process has seen.
pub fn respond<B>(request: &Request<B>, count: u64) -> Response {
    let Page { status, fields, body } = page(request, count);
    let mut response = Response::new(body);
    let head = response.headers_mut();
    head.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    head.insert(HeaderName::from_static("x-origin-count"), count.into());
    for (name, value) in fields {
        head.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let known = matches!(*request.method(), Method::GET | Method::HEAD)
        && text(head, &ETAG)
            .zip(text(request.headers(), &IF_NONE_MATCH))
            .is_some_and(|(tag, asked)| matches(&tag, &asked));
    if request.uri().path() == "/say" {
        head.extend(said(request));
    }
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = Bytes::new();
    } else {
        *response.status_mut() = status;
    }
    response
}

/// A page of one file. What it may do it says itself; that no other page may show it within itself only a server can say.
pub fn whole<B>(request: &Request<B>, content: &Bytes) -> Response {
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/") => (StatusCode::OK, content.clone()),
        (&Method::GET | &Method::HEAD, _) => {
            (StatusCode::NOT_FOUND, Bytes::from_static(b"not here: / is the page\n"))
        }
        _ => (StatusCode::METHOD_NOT_ALLOWED, Bytes::new()),
    };
    let mut response = Response::new(body);
    let head = response.headers_mut();
    for (name, value) in [
        (
            "content-type",
            if status == StatusCode::OK { "text/html; charset=utf-8" } else { "text/plain; charset=utf-8" },
        ),
        ("content-security-policy", "frame-ancestors 'none'"),
        ("cross-origin-opener-policy", "same-origin"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-cache"),
    ] {
        head.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    *response.status_mut() = status;
    response
}

struct Page {
    status: StatusCode,
    fields: &'static [(&'static str, &'static str)],
    body: Bytes,
}

fn page<B>(request: &Request<B>, count: u64) -> Page {
    let told = |what: &str| format!("{what}\nrequests at the origin: {count}\n").into();
    let of = |fields, what: &str| Page { status: StatusCode::OK, fields, body: told(what) };
    match request.uri().path() {
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
            let language = text(request.headers(), &ACCEPT_LANGUAGE).unwrap_or("none".into());
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
        "/count" => Page { body: format!("{count}\n").into(), ..of(&[("cache-control", "no-store")], "") },
        "/say" => Page { status: status(request, 200).unwrap_or(StatusCode::OK), ..of(&[], "as you say") },
        "/error" => {
            let status = status(request, 400).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Page { status, ..of(&[], &format!("error {}", status.as_u16())) }
        }
        _ => Page { status: StatusCode::NOT_FOUND, ..of(&[], "nothing here; / lists the paths") },
    }
}

/// The names and values in the query.
fn parts<B>(request: &Request<B>) -> impl Iterator<Item = (&str, &str)> {
    request.uri().query().unwrap_or_default().split('&').filter_map(|part| part.split_once('='))
}

/// A number in the query, such as `ms` in `?ms=200`.
fn number<B>(request: &Request<B>, name: &str) -> Option<u64> {
    parts(request).find(|(key, _)| *key == name)?.1.parse().ok()
}

/// The status that is asked for, from `least` to 599.
fn status<B>(request: &Request<B>, least: u16) -> Option<StatusCode> {
    let asked = number(request, "status").and_then(|status| u16::try_from(status).ok())?;
    StatusCode::from_u16(asked).ok().filter(|_| (least..600).contains(&asked))
}

/// The first value of a field as text.
fn text<'a>(head: &'a HeaderMap, name: &HeaderName) -> Option<Cow<'a, str>> {
    head.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()))
}

/// The fields that the query names, of those that tell caches something.
fn said<B>(request: &Request<B>) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    parts(request).filter_map(|(name, value)| {
        let name = SAYABLE.into_iter().find(|known| *known == name)?;
        Some((HeaderName::from_static(name), HeaderValue::try_from(decoded(value)).ok()?))
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
fn large<B>(request: &Request<B>) -> Page {
    let size = usize::try_from(number(request, "bytes").unwrap_or(MIB).min(MAX_LARGE_BYTES)).unwrap_or(0);
    let mut body = b"0123456789abcde\n".repeat(size.div_ceil(16));
    body.truncate(size);
    let mut fields: &[_] =
        &[("cache-control", "max-age=60"), ("etag", "\"large\""), ("transfer-encoding", "chunked")];
    if number(request, "chunked") != Some(1) {
        fields = fields.split_last().map_or(fields, |(_, others)| others);
    }
    Page { status: StatusCode::OK, fields, body: body.into() }
}

/// Weak comparison of a list of entity tags with one (RFC 9110 §13.1.2).
fn matches(tag: &str, asked: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    asked.trim() == "*" || asked.split(',').any(|one| opaque(one) == opaque(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &str) -> Request<()> {
        Request::get(target).body(()).unwrap()
    }

    fn get(target: &str) -> Response {
        respond(&request(target), 7)
    }

    fn get_with(target: &str, name: &str, value: &str) -> Response {
        respond(&Request::get(target).header(name, value).body(()).unwrap(), 7)
    }

    fn field<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
        response.headers().get(name).map(|value| value.to_str().unwrap())
    }

    #[test]
    fn a_response_says_what_it_is_told_and_no_more() {
        let said = get(
            "/say?cache-control=max-age%3D60,+public&vary=*&x-other=1&etag=%22a%22%0d%0aevil:1&status=404",
        );
        assert_eq!(said.status(), 404);
        assert_eq!(field(&said, "cache-control"), Some("max-age=60, public"));
        assert_eq!((field(&said, "vary"), field(&said, "x-other")), (Some("*"), None));
        assert_eq!(field(&said, "etag"), Some("\"a\"evil:1"));
        assert_eq!(get("/say?status=101").status(), 200);
        assert_eq!(field(&get("/fresh?vary=*"), "vary"), None);
    }

    #[test]
    fn every_response_tells_the_count() {
        for target in
            ["/", "/fresh", "/stale", "/vary", "/private", "/large", "/error", "/cookie", "/nostore", "/x"]
        {
            assert_eq!(field(&get(target), "x-origin-count"), Some("7"), "{target}");
        }
        assert!(get("/fresh").body().ends_with(b"requests at the origin: 7\n"));
        assert_eq!(get("/count").body().as_ref(), b"7\n");
    }

    #[test]
    fn a_matching_tag_is_answered_304_without_a_body() {
        let response = get_with("/fresh", "If-None-Match", "\"x\", \"fresh\"");
        assert_eq!((response.status().as_u16(), response.body().len()), (304, 0));
        assert_eq!(field(&response, "etag"), Some("W/\"fresh\""));
        assert_eq!(get_with("/fresh", "If-None-Match", "\"other\"").status(), 200);
        assert_eq!(get_with("/private", "If-None-Match", "*").status(), 200);
    }

    #[test]
    fn variants_differ_by_language() {
        assert_ne!(
            get_with("/vary", "Accept-Language", "de").body(),
            get_with("/vary", "Accept-Language", "fr").body()
        );
        assert_eq!(field(&get("/vary"), "vary"), Some("Accept-Language"));
    }

    #[test]
    fn sizes_statuses_and_delays_are_bounded() {
        assert_eq!(get("/large").body().len(), 1_048_576);
        assert_eq!(get("/large?bytes=99999999999").body().len(), 8 * 1_048_576);
        assert_eq!(field(&get("/large?bytes=3"), "transfer-encoding"), None);
        assert_eq!(field(&get("/large?bytes=3&chunked=1"), "transfer-encoding"), Some("chunked"));
        assert_eq!(get("/error").status(), 500);
        assert_eq!(get("/error?status=503").status(), 503);
        assert_eq!(get("/error?status=200").status(), 500);
        assert_eq!(delay(&request("/slow?ms=60000")), Duration::from_secs(5));
        assert_eq!(delay(&request("/fresh?ms=60000")), Duration::ZERO);
    }
}
