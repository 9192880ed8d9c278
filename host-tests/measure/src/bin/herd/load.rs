//! A steady load that does not wait for answers, from one thread.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use selvage_measure::crowd::{Finished, Swarm, get};
use selvage_measure::measured::Sample;

/// What is asked, and when.
pub struct Load<'a> {
    /// Requests per second.
    pub rate: u32,
    /// How long.
    pub lasting: Duration,
    /// The target of a request, by its number and when it is due.
    pub target: &'a dyn Fn(usize, Duration) -> String,
    /// The content that must come for it.
    pub wanted: &'a dyn Fn(&str) -> Vec<u8>,
}

impl Load<'_> {
    /// Sends it over the swarm's first `clients`, and calls `meanwhile` with the time since the start between requests.
    pub fn run(&self, swarm: &mut Swarm, clients: usize, mut meanwhile: impl FnMut(Duration)) -> Vec<Sample> {
        let count = (self.lasting.as_secs_f64() * f64::from(self.rate)) as usize;
        let mut idle: VecDeque<usize> = (0..clients).collect();
        let mut asked: Vec<Option<(Duration, Duration, String)>> = vec![None; clients];
        let mut samples = Vec::with_capacity(count);
        let start = Instant::now();
        let (mut next, mut freed) = (0, Vec::new());
        let patience = self.lasting + Duration::from_secs(6);
        while samples.len() < count && start.elapsed() < patience {
            meanwhile(start.elapsed());
            let mut finished: Vec<Finished> = Vec::new();
            let due = Duration::from_secs(1) * next as u32 / self.rate;
            let wait = if next < count && !idle.is_empty() { start + due } else { start + patience };
            swarm.poll(wait.min(Instant::now() + Duration::from_millis(20)), |done| finished.push(done));
            while next < count {
                let due = Duration::from_secs(1) * next as u32 / self.rate;
                if start.elapsed() < due {
                    break;
                }
                let Some(client) = idle.pop_front() else { break };
                let target = (self.target)(next, due);
                let late = start.elapsed() - due;
                let failed = swarm.ask(client, &get(&target), start + due);
                asked[client] = Some((due, late, target));
                finished.extend(failed);
                next += 1;
            }
            for done in finished {
                freed.push(done.client);
                let Some((due, late, target)) = asked[done.client].take() else { continue };
                let outcome = match done.answer {
                    Err(problem) => Err(problem.to_owned()),
                    Ok(answer) if answer.status != 200 => {
                        Err(format!("status {} {}", answer.status, answer.cache_status()))
                    }
                    Ok(answer) if answer.body() != (self.wanted)(&target) => Err("wrong body".to_owned()),
                    Ok(answer) => Ok(answer.cache_status()),
                };
                samples.push(Sample { due, late, latency: done.latency, outcome });
            }
            idle.extend(freed.drain(..));
        }
        for (due, late, _) in asked.into_iter().flatten() {
            let latency = start.elapsed() - due;
            samples.push(Sample { due, late, latency, outcome: Err("nothing".to_owned()) });
        }
        samples
    }
}
