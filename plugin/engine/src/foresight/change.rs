//! How often a thing changes and is asked for, by when it was fetched and what was found; and how long it is best kept for that.
//!
//! Changes are taken for a Poisson process with rate λ. What is found the same after a time `a` has the likelihood exp(−λa), what is
//! found changed 1 − exp(−λa): that it changed, but not how often nor when (Cho and Garcia-Molina, 2003). Its maximum has no closed form,
//! but the steps of expectation and maximisation towards it have (Dempster, Laird and Rubin, 1977): a change that was found stands for
//! λa / (1 − exp(−λa)) changes, which is one for a short time and λa for a long one. So two sums are enough, changes and time, and with
//! a Gamma distribution of rates before that, the rate is (shape + changes) / (shape ÷ the usual rate + time).
//!
//! Requests are taken for such a process too, with rate r: what passes from the end of a lifetime to the next request is 1 ÷ r on average.
//!
//! A thing with lifetime T is fetched about once in T, and of its r·T answers in that time a part of λT/2 is out of date. Of all
//! lifetimes that leave the same part of all answers out of date, those are fetched least that are in proportion to 1 ÷ √(rλ) (by Lagrange's multiplier).
//! With K for the proportion, the part is K/2 · Σ √(rλ) ÷ Σ r over all things, which gives K for the part that is aimed at. Things whose
//! lifetimes would be beyond their bounds are not in that sum; what is out of date of them is taken off what is aimed at.

/// What was seen of one thing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seen {
    /// Changes, with those that nobody saw.
    pub changes: f32,
    /// Seconds that were watched.
    pub seconds: f32,
    /// Seconds from the end of a lifetime to the next request, on average; 0 while unknown.
    pub delay: f32,
    /// The lifetime that it has, in seconds.
    pub lifetime: f32,
}

/// What was seen of all things of a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OfRule {
    /// As of one.
    pub changes: f32,
    /// As of one.
    pub seconds: f32,
    /// As of one.
    pub delay: f32,
    /// Σ r·t over the times between fetches: answers.
    pub answers: f32,
    /// Σ √(rλ)·t over the same, of those whose lifetimes are free.
    pub weight: f32,
    /// Answers out of date of the others: what has the shortest or the longest lifetime there is.
    pub spent: f32,
}

/// What lifetimes are wanted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wanted {
    /// The shortest, in seconds.
    pub min: f64,
    /// The longest.
    pub max: f64,
    /// The part of all answers that may be out of date.
    pub stale: f64,
}

impl Wanted {
    /// Takes in that a thing was fetched again after so many seconds, and whether it had changed.
    pub fn look(&self, own: &mut Seen, rule: &mut OfRule, changed: bool, seconds: f32) {
        let (rate, usual) = (self.rate(own, rule), self.usual_rate(rule));
        let found = |rate: f64| if changed { stands_for(rate * f64::from(seconds)) } else { 0.0 };
        // A change says more than many looks that find none, and what was found long before it says less.
        let fading = if changed { CHANGE_FADING } else { OWN_FADING };
        own.changes = own.changes * fading + found(rate);
        own.seconds = own.seconds * fading + seconds;
        rule.changes = rule.changes * RULE_FADING + found(usual);
        rule.seconds = rule.seconds * RULE_FADING + seconds;
        // One that was fetched before its end, for a purge or early, tells nothing of requests.
        let delay = seconds - own.lifetime;
        if own.lifetime > 0.0 && delay >= -RESOLUTION {
            let delay = delay.max(0.0) + RESOLUTION / 2.0;
            let mix = |mean: f32, of: f32| if mean > 0.0 { mean + (delay - mean) / of } else { delay };
            own.delay = mix(own.delay, DELAYS);
            rule.delay = mix(rule.delay, DELAYS_OF_RULE);
        }
        let (asked, rate, seconds) = (asked(own, rule), self.rate(own, rule), f64::from(seconds));
        let best = self.best(own, rule).filter(|best| !(self.min..=self.longest(rate)).contains(best));
        let (weight, spent) = match best {
            None => ((asked * rate).sqrt() * seconds, 0.0),
            Some(best) => (0.0, asked * seconds * out_of_date(rate * self.bounded(best, rate))),
        };
        rule.answers = rule.answers * RULE_FADING + (asked * seconds) as f32;
        rule.weight = rule.weight * RULE_FADING + weight as f32;
        rule.spent = rule.spent * RULE_FADING + spent as f32;
    }

