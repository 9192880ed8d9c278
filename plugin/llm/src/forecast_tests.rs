use super::*;
use crate::chance::Chance;

/// The first of a month, a Monday or not.
const START: u64 = 470_000;
const MONTH: u64 = 30 * DAY;

/// Spend by the hour from `before` hours before the window to its end: a day, a week, noise by the day and by the hour.
struct Month {
    before: u64,
    spent: Vec<u64>,
}

impl Month {
    fn new(chance: &mut Chance, before: u64, growth: f64) -> Self {
        let scale = 10_f64.powi(6 + chance.below(6) as i32);
        let night = 0.05 + 0.5 * chance.fraction();
        let weekend = 0.2 + 0.8 * chance.fraction();
        let noise = 0.05 + 0.25 * chance.fraction();
        let phase = chance.below(24) as f64;
        let shift = chance.below(7) as u64;
        let mut of_day = 1.0;
        let spent = (0..before + MONTH)
            .map(|hour| {
                if hour % DAY == 0 {
                    of_day = (noise * chance.normal()).exp();
                }
                let angle = (hour as f64 + phase) / DAY as f64 * std::f64::consts::TAU;
                let day = night + (1.0 - night) * (0.5 + 0.5 * angle.sin());
                let week = if (hour / DAY + shift) % 7 < 2 { weekend } else { 1.0 };
                let level = (1.0 + growth).powf(hour as f64 / DAY as f64);
                (scale * day * week * level * of_day * (0.4 * chance.normal()).exp()) as u64
            })
            .collect();
        Self { before, spent }
    }

    fn hours(&self, until: u64) -> Hours {
        let first = START - self.before;
        self.spent
            .iter()
            .enumerate()
            .map(|(index, spent)| (first + index as u64, *spent))
            .filter(|(hour, _)| *hour < START + until)
            .collect()
    }

    fn spent(&self, until: u64) -> u64 {
        self.spent[self.before as usize..(self.before + until) as usize].iter().sum()
    }

    fn forecast(&self, until: u64, amount: Option<u64>) -> Forecast {
        let window = Window { end: (START + MONTH) * HOUR, spent: self.spent(until), amount };
        forecast(&self.hours(until), &window, (START + until) * HOUR)
    }

    fn truth(&self) -> u64 {
        self.spent(MONTH)
    }
}

/// Mean of |error| in percent, and in how many percent of the months the truth lay between p10 and p90.
fn quality(seed: u64, before: u64, growth: f64, until: u64) -> (f64, f64) {
    let mut chance = Chance::new(seed);
    let count = 400;
    let (mut error, mut inside) = (0.0, 0.0);
    for _ in 0..count {
        let month = Month::new(&mut chance, before, growth);
        let (told, truth) = (month.forecast(until, None), month.truth());
        error += (told.expected as f64 - truth as f64).abs() / truth as f64;
        inside += f64::from(u8::from((told.p10..=told.p90).contains(&truth)));
    }
    (100.0 * error / f64::from(count), 100.0 * inside / f64::from(count))
}

#[test]
fn at_day_ten_the_month_is_told_within_ten_percent() {
    for (before, growth) in
        [(25 * DAY, 0.0), (25 * DAY, 0.005), (25 * DAY, -0.005), (7 * DAY, 0.0), (0, 0.0), (3 * DAY, 0.003)]
    {
        let (error, inside) = quality(71, before, growth, 10 * DAY);
        eprintln!("{before} {growth}: {error:.2} % {inside:.0} %");
        assert!(error <= 10.0, "{before} {growth}: {error} %");
        if growth == 0.0 {
            assert!((60.0..=97.0).contains(&inside), "{before}: {inside} %");
        }
    }
}

#[test]
fn the_nearer_the_end_the_better_it_is_told() {
    let errors: Vec<f64> =
        [3, 10, 20, 28].iter().map(|day| quality(72, 25 * DAY, 0.0, day * DAY).0).collect();
    assert!(errors.windows(2).all(|pair| pair[1] < pair[0]), "{errors:?}");
}

