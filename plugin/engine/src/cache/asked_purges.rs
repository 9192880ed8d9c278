//! What operators ask to be purged, as what is purged.

use super::{Cache, Moment, Telling};
use crate::admission::rule_of;
use crate::key;
use crate::policy::Policy;
use crate::purge::request::{self, Asked, Item};
use crate::purge::{What, hash_of_url};
use crate::request::Request;

impl Cache {
    /// Purges what an operator asks for. A URL is purged as the rule that it falls under keys it, and in both spellings of a `*`.
    pub fn purge_asked(&mut self, asked: &Asked, moment: &mut Moment<'_>) -> Option<Telling> {
        let what = asked.items.iter().flat_map(|item| what_of(item, &self.policy)).collect();
        self.purge(what, asked.mode, moment)
    }
}

fn what_of(item: &Item, policy: &Policy) -> Vec<What> {
    let (authority, target) = match item {
        Item::Url { authority, target } => (authority, target),
        Item::Other(What::Prefix { authority, path }) => {
            let other = request::with_star(path).map(Vec::into_boxed_slice);
            let paths = [Some(path.clone()), other].into_iter().flatten();
            return paths.map(|path| What::Prefix { authority: authority.clone(), path }).collect();
        }
        Item::Other(what) => return vec![what.clone()],
    };
    let spellings = [Some(target.clone()), request::with_star(target)].into_iter().flatten();
    spellings.map(|target| url_of(authority, &target, policy)).collect()
}

fn url_of(authority: &[u8], target: &[u8], policy: &Policy) -> What {
    let as_get = Request { method: b"GET", authority, target, ..Request::default() };
    let (_, rule) = rule_of(policy, &as_get);
    let mut canonical = Vec::new();
    key::canonical_target(target, &rule.key.query, &mut canonical);
    What::Url(hash_of_url(authority, &canonical))
}
