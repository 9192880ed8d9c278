//! An origin that says what it is told to, and judges conditions as RFC 9110 has it.

use selvage_engine::exchange::RequestEdit;
use selvage_engine::explain::message::Message;
use selvage_engine::fields::{FieldBlock, Fields, content_length, status_of};
use selvage_engine::freshness::date_of;
use selvage_engine::precondition::{Outcome, Validators, evaluate};

/// The longest body that is sent, in bytes: more than a store takes by default.
const LONGEST_BODY: usize = 8 << 20;
/// Fields of a 304 (RFC 9110 §15.4.5), and the one by which caches tell versions apart.
const OF_A_304: [&[u8]; 8] = [
    b":status",
    b"cache-control",
    b"content-location",
    b"date",
    b"etag",
    b"expires",
    b"vary",
    b"last-modified",
];

/// A request as it comes to the origin.
pub fn asked(request: &FieldBlock, edits: &[RequestEdit]) -> FieldBlock {
    let touched = |name: &[u8]| {
        edits.iter().any(|edit| match edit {
            RequestEdit::Set(edited, _) | RequestEdit::Remove(edited) => edited.as_bytes() == name,
            RequestEdit::Field(edited, _) => **edited == *name,
            RequestEdit::Splice(..) => false,
        })
    };
    let mut block: FieldBlock = request.fields().iter().filter(|(name, _)| !touched(name)).collect();
    for edit in edits {
        match edit {
            RequestEdit::Set(name, value) => block.push(name.as_bytes(), value),
            RequestEdit::Field(name, Some(value)) => block.push(name, value),
            _ => {}
        }
    }
    block
}

/// What the origin answers to a request, if it would answer an unconditional GET with `response`.
pub fn answered(asked: Fields<'_>, response: &Message) -> Message {
    let head = response.head.fields();
    let method = asked.get(b":method").unwrap_or_default();
    let readable = matches!(method, b"GET" | b"HEAD");
    let validators = Validators {
        etag: head.get(b"etag"),
        last_modified: head.get(b"last-modified"),
        date: date_of(head),
    };
    let has_validator = validators.etag.is_some() || validators.last_modified.is_some();
    let conditional = asked.get(b"if-none-match").is_some() || asked.get(b"if-modified-since").is_some();
    let is_200 = status_of(head) == 200;
    if readable
        && is_200
        && has_validator
        && conditional
        && evaluate(asked, validators) == Outcome::NotModified
    {
        let kept = head.iter().filter(|(name, _)| OF_A_304.contains(name) && *name != b":status");
        let mut fields = FieldBlock::new();
        fields.push(b":status", b"304");
        kept.for_each(|(name, value)| fields.push(name, value));
        return Message { head: fields, body: Vec::new() };
    }
    let mut answer = response.clone();
    if method == b"HEAD" {
        answer.body.clear();
    } else if let Some(told) = content_length(head).filter(|told| *told <= LONGEST_BODY) {
        // Who pastes a head has no body at hand, or one that an editor has touched.
        answer.body.resize(told, b' ');
    }
    answer
}
