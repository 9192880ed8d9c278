//! Bodies that are checked, as Envoy shows them: with their heads held, after those have gone, and with trailers.

use selvage_host::{Gateway, Headers, OriginResponse, Stream};

use crate::cache_status;

const PNG: &[u8] =
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR and more than sixty-four bytes of a picture, so that it is known";
const PAGE: &[u8] =
    b"<html><script>alert(1)</script> and more than sixty-four bytes of a page, so that it is known";
const RULES: &str =
    r#"{"defaults":{"bypass":true,"upload":{"types":["image/png"],"sniff":true,"max_bytes":1000}}}"#;

fn gateway(shows_bodies: bool) -> Gateway {
    let gateway = Gateway::with(RULES).origin(|_| OriginResponse::ok("taken"));
    if shows_bodies { gateway.shows_bodies().start() } else { gateway.start() }
}

fn opened(gateway: &Gateway, chunks: &[&[u8]]) -> Stream {
    let post = gateway.post("/a").header("content-type", "image/png");
    chunks.iter().fold(post, |post, chunk| post.body(chunk)).open(0)
}

/// The origin had nothing of it, and the client has this answer.
#[track_caller]
fn refused(stream: &Stream, status: u16, detail: &str) {
    assert_eq!((stream.status(), cache_status(stream)), (status, format!("Selvage; detail={detail}")));
    let upstream = stream.upstream();
    assert!(upstream.headers.is_none() && upstream.body.is_empty());
}

#[test]
fn a_head_waits_for_the_first_bytes_and_all_of_it_goes_on() {
    let gateway = gateway(true);
    let stream = opened(&gateway, &[&PNG[..3], &PNG[3..40], &PNG[40..], b"more"]);
    stream.request_headers();
    assert!(stream.is_paused() && stream.upstream().headers.is_none());
    stream.request_rest();
    assert_eq!(stream.upstream().body, [PNG, b"more"].concat());
    let stream = opened(&gateway, &[&PAGE[..3], &PAGE[3..40], &PAGE[40..], b"more"]);
    stream.request_headers().request_rest();
    refused(&stream, 415, "upload-content");
    gateway.advance(1);
    gateway.tick();
    assert_eq!(gateway.metric("selvage.uploads.passed"), Some(1));
    assert_eq!(gateway.metric("selvage.uploads.refused"), Some(1));
}

#[test]
fn trailers_end_a_body_and_let_nothing_by() {
    let gateway = gateway(true);
    let with_trailers = |body: &[u8]| {
        let post = gateway.post("/a").header("content-type", "image/png").body(body).trailer("x-a", "b");
        let stream = post.open(0);
        stream.request_headers().request_rest();
        stream
    };
    refused(&with_trailers(b"<html>"), 415, "upload-content");
    let stream = with_trailers(&PNG[..20]);
    assert_eq!(stream.upstream().body, &PNG[..20]);
    assert!(stream.upstream().trailers.is_some());
}

#[test]
fn a_body_that_grows_too_long_ends_what_is_at_the_origin() {
    let gateway = gateway(true);
    let stream = opened(&gateway, &[PNG, &[b'x'; 500], &[b'x'; 500], b"never"]);
    stream.request_headers().request_rest();
    assert_eq!(
        (stream.status(), cache_status(&stream)),
        (413, "Selvage; detail=upload-too-large".to_owned())
    );
    assert_eq!(stream.upstream().body.len(), PNG.len() + 500);
    gateway.advance(1);
    gateway.tick();
    assert_eq!(gateway.metric("selvage.uploads.refused"), Some(1));
    assert_eq!(gateway.worker(0).open_streams(), 0);
}

#[test]
fn a_slow_client_is_waited_for_once_bodies_have_been_seen_to_come() {
    let gateway = gateway(true);
    let first = opened(&gateway, &[PNG]);
    first.request_headers().request_rest();
    let slow = opened(&gateway, &[PAGE]);
    slow.request_headers();
    for _ in 0..10 {
        gateway.advance(1);
        gateway.tick();
    }
    assert!(slow.is_paused() && slow.upstream().headers.is_none());
    slow.request_rest();
    refused(&slow, 415, "upload-content");
}

#[test]
fn where_heads_cannot_wait_no_byte_of_a_wrong_body_goes() {
    let gateway = gateway(false);
    for (body, status) in [(PAGE, 415), (PNG, 0)] {
        let stream = opened(&gateway, &[&body[..5], &body[5..]]);
        stream.request_headers();
        assert!(stream.upstream().headers.is_none());
        gateway.advance(1);
        gateway.tick();
        gateway.advance(1);
        gateway.tick();
        stream.request_rest();
        assert!(stream.upstream().headers.is_some());
        assert_eq!(stream.status(), status);
        assert_eq!(stream.upstream().body, if status == 0 { body } else { b"" });
        if status == 0 {
            stream.respond(Headers::from([(":status", "201")]));
            assert_eq!(stream.status(), 201);
        }
    }
    let warned = gateway.logs().iter().any(|line| line.message.contains("allow_on_headers_stop_iteration"));
    assert!(warned);
}
