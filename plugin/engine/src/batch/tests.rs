use super::answer::{Form, is_json_type, piece, whole};
use super::requests::{Part, read};
use super::target::refusal;
use crate::fields::{FieldBlock, Fields};
use crate::policy::Batch;

fn asked(body: &str) -> Result<Vec<Part>, String> {
    read(body.as_bytes(), &Batch::default())
}

fn only(part: &str) -> Result<Part, String> {
    asked(&format!("{{\"requests\":[{part}]}}")).map(|mut parts| parts.remove(0))
}

#[test]
fn a_batch_is_read_in_the_order_in_which_it_is_written() {
    let parts = asked(
        r#"{"requests":[{"id":"b","method":"GET","url":"/1?x=%20"},
            {"url":"/2","method":"GET","id":"a","headers":{"Accept-Language":" de "},"body":null}]}"#,
    )
    .unwrap();
    let gets: Vec<_> = parts.iter().map(|part| (&*part.id, part.get.as_ref().unwrap())).collect();
    assert_eq!((gets[0].0, &*gets[0].1.target, gets[1].0), ("b", "/1?x=%20", "a"));
    assert_eq!(gets[1].1.fields, [("accept-language".into(), "de".into())]);
}

#[test]
fn what_leaves_open_what_is_wanted_is_refused_as_a_whole() {
    let get = r#"{"id":"1","method":"GET","url":"/a"}"#;
    let many = vec![get; 33].join(",");
    for (body, why) in [
        ("", "no JSON"),
        ("[]", "an object"),
        ("{}", "an object with \"requests\""),
        (r#"{"requests":{}}"#, "requests: one list"),
        (r#"{"requests":[]}"#, "1 to 32 parts"),
        (&*format!("{{\"requests\":[{many}]}}"), "these are 33"),
        (&*format!("{{\"requests\":[{get}],\"requests\":[{get}]}}"), "requests: one list"),
        (&*format!("{{\"requests\":[{get}],\"x\":1}}"), "\"x\": not known"),
        (&*format!("{{\"requests\":[{get},{get}]}}"), "requests[1].id: \"1\" again"),
        (r#"{"requests":[1]}"#, "requests[0].id"),
        (r#"{"requests":[{"id":1,"method":"GET","url":"/a"}]}"#, "requests[0].id: a text"),
        (r#"{"requests":[{"id":"","method":"GET","url":"/a"}]}"#, "requests[0].id: a text"),
        (r#"{"requests":[{"method":"GET","url":"/a"}]}"#, "requests[0].id: one is wanted"),
        (r#"{"requests":[{"id":"1","url":"/a"}]}"#, "requests[0].method"),
        (r#"{"requests":[{"id":"1","method":"GET"}]}"#, "requests[0].url"),
        (r#"{"requests":[{"id":"1","method":"GET","url":"/a","url":"/b"}]}"#, "url: stands twice"),
        (r#"{"requests":[{"id":"1","method":"GET","url":"/a","dependsOn":["2"]}]}"#, "no transactions"),
        (r#"{"requests":[{"id":"1","method":"GET","url":"/a","atomicityGroup":"g"}]}"#, "no transactions"),
        (r#"{"requests":[{"id":"1","method":"GET","url":"/a","if":"x"}]}"#, "\"if\": not known"),
    ] {
        let told = asked(body).expect_err(body);
        assert!(told.contains(why), "{body}: {told}");
    }
}

#[test]
fn what_is_wrong_with_a_part_is_its_own() {
    for (part, status, why) in [
        (r#"{"id":"1","method":"POST","url":"/a"}"#, 405, "only GET"),
        (r#"{"id":"1","method":"get","url":"/a"}"#, 405, "only GET"),
        (r#"{"id":"1","method":"PURGE","url":"/a"}"#, 405, "only GET"),
        (r#"{"id":"1","method":"GET","url":"/batch?x"}"#, 400, "no batch"),
        (r#"{"id":"1","method":"GET","url":"/a","body":{}}"#, 400, "body"),
        (r#"{"id":"1","method":"GET","url":"/a","headers":{"Authorization":"x"}}"#, 400, "\"authorization\""),
        (r#"{"id":"1","method":"GET","url":"/a","headers":{"x-user":"x"}}"#, 400, "\"x-user\""),
        (r#"{"id":"1","method":"GET","url":"/a","headers":{"host":"evil"}}"#, 400, "\"host\""),
        (r#"{"id":"1","method":"GET","url":"/a","headers":{"accept":1}}"#, 400, "headers.accept"),
        (r#"{"id":"1","method":"GET","url":"/a","headers":{"accept":"a\r\nb: c"}}"#, 400, "ASCII"),
        (r#"{"id":"1","method":"GET","url":"/a","headers":{"accept":"a","Accept":"b"}}"#, 400, "twice"),
    ] {
        let refused = only(part).unwrap().get.expect_err(part);
        assert!(refused.status == status && refused.why.contains(why), "{part}: {refused:?}");
    }
}

#[test]
fn only_paths_of_the_same_authority_that_nobody_reads_otherwise_are_asked_for() {
    for good in
        ["/", "/a", "/a?b=//c&d=../e%2f", "/a//b", "/a.b/..c/c..", "/%61%20", "/a;v=1/b", "/.selvagery"]
    {
        assert_eq!(refusal(good), None, "{good}");
    }
    let long = format!("/{}", "a".repeat(8 << 10));
    for bad in [
        "",
        "a",
        "*",
        "//evil.test/",
        "///evil.test",
        "http://evil.test/",
        "https:/evil",
        "/\\evil.test",
        "\\\\evil",
        "/a b",
        "/a\tb",
        "/a\r\nhost: evil",
        "/a\u{0}",
        "/ä",
        "/a#b",
        "/a/../b",
        "/..",
        "/./a",
        "/a/.",
        "/%2e%2e/b",
        "/a/.%2E/b",
        "/a%2fb",
        "/a%5cb",
        "/a%00",
        "/a%0d%0ab",
        "/a%",
        "/a%4",
        "/a%zz",
        "/a/..;x=1/b",
        "/.selvage",
        "/.selvage/purge",
        "/%2eselvage/",
        "/.%73elvage/report",
        &long,
    ] {
        assert!(refusal(bad).is_some(), "{bad}");
    }
}

fn block(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let fields: FieldBlock = fields.iter().map(|(name, value)| (name.as_bytes(), *value)).collect();
    let mut block = Vec::new();
    fields.write_with(&[], &mut block);
    block
}

fn told(fields: &[(&str, &[u8])], content: &[u8], form: Form) -> String {
    let block = block(fields);
    String::from_utf8(piece("1", 200, Fields::parse(&block).unwrap(), content, form)).unwrap()
}

#[test]
fn json_stands_as_it_is_and_all_else_as_base64() {
    let json: (&str, &[u8]) = ("content-type", b"application/json; charset=utf-8");
    let body = b"{ \"n\": 12345678901234567890.10,\n\"n\": \"\\u00e9\" }";
    let text = std::str::from_utf8(body).unwrap();
    assert!(told(&[json], body, Form::Json).ends_with(&format!(",\"body\":{text}}}")));
    assert!(told(&[json], body, Form::Lines).ends_with(&format!(",\"body\":{}}}", text.replace('\n', " "))));
    for (fields, body) in [
        (vec![json], &b"{\"cut\":"[..]),
        (vec![json], b"\xef\xbb\xbf{}"),
        (vec![json], b"\"\xff\""),
        (vec![json], b"{} {}"),
        // What strict readers refuse would spoil the other parts.
        (vec![json], b"\"\\ud800\""),
        (vec![json], b"[1e999]"),
        (vec![json, ("content-encoding", b"gzip")], b"{}"),
        (vec![("content-type", b"text/plain")], b"{}"),
        (vec![], b"{}"),
    ] {
        assert!(told(&fields, body, Form::Json).contains(",\"encoding\":\"base64\",\"body\":\""), "{body:?}");
    }
    assert_eq!(told(&[json], b"", Form::Json).matches("body").count(), 0);
    for (kind, is) in
        [("application/problem+json", true), ("APPLICATION/JSON ;x", true), ("application/jsonp", false)]
    {
        assert_eq!(is_json_type(kind.as_bytes()), is, "{kind}");
    }
}

#[test]
fn fields_are_told_once_each_and_those_of_the_connection_not_at_all() {
    let fields: [(&str, &[u8]); 11] = [
        (":status", b"200"),
        ("vary", b"a"),
        ("vary", b"b"),
        ("set-cookie", b"a=1"),
        ("set-cookie", b"b=\"2\""),
        ("connection", b"x-hop"),
        ("x-hop", b"1"),
        ("content-length", b"3"),
        ("x-envoy-upstream-service-time", b"3"),
        ("age", b"7"),
        ("x-latin", b"\xe4"),
    ];
    let told: serde_json::Value = serde_json::from_str(&told(&fields, b"", Form::Json)).unwrap();
    let wanted =
        serde_json::json!({ "vary": "a, b", "set-cookie": ["a=1", "b=\"2\""], "age": "7", "x-latin": "ä" });
    assert_eq!(told["headers"], wanted);
}

#[test]
fn the_whole_is_an_object_or_lines() {
    let pieces = [&b"{\"id\":\"1\"}"[..], b"{\"id\":\"2\"}"];
    let told = |form| String::from_utf8(whole(pieces.into_iter(), 20, form)).unwrap();
    assert_eq!(told(Form::Json), "{\"responses\":[{\"id\":\"1\"},{\"id\":\"2\"}]}\n");
    assert_eq!(told(Form::Lines), "{\"id\":\"1\"}\n{\"id\":\"2\"}\n");
    for (accept, form) in [
        ("application/x-ndjson", Form::Lines),
        ("application/json, application/x-ndjson;q=0.5", Form::Lines),
        ("application/x-ndjson;q=0", Form::Json),
        ("*/*", Form::Json),
    ] {
        let block = block(&[("accept", accept.as_bytes())]);
        assert_eq!(Form::wanted(Fields::parse(&block).unwrap()), form, "{accept}");
    }
}
