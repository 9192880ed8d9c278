//! What clients send is checked: an origin that records every byte has none of what is refused.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;
use std::time::Duration;

use selvage_rig::envoy::{Gateway, Response, repository};

use crate::becomes;

/// An origin that answers 200 to whatever is whole, and remembers what came.
struct Recorder {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

/// What has come, over all connections.
#[derive(Default, Clone)]
struct Seen {
    bytes: usize,
    /// The last of them.
    last: Vec<u8>,
}

const REMEMBERED: usize = 1 << 20;

impl Recorder {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let all = Arc::clone(&seen);
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let seen = Arc::clone(&all);
                thread::spawn(move || serve(connection, &seen));
            }
        });
        Self { address, seen }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What has come since so many bytes had.
    fn since(&self, before: usize) -> Vec<u8> {
        let seen = self.seen.lock().unwrap();
        seen.last[seen.last.len() - (seen.bytes - before)..].to_vec()
    }

    fn bytes(&self) -> usize {
        self.seen.lock().unwrap().bytes
    }
}

fn serve(mut connection: TcpStream, seen: &Mutex<Seen>) {
    let (mut part, mut begin, mut end) = (vec![0; 65_536], Vec::new(), Vec::new());
    let mut length = 0;
    while let Ok(count @ 1..) = connection.read(&mut part) {
        {
            let mut seen = seen.lock().unwrap();
            seen.bytes += count;
            seen.last.extend_from_slice(&part[..count]);
            let more = seen.last.len().saturating_sub(REMEMBERED);
            seen.last.drain(..more);
        }
        length += count;
        if begin.len() < 16_384 {
            begin.extend_from_slice(&part[..count]);
        }
        end.extend_from_slice(&part[..count]);
        end.drain(..end.len().saturating_sub(16));
        let text = String::from_utf8_lossy(&begin).into_owned();
        let Some(head) = text.find("\r\n\r\n") else { continue };
        if text.contains("\r\nexpect: 100-continue") && length == head + 4 {
            let _ = connection.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        let told: Option<usize> =
            text[..head].lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let is_whole = match told {
            Some(told) => length >= head + 4 + told,
            None => end.ends_with(b"0\r\n\r\n"),
        };
        if is_whole {
            let _ = connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\ntaken");
            (length, begin, end) = (0, Vec::new(), Vec::new());
        }
    }
}

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
const PAGE: &[u8] =
    b"<html><script>alert(1)</script> and more than sixty-four bytes of a page, so that it is known";

#[track_caller]
fn refused(answer: &Response, status: u16, detail: &str) {
    let said = answer.cache_status();
    assert_eq!((answer.status, said.as_str()), (status, format!("Selvage; detail={detail}").as_str()));
    assert_eq!(answer.all("content-type"), ["application/problem+json"]);
    assert!(answer.text().contains(&format!("\"status\":{status}")), "{}", answer.text());
}

/// Types, and how content of each begins.
fn kinds() -> Vec<(&'static str, Vec<u8>)> {
    let kinds: [(&str, &[u8]); 32] = [
        ("image/png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
        ("image/jpeg", b"\xff\xd8\xff\xe0\0\x10JFIF"),
        ("image/gif", b"GIF89a\x01\0\x01\0"),
        ("image/webp", b"RIFF\x24\0\0\0WEBPVP8 "),
        ("image/avif", b"\0\0\0\x1cftypavif\0\0\0\0avifmif1"),
        ("image/heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"),
        ("image/tiff", b"II*\0\x08\0\0\0"),
        ("image/bmp", b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0"),
        ("image/x-icon", b"\0\0\x01\0\x01\0\x10\x10"),
        ("image/svg+xml", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        ("application/pdf", b"%PDF-1.7\n%\xe2\xe3"),
        ("application/zip", b"PK\x03\x04\x14\0\0\0"),
        ("application/gzip", b"\x1f\x8b\x08\0\0\0\0\0"),
        ("application/x-bzip2", b"BZh91AY&SY"),
        ("application/x-xz", b"\xfd7zXZ\0\0\x04"),
        ("application/zstd", b"\x28\xb5\x2f\xfd\x04\x00"),
        ("application/x-7z-compressed", b"7z\xbc\xaf\x27\x1c\0\x04"),
        ("application/vnd.rar", b"Rar!\x1a\x07\x01\0"),
        ("audio/mpeg", b"\xff\xfb\x90\x64\0\0"),
        ("video/mp4", b"\0\0\0\x20ftypisom\0\0\x02\0"),
        ("video/webm", b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81"),
        ("audio/ogg", b"OggS\0\x02\0\0"),
        ("audio/wav", b"RIFF\x24\x08\0\0WAVEfmt "),
        ("audio/flac", b"fLaC\0\0\0\x22"),
        ("video/x-msvideo", b"RIFF\x24\x08\0\0AVI LIST"),
        ("application/x-executable", b"\x7fELF\x02\x01\x01\0"),
        ("application/x-msdownload", b"MZ\x90\0\x03\0\0\0"),
        ("application/x-mach-binary", b"\xcf\xfa\xed\xfe\x07\0\0\x01"),
        ("application/wasm", b"\0asm\x01\0\0\0"),
        ("application/java-vm", b"\xca\xfe\xba\xbe\0\0\0\x41"),
        ("application/vnd.sqlite3", b"SQLite format 3\0\x10\0"),
        ("application/json", b" \n{\"a\": [1, 2]}"),
    ];
    kinds.iter().map(|(kind, begin)| (*kind, begin.to_vec())).collect()
}

#[test]
fn thirty_types_are_taken_for_themselves_and_the_origin_has_no_byte_of_others() {
    with_edge(|Edge { origin, gateway }| {
        let all = kinds();
        assert!(all.len() >= 30);
        for (nth, (kind, bytes)) in all.iter().enumerate() {
            let before = origin.bytes();
            let put = |content: &[u8]| {
                let (head, tail) = content.split_at(content.len().min(3));
                gateway.ask("PUT", "/any/a").header("content-type", kind).chunks(&[head, tail]).send()
            };
            // The next in the list, which is another.
            refused(&put(&all[(nth + 1) % all.len()].1), 415, "upload-content");
            refused(&put(PAGE), 415, "upload-content");
            assert_eq!(origin.bytes(), before, "{kind}: nothing of it");
            let taken = put(bytes);
            assert_eq!((taken.status, taken.text().as_str()), (200, "taken"), "{kind}");
            assert!(origin.bytes() > before + bytes.len());
        }
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

fn part(name: &str, kind: &str, content: &[u8]) -> Vec<u8> {
    let head = format!(
        "--bound\r\nContent-Disposition: form-data; name=\"f\"; filename=\"{name}\"\r\nContent-Type: {kind}\r\n\r\n"
    );
    [head.as_bytes(), content, b"\r\n"].concat()
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
        let send = |megabytes: usize| {
            let mut client = TcpStream::connect(gateway.address()).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
            let head = "POST /films/a HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ncontent-type: multipart/form-data; boundary=bound\r\ntransfer-encoding: chunked\r\n\r\n";
            client.write_all(head.as_bytes()).unwrap();
            let mut chunk = |bytes: &[u8]| {
                client.write_all(format!("{:x}\r\n", bytes.len()).as_bytes()).unwrap();
                client.write_all(bytes).unwrap();
                client.write_all(b"\r\n").unwrap();
            };
            let begin = part("a.mp4", "video/mp4", b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41");
            chunk(&begin[..begin.len() - 2]);
            // Line ends all over, and what looks like a delimiter for a while.
            let mut seed = 1_u32;
            let mut noise = || {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if seed.is_multiple_of(97) { b'\n' } else { (seed >> 24) as u8 }
            };
            let part: Vec<u8> = (0..65_536).map(|_| noise()).collect();
            for _ in 0..megabytes * 16 {
                chunk(&part);
            }
            chunk(b"\r\n--bound--\r\n");
            client.write_all(b"0\r\n\r\n").unwrap();
            let mut told = String::new();
            client.read_to_string(&mut told).unwrap();
            assert!(told.starts_with("HTTP/1.1 200"), "{told}");
        };
        let memory = || becomes(|| gateway.stat("selvage.heap_bytes.used"), |bytes| *bytes > 0);
        // Each worker has had one.
        (0..12).for_each(|_| send(2));
        let (before, resident) = (memory(), gateway.resident_kib());
        let had = origin.bytes();
        send(100);
        assert!(origin.bytes() - had > 100 << 20);
        let (after, resident_after) = (memory(), gateway.resident_kib());
        println!("VMs {before} -> {after} bytes, Envoy {resident} -> {resident_after} KiB");
        assert!(after <= before + (1 << 20), "VMs: {before} -> {after}");
        assert!(resident_after <= resident + 16 * 1024, "Envoy: {resident} -> {resident_after} KiB");
        gateway.assert_sound();
    });
}
