//! Answers to the worker's own calls: of the remote store, and of origins to the cache's own requests.

use selvage_engine::cache::{Cache, Moment, Refresh};
use selvage_engine::exchange::{Event, LARGEST_IN_PARTS, RemoteAnswer};
use selvage_engine::time::Timestamp;

use super::responses::answer_of;
use super::{Vm, root_of};
use crate::apply::{Step, apply};
use crate::host::{Buffer, Calls, Envoy, Map};
use crate::jobs::Jobs;
use crate::refreshes::Refreshes;
use crate::remote::{Asker, Told};
use crate::root::Root;
use crate::stream::Stream;

impl<H: Calls> Vm<H> {
    /// The remote store has answered one of our calls.
    pub fn answered(&mut self, token: u32, headers: u32, size: usize) {
        let now = H::now();
        let refreshed = |root: &mut Root<H>| root.refreshes.take(token).map(|refresh| (root.id, refresh));
        if let Some((id, (refresh, sent))) = self.roots.iter_mut().find_map(refreshed) {
            if let Some(root) = root_of(&mut self.roots, id) {
                let took = H::micros().saturating_sub(sent);
                root.cache.stats.sample("duration_us", "refresh", took);
            }
            return self.refreshed(id, refresh, headers, size, now);
        }
        let held = |root: &mut Root<H>| root.fetches.remove(&token).map(|context| (root.id, context));
        if let Some((id, context)) = self.roots.iter_mut().find_map(held) {
            return self.fetched(context, id, headers, size);
        }
        let joined = |root: &mut Root<H>| root.joins.take(token).map(|call| (root.id, call));
        if let Some((id, call)) = self.roots.iter_mut().find_map(joined) {
            let head = if headers == 0 { None } else { H::header_pairs(Map::Answer) };
            let small = size <= LARGEST_IN_PARTS;
            let body = if small { H::buffer(Buffer::Answer, 0, size) } else { None };
            let Some(root) = root_of(&mut self.roots, id) else { return };
            root.cache.joined_answered(call, answer_of(head.as_deref(), body.as_deref()), now);
            root.after_event();
            // Those who have waited for it go on at once.
            return self.wake_some(id, now);
        }
        let part = |root: &mut Root<H>| root.parts.take_call(token).map(|part| (root.id, part));
        if let Some((id, part)) = self.roots.iter_mut().find_map(part) {
            return self.part_answered(id, part, headers, size, now);
        }
        if let Some((id, job)) =
            self.roots.iter_mut().find_map(|root| root.jobs.take(token).map(|job| (root.id, job)))
        {
            return self.job_answered(id, job, headers, size, now);
        }
        let lease = |root: &mut Root<H>| root.remote.take_lease(token).map(|lease| (root.id, lease));
        if let Some((id, lease)) = self.roots.iter_mut().find_map(lease) {
            let ((head, body), breakers) = (at_hand::<H>(headers, size), &mut self.breakers);
            let Some(root) = root_of(&mut self.roots, id) else { return };
            root.remote.judge_lease(lease, head, body, breakers, &mut root.cache, now);
            // Those who have waited for it go on at once.
            return self.wake_some(id, now);
        }
        let batch = |root: &mut Root<H>| root.remote.take_batch(token).map(|batch| (root.id, batch));
        if let Some((id, batch)) = self.roots.iter_mut().find_map(batch) {
            let ((head, body), breakers) = (at_hand::<H>(headers, size), &mut self.breakers);
            let Some(root) = root_of(&mut self.roots, id) else { return };
            let told = root.remote.judge_all(batch, head, body, breakers, &mut root.cache, now);
            root.remote.send_tasks(breakers, &mut root.cache, now);
            root.remote.send_purges(breakers, &mut root.cache, now);
            return self.tell_all(id, told, now);
        }
        let Some((root, pending)) =
            self.roots.iter_mut().find_map(|root| root.remote.take(token).map(|pending| (root, pending)))
        else {
            return;
        };
        let ((head, body), breakers) = (at_hand::<H>(headers, size), &mut self.breakers);
        let answer = root.remote.judge(&pending, head, body, breakers, &mut root.cache, now);
        root.remote.send_tasks(breakers, &mut root.cache, now);
        root.remote.send_purges(breakers, &mut root.cache, now);
        let id = root.id;
        self.tell(id, pending.asker, pending.hash(), answer, now);
    }

    /// The origin, or Envoy in its place, has answered the call for a part of a batch.
    fn part_answered(&mut self, id: u32, part: u32, headers: u32, size: usize, now: Timestamp) {
        let head = if headers == 0 { None } else { H::header_pairs(Map::Answer) };
        let content = if size == 0 { Some(Vec::new()) } else { H::buffer(Buffer::Answer, 0, size) };
        let Some(root) = root_of(&mut self.roots, id) else { return };
        root.part_called(part, head.as_deref(), content.as_deref(), &mut self.breakers, now);
        root.begin_parts(self.newest, &mut self.breakers, now);
        root.after_event();
        // Those who have waited for it go on at once.
        self.wake_some(id, now);
    }

