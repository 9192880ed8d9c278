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

const FORMS: &str = r#"{"pools":[{"name":"p","fixed":1,"queue":{"wait":{"normal":"60s"}}}],
  "defaults":{"bypass":true,"upload":{"types":["image/png"],"sniff":true}},
  "rules":[{"name":"queued","match":{"paths":["/queued"]},"admission":{"pool":"p"}}]}"#;

fn file(content: &[u8]) -> Vec<u8> {
    let head = "--bound\r\nContent-Disposition: form-data; name=a; filename=a.png\r\nContent-Type: image/png\r\n\r\n";
    [head.as_bytes(), content, b"\r\n"].concat()
}

fn sent(gateway: &Gateway, path: &str, chunks: &[&[u8]]) -> Stream {
    let post = gateway.post(path).header("content-type", "multipart/form-data; boundary=bound");
    let stream = chunks.iter().fold(post, |post, chunk| post.body(chunk)).open(0);
    stream.request_headers();
    stream
}

/// However a form is cut: all of it gets to the origin, or of a wrong file nothing. Envoy answers 413 where more than a megabyte
/// gathers.
#[test]
fn forms_of_any_length_are_let_through_whole_and_of_a_wrong_file_nothing() {
    let gateway = Gateway::with(FORMS).shows_bodies().origin(|_| OriginResponse::ok("taken")).start();
    let long = |content: &[u8]| file(&[content, &vec![b'x'; 1_500_000]].concat());
    let mut seed = 7_u64;
    let mut random = |most: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % most
    };
    for turn in 0..120 {
        let is_wrong = turn % 3 == 0;
        let files =
            [long(PNG), file(PNG), file(b""), file(if is_wrong { PAGE } else { PNG }), long(PNG), file(PNG)];
        let bad = files[..3].iter().map(Vec::len).sum::<usize>() + file(b"").len() - 2;
        let form = [files.concat(), b"--bound--\r\n".to_vec()].concat();
        // Near where parts begin, and anywhere.
        let mut cuts: Vec<usize> = (0..random(6)).map(|_| random(form.len())).collect();
        cuts.extend((0..random(8)).map(|_| bad.saturating_sub(300) + random(400)));
        cuts.extend((0..random(3)).map(|_| random(600)));
        cuts.sort_unstable();
        let mut chunks: Vec<&[u8]> = Vec::new();
        let mut at = 0;
        for cut in cuts.into_iter().chain([form.len()]) {
            chunks.push(&form[at..cut]);
            at = cut;
        }
        let chunks: Vec<&[u8]> = chunks.into_iter().filter(|chunk| !chunk.is_empty()).collect();
        let lengths: Vec<usize> = chunks.iter().map(|chunk| chunk.len()).collect();
        let busy = (turn % 2 == 1).then(|| sent(&gateway, "/queued", &[&file(PNG), b"--bound--\r\n"]));
        if let Some(busy) = &busy {
            busy.request_rest();
        }
        let path = if busy.is_some() { "/queued" } else { "/a" };
        let stream = sent(&gateway, path, &chunks);
        if let Some(busy) = &busy {
            // Its turn comes in the midst of it.
            for _ in 0..random(chunks.len() + 1) {
                stream.request_piece();
            }
            busy.respond(Headers::from([(":status", "200")]));
            gateway.advance(1);
            gateway.tick();
        }
        stream.request_rest();
        if is_wrong {
            let told = stream.upstream().body;
            assert_eq!(stream.status(), 415, "{lengths:?}");
            assert!(told.len() <= bad && form.starts_with(&told), "{} of {bad}: {lengths:?}", told.len());
        } else {
            assert!(
                stream.upstream().body == form,
                "{} of {}: {lengths:?}",
                stream.upstream().body.len(),
                form.len()
            );
            assert!(stream.upstream().ended);
            stream.respond(Headers::from([(":status", "200")]));
        }
    }
    assert_eq!(gateway.worker(0).open_streams(), 0);
}
