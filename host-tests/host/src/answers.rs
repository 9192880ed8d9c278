//! Seeded answers of language models through the module, cut anywhere: what clients get of them, what of them is stored, and
//! what is counted.
//!
//! Each seed is one question and its answer, as a stream or as JSON, by any of the APIs. It comes whole, with trailers, or is
//! broken off in one of three ways. Then the other worker is asked the same in other words.

mod case;
mod ledger;

use std::ops::Range;

use selvage_llm::formats::Body;

use crate::{Gateway, OriginResponse};
use case::{Case, Way};
use ledger::Ledger;

/// How many there were of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Answers.
    pub answers: u64,
    /// Of them those that were streams.
    pub streams: u64,
    /// Those that broke off: their framing was whole and they were not, the origin broke off, or the client left.
    pub broken: u64,
    /// Those that said of themselves that they were not complete.
    pub incomplete: u64,
    /// Those that came again from a store, byte for byte.
    pub replayed: u64,
    /// Those of which the provider has told the tokens.
    pub told: u64,
    /// Those whose tokens were estimated.
    pub estimated: u64,
    /// Bytes of all answers.
    pub bytes: u64,
}

/// Plays these seeds.
///
/// # Errors
/// What was wrong with the first seed that was not as it should be.
pub fn play(seeds: Range<u64>) -> Result<Tally, String> {
    let mut tally = Tally::default();
    let mut gateway = start();
    for seed in seeds.clone() {
        if (seed - seeds.start) % SEEDS_OF_A_NODE == SEEDS_OF_A_NODE - 1 {
            gateway = start();
        }
        let case = Case::of(seed);
        one(&gateway, case, &mut tally).map_err(|wrong| format!("seed {seed}: {wrong}"))?;
    }
    Ok(tally)
}

fn start() -> Gateway {
    let nothing = |_: &_| {
        let error = r#"{"error":{"message":"not asked again","type":"server_error"}}"#;
        OriginResponse::status(200).header("content-type", "application/json").chunk(error)
    };
    Gateway::with(&case::configuration()).workers(2).shows_bodies().origin(nothing).start()
}

fn one(gateway: &Gateway, mut case: Case, tally: &mut Tally) -> Result<(), String> {
    let about = format!("{:?} as {:?}, {:?}", case.api, case.form, case.way);
    let first = usize::from(case.chance.one_in(2));
    let mut ledger = Ledger::open(gateway);
    // The question, in parts, and the answer.
    let asked = case.spelt_question();
    let stream = {
        let mut call = gateway.post(&case.path()).header("content-type", "application/json");
        call = call.header("content-length", &asked.len().to_string()).header("accept-encoding", "gzip");
        for part in case.parts(&asked) {
            call = call.body(part);
        }
        call.open(first)
    };
    stream.request_headers().request_rest();
    if stream.upstream().body != asked {
        return Err(format!("{about}: the origin got another question"));
    }
    let came = case.answer(&stream);
    let got = stream.client().body;
    if got != came {
        return Err(format!("{about}: of {} bytes the client got {}", came.len(), got.len()));
    }
    // What it has used.
    gateway.node().tick();
    let wanted = case.wanted(asked.len() as u64);
    ledger.compare(gateway, &wanted.spent).map_err(|wrong| format!("{about}: {wrong}"))?;
    // The same again, at the other worker and then at this one.
    let again = case.plain_question();
    let mut replayed = false;
    for (nth, worker) in [1 - first, first].into_iter().enumerate() {
        let before = gateway.origin().fetches();
        let mut call = gateway.post(&case.path()).header("content-type", "application/json");
        call = call.header("content-length", &again.len().to_string());
        let answer = call.body(&again).send(worker);
        let is_hit = gateway.origin().fetches() == before;
        if is_hit != wanted.stored {
            let word = if is_hit { "is stored" } else { "is not stored" };
            return Err(format!("{about}: lacks {:?}, and {word}", case.script.lack));
        }
        if is_hit && answer.client().body != case.script.bytes {
            return Err(format!("{about}: came again with other bytes"));
        }
        replayed |= is_hit;
        gateway.node().tick();
        let saved = is_hit.then(|| wanted.saved(again.len() as u64));
        ledger.compare_saved(gateway, saved.as_ref()).map_err(|wrong| format!("{about}, {nth}: {wrong}"))?;
    }
    let spent = wanted.spent.kind();
    *tally = Tally {
        answers: tally.answers + 1,
        streams: tally.streams + u64::from(case.form == Body::Events),
        broken: tally.broken + u64::from(matches!(case.way, Way::Cut(_) | Way::Reset(_) | Way::Leaves(_))),
        incomplete: tally.incomplete + u64::from(case.script.lack.is_some()),
        replayed: tally.replayed + u64::from(replayed),
        told: tally.told + u64::from(spent == Some("told")),
        estimated: tally.estimated + u64::from(spent == Some("estimated")),
        bytes: tally.bytes + case.script.bytes.len() as u64,
    };
    Ok(())
}

/// A node for so many: what is counted is read after each.
const SEEDS_OF_A_NODE: u64 = 500;
