//! The origin, which is honest, and what it says of each path.

use crate::crowd::{Origin, Plan};
use selvage_rig::scripted::Received;

/// How many paths there are.
pub const PATHS: usize = 2048;
/// What `Accept-Language` is asked with.
pub const LANGUAGES: [&str; 4] = ["en", "de", "fr;q=0.9, en", "*"];

/// Starts it.
pub fn start() -> Origin {
    Origin::forgetful(answer)
}

/// A path by its number.
pub fn path(number: usize) -> String {
    format!("/forged/{number}")
}

/// The status and the content of a path, for a client that asked for this language.
pub fn expected(number: usize, language: &str) -> (u16, Vec<u8>) {
    let text = |line: &str, times: usize| format!("{line} of {number}\n").repeat(times).into_bytes();
    match number % 8 {
        1 => (200, text("<p>a text that is worth its compression</p>", 60)),
        2 => (200, text(&format!("in {language}"), 20)),
        4 => (404, text("nothing", 1)),
        6 => (200, text("<p>compressed, and soon stale</p>", 40)),
        _ => (200, text("some bytes", 12)),
    }
}

fn answer(request: &Received) -> Plan {
    let Some(number) = request.target.strip_prefix("/forged/").and_then(|number| number.parse().ok()) else {
        return Plan { status: 404, ..Plan::default() };
    };
    let language = request.header("accept-language").unwrap_or_default();
    let (status, body) = expected(number, &language);
    let etag = format!("\"{number}\"");
    let fields = match number % 8 {
        0 => "cache-control: max-age=600\r\n".to_owned(),
        1 => "content-type: text/html\r\ncache-control: max-age=600\r\n".to_owned(),
        2 => "content-type: text/plain\r\nvary: accept-language\r\ncache-control: max-age=600\r\n".to_owned(),
        3 => format!("etag: {etag}\r\ncache-control: max-age=1, stale-while-revalidate=600\r\n"),
        4 => "cache-control: max-age=60\r\n".to_owned(),
        5 => format!("surrogate-key: all k{number}\r\ncache-control: max-age=2, stale-if-error=600\r\n"),
        6 => format!("content-type: text/html\r\netag: {etag}\r\ncache-control: max-age=1\r\n"),
        _ => "last-modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nvary: accept-encoding\r\n".to_owned(),
    };
    // What was forged may have another tag, and weak ones are compared as such.
    let known = request.header("if-none-match").is_some_and(|tags| tags.contains(&etag));
    if known && fields.contains("etag") {
        return Plan { status: 304, fields, ..Plan::default() };
    }
    Plan { status, fields, body, ..Plan::default() }
}
