//! A successful unsafe request: what it makes invalid (RFC 9111 §4.4), and what its response may answer (RFC 9110 §9.3.3).

use std::rc::Rc;
use std::time::Duration;

use super::Plan;
use crate::admission::{self, rule_of};
use crate::cache::{Cache, Moment};
use crate::cache_control::ResponseDirectives;
use crate::credentials::identity_of;
use crate::fields::Fields;
use crate::freshness;
use crate::key::Changed;
use crate::key::canonical;
use crate::policy::Cookies;
use crate::request::Request;
use crate::{invalidation, key};

impl Plan {
    /// A successful unsafe request invalidates its target and those the response names (§4.4), and the groups that it
    /// names (RFC 9875 §3).
    pub(super) fn invalidate(&self, head: Fields<'_>, cache: &mut Cache, moment: &mut Moment<'_>) {
        let Some(fields) = Fields::parse(&self.head) else { return };
        cache.invalidate_by(&Request::read(fields, false), head, moment);
    }

    /// Whether the response to this POST may be stored as the response to GET: the rule allows it, the origin says with
    /// `Content-Location` that it is that, and gives it a lifetime (RFC 9110 §9.3.3). If so, the plan is for
    /// the key of that GET from here on.
    pub(super) fn becomes_get(&mut self, head: Fields<'_>, cache: &Cache, moment: &Moment<'_>) -> bool {
        let Some(fields) = Fields::parse(&self.head) else { return false };
        let request = Request::read(fields, false);
        let Some(location) = head.get(b"content-location").filter(|_| request.method == b"POST") else {
            return false;
        };
        let named = invalidation::resolve(request.scheme, request.authority, request.target, location);
        if named.as_deref() != Some(request.target) || self.detail.is_some() {
            return false;
        }
        let policy = Rc::clone(cache.policy());
        let as_get = Request { method: b"GET", ..request };
        let (index, rule) = rule_of(&policy, &as_get);
        let directives = ResponseDirectives::read(head, &rule.targeted);
        let lifetime = freshness::lifetime(200, head, &directives, rule, moment.now);
        if rule.bypass
            || !rule.post_answers_get
            || rule.shadow != policy.rule(self.rule).shadow
            || !lifetime.source.is_origin()
            || admission::refusal(&request, rule).is_some()
            || rule.cookies == Cookies::Bypass && request.cookie
        {
            return false;
        }
        let mut key = Vec::new();
        let scope = policy.scope(index);
        // The origin saw the request as it came: if that is not what is keyed, its answer is not for the key.
        if canonical(&as_get, request.target, &rule.key, scope, None, &mut key) == Changed::Yes {
            return false;
        }
        let request = admission::marked(request, rule);
        self.asked = admission::asked(&request, rule);
        self.identity = identity_of(&request, rule);
        self.hash = key::hash(&key);
        self.turn = self.hash;
        self.key = key;
        self.rule = index;
        // This very response has just invalidated what was there before.
        self.valid_from = moment.now.plus(Duration::from_millis(1));
        true
    }
}
