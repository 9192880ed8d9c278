//! What a client reads of its quota: `RateLimit` and `RateLimit-Policy` as draft-ietf-httpapi-ratelimit-headers has them, and
//! the problem (RFC 9457) that a refusal explains itself with.

use super::bucket::Rate;
use super::{Refused, Standing};
use crate::config::{Limit, LimitHeaders};

/// A field and its value.
pub type Line = (&'static [u8], Vec<u8>);

/// The fields of a response to a request that was admitted.
pub fn of_standing(limits: &[Limit], standing: &Standing) -> Vec<Line> {
    let Some(limit) = limits.get(standing.limit) else { return Vec::new() };
    let until = standing.full_in.div_ceil(1000);
    vec![
        (b"ratelimit-policy", policy(limit, &standing.rate)),
        (b"ratelimit", line(limit, standing.left, until)),
    ]
}

/// The fields of a response that refuses.
pub fn of_refusal(limits: &[Limit], refused: &Refused) -> Vec<Line> {
    let seconds = retry_after(refused);
    let mut lines: Vec<Line> = vec![
        (b"content-type", b"application/problem+json".to_vec()),
        (b"cache-control", b"no-store".to_vec()),
        (b"retry-after", seconds.to_string().into_bytes()),
    ];
    if let Some(limit) = limits.get(refused.limit)
        && limit.headers != LimitHeaders::None
        && !refused.unavailable
    {
        lines.push((b"ratelimit-policy", policy(limit, &refused.rate)));
        lines.push((b"ratelimit", line(limit, 0, seconds)));
    }
    lines
}

/// The status of a response that refuses, and its content.
pub fn problem(limits: &[Limit], refused: &Refused) -> (u16, Vec<u8>) {
    // Of letters, digits, dots, dashes and underscores: it need not be escaped.
    let name = limits.get(refused.limit).map_or("", |limit| &limit.name);
    let (status, kind, title) = match refused.unavailable {
        false => (429, "quota-exceeded", "Quota exceeded"),
        true => (503, "temporary-reduced-capacity", "Quota cannot be checked"),
    };
    let text = format!(
        "{{\"type\":\"https://iana.org/assignments/http-problem-types#{kind}\",\"title\":\"{title}\",\"status\":{status},\"violated-policies\":[\"{name}\"]}}\n"
    );
    (status, text.into_bytes())
}

/// In whole seconds, rounded up: who comes again then is not told so a second time.
fn retry_after(refused: &Refused) -> u64 {
    refused.wait.div_ceil(1000).max(1)
}

fn policy(limit: &Limit, rate: &Rate) -> Vec<u8> {
    let mut out = format!("\"{}\";q={}", limit.name, rate.quota());
    // The draft has windows of whole seconds, and the parameter is optional.
    if rate.window_ms().is_multiple_of(1000) {
        out.push_str(&format!(";w={}", rate.window_ms() / 1000));
    }
    out.into_bytes()
}

fn line(limit: &Limit, left: u64, until: u64) -> Vec<u8> {
    let mut out = format!("\"{}\";r={left}", limit.name);
    if until > 0 {
        out.push_str(&format!(";t={until}"));
    }
    out.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn limits(members: &str) -> Vec<Limit> {
        let config = format!(r#"{{"limits":[{{"name":"per-key","quota":100,{members}}}]}}"#);
        Config::parse(config.as_bytes()).unwrap().limits
    }

    fn text(lines: &[Line]) -> String {
        let line = |(name, value): &Line| [name, &b": "[..], value].concat();
        String::from_utf8(lines.iter().map(line).collect::<Vec<_>>().join(&b"; "[..])).unwrap()
    }

    #[test]
    fn who_is_admitted_is_told_what_is_left_and_when_all_of_it_is_back() {
        let limits = limits(r#""window":"1m""#);
        let rate = Rate::new(100, 60_000, 10);
        let standing = Standing { limit: 0, rate, left: 7, full_in: 1_800 };
        assert_eq!(
            text(&of_standing(&limits, &standing)),
            r#"ratelimit-policy: "per-key";q=100;w=60; ratelimit: "per-key";r=7;t=2"#
        );
        let full = Standing { left: 10, full_in: 0, ..standing };
        assert!(text(&of_standing(&limits, &full)).ends_with(r#""per-key";r=10"#));
    }

    #[test]
    fn who_is_refused_is_told_when_to_come_again() {
        let rate = Rate::new(100, 1_500, 10);
        let refused = Refused { limit: 0, rate, wait: 1_001, unavailable: false };
        let limits_all = limits(r#""window":"1500ms""#);
        assert_eq!(
            text(&of_refusal(&limits_all, &refused)),
            "content-type: application/problem+json; cache-control: no-store; retry-after: 2; \
             ratelimit-policy: \"per-key\";q=100; ratelimit: \"per-key\";r=0;t=2"
        );
        let none = limits(r#""window":"1500ms","headers":"none""#);
        assert!(!text(&of_refusal(&none, &refused)).contains("ratelimit"));
        let soon = Refused { wait: 1, ..refused };
        assert!(text(&of_refusal(&none, &soon)).ends_with("retry-after: 1"));
        let (status, content) = problem(&limits_all, &refused);
        assert_eq!(status, 429);
        let told: serde_json::Value = serde_json::from_slice(&content).unwrap();
        assert_eq!(told["type"], "https://iana.org/assignments/http-problem-types#quota-exceeded");
        assert_eq!(told["violated-policies"], serde_json::json!(["per-key"]));
        assert_eq!(problem(&limits_all, &Refused { unavailable: true, ..refused }).0, 503);
    }
}
