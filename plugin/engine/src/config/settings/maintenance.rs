//! When the requests of a rule are told to come again later.

use std::time::Duration;

use super::kinds::{duration, text};
use super::nested::nullable;
use super::section;
use super::texts::TextForm;
use crate::config::reader::Object;
use crate::config::reference::Pattern;
use crate::config::written::quote;
use crate::members::Show;
use crate::time::Timestamp;

/// A window of time in which requests are answered with 503. Default: now, without end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maintenance {
    /// When it begins. Default `None`: it has begun.
    pub from: Option<Timestamp>,
    /// The first moment after it. Default `None`: it has no end.
    pub until: Option<Timestamp>,
    /// What `Retry-After` says where there is no end. `None` is the default: 60 s.
    pub retry_after: Option<Duration>,
}

impl Maintenance {
    const RETRY_AFTER: Duration = Duration::from_secs(60);

    /// After how many seconds a client is to come again; `None` outside the window, to which `from` belongs and `until`
    /// does not.
    pub(crate) fn retry_after_at(&self, now: Timestamp) -> Option<u64> {
        if self.from.is_some_and(|from| now < from) || self.until.is_some_and(|until| now >= until) {
            return None;
        }
        let wait = match self.until {
            Some(until) => until.since(now),
            None => self.retry_after.unwrap_or(Self::RETRY_AFTER),
        };
        // Rounded up: who comes again then is not told so a second time.
        let wait = wait.clamp(Duration::from_secs(1), Duration::from_secs(86_400));
        Some(wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)))
    }
}

section! {
    Maintenance check is_a_window {
        from = None, nullable(text::<Moment>()),
            "When it begins, in UTC: `2026-12-01T02:00:00Z`; `null`: it has begun.";
        until = None, nullable(text::<Moment>()),
            "When it is over; `null`: when the configuration says so.";
        retry_after = Some(Maintenance::RETRY_AFTER), nullable(duration(1_000..=86_400_000)),
            "What `Retry-After` says without `until`; `null`: a minute. With it, the time that is left, a day at most.";
    }
}

fn is_a_window(maintenance: &mut Maintenance, object: &mut Object<'_, '_>) {
    if let (Some(from), Some(until)) = (maintenance.from, maintenance.until)
        && from >= until
    {
        let found = quote(&until.to_rfc3339());
        object.place_of("until").refuse::<()>(found, format!("a moment after {}", quote(&from.to_rfc3339())));
    }
}

/// A moment in UTC, in whole seconds.
struct Moment;

impl TextForm for Moment {
    type Value = Timestamp;
    const ALLOWED: &'static str = r#"a moment in UTC such as "2026-12-01T02:00:00Z", from 1970 to 2100"#;
    const PATTERN: Pattern = Pattern { expression: EXPRESSION, chars: 20, words: "moment" };

    fn parse(text: &str) -> Option<Timestamp> {
        Timestamp::parse_rfc3339(text.as_bytes()).filter(|moment| *moment <= LAST)
    }
}

/// 2100-12-31T23:59:59Z.
const LAST: Timestamp = Timestamp::from_secs(4_133_980_799);

/// The days that there are, among them the 29th of February in leap years, of which 2100 is none.
const EXPRESSION: &str = concat!(
    "^((19[7-9][0-9]|20[0-9][0-9]|2100)-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])",
    "|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))",
    "|(19(7[26]|8[048]|9[26])|20([02468][048]|[13579][26]))-02-29)",
    "T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$"
);

impl Show for Timestamp {
    fn show(&self) -> serde_json::Value {
        self.to_rfc3339().into()
    }
}
