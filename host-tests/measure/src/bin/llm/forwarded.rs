//! C2, streams that are forwarded: the time to the first byte, beside Envoy without us.

use std::time::{Duration, Instant};

use selvage_measure::measured::{millis, reloaded};
use selvage_measure::targets::Row;

use crate::Report;
use crate::litellm::LiteLlm;
use crate::site::{Form, STORED, provider, question, start, start_without};
use crate::stream::{Client, Figures};

const LONGEST: f64 = 1.0;
/// Others are asked once in so many rounds: they take much longer.
const RARELY: usize = 20;

/// Who is asked, in turns.
const WITHOUT: usize = 0;
const PASSING: usize = 1;
const STORING: usize = 2;
const PEER: usize = 3;

/// In rounds: each is asked once, and neither is always the first.
pub fn measure(lasting: Duration, report: &mut Report) -> Result<(), String> {
    eprintln!("selvage: C2, forwarded");
    let provider = provider();
    let (ours, without) = (start(&provider)?, start_without(&provider)?);
    let peer = LiteLlm::start(&provider.url())?;
    let addresses = [without.address(), ours.address(), ours.address()];
    let addresses = addresses.into_iter().chain(peer.as_ref().map(LiteLlm::address));
    let connected: Result<Vec<Client>, _> = addresses.map(Client::connect).collect();
    let mut clients = connected.map_err(|error| format!("cannot connect: {error}"))?;
    let mut figures: Vec<Figures> = clients.iter().map(|_| Figures::default()).collect();
    let passing = question(Form::Events, "");
    let begun = Instant::now();
    let mut round = 0;
    while begun.elapsed() < lasting {
        for turn in 0..clients.len() {
            let who = (turn + round) % clients.len();
            if who == PEER && round % RARELY != 0 {
                continue;
            }
            // One that nobody has asked before is stored.
            let request = match who {
                STORING => question(Form::Events, &format!("{STORED}\"seed\":{round},")),
                PEER => question(Form::Events, &format!("\"seed\":{round},")),
                _ => passing.clone(),
            };
            let came = clients[who].ask(&request).map_err(|error| format!("{who}: {error}"))?;
            if !came.content.windows(6).any(|part| part == b"[DONE]") {
                return Err(format!("{who} got {}", String::from_utf8_lossy(&came.content)));
            }
            // The first are for connections and libraries.
            if round >= RARELY {
                figures[who].firsts.push(millis(came.first));
                figures[who].latencies.push(millis(came.whole));
            }
        }
        round += 1;
    }
    for (figures, title) in
        figures.iter_mut().zip(["Envoy without us", "passing", "stored on the way", "LiteLLM"])
    {
        figures.lasting = begun.elapsed();
        report.runs += &figures.line(&format!("C2, forwarded, {title}"));
    }
    let plain = figures[WITHOUT].first(0.99);
    let told = figures.get_mut(PEER).map(|peer| peer.first(0.99));
    for (who, what) in [(PASSING, "counted and passed"), (STORING, "counted and stored on the way")] {
        let own = figures[who].first(0.99);
        let more = own - plain;
        report.targets.row(Row {
            scenario: "C2",
            what: format!("a stream that is {what}: first byte p99, in {round} rounds in turns"),
            target: format!("≤ Envoy without us + {LONGEST} ms"),
            measured: format!("{own:.2} ms, {more:+.2}"),
            peer: told.map_or(format!("without us {plain:.2} ms"), |told| {
                format!("without us {plain:.2}, LiteLLM {told:.1} ms")
            }),
            met: more <= LONGEST,
        });
    }
    report.targets.unsound("C2, forwarded", reloaded(&ours).or_else(|| reloaded(&without)));
    Ok(())
}
