//! The mark of this cache's key space, so that no request waits for itself (`CDN-Loop`, RFC 8586).
//!
//! Two filters may stand one behind the other. Where they share their stores and leases, the inner one would find the fetch
//! of the outer one under way and wait for it, while the outer one waits for the inner one. So each request to an origin
//! carries a mark, and one that comes back with it neither waits nor lets others wait.

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::{Cache, Moment};
use crate::request::Request;

/// The mark, as it stands in `CDN-Loop`.
#[derive(Debug)]
pub(super) struct Space(Box<str>);

impl Cache {
    /// Whether a request comes from a cache of the same key space.
    pub fn is_nested(&mut self, request: &Request<'_>, moment: &mut Moment<'_>) -> bool {
        if !request.cdn_loop {
            return false;
        }
        let mark = self.mark(moment);
        request.fields.members(b"cdn-loop").any(|member| member == mark.as_bytes())
    }

    /// `CDN-Loop` for a request to the origin: what it has already, and the mark.
    #[inline(never)]
    pub fn looped(&mut self, request: &Request<'_>, moment: &mut Moment<'_>) -> Vec<u8> {
        let mut value = Vec::with_capacity(32);
        if request.cdn_loop {
            for line in request.fields.all(b"cdn-loop") {
                value.extend_from_slice(line);
                value.extend_from_slice(b", ");
            }
        }
        value.extend_from_slice(self.mark(moment).as_bytes());
        value
    }

    /// A fleet with a remote store is one key space, whatever Envoy a request comes to; without one each Envoy is.
    fn mark(&mut self, moment: &mut Moment<'_>) -> &str {
        let space = self.space.take().unwrap_or_else(|| {
            let place = if self.policy.remote.enabled {
                xxh3_64(self.policy.remote.prefix.as_bytes())
            } else {
                let made = [moment.now.as_millis(), moment.host.micros()];
                let bytes: Vec<u8> = made.iter().flat_map(|part| part.to_le_bytes()).collect();
                self.node.instance(moment.host, xxh3_64(&bytes))
            };
            let bytes = [self.policy.namespace.to_le_bytes(), place.to_le_bytes()].concat();
            Space(format!("selvage-{:016x}", xxh3_128(&bytes) as u64).into())
        });
        &self.space.insert(space).0
    }
}
