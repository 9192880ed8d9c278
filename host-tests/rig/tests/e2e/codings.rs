//! One stored response for clients that take gzip and for those that do not.

use std::io::Write;
use std::process::{Command, Stdio};

use selvage_rig::envoy::{Gateway, Response};
use selvage_rig::scripted::{Answer, Origin};

use crate::{EDGE, assert_says, fetches, get, on};

fn text() -> String {
    (0..2000).map(|n| format!("{{\"number\":{n},\"square\":{}}}\n", n * n)).collect()
}

fn json() -> Answer {
    Answer::fresh(text()).header("content-type", "application/json").header("etag", "\"x\"")
}

fn accepting(target: &str, coding: &str) -> Response {
    EDGE.gateway.get(target).header("accept-encoding", coding).send()
}

/// What the system's own gzip makes of it.
fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip =
        Command::new("gzip").arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = gzip.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&bytes));
    let output = gzip.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "gzip refuses it");
    output.stdout
}

#[test]
fn a_text_is_compressed_once_and_sent_as_each_client_takes_it() {
    on("/codings/text", |_| json());
    let first = accepting("/codings/text", "gzip");
    assert_says(&first, "stored");
    assert_eq!((first.text(), first.all("content-encoding")), (text(), vec![]));
    assert_eq!(first.all("vary"), ["Accept-Encoding"]);
    for turn in 0..8 {
        let gzip = accepting("/codings/text", "deflate, gzip;q=0.9");
        assert_says(&gzip, "hit");
        assert_eq!(gunzip(&gzip.body), text().as_bytes(), "{turn}");
        assert!(gzip.body.len() * 4 < text().len(), "{} bytes", gzip.body.len());
        assert_eq!(gzip.all("content-encoding"), ["gzip"]);
        assert_eq!(gzip.all("content-length"), [gzip.body.len().to_string()]);
        assert_eq!(gzip.all("etag"), ["\"x-gz\""]);
        assert_eq!(gzip.all("vary"), ["Accept-Encoding"]);
        assert_eq!(gzip.all("content-type"), ["application/json"]);
        let identity = get("/codings/text");
        assert_says(&identity, "hit");
        assert_eq!((identity.text(), identity.all("content-encoding")), (text(), vec![]));
        assert_eq!(identity.all("content-length"), [text().len().to_string()]);
        assert_eq!(identity.all("etag"), ["\"x\""]);
        assert_eq!(identity.all("vary"), ["Accept-Encoding"]);
    }
    assert_eq!(fetches("/codings/text"), 1);
}

#[test]
fn head_conditions_and_ranges_speak_of_the_right_form() {
    on("/codings/forms", |_| json());
    get("/codings/forms");
    let ask = |fields: &[(&str, &str)]| {
        let ask = EDGE.gateway.get("/codings/forms");
        fields.iter().fold(ask, |ask, (name, value)| ask.header(name, value)).send()
    };
    let known = ask(&[("accept-encoding", "gzip"), ("if-none-match", "\"x-gz\"")]);
    assert_eq!((known.status, known.all("etag")), (304, vec!["\"x-gz\"".to_owned()]));
    assert_eq!(ask(&[("if-none-match", "\"x\"")]).status, 304);
    let part = ask(&[("accept-encoding", "gzip"), ("range", "bytes=100-199")]);
    assert_eq!((part.status, part.text().as_str()), (206, &text()[100..200]));
    assert_eq!(part.all("content-range"), [format!("bytes 100-199/{}", text().len())]);
    assert_eq!(part.all("content-encoding"), [""; 0]);
    let head = EDGE.gateway.ask("HEAD", "/codings/forms").header("accept-encoding", "gzip").send();
    assert_eq!((head.status, head.all("content-encoding")), (200, vec!["gzip".to_owned()]));
    assert_eq!(fetches("/codings/forms"), 1);
}

#[test]
fn what_the_origin_has_coded_is_stored_as_it_came() {
    for (path, coding) in [("/codings/br", "br"), ("/codings/zstd", "zstd"), ("/codings/gzip", "gzip")] {
        on(path, move |request| match request.header("accept-encoding") {
            Some(accepted) if accepted == coding => json()
                .body("coded bytes")
                .header("content-encoding", coding)
                .header("vary", "accept-encoding"),
            _ => json().header("vary", "accept-encoding"),
        });
        for turn in 0..3 {
            let coded = accepting(path, coding);
            assert_eq!((coded.text().as_str(), coded.all("etag")), ("coded bytes", vec!["\"x\"".to_owned()]));
            assert_eq!(coded.is_hit(), turn > 0, "{}", coded.cache_status());
            assert_eq!(get(path).text(), text());
        }
        assert_eq!(fetches(path), 2);
    }
}

#[test]
fn no_transform_and_pictures_are_left_alone() {
    on("/codings/no-transform", |_| json().header("cache-control", "max-age=60, no-transform"));
    on("/codings/picture", |_| Answer::fresh(text()).header("content-type", "image/png"));
    for path in ["/codings/no-transform", "/codings/picture"] {
        for _ in 0..2 {
            let answer = accepting(path, "gzip");
            assert_eq!((answer.text(), answer.all("content-encoding")), (text(), vec![]), "{path}");
            assert_eq!(answer.all("vary"), [""; 0], "{path}");
        }
        assert_eq!(fetches(path), 1);
    }
}

/// Envoy's compressor before the cache, as plugin/docs/compression.md says.
const COMPRESSOR: &str = r#"                  - name: envoy.filters.http.compressor
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.compressor.v3.Compressor
                      response_direction_config:
                        common_config: { min_content_length: 100 }
                      compressor_library:
                        name: gzip
                        typed_config:
                          "@type": type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip
"#;

#[test]
fn envoys_compressor_before_the_cache_does_what_is_not_stored_and_nothing_twice() {
    let origin = Origin::start();
    origin.on("/stored", |_| json());
    origin.on("/passing", |_| json().header("cache-control", "no-store"));
    let filter = "                  - name: selvage\n";
    let gateway = Gateway::with("{}").origin(origin.url());
    let gateway = gateway
        .try_start_edited(&[(filter, &format!("{COMPRESSOR}{filter}"))])
        .unwrap_or_else(|refused| panic!("{}", refused.output));
    let ask = |path: &str| gateway.get(path).header("accept-encoding", "gzip").send();
    let compressed = || gateway.stat(".compressed");
    let first = ask("/stored");
    assert_says(&first, "stored");
    assert_eq!((gunzip(&first.body), compressed()), (text().into_bytes(), 1));
    assert_eq!(first.all("vary"), ["Accept-Encoding"]);
    for _ in 0..5 {
        let hit = ask("/stored");
        assert_says(&hit, "hit");
        assert_eq!(
            (gunzip(&hit.body), hit.all("content-encoding")),
            (text().into_bytes(), vec!["gzip".into()])
        );
    }
    assert_eq!(compressed(), 1, "a hit comes compressed from the store");
    assert_eq!((gunzip(&ask("/passing").body), compressed()), (text().into_bytes(), 2));
    gateway.assert_sound();
}