    /// How often a thing of a rule is thought to change, in a second. Before anything was seen as often as the shortest lifetime is for.
    fn usual_rate(&self, rule: &OfRule) -> f64 {
        let first = self.stale.max(0.001) / self.min.max(0.001);
        (1.0 + f64::from(rule.changes)) / (1.0 / first + f64::from(rule.seconds))
    }

    /// How often one thing is thought to change, in a second.
    pub fn rate(&self, own: &Seen, rule: &OfRule) -> f64 {
        let usual = self.usual_rate(rule);
        (SHAPE + f64::from(own.changes)) / (SHAPE / usual + f64::from(own.seconds))
    }

    /// How long it is kept, in seconds: the shortest time before anything is known.
    pub fn lifetime(&self, own: &Seen, rule: &OfRule) -> f64 {
        self.best(own, rule).map_or(self.min, |best| self.bounded(best, self.rate(own, rule)))
    }

    /// How long it would be kept without bounds; `None` before anything is known.
    fn best(&self, own: &Seen, rule: &OfRule) -> Option<f64> {
        if rule.weight <= 0.0 {
            return None;
        }
        let rate = self.rate(own, rule).max(f64::MIN_POSITIVE);
        let aim = AIM * self.stale * f64::from(rule.answers);
        // What has no free lifetime has its part of the answers out of date; the rest is for the others.
        let left = (aim - f64::from(rule.spent)).max(LEAST_LEFT * aim);
        Some(2.0 * left / f64::from(rule.weight) / (asked(own, rule) * rate).sqrt())
    }

    fn bounded(&self, best: f64, rate: f64) -> f64 {
        best.min(self.longest(rate)).max(self.min)
    }

    /// What is hardly asked for would be kept for ever, and be out of date whenever it is.
    fn longest(&self, rate: f64) -> f64 {
        (self.longest_wait() / rate.max(f64::MIN_POSITIVE)).min(self.max).max(self.min)
    }

    /// λT of a thing that is hardly asked for, at most.
    fn longest_wait(&self) -> f64 {
        (OF_ONE * self.stale).min(1.0)
    }

    /// In how many of a hundred cases one has changed at the end of its lifetime, at most.
    pub fn most_percent(&self) -> f64 {
        100.0 * (1.0 - (-self.longest_wait()).exp())
    }
}

/// How often a thing is asked for, in a second.
pub fn asked(own: &Seen, rule: &OfRule) -> f64 {
    let delay = if own.delay > 0.0 { own.delay } else { rule.delay };
    1.0 / f64::from(if delay > 0.0 { delay.max(RESOLUTION / 2.0) } else { 1.0 })
}

/// The part of a thing's answers that is out of date, if so many changes are expected in a lifetime.
fn out_of_date(expected: f64) -> f64 {
    if expected > 1e-6 { 1.0 - (1.0 - (-expected).exp()) / expected } else { 0.0 }
}

/// How many changes one that was found stands for, where so many were expected.
fn stands_for(expected: f64) -> f32 {
    if expected > 1e-6 { (expected / (1.0 - (-expected).exp())).min(MOST_AT_ONCE) as f32 } else { 1.0 }
}

