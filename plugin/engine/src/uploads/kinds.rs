//! How content of a type begins.
//!
//! What is found here is what programs of the type's kind look for as well. It says that a file is not what it claims to be; it
//! does not say that it is harmless, or whole.

/// How many first bytes of content are looked at.
const WINDOW: usize = 64;
/// A tape archive says what it is only there.
const TAPE: usize = 257;

/// One kind of content.
struct Kind {
    /// Where its mark stands.
    at: usize,
    /// The mark.
    mark: &'static [u8],
    /// The types that it is of, the usual one first.
    names: &'static str,
    /// Content of other types is packed in it.
    holds: Holds,
}

/// Whether formats of their own are made of a kind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    /// Of no other type.
    Itself,
    /// Of types too that this table does not know.
    Others,
}

const fn kind(at: usize, mark: &'static [u8], names: &'static str) -> Kind {
    Kind { at, mark, names, holds: Holds::Itself }
}

const fn container(at: usize, mark: &'static [u8], names: &'static str) -> Kind {
    Kind { at, mark, names, holds: Holds::Others }
}

const TIFF: &str = "image/tiff image/tiff-fx";
const AVIF: &str = "image/avif image/avif-sequence";
const HEIC: &str = "image/heic image/heif image/heic-sequence image/heif-sequence";
const MOVIE: &str = "video/mp4 audio/mp4 video/quicktime audio/x-m4a video/x-m4v application/mp4 video/3gpp audio/3gpp video/3gpp2";
const ZIP: &str = "application/zip application/x-zip-compressed application/x-zip";
const MP3: &str = "audio/mpeg audio/mp3 audio/x-mp3";
const WINDOWS: &str =
    "application/vnd.microsoft.portable-executable application/x-msdownload application/x-dosexec";
const MACH_O: &str = "application/x-mach-binary";
const JAVA: &str = "application/java-vm application/x-java-class";
const BITMAP: &str = "image/bmp image/x-ms-bmp image/x-bmp";

