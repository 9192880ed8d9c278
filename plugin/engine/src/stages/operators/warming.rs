//! What operators warm, `POST /.selvage/warm`.

use serde_json::{Value, json};

use super::{Answer, note};
use crate::cache::{Cache, Moment, unfit_to_warm};
use crate::warm::{Added, request};

/// How far the workers have come.
pub(super) fn progress(cache: &mut Cache, moment: &mut Moment<'_>) -> Answer {
    let mut body = cache.warming_progress(moment);
    if let Some(body) = body.as_object_mut() {
        body.insert("per_second".into(), json!(cache.policy().warm.per_second));
    }
    Answer { status: 200, body }
}

/// A body that says what to warm. This worker does it, after the answer.
pub(super) fn by_body(body: &[u8], cache: &mut Cache, moment: &mut Moment<'_>) -> Answer {
    let urls = match request::parse(body) {
        Ok(urls) => urls,
        Err(fault) => {
            cache.stats.count("warm", "refused");
            return Answer { status: 400, body: json!({ "error": fault.allowed, "path": fault.path }) };
        }
    };
    let (asked, mut queued, mut already) = (urls.len(), 0, 0);
    let mut refused: Vec<Value> = Vec::new();
    for (at, url) in urls.into_iter().enumerate() {
        let why = match unfit_to_warm(&url, cache, moment.now) {
            Some(why) => why,
            None => match cache.warm(url, false, moment.now) {
                Added::Queued => {
                    queued += 1;
                    continue;
                }
                Added::Already => {
                    already += 1;
                    continue;
                }
                Added::Full => "queue-full",
            },
        };
        cache.refuse_to_warm(why);
        refused.push(json!({ "path": format!("urls[{at}]"), "reason": why }));
    }
    let what = json!({ "urls": asked, "queued": queued, "already": already, "refused": refused.len() });
    note("warm", what, cache, moment);
    Answer { status: 202, body: json!({ "queued": queued, "already": already, "refused": refused }) }
}
