//! What clients send is checked: an origin that records every byte has none of what is refused.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::{LazyLock, Mutex};
use std::thread;
use std::time::Duration;

use selvage_rig::envoy::{Gateway, Response, repository};
use selvage_rig::uploads::{PAGE, Recorder, part, send_film, try_kinds};

use crate::becomes;

const RULES: &str = r#"{ "rules": [
  { "name": "any", "match": { "paths": ["/any/*"] }, "upload": { "sniff": true } },
  { "name": "images", "match": { "paths": ["/images/*"] }, "bypass": true,
    "upload": { "types": ["image/png", "image/jpeg"], "sniff": true, "max_bytes": "1MiB" } },
  { "name": "short", "match": { "paths": ["/short/*"] }, "upload": { "max_bytes": 100000 } },
  { "name": "films", "match": { "paths": ["/films/*"] }, "upload": { "types": ["video/mp4"], "sniff": true } } ] }"#;

struct Edge {
    origin: Recorder,
    gateway: Gateway,
}

fn edge() -> Edge {
    let origin = Recorder::start();
    let gateway = Gateway::with(RULES).origin(origin.url()).start();
    Edge { origin, gateway }
}

static EDGE: LazyLock<Mutex<Edge>> = LazyLock::new(|| Mutex::new(edge()));

/// Each test has it for itself, so that what the origin has had is what that test has sent.
fn with_edge(test: impl FnOnce(&Edge)) {
    let edge = EDGE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    test(&edge);
}

const PNG: &[u8] =
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR and more than sixty-four bytes of a picture, so that it is known";
#[track_caller]
fn refused(answer: &Response, status: u16, detail: &str) {
    let said = answer.cache_status();
    assert_eq!((answer.status, said.as_str()), (status, format!("Selvage; detail={detail}").as_str()));
    assert_eq!(answer.all("content-type"), ["application/problem+json"]);
    assert!(answer.text().contains(&format!("\"status\":{status}")), "{}", answer.text());
}

#[test]
fn thirty_types_are_taken_for_themselves_and_the_origin_has_no_byte_of_others() {
    with_edge(|Edge { origin, gateway }| {
        let tried = try_kinds(gateway, origin, "/any/a");
        assert!(tried.kinds >= 30);
        assert_eq!((tried.wrong, tried.bytes), (Vec::new(), 0), "what was not as it should be, and bytes");
        gateway.assert_sound();
    });
}

#[test]
fn types_lengths_and_codings_are_refused_at_once() {
    with_edge(|Edge { origin, gateway }| {
        let before = origin.bytes();
        let put = |fields: &[(&str, &str)], body: &[u8]| {
            let ask = fields
                .iter()
                .fold(gateway.ask("PUT", "/images/a"), |ask, (name, value)| ask.header(name, value));
            ask.body(body).send()
        };
        let png = ("content-type", "image/png");
        let wrong = put(&[("content-type", "text/html")], PAGE);
        refused(&wrong, 415, "upload-type");
        assert_eq!(wrong.all("accept"), ["image/png, image/jpeg"]);
        refused(
            &put(&[("content-type", "image/png"), ("content-type", "text/html")], PNG),
            415,
            "upload-type",
        );
        refused(&put(&[], PAGE), 415, "upload-type");
        refused(&put(&[png, ("content-encoding", "gzip")], PNG), 415, "upload-coding");
        refused(&put(&[("content-type", "multipart/form-data")], PNG), 400, "upload-form");
        refused(&put(&[png], &vec![b'x'; (1 << 20) + 1]), 413, "upload-too-large");
        assert_eq!(origin.bytes(), before);
        assert_eq!(put(&[("content-type", "IMAGE/png; name=\"a;b\"")], PNG).status, 200);
        assert_eq!(put(&[], PNG).status, 200, "what has no type is taken for what it looks like");
        assert_eq!(put(&[png], b"").status, 200, "nothing is no upload");
    });
}