/// The table. The first mark that fits decides.
const KINDS: &[Kind] = &[
    kind(0, b"\x89PNG\r\n\x1a\n", "image/png image/apng image/x-png image/vnd.mozilla.apng"),
    kind(0, b"\xff\xd8\xff", "image/jpeg image/jpg image/pjpeg"),
    kind(0, b"GIF87a", "image/gif"),
    kind(0, b"GIF89a", "image/gif"),
    kind(8, b"WEBP", "image/webp"),
    kind(8, b"WAVE", "audio/wav audio/x-wav audio/wave audio/vnd.wave"),
    kind(8, b"AVI ", "video/x-msvideo video/avi video/msvideo"),
    kind(8, b"avif", AVIF),
    kind(8, b"avis", AVIF),
    kind(8, b"heic", HEIC),
    kind(8, b"heix", HEIC),
    kind(8, b"heim", HEIC),
    kind(8, b"hevc", HEIC),
    // One brand for both: what is in it stands behind.
    kind(8, b"mif1", "image/heif image/heic image/avif"),
    kind(8, b"msf1", "image/heif-sequence image/heic-sequence image/avif-sequence image/heif"),
    container(4, b"ftyp", MOVIE),
    kind(4, b"moov", "video/quicktime"),
    kind(4, b"mdat", "video/quicktime"),
    kind(4, b"wide", "video/quicktime"),
    container(0, b"II*\0", TIFF),
    container(0, b"MM\0*", TIFF),
    container(0, b"II+\0", TIFF),
    container(0, b"MM\0+", TIFF),
    kind(0, b"\0\0\x01\0", "image/x-icon image/vnd.microsoft.icon"),
    kind(0, b"8BPS", "image/vnd.adobe.photoshop image/x-photoshop"),
    kind(0, b"%PDF-", "application/pdf application/x-pdf"),
    kind(0, b"%!PS", "application/postscript"),
    kind(0, b"{\\rtf", "application/rtf text/rtf"),
    container(
        0,
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "application/x-ole-storage application/msword application/vnd.ms-excel application/vnd.ms-powerpoint",
    ),
    container(0, b"PK\x03\x04", ZIP),
    container(0, b"PK\x05\x06", ZIP),
    container(0, b"\x1f\x8b\x08", "application/gzip application/x-gzip"),
    container(0, b"BZh", "application/x-bzip2 application/bzip2"),
    container(0, b"\xfd7zXZ\0", "application/x-xz"),
    container(0, b"\x28\xb5\x2f\xfd", "application/zstd application/x-zstd"),
    kind(0, b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    kind(0, b"Rar!\x1a\x07", "application/vnd.rar application/x-rar-compressed application/x-rar"),
    container(TAPE, b"ustar", "application/x-tar application/tar"),
    kind(0, b"ID3", MP3),
    kind(0, b"fLaC", "audio/flac audio/x-flac"),
    kind(0, b"OggS", "audio/ogg video/ogg application/ogg audio/opus"),
    kind(
        0,
        b"\x1a\x45\xdf\xa3",
        "video/webm video/x-matroska audio/webm audio/x-matroska video/matroska audio/matroska",
    ),
    kind(0, b"\0\0\x01\xba", "video/mpeg"),
    kind(0, b"\0\0\x01\xb3", "video/mpeg"),
    kind(
        0,
        b"\x7fELF",
        "application/x-elf application/x-executable application/x-sharedlib application/x-pie-executable",
    ),
    kind(0, b"MZ", WINDOWS),
    kind(0, b"\xfe\xed\xfa\xce", MACH_O),
    kind(0, b"\xfe\xed\xfa\xcf", MACH_O),
    kind(0, b"\xce\xfa\xed\xfe", MACH_O),
    kind(0, b"\xcf\xfa\xed\xfe", MACH_O),
    kind(0, b"\xca\xfe\xba\xbe\0\0\0", MACH_O),
    kind(0, b"\xca\xfe\xba\xbe", JAVA),
    kind(0, b"\0asm", "application/wasm"),
    kind(0, b"SQLite format 3\0", "application/vnd.sqlite3 application/x-sqlite3"),
    kind(0, b"wOFF", "font/woff application/font-woff"),
    kind(0, b"wOF2", "font/woff2"),
    kind(0, b"BM", BITMAP),
];

/// How many bytes of content of a type decide; without a type, of any.
pub(super) fn wanted(stated: Option<&[u8]>) -> usize {
    let tape = |names: &&str| has(names, stated.unwrap_or_default());
    let is_tape =
        KINDS.iter().filter(|kind| kind.at == TAPE).map(|kind| kind.names).any(|names| tape(&names));
    if stated.is_none() || is_tape { TAPE + 5 } else { WINDOW }
}

/// Whether content of the type that is stated may begin so. What is too short to have a mark has none.
pub(super) fn agree(stated: &[u8], bytes: &[u8]) -> bool {
    // It says nothing that could be wrong.
    if stated == b"application/octet-stream" {
        return true;
    }
    let is_known = is_known(stated);
    if let Some(kind) = marked(bytes) {
        let of_its_own = kind.holds == Holds::Others && !is_known && !is_text_type(stated);
        return has(kind.names, stated) || of_its_own;
    }
    let first = first_of_text(bytes);
    match stated {
        b"image/svg+xml" => is_text(bytes) && looks_like_svg(bytes),
        b"application/json" => is_text(bytes) && begins_json(first),
        b"application/xml" | b"text/xml" => is_text(bytes) && first == Some(b'<'),
        _ if stated.ends_with(b"+json") => is_text(bytes) && begins_json(first),
        _ if stated.ends_with(b"+xml") => is_text(bytes) && first == Some(b'<'),
        _ if is_text_type(stated) => is_text(bytes),
        _ => !is_known,
    }
}

/// The types that content may be of that begins so, with a space between, the usual one first.
pub(super) fn guess(bytes: &[u8]) -> &'static str {
    if let Some(kind) = marked(bytes) {
        return kind.names;
    }
    if !is_text(bytes) {
        return "application/octet-stream";
    }
    let text = without_mark(bytes).trim_ascii_start();
    if is_html(text) {
        return "text/html application/xhtml+xml";
    }
    match text.first() {
        Some(b'<') if begins(text, b"<svg") => "image/svg+xml",
        Some(b'<') if begins(text, b"<?xml") => "application/xml text/xml",
        Some(b'{' | b'[') => "application/json",
        _ => "text/plain",
    }
}

