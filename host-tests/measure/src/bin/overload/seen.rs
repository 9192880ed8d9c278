//! What became of requests, in figures.

use std::time::Duration;

use selvage_measure::measured::{millis, quantile};
use selvage_measure::open_loop::Sample;

use crate::traffic::{is_in_time, is_served};

/// Figures of the requests that were due in a stretch of time.
#[derive(Clone, Copy, Default)]
pub struct Seen {
    /// In a second.
    pub offered: f64,
    /// Answered with 200 before the deadline, in a second.
    pub in_time: f64,
    /// The same in the worst whole second.
    pub worst: f64,
    /// Of those that were answered with 200, in milliseconds.
    pub p50: f64,
    pub p99: f64,
    /// In percent: answered with 200 at all, with something else, and not at all.
    pub served: f64,
    pub refused: f64,
    pub unanswered: f64,
    /// 99 of 100 were sent no later than this, in milliseconds.
    pub late: f64,
}

impl Seen {
    /// Figures of these kinds; all kinds if there are none.
    pub fn of(samples: &[Sample], kinds: &[usize], from: Duration, to: Duration) -> Self {
        let chosen: Vec<&Sample> = samples
            .iter()
            .filter(|sample| (from..to).contains(&sample.due))
            .filter(|sample| kinds.is_empty() || kinds.contains(&sample.kind))
            .collect();
        let seconds = (to - from).as_secs_f64();
        let count =
            |what: &dyn Fn(&Sample) -> bool| chosen.iter().filter(|sample| what(sample)).count() as f64;
        let percent = |part: f64| 100.0 * part / (chosen.len() as f64).max(1.0);
        let mut latencies: Vec<f64> =
            chosen.iter().filter(|sample| is_served(sample)).map(|sample| millis(sample.latency)).collect();
        let mut late: Vec<f64> = chosen.iter().map(|sample| millis(sample.late)).collect();
        let by_second = in_time_by_second(&chosen, from, to);
        Self {
            offered: chosen.len() as f64 / seconds,
            in_time: count(&is_in_time) / seconds,
            worst: by_second.into_iter().min().unwrap_or_default() as f64,
            p50: quantile(&mut latencies, 0.5),
            p99: quantile(&mut latencies, 0.99),
            served: percent(count(&is_served)),
            refused: percent(count(&|sample| !is_served(sample) && sample.status != 0)),
            unanswered: percent(count(&|sample| sample.status == 0)),
            late: quantile(&mut late, 0.99),
        }
    }
}

/// How many were answered in time, for each whole second in which they were due.
pub fn in_time_by_second(samples: &[&Sample], from: Duration, to: Duration) -> Vec<usize> {
    let mut seconds = vec![0; (to - from).as_secs() as usize];
    for sample in samples.iter().filter(|sample| is_in_time(sample) && sample.due >= from) {
        if let Some(count) = seconds.get_mut((sample.due - from).as_secs() as usize) {
            *count += 1;
        }
    }
    seconds
}

/// After how many seconds of a phase as much is answered in time as `wanted`, on average over three seconds.
pub fn settled(samples: &[Sample], from: Duration, to: Duration, wanted: f64) -> Option<f64> {
    let all: Vec<&Sample> = samples.iter().filter(|sample| (from..to).contains(&sample.due)).collect();
    let seconds = in_time_by_second(&all, from, to);
    let reached = |three: &[usize]| three.iter().sum::<usize>() as f64 / 3.0 >= wanted;
    seconds.windows(3).position(reached).map(|at| at as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(due: u64, latency: u64, status: u16) -> Sample {
        let [due, latency] = [due, latency].map(Duration::from_millis);
        Sample { due, late: Duration::ZERO, kind: 0, latency, status }
    }

    #[test]
    fn what_is_late_or_refused_is_not_in_time() {
        let samples = [
            sample(0, 40, 200),
            sample(500, 300, 200),
            sample(900, 1, 503),
            sample(1100, 60, 200),
            sample(1200, 50, 200),
            sample(1900, 2000, 0),
            sample(2000, 1, 200),
        ];
        let seen = Seen::of(&samples, &[], Duration::ZERO, Duration::from_secs(2));
        assert_eq!((seen.offered, seen.in_time, seen.worst), (3.0, 1.5, 1.0));
        assert_eq!((seen.served.round(), seen.refused.round(), seen.unanswered.round()), (67.0, 17.0, 17.0));
        assert_eq!((seen.p50, seen.p99), (60.0, 300.0));
        assert_eq!(Seen::of(&samples, &[1], Duration::ZERO, Duration::from_secs(2)).offered, 0.0);
    }

    #[test]
    fn a_phase_has_settled_when_three_seconds_are_good() {
        let samples: Vec<Sample> = [2, 0, 3, 4, 4, 4]
            .into_iter()
            .enumerate()
            .flat_map(|(second, count)| vec![sample(second as u64 * 1000 + 1, 10, 200); count])
            .collect();
        let end = Duration::from_secs(6);
        assert_eq!(settled(&samples, Duration::ZERO, end, 3.5), Some(2.0));
        assert_eq!(settled(&samples, Duration::ZERO, end, 5.0), None);
    }
}
