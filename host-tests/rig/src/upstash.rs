//! Upstash's REST interface in front of a real Redis, as far as its documentation describes it and the tests need it:
//! a command as a path with the body as its last argument, as a posted list, and lists of those as a pipeline.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Value, json};

use crate::scripted::{Answer, Origin, Received};

/// A running server. It listens as long as the test process lives.
pub struct Upstash {
    origin: Origin,
    plain: Arc<AtomicBool>,
}

impl Upstash {
    /// Serves the Redis on this port of 127.0.0.1 to those who have the token.
    pub fn start(redis_port: u16, token: &str) -> Self {
        let (origin, plain) = (Origin::start(), Arc::<AtomicBool>::default());
        let (bearer, asked) = (format!("Bearer {token}"), Arc::clone(&plain));
        origin.otherwise(move |request| {
            if request.header("authorization").as_ref() != Some(&bearer) {
                return json_answer(401, &json!({ "error": "WRONGPASS invalid or missing auth token" }));
            }
            answer(request, redis_port, asked.load(Ordering::Relaxed))
        });
        Self { origin, plain }
    }

    /// Its address.
    pub fn url(&self) -> String {
        self.origin.url()
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.origin.url().rsplit(':').next().unwrap().parse().unwrap()
    }

    /// From now on (or no longer) it pays no heed to `Upstash-Encoding`, as some compatible servers do.
    pub fn ignore_encoding(&self, ignore: bool) {
        self.plain.store(ignore, Ordering::Relaxed);
    }
}

fn answer(request: &Received, port: u16, plain: bool) -> Answer {
    let encoded = !plain && request.header("upstash-encoding").as_deref() == Some("base64");
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let posted = || serde_json::from_slice::<Value>(&request.body).unwrap_or_default();
    let list = |list: &Value| list.as_array().into_iter().flatten().map(argument).collect::<Vec<_>>();
    match path {
        "/pipeline" => {
            let all: Vec<Value> =
                posted().as_array().into_iter().flatten().map(|one| run(&list(one), port, encoded)).collect();
            json_answer(200, &Value::Array(all))
        }
        "/" => told(&run(&list(&posted()), port, encoded)),
        _ => {
            let mut command: Vec<Vec<u8>> =
                path.split('/').skip(1).map(|part| part.as_bytes().to_vec()).collect();
            if !request.body.is_empty() {
                command.push(request.body.clone());
            }
            let options = query.split('&').flat_map(|option| option.split('='));
            command.extend(options.filter(|part| !part.is_empty()).map(|part| part.as_bytes().to_vec()));
            told(&run(&command, port, encoded))
        }
    }
}

fn told(reply: &Value) -> Answer {
    json_answer(if reply.get("error").is_some() { 400 } else { 200 }, reply)
}

fn json_answer(status: u16, body: &Value) -> Answer {
    Answer::new(status).header("content-type", "application/json").body(body.to_string())
}

fn argument(value: &Value) -> Vec<u8> {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned).into_bytes()
}

fn run(command: &[Vec<u8>], port: u16, encoded: bool) -> Value {
    match ask_redis(command, port, encoded) {
        Ok(Ok(result)) => json!({ "result": result }),
        Ok(Err(error)) => json!({ "error": error }),
        Err(error) => json!({ "error": format!("ERR {error}") }),
    }
}

/// One command on a connection of its own. The inner error is one of Redis.
fn ask_redis(command: &[Vec<u8>], port: u16, encoded: bool) -> io::Result<Result<Value, String>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    let mut bytes = format!("*{}\r\n", command.len()).into_bytes();
    for part in command {
        bytes.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
        bytes.extend_from_slice(part);
        bytes.extend_from_slice(b"\r\n");
    }
    stream.write_all(&bytes)?;
    read_reply(&mut BufReader::new(stream), encoded)
}

fn read_reply(from: &mut impl BufRead, encoded: bool) -> io::Result<Result<Value, String>> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let (kind, text) = line.trim_end().split_at_checked(1).ok_or(io::ErrorKind::UnexpectedEof)?;
    let number = || text.parse::<i64>().map_err(io::Error::other);
    Ok(match kind {
        "+" => Ok(json!(text)),
        "-" => Err(text.to_owned()),
        ":" => Ok(json!(number()?)),
        "$" if number()? >= 0 => {
            let mut value = vec![0; usize::try_from(number()?).map_err(io::Error::other)? + 2];
            from.read_exact(&mut value)?;
            value.truncate(value.len() - 2);
            Ok(json!(if encoded {
                BASE64_STANDARD.encode(&value)
            } else {
                String::from_utf8_lossy(&value).into_owned()
            }))
        }
        "*" if number()? >= 0 => {
            let mut items = Vec::new();
            for _ in 0..number()? {
                items.push(read_reply(from, encoded)?.unwrap_or_default());
            }
            Ok(Value::Array(items))
        }
        _ => Ok(Value::Null),
    })
}
