//! Heads on their way into Redis: what is meant for the connection, or for who accepts the job, stays out.

use crate::fields::{FieldBlock, Fields};
use crate::request::Request;

/// The field that tells the origin which job it does. What a client sends under this name goes no further.
pub const JOB: &[u8] = b"x-selvage-job";

/// The address that a request came from, for what is asked for on its behalf. No field has such a name, and it is never sent.
pub const PEER: &[u8] = b":peer";

/// The head of a request as it will be sent. `Idempotency-Key` stays: the origin may need it where a job is done twice.
pub fn of_request(request: &Request<'_>, peer: Option<&[u8]>) -> Vec<u8> {
    let mut block = FieldBlock::new();
    block.push(b":method", request.method);
    block.push(b":scheme", request.scheme);
    block.push(b":authority", request.authority);
    block.push(b":path", request.target);
    if let Some(peer) = peer {
        block.push(PEER, peer);
    }
    let own = |name: &[u8]| {
        name.starts_with(b"x-envoy-")
            || name == JOB
            || matches!(name, b"host" | b"prefer" | b"expect" | b"proxy-authorization" | b"selvage-explain")
    };
    copy(request.fields, own, block)
}

/// The head of a response as its client will get it, `:status` included.
pub fn of_response(head: Fields<'_>, status: u16) -> Vec<u8> {
    let mut block = FieldBlock::new();
    block.push(b":status", status.to_string().as_bytes());
    copy(head, |name| name.starts_with(b"x-envoy-"), block)
}

fn copy(fields: Fields<'_>, own: impl Fn(&[u8]) -> bool, mut block: FieldBlock) -> Vec<u8> {
    let of_connection =
        |name: &[u8]| fields.members(b"connection").any(|named| named.eq_ignore_ascii_case(name));
    for (name, value) in fields.iter() {
        let stays = name.first() == Some(&b':') || is_hop_by_hop(name) || own(name) || of_connection(name);
        if !stays {
            block.push(name, value);
        }
    }
    let mut out = Vec::new();
    block.write_with(&[], &mut out);
    out
}

/// Fields of the connection (RFC 9110 §7.6.1), and the length, which is told anew.
const fn is_hop_by_hop(name: &[u8]) -> bool {
    matches!(
        name,
        b"connection"
            | b"keep-alive"
            | b"proxy-connection"
            | b"proxy-authenticate"
            | b"te"
            | b"trailer"
            | b"transfer-encoding"
            | b"content-length"
            | b"upgrade"
    )
}
