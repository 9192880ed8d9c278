//! Inputs for the two dialects: an answer as text, with what was asked in its first line.
//!
//! ```text
//! get 65536                             get, set, delete, add or probe, and the most bytes that a value may have
//! :status: 200                          header fields
//!                                       an empty line
//! {"result":"YQ=="}                     the body
//! ```

use selvage_engine::fields::FieldBlock;
use selvage_engine::remote::dialect::{
    Answer, Command, Dialect, DialectError, Kind, Response, UpstashOptions, WebdisOptions,
};

use crate::allocator::peak_of;
use crate::decoder::{Decoder, Outcome};
use crate::random::Random;

/// The decoder of one dialect's answers.
pub struct Answers {
    dialect: Dialect,
}

impl Answers {
    /// webdis.
    pub fn webdis() -> Self {
        Self { dialect: Dialect::Webdis(WebdisOptions::default()) }
    }

    /// Upstash.
    pub fn upstash() -> Self {
        Self { dialect: Dialect::Upstash(UpstashOptions { token: Some("token".to_owned()) }) }
    }

    /// What the dialect makes of a body that came with status 200 for a value of at most `most` bytes.
    pub fn value_in(&self, body: Vec<u8>, most: usize) -> Result<Answer, DialectError> {
        let fields: FieldBlock = [(&b":status"[..], &b"200"[..])].into_iter().collect();
        self.dialect.answer(Kind::Get, Response { head: fields.fields(), body }, most)
    }

    fn is_webdis(&self) -> bool {
        matches!(self.dialect, Dialect::Webdis(_))
    }
}

