//! What operators ask at `/.selvage/explain`.

use serde_json::json;

use super::Answer;
use crate::cache::{Cache, Moment};
use crate::explain::operators::Question;
use crate::purge::request::Fault;
use crate::request::Request;

/// What an operator asks in a query.
pub(super) fn by_query(request: &Request<'_>, cache: &mut Cache, moment: &mut Moment<'_>) -> Answer {
    told(Question::of_query(request), cache, moment)
}

/// What an operator asks in JSON.
pub(super) fn by_body(body: &[u8], cache: &mut Cache, moment: &mut Moment<'_>) -> Answer {
    told(Question::of_json(body), cache, moment)
}

fn told(question: Result<Question, Fault>, cache: &mut Cache, moment: &mut Moment<'_>) -> Answer {
    match question {
        Ok(question) => {
            cache.stats.count("explain", "asked");
            Answer { status: 200, body: question.answer(cache, moment) }
        }
        Err(fault) => {
            cache.stats.count("explain", "refused");
            Answer { status: 400, body: json!({ "error": fault.allowed, "path": fault.path }) }
        }
    }
}