#[test]
fn a_new_level_is_believed_after_some_days_and_one_dear_day_is_not() {
    let mut chance = Chance::new(73);
    let mut month = Month::new(&mut chance, 25 * DAY, 0.0);
    for spent in &mut month.spent[(25 + 6) * 24..] {
        *spent *= 3;
    }
    let (told, truth) = (month.forecast(10 * DAY, None).expected as f64, month.truth() as f64);
    assert!((0.65..1.1).contains(&(told / truth)), "{}", told / truth);

    let mut month = Month::new(&mut chance, 25 * DAY, 0.0);
    let plain = month.forecast(10 * DAY, None).expected as f64;
    for spent in &mut month.spent[(25 + 9) * 24..(25 + 10) * 24] {
        *spent *= 2;
    }
    let told = month.forecast(10 * DAY, None).expected as f64;
    assert!(told / plain < 1.35, "{}", told / plain);
}

#[test]
fn an_even_spend_runs_out_when_it_must() {
    let hours: Hours = (0..240).map(|hour| (START + hour, 100)).collect();
    let window = Window { end: (START + MONTH) * HOUR, spent: 24_000, amount: Some(36_050) };
    let told = forecast(&hours, &window, (START + 240) * HOUR);
    assert_eq!((told.expected, told.p10, told.p90), (72_000, 72_000, 72_000));
    // 12,050 more at 100 an hour: 120 hours and a half.
    assert_eq!(told.runs_out, Some((START + 360) * HOUR + 1800));
    let enough = Window { amount: Some(80_000), ..window };
    assert_eq!(forecast(&hours, &enough, (START + 240) * HOUR).runs_out, None);
    let spent = Window { amount: Some(24_000), ..window };
    assert_eq!(forecast(&hours, &spent, (START + 240) * HOUR).runs_out, Some((START + 240) * HOUR));
}

#[test]
fn the_basis_depends_on_how_much_is_known() {
    let basis = |known: u64| {
        let hours: Hours = (0..known).map(|hour| (START + hour, 1)).collect();
        let window = Window { end: (START + MONTH) * HOUR, spent: known, amount: None };
        forecast(&hours, &window, (START + known) * HOUR)
    };
    assert_eq!(basis(14 * DAY).basis, Basis::HourOfWeek);
    assert_eq!(basis(14 * DAY - 1).basis, Basis::HourOfDay);
    assert_eq!(basis(DAY).basis, Basis::HourOfDay);
    assert_eq!(basis(DAY - 1).basis, Basis::Linear);
    assert_eq!(basis(DAY - 1).expected, MONTH);
    assert_eq!((basis(0).expected, basis(0).basis), (0, Basis::Linear));
}

#[test]
fn numbers_at_their_bounds_do_no_harm() {
    let mut hours = Hours::default();
    for hour in 0..100 {
        hours.add(START + hour, u64::MAX);
        hours.add(START + hour, u64::MAX);
    }
    let window = Window { end: u64::MAX, spent: u64::MAX, amount: Some(u64::MAX) };
    assert_eq!(forecast(&hours, &window, (START + 100) * HOUR).expected, u64::MAX);
    let told = forecast(&hours, &Window { end: 0, spent: 5, amount: None }, u64::MAX);
    assert_eq!((told.expected, told.runs_out), (5, None));
    hours.add(u64::MAX, 1);
    hours.add(0, 1);
    assert_eq!(hours.of(u64::MAX), 1);
    assert!(hours.spent.len() <= MAX_HOURS as usize);
}

#[test]
fn hours_are_kept_for_thirty_five_days_in_whatever_order_they_come() {
    let mut chance = Chance::new(74);
    let mut pairs: Vec<(u64, u64)> = (0..2_000).map(|hour| (START + hour, hour)).collect();
    let sorted: Hours = pairs.iter().copied().collect();
    chance.shuffle(&mut pairs);
    let shuffled: Hours = pairs.into_iter().collect();
    assert_eq!(sorted, shuffled);
    assert_eq!(
        (sorted.of(START + 1_999), sorted.of(START + 1_160), sorted.of(START + 1_159)),
        (1_999, 1_160, 0)
    );
    let mut hours = Hours::default();
    hours.add(START + 10, 1);
    hours.add(START, 2);
    hours.add(START + 10, 3);
    assert_eq!((hours.of(START), hours.of(START + 5), hours.of(START + 10)), (2, 0, 4));
}
