//! What a request would get later: the time line.
//!
//! Each moment is tried by the engine itself, on a store that has seen all steps up to this one: once while the origin answers
//! as before, and once while it cannot be reached. Where two neighbours differ, the moment of the change is sought between them.

use std::rc::Rc;
use std::time::Duration;

use selvage_engine::cache_status::Detail;
use selvage_engine::explain::message::Message;
use selvage_engine::explain::reasons::{self, Reason};
use selvage_engine::explain::saved::Saved;
use selvage_engine::policy::Policy;
use serde_json::{Value, json};

use crate::play::{Kind, Outcome, Stage};
use crate::scene::{Act, Scene, redated, seconds};

/// Moments that are tried for each line, before changes are sought, beside those at which something is known to end.
const TRIED: u32 = 32;
/// Changes that are sought between two moments that were tried.
const MOST_CHANGES: usize = 8;
/// The finest that is told.
const FINEST: Duration = Duration::from_millis(1);
/// The horizon where nothing is stored, and the least.
const SHORTEST: Duration = Duration::from_secs(60);
/// The horizon is no longer where nobody chose it.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

/// What becomes of the request of a step, later.
struct Line<'a> {
    scene: &'a Scene,
    index: usize,
    saved: &'a Saved,
    /// The origin's response, and when it was made.
    response: Option<(Message, Duration)>,
    policy: &'a Rc<Policy>,
}

/// See the crate's `ahead`.
pub fn ahead(
    scene: &Scene,
    index: usize,
    at: f64,
    horizon: f64,
    policy: &Rc<Policy>,
) -> Result<Value, String> {
    let step = scene.steps.get(index).ok_or("there is no such step")?;
    // After a purge it is the request before that is made again.
    let asks = scene.steps.get(..=index).unwrap_or_default().iter().rev();
    let asks = asks.filter_map(|step| match &step.act {
        Act::Exchange(saved) => Some((&**saved, step.at)),
        _ => None,
    });
    let (saved, _) = asks.clone().next().ok_or("no request has been made yet")?;
    let response = asks.clone().find_map(|(saved, at)| saved.response.clone().map(|response| (response, at)));
    let line = Line { scene, index, saved, response, policy };
    let horizon = if horizon > 0.0 { seconds(horizon) } else { line.horizon() };
    let at = seconds(at);
    let told = |down: bool| {
        let (now, segments) = (line.tried(at, down), line.segments(horizon, down));
        json!({ "now": now.as_ref().map(|outcome| line.told(outcome, at)), "segments": segments })
    };
    let later = Saved { request: saved.request.clone(), ..Saved::default() };
    let explained = line.stage().explain(&later, scene.moment(step.at.saturating_add(at)));
    Ok(json!({
        "at": at.as_secs_f64(),
        "horizon": horizon.as_secs_f64(),
        "answers": told(false),
        "fails": told(true),
        "explanation": explained.to_json(),
    }))
}

