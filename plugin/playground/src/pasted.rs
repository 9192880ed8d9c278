//! What somebody pastes, as steps of a scene.

use selvage_engine::explain::message::{Message, Problem};
use selvage_engine::explain::saved::Saved;
use selvage_engine::time::Timestamp;
use serde_json::{Value, json};

use crate::scene::{MOST_STEPS, request_of};

/// The longest body that becomes a part of a step, in bytes: a link holds all of it.
const LONGEST_BODY: usize = 512;

/// The steps in a text, and how many exchanges there were in all.
///
/// # Errors
/// What is wrong with it.
pub fn steps(text: &str) -> Result<(Vec<Value>, usize), Problem> {
    let text = text.trim_start_matches('\u{feff}').trim_start();
    if text.starts_with("curl ") {
        return Err(Problem::new("this is the command: paste what curl -v or curl -i prints"));
    }
    let all = if text.starts_with('{') || text.starts_with('[') {
        Saved::of_har(text.as_bytes())?
    } else if text.lines().any(|line| line.starts_with("> ")) {
        verbose(text)?
    } else if text.starts_with("HTTP/") {
        let request = Message::request(b"GET https://example.com/", "https")?;
        vec![Saved { request, response: Some(response(text)?), began: None }]
    } else {
        let (request, rest) = match text.find("\nHTTP/") {
            Some(at) => text.split_at(at),
            None => (text, ""),
        };
        let request = request_of(request)?;
        let response = if rest.is_empty() { None } else { Some(response(rest.trim_start())?) };
        vec![Saved { request, response, began: None }]
    };
    if all.is_empty() {
        return Err(Problem::new("nothing is in it"));
    }
    let first = all.first().and_then(when).unwrap_or_default();
    Ok((all.iter().take(MOST_STEPS).map(|saved| step(saved, first)).collect(), all.len()))
}

/// When an exchange was made: by the browser's clock before `Date`, which a cache on the way repeats.
fn when(saved: &Saved) -> Option<Timestamp> {
    saved.began.or_else(|| saved.came())
}

fn step(saved: &Saved, first: Timestamp) -> Value {
    let at = when(saved).map_or(0.0, |at| at.since(first).as_secs_f64());
    let request = saved.request.to_text(LONGEST_BODY);
    match &saved.response {
        Some(response) => {
            json!({ "at": at, "request": request, "response": response.to_text(LONGEST_BODY) })
        }
        None => json!({ "at": at, "request": request, "origin": "down" }),
    }
}

/// The last response of several: `curl -iL` shows those that redirect too, and a proxy's.
fn response(text: &str) -> Result<Message, Problem> {
    let mut rest = text;
    loop {
        let response = Message::response(rest.as_bytes())?;
        let body = response.body.as_slice();
        match (body.starts_with(b"HTTP/"), rest.len().checked_sub(body.len())) {
            (true, Some(at)) => rest = rest.get(at..).unwrap_or_default(),
            _ => return Ok(response),
        }
    }
}

/// What `curl -v` shows: lines of the request begin with `>`, those of the response with `<`.
fn verbose(text: &str) -> Result<Vec<Saved>, Problem> {
    let mut exchanges: Vec<(String, String)> = Vec::new();
    // Of the connection only this is known: whether it is encrypted.
    let scheme = if text.lines().any(|line| line.starts_with("* ") && line.contains("SSL connection")) {
        "https"
    } else {
        "http"
    };
    // Below a response's head stands its content, in which lines may begin with anything.
    let (mut asking, mut in_content) = (false, false);
    for line in text.lines() {
        let (mark, rest) = line.split_at_checked(1).unwrap_or((line, ""));
        if !(rest.is_empty() || rest.starts_with(' ') || rest.starts_with('\r')) {
            continue;
        }
        let rest = rest.trim();
        match mark {
            ">" if !asking && rest.contains(" HTTP/") => {
                (asking, in_content) = (true, false);
                exchanges.push((format!("{rest}\n"), String::new()));
            }
            ">" if asking && !rest.is_empty() => {
                if let Some((request, _)) = exchanges.last_mut() {
                    request.push_str(&format!("{rest}\n"));
                }
            }
            "<" if !in_content || rest.starts_with("HTTP/") => {
                (asking, in_content) = (false, rest.is_empty());
                if let Some((_, response)) = exchanges.last_mut() {
                    response.push_str(&format!("{rest}\n"));
                }
            }
            _ => {}
        }
    }
    if exchanges.is_empty() {
        return Err(Problem::new("no line begins a request, as in \"> GET / HTTP/1.1\""));
    }
    let saved = |(asked, answered): &(String, String)| {
        let response = if answered.is_empty() { None } else { Some(response(answered)?) };
        Ok(Saved { request: Message::request(asked.as_bytes(), scheme)?, response, began: None })
    };
    exchanges.iter().map(saved).collect()
}
