//! Says what the cache would do with a request and its response under a configuration, and why; no Envoy needed.
//!
//! ```text
//! cargo run -p selvage-explain -- --config F --request R [--response S] [--scheme https] [--json]
//! cargo run -p selvage-explain -- --config F --url https://example.com/a [--response S]
//! ```
//!
//! `R` and `S` are HTTP/1 messages as `curl -i` shows them, `-` is standard input. The response counts as just come. Ends
//! with 1 when the configuration is refused, with 2 when the command line or a message cannot be read.

mod message;

use std::io::Read;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};
use std::{fs, io};

use clap::Parser;
use selvage_engine::cache::{Cache, Moment};
use selvage_engine::config::Config;
use selvage_engine::explain::{Answer, Explanation, Passage, Subject, explain};
use selvage_engine::freshness::date_of;
use selvage_engine::host::NullHost;
use selvage_engine::policy::Policy;
use selvage_engine::request::Request;
use selvage_engine::time::Timestamp;

use message::{Message, Problem};

/// What the command line says.
#[derive(Parser)]
struct Arguments {
    #[arg(long)]
    config: Option<String>,
    #[arg(long, required_unless_present = "url", conflicts_with = "url")]
    request: Option<String>,
    #[arg(long)]
    url: Option<String>,
    #[arg(long)]
    response: Option<String>,
    #[arg(long, default_value = "https", value_parser = ["http", "https"])]
    scheme: String,
    #[arg(long)]
    json: bool,
}

/// What went wrong, and what the program ends with.
enum Failure {
    Refused(Vec<String>),
    Unreadable(Problem),
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(Failure::Refused(faults)) => {
            for fault in faults {
                eprintln!("configuration refused: {fault}");
            }
            ExitCode::from(1)
        }
        Err(Failure::Unreadable(problem)) => {
            eprintln!("selvage: {problem}");
            ExitCode::from(2)
        }
    }
}

fn run(told: &Arguments) -> Result<String, Failure> {
    let written = match &told.config {
        Some(path) => contents(path)?,
        None => Vec::new(),
    };
    let config = Config::parse(&written)
        .map_err(|faults| Failure::Refused(faults.iter().map(ToString::to_string).collect()))?;
    let scheme = told.scheme.as_str();
    let request = match (&told.request, &told.url) {
        (Some(path), None) => Message::request(&contents(path)?, scheme),
        (None, Some(url)) => {
            Message::request(format!("GET {url} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes(), scheme)
        }
        _ => Err(Problem::new("give --request or --url, and one of them only")),
    };
    let request = request.map_err(Failure::Unreadable)?;
    let response = match &told.response {
        Some(path) => Some(Message::response(&contents(path)?).map_err(Failure::Unreadable)?),
        None => None,
    };
    let explanation = explained(config, &request, response.as_ref());
    Ok(if told.json { format!("{:#}\n", explanation.to_json()) } else { explanation.to_text() })
}

fn explained(config: Config, request: &Message, response: Option<&Message>) -> Explanation {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // A response in a file has come when it says so, not when somebody looks at it.
    let dated = response.and_then(|response| date_of(response.head.fields()));
    let now = dated.unwrap_or_else(|| Timestamp::from_secs(since.as_secs()));
    let body = request.body.as_slice();
    let answer = response.map(|response| Answer {
        head: response.head.fields(),
        // A head alone, as `curl -I` shows it, says nothing about the length.
        length: Some(response.body.len()).filter(|length| *length > 0),
        requested: now,
        by_origin: true,
    });
    let mut cache = Cache::new(Rc::new(Policy::from(config)));
    let request = Request::read(request.head.fields(), !body.is_empty());
    let subject = Subject { request: &request, body: Some(body), response: answer, passage: Passage::Ahead };
    explain(&subject, &mut cache, &mut Moment { now, host: &mut NullHost })
}

fn contents(path: &str) -> Result<Vec<u8>, Failure> {
    let mut read = Vec::new();
    let done = match path {
        "-" => io::stdin().lock().read_to_end(&mut read).map(|_| ()),
        path => fs::read(path).map(|bytes| read = bytes),
    };
    done.map_err(|error| Failure::Unreadable(Problem(format!("{path}: {error}"))))?;
    Ok(read)
}
