//! A request that waits for the remote store's answer.

use std::rc::Rc;

use super::lookup::{self, Keyed, RemoteUse};
use super::{Directive, RemoteAnswer, State};
use crate::cache::{Cache, Moment};
use crate::fields::Fields;
use crate::key::Changed;
use crate::request::Request;
use crate::store::Slot;

/// What is known while the answer is awaited.
pub(super) struct LookingUp {
    pub(super) head: Vec<u8>,
    pub(super) rule: usize,
    pub(super) key: Vec<u8>,
    pub(super) hash: u128,
    pub(super) changed: Changed,
    /// The hash that was asked for: the key's, or that of a variant.
    pub(super) asked: u128,
    /// A second question may follow: the first answer can be an index of variants.
    pub(super) may_ask_again: bool,
    /// What an earlier question has brought.
    pub(super) adopted: Vec<(u128, Slot)>,
}

impl LookingUp {
    pub(super) fn on_answer(
        self,
        answer: RemoteAnswer,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> (State, Directive) {
        let Self { head, rule, key, hash, changed, asked, may_ask_again, adopted } = self;
        cache.swap_adopted(adopted);
        let found = match answer {
            RemoteAnswer::Found(slot) => cache.adopt(asked, slot, moment),
            RemoteAnswer::Nothing => false,
        };
        let policy = Rc::clone(cache.policy());
        let Some(fields) = Fields::parse(&head) else { return (State::Relaying, Directive::Pass) };
        let request = Request::read(fields, false);
        let keyed =
            Keyed { request: &request, rule_index: rule, rule: policy.rule(rule), key: &key, hash, changed };
        let remote = match (found, may_ask_again) {
            (true, true) => RemoteUse::FoundFirst,
            (true, false) => RemoteUse::Found,
            (false, _) => RemoteUse::Done,
        };
        let settled = lookup::settle(&keyed, remote, cache, moment);
        let adopted = cache.swap_adopted(Vec::new());
        let mut settled = settled;
        if let (State::LookingUp(next), _) = &mut settled {
            next.adopted = adopted;
        }
        lookup::with_head(settled, head)
    }
}
