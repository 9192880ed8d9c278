//! H2: the day on which an origin has too much to do, foretold from weeks with a growing load.

use std::fmt::Write as _;
use std::ops::Range;

use selvage_engine::foresight::load::{Load, SHARE, Tally};
use selvage_engine::foresight::trend::Reached;

use super::random::Random;
use super::{Report, each};

/// An origin that does 400 requests a second, and a load that grows.
#[derive(Clone, Copy)]
struct Growth {
    seed: u64,
    /// Days that are known.
    known: u32,
    /// What the load grows by in a day, in requests a second at its peak.
    slope: f64,
    /// Weekends have so much of it.
    weekend: f64,
    /// How much days differ by chance.
    noise: f64,
}

const CAPACITY: f64 = 400.0;
const FIRST_PEAK: f64 = 120.0;
/// How far off a forecast may be, as a part of the days.
const WITHIN: f64 = 0.15;

impl Growth {
    /// What is asked for in ten seconds of a day, without noise.
    fn wanted(&self, day: u32, of_day: u32) -> f64 {
        let wave = 0.5 - 0.5 * (std::f64::consts::TAU * (f64::from(of_day) / 8640.0 - 0.15)).cos();
        let weekend = if day % 7 == 2 || day % 7 == 3 { self.weekend } else { 1.0 };
        10.0 * (FIRST_PEAK + self.slope * f64::from(day)) * weekend * (0.2 + 0.8 * wave)
    }

    /// In how many days after the last one 80 % of the capacity would be asked for on the busiest day of a week.
    fn truth(&self) -> u32 {
        let last = f64::from(self.known - 1);
        let now = FIRST_PEAK + self.slope * last;
        ((SHARE * CAPACITY / self.weekend.max(1.0) - now) / self.slope).ceil() as u32
    }

    /// The least standard error of any forecast without bias, as a part of the days, where slope, level and weekends must be found in
    /// days with noise.
    fn least_error(&self) -> f64 {
        let last = f64::from(self.known - 1);
        let now = FIRST_PEAK + self.slope * last;
        // Fisher's information of level, slope and, where there are weekends, what they have.
        let known = if self.weekend == 1.0 { 2 } else { 3 };
        let mut rows = [[0.0_f64; 4]; 3];
        for day in 0..self.known {
            let (level, ago) = (FIRST_PEAK + self.slope * f64::from(day), f64::from(day) - last);
            let weekend = if day % 7 == 2 || day % 7 == 3 { 1.0 / self.weekend } else { 0.0 };
            let by = [1.0 / level, ago / level, weekend].map(|by| by / self.noise);
            for (row, of_row) in rows.iter_mut().zip(by) {
                row.iter_mut().zip(by).for_each(|(sum, of_column)| *sum += of_row * of_column);
            }
        }
        // How the day moves with each of them.
        let (most, days) = (self.weekend.max(1.0), f64::from(self.truth()));
        let by_weekend =
            if self.weekend > 1.0 { -SHARE * CAPACITY / (most * most * self.slope) } else { 0.0 };
        let moves =
            [-1.0 / self.slope, -(SHARE * CAPACITY / most - now) / (self.slope * self.slope), by_weekend];
        for (row, moved) in rows.iter_mut().zip(moves) {
            row[3] = moved;
        }
        // Gauss and Jordan.
        for pivot in 0..known {
            let by = rows[pivot][pivot];
            rows[pivot].iter_mut().for_each(|one| *one /= by);
            let of_pivot = rows[pivot];
            for (nth, row) in rows.iter_mut().enumerate().take(known) {
                let by = row[pivot];
                if nth != pivot {
                    row.iter_mut().zip(of_pivot).for_each(|(one, of_pivot)| *one -= by * of_pivot);
                }
            }
        }
        let variance: f64 = rows.iter().zip(moves).take(known).map(|(row, moved)| row[3] * moved).sum();
        variance.sqrt() / days
    }

