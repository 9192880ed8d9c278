//! The origin's response: whether it is stored, and on what terms.

use super::stored::{millis, names, note_stale_windows};
use super::{Answer, Case, Explanation, Fact, Part, reasons, show, times};
use crate::admission::asked;
use crate::cache::{Cache, Moment};
use crate::cache_status::Detail;
use crate::coding::eligible::eligible;
use crate::fields::{content_length, status_of};
use crate::freshness::{self, InitialAge, Schedule};
use crate::key;
use crate::storability;
use crate::store::response::Terms;
use crate::tags::tags_of;

/// Notes what there is to say about the response, if there is one, and the verdict on it.
pub(super) fn note(
    case: &Case<'_>,
    key: Option<&[u8]>,
    cache: &mut Cache,
    moment: &mut Moment<'_>,
    explanation: &mut Explanation,
) {
    let Some(Answer { head, length, requested, by_origin }) = case.subject.response else { return };
    let (request, rule, now) = (case.subject.request, case.rule, moment.now);
    let status = status_of(head);
    let directives = storability::directives_of(head, rule);
    let lifetime = freshness::lifetime(status, head, &directives, rule, now);
    let length = content_length(head).or(length);
    let lengths = (length, cache.largest_object());
    let asked = asked(request, rule);
    let judged = storability::judge_head(
        asked,
        status,
        head,
        &directives,
        rule,
        || lifetime,
        || by_origin,
        request.fields,
        lengths,
    )
    .map_err(Detail::from);

    let size = length.map_or("of unknown length".to_owned(), |length| format!("with {length} bytes"));
    let text = format!("{status} {size}; the largest that a store takes has {}", lengths.1);
    let note = explanation.note(Part::Response, "status", text).number("status", status.into());
    note.number("largest", lengths.1);
    if let Some(length) = length {
        note.number("bytes", length);
    }
    let field = times::directives_field(head, rule);
    let lines: Vec<String> = head.all(field.as_bytes()).map(show).collect();
    let said =
        if lines.is_empty() { format!("no {field}") } else { format!("{field}: {}", lines.join(", ")) };
    explanation
        .note(Part::Response, "directives", said)
        .with("field", Fact::Text(field.into()))
        .with("lines", Fact::Texts(lines));
    let (text, source) = times::lifetime(&lifetime, status, head, rule);
    explanation
        .note(Part::Response, "lifetime", text)
        .with("ms", millis(lifetime.length))
        .word("source", source);
    let age = times::initial_age(&InitialAge::of(head, requested, now));
    explanation.note(Part::Response, "age", age);

    let vary = match judged {
        Err(detail) => {
            explanation.verdict("response", "not stored", &reasons::of_detail(detail));
            return;
        }
        Ok(vary) => vary,
    };
    if request.is_head() {
        let text =
            "not stored: a response to HEAD freshens or invalidates what is stored for GET (RFC 9111 §4.3.5)";
        explanation
            .note(Part::Verdict, "response", text.into())
            .word("outcome", "not stored")
            .word("word", "head");
        return;
    }
    let hash = key.map(key::hash).unwrap_or_default();
    let schedule =
        Schedule::new(status, head, &directives, rule, requested, now).shortened(rule.ttl.jitter, hash);
    let left = schedule.lifetime.saturating_sub(schedule.age(now));
    let mut terms = Terms::of(&directives);
    let text = if left.is_zero() || terms.contains(Terms::ALWAYS_VALIDATE) {
        "stored, and validated before every use".to_owned()
    } else {
        format!("stored, fresh for {}", times::seconds(left))
    };
    explanation.note(Part::Verdict, "response", text).word("outcome", "stored").word("word", "stored");
    if rule.ttl.jitter > 0 {
        let text =
            format!("{} after ttl.jitter of up to {} %", times::seconds(schedule.lifetime), rule.ttl.jitter);
        explanation.note(Part::Response, "lifetime", text);
    }
    note_stale_windows(Part::Response, &schedule, explanation);
    let own = vary.len();
    let selecting =
        cache.selecting_names(hash, key.unwrap_or_default(), vary, request, &mut terms, rule, moment);
    if own > 0 || !selecting.is_empty() {
        let text = format!("{own} fields in Vary; a variant for each value of {}", names(&selecting));
        explanation
            .note(Part::Response, "variants", text)
            .with("selected_by", Fact::Texts(vec![names(&selecting)]));
    }
    let tags = tags_of(head, &rule.tags.headers, key.and_then(key::authority_of).unwrap_or_default());
    if !tags.is_empty() {
        let shown = rule.tags.headers.iter().flat_map(|name| head.all(name).map(show)).collect::<Vec<_>>();
        explanation.note(Part::Response, "tags", shown.join(", ")).number("hashes", tags.len());
    }
    let length = length.unwrap_or(rule.compression.min_bytes);
    let text = match eligible(status, head, length, &rule.compression) {
        true => "stored as gzip if that saves a tenth (compression)",
        false => "stored as it comes (compression.types, compression.min_bytes, no-transform, coded already)",
    };
    explanation.note(Part::Response, "coding", text.into());
    if cache.policy().remote.enabled && !rule.remote {
        explanation.note(Part::Response, "remote", "kept from it by the rule (remote: false)".into());
    }
}