#[test]
fn a_stream_without_a_length_ends_where_it_grows_too_long() {
    with_edge(|Edge { origin, gateway }| {
        let before = origin.bytes();
        let part = [b'x'; 10_000];
        let fits: Vec<&[u8]> = std::iter::repeat_n(&part[..], 10).collect();
        assert_eq!(gateway.ask("POST", "/short/a").chunks(&fits).send().status, 200);
        let after = origin.bytes();
        assert!(after - before >= 100_000);
        let longer: Vec<&[u8]> = std::iter::repeat_n(&part[..], 11).collect();
        refused(&gateway.ask("POST", "/short/a").chunks(&longer).send(), 413, "upload-too-large");
        assert!(origin.bytes() - after < 101_000, "no more than the rule takes, and its framing");
        assert!(!origin.since(after).ends_with(b"0\r\n\r\n"), "it was not ended as if it were whole");
        gateway.assert_sound();
    });
}

#[test]
fn each_file_of_a_form_is_checked_wherever_it_is_cut() {
    with_edge(|Edge { origin, gateway }| {
        let post = |chunks: &[&[u8]]| {
            let kind = "multipart/form-data; boundary=bound";
            gateway.ask("POST", "/images/a").header("content-type", kind).chunks(chunks).send()
        };
        let (good, bad) = (part("a.png", "image/png", PNG), part("b.png", "image/png", PAGE));
        let end = &b"--bound--\r\n"[..];
        assert_eq!(post(&[&good, &good, end]).status, 200);
        let bytes: Vec<&[u8]> = good.chunks(1).collect();
        assert_eq!(post(&[&bytes[..], &[end]].concat()).status, 200, "a byte at a time");
        let before = origin.bytes();
        refused(&post(&[&bad, end]), 415, "upload-content");
        refused(&post(&[&[&good[..], &bad].concat(), end]), 415, "upload-content");
        refused(&post(&[&part("a.php", "text/php", PNG), end]), 415, "upload-type");
        refused(
            &post(&[
                &good.iter().map(|byte| if *byte == b'\r' { b' ' } else { *byte }).collect::<Vec<_>>(),
                end,
            ]),
            400,
            "upload-form",
        );
        assert_eq!(origin.bytes(), before, "nothing of them");
        // One that comes after others have gone: the origin has those, and never an end.
        let large = part("a.png", "image/png", &[PNG, &[b'x'; 40_000]].concat());
        refused(&post(&[&large, &bad, end]), 415, "upload-content");
        let late = origin.since(before);
        assert!(!late.windows(6).any(|window| window == b"script") && !late.ends_with(b"0\r\n\r\n"));
        gateway.assert_sound();
    });
}

