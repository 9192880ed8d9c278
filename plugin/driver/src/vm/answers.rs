//! Answers to the worker's own calls: of the remote store, and of origins to the cache's own requests.

use selvage_engine::cache::Moment;
use selvage_engine::cache::Refresh;
use selvage_engine::exchange::{Event, RemoteAnswer};
use selvage_engine::time::Timestamp;

use super::{Vm, root_of};
use crate::apply::{Step, apply};
use crate::host::{Buffer, Calls, Envoy, Map};
use crate::refreshes::Refreshes;
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
        let Some((root, pending)) =
            self.roots.iter_mut().find_map(|root| root.remote.take(token).map(|pending| (root, pending)))
        else {
            return;
        };
        // Both belong to the root context, so they are read before we act for the stream.
        let head = if headers == 0 { None } else { H::header_pairs(Map::Answer) };
        let body = if size == 0 { None } else { H::buffer(Buffer::Answer, 0, size) };
        let waiting = pending.context;
        let (breakers, body) = (&mut self.breakers, body.unwrap_or_default());
        let answer = root.remote.judge(&pending, head, body, breakers, &mut root.cache, now);
        root.remote.send_tasks(breakers, &mut root.cache, now);
        root.remote.send_purges(breakers, &mut root.cache, now);
        if let Some(refresh) = root.refreshes.take_asking(token) {
            refresh.told(answer, &mut root.cache, &mut Moment { now, host: &mut Envoy::<H>::new() });
            root.refreshes.ask(&mut root.remote, breakers, &mut root.cache, now);
            root.after_event();
            return;
        }
        let Some(context) = waiting else {
            // It may have told of a purge.
            root.after_event();
            return;
        };
        // A stream that has ended is not in the table any more.
        let Some(Stream::Exchange(mut exchange)) = self.streams.remove(&context) else {
            if let RemoteAnswer::Claimed { .. } = answer {
                root.cache.drop_claim(pending.hash);
            }
            return;
        };
        let mut moment = Moment { now, host: &mut Envoy::<H>::new() };
        if !exchange.awaits_remote() || !H::act_for(context) {
            if let RemoteAnswer::Claimed { .. } = answer {
                root.cache.drop_claim(pending.hash);
            }
            exchange.on(Event::Ended, &mut root.cache, &mut moment);
            root.after_event();
            return;
        }
        let directive = exchange.on(Event::Remote(answer), &mut root.cache, &mut moment);
        if apply(root, &mut self.breakers, &mut self.streams, context, exchange, directive, now) == Step::Goes
        {
            H::resume_request();
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
