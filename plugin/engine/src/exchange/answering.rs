//! A request to a language model, and its answer, read as it passes: whether it may be stored, and what it has cost.

use std::rc::Rc;

use selvage_llm::formats::{Answer, Api, Body, Outcome};

use super::streaming::{End, Streaming};
use super::{Event, RequestEdit, State};
use crate::cache::{Cache, FillEnd, Moment, Used};
use crate::fields::{Fields, status_of};
#[cfg(feature = "limits")]
use crate::limits::Reserve;
use crate::llm::{self, Facts, Question};
use crate::reply::Reply;
use crate::storability::answers::form_of;
use crate::tags;
use crate::time::Timestamp;

/// What is known of a request whose answer may be stored, or is counted.
pub(super) struct Answering {
    api: Api,
    /// The length of the request's body, as far as it is known.
    bytes: u64,
    /// The model that it names, as far as it is known.
    model: Option<Box<str>>,
    /// The tokens that its answers may have at most, as far as it is known.
    most_output: Option<u64>,
    /// What it asks, if the answer may be stored.
    question: Option<Question>,
    /// Its tokens are counted.
    counts: bool,
    /// What it has used: nothing as long as nothing has come. `None` if an answer has come that does not tell.
    used: Option<Used>,
    /// The answer has the form that was asked for, and may be stored.
    fits: bool,
    reading: Reading,
    /// When it went to its provider.
    asked: Timestamp,
    /// Its answer is a stream that counts.
    streaming: Option<Streaming>,
}

enum Reading {
    /// No head has come.
    Awaited,
    /// There is nothing that can be read, or it has been.
    Nothing,
    /// It is coming.
    Answer(Box<Answer>),
    /// It has ended.
    Outcome(Box<Outcome>),
}

impl Answering {
    fn new(api: Api, question: Option<Question>, counts: bool) -> Self {
        let (model, most_output, used, reading) = (None, None, Some(Used::default()), Reading::Awaited);
        let (asked, streaming) = (Timestamp::from_millis(0), None);
        Self {
            api,
            bytes: 0,
            model,
            most_output,
            question,
            counts,
            used,
            fits: false,
            reading,
            asked,
            streaming,
        }
    }

    /// Of a request whose answer is counted. Its body may have this length.
    pub(super) fn counting(api: Api, bytes: u64) -> Self {
        let mut answering = Self::new(api, None, true);
        answering.bytes = bytes;
        answering
    }

    /// The answer of it may be stored.
    pub(super) fn of(question: Question, counts: bool) -> Self {
        Self::new(question.api, Some(question), counts)
    }

    /// The request's body has been read.
    pub(super) fn knows(&mut self, facts: Facts) {
        let Facts { model, bytes, most_output } = facts;
        (self.model, self.bytes, self.most_output) = (model, bytes as u64, most_output);
    }

    /// Another model is asked.
    pub(super) fn asks_another(&mut self, model: Option<Box<str>>) {
        if model.is_some() {
            self.model = model;
        }
    }

    /// No answer comes that costs anything.
    pub(super) fn fails(&mut self) {
        (self.reading, self.used) = (Reading::Nothing, Some(Used::default()));
    }

    /// The answer must be readable: nobody is to compress it.
    pub(super) const EDIT: RequestEdit = RequestEdit::Remove("accept-encoding");

    /// Whether more of the answer is to come that counts.
    pub(super) const fn is_open(&self) -> bool {
        self.counts && matches!(self.reading, Reading::Awaited | Reading::Answer(_))
    }

    /// Whether the parts of the answer's body count.
    pub(super) const fn reads_body(&self) -> bool {
        self.counts && matches!(self.reading, Reading::Answer(_))
    }

    /// What it may use, as far as that is known before it is asked.
    #[cfg(feature = "limits")]
    pub(super) fn reserve(&self) -> Reserve {
        Reserve { input: self.bytes.div_ceil(BYTES_OF_A_TOKEN), output: self.most_output }
    }

    /// The model that it names, as far as it is known.
    #[cfg(feature = "limits")]
    pub(super) fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// What it has used. Nobody knows it of an answer that cannot be read.
    #[cfg(feature = "limits")]
    pub(super) const fn used(&self) -> Option<Used> {
        self.used
    }

    /// It goes to its provider now.
    pub(super) const fn sent(&mut self, now: Timestamp) {
        self.asked = now;
    }

    /// Something has happened to the stream.
    pub(super) fn hear(&mut self, event: &Event<'_>, cache: &mut Cache, moment: &mut Moment<'_>) {
        match event {
            // It has its answer: this is the reply that was made of it.
            Event::Response { .. } if matches!(self.reading, Reading::Outcome(_)) => {}
            Event::Response { head, end_of_stream } => self.begin(*head, *end_of_stream, cache),
            Event::Body { chunk, end_of_stream } => {
                if let Reading::Answer(answer) = &mut self.reading {
                    answer.push(chunk);
                    if let Some(streaming) = &mut self.streaming {
                        streaming.hear(answer.progress(), moment.now);
                    }
                }
                if *end_of_stream {
                    self.end(End::Whole, cache, moment);
                }
            }
            Event::Trailers => self.end(End::Whole, cache, moment),
            Event::Ended => {
                // The model may have read the question, though nothing has come of it.
                if matches!(self.reading, Reading::Awaited) {
                    let input = self.bytes.div_ceil(BYTES_OF_A_TOKEN);
                    self.used = Some(cache.read_in_vain(self.model.as_deref(), input));
                }
                self.end(End::Broken, cache, moment);
                self.reading = Reading::Nothing;
                if let Some(streaming) = self.streaming.take() {
                    streaming.forget(cache);
                }
            }
            _ => {}
        }
    }