    /// What is foretold at the end of the last day.
    fn foretold(&self) -> (Option<f64>, Option<[Reached; 3]>) {
        let (mut load, mut tally, mut random) = (Load::default(), Tally::default(), Random::new(self.seed));
        for day in 0..=self.known {
            let of_the_day = (self.noise * random.normal()).exp();
            // On some days a crowd comes for ten minutes, more than the origin can take.
            let crowd = random.happens(0.1).then(|| 2000 + (random.fraction() * 4000.0) as u32);
            for of_day in 0..8640 {
                if day == self.known && of_day > 2 {
                    break;
                }
                let mut wanted = self.wanted(day, of_day) * of_the_day * (0.05 * random.normal()).exp();
                if day == 1 && (3000..3060).contains(&of_day)
                    || crowd.is_some_and(|from| (from..from + 60).contains(&of_day))
                {
                    wanted = 10.0 * CAPACITY * 1.6;
                }
                let wanted = random.poisson(wanted);
                let noise = (0.03 * random.normal()).exp();
                let can = random.poisson(10.0 * CAPACITY * noise);
                let through = wanted.min(can);
                let waited =
                    if wanted > can { through * 9 / 10 } else { random.binomial(through.min(50), 0.1) };
                tally.went += through - waited;
                tally.waited += waited;
                tally.shed += wanted - through;
                load.step(2_900 * 7 * 8640 + day * 8640 + of_day, tally);
            }
        }
        let outlook = load.outlook();
        (outlook.capacity.map(|capacity| capacity.per_second), outlook.reached)
    }
}

/// Fills in what the table says of saturation.
pub fn measure(seeds: Range<u64>, report: &mut Report) {
    report.tables += "\n## When an origin has too much to do\n\n\
         It does 400 requests a second, and the peak of a day grows from 120. Told is in how many days a peak reaches 80 % of what the origin can do.\n\n\
         No forecast without bias can have a smaller standard error than the one at best (Cramér and Rao), by the noise of days alone.\n\n\
         | days known | grows a day | weekends | noise of days | in truth | told: least, median, most | worst error | within 15 % | standard error | at best | capacity told | interval holds the truth |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n";
    let mut worst_of_all = 0.0_f64;
    for (known, slope, weekend, noise) in [
        (28, 3.0, 0.6, 0.02),
        (42, 2.0, 0.6, 0.02),
        (42, 2.0, 1.3, 0.03),
        (56, 1.5, 0.3, 0.04),
        (13, 6.0, 1.0, 0.02),
    ] {
        let runs: Vec<Growth> =
            seeds.clone().map(|seed| Growth { seed, known, slope, weekend, noise }).collect();
        let truth = runs[0].truth();
        let told = each(&runs, Growth::foretold);
        let days = |reached: Reached| match reached {
            Reached::In(days) => f64::from(days),
            Reached::NotSoon => 9999.0,
        };
        let mut likely: Vec<f64> =
            told.iter().map(|(_, reached)| reached.map_or(9999.0, |[likely, ..]| days(likely))).collect();
        likely.sort_by(f64::total_cmp);
        let errors: Vec<f64> = likely.iter().map(|told| told / f64::from(truth) - 1.0).collect();
        let worst = errors.iter().map(|error| error.abs()).fold(0.0, f64::max);
        // Less than four weeks are few; the interval says so.
        if known >= 28 {
            worst_of_all = worst_of_all.max(worst);
        }
        let holds = told
            .iter()
            .filter(|(_, reached)| {
                reached.is_some_and(|[_, latest, soonest]| {
                    days(soonest) <= f64::from(truth) && f64::from(truth) <= days(latest)
                })
            })
            .count();
        let capacities: Vec<f64> = told.iter().filter_map(|(capacity, _)| *capacity).collect();
        let (least, most) = capacities
            .iter()
            .fold((f64::MAX, 0.0_f64), |(least, most), one| (least.min(*one), most.max(*one)));
        let _ = writeln!(
            report.tables,
            "| {known} | {slope} | {weekend} | {:.0} % | {truth} | {}, {}, {} | {:.1} % | {} | {:.1} % | {:.1} % | {least:.0} to {most:.0} | {holds} of {} |",
            noise * 100.0,
            likely[0],
            likely[likely.len() / 2],
            likely[likely.len() - 1],
            worst * 100.0,
            errors.iter().filter(|error| error.abs() <= WITHIN).count(),
            (errors.iter().map(|error| error * error).sum::<f64>() / errors.len() as f64).sqrt() * 100.0,
            runs[0].least_error() * 100.0,
            likely.len(),
        );
    }
    let measured = format!("{:.1} %", worst_of_all * 100.0);
    report.target(
        "H2",
        "days until 80 % of the capacity, by four weeks and more: worst of all growths and seeds",
        "± 15 %",
        measured,
        "–",
        worst_of_all <= WITHIN,
    );
}