#[test]
fn a_client_that_waits_or_is_slow_is_served() {
    with_edge(|Edge { origin, gateway }| {
        // Each worker has seen a body come while its head was held.
        for _ in 0..16 {
            gateway.ask("PUT", "/images/a").header("content-type", "image/png").chunks(&[PNG]).send();
        }
        let before = origin.bytes();
        let send = |expects: bool, body: &[u8]| {
            let mut client = TcpStream::connect(gateway.address()).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let expect = if expects { "expect: 100-continue\r\n" } else { "" };
            let head = format!(
                "PUT /images/a HTTP/1.1\r\nhost: a.test\r\n{expect}content-type: image/png\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            client.write_all(head.as_bytes()).unwrap();
            let mut reader = BufReader::new(client.try_clone().unwrap());
            let mut line = String::new();
            if expects {
                reader.read_line(&mut line).unwrap();
                assert!(line.starts_with("HTTP/1.1 100"), "{line}");
            }
            // A byte, and after a while the others.
            thread::sleep(Duration::from_millis(1500));
            client.write_all(&body[..1]).unwrap();
            thread::sleep(Duration::from_millis(500));
            client.write_all(&body[1..]).unwrap();
            let mut told = String::new();
            while !told.starts_with("HTTP/1.1 ") {
                told.clear();
                assert!(reader.read_line(&mut told).unwrap() > 0);
            }
            told
        };
        assert!(send(false, PAGE).starts_with("HTTP/1.1 415"));
        assert_eq!(origin.bytes(), before);
        assert!(send(false, PNG).starts_with("HTTP/1.1 200"));
        // The origin says whether its client may go on, and so has the head; of the body it has nothing.
        let before = origin.bytes();
        assert!(send(true, PAGE).starts_with("HTTP/1.1 415"));
        assert!(origin.since(before).ends_with(b"\r\n\r\n"));
        assert!(send(true, PNG).starts_with("HTTP/1.1 200"));
    });
}

#[test]
fn trailers_of_http2_let_nothing_by() {
    with_edge(|Edge { origin, gateway }| {
        let before = origin.bytes();
        let send = |body: &str| {
            let output = Command::new("node")
                .arg(repository().join("host-tests/rig/tests/e2e/uploads.mjs"))
                .args([&format!("http://{}/any/a", gateway.address()), "application/json", body])
                .output()
                .unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let told = send("<html>");
        assert!(told.contains("\"status\":415") && told.contains("upload-content"), "{told}");
        assert_eq!(origin.bytes(), before);
        let told = send("[1]");
        assert!(told.contains("\"status\":200"), "{told}");
    });
}

#[test]
fn a_hundred_megabytes_pass_without_memory_growing() {
    with_edge(|Edge { origin, gateway }| {
        let memory = || becomes(|| gateway.stat("selvage.heap_bytes.used"), |bytes| *bytes > 0);
        // Each worker has had one.
        (0..12).for_each(|_| assert_eq!(send_film(gateway, "/films/a", 2), 200));
        let (before, resident) = (memory(), gateway.resident_kib());
        let had = origin.bytes();
        assert_eq!(send_film(gateway, "/films/a", 100), 200);
        assert!(origin.bytes() - had > 100 << 20);
        let (after, resident_after) = (memory(), gateway.resident_kib());
        println!("VMs {before} -> {after} bytes, Envoy {resident} -> {resident_after} KiB");
        assert!(after <= before + (1 << 20), "VMs: {before} -> {after}");
        assert!(resident_after <= resident + 16 * 1024, "Envoy: {resident} -> {resident_after} KiB");
        gateway.assert_sound();
    });
}

/// The least that the listener may hold of a request: 64 KiB. Envoy answers 413 itself where a filter lets more gather.
#[test]
fn forms_of_many_files_pass_where_envoy_holds_little() {
    let origin = Recorder::start();
    let limit = "per_connection_buffer_limit_bytes: ";
    let edits = [(&*format!("{limit}1048576"), &*format!("{limit}65536"))];
    let gateway = Gateway::with(RULES)
        .origin(origin.url())
        .try_start_edited(&edits)
        .unwrap_or_else(|refused| panic!("{}", refused.output));
    let film = |length: usize| {
        part(
            "a.mp4",
            "video/mp4",
            &[b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41", &*vec![b'x'; length]].concat(),
        )
    };
    for turn in 0..30 {
        // Parts end anywhere in what Envoy reads at once.
        let form: Vec<u8> = (0..40).flat_map(|nth| film(64 + (nth * 977 + turn * 131) % 50_000)).collect();
        let form = [form, b"--bound--\r\n".to_vec()].concat();
        let before = origin.bytes();
        let mut client = TcpStream::connect(gateway.address()).unwrap();
        let head = format!(
            "POST /films/a HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ncontent-type: multipart/form-data; boundary=bound\r\ncontent-length: {}\r\n\r\n",
            form.len()
        );
        // The head of the first file, and then as much as there is room for.
        client.write_all(&[head.as_bytes(), &form[..80]].concat()).unwrap();
        let _ = client.write_all(&form[80..]);
        let mut answer = String::new();
        let _ = client.read_to_string(&mut answer);
        assert!(answer.starts_with("HTTP/1.1 200"), "turn {turn}: {answer}");
        assert!(origin.since(before).ends_with(&form[form.len() - 100_000..]), "turn {turn}");
        assert!(origin.bytes() - before > form.len());
    }
    gateway.assert_sound();
}