    /// The head of the answer has come.
    pub(super) fn begin(&mut self, head: Fields<'_>, end_of_stream: bool, cache: &mut Cache) {
        self.reading = Reading::Nothing;
        let form = form_of(head).filter(|_| status_of(head) == 200 && !end_of_stream);
        if form.is_none() && status_of(head) == 200 {
            self.used = None;
        }
        // One in the other form than was asked for is passed on, and is no answer that could be stored.
        self.fits = form.is_some() && self.question.as_ref().map(|question| question.form) == form;
        if let Some(form) = form.filter(|_| self.fits || self.counts) {
            self.reading = Reading::Answer(Box::new(Answer::new(self.api, form)));
            if self.counts && form == Body::Events && self.streaming.is_none() {
                self.streaming = Some(Streaming::begin(self.asked, cache));
            }
        }
    }

    /// No more of the answer comes.
    fn end(&mut self, end: End, cache: &mut Cache, moment: &mut Moment<'_>) {
        self.reading = match std::mem::replace(&mut self.reading, Reading::Nothing) {
            Reading::Answer(answer) => {
                let outcome = answer.finish();
                if self.counts {
                    self.used = Some(cache.count_tokens(self.model.as_deref(), self.bytes, &outcome));
                }
                if let Some(streaming) = self.streaming.take() {
                    let output = outcome.counted(self.bytes).usage().output;
                    streaming.end(end, &outcome, output, cache, moment);
                }
                Reading::Outcome(Box::new(outcome))
            }
            Reading::Awaited => Reading::Nothing,
            other => other,
        };
    }

    /// A call has brought its answer, or its part of one.
    pub(super) fn is_answered(
        &mut self,
        head: Fields<'_>,
        body: &[u8],
        cache: &mut Cache,
        moment: &mut Moment<'_>,
    ) {
        self.begin(head, false, cache);
        if let Reading::Answer(answer) = &mut self.reading {
            answer.push(body);
        }
        self.end(End::Whole, cache, moment);
    }

    /// Parts of its answer come from a store.
    pub(super) fn is_spared<'a>(&self, parts: impl Iterator<Item = &'a [u8]>, cache: &mut Cache) {
        if self.counts {
            cache.count_saved_parts(self.model.as_deref(), parts);
        }
    }

    /// It is answered by what a call has brought, or from a store: with the rest of the stream, if its client has the beginning.
    pub(super) fn answered(&mut self, reply: &mut Reply, cache: &mut Cache) {
        if matches!(self.reading, Reading::Outcome(_)) {
            return;
        }
        let is_answer = self.counts && reply.status == 200 && self.question.is_some();
        self.reading = Reading::Nothing;
        let form = Fields::parse(&reply.fields).filter(|_| is_answer).and_then(form_of);
        if let Some(form) = form {
            cache.count_saved((self.api, form), (self.model.as_deref(), self.bytes), reply.content());
        }
        let last = self.question.as_ref().and_then(|question| question.last_event.as_deref());
        if let Some(rest) =
            last.filter(|_| reply.status == 200).and_then(|id| llm::rest_of(reply.content(), id))
        {
            reply.range.start = reply.range.start.saturating_add(rest);
        }
    }

    /// What becomes of a copy for the store, now that the answer has ended: it is let go of unless it is complete.
    pub(super) fn judge(&mut self, state: State, cache: &mut Cache, moment: &mut Moment<'_>) -> State {
        let (Reading::Outcome(outcome), true) = (&self.reading, self.fits) else { return state };
        let mut storing = match state {
            State::Storing(storing) => storing,
            other => return other,
        };
        let Some(lack) = outcome.lack else {
            cache.stats.count("llm_answers", "complete");
            let models = [self.model.as_deref(), outcome.model.as_deref()];
            storing.complete(&models_tags(models));
            return State::Storing(storing);
        };
        cache.stats.count("llm_answers", lack.as_str());
        // What is told to those who wait is nothing: the next answer may be whole.
        storing.abandon(FillEnd::Abandoned, cache, moment);
        State::Relaying
    }
}

/// By which the answers of a model are purged: the name that was asked for, and the one that has answered.
fn models_tags(models: [Option<&str>; 2]) -> Rc<[u64]> {
    let tags = models.into_iter().flatten().map(|model| tags::tag_hash(format!("model:{model}").as_bytes()));
    tags::union(&tags.collect::<Vec<_>>(), &[])
}

/// So many bytes of a request are a token at most: what is taken for it is rather more than it uses.
const BYTES_OF_A_TOKEN: u64 = 3;
