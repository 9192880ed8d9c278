//! What a pool costs that never limits.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use selvage_measure::crowd::{Finished, Origin, Swarm, get};
use selvage_measure::measured::{quantile, reloaded};

use selvage_measure::targets::Row;

use crate::report::Report;
use crate::run::left;
use crate::servers::answer;
use crate::subjects::Subject;

/// Requests under way at once.
const CLIENTS: usize = 64;
/// One measurement. The machine changes less from one to the next than from one minute to the next.
const ROUND: Duration = Duration::from_millis(250);
const MOST_PERCENT: f64 = 3.0;

/// A6: forwarded requests per second with and without the pool, in turns.
pub fn measure(lasting: Duration, report: &mut Report) -> Result<(), String> {
    eprintln!("selvage: A6");
    let origin = Origin::forgetful(|request| answer(&request.target));
    let without = Subject::Selvage.start(&origin.url())?;
    let never = Subject::pool(r#", "min": 10000, "max": 10000, "start": 10000"#, "");
    let with = never.start(&origin.url())?;
    let mut number = 0;
    let mut round = |address| throughput(address, ROUND, &mut number);
    for address in [without.address(), with.address()] {
        round(address);
    }
    let rounds = (lasting.as_secs_f64() / (2.0 * ROUND.as_secs_f64())).ceil().max(2.0) as usize;
    let (mut costs, mut plain, mut pooled) = (Vec::new(), Vec::new(), Vec::new());
    for nth in 0..rounds {
        // Neither is always the first.
        let (first, second) = if nth % 2 == 0 { (&without, &with) } else { (&with, &without) };
        let (early, late) = (round(first.address()), round(second.address()));
        let (a, b) = if nth % 2 == 0 { (early, late) } else { (late, early) };
        plain.push(a);
        pooled.push(b);
        costs.push(100.0 * (1.0 - b / a.max(1.0)));
    }
    report.close("A6", Some(left(&with)), reloaded(&with).or_else(|| reloaded(&without)));
    let cost = quantile(&mut costs, 0.5);
    report.row(Row {
        scenario: "A6",
        what: format!(
            "what a pool that never limits costs of forwarded requests/s, {rounds} rounds in turns"
        ),
        target: format!("≤ {MOST_PERCENT} %"),
        measured: format!(
            "{cost:.1} % (quarters {:.1} and {:.1})",
            quantile(&mut costs, 0.25),
            quantile(&mut costs, 0.75)
        ),
        peer: format!("without {:.0}/s, with {:.0}/s", quantile(&mut plain, 0.5), quantile(&mut pooled, 0.5)),
        met: cost <= MOST_PERCENT,
    });
    Ok(())
}

/// Requests in a second by clients that each ask again when they have their answer. New connections each time: how the
/// workers share them is chance.
fn throughput(address: SocketAddr, lasting: Duration, number: &mut usize) -> f64 {
    let mut swarm = Swarm::open(&[address], CLIENTS);
    let mut idle: Vec<usize> = (0..CLIENTS).collect();
    let mut served = 0_usize;
    let begun = Instant::now();
    let end = begun + lasting;
    let count = |done: &Finished| {
        let status = done.answer.as_ref().map(|answer| answer.status);
        assert_eq!(status, Ok(200), "a request failed");
    };
    while Instant::now() < end {
        for client in idle.drain(..) {
            *number += 1;
            let request = get(&format!("/own/{number}"));
            assert!(swarm.ask(client, &request, Instant::now()).is_none(), "cannot connect");
        }
        swarm.poll(end, |done| {
            count(&done);
            served += 1;
            idle.push(done.client);
        });
    }
    served as f64 / begun.elapsed().as_secs_f64()
}