impl Decoder for Answers {
    fn name(&self) -> &'static str {
        if self.is_webdis() { "webdis" } else { "upstash" }
    }

    fn words(&self) -> &'static [&'static [u8]] {
        &WORDS
    }

    fn generate(&self, random: &mut Random) -> Vec<u8> {
        let (command, body) = match random.below(5) {
            0 => {
                let value = random.bytes(300);
                ("get", if self.is_webdis() { value } else { as_result(&base64(&value)) })
            }
            1 if self.is_webdis() => ("set", br#"{"SETEX":[true,"OK"]}"#.to_vec()),
            1 => ("set", as_result("OK")),
            2 if self.is_webdis() => ("delete", br#"{"DEL":1}"#.to_vec()),
            2 => ("delete", br#"{"result":1}"#.to_vec()),
            3 if self.is_webdis() => ("add", br#"{"SET":null}"#.to_vec()),
            3 => ("add", br#"{"result":null}"#.to_vec()),
            _ if self.is_webdis() => ("probe", br#"{"PING":[true,"PONG"]}"#.to_vec()),
            _ => ("probe", as_result(&base64(b"selvage"))),
        };
        let head = format!("{command} 65536\n:status: 200\nx-envoy-upstream-service-time: 1\n\n");
        [head.into_bytes(), body].concat()
    }

    fn adjust(&self, input: &mut Vec<u8>, random: &mut Random) {
        let Some(line) = input.iter().position(|byte| *byte == b'\n') else { return };
        match random.below(4) {
            // The same answer to another question.
            0 => {
                let command = *random.pick(&["get", "set", "delete", "add", "probe"]);
                let most = *random.pick(&[0, 1, 10, 100, 65536]);
                drop(input.splice(..line, format!("{command} {most}").into_bytes()));
            }
            1 => {
                let status =
                    *random.pick(&["200", "404", "400", "401", "403", "503", "504", "500", "2000", "20"]);
                let digits = input.windows(9).position(|window| window == b":status: ");
                if let Some(at) = digits.map(|at| at + 9).filter(|at| at + 3 <= input.len()) {
                    drop(input.splice(at..at + 3, status.bytes()));
                }
            }
            // A value in the place of what is there.
            2 => {
                let value = random.bytes(200);
                let body =
                    input.windows(2).position(|window| window == b"\n\n").map_or(input.len(), |at| at + 2);
                input.truncate(body);
                input.extend(if self.is_webdis() { value } else { as_result(&base64(&value)) });
            }
            _ => {}
        }
    }

    fn check(&self, input: &[u8]) -> Outcome {
        let Input { command, most, fields, body } = Input::read(input);
        let body_before = body.clone();
        let response = Response { head: fields.fields(), body };
        let (result, peak) = peak_of(|| self.dialect.answer(command.kind(), response, most));
        let (accepted, way) = match &result {
            Ok(Answer::Value(value)) => {
                assert!(matches!(command, Command::Get { .. }), "a value nobody asked for");
                assert!(value.len() <= most, "a value of {} bytes where {most} are allowed", value.len());
                let again = if self.is_webdis() { body_before } else { as_result(&base64(value)) };
                let read = self.value_in(again, most);
                assert_eq!(read, Ok(Answer::Value(value.clone())), "the value does not read back");
                (true, format!("value {:?}", value.len().checked_ilog2()))
            }
            Ok(Answer::Absent) => {
                let asked = matches!(command, Command::Get { .. } | Command::Add { .. });
                assert!(asked, "nobody asked for a value");
                (true, "absent".to_owned())
            }
            Ok(Answer::Done) => {
                let to_do =
                    matches!(command, Command::Set { .. } | Command::Delete { .. } | Command::Add { .. });
                assert!(to_do, "nothing was to do");
                (true, "done".to_owned())
            }
            Ok(Answer::Ready(capabilities)) => {
                assert!(matches!(command, Command::Probe), "nobody asked for capabilities");
                (true, format!("ready {}", capabilities.binary_reads))
            }
            Err(DialectError::RedisError(text)) => {
                assert!(text.chars().count() <= 200 && !text.chars().any(char::is_control), "{text:?}");
                (false, format!("redis {:?}", text.len().checked_ilog2()))
            }
            Err(error) => (false, format!("{:?}", std::mem::discriminant(error))),
        };
        Outcome::new(accepted, peak, (std::mem::discriminant(&command), way))
    }

    fn memory_bound(&self, len: usize) -> usize {
        // Values are read out of JSON and decoded from there; an error text is read in vain first.
        4 * len + 2048
    }
}

/// An input, taken apart. Nothing in it is wrong: what is not there has a default.
struct Input {
    command: Command<'static>,
    most: usize,
    fields: FieldBlock,
    body: Vec<u8>,
}

impl Input {
    fn read(input: &[u8]) -> Self {
        let (question, mut rest) = line(input);
        let command = match question.first() {
            Some(b's') => Command::Set { key: "k", value: b"v", ttl_seconds: 1 },
            Some(b'd') => Command::Delete { key: "k" },
            Some(b'a') => Command::Add { key: "k", text: "v", ttl_seconds: 1 },
            Some(b'p') => Command::Probe,
            _ => Command::Get { key: "k" },
        };
        let digits = question.iter().filter(|byte| byte.is_ascii_digit()).take(6);
        let most = digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0'));
        let mut fields = FieldBlock::new();
        while !rest.is_empty() {
            let (field, after) = line(rest);
            rest = after;
            if field.is_empty() {
                break;
            }
            let colon = field.windows(2).position(|window| window == b": ").unwrap_or(field.len());
            fields.push(&field[..colon], field.get(colon + 2..).unwrap_or_default());
        }
        Self { command, most, fields, body: rest.to_vec() }
    }
}

fn line(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
    (&text[..end], text.get(end + 1..).unwrap_or_default())
}

/// The body in which Upstash answers with a string.
pub fn as_result(text: &str) -> Vec<u8> {
    format!("{{\"result\":\"{text}\"}}").into_bytes()
}

/// Base64 by the book (RFC 4648 §4), bit by bit: another way than the engine's.
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut text, mut word, mut bits) = (String::new(), 0usize, 0);
    for byte in bytes {
        (word, bits) = ((word << 8 | usize::from(*byte)) & 0xffff, bits + 8);
        while bits >= 6 {
            bits -= 6;
            text.push(char::from(DIGITS[word >> bits & 63]));
        }
    }
    if bits > 0 {
        text.push(char::from(DIGITS[word << (6 - bits) & 63]));
    }
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

const WORDS: [&[u8]; 34] = [
    b"{\"SETEX\":[true,\"OK\"]}",
    b"{\"SETEX\":[false,\"OOM command not allowed\"]}",
    b"{\"SET\":[true,\"OK\"]}",
    b"{\"SET\":null}",
    b"{\"DEL\":1}",
    b"{\"DEL\":[false,\"NOPERM\"]}",
    b"{\"PING\":[true,\"PONG\"]}",
    b"-ERR unknown",
    b"-NOAUTH Authentication required.",
    b"-",
    b"{\"result\":",
    b"{\"error\":\"",
    b"\"error\":null,",
    b"null",
    b"true",
    b"[[[[[[[[[[[[[[[[",
    b"{\"a\":",
    b"\\u0000",
    b"\\ud800",
    b"\xff\xfe",
    b"AA==",
    b"====",
    b"c2VsdmFnZQ==",
    b"T0s=",
    b"1e999",
    b"18446744073709551616",
    b":status: 200\n",
    b"x-envoy-upstream-service-time: 0\n",
    b"\n\n",
    b"WRONGPASS",
    b"\"result\":null",
    b",",
    b"}",
    b"\r\n",
];
