//! Says what the cache would do with a request and its response under a configuration, and why; no Envoy needed.
//!
//! ```text
//! cargo run -p selvage-explain -- --config F --request R [--response S] [--scheme https] [--json]
//! cargo run -p selvage-explain -- --config F --url https://example.com/a [--response S]
//! cargo run -p selvage-explain -- --config F --har H [--json]
//! ```
//!
//! `R` and `S` are HTTP/1 messages as `curl -i` shows them, `H` is an archive as browsers save it, `-` is standard input. The
//! response counts as just come, and each entry of an archive as the first that the cache sees. Ends with 1 when the
//! configuration is refused, with 2 when the command line or a message cannot be read. With `--har --json` each line is the
//! JSON of one entry.

use std::io::Read;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};
use std::{fs, io};

use clap::Parser;
use selvage_engine::cache::{Cache, Moment};
use selvage_engine::config::Config;
use selvage_engine::explain::Explanation;
use selvage_engine::explain::message::{Message, Problem};
use selvage_engine::explain::saved::Saved;
use selvage_engine::host::NullHost;
use selvage_engine::policy::Policy;
use selvage_engine::time::Timestamp;

/// What the command line says.
#[derive(Parser)]
struct Arguments {
    #[arg(long)]
    config: Option<String>,
    #[arg(long, required_unless_present_any = ["url", "har"], conflicts_with_all = ["url", "har"])]
    request: Option<String>,
    #[arg(long, conflicts_with = "har")]
    url: Option<String>,
    #[arg(long, conflicts_with = "har")]
    response: Option<String>,
    #[arg(long)]
    har: Option<String>,
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
    let policy = Rc::new(Policy::from(config));
    if let Some(path) = &told.har {
        let all = Saved::of_har(&contents(path)?).map_err(Failure::Unreadable)?;
        let lines = all.iter().map(|saved| {
            let explanation = explained(&policy, saved);
            match told.json {
                true => format!("{}\n", explanation.to_json()),
                false => {
                    let asked = saved.request.to_text(0);
                    let first = asked.lines().next().unwrap_or_default();
                    format!("{first}\n{}\n", explanation.to_text())
                }
            }
        });
        return Ok(lines.collect());
    }
    let explanation = explained(&policy, &given(told)?);
    Ok(if told.json { format!("{:#}\n", explanation.to_json()) } else { explanation.to_text() })
}

/// The exchange of the command line.
fn given(told: &Arguments) -> Result<Saved, Failure> {
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
    Ok(Saved { request, response, began: None })
}

fn explained(policy: &Rc<Policy>, saved: &Saved) -> Explanation {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = saved.came().unwrap_or_else(|| Timestamp::from_secs(since.as_secs()));
    let mut cache = Cache::new(Rc::clone(policy));
    saved.explain(&mut cache, &mut Moment { now, host: &mut NullHost })
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
