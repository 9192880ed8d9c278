//! What a successful unsafe request makes invalid (RFC 9111 §4.4).

use std::rc::Rc;

use super::{Cache, Moment};
use crate::admission::rule_of;
use crate::fields::Fields;
use crate::key::{self, canonical};
use crate::purge::{Mode, What};
use crate::request::Request;
use crate::tags::{group_hash, groups_of};
use crate::{invalidation, uri};

impl Cache {
    /// Invalidates the target of a request that its origin has answered with this head, what that names, and the groups that it names
    /// (RFC 9875 §3).
    pub(crate) fn invalidate_by(&mut self, request: &Request<'_>, head: Fields<'_>, moment: &mut Moment<'_>) {
        let policy = Rc::clone(&self.policy);
        let mut targets = invalidation::targets(request.scheme, request.authority, request.target, head);
        targets.push(request.target.to_vec());
        let mut key = Vec::new();
        for target in &targets {
            let as_get = Request { method: b"GET", target, ..*request };
            let (index, rule) = rule_of(&policy, &as_get);
            canonical(&as_get, target, &rule.key, policy.scope(index), None, &mut key);
            self.invalidate(key::hash(&key), moment);
        }
        let groups = groups_of(head, b"cache-group-invalidation");
        if !groups.is_empty() {
            let mut authority = Vec::new();
            uri::normalize_authority(request.authority, request.scheme, &mut authority);
            let hash = |group: &String| What::Tag(group_hash(&authority, group.as_bytes()));
            let groups = groups.iter().take(MOST_GROUPS).map(hash).collect();
            let _ = self.purge(groups, Mode::Hard, moment);
        }
    }
}

/// Groups that one answer may invalidate: each is a purge of its own.
const MOST_GROUPS: usize = 64;
