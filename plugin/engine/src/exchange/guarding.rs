//! A request whose body is checked on its way: held until something is known of it, and watched from then on.

use std::rc::Rc;

use super::aside::Aside;
use super::{Directive, Event, Exchange, State, entering};
use crate::cache::{Cache, Moment};
use crate::stages::uploads::{self, Asked};
use crate::uploads::{Guard, Verdict};

/// What is known while it is held.
pub(super) struct Guarding {
    head: Vec<u8>,
    /// What has come of its body, where it may be in the key.
    body: Option<Vec<u8>>,
}

impl Guarding {
    /// The state of a request that waits for the beginning of its body.
    pub(super) fn begin(head: Vec<u8>, reads_body: bool) -> (State, Directive) {
        (State::Guarding(Box::new(Self { head, body: reads_body.then(Vec::new) })), Directive::AwaitBody)
    }

    /// Bytes of the request that it keeps.
    pub(super) fn kept_bytes(&self) -> usize {
        self.head.capacity().saturating_add(self.body.as_ref().map_or(0, Vec::capacity))
    }

    /// Whether its body may be in the key, or changed.
    pub(super) const fn reads_body(&self) -> bool {
        self.body.is_some()
    }

    fn keep(&mut self, chunk: &[u8]) {
        if let Some(body) = &mut self.body {
            body.extend_from_slice(chunk);
        }
    }

    /// Nothing speaks against it.
    pub(super) fn on_chunk(
        mut self,
        chunk: &[u8],
        end_of_stream: bool,
        aside: &mut Aside,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> (State, Directive) {
        self.keep(chunk);
        aside.is_let_go();
        let entered = entering::begin(self.head, false, aside, cache, moment);
        match (entered, self.body) {
            ((State::AwaitingBody(waiting), _), Some(body)) => {
                waiting.on_chunk(&body, end_of_stream, aside, cache, moment)
            }
            // What has come of it is not known any more, under another configuration. The cache stays out of it.
            ((State::AwaitingBody(_), _), None) => (State::Relaying, Directive::Forward(aside.lets_go())),
            (entered, _) => entered,
        }
    }

    /// Its body cannot be seen before its head goes on: it is watched from then on. The cache stays out of what its body keys.
    pub(super) fn let_go(
        self,
        aside: &mut Aside,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> (State, Directive) {
        aside.is_let_go();
        match entering::begin(self.head, false, aside, cache, moment) {
            (State::AwaitingBody(_), _) => (State::Relaying, Directive::Forward(aside.lets_go())),
            entered => entered,
        }
    }
}

impl Exchange {
    /// Whether of the parts of the request's body only the length is wanted.
    pub(super) fn counts_body_only(&self) -> bool {
        self.aside.guard().is_some_and(Guard::only_counts)
            && !matches!(self.state, State::AwaitingBody(_) | State::Guarding(_))
    }

    /// Shows a part of the body to what watches it. `Err` says what becomes of the part; else the exchange goes on.
    pub(super) fn guard<'e>(
        &mut self,
        event: Event<'e>,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> Result<Event<'e>, Directive> {
        let (chunk, counted, is_last) = match event {
            Event::RequestBody { chunk, end_of_stream } => (chunk, None, end_of_stream),
            Event::RequestBytes { count, end_of_stream } => (&[][..], Some(count), end_of_stream),
            Event::Ended => {
                self.aside.take_guard();
                return Ok(event);
            }
            event => return Ok(event),
        };
        let goes_on = Ok(Event::RequestBody { chunk, end_of_stream: is_last });
        let policy = Rc::clone(cache.policy());
        let Some(guard) = self.aside.guard_mut() else { return goes_on };
        let rule = policy.rule(guard.rule);
        let Some(upload) = &rule.upload else {
            // Under another configuration.
            self.aside.take_guard();
            return goes_on;
        };
        let verdict = match counted {
            Some(count) => guard.count(count, upload),
            None => guard.on_chunk(chunk, is_last, upload),
        };
        guard.is_open = verdict == Verdict::Open && !rule.shadow;
        match verdict {
            Verdict::Refused(_) if rule.shadow => {
                self.aside.take_guard();
                cache.stats.count("uploads", "shadow");
                goes_on
            }
            Verdict::Refused(objection) => {
                // What passes has been counted as that.
                let is_counted = matches!(self.state, State::Passing(_) | State::Relaying | State::Finished);
                let asked = Asked { is_patch: guard.is_patch, is_counted };
                self.aside.take_guard();
                let mut answer = Directive::Respond(uploads::refuse(objection, asked, upload, rule, cache));
                if self.is_guarding() && self.aside.is_kept() {
                    // The client is told of its quota, which it has used.
                    answer = self.aside.send((State::Finished, answer), cache, moment).1;
                }
                self.on(Event::Ended, cache, moment);
                Err(answer)
            }
            Verdict::Open if guard.is_open => match &mut self.state {
                // The head goes on, and of the body all but the end of it.
                State::Guarding(_) if guard.is_past_beginning() => goes_on,
                State::Guarding(guarding) => {
                    guarding.keep(chunk);
                    self.note_kept(cache);
                    Err(Directive::AwaitBody)
                }
                State::Forwarding(_)
                | State::Passing(_)
                | State::Storing(_)
                | State::Comparing(_)
                | State::Relaying
                | State::Finished => Err(Directive::AwaitBody),
                // It is held for something else as well.
                _ => goes_on,
            },
            _ if is_last => {
                self.aside.take_guard();
                cache.stats.count("uploads", "passed");
                goes_on
            }
            _ => goes_on,
        }
    }
}
