//! Tells operators how many jobs there are and which are dead, and tries one again.

use serde_json::Value;

use super::{Answer, Held, Then, Until, answered, note};
use crate::cache::{Cache, Moment, ToldOfJob};
use crate::jobs::question::{Counts, Dead, Does, JobAnswer, id_of};
use crate::members::members;
use crate::time::Timestamp;

/// An operator who waits for what Redis says.
pub(crate) struct Inquiring {
    told: ToldOfJob,
    ticket: u64,
    until: Timestamp,
}

/// How many there are, and the last hundred that have died.
pub(super) fn list(cache: &mut Cache, moment: &mut Moment<'_>) -> Then {
    ask(Does::List, cache, moment)
}

/// Tries a dead one again: `{"retry":"ID"}`.
pub(super) fn by_body(body: &[u8], cache: &mut Cache, moment: &mut Moment<'_>) -> Then {
    let wanted = match serde_json::from_slice::<Value>(body) {
        Ok(Value::Object(members)) if members.len() == 1 => {
            members.get("retry").and_then(Value::as_str).and_then(|id| id_of(id.as_bytes()))
        }
        _ => None,
    };
    let Some(id) = wanted else {
        cache.stats.count("admin", "refused");
        let error = "an object with retry: the ID of a dead job, 32 hexadecimal digits in lower case";
        return answered(&Answer { status: 400, body: members! { "error": error, "path": "body" } }, None);
    };
    note("retry", members! { "job": format!("{id:032x}") }, cache, moment);
    ask(Does::Again { id }, cache, moment)
}

fn ask(does: Does, cache: &mut Cache, moment: &Moment<'_>) -> Then {
    if cache.policy().jobs.is_none() {
        return refuse(404, "the configuration has no jobs");
    }
    match cache.ask_of_job(does, moment.now) {
        Some((ticket, told)) => {
            let until = moment.now.plus(cache.policy().remote.timeout.saturating_mul(2));
            Then::Await(Held::Inquiring(Inquiring { told, ticket, until }), Until::Ticket(ticket))
        }
        None => refuse(503, "too many requests wait for Redis"),
    }
}

fn refuse(status: u16, error: &str) -> Then {
    answered(&Answer { status, body: members! { "error": error } }, None)
}

impl Inquiring {
    /// Redis has answered, or something else has woken it.
    pub(crate) fn on_wake(self, cache: &Cache, moment: &Moment<'_>) -> Then {
        let told = self.told.borrow_mut().take();
        match told {
            None if moment.now < self.until => {
                let ticket = self.ticket;
                Then::Await(Held::Inquiring(self), Until::Ticket(ticket))
            }
            Some(Ok(JobAnswer::Lists(counts, dead))) => shown(counts, &dead, cache, moment),
            Some(Ok(JobAnswer::Ended)) => {
                answered(&Answer { status: 200, body: members! { "done": "retry" } }, None)
            }
            Some(Ok(JobAnswer::None)) => refuse(404, "no dead job has this ID"),
            _ => refuse(503, "Redis has not answered"),
        }
    }
}

fn shown(counts: Counts, dead: &[Dead], cache: &Cache, moment: &Moment<'_>) -> Then {
    let list = dead.iter().map(|job| {
        members! {
            "attempts": job.attempt,
            "created_ms": job.created,
            "died_ms": job.died,
            "failure": job.why,
            "id": format!("{:032x}", job.id),
        }
    });
    let Counts { due, leased, dead, done } = counts;
    let body = members! {
        "at_ms": moment.now.as_millis(),
        "version": 1_u64;
        "counts" => members! { "dead": dead, "done": done, "due": due, "leased": leased },
        "dead" => list.collect(),
        "worker" => members! { "running": cache.jobs_running() }
    };
    answered(&Answer { status: 200, body }, None)
}
