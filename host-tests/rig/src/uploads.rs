//! What is uploaded, and an origin that remembers every byte of it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::envoy::Gateway;

/// An origin that answers 200 to whatever is whole, and remembers what came.
pub struct Recorder {
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
    /// Starts one.
    ///
    /// # Panics
    /// If there is no port for it.
    pub fn start() -> Self {
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

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What has come since so many bytes had.
    ///
    /// # Panics
    /// If that is more than it remembers.
    pub fn since(&self, before: usize) -> Vec<u8> {
        let seen = self.seen.lock().unwrap();
        seen.last[seen.last.len() - (seen.bytes - before)..].to_vec()
    }

    /// Bytes that have come.
    ///
    /// # Panics
    /// Never.
    pub fn bytes(&self) -> usize {
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

/// What is none of the [`kinds`].
pub const PAGE: &[u8] =
    b"<html><script>alert(1)</script> and more than sixty-four bytes of a page, so that it is known";

/// Types, and how content of each begins.
pub fn kinds() -> Vec<(&'static str, Vec<u8>)> {
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

/// A file of a form.
pub fn part(name: &str, kind: &str, content: &[u8]) -> Vec<u8> {
    let head = format!(
        "--bound\r\nContent-Disposition: form-data; name=\"f\"; filename=\"{name}\"\r\nContent-Type: {kind}\r\n\r\n"
    );
    [head.as_bytes(), content, b"\r\n"].concat()
}

/// Sends a form with a film of so many megabytes, without a length. Gives the status of the answer, which is read while it sends:
/// one that comes early may be followed by a reset. 0 if there is none.
///
/// # Panics
/// If the gateway takes no connection.
pub fn send_film(gateway: &Gateway, path: &str, megabytes: usize) -> u16 {
    let mut client = TcpStream::connect(gateway.address()).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    let mut answer = client.try_clone().unwrap();
    let told = thread::spawn(move || {
        let mut told = Vec::new();
        let _ = answer.read_to_end(&mut told);
        String::from_utf8_lossy(&told).split(' ').nth(1).and_then(|status| status.parse().ok())
    });
    let _ = write_film(&mut client, path, megabytes);
    told.join().unwrap().unwrap_or_default()
}

fn write_film(client: &mut TcpStream, path: &str, megabytes: usize) -> std::io::Result<()> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ncontent-type: multipart/form-data; boundary=bound\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    client.write_all(head.as_bytes())?;
    let mut chunk = |bytes: &[u8]| {
        client.write_all(format!("{:x}\r\n", bytes.len()).as_bytes())?;
        client.write_all(bytes)?;
        client.write_all(b"\r\n")
    };
    let begin = part("a.mp4", "video/mp4", b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41");
    chunk(&begin[..begin.len() - 2])?;
    // Line ends all over, and what looks like a delimiter for a while.
    let mut seed = 1_u32;
    let mut noise = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if seed.is_multiple_of(97) { b'\n' } else { (seed >> 24) as u8 }
    };
    let part: Vec<u8> = (0..65_536).map(|_| noise()).collect();
    for _ in 0..megabytes * 16 {
        chunk(&part)?;
    }
    chunk(b"\r\n--bound--\r\n")?;
    client.write_all(b"0\r\n\r\n")
}

/// What has become of uploads of all [`kinds`].
#[derive(Default)]
pub struct Tried {
    /// Types.
    pub kinds: usize,
    /// Bytes that the origin has had of what is another type than it says.
    pub bytes: usize,
    /// What was not as it should be.
    pub wrong: Vec<String>,
}

/// Uploads content of each type as that, and two others under its name.
pub fn try_kinds(gateway: &Gateway, origin: &Recorder, path: &str) -> Tried {
    let all = kinds();
    let mut tried = Tried::default();
    for (nth, (kind, bytes)) in all.iter().enumerate() {
        tried.kinds += 1;
        let put = |content: &[u8]| {
            let (head, tail) = content.split_at(content.len().min(3));
            gateway.ask("PUT", path).header("content-type", kind).chunks(&[head, tail]).send()
        };
        let before = origin.bytes();
        // The next in the list is another.
        for other in [&*all[(nth + 1) % all.len()].1, PAGE] {
            let answer = put(other);
            if (answer.status, &*answer.cache_status()) != (415, "Selvage; detail=upload-content") {
                tried.wrong.push(format!("{kind}: others are answered {}", answer.status));
            }
        }
        tried.bytes += origin.bytes() - before;
        let taken = put(bytes);
        if (taken.status, &*taken.text()) != (200, "taken") || origin.bytes() < before + bytes.len() {
            tried.wrong.push(format!("{kind}: it is answered {}", taken.status));
        }
    }
    tried
}
