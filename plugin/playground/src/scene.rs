//! What is played: a configuration and steps, as JSON. A link holds nothing else.

use std::time::Duration;

use selvage_engine::explain::message::{Message, Problem};
use selvage_engine::explain::saved::Saved;
use selvage_engine::purge::request::{self, Asked};
use selvage_engine::time::Timestamp;
use serde_json::Value;

/// The moment of second 0 where no response has a `Date`: that of the engine's scenarios, which play the lessons too.
pub const ZERO: Timestamp = Timestamp::from_secs(1_800_000_000);
/// Longest scene, in bytes.
pub const LONGEST: usize = 256 << 10;
/// Most steps.
pub const MOST_STEPS: usize = 32;
/// The last second of the clock: ten years.
const LAST_SECOND: f64 = 315_360_000.0;

/// A configuration and what happens under it.
#[derive(Clone, Debug)]
pub struct Scene {
    /// As it was written.
    pub config: String,
    /// In order of time.
    pub steps: Vec<Step>,
    /// The moment of second 0.
    pub zero: Timestamp,
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub struct Step {
    /// When, after second 0.
    pub at: Duration,
    /// What.
    pub act: Act,
}

/// What happens; or why it cannot, for one unreadable step must not hide the others.
#[derive(Clone, Debug)]
pub enum Act {
    /// A client asks, and the origin would answer with this, if it can be reached.
    Exchange(Box<Saved>),
    /// An operator purges.
    Purge(Asked),
    /// What is wrong with it.
    Unreadable(String),
}

impl Scene {
    /// Reads a scene.
    ///
    /// # Errors
    /// What is wrong with the whole of it.
    pub fn parse(json: &str) -> Result<Self, String> {
        if json.len() > LONGEST {
            return Err(format!("the scene has {} bytes, of at most {LONGEST}", json.len()));
        }
        let written: Value = serde_json::from_str(json).map_err(|fault| format!("no scene: {fault}"))?;
        let steps = written.get("steps").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if steps.len() > MOST_STEPS {
            return Err(format!("the scene has {} steps, of at most {MOST_STEPS}", steps.len()));
        }
        let (mut read, mut latest, mut before) = (Vec::<Step>::new(), Duration::ZERO, None);
        for step in steps {
            // The clock is never turned back: what is stored would come from the future.
            latest = latest.max(seconds(step.get("at").and_then(Value::as_f64).unwrap_or_default()));
            let act = act(step, latest, &mut before).unwrap_or_else(Act::Unreadable);
            read.push(Step { at: latest, act });
        }
        let dated = read.iter().find_map(|step| match &step.act {
            Act::Exchange(saved) => saved.came().map(|came| came.minus(step.at)),
            _ => None,
        });
        let config = written.get("config").and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Self { config, steps: read, zero: dated.unwrap_or(ZERO) })
    }

    /// The moment so long after second 0.
    pub fn moment(&self, at: Duration) -> Timestamp {
        self.zero.plus(at)
    }
}

/// A number of seconds as a span of time, within the clock's bounds.
pub fn seconds(number: f64) -> Duration {
    let number = if number.is_finite() { number.clamp(0.0, LAST_SECOND) } else { 0.0 };
    // Whole milliseconds, as the engine counts.
    Duration::from_millis(Duration::from_secs_f64(number).as_millis().try_into().unwrap_or_default())
}

/// A request as people write it: a URL alone is one for GET.
pub fn request_of(text: &str) -> Result<Message, Problem> {
    let text = text.trim_start();
    let is_url =
        |scheme: &str| text.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme));
    if is_url("http://") || is_url("https://") {
        return Message::request(format!("GET {text}").as_bytes(), "https");
    }
    Message::request(text.as_bytes(), "https")
}

/// A response as people write it: fields alone are those of a 200.
pub fn response_of(text: &str) -> Result<Message, Problem> {
    let text = text.trim_start();
    let first = text.lines().next().unwrap_or_default();
    let name = first.split_once(':').map(|(name, _)| name).unwrap_or_default();
    if !name.is_empty() && name.chars().all(|sign| sign.is_ascii_alphanumeric() || sign == '-') {
        return Message::response(format!("HTTP/1.1 200\n{text}").as_bytes());
    }
    Message::response(text.as_bytes())
}

/// Reads a step. `before` is the last response that was written, and when.
fn act(step: &Value, at: Duration, before: &mut Option<(Message, Duration)>) -> Result<Act, String> {
    if let Some(purge) = step.get("purge") {
        let asked = request::parse(purge.to_string().as_bytes()).map_err(|fault| fault.to_string())?;
        return Ok(Act::Purge(asked));
    }
    let text = |name: &str| step.get(name).and_then(Value::as_str).unwrap_or_default();
    let response = match text("origin") {
        "down" => None,
        "same" => {
            let (response, then) = before.as_ref().ok_or("response: no step before this one has one")?;
            Some(redated(response, at.saturating_sub(*then)))
        }
        _ => {
            let response = response_of(text("response"));
            let response = response.map_err(|problem| format!("response: {problem}"))?;
            *before = Some((response.clone(), at));
            Some(response)
        }
    };
    let request = request_of(text("request"));
    let request = request.map_err(|problem| format!("request: {problem}"))?;
    Ok(Act::Exchange(Box::new(Saved { request, response, began: None })))
}

/// The same response made later: what says when it was made and when it expires says so for then.
pub fn redated(response: &Message, later: Duration) -> Message {
    let mut redated = Message { body: response.body.clone(), ..Message::default() };
    for (name, value) in response.head.fields().iter() {
        let moved =
            if name == b"date" || name == b"expires" { Timestamp::parse_http_date(value) } else { None };
        match moved {
            Some(moment) => redated.head.push(name, moment.plus(later).to_http_date().as_bytes()),
            None => redated.head.push(name, value),
        }
    }
    redated
}
