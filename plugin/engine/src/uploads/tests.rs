use super::*;
use crate::config::Config;
use crate::fields::FieldBlock;

/// What a rule says of uploads.
fn upload(members: &str) -> Upload {
    let config = format!(r#"{{"defaults":{{"upload":{{{members}}}}}}}"#);
    Config::parse(config.as_bytes()).unwrap().defaults.upload.unwrap()
}

fn guard(fields: &[(&str, &str)], upload: &Upload) -> Result<Option<Guard>, Objection> {
    let head = [(":method", "POST"), (":path", "/"), (":authority", "a.test"), (":scheme", "https")];
    let block: FieldBlock =
        head.iter().chain(fields).map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    let request = Request::read(block.fields(), true);
    Guard::of(&request, 0, upload)
}

/// What becomes of a body that comes in pieces of this length.
fn sent_by(length: usize, kind: &str, body: &[u8], upload: &Upload) -> Result<(), Objection> {
    let Some(mut guard) = guard(&[("content-type", kind)], upload)? else { return Ok(()) };
    for chunk in body.chunks(length.max(1)) {
        if let Verdict::Refused(objection) = guard.on_chunk(chunk, false, upload) {
            return Err(objection);
        }
        assert!(guard.kept_bytes() < 10_000, "memory");
    }
    match guard.on_chunk(b"", true, upload) {
        Verdict::Refused(objection) => Err(objection),
        Verdict::Fine => Ok(()),
        Verdict::Open => panic!("the end decides"),
    }
}

/// The same however it is cut.
#[track_caller]
fn sent(kind: &str, body: &[u8], upload: &Upload) -> Result<(), Objection> {
    let whole = sent_by(body.len(), kind, body, upload);
    for length in [1, 2, 3, 7, 61, 64, 100] {
        assert_eq!(sent_by(length, kind, body, upload), whole, "{kind}, in pieces of {length}");
    }
    whole
}

/// A type and how a file of it begins.
fn beginnings() -> Vec<(&'static str, Vec<u8>)> {
    let tape = [vec![b'a'; 100], vec![0; 157], b"ustar\x0000".to_vec(), vec![0; 250]].concat();
    let bitmap = [&b"BM"[..], &[70, 0, 0, 0, 0, 0, 0, 0, 54, 0, 0, 0, 40, 0, 0, 0]].concat();
    let begin: [(&str, &[u8]); 34] = [
        ("image/png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
        ("image/jpeg", b"\xff\xd8\xff\xe0\0\x10JFIF"),
        ("image/gif", b"GIF89a\x01\0\x01\0"),
        ("image/webp", b"RIFF\x24\0\0\0WEBPVP8 "),
        ("image/avif", b"\0\0\0\x1cftypavif\0\0\0\0avifmif1"),
        ("image/heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"),
        ("image/tiff", b"II*\0\x08\0\0\0"),
        ("image/x-icon", b"\0\0\x01\0\x01\0\x10\x10"),
        ("image/svg+xml", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        ("application/pdf", b"%PDF-1.7\n%\xe2\xe3"),
        ("application/zip", b"PK\x03\x04\x14\0\0\0"),
        (
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            b"PK\x03\x04\x14\0\x06\0",
        ),
        ("application/gzip", b"\x1f\x8b\x08\0\0\0\0\0"),
        ("application/x-bzip2", b"BZh91AY&SY"),
        ("application/x-xz", b"\xfd7zXZ\0\0\x04"),
        ("application/zstd", b"\x28\xb5\x2f\xfd\x04\x00"),
        ("application/x-7z-compressed", b"7z\xbc\xaf\x27\x1c\0\x04"),
        ("application/vnd.rar", b"Rar!\x1a\x07\x01\0"),
        ("audio/mpeg", b"\xff\xfb\x90\x64\0\0"),
        ("video/mp4", b"\0\0\0\x20ftypisom\0\0\x02\0"),
        ("video/quicktime", b"\0\0\0\x14ftypqt  \0\0\0\0"),
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
        ("text/html", b"<!DOCTYPE html><html></html>"),
    ];
    let more =
        [("application/x-tar", tape), ("image/bmp", bitmap), ("text/plain", b"a few words\n".to_vec())];
    begin.into_iter().map(|(kind, bytes)| (kind, bytes.to_vec())).chain(more).collect()
}

#[test]
fn each_kind_is_taken_for_itself_and_for_no_other() {
    let any = upload(r#""sniff":true"#);
    let all = beginnings();
    assert!(all.len() > 30);
    for (kind, bytes) in &all {
        assert_eq!(sent(kind, bytes, &any), Ok(()), "{kind}");
        let fits = |names: &str| names.split(' ').any(|name| name == *kind);
        let packed = kind.contains("officedocument") || kind.ends_with("quicktime");
        assert!(fits(kinds::guess(bytes)) || packed || *kind == "text/plain", "{kind}");
    }
    // Text may look like other text, and some formats are packed in others.
    let alike = |one: &str, other: &str| {
        let is = |kind: &str, names: &[&str]| names.contains(&kind);
        let text = ["text/html", "text/plain", "application/json", "image/svg+xml"];
        let zip =
            ["application/zip", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"];
        let movie = ["video/mp4", "video/quicktime"];
        // What is in the window of an archive is the name of its first file.
        other == "application/x-tar" && ["text/html", "text/plain"].contains(&one)
            || [&text[..], &zip, &movie].iter().any(|names| is(one, names) && is(other, names))
            || one == other
            || one.contains("officedocument")
    };
    for (kind, _) in &all {
        for (other, bytes) in all.iter().filter(|(other, _)| !alike(kind, other)) {
            assert_eq!(sent(kind, bytes, &any), Err(Objection::Content), "{other} as {kind}");
        }
    }
    // Where texts differ, they differ.
    for (kind, bytes) in [
        ("application/json", &b"<html>"[..]),
        ("application/json", b"hello"),
        ("image/svg+xml", b"<html><script>"),
        ("image/svg+xml", b"{}"),
        ("application/xml", b"{}"),
        ("text/plain", b"a\0b"),
        ("text/csv", b"\x7fELF"),
        ("application/vnd.a+json", b"x"),
    ] {
        assert_eq!(sent(kind, bytes, &any), Err(Objection::Content), "{kind}");
    }
}

#[test]
fn short_marks_are_no_marks_in_a_text() {
    let any = upload(r#""sniff":true"#);
    for text in ["BMW,Audi\n1,2\n", "MZ is a mark", "ID3 is one too", "BZh", "II*", "\u{feff}[1]", "moovmoov"]
    {
        assert_eq!(sent("text/csv", text.as_bytes(), &any), Ok(()), "{text}");
    }
    assert_eq!(sent("text/plain", b"\xff\xfea\0b\0", &any), Ok(()), "UTF-16");
    assert_eq!(sent("application/json", "\u{feff}[1]".as_bytes(), &any), Ok(()));
    assert_eq!(sent("image/svg+xml", b"<?xml version=\"1.0\"?>\n<!-- by hand --><svg/>", &any), Ok(()));
}

#[test]
fn a_type_is_taken_if_the_rule_names_it() {
    let images = upload(r#""types":["image/png","audio/*","+json"]"#);
    let says = |kind: &str| guard(&[("content-type", kind)], &images).map(|guard| guard.is_some());
    for kind in
        ["image/png", "IMAGE/PNG", "image/png;a=b", "image/png ; charset=\"x;y\"", "audio/x", "a/b+json"]
    {
        assert_eq!(says(kind), Ok(false), "{kind}");
    }
    for kind in [
        "image/jpeg",
        "",
        "image",
        "image/png, text/html",
        "image/png,image/png",
        "image/png a",
        "image/*",
        "*/*",
        "image/png;a",
        "image/png;a=b c=d",
        "image/png;a=\"x",
        "audio",
        "multipart/mixed; boundary=a",
    ] {
        assert_eq!(says(kind), Err(Objection::Type), "{kind}");
    }
    assert_eq!(guard(&[], &images).map(|_| ()), Err(Objection::Type), "none");
    let twice = [("content-type", "image/png"), ("content-type", "image/png")];
    assert_eq!(guard(&twice, &images).map(|_| ()), Err(Objection::Type), "twice");
}

#[test]
fn what_has_no_type_is_taken_for_what_it_looks_like() {
    let images = upload(r#""types":["image/png","text/plain"],"sniff":true"#);
    for (kind, bytes) in beginnings() {
        let wanted = if ["image/png", "text/plain"].contains(&kind) {
            Verdict::Fine
        } else {
            Verdict::Refused(Objection::Type)
        };
        let mut untold = guard(&[], &images).unwrap().unwrap();
        assert_eq!(untold.on_chunk(&bytes, true, &images), wanted, "{kind}");
    }
}

#[test]
fn what_is_coded_cannot_be_seen() {
    let png = ("content-type", "image/png");
    let sniffing = upload(r#""sniff":true"#);
    for coding in ["gzip", "identity, br", "x"] {
        assert_eq!(
            guard(&[png, ("content-encoding", coding)], &sniffing).map(|_| ()),
            Err(Objection::Coding),
            "{coding}"
        );
    }
    assert!(guard(&[png, ("content-encoding", "identity")], &sniffing).is_ok());
    let named = upload(r#""types":["image/png"]"#);
    assert!(guard(&[png, ("content-encoding", "gzip")], &named).is_ok());
    let form = ("content-type", "multipart/form-data; boundary=b");
    assert_eq!(guard(&[form, ("content-encoding", "gzip")], &named).map(|_| ()), Err(Objection::Coding));
}

#[test]
fn a_body_is_counted_to_its_end() {
    let short = upload(r#""max_bytes":10"#);
    let long = |length: &str| guard(&[("content-length", length)], &short).map(|_| ());
    assert_eq!(long("10"), Ok(()));
    assert_eq!(long("11"), Err(Objection::TooLarge));
    assert_eq!(sent("a/b", b"0123456789", &short), Ok(()));
    assert_eq!(sent("a/b", b"0123456789x", &short), Err(Objection::TooLarge));
    // One that says less than it sends.
    let mut lies = guard(&[("content-length", "5")], &short).unwrap().unwrap();
    assert_eq!(lies.on_chunk(b"0123456789x", false, &short), Verdict::Refused(Objection::TooLarge));
    assert!(guard(&[], &upload("")).unwrap().is_none(), "nothing to check");
}

/// A form with these parts: a head and content.
fn form(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (head, content) in parts {
        body.extend_from_slice(format!("--AaB03x\r\n{head}\r\n\r\n").as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--AaB03x--\r\n");
    body
}

const FORM: &str = "multipart/form-data; boundary=AaB03x";
const FIELD: (&str, &[u8]) = ("Content-Disposition: form-data; name=\"a\"", b"any\0thing");
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n--AaB03\r\n--Aa and so on";
const PAGE: &[u8] = b"<?php system($_GET['c']);";

fn file(more: &str) -> String {
    format!("Content-Disposition: form-data; name=\"f\"; filename=\"a.png\"\r\nContent-Type: image/png{more}")
}

#[test]
fn each_file_of_a_form_is_judged() {
    let images = upload(r#""types":["image/png"],"sniff":true"#);
    let one = file("");
    assert_eq!(sent(FORM, &form(&[FIELD, (&one, PNG), FIELD, (&one, PNG)]), &images), Ok(()));
    assert_eq!(sent(FORM, &form(&[FIELD, (&one, PNG), (&one, PAGE)]), &images), Err(Objection::Content));
    assert_eq!(sent(FORM, &form(&[(&one, b"")]), &images), Ok(()), "an empty file");
    assert_eq!(sent(FORM, b"", &images), Ok(()), "no body");
    assert_eq!(sent(FORM, b"--AaB03x--", &images), Ok(()), "no part");
    let guessed = "Content-Disposition: form-data; name=f; filename=a.png";
    assert_eq!(sent(FORM, &form(&[(guessed, PNG)]), &images), Ok(()));
    assert_eq!(sent(FORM, &form(&[(guessed, PAGE)]), &images), Err(Objection::Type));
    let page = "Content-Disposition: form-data; name=f; filename=a.php\r\nContent-Type: text/php";
    assert_eq!(sent(FORM, &form(&[FIELD, (page, PNG)]), &images), Err(Objection::Type));
    // What nobody has chosen a file for.
    let none =
        "Content-Disposition: form-data; name=\"f\"; filename=\"\"\r\nContent-Type: application/octet-stream";
    assert_eq!(sent(FORM, &form(&[(none, b""), FIELD]), &images), Ok(()));
    assert_eq!(sent(FORM, &form(&[(none, b"x")]), &images), Err(Objection::Type));
    assert_eq!(sent(FORM, &form(&[(none, PNG)]), &images), Err(Objection::Type));
    // The rule need not look at bytes, or take forms at all.
    let named = upload(r#""types":["image/png"]"#);
    assert_eq!(sent(FORM, &form(&[(&one, PAGE)]), &named), Ok(()));
    assert_eq!(sent(FORM, &form(&[(guessed, PNG)]), &named), Err(Objection::Type));
    let no_forms = upload(r#""types":["image/png"],"multipart":false"#);
    assert_eq!(sent(FORM, &form(&[(&one, PNG)]), &no_forms), Err(Objection::Type));
}

#[test]
fn what_some_reader_may_take_for_a_file_is_judged_as_one() {
    let images = upload(r#""types":["image/png"],"sniff":true"#);
    for head in [
        "content-disposition: FORM-DATA; name=a; FileName=\"a.php\"",
        "Content-Disposition: form-data; name=a; filename*=UTF-8''a.php",
        "Content-Disposition: form-data; filename=a.php; name=a",
        "Content-Disposition: form-data; name=\"a\\\"; filename=\\\"a.php\"",
        // What PHP takes for a quotation mark (owasp-modsecurity/ModSecurity#460).
        "Content-Disposition: form-data; name=a'; filename=';x=b.php'",
        "Content-Disposition: form-data; name=a; filename='a.php'",
        "Content-Disposition: form-data; name=a; filename*0=\"a.\"; filename*1=\"php\"",
    ] {
        assert_eq!(sent(FORM, &form(&[(head, PAGE)]), &images), Err(Objection::Type), "{head}");
    }
    for head in [
        "Content-Disposition: form-data; name=\"a\"; filename=\"a.png\"; filename=\"a.php\"",
        "Content-Disposition: form-data; name=a; filename=a b.php",
        "Content-Disposition: form-data; name=a; filename=\"a\"b.php\"",
        "Content-Disposition: form-data; name=a; filename=\"a.php",
        "Content-Disposition: form-data; name=a filename=a.php",
        "Content-Disposition : form-data; name=a; filename=a.php",
        "Content-Disposition: form-data; name=a\r\n ; filename=a.php",
        "Content-Disposition: form-data; name=a\r\nContent-Disposition: form-data; name=a; filename=a.php",
        "Content-Disposition: form-data; name=a\nContent-Disposition: form-data; filename=a.php",
        "Content-Disposition: form-data; name=a\r; filename=a.php",
        "Content-Disposition: form-data; name=\"a\0\"; filename=a.php",
        "Content-Disposition: attachment; filename=a.php",
        "Content-Type: image/png",
        "X: y",
        "no colon",
    ] {
        assert_eq!(sent(FORM, &form(&[(head, PNG)]), &images), Err(Objection::Form), "{head:?}");
    }
    let twice = file("\r\nContent-Type: image/png");
    assert_eq!(sent(FORM, &form(&[(&twice, PNG)]), &images), Err(Objection::Form));
    let coded = file("\r\nContent-Transfer-Encoding: base64");
    assert_eq!(sent(FORM, &form(&[(&coded, PNG)]), &images), Err(Objection::Coding));
    let plain = file("\r\nContent-Transfer-Encoding: BINARY\r\nX-More: 1");
    assert_eq!(sent(FORM, &form(&[(&plain, PNG)]), &images), Ok(()));
    for kind in ["multipart/mixed; boundary=b", "message/rfc822", "text/plain, image/png", "png"] {
        let nested = format!("Content-Disposition: form-data; name=\"a\"\r\nContent-Type: {kind}");
        assert_eq!(sent(FORM, &form(&[(&nested, b"x")]), &images), Err(Objection::Type), "{kind}");
    }
    let long = file(&format!("\r\nX: {}", "x".repeat(5000)));
    assert_eq!(sent(FORM, &form(&[(&long, PNG)]), &images), Err(Objection::Form));
}

#[test]
fn delimiters_that_readers_see_differently_are_refused() {
    let images = upload(r#""types":["image/png"],"sniff":true"#);
    let whole = form(&[(&file(""), PNG)]);
    let text = |body: &str| sent(FORM, body.as_bytes(), &images);
    let part = "Content-Disposition: form-data; name=a\r\n\r\n";
    assert_eq!(text(&format!("before\r\n--AaB03x\r\n{part}x\r\n--AaB03x--\r\nafter")), Ok(()));
    assert_eq!(
        text(&format!("--AaB03x\r\n{part}x --AaB03x y\r\n--AaB03x--")),
        Ok(()),
        "in the midst of a line"
    );
    for body in [
        format!("--AaB03x\n{part}x\r\n--AaB03x--"),
        format!("--AaB03x \r\n{part}x\r\n--AaB03x--"),
        format!("--AaB03x\r\n{part}x\n--AaB03x\r\n{part}y\r\n--AaB03x--"),
        format!("--AaB03x\r\n{part}x\r--AaB03x\r\n{part}y\r\n--AaB03x--"),
        format!("--AaB03x\r\n{part}x\r\n--AaB03xy\r\n{part}y\r\n--AaB03x--"),
        format!("--AaB03x\r\n{part}--AaB03x--"),
        format!("--AaB03x\r\n{part}x\r\n--AaB03x--\r\n--AaB03x\r\n{part}y"),
        format!("--AaB03x\r\n{part}x\r\n--AaB03x-"),
        format!("--AaB03x\r\n{part}x"),
        format!("--AaB03x\r\n{part}x\r\n--AaB03x"),
        "--AaB03x\r\n\r\nx\r\n--AaB03x--".to_owned(),
        "no delimiter".to_owned(),
        "x".repeat(40_000),
    ] {
        assert_eq!(text(&body), Err(Objection::Form), "{body:?}");
    }
    for kind in [
        "multipart/form-data",
        "multipart/form-data; boundary=\"\"",
        "multipart/form-data; boundary=a; boundary=AaB03x",
        "multipart/form-data; boundary*=AaB03x; boundary=AaB03x",
        "multipart/form-data; boundary=\"AaB 03x\"",
        "multipart/form-data; boundary=\"AaB03x,b\"",
    ] {
        assert_eq!(sent(kind, &whole, &images), Err(Objection::Form), "{kind}");
    }
    for kind in ["multipart/form-data; boundary=AaB03x,b", "multipart/form-data; boundary="] {
        assert_eq!(sent(kind, &whole, &images), Err(Objection::Type), "{kind}");
    }
    assert_eq!(sent("Multipart/Form-Data; charset=utf-8; BOUNDARY=\"AaB03x\"", &whole, &images), Ok(()));
}

#[test]
fn a_form_waits_until_a_file_is_judged() {
    let images = upload(r#""types":["image/png"],"sniff":true"#);
    let head = file("");
    let body = form(&[FIELD, (&head, &[PNG, &[b'x'; 200]].concat()), (&head, PNG)]);
    let kind = [("content-type", FORM)];
    let mut guard = guard(&kind, &images).unwrap().unwrap();
    let open: Vec<bool> =
        body.iter().map(|byte| guard.on_chunk(&[*byte], false, &images) == Verdict::Open).collect();
    let at = |part: &[u8]| body.windows(part.len()).position(|window| window == part).unwrap();
    let first = at(b"filename") + head.len();
    assert!(open[..first].iter().all(|open| *open), "nothing is known of a file");
    let content = at(PNG);
    assert!(!open[content + 150] && !open[content + 180], "one is known");
    let second = body.len() - PNG.len();
    assert!(open[second], "and another begins");
}