/// So many looks ago one counts a third as much: of one thing, and of a rule.
const OWN_FADING: f32 = 1.0 - 1.0 / 128.0;
const CHANGE_FADING: f32 = 1.0 - 1.0 / 8.0;
const RULE_FADING: f32 = 1.0 - 1.0 / 2048.0;
/// The same of delays.
const DELAYS: f32 = 8.0;
const DELAYS_OF_RULE: f32 = 256.0;
/// Seconds that times are told apart by.
pub const RESOLUTION: f32 = 0.064;
/// Of the Gamma distribution: rates of a site lie far apart.
const SHAPE: f64 = 0.5;
/// Changes that one look stands for at most.
const MOST_AT_ONCE: f64 = 8.0;
/// What is aimed at, of the part that may be out of date. Rates are told by what was seen before, and are wrong at times; lifetimes that
/// are too long for that cost more than ones that are too short save.
const AIM: f64 = 0.8;
/// At least this of it is left to what has a free lifetime: to keep all the rest for hardly any time would cost more than it is worth.
const LEAST_LEFT: f64 = 0.1;
/// So many times the part that may be out of date of all, of one thing.
const OF_ONE: f64 = 6.0;

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Wanted = Wanted { min: 10.0, max: 86_400.0, stale: 0.05 };

    #[test]
    fn before_anything_is_seen_it_is_the_shortest() {
        assert_eq!(WANTED.lifetime(&Seen::default(), &OfRule::default()), 10.0);
    }

    #[test]
    fn the_rate_that_was_looked_at_is_found_whether_looks_are_rare_or_often() {
        // Expected values in the place of chance.
        for (true_rate, every) in [(0.001_f64, 100.0_f32), (0.001, 1000.0), (0.01, 50.0), (0.01, 150.0)] {
            let (mut own, mut rule) = (Seen::default(), OfRule::default());
            let changed = 1.0 - (-true_rate * f64::from(every)).exp();
            let mut sum = 0.0;
            for _ in 0..3000 {
                sum += changed;
                let is_change = sum >= 1.0;
                sum -= f64::from(u8::from(is_change));
                WANTED.look(&mut own, &mut rule, is_change, every);
            }
            let rate = WANTED.rate(&own, &rule);
            assert!((rate / true_rate - 1.0).abs() < 0.15, "{true_rate} every {every}: {rate}");
        }
    }

    #[test]
    fn of_alike_things_a_part_is_out_of_date_as_it_is_wanted() {
        // Asked for twice a second, changed every thousand: λT/2 = 0.05 for 100 s, of which it aims at 80.
        let seen = |lifetime| Seen { changes: 100.0, seconds: 100_000.0, delay: 0.5, lifetime };
        let rule = OfRule {
            changes: 100.0,
            seconds: 100_000.0,
            delay: 0.5,
            answers: 2e5,
            weight: (0.002_f32).sqrt() * 1e5,
            spent: 0.0,
        };
        let lifetime = WANTED.lifetime(&seen(100.0), &rule);
        assert!((lifetime - 80.0).abs() < 2.0, "{lifetime}");
        // What is asked for four times as often is kept for half as long; what is hardly asked for is not kept for ever.
        let often = WANTED.lifetime(&Seen { delay: 0.125, ..seen(1.0) }, &rule);
        assert!((often - 40.0).abs() < 1.0, "{often}");
        let hardly = WANTED.lifetime(&Seen { delay: 1e6, ..seen(1.0) }, &rule);
        assert!((hardly - 300.0).abs() < 5.0, "{hardly}");
        assert!((WANTED.most_percent() - 25.9).abs() < 0.1);
        // Half of what may be out of date is so by what changes more often than it may be fetched: the rest is kept for half as long.
        let rest = WANTED.lifetime(&seen(1.0), &OfRule { spent: 4e3, ..rule });
        assert!((rest - 40.0).abs() < 1.0, "{rest}");
    }

    /// The lifetimes of a thing that is asked for a hundred times a second, and of one that is asked for twice and changes each hour.
    fn side_by_side(first_changes: bool) -> [f32; 2] {
        let mut things = [(Seen { lifetime: 10.0, ..Seen::default() }, 0.0_f32, 0.01); 2];
        things[1].2 = 0.5;
        let mut rule = OfRule::default();
        for _ in 0..20_000 {
            let nth = usize::from(things[0].1 + things[0].0.lifetime > things[1].1 + things[1].0.lifetime);
            let (seen, at, delay) = &mut things[nth];
            let seconds = seen.lifetime + *delay;
            let hour = |at: f32| (at / 3600.0) as u32;
            let changed = if nth == 0 { first_changes } else { hour(*at) != hour(*at + seconds) };
            WANTED.look(seen, &mut rule, changed, seconds);
            *at += seconds;
            seen.lifetime = WANTED.lifetime(seen, &rule) as f32;
        }
        things.map(|(seen, ..)| seen.lifetime)
    }

    #[test]
    fn what_changes_more_often_than_it_may_be_fetched_counts() {
        let [_, beside_calm] = side_by_side(false);
        let [hot, beside_hot] = side_by_side(true);
        assert!(hot == 10.0 && beside_hot * 2.0 < beside_calm, "{hot} {beside_hot} {beside_calm}");
    }
}
