//! One exchange that is explained to whoever shows the operators' token in `Selvage-Explain`.

use super::{Directive, Event, RequestEdit};
use crate::cache::{Cache, Moment};
use crate::explain::{Answer, Passage, Subject, explain};
use crate::fields::{Fields, status_of};
use crate::request::Request;
use crate::stages::operators;
use crate::time::Timestamp;

/// A request with `Selvage-Explain`, where there is a gate.
pub(super) struct Explaining {
    /// Its head; `None` if it showed another token, so that it is only kept from the origin.
    head: Option<Vec<u8>>,
    has_body: bool,
    requested: Timestamp,
}

impl Explaining {
    /// Judges the token. Without a gate the field is one like any other.
    #[cold]
    pub(super) fn begin(
        token: &[u8],
        request: &Request<'_>,
        head: &[u8],
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> Option<Box<Self>> {
        if !cache.gate().is_there() {
            return None;
        }
        let status = if !cache.policy().admin_hosts.allow(request.authority) {
            421
        } else if operators::kept_out(cache, moment).is_some() {
            429
        } else if !cache.gate().is_token(token) {
            403
        } else {
            200
        };
        let granted = status == 200;
        if !granted {
            operators::note_refusal(status, request, cache, moment);
        }
        if status == 403 {
            operators::note_guess(cache, moment);
        }
        cache.stats.count("explain", if granted { "granted" } else { "refused" });
        let has_body = request.has_body;
        Some(Box::new(Self { head: granted.then(|| head.to_vec()), has_body, requested: moment.now }))
    }

    /// What there is to say when the origin has answered, before that changes what is stored.
    #[cold]
    pub(super) fn on_event(
        &self,
        event: &Event<'_>,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> Option<Vec<u8>> {
        cache.scratch.refused = None;
        let Event::Response { head, .. } = event else { return None };
        // A 304 confirms what is stored, which is explained when it is sent.
        if status_of(*head) == 304 {
            return None;
        }
        let by_origin = moment.host.origin_answered();
        let answer = Answer { head: *head, length: None, requested: self.requested, by_origin };
        self.line(Some(answer), Passage::Behind, cache, moment)
    }

    /// Adds to a directive what is to be said, and takes the token off what goes to the origin.
    #[cold]
    pub(super) fn add_to(
        &self,
        directive: &mut Directive,
        said: Option<Vec<u8>>,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) {
        match directive {
            Directive::Forward(edits) => edits.push(RequestEdit::Remove("selvage-explain")),
            Directive::Relay { add, .. } => add.extend(said.map(|line| ("selvage-explanation", line))),
            Directive::Respond(reply) => {
                let passage = match cache.scratch.refused.take() {
                    Some((detail, status)) => Passage::Refused(detail, status),
                    None => Passage::Behind,
                };
                if let Some(line) = self.line(None, passage, cache, moment) {
                    reply.add(b"selvage-explanation", &line);
                }
            }
            _ => {}
        }
    }

    fn line(
        &self,
        response: Option<Answer<'_>>,
        passage: Passage,
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) -> Option<Vec<u8>> {
        let fields = Fields::parse(self.head.as_deref()?)?;
        let request = Request::read(fields, self.has_body);
        let subject = Subject { request: &request, body: None, response, passage };
        Some(explain(&subject, cache, moment).to_line(LONGEST_LINE))
    }
}

/// Longest explanation in a field of a response, in bytes.
const LONGEST_LINE: usize = 2048;
