//! What the origin has, and whether a body is what the origin sent.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use selvage_measure::crowd::{Origin, Plan};
use selvage_rig::scripted::Received;

/// How the origin is doing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// It answers in a few milliseconds.
    Well,
    /// It takes longer than the filter's breaker suffers.
    Slow,
    /// It says 500.
    Failing,
}

/// The origin and its mood.
pub struct Site {
    /// Where it listens.
    pub origin: Origin,
    mood: Arc<AtomicU8>,
}

/// How long a slow origin takes: longer than `slow_after`.
const SLOW: Duration = Duration::from_millis(1500);
const TAKES: Duration = Duration::from_millis(3);
/// How long a page of `/slow/` takes when the origin is well.
const HELD: Duration = Duration::from_millis(300);
/// How long a part of the objects stays the same.
const VERSION_SECONDS: u64 = 20;

impl Site {
    /// Starts it.
    pub fn start() -> Self {
        let mood = Arc::new(AtomicU8::new(Mood::Well as u8));
        let (seen, start) = (Arc::clone(&mood), Instant::now());
        let origin = Origin::attentive(move |request| {
            let mut plan = answer(request, start.elapsed().as_secs() / VERSION_SECONDS);
            match seen.load(Ordering::Relaxed) {
                mood if mood == Mood::Slow as u8 => plan.delay += SLOW,
                mood if mood == Mood::Failing as u8 => {
                    plan = Plan { delay: TAKES, status: 500, body: b"broken".to_vec(), ..Plan::default() };
                }
                _ => {}
            }
            plan
        });
        Self { origin, mood }
    }

    /// Changes its mood for requests to come.
    pub fn set(&self, mood: Mood) {
        self.mood.store(mood as u8, Ordering::Relaxed);
    }
}

/// What it answers when it is well.
fn answer(request: &Received, now: u64) -> Plan {
    let mut parts = request.target.trim_start_matches('/').split('/');
    let folder = parts.next().unwrap_or_default();
    let number: usize = parts.next().and_then(|number| number.parse().ok()).unwrap_or_default();
    let mut plan = Plan { delay: TAKES, status: 200, ..Plan::default() };
    if request.method == "POST" && folder != "search" {
        plan.fields = "cache-control: no-store\r\n".to_owned();
        plan.body = b"taken".to_vec();
        return plan;
    }
    let (label, version, control, more) = match folder {
        // A part of the objects changes now and then, the rest is validated for ever.
        "object" => {
            let version = if number.is_multiple_of(4) { now } else { 0 };
            let more = format!("surrogate-key: tag-{} half-{}\r\n", number / 50, number % 2);
            (request.target.clone(), version, lifetime(number), more)
        }
        "variant" => {
            let language = request.header("accept-language").unwrap_or_default();
            let more = "vary: accept-language\r\n".to_owned();
            (format!("{} {language}", request.target), 0, "max-age=20", more)
        }
        "landmark" => (request.target.clone(), 0, "max-age=2, stale-if-error=86400", String::new()),
        "account" => {
            let whose = ["cookie", "authorization"].map(|name| request.header(name).unwrap_or_default());
            plan.body = whose.concat().into_bytes();
            plan.fields = match number % 3 {
                0 => "cache-control: no-store\r\n",
                1 => "cache-control: private, max-age=60\r\n",
                _ => "cache-control: max-age=60\r\nset-cookie: seen=1\r\n",
            }
            .to_owned();
            return plan;
        }
        "stream" => {
            plan.rests = Some((size(number) / 2, Duration::from_millis(100 + 40 * (number as u64 % 5))));
            (request.target.clone(), 0, "max-age=4", String::new())
        }
        "slow" => {
            plan.delay = HELD;
            (request.target.clone(), 0, "max-age=3", String::new())
        }
        "search" => {
            let asked = String::from_utf8_lossy(&request.body).into_owned();
            (format!("/search {asked}"), 0, "max-age=10", String::new())
        }
        _ => return Plan { status: 404, ..plan },
    };
    let etag = etag(&label, version);
    let kind = if is_text(&label) { "application/json" } else { "image/jpeg" };
    plan.fields = format!("cache-control: {control}\r\netag: {etag}\r\ncontent-type: {kind}\r\n{more}");
    if request.header("if-none-match").is_some_and(|known| known.contains(&etag)) {
        return Plan { status: 304, rests: None, ..plan };
    }
    plan.body = content(&label, version, size(number));
    plan
}

/// The validator of a version of what is named so.
pub fn etag(label: &str, version: u64) -> String {
    format!("\"{:x}-{version}\"", digest(label.as_bytes()))
}

/// Some objects live for moments, some are asked about each time, most live for minutes.
fn lifetime(number: usize) -> &'static str {
    match number % 20 {
        0..=4 => "max-age=2, stale-while-revalidate=10, stale-if-error=600",
        5..=8 => "max-age=30, stale-while-revalidate=30",
        9 | 10 => "max-age=5",
        11 => "no-cache",
        _ => "max-age=600, stale-if-error=600",
    }
}

/// 1, 4, 16 or 100 kB, about 4 on average.
pub fn size(number: usize) -> usize {
    match number % 100 {
        0..=59 => 1000,
        60..=89 => 4000,
        90..=98 => 16_000,
        _ => 100_000,
    }
}

/// The content of what is named so.
fn content(label: &str, version: u64, size: usize) -> Vec<u8> {
    let first = format!("{label} version {version}\n");
    let mut body = first.clone().into_bytes();
    if is_text(label) {
        body.extend(first.bytes().cycle().take(size));
    } else {
        let mut state = digest(first.as_bytes());
        while body.len() < size {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            body.extend_from_slice(&state.to_le_bytes());
        }
    }
    body.truncate(size.max(first.len()));
    body
}

/// Whether a body, or its beginning if only a `part` was asked for, is a version of what is named so, and wholly of one.
pub fn is_content(body: &[u8], label: &str, size: usize, part: Option<usize>) -> bool {
    let line = body.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let version = std::str::from_utf8(line)
        .ok()
        .and_then(|line| line.strip_prefix(label)?.strip_prefix(" version ")?.parse().ok());
    let Some(version) = version else { return false };
    let whole = content(label, version, size);
    whole.get(..part.unwrap_or(whole.len()).min(whole.len())).is_some_and(|wanted| wanted == body)
}

/// Half of all that is named can be compressed.
fn is_text(label: &str) -> bool {
    digest(label.as_bytes()).is_multiple_of(2)
}

/// FNV-1a, never 0.
fn digest(bytes: &[u8]) -> u64 {
    let digest = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, digest).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_of_one_version_of_what_was_asked_for_or_it_is_wrong() {
        for (label, size) in [("/object/1", 1000), ("/object/2", 1000), ("/variant/60 de", 4000)] {
            let (old, new) = (content(label, 3, size), content(label, 4, size));
            assert!(is_content(&old, label, size, None) && is_content(&new, label, size, None));
            assert!(is_content(&old[..100], label, size, Some(100)));
            assert!(!is_content(&old[..size - 1], label, size, None));
            assert!(!is_content(&old, "/object/3", size, None));
            let mixed = [&old[..size / 2], &new[size / 2..]].concat();
            assert!(!is_content(&mixed, label, size, None), "{label}");
        }
        assert!(!is_content(b"", "/object/1", 1000, None));
    }
}
