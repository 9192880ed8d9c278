//! The operators' page, `GET /.selvage/`. It holds no figures: it asks for a token and fetches them with it, so that it
//! may be sent to anybody.
//!
//! Its source is `plugin/page/index.html`; `build.rs` compresses it and computes what its policy allows.

use super::Then;
use crate::coding::gzip;
use crate::coding::head::ACCEPT_ENCODING;
use crate::coding::negotiate::{Acceptable, Choice};
use crate::fields::FieldBlock;
use crate::reply::Reply;
use crate::request::Request;

/// Where it is.
const PATH: &[u8] = b"/.selvage/";
/// Its paths are relative to [`PATH`], so that it works behind a proxy that adds a prefix; without the slash they would
/// be another's.
const WITHOUT_SLASH: &[u8] = b"/.selvage";

const PAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/page.gz"));
const POLICY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/page.policy"));
/// More than it will ever be.
const LONGEST_PAGE: usize = 256 << 10;

/// Whether this is its path.
pub(super) fn is_at(path: &[u8]) -> bool {
    path == PATH || path == WITHOUT_SLASH
}

/// Answers the request if it is for the page.
pub(super) fn answer(request: &Request<'_>) -> Option<Then> {
    let path = request.path();
    if request.method == b"PURGE" || !is_at(path) {
        return None;
    }
    let mut block = FieldBlock::new();
    block.push(b"cache-control", b"no-store");
    let (status, body) = if !matches!(request.method, b"GET" | b"HEAD") {
        block.push(b"allow", b"GET, HEAD");
        (405, Vec::new())
    } else if path == WITHOUT_SLASH {
        block.push(b"location", b".selvage/");
        (308, Vec::new())
    } else {
        block.push(b"content-type", b"text/html; charset=utf-8");
        block.push(b"content-security-policy", POLICY);
        block.push(b"x-content-type-options", b"nosniff");
        block.push(b"referrer-policy", b"no-referrer");
        block.push(b"vary", ACCEPT_ENCODING);
        (200, content(request, &mut block))
    };
    let mut fields = Vec::new();
    block.write_with(&[], &mut fields);
    Some(Then::Respond(Reply::made(status, fields, body)))
}

/// The page in the coding that the client wants.
fn content(request: &Request<'_>, block: &mut FieldBlock) -> Vec<u8> {
    if Acceptable::parse(request.fields).choose() == Choice::Identity
        && let Ok(page) = gzip::inflate(PAGE, LONGEST_PAGE)
    {
        return page;
    }
    block.push(b"content-encoding", b"gzip");
    PAGE.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_small_and_asks_nobody_else_for_anything() {
        assert!(PAGE.len() <= 40_000, "{} bytes", PAGE.len());
        let page = String::from_utf8(gzip::inflate(PAGE, LONGEST_PAGE).unwrap()).unwrap();
        // What strangers asked for must stay text, and a browser would refuse styles and handlers in attributes.
        for word in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            " style=",
            " onclick=",
            "src=",
        ] {
            assert!(!page.contains(word), "{word}");
        }
        let elsewhere = page.replace("https://example.com/", "").replace("http://www.w3.org/2000/svg", "");
        for scheme in ["http://", "https://", "url(", "@import"] {
            assert!(!elsewhere.contains(scheme), "{scheme}");
        }
    }
}