impl Line<'_> {
    /// A store that has seen all steps so far.
    fn stage(&self) -> Stage {
        let mut stage = Stage::new(self.policy);
        for step in self.scene.steps.iter().take(self.index.saturating_add(1)) {
            stage.act(&step.act, self.scene.moment(step.at));
        }
        stage
    }

    fn since(&self) -> Duration {
        self.scene.steps.get(self.index).map(|step| step.at).unwrap_or_default()
    }

    /// What the request gets so long after the step.
    fn tried(&self, after: Duration, down: bool) -> Option<Outcome> {
        let at = self.since().saturating_add(after);
        let answers = self.response.as_ref().filter(|_| !down);
        let response = answers.map(|(response, then)| redated(response, at.saturating_sub(*then)));
        let act =
            Act::Exchange(Box::new(Saved { request: self.saved.request.clone(), response, began: None }));
        self.stage().act(&act, self.scene.moment(at))
    }

    fn kind(&self, after: Duration, down: bool) -> Option<(Kind, String)> {
        self.tried(after, down).map(|outcome| (outcome.kind, detail_of(&outcome)))
    }

    /// The stretches of time in which the same becomes of it.
    fn segments(&self, horizon: Duration, down: bool) -> Vec<Value> {
        let mut ends: Vec<(Duration, Option<(Kind, String)>)> = Vec::new();
        let mut before = (Duration::ZERO, self.kind(Duration::ZERO, down));
        for at in self.tried_moments(horizon) {
            let kind = self.kind(at, down);
            for _ in 0..MOST_CHANGES {
                if kind == before.1 {
                    break;
                }
                let (mut early, mut late) = (before.0, at);
                while late.saturating_sub(early) > FINEST {
                    let middle = Duration::from_millis((millis(early) + millis(late)) / 2);
                    if middle <= early || middle >= late {
                        break;
                    }
                    if self.kind(middle, down) == before.1 { early = middle } else { late = middle }
                }
                ends.push((late, before.1));
                before = (late, self.kind(late, down));
            }
            before.0 = at.max(before.0);
        }
        if ends.last().is_none_or(|(end, _)| *end < horizon) {
            ends.push((horizon, before.1));
        }
        let mut from = Duration::ZERO;
        let segment = |(to, kind): (Duration, Option<(Kind, String)>)| {
            let (kind, detail) = kind.map_or(("", String::new()), |(kind, detail)| (kind.as_str(), detail));
            let told =
                json!({ "from": from.as_secs_f64(), "to": to.as_secs_f64(), "kind": kind, "detail": detail });
            from = to;
            told
        };
        ends.into_iter().map(segment).collect()
    }

    /// The moments to try, in order: evenly spread ones, and those just before and after something ends. So no stretch is
    /// missed for being short.
    fn tried_moments(&self, horizon: Duration) -> Vec<Duration> {
        let even = (1..=TRIED).map(|nth| millis(horizon) * u64::from(nth) / u64::from(TRIED));
        let mut moments: Vec<Duration> = even.map(Duration::from_millis).collect();
        for end in self.ends() {
            moments.extend([end.saturating_sub(FINEST), end.saturating_add(FINEST)]);
        }
        moments.retain(|at| (FINEST..=horizon).contains(at));
        moments.sort_unstable();
        moments.dedup();
        moments
    }

    /// A moment in words.
    fn told(&self, outcome: &Outcome, at: Duration) -> Value {
        let fields = outcome.head.fields();
        let line = fields.all(b"cache-status").last().map(|line| String::from_utf8_lossy(line).into_owned());
        let detail = detail_of(outcome);
        let reason = Detail::all().find(|known| known.as_str() == detail).map(reasons::of_detail);
        let reason =
            reason.map(|Reason { why, reference, .. }| json!({ "why": why, "reference": reference }));
        json!({
            "at": at.as_secs_f64(),
            "kind": outcome.kind.as_str(),
            "detail": detail,
            "reason": reason,
            "status": selvage_engine::fields::status_of(fields),
            "cache_status": line,
            "own": outcome.asked.is_empty(),
        })
    }

    /// Until a little after the last thing that happens to what is stored.
    fn horizon(&self) -> Duration {
        let end = self.ends().into_iter().max().unwrap_or_default();
        (end.saturating_add(end / 4)).clamp(SHORTEST, LONGEST)
    }

    /// When the lifetime of what is stored ends, and what it may be used for past that.
    fn ends(&self) -> [Duration; 4] {
        let later = Saved { request: self.saved.request.clone(), ..Saved::default() };
        let explained = self.stage().explain(&later, self.scene.moment(self.since())).to_json();
        let of = |about: &str, member: &str| {
            let notes = explained.get("store").and_then(Value::as_array).into_iter().flatten();
            let found = notes.filter(|note| note.get("about").and_then(Value::as_str) == Some(about));
            found
                .filter_map(|note| note.get(member)?.as_u64())
                .next()
                .map_or(Duration::ZERO, Duration::from_millis)
        };
        let left = of("lifetime", "ms").saturating_sub(of("age", "ms"));
        let windows = ["while_revalidate_ms", "if_error_ms", "disconnected_ms"];
        let [renewed, erred, apart] = windows.map(|window| left.saturating_add(of("stale use", window)));
        [left, renewed, erred, apart]
    }
}

/// The word of `Cache-Status` that says why.
fn detail_of(outcome: &Outcome) -> String {
    let fields = outcome.head.fields();
    let line = fields.all(b"cache-status").last().unwrap_or_default();
    let line = String::from_utf8_lossy(line).into_owned();
    let detail = line.split("; detail=").nth(1).unwrap_or_default();
    detail.split(';').next().unwrap_or_default().to_owned()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 64)
}
