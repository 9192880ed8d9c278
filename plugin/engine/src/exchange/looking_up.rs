//! A request that waits for the remote store's answer.

use std::rc::Rc;

use super::lookup::{self, Fetch, LookupRequest, RemoteUse};
use super::polling::Polling;
use super::{Directive, Inputs, RemoteAnswer, State};
use crate::cache::{Cache, Extent, FillEnd, Moment};
use crate::cache::{Claim, ClaimOf};
use crate::credentials::identity_of;
use crate::fields::Fields;
use crate::firewall::Marks;
use crate::key::Changed;
use crate::request::Request;
use crate::store::Slot;
use crate::time::Timestamp;

/// A request that is held, and its key.
pub(super) struct Held {
    pub(super) head: Vec<u8>,
    pub(super) rule: usize,
    pub(super) key: Vec<u8>,
    pub(super) hash: u128,
    pub(super) changed: Changed,
    pub(super) marks: Marks,
    /// What it asks for, where that is looked up input by input.
    pub(super) inputs: Option<Rc<Inputs>>,
}

impl Held {
    /// Bytes of the request that it keeps.
    pub(super) fn kept_bytes(&self) -> usize {
        let inputs = self.inputs.as_ref().map_or(0, |inputs| inputs.kept_bytes());
        self.head.capacity().saturating_add(self.key.capacity()).saturating_add(inputs)
    }

    /// A hash of the credentials that its client shows.
    pub(super) fn identity(&self, cache: &Cache) -> Option<u64> {
        let request = Request::read(Fields::parse(&self.head)?, false).marked(self.marks);
        identity_of(&request, cache.policy().rule(self.rule))
    }

    /// As [`Held::settle`], with what the remote store has given when it was asked at a moment. Those who wait for this request have
    /// it too, once they need not wait any more: to be answered by it, or to wait for what it has turned out to be one of.
    pub(super) fn settle_with(
        self,
        (adopted, since): (Vec<(u128, Slot)>, Timestamp),
        remote: RemoteUse,
        fetch: Fetch,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> (State, Directive) {
        let led = fetch.leads().map(|id| (id, cache.waiting_for(id)));
        let key = self.hash;
        cache.swap_adopted(adopted);
        let mut settled = self.settle(remote, fetch, cache, moment);
        let adopted = cache.swap_adopted(Vec::new());
        if let Some(led) = led.filter(|(id, _)| !cache.is_under_way(*id)) {
            cache.hand_over(led, (key, since), &adopted);
        }
        if let (State::LookingUp(next), _) = &mut settled {
            next.adopted = adopted;
        }
        settled
    }

    /// Looks again at what is stored, and decides.
    pub(super) fn settle(
        self,
        remote: RemoteUse,
        fetch: Fetch,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> (State, Directive) {
        let Self { head, rule, key, hash, changed, marks, inputs } = self;
        let policy = Rc::clone(cache.policy());
        let Some(fields) = Fields::parse(&head) else { return (State::Relaying, Directive::Pass) };
        let request = Request::read(fields, false).marked(marks);
        let keyed = LookupRequest {
            request: &request,
            rule_index: rule,
            rule: policy.rule(rule),
            key: &key,
            hash,
            changed,
            sampled: false,
            inputs: inputs.as_ref(),
        };
        let settled = lookup::settle(&keyed, remote, fetch, cache, moment);
        lookup::with_head(settled, head)
    }
}

/// What is known while the answer is awaited.
pub(super) struct LookingUp {
    pub(super) held: Held,
    /// A second question may follow: the first answer can be an index of variants.
    pub(super) may_ask_again: bool,
    /// What an earlier question has brought.
    pub(super) adopted: Vec<(u128, Slot)>,
    /// The hash that was asked for: the key's, or that of a variant.
    pub(super) asked: u128,
    /// When it was asked.
    pub(super) since: Timestamp,
    /// Others wait for this request, or it is alone.
    pub(super) fetch: Fetch,
    /// What it asks.
    pub(super) asks: Asks,
}

/// What a request asks the remote store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    /// For a record, better than what is here. It does not wait for it.
    Better,
    /// For a record, and to fetch it for the fleet if there is none.
    Record,
    /// To fetch, for the fleet, what takes the place of a version that has expired.
    Renewal,
}

impl LookingUp {
    pub(super) fn on_answer(
        self,
        answer: RemoteAnswer,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> (State, Directive) {
        let Self { held, asked, since, may_ask_again, adopted, fetch, asks } = self;
        cache.learn(moment);
        // An index that came first does not outlast what was invalidated while its variant was asked for.
        let outdated = cache.invalidated_since(held.hash, since);
        let (answer, adopted) = match answer {
            RemoteAnswer::Found(_) if outdated => (RemoteAnswer::Nothing, Vec::new()),
            answer if outdated => (answer, Vec::new()),
            answer => (answer, adopted),
        };
        cache.swap_adopted(adopted);
        let mut fetch = fetch;
        let mut known = false;
        let found = match answer {
            // No record lies where claims of versions do.
            RemoteAnswer::Found(_) if asks == Asks::Renewal => false,
            RemoteAnswer::Found(slot) => {
                let adopted = cache.adopt(held.hash, asked, slot, moment);
                known = !adopted;
                adopted
            }
            RemoteAnswer::Nothing => false,
            RemoteAnswer::Claimed { until } => {
                if let Fetch::Leads { claim, .. } = &mut fetch {
                    let of = if asks == Asks::Renewal { ClaimOf::Version } else { ClaimOf::Record };
                    *claim = Some(Claim { hash: asked, until, of });
                }
                false
            }
            RemoteAnswer::Fetching => {
                if let (Asks::Record | Asks::Renewal, Fetch::Leads { id, polls_until, .. }) = (asks, fetch) {
                    let wait = cache.policy().rule(held.rule).coalesce.wait;
                    let until = polls_until.unwrap_or_else(|| moment.now.plus(wait));
                    cache.swap_adopted(Vec::new());
                    return Polling::begin(held, id, until, cache, moment);
                }
                false
            }
            RemoteAnswer::NotStorable => {
                if let Fetch::Leads { id, .. } = fetch {
                    cache.end_fill(id, FillEnd::NotShared(Extent::Everybody), moment);
                    fetch = Fetch::Alone { waited: None };
                }
                false
            }
        };
        let remote = match (found, may_ask_again) {
            (true, true) => RemoteUse::FoundFirst,
            (true, false) => RemoteUse::Found,
            (false, _) if known => RemoteUse::Known,
            (false, _) => RemoteUse::Done,
        };
        let adopted = cache.swap_adopted(Vec::new());
        held.settle_with((adopted, since), remote, fetch, cache, moment)
    }

    /// The request is gone.
    pub(super) fn abandon(&self, cache: &mut Cache, moment: &mut Moment<'_>) {
        if let Fetch::Leads { id, .. } = self.fetch {
            cache.end_fill(id, FillEnd::Abandoned, moment);
        }
    }
}
