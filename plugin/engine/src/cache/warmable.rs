//! The request that warms a URL, and whether there is to be one.

use super::Cache;
use crate::admission::{self, rule_of};
use crate::fields::{FieldBlock, Fields};
use crate::request::Request;
use crate::time::Timestamp;
use crate::url::Url;

/// Why a URL is not to be warmed, before anything is looked up.
pub(crate) fn unfit_to_warm(url: &Url, cache: &Cache, now: Timestamp) -> Option<&'static str> {
    let head = head_to_warm(url);
    let Some(fields) = Fields::parse(&head) else { return Some("url") };
    let request = Request::read(fields, false);
    let (rule_index, rule) = rule_of(cache.policy(), &request);
    if rule.bypass {
        return Some("rule");
    }
    if let Some(vector) = admission::refusal(&request, rule) {
        return Some(vector.as_str());
    }
    cache.refresh_cluster(rule_index, rule, now).is_none().then_some("no-cluster")
}

/// The request of a client that has nothing to tell.
pub(crate) fn head_to_warm(url: &Url) -> Vec<u8> {
    let mut block = FieldBlock::new();
    block.push(b":method", b"GET");
    block.push(b":scheme", url.scheme.as_bytes());
    block.push(b":authority", &url.authority);
    block.push(b":path", &url.target);
    block.push(b"accept-encoding", b"gzip");
    let mut head = Vec::new();
    block.write_with(&[], &mut head);
    head
}