/// The kind whose mark the bytes have.
fn marked(bytes: &[u8]) -> Option<&'static Kind> {
    let found = KINDS.iter().find(|kind| {
        let fits = bytes.get(kind.at..).is_some_and(|rest| rest.starts_with(kind.mark));
        fits && is_meant(kind.mark, bytes)
    });
    found.or_else(|| KINDS.iter().find(|kind| is_frame_of_mp3(bytes) && kind.names == MP3))
}

/// Whether a mark that other content may have by chance is one.
fn is_meant(mark: &[u8], bytes: &[u8]) -> bool {
    let at = |place: usize| bytes.get(place).copied().unwrap_or_default();
    match mark {
        b"WEBP" | b"WAVE" | b"AVI " => bytes.starts_with(b"RIFF"),
        b"avif" | b"avis" | b"heic" | b"heix" | b"heim" | b"hevc" | b"mif1" | b"msf1" => {
            bytes.get(4..).is_some_and(|rest| rest.starts_with(b"ftyp"))
        }
        b"moov" | b"mdat" | b"wide" => bytes.first() == Some(&0) && !is_text(bytes),
        // How long what follows is, which is a few lengths only.
        b"BM" => bytes.get(6..10) == Some(&[0; 4]) && matches!(at(14), 12 | 40 | 52 | 56 | 64 | 108 | 124),
        b"MZ" | b"ID3" => !is_text(bytes),
        b"BZh" => at(3).is_ascii_digit() && matches!(at(4), 0x31 | 0x17),
        // As many builds for machines as there are; of a class it would be a version that never was.
        b"\xca\xfe\xba\xbe\0\0\0" => at(7) < 32,
        _ => true,
    }
}

/// A frame of layer III with a bit rate and a sampling rate that there are.
const fn is_frame_of_mp3(bytes: &[u8]) -> bool {
    matches!(bytes, [0xff, second, third, ..]
        if *second & 0xe6 == 0xe2 && *second & 0x18 != 0x08 && *third >> 4 != 15 && *third & 0x0c != 0x0c)
}

/// Whether a name is one of several with a space between.
fn has(names: &str, name: &[u8]) -> bool {
    names.split(' ').any(|known| known.as_bytes() == name)
}

fn is_known(name: &[u8]) -> bool {
    KINDS.iter().any(|kind| has(kind.names, name))
}

/// Whether content of a type is text.
fn is_text_type(name: &[u8]) -> bool {
    name.starts_with(b"text/")
        || [
            &b"+json"[..],
            b"+xml",
            b"/json",
            b"/xml",
            b"javascript",
            b"ecmascript",
            b"/yaml",
            b"/x-ndjson",
            b"/sql",
            b"/graphql",
            b"urlencoded",
        ]
        .iter()
        .any(|end| name.ends_with(end))
}

/// Whether there is no byte that no text has. UTF-16 says by its first bytes that it is text.
fn is_text(bytes: &[u8]) -> bool {
    let wide = bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff");
    wide || !bytes.iter().any(|byte| matches!(byte, 0..=8 | 0x0b | 0x0e..=0x1a | 0x1c..=0x1f))
}

/// Without the mark of UTF-8.
fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

fn first_of_text(bytes: &[u8]) -> Option<u8> {
    without_mark(bytes).trim_ascii_start().first().copied()
}

/// `None`: what has come is white space.
const fn begins_json(first: Option<u8>) -> bool {
    matches!(first, None | Some(b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n'))
}

fn looks_like_svg(bytes: &[u8]) -> bool {
    let text = without_mark(bytes).trim_ascii_start();
    [&b"<?xml"[..], b"<svg", b"<!--", b"<!doctype svg"].iter().any(|begin| begins(text, begin))
}

fn is_html(text: &[u8]) -> bool {
    [&b"<!doctype html"[..], b"<html", b"<head", b"<body", b"<script", b"<iframe"]
        .iter()
        .any(|begin| begins(text, begin))
}

fn begins(text: &[u8], begin: &[u8]) -> bool {
    text.get(..begin.len()).is_some_and(|start| start.eq_ignore_ascii_case(begin))
}
