//! The request that warms a URL, and whether there is to be one.

use super::Cache;
use crate::admission::{self, rule_of};
use crate::fields::{FieldBlock, Fields};
use crate::request::Request;
use crate::time::Timestamp;
use crate::url::Url;

/// Why a URL is not to be warmed, before anything is looked up.
pub(crate) fn unfit_to_warm(url: &Url, cache: &Cache, now: Timestamp) -> Option<&'static str> {
    rule_to_warm(url, cache, now).err()
}

/// The rule of a URL that may be warmed.
///
/// # Errors
/// Why it may not, before anything is looked up.
pub(super) fn rule_to_warm(url: &Url, cache: &Cache, now: Timestamp) -> Result<usize, &'static str> {
    let head = head_to_warm(url);
    let request = Request::read(Fields::parse(&head).ok_or("url")?, false);
    let (rule_index, rule) = rule_of(cache.policy(), &request);
    if rule.bypass {
        return Err("rule");
    }
    if let Some(vector) = admission::refusal(&request, rule) {
        return Err(vector.as_str());
    }
    cache.refresh_cluster(rule_index, rule, now).map(|_| rule_index).ok_or("no-cluster")
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