    /// The cluster of jobs has answered.
    fn job_answered(&mut self, id: u32, job: u64, headers: u32, size: usize, now: Timestamp) {
        let head = if headers == 0 { None } else { H::header_pairs(Map::Answer) };
        let Some(root) = root_of(&mut self.roots, id) else { return };
        let fits = size <= root.cache.policy().remote.object_bytes;
        let body = match size {
            0 => Some(Vec::new()),
            _ if fits => H::buffer(Buffer::Answer, 0, size),
            _ => None,
        };
        // What cannot be read is no answer.
        let head = head.filter(|_| body.is_some() || !fits);
        Jobs::<H>::answered(job, head.as_deref(), body.as_deref(), &mut root.cache, now);
        root.remote.send_leases(&mut self.breakers, &mut root.cache, now);
        // One that has waited for its place may be a batch.
        self.wake_some(id, now);
    }

    /// The lookups that waited for each other are sent.
    pub(super) fn send_gathered(&mut self, id: u32, now: Timestamp) {
        let Some(root) = root_of(&mut self.roots, id) else { return };
        let told = root.remote.send_gathered(&mut self.breakers, &mut root.cache, now);
        self.tell_all(id, told, now);
    }

    /// What several lookups have found.
    fn tell_all(&mut self, id: u32, told: Told, now: Timestamp) {
        if told.is_empty()
            && let Some(root) = root_of(&mut self.roots, id)
        {
            root.after_event();
        }
        for (asked, answer) in told {
            self.tell(id, asked.asker, asked.hash, answer, now);
        }
    }

    /// What a lookup has found goes to who waits for it.
    #[inline(never)]
    fn tell(&mut self, id: u32, asker: Asker, hash: u128, answer: RemoteAnswer, now: Timestamp) {
        let Some(root) = root_of(&mut self.roots, id) else { return };
        let context = match asker {
            Asker::Stream(context) => context,
            Asker::Refresh(number) => {
                let mut moment = Moment { now, host: &mut Envoy::<H>::new() };
                match root.refreshes.take_asking(number) {
                    Some(refresh) => refresh.told(answer, &mut root.cache, &mut moment),
                    None => drop_claim(answer, hash, &mut root.cache),
                }
                root.refreshes.ask(&mut root.remote, &mut self.breakers, &mut root.cache, now);
                return root.after_event();
            }
            // It may have told of a purge.
            Asker::Nobody => return root.after_event(),
        };
        if root.parts.has(context) {
            if let Some(answer) = root.tell_part(context, answer, &mut self.breakers, now) {
                drop_claim(answer, hash, &mut root.cache);
            }
            root.begin_parts(self.newest, &mut self.breakers, now);
            return root.after_event();
        }
        // A stream that has ended is not in the table any more.
        let Some(Stream::Exchange(mut exchange)) = self.streams.remove(&context) else {
            return drop_claim(answer, hash, &mut root.cache);
        };
        let mut moment = Moment { now, host: &mut Envoy::<H>::new() };
        if !exchange.awaits_remote() || !H::act_for(context) {
            drop_claim(answer, hash, &mut root.cache);
            exchange.on(Event::Ended, &mut root.cache, &mut moment);
            return root.after_event();
        }
        let directive = exchange.on(Event::Remote(answer), &mut root.cache, &mut moment);
        if apply(root, &mut self.breakers, &mut self.streams, context, exchange, directive, now) == Step::Goes
            && !self.held.is_gathering(context)
        {
            self.watched.resume::<H>(context);
        }
        root.after_event();
    }

    /// The origin, or Envoy in its place, has answered a request of the cache's own.
    fn refreshed(&mut self, id: u32, refresh: Refresh, headers: u32, size: usize, now: Timestamp) {
        let head = if headers == 0 { None } else { H::header_pairs(Map::Answer) };
        let body = if size == 0 { Some(Vec::new()) } else { H::buffer(Buffer::Answer, 0, size) };
        let Some(root) = root_of(&mut self.roots, id) else { return };
        // What cannot be read is no answer.
        let head = head.filter(|_| body.is_some());
        Refreshes::<H>::answered(refresh, head, &body.unwrap_or_default(), &mut root.cache, now);
        // One that is under way less may let another one go.
        root.refreshes.send(&mut root.cache, now);
        root.after_event();
    }
}

/// The head and the body of an answer. Both belong to the root context, so they are read before we act for a stream.
fn at_hand<H: Calls>(headers: u32, size: usize) -> (Option<Vec<u8>>, Vec<u8>) {
    let head = if headers == 0 { None } else { H::header_pairs(Map::Answer) };
    let body = if size == 0 { None } else { H::buffer(Buffer::Answer, 0, size) };
    (head, body.unwrap_or_default())
}

/// Nobody fetches what this claim was for.
fn drop_claim(answer: RemoteAnswer, hash: u128, cache: &mut Cache) {
    if let RemoteAnswer::Claimed { until } = answer {
        cache.drop_claim(hash, until);
    }
}
