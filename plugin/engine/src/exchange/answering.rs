//! A question to a language model, and its answer, read as it passes.

use std::rc::Rc;

use selvage_llm::formats::{Answer, Outcome};

use super::{Event, RequestEdit, State};
use crate::cache::{Cache, FillEnd, Moment};
use crate::fields::{Fields, status_of};
use crate::llm::Question;
use crate::storability::answers::form_of;
use crate::tags;

/// What is known of a question whose answer may be stored.
pub(super) struct Answering {
    question: Question,
    reading: Reading,
}

enum Reading {
    /// Nothing has come that can be read.
    Nothing,
    /// It is coming.
    Answer(Box<Answer>),
    /// It has ended.
    Outcome(Box<Outcome>),
}

impl Answering {
    pub(super) const fn of(question: Question) -> Self {
        Self { question, reading: Reading::Nothing }
    }

    /// The answer must be readable: nobody is to compress it.
    pub(super) const EDIT: RequestEdit = RequestEdit::Remove("accept-encoding");

    /// Something has happened to the stream.
    pub(super) fn hear(&mut self, event: &Event<'_>) {
        let ends = match event {
            Event::Response { head, end_of_stream: false } => {
                self.begin(*head);
                false
            }
            Event::Body { chunk, end_of_stream } => {
                if let Reading::Answer(answer) = &mut self.reading {
                    answer.push(chunk);
                }
                *end_of_stream
            }
            Event::Trailers => true,
            _ => false,
        };
        if ends {
            self.reading = match std::mem::replace(&mut self.reading, Reading::Nothing) {
                Reading::Answer(answer) => Reading::Outcome(Box::new(answer.finish())),
                other => other,
            };
        }
    }

    fn begin(&mut self, head: Fields<'_>) {
        // One in the other form than was asked for is passed on, and is no answer to this question.
        let Question { api, form, .. } = self.question;
        if status_of(head) == 200 && form_of(head) == Some(form) {
            self.reading = Reading::Answer(Box::new(Answer::new(api, form)));
        }
    }

    /// What becomes of a copy for the store, now that the answer has ended: it is let go of unless it is complete.
    pub(super) fn judge(&mut self, state: State, cache: &mut Cache, moment: &mut Moment<'_>) -> State {
        let Reading::Outcome(outcome) = &self.reading else { return state };
        let mut storing = match state {
            State::Storing(storing) => storing,
            other => return other,
        };
        let Some(lack) = outcome.lack else {
            cache.stats.count("llm_answers", "complete");
            let models = [self.question.model.as_deref(), outcome.model.as_deref()];
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
