use super::*;
use crate::base64;
use crate::fields::FieldBlock;

const KEY: &str = "p:v1:0f";
const GET: Command<'_> = Command::Get { key: KEY };
const SET: Command<'_> = Command::Set { key: KEY, value: b"v", ttl_seconds: 0 };
const DEL: Command<'_> = Command::Delete { key: KEY };
const ADD: Command<'_> = Command::Add { key: KEY, text: "0f", ttl_seconds: 60 };
const READY: Answer = Answer::Ready(Capabilities { binary_reads: true });

fn webdis() -> Dialect {
    Dialect::Webdis(WebdisOptions { user_password: Some("user:pass:word".into()) })
}

fn upstash() -> Dialect {
    Dialect::Upstash(UpstashOptions { token: Some("t".into()) })
}

fn ask(dialect: &Dialect, command: Command<'_>, status: &str, body: &[u8]) -> Result<Answer, DialectError> {
    let head: FieldBlock = [(&b":status"[..], status.as_bytes()), (b"x-envoy-upstream-service-time", b"0")]
        .into_iter()
        .collect();
    dialect.answer(command.kind(), Response { head: head.fields(), body: body.to_vec() }, 100)
}

fn check(dialect: &Dialect, table: &[(Command<'_>, &str, &str, Result<Answer, DialectError>)]) {
    for (command, status, body, expected) in table {
        assert_eq!(&ask(dialect, *command, status, body.as_bytes()), expected, "{command:?} {status} {body}");
    }
}

fn redis(text: &str) -> Result<Answer, DialectError> {
    Err(DialectError::RedisError(text.into()))
}

fn value(bytes: &[u8]) -> Result<Answer, DialectError> {
    Ok(Answer::Value(bytes.to_vec()))
}

#[test]
fn commands_become_calls() {
    for (dialect, command, method, path) in [
        (webdis(), GET, "GET", "/GET/p:v1:0f.bin"),
        (webdis(), SET, "PUT", "/SETEX/p:v1:0f/1"),
        (webdis(), DEL, "GET", "/DEL/p:v1:0f"),
        (webdis(), ADD, "GET", "/SET/p:v1:0f/0f/NX/EX/60"),
        (webdis(), Command::Probe, "GET", "/PING"),
        (upstash(), GET, "GET", "/get/p:v1:0f"),
        (upstash(), SET, "POST", "/set/p:v1:0f?EX=1"),
        (upstash(), DEL, "POST", "/del/p:v1:0f"),
        (upstash(), ADD, "POST", "/set/p:v1:0f/0f/NX/EX/60"),
        (upstash(), Command::Probe, "GET", "/ping/selvage"),
    ] {
        let call = dialect.call(&command);
        assert_eq!((call.method, call.path.as_str()), (method, path));
        assert_eq!(call.body, if command == SET { &b"v"[..] } else { b"" });
    }
    assert_eq!(webdis().call(&GET).headers, [("authorization", "Basic dXNlcjpwYXNzOndvcmQ=".to_owned())]);
    assert_eq!(upstash().call(&SET).headers, [("authorization", "Bearer t".to_owned())]);
}

fn ask_all(
    dialect: &Dialect,
    kinds: &[Kind],
    body: &str,
) -> Result<Vec<Result<Answer, DialectError>>, DialectError> {
    let head: FieldBlock =
        [(&b":status"[..], &b"200"[..]), (b"x-envoy-upstream-service-time", b"0")].into_iter().collect();
    dialect.answers(kinds, Response { head: head.fields(), body: body.as_bytes().to_vec() }, 100)
}

#[test]
fn several_commands_become_one_call() {
    let claim = Command::Claim { key: KEY, claim: "claim:7", millis: 5 };
    let call = upstash().call_all(&[GET, claim], false).unwrap();
    assert_eq!((call.method, call.path.as_str()), ("POST", "/pipeline"));
    let body = r#"[["GET","p:v1:0f"],["SET","p:v1:0f","claim:7","NX","GET","PX","5"]]"#;
    assert_eq!(String::from_utf8_lossy(&call.body), body);
    assert!(upstash().call_all(&[DEL, SET], false).is_none());
    let call = webdis().call_all(&[GET, claim], false).unwrap();
    assert!(
        call.method == "GET" && call.path.ends_with("/2/p:v1:0f/p:v1:0f/-/0/claim:7/5.raw"),
        "{}",
        call.path
    );
    let call = webdis().call_all(&[SET, DEL], false).unwrap();
    assert!(
        call.method == "PUT" && call.path.ends_with("/1/1/0/0.raw") && call.body == b".v",
        "{}",
        call.path
    );
}

#[test]
fn a_pipeline_answers_each_command() {
    let get = [Kind::Get, Kind::Claim];
    let body = r#"[{"result":"dg=="},{"error":"ERR syntax error"}]"#;
    assert_eq!(ask_all(&upstash(), &get, body), Ok(vec![value(b"v"), redis("ERR syntax error")]));
    let body = r#"[{"result":null},{}]"#;
    assert_eq!(ask_all(&upstash(), &get, body), Ok(vec![Ok(Answer::Absent), Err(DialectError::Malformed)]));
    for body in ["", "[]", r#"[{"result":null}]"#, r#"{"result":null}"#, r#"[{"result":1},{"result":2}]"#] {
        assert_eq!(ask_all(&upstash(), &get, body), Err(DialectError::Malformed), "{body}");
    }
    let long = format!("[{{\"result\":null}},{{\"result\":null}}{}]", " ".repeat(10_000));
    assert_eq!(ask_all(&upstash(), &get, &long), Err(DialectError::TooLarge));
    let refused = ask_all(&upstash(), &get, r#"{"error":"ERR unknown path"}"#).unwrap_err();
    assert!(refused.refuses_batches());
}

#[test]
fn credentials_that_no_header_can_carry_are_refused() {
    use policy::Dialect::{Upstash, Webdis};
    for (chosen, credentials, fits) in [
        (Webdis, None, true),
        (Webdis, Some("user:pass:wörd"), true),
        (Webdis, Some("token"), false),
        (Upstash, None, true),
        (Upstash, Some("AXg=_-.~"), true),
        (Upstash, Some("a\r\nb"), false),
        (Upstash, Some("a b"), false),
    ] {
        let dialect = Dialect::new(chosen, credentials.map(str::to_owned));
        assert_eq!(dialect.is_ok(), fits, "{chosen:?} {credentials:?}");
    }
    let Ok(open) = Dialect::new(Upstash, None) else { panic!("no token is needed") };
    assert_eq!(open.call(&SET).headers, []);
}

#[test]
fn a_key_holds_nothing_that_a_bridge_reads_as_syntax() {
    assert_eq!(wire_key("a/b+c.js?ü", 15), "a_b_c_js__:v1:0000000000000000000000000000000f");
}

#[test]
fn webdis_answers_are_told_apart() {
    let wrong_type = "WRONGTYPE Operation against a key";
    check(
        &webdis(),
        &[
            (GET, "200", "x", value(b"x")),
            (GET, "200", "-x", Err(DialectError::RedisError("x".to_owned()))),
            (GET, "200", &"x".repeat(100), value(&[b'x'; 100])),
            (GET, "200", &"x".repeat(101), Err(DialectError::TooLarge)),
            (GET, "200", &format!("-{wrong_type}"), redis(wrong_type)),
            (GET, "200", "-NOAUTH Authentication required.\r\n", Err(DialectError::Unauthorized)),
            (GET, "404", "", Ok(Answer::Absent)),
            (GET, "503", "", Err(DialectError::Status(503))),
            (GET, "403", "", Err(DialectError::Unauthorized)),
            (SET, "413", "", Err(DialectError::Status(413))),
            (SET, "404", "", Err(DialectError::Status(404))),
            (SET, "200", r#"{"SETEX":[true,"OK"]}"#, Ok(Answer::Done)),
            (SET, "200", r#"{"SETEX":[false,"OOM command not allowed"]}"#, redis("OOM command not allowed")),
            (SET, "200", r#"{"SETEX":true}"#, Err(DialectError::Malformed)),
            (SET, "200", r#"{"DEL":1}"#, Err(DialectError::Malformed)),
            (SET, "200", "", Err(DialectError::Malformed)),
            (DEL, "200", r#"{"DEL":0}"#, Ok(Answer::Done)),
            (DEL, "200", r#"{"DEL":[false,"READONLY x"]}"#, redis("READONLY x")),
            (DEL, "200", &"[".repeat(5000), Err(DialectError::Malformed)),
            (ADD, "200", r#"{"SET":[true,"OK"]}"#, Ok(Answer::Done)),
            (ADD, "200", r#"{"SET":null}"#, Ok(Answer::Absent)),
            (ADD, "200", r#"{"SET":[false,"OOM x"]}"#, redis("OOM x")),
            (ADD, "200", r#"{"SET":[false,"NOPERM x"]}"#, Err(DialectError::Unauthorized)),
            (ADD, "200", "{}", Err(DialectError::Malformed)),
            (ADD, "404", "", Err(DialectError::Status(404))),
            (SET, "200", r#"{"SET":null}"#, Err(DialectError::Malformed)),
            (Command::Probe, "200", r#"{"PING":[true,"PONG"]}"#, Ok(READY)),
            (Command::Probe, "200", r#"{"PING":[false,"NOAUTH x"]}"#, Err(DialectError::Unauthorized)),
            (Command::Probe, "2oo", "", Err(DialectError::Malformed)),
        ],
    );
}

#[test]
fn upstash_answers_are_told_apart() {
    let long = format!(r#"{{"error":"{}"}}"#, "é".repeat(300));
    let encoded = |bytes: usize| format!(r#"{{"result":"{}"}}"#, base64::encode(&vec![7; bytes]));
    check(
        &upstash(),
        &[
            (GET, "200", r#"{"result":"AP8="}"#, value(&[0, 255])),
            (GET, "200", r#"{"result":"\/\/8="}"#, value(&[255, 255])),
            (GET, "200", r#"{"result":""}"#, value(b"")),
            (GET, "200", r#"{"result":null}"#, Ok(Answer::Absent)),
            (GET, "200", &encoded(100), value(&[7; 100])),
            (GET, "200", &encoded(101), Err(DialectError::TooLarge)),
            (GET, "200", &encoded(9000), Err(DialectError::TooLarge)),
            (GET, "200", r#"{"result":"AP8"}"#, Err(DialectError::Malformed)),
            (GET, "200", r#"{"result":"AP8="#, Err(DialectError::Malformed)),
            (GET, "200", r#"{"result":"AP9="}"#, Err(DialectError::Malformed)),
            (GET, "200", r#"{"result":"A===AAAA"}"#, Err(DialectError::Malformed)),
            (GET, "200", r#"{"result":7}"#, Err(DialectError::Malformed)),
            (GET, "200", "{}", Err(DialectError::Malformed)),
            (GET, "200", r#"{"error":"ERR x"}"#, redis("ERR x")),
            (GET, "200", r#"{"result":null,"error":"ERR x"}"#, redis("ERR x")),
            (GET, "400", r#"{"error":"WRONGTYPE x"}"#, redis("WRONGTYPE x")),
            (GET, "400", &long, redis(&"é".repeat(200))),
            (GET, "400", "<html>", Err(DialectError::Status(400))),
            (GET, "401", r#"{"error":"Unauthorized"}"#, Err(DialectError::Unauthorized)),
            (GET, "404", "", Err(DialectError::Status(404))),
            (SET, "200", r#"{"result":"OK"}"#, Ok(Answer::Done)),
            (SET, "200", r#"{"result":"T0s="}"#, Ok(Answer::Done)),
            (SET, "200", r#"{"result":null}"#, Err(DialectError::Malformed)),
            (DEL, "200", r#"{"result":1}"#, Ok(Answer::Done)),
            (DEL, "200", r#"{"result":"1"}"#, Err(DialectError::Malformed)),
            (DEL, "200", r#"{"error":"ERR x"}"#, redis("ERR x")),
            (ADD, "200", r#"{"result":"OK"}"#, Ok(Answer::Done)),
            (ADD, "200", r#"{"result":"T0s="}"#, Ok(Answer::Done)),
            (ADD, "200", r#"{"result":null}"#, Ok(Answer::Absent)),
            (ADD, "200", "{}", Err(DialectError::Malformed)),
            (ADD, "200", r#"{"result":"x"}"#, Err(DialectError::Malformed)),
            (Command::Probe, "200", r#"{"result":"c2VsdmFnZQ=="}"#, Ok(READY)),
            (
                Command::Probe,
                "200",
                r#"{"result":"selvage"}"#,
                Ok(Answer::Ready(Capabilities { binary_reads: false })),
            ),
            (Command::Probe, "200", r#"{"result":"PONG"}"#, Err(DialectError::Malformed)),
        ],
    );
}

#[test]
fn answers_made_by_envoy_and_missing_ones_are_not_the_bridges() {
    for dialect in [webdis(), upstash()] {
        for (status, error) in [("503", DialectError::Unreachable), ("504", DialectError::Timeout)] {
            let head: FieldBlock = [(&b":status"[..], status.as_bytes())].into_iter().collect();
            let response = Response { head: head.fields(), body: b"no healthy upstream".to_vec() };
            assert_eq!(dialect.answer(Kind::Get, response, 100), Err(error));
        }
        let response = Response { head: Fields::default(), body: Vec::new() };
        assert_eq!(dialect.answer(Kind::Get, response, 100), Err(DialectError::Reset));
    }
}

#[test]
fn base64_round_trips_every_length() {
    for length in 0..200u8 {
        let bytes: Vec<u8> = (0..length).map(|at| at.wrapping_mul(73)).collect();
        assert_eq!(base64::decode(base64::encode(&bytes).as_bytes()), Some(bytes));
    }
}

#[test]
fn no_bytes_make_a_panic_or_an_oversized_value() {
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed as usize
    };
    let starts: [&[u8]; 9] = [
        b"",
        br#"{"result":"AAAA"}"#,
        br#"{"result":null}"#,
        br#"{"error":"ERR x"}"#,
        br#"{"SETEX":[true,"OK"]}"#,
        br#"{"DEL":[false,"ERR"]}"#,
        br#"{"SET":null}"#,
        b"-ERR x",
        br#"{"PING":[true,"PONG"]}"#,
    ];
    for dialect in [webdis(), upstash()] {
        for _ in 0..100_000 {
            let mut body = starts[next() % starts.len()].to_vec();
            for _ in 0..next() % 4 {
                let at = next() % (body.len() + 1);
                match next() % 3 {
                    0 => body.insert(at, next() as u8),
                    1 => body.truncate(at),
                    _ => body.extend((0..next() % 60).map(|_| next() as u8)),
                }
            }
            let command = [GET, SET, DEL, ADD, Command::Probe][next() % 5];
            let status = ["200", "200", "400", "404", "503"][next() % 5];
            match ask(&dialect, command, status, &body) {
                Ok(Answer::Value(value)) => assert!(value.len() <= 100 && command == GET),
                Err(DialectError::RedisError(text)) => assert!(text.chars().count() <= 200),
                _ => {}
            }
        }
    }
}
